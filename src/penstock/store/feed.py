"""How processes that serve share one follower: a lease, and what its holder found, told to the others."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, Self

import msgspec
import numpy as np

from penstock.store.latest import LATEST_ARRAYS, LatestRows
from penstock.store.window import Heads, Shard


class Found(msgspec.Struct, frozen=True, array_like=True):
    """What one look of the leader found. Positions travel as text: they outgrow any binary integer.

    Whoever is at `before` or beyond, for every shard, is at `heads` after taking in `columns`; others missed something.
    """

    before: list[tuple[str, str, str]]
    heads: list[tuple[str, str, str]]
    event_no: int
    """The newest event of an alarm; the alarms themselves come from the database."""
    generation: str
    """Of the cache, when its latest values and windows are as new as this (a second behind at most), else empty."""
    paths: list[str]
    states: list[str | None]
    columns: list[bytes]
    """LATEST_ARRAYS of `LatestRows`."""

    @classmethod
    def of(cls, rows: LatestRows, before: Heads, heads: Heads, event_no: int, generation: str) -> Self:
        """What a look found."""
        return cls(
            _spelled(before), _spelled(heads), event_no, generation, list(rows.path), list(rows.state),
            [getattr(rows, name).tobytes() for name in LATEST_ARRAYS],
        )  # fmt: skip

    def rows(self) -> LatestRows:
        """The newest of each changed tag."""
        arrays = zip(LATEST_ARRAYS, self.columns, strict=True)
        decoded: dict[str, Any] = {
            name: np.frombuffer(each, np.float64 if name == "value" else np.int64) for name, each in arrays
        }
        return LatestRows(path=self.paths, state=self.states, **decoded)

    def follows(self, held: Heads) -> bool:
        """Whether nothing is missing between *held* and this."""
        return all(held.get(shard, 0) >= head for shard, head in read_heads(self.before).items())


class Told(NamedTuple):
    """What was found, and its place in the feed: `heard` goes on after it."""

    place: str
    found: Found


class Feed(Protocol):
    """Shared by processes that serve one database. It may lose everything at any time. All raise Unavailable."""

    async def lead(self) -> bool:
        """Take the lease, or renew it: whether we are the one who follows the database."""
        ...

    async def tell(self, found: Found) -> bool:
        """Tell the others. False, and nothing told: the lease has passed to another."""
        ...

    async def newest(self) -> str:
        """The place of what was told last: where a new listener begins."""
        ...

    async def heard(self, after: str) -> Sequence[Told]:
        """What was told after that place, oldest first; the oldest of all may be gone."""
        ...

    async def resign(self) -> None:
        """Give the lease back, if we hold it. Never raises."""
        ...

    async def close(self) -> None: ...


def read_heads(spelled: Sequence[tuple[str, str, str]]) -> dict[Shard, int]:
    """Positions as numbers again."""
    return {(stream, shard): int(position) for stream, shard, position in spelled}


def _spelled(heads: Heads) -> list[tuple[str, str, str]]:
    return [(stream, shard, str(position)) for (stream, shard), position in heads.items()]
