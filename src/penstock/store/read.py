"""History read back: one tag's readings over a range, as arrays, page by page or as long streams."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, NamedTuple, Self

import numpy as np
from psycopg import AsyncConnection

from penstock.model.batch import NO_TEXT, Ints, Mask
from penstock.store.pack import Chunk, Pack, Points, chain, decode_hot, decode_segment, join, raw_cursor
from penstock.store.postgres import Database
from penstock.store.sql import statements

SQL: Final = statements("read")
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
EARLIEST_US: Final = -62_135_596_800_000_000
"""0001-01-01, the first that both Python and PostgreSQL tell."""
LATEST_US: Final = 253_402_300_799_999_999
"""9999-12-31, the last."""

Order = Literal["asc", "desc"]


class Key(NamedTuple):
    """A reading's place in its tag's history."""

    ts_us: int
    seq: int


@dataclass(frozen=True, slots=True, eq=False)
class Told:
    """Readings of one tag with what their flushes know: when they were received and stored, in microseconds."""

    points: Points
    received_us: Ints
    stored_us: Ints
    states: Mapping[int, str]

    def __len__(self) -> int:
        return len(self.points)

    def pick(self, where: Mask | slice) -> Self:
        return type(self)(self.points.pick(where), self.received_us[where], self.stored_us[where], self.states)

    def first(self, n: int) -> Self:
        return self.pick(slice(0, n))


class Page(NamedTuple):
    """Readings in order, and after which one the next page begins; None at the end."""

    told: Told
    next: Key | None


class Reader:
    """Reads history."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._states: dict[int, str] = {}

    async def readings(  # noqa: PLR0913  # each is a word of the query
        self,
        tag_id: int,
        start_us: int,
        end_us: int,
        limit: int,
        *,
        after: Key | None = None,
        order: Order = "asc",
        as_of_us: int | None = None,
    ) -> Page:
        """Up to *limit* readings with start <= ts < end, sorted by (ts, seq), those beyond *after*.

        *as_of_us*: only what was stored at or before that time.
        """
        found: list[Told] = []
        room = limit + 1
        async for told in self.stretches(tag_id, start_us, end_us, room, after=after, order=order, as_of_us=as_of_us):
            found.append(told.first(room))
            room -= len(found[-1])
            if room <= 0:
                break
        return _page(_chain(found, self._states), limit)

    async def stretches(  # noqa: PLR0913  # as above
        self,
        tag_id: int,
        start_us: int,
        end_us: int,
        size: int,
        *,
        after: Key | None = None,
        order: Order = "asc",
        as_of_us: int | None = None,
    ) -> AsyncIterator[Told]:
        """The whole range in stretches of about *size* readings, each in order and one after the other."""
        start_us, end_us = _narrow(start_us, end_us, after, order)
        while start_us < end_us:
            lo_us, hi_us = await self._bounds(tag_id, start_us, end_us, size, order)
            points = await self.points(tag_id, lo_us, hi_us)
            if after is not None:
                points = points.pick(_beyond(points, after, order))
            yield await self._tell(points if order == "asc" else points.pick(slice(None, None, -1)), as_of_us)
            start_us, end_us = (hi_us, end_us) if order == "asc" else (start_us, lo_us)

    async def points(self, tag_id: int, start_us: int, end_us: int) -> Points:
        """Every reading with start <= ts < end, sorted by (ts, seq), from one snapshot."""
        given = {"tag_id": tag_id, "start": at(start_us), "end": at(end_us)}
        async with self._database.connection() as connection:
            cursor = raw_cursor(connection)
            await cursor.execute(SQL["points"], given)
            points = join([_points(row) for row in await cursor.fetchall()])
        return within(points, start_us, end_us)

    async def count(self, tag_id: int, start_us: int, end_us: int) -> int:
        """About how many readings the range holds: those of all packs that touch it."""
        given = {"tag_id": tag_id, "start": at(start_us), "end": at(end_us)}
        async with self._database.connection() as connection:
            row = await (await connection.execute(SQL["count"], given)).fetchone()
        return 0 if row is None else int(row[0])

    async def stored_by(self, tag_id: int, flush_ids: Sequence[int]) -> int:
        """Readings of a tag that these flushes stored."""
        points = await self.points(tag_id, EARLIEST_US, LATEST_US)
        return int(np.isin(points.flush, np.asarray(flush_ids, np.int64)).sum())

    async def texts(self, points: Points) -> dict[int, str]:
        """The texts of the states among *points*."""
        async with self._database.connection() as connection:
            await self._learn_states(connection, points)
        return {number: self._states[number] for number in np.unique(points.state).tolist() if number != NO_TEXT}

    async def _bounds(self, tag_id: int, start_us: int, end_us: int, size: int, order: Order) -> tuple[int, int]:
        """The next stretch to read: its end away from where we come is where a pack begins."""
        given = {"tag_id": tag_id, "start": at(start_us), "end": at(end_us), "limit": size}
        async with self._database.connection() as connection:
            cursor = raw_cursor(connection)
            await cursor.execute(SQL["bound_up" if order == "asc" else "bound_down"], given)
            row = await cursor.fetchone()
        bound = row[0] if row is not None else None
        if order == "asc":
            return start_us, end_us if bound is None else bound
        return start_us if bound is None else bound, end_us

    async def _tell(self, points: Points, as_of_us: int | None) -> Told:
        async with self._database.connection() as connection:
            received_us, stored_us = await flush_times(connection, points.flush)
            await self._learn_states(connection, points)
        told = Told(points, received_us, stored_us, self._states)
        return told if as_of_us is None else told.pick(stored_us <= as_of_us)

    async def _learn_states(self, connection: AsyncConnection, points: Points) -> None:
        """State texts never change, so each is asked for once."""
        unknown = [
            number for number in np.unique(points.state).tolist() if number != NO_TEXT and number not in self._states
        ]
        if unknown:
            cursor = await connection.execute(SQL["state_texts"], {"state_ids": unknown})
            self._states.update(dict(await cursor.fetchall()))


