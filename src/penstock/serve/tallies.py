"""What serve promises to tell of a stream's books, whether the stream counts by itself or its producers do."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from penstock.serve.answers import FateAnswer
from penstock.store.accounts import ShardBooks
from penstock.store.standing import Standing
from penstock.store.tally import Sums


class ShardTally(NamedTuple):
    """A shard's books, and how many of its readings are durable but not committed."""

    books: ShardBooks
    in_flight: int


class Traced(NamedTuple):
    """The readings of a batch that are known of. `complete`: those are all of them."""

    items: Sequence[FateAnswer]
    complete: bool
    in_flight: int = 0
    """More readings of the batch, which no flush has committed yet."""


class Tallies(Protocol):
    """The books of the stream that is used now, and of those before it."""

    async def whole(self) -> Sums:
        """Since installation. Raises Unavailable."""
        ...

    async def between(self, start_us: int, end_us: int) -> Sums:
        """Of readings with start <= received minute < end; both are whole minutes. Raises Unavailable."""
        ...

    async def in_flight_of(self, path: str, start_us: int, end_us: int) -> int:
        """Readings of one tag that are not committed yet, received in the range; 0 where the stream cannot tell."""
        ...

    async def shards(self) -> Sequence[ShardTally]:
        """Shards of the stream that is used now, without those worked to their end. Raises Unavailable."""
        ...

    async def standing(self) -> Standing:
        """How the stream that is used now stands, and each of its shards. Raises Unavailable."""
        ...

    async def traced(self, batch_id: str, index: int | None) -> Traced:
        """Where the readings of a batch went, or the one at *index* of the request. Raises Unknown, Unavailable."""
        ...

    async def producers(self) -> int | None:
        """How many producers are alive; None where nobody counts them."""
        ...
