"""History in PostgreSQL as the worker writes it: one fenced transaction a flush, on a connection of its own."""

import asyncio
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final
from uuid import UUID

import msgspec
import numpy as np
from numpy.typing import NDArray
from psycopg import AsyncConnection

from penstock.errors import Fenced
from penstock.model.anomaly import Finding
from penstock.model.batch import Int32s, Ints
from penstock.model.shard import ALL
from penstock.model.tag import Tag, TagConfig
from penstock.store import alarms
from penstock.store.encode import COPY_HOT, array_parameters, encode_hot, starts_of
from penstock.store.pack import Chunk, chain, decode_hot, decode_marks, raw_cursor
from penstock.store.port import (
    FOREIGN,
    GROUP_TAGS,
    NO_ARRIVALS,
    Arrivals,
    Checkpoint,
    Contested,
    Fates,
    Flush,
    Held,
    Known,
    Lease,
    Repeats,
    Rows,
    Span,
)
from penstock.store.postgres import Database, read_json_fast, translated
from penstock.store.sql import statements

SQL: Final = statements("history")


class PostgresHistory:
    """Keeps the promises of `History`. Flushes take turns on one connection; the rest goes through the pool."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._turn = asyncio.Lock()
        self._connection: AsyncConnection | None = None

    async def close(self) -> None:
        """Let go of the flush connection, once no flush is under way."""
        async with self._turn:
            await self._disconnect()

    async def claim(self, stream: str, shards: Sequence[str], owner: str) -> Lease:
        async with self._database.transaction() as connection:
            cursor = await connection.execute(SQL["claim"], {"stream": stream, "shards": [*shards], "owner": owner})
            rows = await cursor.fetchall()
        return Lease(
            stream,
            owner,
            {shard: epoch for shard, epoch, _, _ in rows},
            {shard: Checkpoint(int(position), counted) for shard, _, position, counted in rows},
        )

    async def counted(self, stream: str, belts: Collection[int]) -> Mapping[tuple[UUID, int], int]:
        given = {"stream": stream, "belts": [*belts]}
        async with self._database.connection() as connection:
            rows = await (await connection.execute(SQL["counted"], given)).fetchall()
        return {(producer, number): seen for producer, number, seen in rows}

    async def tags(self) -> tuple[int, Sequence[Tag]]:
        async with self._database.connection() as connection:
            rows = await (await connection.execute(SQL["tags"])).fetchall()
        return rows[0][0], [_tag(*row) for _, *row in rows if row[0] is not None]

    async def watermarks(self) -> tuple[Int32s, Ints]:
        newest: dict[int, int] = {}
        async with self._database.connection() as connection, raw_cursor(connection) as cursor:
            async for tag, ts in cursor.stream(SQL["marks"]):
                _raise_marks(newest, *decode_marks(tag, ts))
        return np.fromiter(newest.keys(), np.int32), np.fromiter(newest.values(), np.int64)

    async def state_texts(self) -> Mapping[str, int]:
        async with self._database.connection() as connection:
            return dict(await (await connection.execute(SQL["state_texts"])).fetchall())

    @asynccontextmanager
    async def flush(self, lease: Lease, span: Span) -> AsyncIterator[Flush]:
        async with self._turn:
            with translated():
                try:
                    flush = await self._begin(await self._connect(), lease, span)
                    yield flush
                    await flush.commit()
                except BaseException:
                    # closing rolls back whatever state the connection is in; the next flush opens another
                    await self._disconnect()
                    raise

    async def _begin(self, connection: AsyncConnection, lease: Lease, span: Span) -> "PostgresFlush":
        cursor = connection.cursor()
        async with connection.pipeline():
            await connection.execute("begin")
            if lease.unit != ALL:
                await connection.execute(SQL["hold_lanes"])
            await cursor.execute(SQL["begin"], {"stream": lease.stream, "shard": span.shard})
        row = await cursor.fetchone()
        if row is None or not self.may_commit(lease, span, epoch=row[0], position=int(row[1])):
            raise Fenced
        return PostgresFlush(connection, lease, span, flush_id=row[2], registry_version=row[3])

    def may_commit(self, lease: Lease, span: Span, *, epoch: int, position: int) -> bool:
        """The fence: the shard's epoch and position, locked, are those that *lease* and *span* go by."""
        return lease.epochs[span.shard] == epoch and span.lo == position

    async def _connect(self) -> AsyncConnection:
        if self._connection is None or self._connection.closed:
            self._connection = await self._database.connect("flush")
            array_parameters(self._connection)
            await read_json_fast(self._connection)
            await self._connection.execute(SQL["connect"])
        return self._connection

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()


