"""History against a plain dict: whatever is flushed, sealed, merged, crashed or fenced, every view agrees."""

import asyncio
import contextlib
import math
import struct
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, TypeVar

import numpy as np
import psycopg
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from penstock.errors import Fenced
from penstock.model.batch import NO_SEQ, NO_TEXT
from penstock.store.history import PostgresHistory
from penstock.store.pack import Chunk, Pack, decode_hot, decode_segment, join, raw_cursor
from penstock.store.port import Fates, Known, Lease, Rows, Span
from penstock.store.postgres import Database
from penstock.store.seal import Sealer

T = TypeVar("T")
NOW = 1_795_000_000_000_000
TAGS = (1, 2, 100, 101, 250)
GROUPS = (0, 1, 2)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY = 86_400_000_000

Key = tuple[int, int, int]


class Content(NamedTuple):
    value: bytes | None
    state: int
    quality: int


Model = dict[Key, Content]


def bits(value: float | None) -> bytes | None:
    return None if value is None or math.isnan(value) else struct.pack(">d", value)


def number(content: Content) -> float | None:
    return None if content.value is None else struct.unpack(">d", content.value)[0]


def instant(us: int) -> datetime:
    return EPOCH + timedelta(microseconds=us)


def micros(at: datetime) -> int:
    return (at - EPOCH) // timedelta(microseconds=1)


times = st.one_of(
    st.integers(0, 5).map(lambda s: NOW + s * 1_000_000),
    st.integers(0, 3_000).map(lambda ms: NOW + ms * 1_000),
    st.integers(-60_000_000, 60_000_000).map(lambda us: NOW + us),
    st.integers(-3, 3).map(lambda days: NOW + days * DAY),
    st.integers(-40, 0).map(lambda hours: NOW + hours * 3_600_000_001),
    st.integers(-3, 0).map(lambda years: NOW + years * 365 * DAY),
)
values = st.one_of(
    st.sampled_from([0.0, -0.0, 0.1, 1 / 3, 1e300, -(2.0**31), 2147483647.0, 5e-324]),
    st.integers(-10_000, 10_000).map(lambda k: k / 100),
    st.floats(allow_nan=False, allow_infinity=False),
)
qualities = st.sampled_from([0, 0, 0, 0x4000_0000, 0x8000_0000, 0x8032_0000])
seqs = st.sampled_from([NO_SEQ, NO_SEQ, 0, 1, 2, -1, 2**62])
contents = st.one_of(
    st.builds(lambda v, q: Content(bits(v), NO_TEXT, q), values, qualities),
    st.builds(lambda s, q: Content(None, s, q), st.integers(1, 3), qualities),
    st.just(Content(None, NO_TEXT, 0x8000_0000)),
)
keys = st.tuples(st.sampled_from(TAGS), times, seqs)
batches = st.lists(st.tuples(keys, contents), min_size=1, max_size=12)


def rows_of(readings: list[tuple[Key, Content]]) -> Rows:
    return Rows(
        tag_id=np.array([tag for (tag, _, _), _ in readings], np.int32),
        ts=np.array([ts for (_, ts, _), _ in readings], np.int64),
        value=np.array([np.nan if (v := number(content)) is None else v for _, content in readings]),
        state=np.array([content.state for _, content in readings], np.int32),
        quality=np.array([content.quality for _, content in readings], np.int64),
        seq=np.array([seq for (_, _, seq), _ in readings], np.int64),
    )