async def flush_times(connection: AsyncConnection, flush: Ints) -> tuple[Ints, Ints]:
    """When each reading's flush was received, and when it was stored."""
    ids, inverse = np.unique(flush, return_inverse=True)
    cursor = raw_cursor(connection)
    await cursor.execute(SQL["flushes"], {"flush_ids": ids.tolist()})
    known = {flush_id: times for flush_id, *times in await cursor.fetchall()}
    times = np.array([known.get(flush_id, (0, 0)) for flush_id in ids.tolist()], np.int64).reshape(-1, 2)
    return times[inverse, 0], times[inverse, 1]


def at(us: int) -> datetime:
    """Microseconds since 1970 as a time that PostgreSQL takes, cut to what both can tell."""
    return EPOCH + timedelta(microseconds=min(max(us, EARLIEST_US), LATEST_US))


def within(points: Points, start_us: int, end_us: int) -> Points:
    """Those with start <= ts < end; *points* are sorted."""
    lo, hi = np.searchsorted(points.ts, [start_us, end_us])
    return points.pick(slice(int(lo), int(hi)))


def _points(row: tuple[Any, ...]) -> Points:
    chunk, tags, times, *pack = row
    if chunk is None:
        return decode_segment(Pack(*pack))
    packed = Pack(*pack)
    return decode_hot(Chunk(chunk, tags, times, packed.v, packed.q, packed.seq, packed.state))[1]


def _narrow(start_us: int, end_us: int, after: Key | None, order: Order) -> tuple[int, int]:
    start_us, end_us = max(start_us, EARLIEST_US), min(end_us, LATEST_US)
    if after is None:
        return start_us, end_us
    return (max(start_us, after.ts_us), end_us) if order == "asc" else (start_us, min(end_us, after.ts_us + 1))


def _beyond(points: Points, after: Key, order: Order) -> Mask:
    same, beyond = points.ts == after.ts_us, points.ts > after.ts_us if order == "asc" else points.ts < after.ts_us
    further = points.seq > after.seq if order == "asc" else points.seq < after.seq
    mask: Mask = beyond | (same & further)
    return mask


def _chain(parts: Sequence[Told], states: Mapping[int, str]) -> Told:
    empty = [np.empty(0, np.int64)]
    return Told(
        chain(part.points for part in parts),
        np.concatenate([part.received_us for part in parts] or empty),
        np.concatenate([part.stored_us for part in parts] or empty),
        states,
    )


def _page(told: Told, limit: int) -> Page:
    if len(told) <= limit:
        return Page(told, None)
    points = told.points
    return Page(told.first(limit), Key(int(points.ts[limit - 1]), int(points.seq[limit - 1])))
