"""What was committed lately, flush by flush, and the newest reading of every tag to begin with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from psycopg import AsyncConnection

from penstock.model.batch import NO_SEQ, NO_TEXT, Int32s, Ints
from penstock.store.latest import LatestRows
from penstock.store.pack import (
    INT4,
    POWERS,
    Chunk,
    Pack,
    Points,
    chain,
    decode_array,
    decode_hot,
    decode_marks,
    decode_segment,
    raw_cursor,
)
from penstock.store.postgres import Database
from penstock.store.read import flush_times
from penstock.store.sql import statements
from penstock.store.window import (
    FINE,
    NO_BUCKETS,
    NOTHING,
    WINDOW_MAX_S,
    Buckets,
    Fold,
    Heads,
    Shard,
    buckets_of,
    merge,
)

SQL: Final = statements("follow")
READ: Final = statements("read")
FLUSHES_MAX: Final = 256
"""Flushes of a shard that one look takes."""
CHUNKS_AT_ONCE: Final = 256
WINDOW_MAX_US: Final = (WINDOW_MAX_S + 10) * 1_000_000
"""With the bucket in which the longest window begins."""


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """What was found: the newest reading of each changed tag, and what all readings add to the windows.

    *since_us*: of `rebuild`; the fold holds all readings with this source time or a later one.
    """

    rows: LatestRows
    fold: Fold
    before: Heads
    heads: Heads
    since_us: int | None = None


class Tail:
    """Follows the committed flushes of one database. Windows may be at another place than latest values."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._heads: dict[Shard, int] = {}
        self._folded: dict[Shard, int] = {}
        self._seals: dict[int, int] = {}
        self._newest: Ints = np.empty(0, np.int64)
        self._paths: dict[int, str] = {}
        self._states: dict[int, str] = {}

    @property
    def heads(self) -> Heads:
        """How far each shard was looked at."""
        return self._heads

    def pass_over(self, heads: Heads) -> None:
        """Another has looked that far for us."""
        self._heads = {**self._heads, **_furthest(self._heads, heads)}

    async def fold_from(self, heads: Heads) -> bool:
        """Windows hold the flushes up to *heads*: go back to there, or leave out what they know.

        False: these are heads of another database, or of what this one was before it was restored.
        """
        async with self._database.connection() as connection:
            committed = await _heads(connection)
        shared = heads.keys() & committed.keys()
        if (heads and not shared) or any(heads[shard] > committed[shard] for shard in shared):
            return False
        self._folded = dict(heads)
        behind = {shard: heads.get(shard, 0) for shard, head in self._heads.items() if heads.get(shard, 0) < head}
        if behind:
            self._heads |= behind
            self._seals = {}  # anything may have been sealed since
        return True

    async def rebuild(self, now_us: int) -> Look:
        """Everything that may be newest, as of now, and the windows' last hour as far as it is not sealed yet.

        `look` goes on from here.
        """
        self._newest = np.empty(0, np.int64)
        from_us = now_us - WINDOW_MAX_US
        async with self._database.transaction() as connection:
            await connection.execute(SQL["snapshot"])
            self._heads = await _heads(connection)
            self._folded = dict(self._heads)
            self._seals = await _seals(connection)
            tag, points, buckets = await _hot(connection, from_us)
            sealed_us = await _sealed_until(connection)
            rows = await self._rows(connection, *_newest_of(*_both((tag, points), await self._sealed(connection))))
        return Look(rows, Fold(buckets, {}, dict(self._heads)), {}, dict(self._heads), max(from_us, sealed_us + 1))

    async def look(self, *, folding: bool = True) -> Look:
        """What was committed since the last look; the fold is empty without *folding*."""
        before = dict(self._heads)
        async with self._database.transaction() as connection:
            await connection.execute(SQL["snapshot"])
            shards = await _heads(connection)
            self._heads = dict.fromkeys(shards, 0) | self._heads
            cursor = raw_cursor(connection)
            await cursor.execute(SQL["flushes"], self._seen())
            flushes = [_Flush(row[0], row[1], row[2], int(row[3]), row[6]) for row in await cursor.fetchall()]
            tag, points = await self._readings(connection, flushes)
            rows = await self._rows(connection, tag, points, _ends(tag))
        if len(flushes) < FLUSHES_MAX:
            self._heads = {shard: head for shard, head in self._heads.items() if shard in shards}
        fold = self._fold(flushes, tag, points) if folding else NOTHING
        self.pass_over(_last(flushes))
        return Look(rows, fold, before, dict(self._heads))

    async def _readings(self, connection: AsyncConnection, flushes: Sequence["_Flush"]) -> tuple[Int32s, Points]:
        """All that *flushes* stored, sorted by (tag, ts, seq); sealed meanwhile or not."""
        seals = await _seals(connection)
        if not flushes:
            self._seals = seals
            return np.empty(0, np.int32), chain([])
        cursor = raw_cursor(connection)
        flush_ids = [flush.flush_id for flush in flushes]
        await cursor.execute(SQL["chunks"], {"flush_ids": flush_ids})
        found = _decode([Chunk(*row) for row in await cursor.fetchall()])
        if len(found[1]) < sum(flush.stored for flush in flushes):
            groups = [grp for grp, seal in seals.items() if self._seals.get(grp) != seal]
            await cursor.execute(SQL["sealed_packs"], {"groups": groups, "flush_lo": min(flush_ids)})
            found = _both(found, _of_flushes(await cursor.fetchall(), flush_ids))
        if len(flushes) < FLUSHES_MAX:
            self._seals = seals
        return _in_order(*found)

    def _fold(self, flushes: Sequence["_Flush"], tag: Int32s, points: Points) -> Fold:
        """What the windows do not know yet, of readings sorted by (tag, ts, seq)."""
        fresh = [flush for flush in flushes if flush.position > self._folded.get(flush.at, 0)]
        heads = _last(fresh)
        before = {shard: self._folded.get(shard, 0) for shard in heads}
        self._folded |= heads
        if len(fresh) < len(flushes):
            counts = np.isin(points.flush, [flush.flush_id for flush in fresh])
            tag, points = tag[counts], points.pick(counts)
        return Fold(buckets_of(tag, points.ts, points.seq, points.value, points.quality), before, heads)

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

    async def _rows(self, connection: AsyncConnection, tag: Int32s, points: Points, last: Ints) -> LatestRows:
        """Only each tag's newest, at *last*: what the cache and the page need, and no more texts than that."""
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


