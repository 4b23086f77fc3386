"""Readings by interval: what sealing summed up, with what is still hot added when read."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from psycopg import AsyncConnection

from penstock.model.batch import Floats, Ints
from penstock.model.quality import is_bad
from penstock.store.minutes import minutes_floor
from penstock.store.pack import Chunk, Points, decode_hot, join, raw_cursor
from penstock.store.postgres import Database
from penstock.store.read import EARLIEST_US, LATEST_US, at, within
from penstock.store.sql import statements

SQL: Final = statements("read")
FOLLOW: Final = statements("follow")
MINUTE_US: Final = 60_000_000
HOUR_US: Final = 60 * MINUTE_US
DAY_US: Final = 24 * HOUR_US
Interval = Literal["1m", "1h", "1d"]
_SOURCE: Final = {"1m": ("rollup_1m", MINUTE_US), "1h": ("rollup_1h", HOUR_US), "1d": ("rollup_1h", HOUR_US)}
WIDTH_US: Final = {"1m": MINUTE_US, "1h": HOUR_US, "1d": DAY_US}


@dataclass(frozen=True, slots=True, eq=False)
class Bins:
    """n intervals of one tag in order of time, one array each column: start, count, least, greatest, sum, last."""

    t: Ints
    n: Ints
    lo: Floats
    hi: Floats
    total: Floats
    last_ts: Ints
    last_seq: Ints
    last: Floats

    def __len__(self) -> int:
        return self.t.size

    def pick(self, where: slice | NDArray[np.bool_]) -> Self:
        return type(self)(*(getattr(self, name)[where] for name in BIN_COLUMNS))


BIN_COLUMNS: Final = ("t", "n", "lo", "hi", "total", "last_ts", "last_seq", "last")


class BinPage(NamedTuple):
    """Intervals in order, and the start of the next one, None at the end.

    *minutes_before_us* is told of minutes asked for before it: those have left, and none of them is among these.
    """

    bins: Bins
    next_us: int | None
    minutes_before_us: int | None = None


class Rollups:
    """Reads rollups. Bins are aligned to UTC; only good and uncertain values count."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self, tag_id: int, start_us: int, end_us: int, interval: Interval, limit: int) -> BinPage:
        """Up to *limit* bins whose start is within start's own bin <= t < end; empty ones are left out."""
        source, source_us = _SOURCE[interval]
        width_us = WIDTH_US[interval]
        start_us = max(start_us // width_us * width_us, EARLIEST_US)
        end_us = min(-(-end_us // width_us) * width_us, LATEST_US)
        rows_max = (limit + 1) * (width_us // source_us)
        async with self._moment() as connection:
            floor_us = await minutes_floor(connection) if source_us == MINUTE_US else None
            before_us = floor_us if floor_us is not None and start_us < floor_us else None
            first_us = start_us if before_us is None else min(before_us, end_us)
            sealed, hot = await _rows(connection, tag_id, first_us, end_us, source, rows_max)
        merged = merge([_floor(sealed, width_us), bins_of(hot, width_us)])
        rest = merged.t[limit : limit + 1].tolist()
        return BinPage(merged.pick(slice(0, limit)), rest[0] if rest else None, before_us)

    async def minutes_before(self, start_us: int) -> bool:
        """Whether minutes from *start_us* on have left. Only a hint what to read: while it is read, more may leave."""
        async with self._database.connection() as connection:
            floor_us = await minutes_floor(connection)
        return floor_us is not None and start_us < floor_us

    @asynccontextmanager
    async def _moment(self) -> AsyncIterator[AsyncConnection]:
        """All that is read is of one moment: what left before it has been told of by then."""
        async with self._database.transaction() as connection:
            await connection.execute(FOLLOW["snapshot"])
            yield connection


async def _rows(  # noqa: PLR0913, PLR0917  # a range of a tag
    connection: AsyncConnection, tag_id: int, start_us: int, end_us: int, source: str, limit: int
) -> tuple[Bins, Points]:
    """Sealed bins and hot readings of the connection's moment, so that none is counted twice or not at all."""
    given = {"tag_id": tag_id, "start": at(start_us), "end": at(end_us), "limit": limit}
    cursor = raw_cursor(connection)
    await cursor.execute(SQL[source], given)
    sealed = _bins(await cursor.fetchall())
    await cursor.execute(SQL["hot_points"], given)
    hot = join(decode_hot(Chunk(*row))[1] for row in await cursor.fetchall())
    return sealed, within(hot, start_us, end_us)


def bins_of(points: Points, width_us: int) -> Bins:
    """Good and uncertain values by interval; *points* sorted by (ts, seq)."""
    points = points.pick(~is_bad(points.quality) & ~np.isnan(points.value))
    if not len(points):
        return _bins([])
    t = points.ts // width_us * width_us
    starts = _starts(t)
    last = np.append(starts[1:], t.size) - 1
    return Bins(
        t=t[starts],
        n=np.diff(starts, append=t.size),
        lo=np.minimum.reduceat(points.value, starts),
        hi=np.maximum.reduceat(points.value, starts),
        total=np.add.reduceat(points.value, starts),
        last_ts=points.ts[last],
        last_seq=points.seq[last],
        last=points.value[last],
    )


def merge(parts: list[Bins]) -> Bins:
    """Bins of the same start become one; the last is by (ts, seq)."""
    joined = Bins(*(np.concatenate([getattr(part, name) for part in parts]) for name in BIN_COLUMNS))
    if not len(joined):
        return joined
    order = np.lexsort((joined.last_seq, joined.last_ts, joined.t))
    joined = Bins(*(getattr(joined, name)[order] for name in BIN_COLUMNS))
    starts = _starts(joined.t)
    last = np.append(starts[1:], joined.t.size) - 1
    return Bins(
        t=joined.t[starts],
        n=np.add.reduceat(joined.n, starts),
        lo=np.minimum.reduceat(joined.lo, starts),
        hi=np.maximum.reduceat(joined.hi, starts),
        total=np.add.reduceat(joined.total, starts),
        last_ts=joined.last_ts[last],
        last_seq=joined.last_seq[last],
        last=joined.last[last],
    )


def _floor(bins: Bins, width_us: int) -> Bins:
    return Bins(bins.t // width_us * width_us, *(getattr(bins, name) for name in BIN_COLUMNS[1:]))


def _starts(t: Ints) -> Ints:
    return np.flatnonzero(np.append(True, t[1:] != t[:-1]))


def _bins(rows: list[tuple[Any, ...]]) -> Bins:
    types = (np.int64, np.int64, np.float64, np.float64, np.float64, np.int64, np.int64, np.float64)
    columns = list(zip(*rows, strict=True)) or [()] * len(types)
    arrays: list[Any] = [np.array(column, kind) for column, kind in zip(columns, types, strict=True)]
    return Bins(*arrays)
