"""What any stream promises: what it acknowledged is durable, ordered within a shard, and comes until forgotten."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol
from uuid import UUID

from penstock.model.batch import Int32s, Ints, Lane, ReadingBatch
from penstock.model.shard import Unit


class Origin(NamedTuple):
    """Who put an entry of a shared stream, and its place among all that they ever put on the belt."""

    producer: UUID
    belt: int
    """A slice of tags in a lane: see `model.slices`. A producer's entries of a belt come in the order of its count."""
    counted: int
    """Readings that the producer put on the belt, up to and including this entry."""
    request: Ints
    """By reading: the producer's number of the request that brought it."""
    item: Int32s
    """By reading: its place in that request."""


class Poison(NamedTuple):
    """Something in an entry that is no reading, kept so that a person can look at it."""

    item: int
    """Its place in the entry; none of the batch's readings has this index."""
    reason: str
    detail: str
    raw: bytes
    path: str = ""


class Foreign(NamedTuple):
    """What somebody else's record holds: readings, and what is none. No two of them have the same place in it."""

    batch: ReadingBatch
    poison: tuple[Poison, ...]
    size_bytes: int = 0
    """Once decompressed."""


class Entry(NamedTuple):
    """One appended batch: of the local streams what one request has in a lane, of shared ones a record."""

    shard: str
    position: int
    """Grows within the shard; at least 1, and of any size (a Kinesis sequence number has 186 bits)."""
    counted: int
    """Readings in the shard up to and including this entry, since the stream was made; 0 where producers count."""
    received_us: int
    batch: ReadingBatch
    origin: Origin | None = None
    """None: a local stream, or a foreign producer."""
    poison: tuple[Poison, ...] = ()


class Place(NamedTuple):
    """Where an entry stands."""

    shard: str
    position: int


class BatchRef(NamedTuple):
    """A batch of a shared stream: which request of which producer it was, and how many readings were accepted."""

    producer: UUID
    request: int
    readings: int


class Receipt(NamedTuple):
    """Durable: these lanes were taken. A lane that is full is left out, and named in `overloaded`."""

    batch_id: str
    places: tuple[Place, ...]
    overloaded: frozenset[Lane]
    batch: BatchRef | None = None
    """None: a local stream."""


class Total(NamedTuple):
    """The head of a shard: the last entry's position, and all readings ever appended."""

    position: int
    counted: int


class Stream(Protocol):
    """An ordered, bounded, durable belt of batches. Shards of the local streams are named as their lanes."""

    @property
    def identity(self) -> str:
        """Made with the stream. Checkpoints are keyed by it, so a recreated stream cannot skip readings."""
        ...

    async def units(self) -> Sequence[Unit]:
        """All that can be worked on, the most urgent first; those that ended too, as long as they hold entries."""
        ...

    async def append(self, lanes: Mapping[Lane, ReadingBatch], received_us: int) -> Receipt:
        """Make the lanes' batches durable, in one stroke. Empty batches must not be passed.

        Raises Backpressure when no lane has room (then nothing was taken), Unavailable when the medium fails.
        """
        ...

    async def take(self, shard: str, after: int, readings_max: int) -> Sequence[Entry]:
        """Entries after position *after*, oldest first: at least one if there is any, then up to *readings_max*."""
        ...

    def ended(self, shard: str) -> bool:
        """Whether the last `take` came to the shard's end: nothing follows what it gave, ever."""
        ...

    def behind_ms(self, shard: str) -> int:
        """How old, by the stream's own clock, what the next `take` gives is; 0 at the tip, and where nobody knows."""
        ...

    def unheard(self, shard: str) -> bool:
        """Nothing was known to wait, and nothing is heard since: `behind_ms` is the most that it may be."""
        ...

    async def wait(self, timeout_s: float, shards: Sequence[str] = ()) -> None:
        """Return when entries may have come that were not there at the last `take`, or after *timeout_s*.

        *shards*: those that are waited for; none given: any.
        """
        ...

    async def forget(self, shard: str, upto: int) -> None:
        """Entries up to *upto* are stored: their room is free. Repeating is harmless.

        They may be kept a while for `read`.
        """
        ...

    async def read(self, place: Place) -> Entry | None:
        """An entry, if it is still kept."""
        ...

    async def ready(self) -> None:
        """Raises Unavailable when a reading could not be made durable now. Cheap enough to be asked at any time."""
        ...

    async def close(self) -> None:
        """Wait for what is under way, then let go."""
        ...


class CountedStream(Stream, Protocol):
    """A stream that counts by itself what was put on it: a local one, which has one writer."""

    def places(self, batch_id: str) -> tuple[Place, ...]:
        """Where the parts of a batch stand. Raises Unknown for an id that this stream never gave."""
        ...

    async def totals(self) -> Mapping[str, Total]:
        """Every shard's head. Never goes back, whatever was forgotten."""
        ...

    async def received(self, start_us: int, end_us: int) -> int:
        """Readings appended with start <= received minute < end; kept by the minute for the stream's whole life."""
        ...


class SharedStream(Stream, Protocol):
    """A stream that many machines share: it cannot count, so its producers do."""

    def batch(self, batch_id: str) -> BatchRef:
        """Whose batch that is. Raises Unknown for an id that this stream never gave."""
        ...

    async def between(self, shard: str, after: int, upto: int) -> Sequence[Entry]:
        """Those entries after < position <= upto of a committed flush that are still kept, in order."""
        ...

    async def drop(self, shard: str) -> None:
        """The shard is somebody else's now: stop reading it ahead. A later `take` begins anew."""
        ...
