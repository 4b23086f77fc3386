"""What was committed lately, flush by flush, and the newest reading of every tag to begin with."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from psycopg import AsyncConnection

from penstock.model.batch import NO_SEQ, NO_TEXT, Int32s, Ints
from penstock.store.latest import LatestRows
from penstock.store.pack import INT4, POWERS, Chunk, Points, chain, decode_array, decode_hot, decode_marks, raw_cursor
from penstock.store.postgres import Database
from penstock.store.read import flush_times
from penstock.store.sql import statements

SQL: Final = statements("follow")
READ: Final = statements("read")
FLUSHES_MAX: Final = 256
"""Flushes of a shard that one look takes."""


class Tail:
    """Follows the committed flushes of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._heads: dict[tuple[str, str], int] = {}
        self._newest: Ints = np.empty(0, np.int64)
        self._paths: dict[int, str] = {}
        self._states: dict[int, str] = {}

    async def rebuild(self) -> LatestRows:
        """Everything that may be newest, as of now; `look` goes on from here."""
        self._newest = np.empty(0, np.int64)
        async with self._database.transaction() as connection:
            await connection.execute(SQL["snapshot"])
            cursor = await connection.execute(SQL["heads"])
            self._heads = {(stream, shard): position for stream, shard, position in await cursor.fetchall()}
            tag, points = await _hot(connection)
            return await self._rows(connection, *_both((tag, points), await self._sealed(connection)))

    async def look(self) -> LatestRows:
        """What was committed since the last look: every reading, or of what was sealed meanwhile the newest."""
        async with self._database.transaction() as connection:
            await connection.execute(SQL["snapshot"])
            await self._meet_shards(connection)
            cursor = raw_cursor(connection)
            await cursor.execute(SQL["flushes"], self._seen())
            flushes = await cursor.fetchall()
            if not flushes:
                return rows_of([], chain([]), {}, (_NONE, _NONE))
            await cursor.execute(SQL["chunks"], {"flush_ids": [flush[0] for flush in flushes]})
            found = _decode([Chunk(*row) for row in await cursor.fetchall()])
            if len(found[1]) < sum(flush[6] for flush in flushes):
                found = _both(found, await self._sealed(connection))
            rows = await self._rows(connection, *found)
        for _, stream, shard, position, *_ in flushes:
            self._heads[stream, shard] = max(self._heads[stream, shard], position)
        return rows

    async def _meet_shards(self, connection: AsyncConnection) -> None:
        cursor = await connection.execute(SQL["heads"])
        for stream, shard, _ in await cursor.fetchall():
            self._heads.setdefault((stream, shard), 0)

    def _seen(self) -> dict[str, Any]:
        return {
            "streams": [stream for stream, _ in self._heads],
            "shards": [shard for _, shard in self._heads],
            "positions": [*self._heads.values()],
            "limit": FLUSHES_MAX,
        }

    async def _sealed(self, connection: AsyncConnection) -> tuple[Int32s, Points]:
        """Of each tag that was sealed further than we know, the last reading."""
        cursor = raw_cursor(connection)
        await cursor.execute(SQL["marks"])
        marks = [decode_marks(*row) for row in await cursor.fetchall()]
        if not marks:
            return np.empty(0, np.int32), chain([])
        tag, ts = (np.concatenate(column) for column in zip(*marks, strict=True))
        newer = ts > self._known(tag)
        await cursor.execute(SQL["sealed"], {"tag_ids": tag[newer].tolist(), "us": ts[newer].tolist()})
        rows = await cursor.fetchall()
        return np.array([row[0] for row in rows], np.int32), _last_points(rows)

    def _known(self, tag: Int32s) -> Ints:
        if tag.size and tag.max() >= self._newest.size:
            room = np.full(int(tag.max()) * 2 + 1, np.iinfo(np.int64).min)
            room[: self._newest.size] = self._newest
            self._newest = room
        return self._newest[tag]

    async def _rows(self, connection: AsyncConnection, tag: Int32s, points: Points) -> LatestRows:
        """Only each tag's newest: what the cache and the page need, and no more texts than that."""
        last = _newest_of(tag, points)
        tag, points = tag[last], points.pick(last)
        fresh = points.ts >= self._known(tag)
        tag, points = tag[fresh], points.pick(fresh)
        self._newest[tag] = points.ts
        await self._learn(connection, tag, points)
        times = await flush_times(connection, points.flush)
        return rows_of([self._paths[number] for number in tag.tolist()], points, self._states, times)

    async def _learn(self, connection: AsyncConnection, tag: Int32s, points: Points) -> None:
        if not self._paths.keys() >= set(tag.tolist()):
            cursor = await connection.execute(SQL["tag_paths"], {"after": max(self._paths, default=0)})
            self._paths.update(dict(await cursor.fetchall()))
        unknown = set(points.state.tolist()) - self._states.keys() - {NO_TEXT}
        if unknown:
            cursor = await connection.execute(READ["state_texts"], {"state_ids": [*unknown]})
            self._states.update(dict(await cursor.fetchall()))


