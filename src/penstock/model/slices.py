"""Tags in slices: a slice always travels as one, so that splitting and merging shards never tears a tag's order."""

from functools import lru_cache
from hashlib import blake2b
from typing import Final

SLICES: Final = 64
"""For ever: so many shards can share the work at most, and so many records leave a producer at a time at least."""
KEYS: Final = 2**128
"""Kinesis' hash keys; every slice has one of its own."""
BELTS: Final = 2 * SLICES
"""A slice has a belt in each lane: the bulk lane's are numbered 0.. , the critical lane's SLICES.. ."""
KNOWN_MAX: Final = 200_000


@lru_cache(KNOWN_MAX)
def slice_of(path: str) -> int:
    """The slice of a tag, the same on every machine."""
    return int.from_bytes(blake2b(path.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big") % SLICES


def hash_key(number: int) -> int:
    """The middle of the slice's part of the key space: shards cut evenly never cut through it."""
    return (2 * number + 1) * (KEYS // (2 * SLICES))


def slices_between(first: int, last: int) -> range:
    """The slices whose hash key is in first <= key <= last."""
    width = KEYS // SLICES
    return range(-((width // 2 - first) // width), (last - width // 2) // width + 1)