class PostgresFlush:
    """Keeps the promises of `Flush`."""

    def __init__(
        self, connection: AsyncConnection, lease: Lease, span: Span, *, flush_id: int, registry_version: int
    ) -> None:
        self.flush_id = flush_id
        self.registry_version = registry_version
        self._connection, self._lease, self._span = connection, lease, span
        self._settled = False

    async def changed_tags(self, since: int) -> Sequence[Tag]:
        return [_tag(*row) for row in await self._rows("changed_tags", since=since)]

    async def register(self, paths: Sequence[str]) -> Sequence[Tag]:
        await self._execute("register", paths=[*paths])
        return [_tag(*row) for row in await self._rows("registered", paths=[*paths])]

    async def register_states(self, texts: Sequence[str]) -> Sequence[int]:
        await self._execute("register_states", texts=[*texts])
        return [state_id for (state_id,) in await self._rows("registered_states", texts=[*texts])]

    async def fix_kind(self, values: Sequence[int], states: Sequence[int]) -> None:
        if values or states:
            await self._execute("fix_kind", values=[*values], states=[*states])

    async def compare(self, suspects: Rows) -> NDArray[np.int8]:
        known = np.full(len(suspects), Known.NEW, np.int8)
        if not len(suspects):
            return known
        chunks, archived = [], []
        async with raw_cursor(self._connection) as cursor:
            async for i, value, state, quality, *chunk in await cursor.execute(SQL["compare"], _suspicion(suspects)):
                if i is None:
                    chunks.append(Chunk(*chunk))
                elif value is None:
                    archived.append(i - 1)
                else:
                    known[i - 1] = _verdict(suspects, i - 1, value, state, quality)
        for i, value, state, quality in _found_in(chunks, suspects):
            known[i] = _verdict(suspects, i, value, state, quality)
        known[[i for i in archived if known[i] == Known.NEW]] = Known.ARCHIVED
        return known

    async def write(self, rows: Rows) -> None:
        if not len(rows):
            return
        async with self._connection.cursor() as cursor, cursor.copy(COPY_HOT) as copy:
            await copy.write(encode_hot(self.flush_id, rows))

    async def keep(self, held: Sequence[Held], contested: Sequence[Contested], repeats: Repeats) -> None:
        if held:
            await self._execute("keep_held", flush_id=self.flush_id, **_columns(held))
        if contested:
            await self._execute("keep_contested", flush_id=self.flush_id, **_columns(contested))
        if repeats.position:
            index, tag_id = repeats.index.tolist(), repeats.tag_id.tolist()
            given = {"position": [*repeats.position], "index": index, "tag_id": tag_id}
            await self._execute("keep_repeats", flush_id=self.flush_id, **given)

    async def find(self, findings: Sequence[tuple[int, Finding]]) -> None:
        if findings:
            await alarms.record(self._connection, self.flush_id, findings)

    async def settle(self, fates: Mapping[int, Fates], arrivals: Arrivals = NO_ARRIVALS) -> None:
        if self._span.hi > self._span.lo:
            ((moved,),) = await self._rows("settle", **self._settlement(fates, arrivals))
            if not moved:
                raise Fenced
            await self._note(arrivals)
        self._settled = True

    async def _note(self, arrivals: Arrivals) -> None:
        if arrivals.counted or arrivals.by_minute:
            await self._execute("arrive", stream=self._lease.stream, foreign=FOREIGN, **_arrived(arrivals))
        if arrivals.requests:
            lo, hi = zip(*arrivals.requests.values(), strict=True)
            given = {"producers": [*arrivals.requests], "lo": [*lo], "hi": [*hi], "flush_id": self.flush_id}
            await self._execute("note_requests", stream=self._lease.stream, **given)

    async def commit(self) -> None:
        """Commit if settled, else roll back."""
        await self._connection.execute("commit" if self._settled else "rollback")

    def _settlement(self, fates: Mapping[int, Fates], arrivals: Arrivals) -> dict[str, Any]:
        names = Fates.__struct_fields__
        by_fate = {name: [getattr(fate, name) for fate in fates.values()] for name in names}
        return {
            **self._span._asdict(),
            "stream": self._lease.stream,
            "epoch": self._lease.epochs[self._span.shard],
            "flush_id": self.flush_id,
            "repeated": [*arrivals.repeated] or None,
            "readings": sum(fate.readings for fate in fates.values()),
            "minutes": [*fates],
            **{name: sum(by_fate[name]) for name in names},
            **{f"by_{name}": by_fate[name] for name in names},
        }

    async def _execute(self, statement: str, **given: Any) -> None:
        await self._connection.execute(SQL[statement], given)

    async def _rows(self, statement: str, **given: Any) -> list[tuple[Any, ...]]:
        return await (await self._connection.execute(SQL[statement], given)).fetchall()