class Writer:
    """The worker in small: takes a lease, sorts, compares, writes, settles."""

    def __init__(self, history: PostgresHistory, lease: Lease) -> None:
        self.history, self.lease = history, lease
        self.at, self.counted = lease.checkpoints["bulk"]
        self.marks: dict[int, int] = {}

    @classmethod
    async def start(cls, history: PostgresHistory) -> "Writer":
        self = cls(history, await history.claim("stream", ["bulk"], "writer"))
        self.marks = dict(zip(*(column.tolist() for column in await history.watermarks()), strict=True))
        return self

    async def flush(self, batch: list[tuple[Key, Content]], crash: str = "") -> Fates:
        first: Model = {}
        for key, content in batch:
            first.setdefault(key, content)
        readings = sorted(first.items())
        suspects = [it for it in readings if it[0][1] <= self.marks.get(it[0][0], -(2**62))]
        span = Span("bulk", self.at, self.at + 1, self.counted + len(batch), NOW)
        async with self.history.flush(self.lease, span) as flush:
            known = dict(zip([key for key, _ in suspects], await flush.compare(rows_of(suspects)), strict=True))
            await flush.write(rows_of([it for it in readings if known.get(it[0], Known.NEW) == Known.NEW]))
            if crash == "written":
                raise ConnectionResetError
            fates = self.fates(batch, known, first)
            await flush.settle({NOW - NOW % 60_000_000: fates})
            if crash == "settled":
                raise ConnectionResetError
        self.at, self.counted = span.hi, span.counted
        for tag, ts, _ in first:
            self.marks[tag] = max(ts, self.marks.get(tag, ts))
        return fates

    def fates(self, batch: list[tuple[Key, Content]], known: dict[Key, Known], first: Model) -> Fates:
        told = Counter(Known(verdict) for verdict in known.values())
        again = len(batch) - len(first)
        return Fates(
            stored=len(first) - told[Known.DUPLICATE] - told[Known.CONFLICT],
            duplicate=told[Known.DUPLICATE] + again,
            conflict=told[Known.CONFLICT],
        )


class Torn(Database):
    """Dies just before each commit."""

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[psycopg.AsyncConnection]:
        async with super().transaction() as connection:
            yield connection
            raise ConnectionResetError


def expected(model: Model, batch: list[tuple[Key, Content]]) -> Fates:
    """First wins, over all and within the batch; a repeat within the batch counts as duplicate here."""
    seen = {**model}
    fates: Counter[str] = Counter()
    taken: set[Key] = set()
    for key, content in batch:
        if key in taken:
            fates["duplicate"] += 1
        elif key in seen:
            fates["duplicate" if seen[key] == content else "conflict"] += 1
        else:
            seen[key] = content
            fates["stored"] += 1
        taken.add(key)
    return Fates(**fates)