def rows_of(paths: Sequence[str], points: Points, states: Mapping[int, str], times: tuple[Ints, Ints]) -> LatestRows:
    return LatestRows(
        path=paths,
        ts=points.ts,
        value=points.value,
        state=[states.get(number) for number in points.state.tolist()],
        quality=points.quality,
        seq=points.seq,
        received_us=times[0],
        stored_us=times[1],
    )


_NONE: Final = np.empty(0, np.int64)


async def _hot(connection: AsyncConnection) -> tuple[Int32s, Points]:
    """The newest of every tag in hot, a chunk at a time: all of hot would be much to hold."""
    cursor = raw_cursor(connection)
    await cursor.execute(SQL["all_chunks"])
    tags, parts = [np.empty(0, np.int32)], [chain([])]
    async for row in cursor:
        tag, points = decode_hot(Chunk(*row))
        last = _newest_of(tag, points)
        tags.append(tag[last])
        parts.append(points.pick(last))
    return np.concatenate(tags), chain(parts)


def _decode(chunks: Sequence[Chunk]) -> tuple[Int32s, Points]:
    decoded = [decode_hot(chunk) for chunk in chunks]
    empty = [np.empty(0, np.int32)]
    return np.concatenate([tag for tag, _ in decoded] or empty), chain(points for _, points in decoded)


def _both(one: tuple[Int32s, Points], other: tuple[Int32s, Points]) -> tuple[Int32s, Points]:
    return np.concatenate([one[0], other[0]]), chain([one[1], other[1]])


def _newest_of(tag: Int32s, points: Points) -> Ints:
    """Where each tag's last reading by (ts, seq) is."""
    order = np.lexsort((points.seq, points.ts, tag))
    ends: Ints = order[np.flatnonzero(np.append(tag[order][1:] != tag[order][:-1], True))] if tag.size else order
    return ends


def _last_points(rows: Sequence[tuple[Any, ...]]) -> Points:
    """From the rows of `sealed`."""
    columns = list(zip(*(_last_point(*row[1:]) for row in rows), strict=True)) or [()] * 6
    types = (np.int64, np.float64, np.int32, np.int64, np.int64, np.int64)
    return Points(*(np.array(column, kind) for column, kind in zip(columns, types, strict=True)))


def _last_point(  # noqa: PLR0913, PLR0917  # the row
    ts: int, k: int | None, d: int | None, v: float | None, state: int | None, q: int | None, seq: int | None,
    _: int, flush_lo: int, steps: bytes | None,
) -> tuple[int, float, int, int, int, int]:  # fmt: skip
    value = float(k / POWERS[d]) if k is not None and d is not None else v
    flush = flush_lo if steps is None else flush_lo + int(decode_array(steps, INT4).sum())
    return (
        ts,
        np.nan if value is None else value,
        NO_TEXT if state is None else state,
        q or 0,
        NO_SEQ if seq is None else seq,
        flush,
    )