def _tag(tag_id: int, path: str, grp: int, holds: Any, config: Any, version: int) -> Tag:  # noqa: PLR0913, PLR0917  # the row
    return Tag(tag_id, path, grp, holds, msgspec.convert(config, TagConfig), version)


def _arrived(arrivals: Arrivals) -> dict[str, list[Any]]:
    return {
        "producers": [producer for producer, _ in arrivals.counted],
        "belts": [number for _, number in arrivals.counted],
        "counted": [*arrivals.counted.values()],
        "minute_producers": [producer for producer, _ in arrivals.by_minute],
        "minutes": [minute for _, minute in arrivals.by_minute],
        "readings": [*arrivals.by_minute.values()],
    }


def _columns(rows: Sequence[Held] | Sequence[Contested]) -> dict[str, list[Any]]:
    return {name: list(column) for name, column in zip(rows[0]._fields, zip(*rows, strict=True), strict=True)}


def _raise_marks(newest: dict[int, int], tag: Int32s, ts: Ints) -> None:
    """Tags are sorted, and their times too: the last of each tag is its newest."""
    last = np.append(starts_of(tag)[1:], tag.size) - 1
    for tag_id, us in zip(tag[last].tolist(), ts[last].tolist(), strict=True):
        newest[tag_id] = max(us, newest.get(tag_id, us))


def _suspicion(suspects: Rows) -> dict[str, NDArray[Any]]:
    """The suspects, and by group the times that they span."""
    order = np.argsort(suspects.tag_id, kind="stable")
    grp, ts = (suspects.tag_id[order] - 1) // GROUP_TAGS, suspects.ts[order]
    starts = starts_of(grp)
    return {
        "tag_id": suspects.tag_id,
        "ts": suspects.ts,
        "seq": suspects.seq,
        "grp": grp[starts],
        "lo": np.minimum.reduceat(ts, starts),
        "hi": np.maximum.reduceat(ts, starts),
    }


def _found_in(chunks: Sequence[Chunk], suspects: Rows) -> list[tuple[int, float, int, int]]:
    """Position, value, state and quality of the suspects whose key is in *chunks*."""
    if not chunks:
        return []
    decoded = [decode_hot(chunk) for chunk in chunks]
    points = chain(points for _, points in decoded)
    likely = np.flatnonzero(np.isin(points.ts, suspects.ts))
    tag, points = np.concatenate([tag for tag, _ in decoded])[likely], points.pick(likely)
    stored = {key: at for at, key in enumerate(_keys(tag, points.ts, points.seq))}
    hits = ((i, stored.get(key)) for i, key in enumerate(_keys(suspects.tag_id, suspects.ts, suspects.seq)))
    return [
        (i, float(points.value[at]), int(points.state[at]), int(points.quality[at])) for i, at in hits if at is not None
    ]


def _keys(tag: Int32s, ts: Ints, seq: Ints) -> Iterator[tuple[int, int, int]]:
    return zip(tag.tolist(), ts.tolist(), seq.tolist(), strict=True)


def _verdict(suspects: Rows, i: int, value: float, state: int, quality: int) -> Known:
    """The content is the value's bits (any NaN is none), the state and the quality."""
    theirs, ours = np.float64(value), suspects.value[i]
    same_value = theirs.view(np.int64) == ours.view(np.int64) or bool(np.isnan(theirs) and np.isnan(ours))
    same = same_value and state == suspects.state[i] and quality == suspects.quality[i]
    return Known.DUPLICATE if same else Known.CONFLICT
