"""Ids and samples that every process computes alike: nothing of a trace travels with the readings."""

import random
import secrets
from hashlib import blake2b
from typing import Final, NamedTuple
from uuid import UUID

import numpy as np

from penstock.model.batch import Ints

_WORD: Final = 2**64 - 1
_GOLDEN: Final = 0x9E37_79B9_7F4A_7C15
"""2**64 over the golden ratio: its multiples are spread evenly, however regularly clients take turns."""
_PERSON: Final = b"penstock trace"


class BatchIds(NamedTuple):
    """Of a batch's trace: the trace itself (128 bits), and its spans that others are children of (64 bits)."""

    trace: int
    accept: int
    put: int


def ids_of(producer: UUID, request: int) -> BatchIds:
    """The ids of what *producer* put as its *request*, the same in the door and in every worker."""
    digest = blake2b((request & _WORD).to_bytes(8, "big"), digest_size=32, salt=producer.bytes, person=_PERSON).digest()
    trace, accept, put = digest[:16], digest[16:24], digest[24:]
    return BatchIds(*(int.from_bytes(part, "big") for part in (trace, accept, put)))


def random_ids() -> tuple[int, int]:
    """A trace and its first span, of what is no batch."""
    return secrets.randbits(128), secrets.randbits(64)


class Sample:
    """Which batches are traced: a share of each producer's requests, by arithmetic on their numbers alone."""

    def __init__(self, share: float) -> None:
        """*share*: 0 < share <= 1."""
        self.share = share
        self._most = max(0, int(share * 2**64) - 1)

    def takes(self, producer: UUID, request: int) -> bool:
        """Whether this batch is traced."""
        return (request * _GOLDEN + producer.int) & _WORD <= self._most

    def takes_any(self) -> bool:
        """Whether this request is traced, which is no batch."""
        return random.random() < self.share  # noqa: S311  # nothing rests on it

    def picks(self, producer: UUID, requests: Ints) -> list[int]:
        """Of the requests' numbers those that are traced, each once."""
        scrambled = requests.view(np.uint64) * np.uint64(_GOLDEN) + np.uint64(producer.int & _WORD)  # modulo 2**64
        picked = requests[scrambled <= np.uint64(self._most)]
        return np.unique(picked).tolist() if picked.size else []