class _Flush(NamedTuple):
    flush_id: int
    stream: str
    shard: str
    position: int
    stored: int

    @property
    def at(self) -> Shard:
        return self.stream, self.shard


async def _heads(connection: AsyncConnection) -> dict[Shard, int]:
    """How far each shard is committed: whole numbers of any size, which may come as decimals."""
    cursor = await connection.execute(SQL["heads"])
    return {(stream, shard): int(position) for stream, shard, position in await cursor.fetchall()}


async def _seals(connection: AsyncConnection) -> dict[int, int]:
    return dict(await (await connection.execute(SQL["seals"])).fetchall())


async def _sealed_until(connection: AsyncConnection) -> int:
    """No reading of a later source time is sealed, of whatever tag."""
    cursor = raw_cursor(connection)
    await cursor.execute(SQL["marks"])
    return max((int(decode_marks(*row)[1].max()) for row in await cursor.fetchall()), default=-1)


def _last(flushes: Sequence[_Flush]) -> dict[Shard, int]:
    """How far each shard is, after *flushes*."""
    heads: dict[Shard, int] = {}
    for flush in flushes:
        heads[flush.at] = max(heads.get(flush.at, 0), flush.position)
    return heads


def _furthest(heads: Heads, others: Heads) -> dict[Shard, int]:
    return {shard: max(heads.get(shard, 0), head) for shard, head in others.items()}


async def _hot(connection: AsyncConnection, from_us: int) -> tuple[Int32s, Points, Buckets]:
    """The newest of every tag in hot, and buckets of what is not older than *from_us*.

    Some chunks at a time: all of hot would be much to hold.
    """
    cursor = raw_cursor(connection)
    await cursor.execute(SQL["all_chunks"])
    tags, parts, buckets = [np.empty(0, np.int32)], [chain([])], [NO_BUCKETS]
    while rows := await cursor.fetchmany(CHUNKS_AT_ONCE):
        tag, points = _in_order(*_decode([Chunk(*row) for row in rows]))
        last = _ends(tag)
        tags.append(tag[last])
        parts.append(points.pick(last))
        recent = points.ts >= from_us
        tag, points = tag[recent], points.pick(recent)
        buckets.append(buckets_of(tag, points.ts, points.seq, points.value, points.quality))
    return np.concatenate(tags), chain(parts), merge(np.concatenate(buckets), FINE.width_us)


def _decode(chunks: Sequence[Chunk]) -> tuple[Int32s, Points]:
    decoded = [decode_hot(chunk) for chunk in chunks]
    empty = [np.empty(0, np.int32)]
    return np.concatenate([tag for tag, _ in decoded] or empty), chain(points for _, points in decoded)


def _both(one: tuple[Int32s, Points], other: tuple[Int32s, Points]) -> tuple[Int32s, Points]:
    return np.concatenate([one[0], other[0]]), chain([one[1], other[1]])


def _of_flushes(rows: Sequence[tuple[Any, ...]], flush_ids: Sequence[int]) -> tuple[Int32s, Points]:
    """From the rows of `sealed_packs`, the readings that these flushes brought."""
    packs = [decode_segment(Pack(*row[1:])) for row in rows]
    tag = np.repeat(np.array([row[0] for row in rows], np.int32), [len(points) for points in packs])
    points = chain(packs)
    ours = np.isin(points.flush, flush_ids)
    return tag[ours], points.pick(ours)


def _in_order(tag: Int32s, points: Points) -> tuple[Int32s, Points]:
    """Sorted by (tag, ts, seq). Flushes come in order of time mostly, so that sorting by tag alone is enough."""
    if not tag.size:
        return tag, points
    few = tag - tag.min()
    order = np.argsort(few.astype(np.uint16) if few.max() < 2**16 else few, kind="stable")  # 16 bits: sorted by radix
    tag, points = tag[order], points.pick(order)
    if ((tag[1:] > tag[:-1]) | (points.ts[1:] > points.ts[:-1])).all():
        return tag, points
    order = np.lexsort((points.seq, points.ts, tag))
    return tag[order], points.pick(order)


def _newest_of(tag: Int32s, points: Points) -> tuple[Int32s, Points, Ints]:
    """The same sorted, and where each tag's last reading is."""
    tag, points = _in_order(tag, points)
    return tag, points, _ends(tag)


def _ends(tag: Int32s) -> Ints:
    """Where each tag's last reading is; *tag* is sorted."""
    return np.flatnonzero(np.append(tag[1:] != tag[:-1], True)) if tag.size else np.empty(0, np.int64)


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
