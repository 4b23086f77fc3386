"""What PostgreSQL knows of the archive, and the readings of a day that are to go there."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any, Final, NamedTuple

import numpy as np
from psycopg import AsyncConnection
from psycopg.rows import dict_row

from penstock.errors import Unavailable
from penstock.model.batch import NO_TEXT, Int32s, Ints
from penstock.store.archive import FlushSpan, ManifestOf
from penstock.store.pack import DAY_US, Pack, Points, chain, decode_segment, raw_cursor
from penstock.store.parquet import Stretch
from penstock.store.postgres import Database
from penstock.store.read import EPOCH, at, flush_times
from penstock.store.sql import statements

SQL: Final = statements("archive")
FLUSH_ENDS_S: Final = 60.0
"""No flush lasts so long."""
LOOK_S: Final = 0.05
BATCH_READINGS: Final = 200_000
"""Readings in memory at a time, about."""


class Due(NamedTuple):
    """A closed day that was added to, and up to which flush it is archived; *begun*: up to where it is begun.

    *critical*: the tags that were critical then, if classes were told apart.
    """

    day: date
    archived: int
    begun: int | None
    begun_at: datetime | None
    critical: list[int] | None


class TagOfDay(NamedTuple):
    """A tag, and how many readings of the day its packs hold at most."""

    tag_id: int
    path: str
    readings: int


class Waiting(NamedTuple):
    """Closed days not archived yet, archived ones that were added to, and the first of the former."""

    days: int
    late_days: int
    first: date | None


class ArchiveBooks:
    """The tables of the archive."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def horizon(self) -> int:
        """A flush: the readings of all flushes up to it are sealed, and none will ever be added.

        Raises Unavailable when a flush that is under way does not end.
        """
        async with self._database.connection() as connection:
            last = await _one(connection, "last_flush")
            await _wait_for_end(connection, await _flushing(connection))
            unsealed = await _one(connection, "first_unsealed")
        return int(last if unsealed is None else min(last, unsealed - 1))

    async def discover(self, horizon: int) -> None:
        """Learn which days have readings of flushes up to *horizon* that nobody looked for before."""
        async with self._database.transaction() as connection:
            mark = await _one(connection, "mark")
            await connection.execute(SQL["discover"], {"mark": mark})
            await connection.execute(SQL["move_mark"], {"horizon": horizon})

    async def due(self, after: timedelta, late: timedelta) -> list[Due]:
        """Days closed for longer than *after* that were added to; archived ones once in *late*."""
        async with self._database.connection() as connection:
            cursor = await connection.execute(SQL["due"], {"after": after, "late": late})
            return [Due(*row) for row in await cursor.fetchall()]

    async def begin(self, due: Due, horizon: int, *, split: bool = False) -> FlushSpan | None:
        """What of the day to archive now: what was begun before, else all through *horizon*; None if nothing.

        *split*: which tags are critical is written down with it.
        """
        if due.begun is not None and due.begun_at is not None:
            return FlushSpan(due.day, due.archived, due.begun, due.begun_at, due.critical)
        async with self._database.connection() as connection:
            cursor = await connection.execute(SQL["begin"], {"day": due.day, "horizon": horizon, "split": split})
            row = await cursor.fetchone()
        return None if row is None else FlushSpan(due.day, *row)

    async def previous(self, day: date) -> tuple[int, ManifestOf | None]:
        """The number of the day's newest segment, and its manifest; 0 and none at first."""
        async with self._database.connection() as connection:
            row = await (await connection.execute(SQL["previous"], {"day": day})).fetchone()
        return (0, None) if row is None else (row[0], ManifestOf(row[1], row[2].hex()))

    async def finish(
        self,
        span: FlushSpan,
        segment: dict[str, Any] | None = None,
        objects: Sequence[dict[str, Any]] = (),
        standard: Sequence[str] = (),
    ) -> bool:
        """Write down that the span is archived, as *segment* (none: it had no readings). False if another did.

        *standard*: paths of the tags that are in files of that class.
        """
        async with self._database.transaction() as connection:
            given = {"day": span.day, "flush_lo": span.lo, "flush_hi": span.hi, "made": segment is not None}
            if not (await connection.execute(SQL["close"], given)).rowcount:
                return False
            if segment is not None:
                await connection.execute(SQL["add_segment"], segment)
                for each in objects:
                    await connection.execute(SQL["add_object"], each)
                await connection.execute(SQL["add_standard"], {"day": span.day, "paths": [*standard]})
        return True

    async def tags(self, span: FlushSpan) -> list[TagOfDay]:
        """The tags that may have readings of the span, in order of their paths."""
        async with self._database.connection() as connection:
            cursor = await connection.execute(SQL["tags"], _given(span))
            return [TagOfDay(*row) for row in await cursor.fetchall()]

    async def status(self) -> dict[str, Any]:
        """Totals of what is archived."""
        async with self._database.connection() as connection:
            cursor = connection.cursor(row_factory=dict_row)
            return dict(await (await cursor.execute(SQL["status"])).fetchone() or {})

    async def waiting(self, after: timedelta) -> Waiting:
        async with self._database.connection() as connection:
            row = await (await connection.execute(SQL["waiting"], {"after": after})).fetchone()
        assert row is not None
        return Waiting(*row)

    async def unsealed_groups(self) -> list[int]:
        """Groups that have readings which are not sealed."""
        async with self._database.connection() as connection:
            return [grp for (grp,) in await (await connection.execute(SQL["unsealed_groups"])).fetchall()]


