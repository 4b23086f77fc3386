"""Old rollups by the minute leave: nobody is shown a minute that is not whole, and the hours are right for ever."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from itertools import groupby
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.store.history import PostgresHistory
from penstock.store.minutes import OldMinutes, minutes_floor, only_one
from penstock.store.postgres import Database
from penstock.store.read import EARLIEST_US, LATEST_US
from penstock.store.rollups import HOUR_US, MINUTE_US, Interval, Rollups
from penstock.store.seal import Sealer
from penstock.telemetry import MINUTES_BEGIN
from store.test_history import ask, good, make_tags
from store.test_history_machine import Torn, Writer

TAGS = (1, 2, 101)
HOURS = timedelta(hours=1)
BELOW = "select count(*) from rollup_1m, minutes_floor where t < before"
Reading = tuple[int, int, float]
"""Tag, quarters of a minute before now, value."""
readings = st.lists(
    st.tuples(st.sampled_from(TAGS), st.integers(0, 6 * 240), st.integers(-9, 9).map(float)), min_size=1, max_size=12
)
steps = st.tuples(st.sampled_from(["store", "seal", "leave", "told", "half", "torn"]), readings, st.integers(1, 5))


class World:
    """A store in small, and the plain list of what it took."""

    def __init__(self, database: Database, torn: Database, writer: Writer, now_us: int) -> None:
        self.database, self.torn, self.writer, self.now_us = database, torn, writer, now_us
        self.stored: dict[tuple[int, int], float] = {}
        self.floor_us = 0

    async def store(self, batch: list[Reading]) -> None:
        fresh = {(tag, self.now_us - quarters * MINUTE_US // 4): value for tag, quarters, value in batch}
        fresh = {key: value for key, value in fresh.items() if key not in self.stored}
        if fresh:
            await self.writer.flush([good(tag, ts, value) for (tag, ts), value in fresh.items()])
        self.stored |= fresh

    async def seal(self) -> None:
        for grp in (0, 1):
            await Sealer(self.database, 1.0).seal(grp)

    async def do(self, step: str, batch: list[Reading], hours: int) -> None:
        leaving = OldMinutes(self.torn if step == "torn" else self.database, hours * HOURS, rows_max=100)
        match step:
            case "store":
                await self.store(batch)
            case "seal":
                await self.seal()
            case "leave":
                await leaving.run()
            case "told":
                await leaving.tell()
            case "half":
                await leaving.tell()
                await leaving.delete(0)
            case "torn":
                with contextlib.suppress(ConnectionResetError):
                    await leaving.run()

    async def check(self) -> None:
        before_us: int | None = None
        for tag in TAGS:
            hours, before_us = await self.read(tag, "1h")
            assert hours == self.fresh(tag, HOUR_US), "hours are as if nothing had left"
            assert before_us is None
            minutes, before_us = await self.read(tag, "1m")
            floor_us = before_us or EARLIEST_US
            assert minutes == self.fresh(tag, MINUTE_US, floor_us), "only whole minutes are shown, and all of them"
            assert self.floor_us <= (before_us or 0), "the floor never goes back"
        self.floor_us = before_us or 0

    async def read(self, tag: int, interval: Interval) -> tuple[list[tuple[Any, ...]], int | None]:
        page = await Rollups(self.database).read(tag, EARLIEST_US, LATEST_US, interval, 10_000)
        columns = (getattr(page.bins, name).tolist() for name in ("t", "n", "lo", "hi", "total", "last"))
        return list(zip(*columns, strict=True)), page.minutes_before_us

    def fresh(self, tag: int, width_us: int, floor_us: int = EARLIEST_US) -> list[tuple[Any, ...]]:
        """What the plain list gives."""
        mine = sorted((ts, value) for (of, ts), value in self.stored.items() if of == tag and ts >= floor_us)
        bins = [(t, [value for _, value in it]) for t, it in groupby(mine, lambda it: it[0] // width_us * width_us)]
        return [(t, len(v), min(v), max(v), sum(v), v[-1]) for t, v in bins]


@contextlib.asynccontextmanager
async def world_on(url: str) -> AsyncIterator[World]:
    database = Database(url, application="test", connections_max=8)
    torn = Torn(url, application="test", connections_max=2)
    await database.open()
    await torn.open()
    history = PostgresHistory(database)
    await make_tags(history, 120)
    ((now_us,),) = ask(database, "select (extract(epoch from now()) * 1000000)::bigint")
    assert isinstance(now_us, int)
    try:
        yield World(database, torn, await Writer.start(history), now_us // MINUTE_US * MINUTE_US)
    finally:
        await history.close()
        await database.close()
        await torn.close()


@pytest.fixture
async def world(postgres_url: str) -> AsyncIterator[World]:
    async with world_on(postgres_url) as world:
        yield world


EACH_MINUTE: list[Reading] = [(tag, quarters, float(quarters % 7)) for tag in TAGS for quarters in range(0, 1_440, 2)]


@pytest.fixture
async def filled(world: World) -> World:
    """Six hours, two readings a minute, sealed."""
    await world.store(EACH_MINUTE)
    await world.seal()
    return world


async def test_minutes_of_whole_hours_that_are_old_leave(filled: World) -> None:
    gone = await OldMinutes(filled.database, 2 * HOURS).run()
    await filled.check()
    told = ask(
        filled.database, "select before = date_trunc('hour', now() - interval '2 hours', 'UTC') from minutes_floor"
    )
    assert told == [(True,)]
    assert 3 * 180 < gone <= 3 * 241
    assert ask(filled.database, "select count(*) from rollup_1m") == [(3 * 361 - gone,)]
    assert [it.value for metric in MINUTES_BEGIN.collect() for it in metric.samples] == [filled.floor_us / 1e6]
    assert await OldMinutes(filled.database, 2 * HOURS).run() == 0


async def test_nothing_is_told_before_something_is_to_leave(filled: World) -> None:
    assert await OldMinutes(filled.database, 24 * HOURS).run() == 0
    assert ask(filled.database, "select * from minutes_floor") == []


async def test_a_floor_stays_when_minutes_are_kept_longer_again(filled: World) -> None:
    await OldMinutes(filled.database, 2 * HOURS).run()
    await filled.check()
    await OldMinutes(filled.database, 24 * HOURS).run()
    await filled.check()


async def test_a_late_reading_below_the_floor_counts_in_its_hour_and_its_minute_goes(filled: World) -> None:
    await OldMinutes(filled.database, 2 * HOURS).run()
    await filled.store([(1, 1_001, 99.0), (2, 1_001, 99.0)])
    await filled.check()
    await filled.seal()
    assert ask(filled.database, BELOW) == [(2,)]
    await filled.check()
    assert await OldMinutes(filled.database, 2 * HOURS).run() == 2
    await filled.check()


async def test_a_crash_after_each_transaction_leaves_less_deleted_than_told(filled: World) -> None:
    for step in ("torn", "told", "half", "torn", "half", "leave"):
        await filled.do(step, [], 3)
        await filled.check()
    assert ask(filled.database, BELOW) == [(0,)]


async def test_control_who_deletes_before_it_is_told_is_caught(filled: World) -> None:
    with psycopg.connect(filled.database.url, autocommit=True) as hasty:
        hasty.execute("delete from rollup_1m where t < date_trunc('hour', now() - interval '3 hours') and tag_id = 2")
    with pytest.raises(AssertionError, match="only whole minutes"):
        await filled.check()


async def test_two_at_once_beside_seals_of_late_readings_delete_each_minute_once(filled: World) -> None:
    """And whoever reads meanwhile is shown whole minutes only."""
    stop = asyncio.Event()

    async def late() -> None:
        for quarters in range(1, 1_440, 60):
            await filled.store([(tag, quarters, 5.0) for tag in TAGS])
            await filled.seal()
        stop.set()

    async def read() -> int:
        reads = 0
        while not stop.is_set():
            page = await Rollups(filled.database).read(101, EARLIEST_US, LATEST_US, "1m", 10_000)
            first, now_us = page.minutes_before_us or filled.now_us - 360 * MINUTE_US, filled.now_us
            assert page.bins.t.tolist() == list(range(first, now_us + 1, MINUTE_US)), "none is missing"
            reads += 1
        return reads

    async def leave() -> int:
        gone = 0
        for hours in (5, 4, 3, 2, 1):
            gone += await OldMinutes(filled.database, hours * HOURS, rows_max=1_000).run()
        return gone

    *gone, _, reads = await asyncio.gather(leave(), leave(), late(), read())
    rest = await OldMinutes(filled.database, HOURS).run()
    assert reads > 3
    assert sum(gone) + rest >= 3 * 240, "what came late may have gone a second time, in part"
    assert ask(filled.database, BELOW) == [(0,)]
    await filled.check()


async def test_what_leaves_while_it_is_read_is_still_shown(filled: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Floor and rows are of one moment."""

    async def asked(connection: psycopg.AsyncConnection) -> int | None:
        floor_us = await minutes_floor(connection)
        await OldMinutes(filled.database, 2 * HOURS).run()
        return floor_us

    monkeypatch.setattr("penstock.store.rollups.minutes_floor", asked)
    await filled.check()
    await filled.check()
    assert filled.floor_us, "they left meanwhile"


