"""What any stream promises: what it acknowledged is durable, ordered within a shard, and comes until forgotten."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from penstock.model.batch import Lane, ReadingBatch


class Entry(NamedTuple):
    """One appended batch (the part of a request that travels in one lane)."""

    shard: str
    position: int
    """Grows within the shard; the first is 1."""
    counted: int
    """Readings in the shard up to and including this entry, since the stream was made."""
    received_us: int
    batch: ReadingBatch


class Place(NamedTuple):
    """Where an entry stands."""

    shard: str
    position: int


class Receipt(NamedTuple):
    """Durable: these lanes were taken. A lane that is full is left out, and named in `overloaded`."""

    batch_id: str
    places: tuple[Place, ...]
    overloaded: frozenset[Lane]


class Total(NamedTuple):
    """The head of a shard: the last entry's position, and all readings ever appended."""

    position: int
    counted: int


class Stream(Protocol):
    """An ordered, bounded, durable belt of batches. Shards of the local streams are named as their lanes."""

    @property
    def identity(self) -> str:
        """A UUID made with the stream. Checkpoints are keyed by it, so a recreated stream cannot skip readings."""
        ...

    @property
    def shards(self) -> Sequence[str]:
        """All shards, the most urgent first."""
        ...

    async def append(self, lanes: Mapping[Lane, ReadingBatch], received_us: int) -> Receipt:
        """Make the lanes' batches durable, in one stroke. Empty batches must not be passed.

        Raises Backpressure when no lane has room (then nothing was taken), Unavailable when the medium fails.
        """
        ...

    async def take(self, shard: str, after: int, readings_max: int) -> Sequence[Entry]:
        """Entries after position *after*, oldest first: at least one if there is any, then up to *readings_max*."""
        ...

    async def wait(self, timeout_s: float) -> None:
        """Return when entries may have come that were not there at the last `take`, or after *timeout_s*."""
        ...

    async def forget(self, shard: str, upto: int) -> None:
        """Entries up to *upto* are stored: their room is free. Repeating is harmless.

        They may be kept a while for `read`.
        """
        ...

    async def read(self, place: Place) -> Entry | None:
        """An entry, if it is still kept."""
        ...

    def places(self, batch_id: str) -> tuple[Place, ...]:
        """Where the parts of a batch stand. Raises Unknown for an id that this stream never gave."""
        ...

    async def totals(self) -> Mapping[str, Total]:
        """Every shard's head. Never goes back, whatever was forgotten."""
        ...

    async def received(self, start_us: int, end_us: int) -> int:
        """Readings appended with start <= received minute < end; kept by the minute for the stream's whole life."""
        ...

    async def close(self) -> None:
        """Wait for what is under way, then let go."""
        ...
