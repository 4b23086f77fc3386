"""The sealer: turns the chunks of one tag group after another into packs, and small packs into full ones."""

import asyncio
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from psycopg import AsyncConnection

from penstock.clock import within
from penstock.errors import Unavailable
from penstock.model.batch import Int32s, Ints
from penstock.model.quality import is_bad
from penstock.store.encode import COPY_SEGMENT, LEVEL_DONE, Levels, array_parameters, encode_packs, starts_of
from penstock.store.pack import Chunk, Pack, Points, chain, decode_hot, decode_segment, raw_cursor
from penstock.store.port import GROUP_TAGS
from penstock.store.postgres import Database
from penstock.store.sql import statements
from penstock.telemetry import log

SQL: Final = statements("seal")
READINGS_MAX: Final = 500_000
"""Readings sealed, or merged, in one transaction; what is beyond comes at the next visit."""
PACKS_MIN: Final = 16
"""Packs of a level that are merged into the next."""
VISITS_PER_COMPACTION: Final = 8
RETRY_S: Final = 1.0
ROLLUPS_US: Final = {"rollup_1m": 60_000_000, "rollup_1h": 3_600_000_000}


Small = tuple[int, int, int, Pack]
"""Tag id, segment id, next level, and a pack that is to be merged."""


class Sealer:
    """Visits every group that has fresh readings once in *seal_s*. Several sealers at once are safe."""

    def __init__(self, database: Database, seal_s: float, *, packs_min: int = PACKS_MIN) -> None:
        self._database = database
        self._seal_s = seal_s
        self._packs_min = packs_min
        self._visits: dict[int, int] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Seal and compact until *stop*. An unavailable database is waited for."""
        while not stop.is_set():
            try:
                await self._round(stop)
            except Unavailable as error:
                log.warning("sealing waits: fresh readings stay in `hot` meanwhile", why=str(error))
                await within(RETRY_S, stop)

    async def seal(self, grp: int) -> int:
        """Turn the group's chunks into packs, in one transaction; returns the readings (0 if another is at it)."""
        async with self._database.transaction() as connection:
            if not await _lock(connection, grp):
                return 0
            chunks = await _chunks(connection, grp)
            if not chunks:
                return 0
            tag, points = _sorted(chunks)
            await _copy_packs(connection, tag, points, np.zeros(tag.size, np.int16))
            await _merge_rollups(connection, tag, points)
            await _raise_mark(connection, grp, tag, points.ts)
            await connection.execute(SQL["forget"], {"grp": grp, "flushes": [chunk.flush for chunk in chunks]})
        return tag.size

    async def compact(self, grp: int) -> int:
        """Merge the group's small packs, in one transaction; readers see no difference. Returns the readings."""
        async with self._database.transaction() as connection:
            if not await _lock(connection, grp):
                return 0
            small = await _small(connection, grp, self._packs_min)
            if not small:
                return 0
            tag, level, points = _merged(small)
            await _copy_packs(connection, tag, points, level)
            await connection.execute(SQL["replace"], {
                "tag_id": [tag_id for tag_id, _, _, _ in small],
                "t0": [pack.t0 for *_, pack in small],
                "segment_id": [segment_id for _, segment_id, _, _ in small],
            })  # fmt: skip
        return tag.size

    async def _round(self, stop: asyncio.Event) -> None:
        """Visit each group that has chunks, spread evenly over the time a round takes."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        groups = await self._groups()
        for place, grp in enumerate(groups, start=1):
            await self._visit(grp)
            if await within(began + place * self._seal_s / len(groups) - loop.time(), stop):
                return
        if not groups:
            await within(self._seal_s, stop)

    async def _visit(self, grp: int) -> None:
        while await self.seal(grp) >= READINGS_MAX:
            pass
        visits = self._visits[grp] = self._visits.get(grp, grp) + 1  # groups take turns
        if visits % VISITS_PER_COMPACTION == 0:
            await self.compact(grp)

    async def _groups(self) -> list[int]:
        async with self._database.connection() as connection:
            return [grp for (grp,) in await (await connection.execute(SQL["groups"])).fetchall()]


async def _lock(connection: AsyncConnection, grp: int) -> bool:
    """In a statement of its own: the next one then sees all that the last holder of the lock committed."""
    row = await (await connection.execute(SQL["lock"], {"grp": grp})).fetchone()
    return row is not None and bool(row[0])


async def _chunks(connection: AsyncConnection, grp: int) -> list[Chunk]:
    async with raw_cursor(connection) as cursor:
        await cursor.execute(SQL["chunks"], {"grp": grp, "readings_max": READINGS_MAX})
        return [Chunk(*row) for row in await cursor.fetchall()]


async def _small(connection: AsyncConnection, grp: int, packs_min: int) -> list[Small]:
    given = {
        "tag_lo": grp * GROUP_TAGS + 1,
        "tag_hi": (grp + 1) * GROUP_TAGS,
        "packs_min": packs_min,
        "readings_max": READINGS_MAX,
    }
    async with raw_cursor(connection) as cursor:
        await cursor.execute(SQL["small"], given)
        return [
            (tag_id, segment_id, LEVEL_DONE if over else level + 1, Pack(*pack))
            for tag_id, segment_id, level, over, *pack in await cursor.fetchall()
        ]


async def _copy_packs(connection: AsyncConnection, tag: Int32s, points: Points, level: Levels) -> None:
    async with connection.cursor() as cursor, cursor.copy(COPY_SEGMENT) as copy:
        await copy.write(encode_packs(tag, points, level))


async def _execute(connection: AsyncConnection, statement: str, given: dict[str, Any]) -> None:
    """With columns as parameters."""
    async with connection.cursor() as cursor:
        array_parameters(cursor)
        await cursor.execute(SQL[statement], given)


async def _raise_mark(connection: AsyncConnection, grp: int, tag: Int32s, ts: Ints) -> None:
    last = np.append(starts_of(tag)[1:], tag.size) - 1
    await _execute(connection, "mark", {"grp": grp, "tag": tag[last], "ts": ts[last]})


async def _merge_rollups(connection: AsyncConnection, tag: Int32s, points: Points) -> None:
    """Every reading is sealed once: what it adds to its minute and hour is added once."""
    counts = np.flatnonzero(~is_bad(points.quality) & ~np.isnan(points.value))
    if counts.size:
        for statement, width_us in ROLLUPS_US.items():
            await _execute(connection, statement, _rollup(tag[counts], points.pick(counts), width_us))


def _rollup(tag: Int32s, points: Points, width_us: int) -> dict[str, NDArray[Any]]:
    """n, lo, hi, total and last of each tag and bin, as columns; readings sorted by (tag, ts, seq), not empty."""
    bins = points.ts // width_us
    starts = starts_of(tag, bins)
    last = np.append(starts[1:], tag.size) - 1
    return {
        "tag_id": tag[starts],
        "t": bins[starts] * width_us,
        "n": np.diff(starts, append=tag.size),
        "lo": np.minimum.reduceat(points.value, starts),
        "hi": np.maximum.reduceat(points.value, starts),
        "total": np.add.reduceat(points.value, starts),
        "last_ts": points.ts[last],
        "last_seq": points.seq[last],
        "last": points.value[last],
    }


def _sorted(chunks: list[Chunk]) -> tuple[Int32s, Points]:
    decoded = [decode_hot(chunk) for chunk in chunks]
    return _in_order(np.concatenate([tag for tag, _ in decoded]), chain(points for _, points in decoded))


def _merged(small: list[Small]) -> tuple[Int32s, Levels, Points]:
    sizes = [pack.n for *_, pack in small]
    tag = np.repeat(np.array([tag_id for tag_id, *_ in small], np.int32), sizes)
    points = chain(decode_segment(pack) for *_, pack in small)
    order = np.lexsort((points.seq, points.ts, tag))
    level = np.repeat(np.array([level for _, _, level, _ in small], np.int16), sizes)
    return tag[order], level[order], points.pick(order)


def _in_order(tag: Int32s, points: Points) -> tuple[Int32s, Points]:
    """Sorted by (tag, ts, seq). Flushes come in order of time mostly, so that sorting by tag alone is enough."""
    order = np.argsort((tag - tag.min()).astype(np.uint16), kind="stable")  # sixteen bits: sorted by radix
    tag, points = tag[order], points.pick(order)
    follows = (tag[1:] > tag[:-1]) | (points.ts[1:] > points.ts[:-1])
    if follows.all():
        return tag, points
    order = np.lexsort((points.seq, points.ts, tag))
    return tag[order], points.pick(order)