async def test_a_seal_is_not_waited_for_and_waits_for_nobody_long(filled: World) -> None:
    """Rows that it holds stay for the next time."""
    await OldMinutes(filled.database, 2 * HOURS).tell()
    async with filled.database.transaction() as sealing, asyncio.timeout(10):
        await sealing.execute("update rollup_1m set n = n where tag_id = 1")
        await OldMinutes(filled.database, 2 * HOURS).run()
        ((held,),) = ask(filled.database, BELOW)
        assert held > 180
    assert await OldMinutes(filled.database, 2 * HOURS).run() == held


async def test_one_process_at_a_time_sees_to_it(world: World) -> None:
    async with only_one(world.database) as ours, only_one(world.database) as theirs:
        assert (ours, theirs) == (True, False)
    async with only_one(world.database) as ours:
        assert ours


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(steps, min_size=4, max_size=14), readings)
def test_hours_are_right_and_minutes_whole_whatever_comes_when(
    postgres_url: str, taken: list[tuple[str, list[Reading], int]], batch: list[Reading]
) -> None:
    async def check() -> None:
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            connection.execute(
                "truncate tag, hot, segment, flush, mark, rollup_1m, rollup_1h, shard, balance_minute, minutes_floor"
                " restart identity cascade"
            )
        async with world_on(postgres_url) as world:
            for step in [("store", batch, 1), ("seal", [], 1), *taken, ("seal", [], 1), ("leave", [], 5)]:
                await world.do(*step)
                await world.check()
            assert ask(world.database, BELOW) == [(0,)], "all that was told of has left"

    asyncio.run(check())
