"""How records reach a reader: whoever brings them, they come in chunks, in order, until the shard ends."""

import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple, Protocol, Self


class Raw(NamedTuple):
    """A record as Kinesis keeps it."""

    position: int
    arrived_ms: int
    """By Kinesis' clock, and not always in order."""
    data: bytes

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Self:
        """From what GetRecords and SubscribeToShard both give."""
        arrived_ms = round(told["ApproximateArrivalTimestamp"].timestamp() * 1_000)
        return cls(int(told["SequenceNumber"]), arrived_ms, told["Data"])


class Chunk(NamedTuple):
    """One answer, or one event."""

    records: Sequence[Raw]
    behind_ms: int | None
    """How old what comes after it is, at most; 0 at the tip, None where that is not known: the connection stands, no
    more. Kinesis measures it from the last record that it gave: what comes after a silence is younger than that."""
    reached: int
    """Where to go on from: the last record's position, or further on when it is known that none lies between."""
    ended: bool
    """The shard is closed, and nothing comes after this."""
    ahead_s: float | None = None
    """What Kinesis' clock is ahead of `time.monotonic()`; None where it did not say."""


def ahead_s_of(answer: Mapping[str, Any]) -> float:
    """What Kinesis' clock is ahead of `time.monotonic()`, to half a second, by the Date of its *answer*.

    Whoever answers without one has our own clock: AWS refuses who is a quarter of an hour wrong.
    """
    date = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
    now_s = parsedate_to_datetime(date).timestamp() + 0.5 if date else time.time()
    return now_s - time.monotonic()


class Feed(Protocol):
    """Brings one shard's records."""

    def follow(self, after: int) -> AsyncGenerator[Chunk]:
        """Everything behind position *after* (0: all that is kept), until the shard's end or an error of `trouble`.

        Records may come again that came already. It waits for its turn by itself: whoever goes on with it at once
        is not throttled more than others on the same shard make it.
        """
        ...