class HistoryMachine(RuleBasedStateMachine):
    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.model: Model = {}
        self.brought: dict[Key, int] = {}
        self.readers: list[tuple[psycopg.Connection[Any], Model]] = []
        self.eye = psycopg.connect(self.url, autocommit=True, options="-c timezone=Europe/Paris -c jit=off")
        self.do(self.open())

    def do(self, work: Awaitable[T]) -> T:
        async def run() -> T:
            return await work

        return self.runner.run(run())

    async def open(self) -> None:
        self.database = Database(self.url, application="test", connections_max=4)
        self.torn = Torn(self.url, application="test", connections_max=2)
        await self.database.open()
        await self.torn.open()
        async with self.database.connection() as connection:
            await connection.execute("""truncate tag, state_text, shard, flush, balance_minute, hot, segment, mark,
                rollup_1m, rollup_1h restart identity cascade""")
            for tag in TAGS:
                await connection.execute(
                    "insert into tag (tag_id, path, version) overriding system value values (%s, %s, 1)",
                    (tag, f"site/{tag}"),
                )
            await connection.execute("insert into state_text (text) values ('s1'), ('s2'), ('s3')")
        self.history = PostgresHistory(self.database)
        self.sealer = Sealer(self.database, 1.0, packs_min=2)
        self.writer = await Writer.start(self.history)

    def teardown(self) -> None:
        for reader in (self.eye, *(reader for reader, _ in self.readers)):
            reader.close()
        self.do(self.history.close())
        self.do(self.database.close())
        self.do(self.torn.close())
        self.runner.close()

    @initialize(batch=batches)
    def begin(self, batch: list[tuple[Key, Content]]) -> None:
        self.flush(batch)

    @rule(batch=batches)
    def flush(self, batch: list[tuple[Key, Content]]) -> None:
        assert self.do(self.writer.flush(batch)) == expected(self.model, batch)
        for key, content in batch:
            self.model.setdefault(key, content)

    @rule(data=st.data(), batch=batches)
    def flush_again(self, data: st.DataObject, batch: list[tuple[Key, Content]]) -> None:
        """What was stored comes again, as it was or with other content."""
        again = data.draw(st.lists(st.sampled_from(sorted(self.model)), min_size=1, max_size=8, unique=True))
        same = [(key, self.model[key]) for key in again[::2]]
        other = [(key, batch[0][1]) for key in again[1::2]]
        self.flush(same + other + batch)

    @rule(grp=st.sampled_from(GROUPS))
    def seal(self, grp: int) -> None:
        self.do(self.sealer.seal(grp))

    @rule()
    def seal_all(self) -> None:
        for grp in GROUPS:
            self.seal(grp)
        assert self.ask("select count(*) from hot") == [(0,)]

    @rule(grp=st.sampled_from(GROUPS))
    def compact(self, grp: int) -> None:
        self.do(self.sealer.compact(grp))

    @rule(grp=st.sampled_from(GROUPS), merge=st.booleans())
    def sealer_crashes(self, grp: int, merge: bool) -> None:
        sealer = Sealer(self.torn, 1.0, packs_min=2)
        with contextlib.suppress(ConnectionResetError):
            self.do(sealer.compact(grp) if merge else sealer.seal(grp))

    @rule(batch=batches, step=st.sampled_from(["written", "settled"]))
    def writer_crashes(self, batch: list[tuple[Key, Content]], step: str) -> None:
        with pytest.raises(ConnectionResetError):
            self.do(self.writer.flush(batch, crash=step))

    @rule(batch=batches)
    def another_claims(self, batch: list[tuple[Key, Content]]) -> None:
        fenced, self.writer = self.writer, self.do(Writer.start(self.history))
        newest: dict[int, int] = {}
        for tag, ts, _ in self.model:
            newest[tag] = max(ts, newest.get(tag, ts))
        assert self.writer.marks == newest
        assert self.writer.at == fenced.at
        assert self.writer.counted == fenced.counted
        with pytest.raises(Fenced):
            self.do(fenced.flush(batch))

    @rule()
    def open_reader(self) -> None:
        if len(self.readers) < 2:
            reader = psycopg.connect(self.url)
            reader.execute("set transaction isolation level repeatable read")
            assert self.seen_by(reader) == self.model
            self.readers.append((reader, dict(self.model)))

    @rule()
    def long_reader_sees_what_it_saw(self) -> None:
        for reader, model in self.readers:
            assert self.seen_by(reader) == model
            reader.close()
        self.readers.clear()

    @invariant()
    def view_is_the_model(self) -> None:
        assert self.seen_by(self.eye) == self.model

    @invariant()
    def arrays_are_the_model(self) -> None:
        assert dict(self.do(self.decoded())) == self.model

    @invariant()
    def ranges_are_the_model(self) -> None:
        for tag, lo, hi in [
            (1, NOW, NOW + 2_000_000),
            (101, NOW - DAY, NOW + 1),
            (2, NOW - 3_000 * DAY, NOW + 9 * DAY),
        ]:
            found = self.ask(
                "select ts, seq, value, state, quality from readings_between(%s, %s, %s)",
                f"site/{tag}", instant(lo), instant(hi),
            )  # fmt: skip
            keys = sorted(key for key in self.model if key[0] == tag and lo <= key[1] < hi)
            assert [self.reading(tag, *row) for row in found] == [(key, self.model[key]) for key in keys]

    @invariant()
    def rollups_and_hot_are_the_model(self) -> None:
        for table, width in [("rollup_1m", 60_000_000), ("rollup_1h", 3_600_000_000)]:
            assert self.rolled_up(table, width) == self.recomputed(width)

    @invariant()
    def flush_rows_say_when(self) -> None:
        assert self.ask("select count(*) from readings where stored_at is null or received_at is null") == [(0,)]

    @invariant()
    def packs_keep_their_bounds(self) -> None:
        assert not self.ask("""select * from segment where n > 4096 or t0 > t1 or n <> cardinality(dt)
            or floor(extract(epoch from t0) / 86400) <> floor(extract(epoch from t1) / 86400)""")

    def rolled_up(self, table: str, width: int) -> dict[tuple[int, int], tuple[Any, ...]]:
        """n, lo, hi and last of what is sealed, joined with what is hot."""
        rows = self.ask(f"""
            select tag_id, t, n, lo, hi, last_ts, last_seq, last from {table}
            union all
            select tag_id, to_timestamp(floor(extract(epoch from ts) * 1000000 / {width}) * {width} / 1000000), 1,
                   value, value, ts, coalesce(seq, '-9223372036854775808'), value
            from hot_readings where value is not null and quality < 2147483648""")
        bins: dict[tuple[int, int], tuple[Any, ...]] = {}
        for tag, t, n, lo, hi, last_ts, last_seq, last in rows:
            there = bins.get((tag, micros(t)), (0, lo, hi, (EPOCH - timedelta(9999), 0), last))
            newer = (last_ts, last_seq) > there[3]
            bins[tag, micros(t)] = (
                there[0] + n, min(there[1], lo), max(there[2], hi),
                (last_ts, last_seq) if newer else there[3], last if newer else there[4],
            )  # fmt: skip
        return bins

    def recomputed(self, width: int) -> dict[tuple[int, int], tuple[Any, ...]]:
        bins: dict[tuple[int, int], list[tuple[Any, float]]] = {}
        for (tag, ts, seq), content in self.model.items():
            if (value := number(content)) is not None and content.quality < 2**31:
                bins.setdefault((tag, ts - ts % width), []).append(((instant(ts), seq), value))
        return {
            key: (len(it), min(v for _, v in it), max(v for _, v in it), *max(it, key=lambda pair: pair[0]))
            for key, it in bins.items()
        }

    def ask(self, query: str, *given: Any) -> list[tuple[Any, ...]]:
        return self.eye.execute(query, given or None).fetchall()  # type: ignore[arg-type]

    def seen_by(self, connection: psycopg.Connection[Any]) -> Model:
        found = connection.execute("select tag_id, ts, seq, value, state, quality from readings").fetchall()
        seen = dict(self.reading(*row) for row in found)
        assert len(seen) == len(found), "stored twice"
        return seen

    @staticmethod
    def reading(tag: int, ts: datetime, seq: int | None, value: float | None, state: str | None, quality: int) -> Any:  # noqa: PLR0917  # the row
        key = (tag, micros(ts), NO_SEQ if seq is None else seq)
        return key, Content(bits(value), NO_TEXT if state is None else int(state[1:]), quality)

    async def decoded(self) -> list[tuple[Key, Content]]:
        """Through the decoders that readers use."""
        parts: dict[int, list[Any]] = {}
        async with self.database.connection() as connection, raw_cursor(connection) as cursor:
            await cursor.execute(f"select tag_id, {', '.join(Pack._fields)} from segment")
            for tag, *pack in await cursor.fetchall():
                parts.setdefault(tag, []).append(decode_segment(Pack(*pack)))
            await cursor.execute(f"select {', '.join(Chunk._fields)} from hot")
            for row in await cursor.fetchall():
                tags, points = decode_hot(Chunk(*row))
                for tag in set(tags.tolist()):
                    parts.setdefault(tag, []).append(points.pick(tags == tag))
        found = [reading for tag, it in parts.items() for reading in self.unpacked(tag, it)]
        assert len(found) == len(dict(found)), "stored twice"
        return found

    def unpacked(self, tag: int, parts: list[Any]) -> Iterator[tuple[Key, Content]]:
        points = join(parts)
        order = list(zip(points.ts.tolist(), points.seq.tolist(), strict=True))
        assert order == sorted(order)
        for at, (ts, seq) in enumerate(order):
            key, flush = (tag, ts, seq), int(points.flush[at])
            assert self.brought.setdefault(key, flush) == flush, "a reading keeps its flush"
            yield key, Content(bits(float(points.value[at])), int(points.state[at]), int(points.quality[at]))


def test_history_is_a_dict_that_keeps_the_first(postgres_url: str) -> None:
    HistoryMachine.url = postgres_url
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        HistoryMachine,
        settings=settings(
            max_examples=8,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            derandomize=True,
            phases=[Phase.generate],
        ),
    )
