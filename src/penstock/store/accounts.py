"""The store's side of the books: fates by shard and by tag, and of single entries."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple
from uuid import UUID

from penstock.store.port import Fates
from penstock.store.postgres import Database
from penstock.store.sql import statements

SQL: Final = statements("accounts")


NO_FATES: Final = Fates()


class ShardBooks(NamedTuple):
    """How far a shard is committed, and what became of everything up to there."""

    stream: str
    shard: str
    epoch: int = 0
    owner: str | None = None
    held: bool = False
    """Whether the owner's lease still runs."""
    position: int = 0
    counted: int = 0
    """Readings up to `position`, by the count of a local stream; 0 of a shared one."""
    lane: str | None = None
    slices: range | None = None
    parents: tuple[str, ...] = ()
    ended: bool = False
    """Worked to its end: nothing will come of it any more."""
    behind_ms: int | None = None
    """How old what comes next is; None where nobody has told."""
    fates: Fates = NO_FATES


class CommittedIn(NamedTuple):
    """The flush that committed an entry."""

    flush_id: int
    at: datetime


class FlushOf(NamedTuple):
    """A flush that may have readings of a request: entries lo < position <= hi, but for the repeated ones."""

    committed: CommittedIn
    shard: str
    lo: int
    hi: int
    repeated: frozenset[int]
    moved: int
    """Readings of the flush, of whatever request, that were sent on."""


class Exceptional(NamedTuple):
    """One reading of an entry that was not stored. `kept_as` is its id in its list, if it has one."""

    position: int
    item: int
    fate: str
    tag_id: int | None
    kept_as: int | None
    path: str | None


class Accounts:
    """Answers from counters and exception rows; never from what is left over."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def shards(self) -> Sequence[ShardBooks]:
        """Every shard that was ever claimed, of every stream."""
        return [_books(*row) for row in await self._rows("shards")]

    async def tag(self, tag_id: int, path: str) -> Fates:
        """Fates of a tag's readings since installation; `late` is not known by tag."""
        ((stored,),) = await self._rows("tag_stored", tag_id=tag_id)
        return await self._with_exceptions(stored, tag_id, path, None, None)

    async def tag_between(self, tag_id: int, path: str, start: datetime, end: datetime, stored: int) -> Fates:
        """Likewise, of flushes received in a range, with *stored* as counted from history."""
        return await self._with_exceptions(stored, tag_id, path, start, end)

    async def flushes(self, start: datetime, end: datetime) -> Sequence[int]:
        """Ids of flushes whose first entry was received in the range."""
        return [flush_id for (flush_id,) in await self._rows("tag_flushes", start=start, end=end)]

    async def committed(self, stream: str, shard: str, position: int) -> CommittedIn | None:
        """The flush that committed the entry, if it is committed."""
        rows = await self._rows("committing_flush", stream=stream, shard=shard, position=position)
        return CommittedIn(*rows[0]) if rows else None

    async def flushes_of(self, stream: str, producer: UUID, request: int) -> Sequence[FlushOf]:
        """In order, every flush in which a shared stream's producer may have readings of a request."""
        rows = await self._rows("request_flushes", stream=stream, producer=producer, request=request)
        return [
            FlushOf(CommittedIn(flush_id, at), shard, int(lo), int(hi), frozenset(map(int, repeated)), moved)
            for flush_id, at, shard, lo, hi, repeated, moved in rows
        ]

    async def exceptions(self, flush_id: int, positions: Sequence[int]) -> Sequence[Exceptional]:
        """Readings of the flush's entries at *positions* that were not stored. All others were stored, or sent on."""
        rows = await self._rows("exceptions", flush_id=flush_id, positions=[*positions])
        return [Exceptional(int(position), *rest) for position, *rest in rows]

    async def paths(self, tag_ids: Sequence[int]) -> Mapping[int, str]:
        """Paths of tags by id."""
        return dict(await self._rows("tag_paths", tag_ids=[*tag_ids]))

    async def _with_exceptions(
        self, stored: int, tag_id: int, path: str, start: datetime | None, end: datetime | None
    ) -> Fates:
        ((duplicate, conflict, quarantined),) = await self._rows(
            "tag_exceptions", tag_id=tag_id, path=path, start=start, end=end
        )
        return Fates(stored=stored, duplicate=duplicate, conflict=conflict, quarantined=quarantined)

    async def _rows(self, statement: str, **given: Any) -> Sequence[tuple[Any, ...]]:
        async with self._database.connection() as connection:
            return await (await connection.execute(SQL[statement], given)).fetchall()


def _books(  # noqa: PLR0913, PLR0917  # the row
    stream: str, shard: str, epoch: int, owner: str | None, held: bool, position: Decimal, counted: int,
    lane: str | None, first: int | None, end: int | None, parents: list[str], ended: bool, behind_ms: int | None,
    *fates: int,
) -> ShardBooks:  # fmt: skip
    slices = None if first is None or end is None else range(first, end)
    names = ("stored", "duplicate", "conflict", "quarantined", "late", "moved")
    return ShardBooks(
        stream, shard, epoch, owner, held, int(position), counted, lane, slices, tuple(parents), ended, behind_ms,
        Fates(**dict(zip(names, fates, strict=True))),
    )  # fmt: skip