class DayReadings:
    """Reads the readings of a span in order of (path, ts, seq), a bounded number at a time."""

    def __init__(self, database: Database, span: FlushSpan, *, batch_readings: int = BATCH_READINGS) -> None:
        self._database = database
        self._span = span
        self._batch_readings = batch_readings
        self._flush = _NONE
        self._received_us = _NONE
        self._stored_us = _NONE
        self._states: dict[int, str] = {}

    async def stretches(self, tags: Sequence[TagOfDay]) -> AsyncIterator[Stretch]:
        """The readings of *tags*; a tag with very many comes in several stretches."""
        day_us = _day_us(self._span.day)
        for batch in batches(tags, self._batch_readings):
            bounds = [day_us, day_us + DAY_US]
            if len(batch) == 1 and batch[0].readings > self._batch_readings:
                bounds = await self._cuts(batch[0], bounds)
            for lo_us, hi_us in pairwise(bounds):
                yield await self._stretch(batch, lo_us, hi_us)

    async def _cuts(self, tag: TagOfDay, bounds: list[int]) -> list[int]:
        given = _given(self._span) | {"tag_id": tag.tag_id, "size": self._batch_readings}
        async with self._database.connection() as connection:
            cursor = raw_cursor(connection)
            await cursor.execute(SQL["cuts"], given)
            return sorted({*bounds, *(start for (start,) in await cursor.fetchall())})

    async def _stretch(self, tags: Sequence[TagOfDay], lo_us: int, hi_us: int) -> Stretch:
        given = _given(self._span) | {
            "tag_ids": [tag.tag_id for tag in tags],
            "lo": at(lo_us),
            "hi": at(hi_us),
        }
        async with self._database.connection() as connection:
            cursor = raw_cursor(connection)
            await cursor.execute(SQL["packs"], given)
            rows = await cursor.fetchall()
            places = {tag.tag_id: place for place, tag in enumerate(tags)}
            tag, points = await asyncio.to_thread(_in_order, rows, places, (lo_us, hi_us), self._span)
            received_us, stored_us = await self._flush_times(connection, points.flush)
            await self._learn_states(connection, points)
        return Stretch([tag.path for tag in tags], tag, points, received_us, stored_us, self._states)

    async def _flush_times(self, connection: AsyncConnection, flush: Ints) -> tuple[Ints, Ints]:
        """Almost every tag's day has the same flushes: each is asked for once."""
        unknown = np.setdiff1d(flush, self._flush)
        if unknown.size:
            received_us, stored_us = await flush_times(connection, unknown)
            known = np.concatenate([self._flush, unknown])
            order = np.argsort(known)
            self._flush = known[order]
            self._received_us = np.concatenate([self._received_us, received_us])[order]
            self._stored_us = np.concatenate([self._stored_us, stored_us])[order]
        places = np.searchsorted(self._flush, flush)
        return self._received_us[places], self._stored_us[places]

    async def _learn_states(self, connection: AsyncConnection, points: Points) -> None:
        unknown = {*np.unique(points.state).tolist()} - {NO_TEXT} - self._states.keys()
        if unknown:
            cursor = await connection.execute(_STATE_TEXTS, {"state_ids": [*unknown]})
            self._states.update(dict(await cursor.fetchall()))


_STATE_TEXTS: Final = statements("read")["state_texts"]
_NONE: Final = np.empty(0, np.int64)


def batches(tags: Sequence[TagOfDay], readings_max: int) -> Iterator[list[TagOfDay]]:
    """Neighbours that together have no more readings than that; a tag with more is alone."""
    batch: list[TagOfDay] = []
    room = readings_max
    for tag in tags:
        if batch and tag.readings > room:
            yield batch
            batch, room = [], readings_max
        batch.append(tag)
        room -= tag.readings
    if batch:
        yield batch


def _in_order(
    rows: list[tuple[Any, ...]], places: dict[int, int], bounds: tuple[int, int], span: FlushSpan
) -> tuple[Int32s, Points]:
    """The places of tags, and readings with lo <= ts < hi of the span's flushes, in order of both and of seq."""
    packs = [Pack(*pack) for _, *pack in rows]
    tag = np.repeat(np.array([places[tag_id] for tag_id, *_ in rows], np.int32), [pack.n for pack in packs])
    points = chain(map(decode_segment, packs))
    ts, flush = points.ts, points.flush
    kept = np.flatnonzero((ts >= bounds[0]) & (ts < bounds[1]) & (flush > span.lo) & (flush <= span.hi))
    order = kept[np.lexsort((points.seq[kept], ts[kept], tag[kept]))]
    return tag[order], points.pick(order)


def _given(span: FlushSpan) -> dict[str, Any]:
    start = datetime(span.day.year, span.day.month, span.day.day, tzinfo=UTC)
    return {"start": start, "end": start + timedelta(days=1), "flush_lo": span.lo, "flush_hi": span.hi}


def _day_us(day: date) -> int:
    return (day - EPOCH.date()).days * DAY_US


async def _one(connection: AsyncConnection, statement: str) -> Any:
    row = await (await connection.execute(SQL[statement])).fetchone()
    return None if row is None else row[0]


async def _flushing(connection: AsyncConnection) -> set[str]:
    return {it for (it,) in await (await connection.execute(SQL["flushing"])).fetchall()}


async def _wait_for_end(connection: AsyncConnection, flushes: set[str]) -> None:
    try:
        async with asyncio.timeout(FLUSH_ENDS_S):
            while flushes & await _flushing(connection):  # noqa: ASYNC110  # told by the database only
                await asyncio.sleep(LOOK_S)
    except TimeoutError as late:
        raise Unavailable("a flush has not ended for a minute; the archive waits for it") from late
