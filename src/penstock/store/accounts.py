"""The store's side of the books: fates by shard, by received minute and by tag, and of single entries."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from penstock.store.port import Fates
from penstock.store.postgres import Database
from penstock.store.sql import statements

SQL: Final = statements("accounts")


class ShardBooks(NamedTuple):
    """How far a shard is committed, and what became of everything up to there."""

    stream: str
    shard: str
    epoch: int
    owner: str | None
    position: int
    counted: int
    fates: Fates


class CommittedIn(NamedTuple):
    """The flush that committed an entry."""

    flush_id: int
    at: datetime


class Exceptional(NamedTuple):
    """One reading of an entry that was not stored. `kept_as` is its id in its list, if it has one."""

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
        return [
            ShardBooks(stream, shard, epoch, owner, position, counted, _fates(*fates))
            for stream, shard, epoch, owner, position, counted, *fates in await self._rows("shards")
        ]

    async def minutes(self, start: datetime, end: datetime) -> Fates:
        """Fates of readings with start <= received minute < end."""
        (row,) = await self._rows("minutes", start=start, end=end)
        return _fates(*row)

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

    async def exceptions(self, flush_id: int, position: int) -> Sequence[Exceptional]:
        """Readings of the entry that were not stored. All others were."""
        return [Exceptional(*row) for row in await self._rows("fates", flush_id=flush_id, position=position)]

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


def _fates(stored: int, duplicate: int, conflict: int, quarantined: int, late: int) -> Fates:
    return Fates(stored=stored, duplicate=duplicate, conflict=conflict, quarantined=quarantined, late=late)
