"""How records reach a reader: whoever brings them, they come in chunks, in order, until the shard ends."""

from collections.abc import AsyncGenerator, Mapping, Sequence
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
    """How old what comes after it is; 0 at the tip, None where that is not known: the connection stands, no more."""
    reached: int
    """Where to go on from: the last record's position, or further on when it is known that none lies between."""
    ended: bool
    """The shard is closed, and nothing comes after this."""


class Feed(Protocol):
    """Brings one shard's records."""

    def follow(self, after: int) -> AsyncGenerator[Chunk]:
        """Everything behind position *after* (0: all that is kept), until the shard's end or an error of `trouble`.

        Records may come again that came already. It waits for its turn by itself: whoever goes on with it at once
        is not throttled more than others on the same shard make it.
        """
        ...
