"""Workers on the units of a shared stream: repeats, hand-overs, splits and merges, and what gathers."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import numpy as np
import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from make import T0_US, R, batch
from penstock.errors import Unavailable
from penstock.model.batch import Lane
from penstock.model.shard import Shard
from penstock.model.slices import SLICES
from penstock.model.tag import Criticality, Tag, TagConfig
from penstock.process.detect.all import Detectors
from penstock.process.owning import Reassigned
from penstock.process.tags import TagTable
from penstock.store import history
from penstock.store.history import PostgresHistory
from penstock.store.port import Checkpoint, Lease
from penstock.store.postgres import Database
from penstock.store.registry import Registry
from penstock.store.snapshots import PostgresSnapshots
from process.plant import Disturbed
from process.shared import OTHERS, SharedPlant, halves, path_in

LOW, HIGH = halves()
ONLY = Shard("only", None, (), range(SLICES))
PATH = path_in(LOW.slices)


def put(plant: SharedPlant, ts: list[int], lane: Lane = Lane.BULK, **given: Any) -> tuple[Any, ...]:
    """One record, not yet in the stream; lay it as often as its producer tries."""
    return plant.stream.record(PATH, lane, batch(*(R(PATH, T0_US + at, float(at)) for at in ts)), **given)


def lay(plant: SharedPlant, record: tuple[Any, ...]) -> None:
    name, origin, one = record
    plant.stream.lay(name, one, origin)


# -- repeats ----------------------------------------------------------------------------------------------------------


async def test_a_record_that_was_put_again_is_passed_over() -> None:
    plant = SharedPlant(ONLY, flush_readings_max=3)
    first, second, third = put(plant, [1, 2]), put(plant, [3, 4]), put(plant, [5, 6])
    for record in (first, first, second, first, third, second, third):
        lay(plant, record)
    await plant.work()
    assert plant.fates == {"stored": 6}
    repeated = [position for written in plant.history.flushes for position in written.arrivals.repeated]
    entries = [entry.position for entry in plant.stream.entries["only"]]
    assert repeated == [entries[1], entries[3], entries[5], entries[6]]
    assert plant.history.seen[("shared", first[1].producer, first[1].belt)] == 6


async def test_it_is_passed_over_by_the_next_holder_too() -> None:
    plant = SharedPlant(ONLY)
    records = [put(plant, [at]) for at in range(3)]
    for record in records:
        lay(plant, record)
    await plant.work()
    for record in records:
        lay(plant, record)
    await plant.work()
    assert plant.fates == {"stored": 3}
    assert plant.history.flushes[-1].fates == {}


async def test_it_is_passed_over_by_the_children_of_a_split() -> None:
    plant = SharedPlant(ONLY)
    record = put(plant, [1])
    lay(plant, record)
    await plant.work()
    for shard in halves():
        plant.stream.open(shard._replace(parents=("only",)))
    plant.stream.lay("low", record[2], record[1])
    lay(plant, put(plant, [2]))
    await plant.work("low", "high")
    assert plant.fates == {"stored": 2}


async def test_producers_and_belts_are_told_apart() -> None:
    plant = SharedPlant(ONLY)
    for record in (put(plant, [1]), put(plant, [2], producer=OTHERS), put(plant, [3], Lane.CRITICAL), put(plant, [4])):
        lay(plant, record)
    await plant.work()
    assert plant.fates == {"stored": 4}


async def test_a_record_that_is_missing_shows() -> None:
    plant = SharedPlant(ONLY)
    records = [put(plant, [at, at + 10]) for at in range(3)]
    lay(plant, records[0])
    lay(plant, records[2])
    await plant.work()
    assert sum(plant.history.seen.values()) - plant.fates["stored"] == 2


# -- detectors follow their tags --------------------------------------------------------------------------------------


class Moderate(Detectors):
    """Learns in minutes what takes a day."""

    def __init__(self, table: TagTable) -> None:
        super().__init__(table, learn_s=30.0)


def minutes(rng: np.random.Generator, paths: list[str], seconds: int, first: int = 0) -> Iterator[list[R]]:
    """By second the readings of all tags: noise and steps, now and then something that is not stored or is late."""
    for at in range(first, first + seconds):
        ts = T0_US + at * 1_000_000
        fresh = [R(path, ts + i, float(rng.normal(i, 1 + (at % 97 == 0) * 30))) for i, path in enumerate(paths)]
        chance = rng.random(len(fresh))
        yield [*fresh, *(odd(one, kind) for one, kind in zip(fresh, chance, strict=True) if kind < 0.3)]


def odd(one: R, chance: float) -> R:
    kinds = [
        one,  # a duplicate
        one._replace(value=-1.0),  # a conflict
        one._replace(ts=one.ts - 5_500_000, value=0.5),  # late
        one._replace(ts=one.ts + 10**12),  # quarantined
        one._replace(value=None, state="IDLE"),  # the wrong kind
        one._replace(ts=one.ts + 500, value=None, quality=0x8000_0000),
    ]
    return kinds[int(chance * 1e6) % len(kinds)]


async def load(plant: SharedPlant, rng: np.random.Generator, paths: list[str], seconds: int) -> None:
    """Records, some of them put twice, and foreign ones, some in the wrong shard."""
    for readings in minutes(rng, paths, seconds):
        for path in paths:
            one = batch(*(reading for reading in readings if reading.path == path))
            record = plant.stream.record(path, Lane.BULK, one)
            for _ in range(1 + (rng.random() < 0.1)):
                plant.stream.lay(record[0], record[2], record[1])
        if rng.random() < 0.3:
            shards = sorted(plant.stream.shards.keys() - plant.stream.closed)
            plant.stream.foreign(str(rng.choice(shards)), *readings[:: int(rng.integers(1, 4))])
        plant.clock.advance(1_000_000)


def state(holding: Any) -> dict[str, bytes]:
    """By tag all that its detectors remember."""
    known = {}
    for path in holding.tags.paths:
        own = Detectors(TagTable([Tag(1, path, 0, None, TagConfig(), 1)]))
        own.restore(holding.detector.snapshot())
        known[path] = own.snapshot()
    return known


async def test_the_next_holder_knows_bit_for_bit_what_the_last_one_knew() -> None:
    rng = np.random.default_rng(11)
    plant = SharedPlant(LOW, HIGH, flush_readings_max=40)
    plant.detector = Moderate
    plant.clock.now_us = lambda: T0_US + 400_000_000  # type: ignore[method-assign]
    paths = [path_in(LOW.slices, i) for i in range(3)] + [path_in(HIGH.slices, i) for i in range(2)]
    await load(plant, rng, paths, 400)
    workers = {name: plant.worker(name) for name in plant.stream.shards}
    holdings = {name: await worker.start() for name, worker in workers.items()}
    for turn in count():
        done = [await workers[name].turn(holdings[name], plant.never) for name in workers]
        if turn in {7, 31}:
            await workers["low"]._save(holdings["low"])
        if turn % 10 == 9:
            assert (await plant.worker("low", Loaned(plant.history)).start()).detector.snapshot() == holdings[
                "low"
            ].detector.snapshot()
        if not any(done):
            break
    fates = plant.fates
    assert min(fates[fate] for fate in ("stored", "duplicate", "conflict", "late", "quarantined", "moved")) > 10
    assert sum(len(written.arrivals.repeated) for written in plant.history.flushes) > 50
    for name, holding in holdings.items():
        again = await plant.worker(name).start()
        assert again.detector.snapshot() == holding.detector.snapshot()
        assert again.positions == holding.positions


class Loaned:
    """A history that shows the lease without taking it."""

    def __init__(self, history: Any) -> None:
        self._history = history

    def __getattr__(self, name: str) -> Any:
        return getattr(self._history, name)

    async def claim(self, stream: str, shards: list[str], owner: str) -> Lease:
        at: dict[str, Checkpoint] = {shard: self._history.checkpoint(stream, shard) for shard in shards}
        return Lease(stream, owner, dict.fromkeys(shards, 0), at)


class Patient(Detectors):
    """Does not listen for silence: it depends on when somebody looks."""

    def __init__(self, table: TagTable) -> None:
        super().__init__(table, learn_s=10.0, silence_intervals=1e6)


STEPS = (
    (ONLY,),
    (LOW._replace(parents=("only",)), HIGH._replace(parents=("only",))),
    (Shard("again", None, ("low", "high"), range(SLICES)),),
)


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
async def test_split_and_merged_they_go_on_as_one_would(seed: int) -> None:
    rng = np.random.default_rng(seed)
    whole, torn = (SharedPlant(ONLY, flush_readings_max=1) for _ in range(2))
    paths = [path_in(shard.slices, i) for shard in (LOW, HIGH) for i in range(2)]
    for plant in (whole, torn):
        plant.detector = Patient
    for step, shards in enumerate(STEPS):
        for shard in shards:
            torn.stream.open(shard) if shard.parents else None
        for second, readings in enumerate(minutes(rng, paths, 25, 25 * step)):
            for plant in (whole, torn):
                await plant.send(*readings)
                plant.clock.advance(1_000_000)
            if second == 12:
                await torn.work(*(shard.name for shard in shards))  # and crash
        holdings = await torn.work(*(shard.name for shard in shards))
        for name, holding in holdings.items():
            await torn.worker(name)._save(holding)
    (expected,) = (await whole.work()).values()
    assert state(holdings["again"]) == state(expected)
    assert torn.fates == whole.fates
    assert torn.fates["conflict"]


# -- what gathers -----------------------------------------------------------------------------------------------------


async def test_bulk_gathers_and_what_is_urgent_does_not() -> None:
    plant = SharedPlant(ONLY, linger_ms=100, flush_readings_max=10)
    worker = plant.worker("only")
    holding = await worker.start()
    lay(plant, put(plant, [1]))
    assert await worker.turn(holding, plant.never) == 0
    plant.clock.advance(50_000)
    lay(plant, put(plant, [2]))
    assert await worker.turn(holding, plant.never) == 0
    lay(plant, put(plant, [3], Lane.CRITICAL))
    assert await worker.turn(holding, plant.never) == 3
    lay(plant, put(plant, [4]))
    assert await worker.turn(holding, plant.never) == 0
    plant.clock.advance(100_000)
    assert await worker.turn(holding, plant.never) == 1
    lay(plant, put(plant, [5, 6, 7, 8, 9]))
    assert await worker.turn(holding, plant.never) == 5
    assert plant.fates == {"stored": 9}


async def test_nothing_is_taken_twice_while_it_gathers() -> None:
    plant = SharedPlant(ONLY, linger_ms=1_000, flush_readings_max=1_000)
    worker = plant.worker("only")
    holding = await worker.start()
    for at in range(1, 40):
        lay(plant, put(plant, [at]))
        await worker.turn(holding, plant.never)
        plant.clock.advance(10_000)
    plant.clock.advance(1_000_000)
    assert await worker.turn(holding, plant.never) == 39
    assert [len(rows) for written in plant.history.flushes for rows in written.rows] == [39]


async def test_what_gathered_is_stored_before_the_worker_stops() -> None:
    plant = SharedPlant(ONLY, linger_ms=60_000)
    worker, stop = plant.worker("only"), asyncio.Event()
    lay(plant, put(plant, [1]))
    running = asyncio.create_task(worker.run(stop))
    while not worker._gathered.get("only"):  # noqa: ASYNC110  # a worker tells nobody
        await asyncio.sleep(0.001)
    stop.set()
    left = await running
    assert plant.fates == {"stored": 1}
    assert left.position == plant.history.checkpoint("shared", "only").position
    positions, _ = await plant.history.load("shared", "only")  # type: ignore[misc]
    assert positions["only"] == left.position


async def test_what_waits_in_the_stream_is_not_silent() -> None:
    plant = SharedPlant(ONLY, flush_readings_max=1)
    for at in range(5):
        lay(plant, put(plant, [at]))
        plant.clock.advance(1_000_000)
    plant.clock.advance(100_000_000)
    worker = plant.worker("only")
    holding = await worker.start()
    received = [entry.received_us for entry in plant.stream.entries["only"]]
    for number in range(5):
        plant.clock.advance(1_000_001)
        await worker.turn(holding, plant.never)
        assert holding.detector.ticks == received[: number + 1]
    plant.clock.advance(1_000_001)
    await worker.turn(holding, plant.never)
    assert holding.detector.ticks[-1] == plant.clock.now_us(), "now there is nothing more"


async def test_a_lane_that_nobody_looked_at_may_hold_something() -> None:
    critical, bulk = Shard("critical", Lane.CRITICAL), Shard("bulk", Lane.BULK)
    plant = SharedPlant(critical, bulk)
    unit = plant.stream.unit("critical")
    plant.stream.unit = lambda _: unit._replace(shards=(critical, bulk))  # type: ignore[method-assign]
    worker = plant.worker("critical", Both(plant.history))
    holding = await worker.start()
    lay(plant, put(plant, [1]))
    await worker.turn(holding, plant.never)
    await worker.turn(holding, plant.never)
    last_us = plant.clock.now_us()
    for at in range(5):
        plant.clock.advance(1_000_001)
        lay(plant, put(plant, [2 + at]))
        lay(plant, put(plant, [at], Lane.CRITICAL))
        await worker.turn(holding, plant.never)
    assert max(holding.detector.ticks, default=0) <= last_us


class Both(Loaned):
    """Leases of two shards as one."""

    async def claim(self, stream: str, shards: list[str], owner: str) -> Lease:
        lease: Lease = await self._history.claim(stream, ["critical", "bulk"], owner)
        return lease


# -- over PostgreSQL --------------------------------------------------------------------------------------------------


@asynccontextmanager
async def on_postgres(url: str, *shards: Shard):
    database = Database(url, application="test")
    await database.open()
    histories = {shard.name: PostgresHistory(database) for shard in shards}
    plant = SharedPlant(*shards, history=histories[shards[0].name], snapshots=PostgresSnapshots(database))
    try:
        yield plant, histories, Registry(database)
    finally:
        for history in histories.values():
            await history.close()
        await database.close()


LANES = (Shard("critical", Lane.CRITICAL, (), range(SLICES)), Shard("bulk", Lane.BULK, (), range(SLICES)))
CRITICAL = TagConfig(criticality=Criticality.CRITICAL)


@pytest.mark.parametrize("held", [True, False])
async def test_a_lane_changes_only_between_flushes(postgres_url: str, monkeypatch, held: bool) -> None:
    """A flush of the old owner is under way when the tag becomes critical, and the new owner gets a copy at once."""
    if not held:
        monkeypatch.setattr(history, "SQL", {**history.SQL, "hold_lanes": "select 1"})
    async with on_postgres(postgres_url, *LANES) as (plant, histories, registry):
        await plant.send(R("p/x", T0_US, 1.0))
        await drive(plant, histories, "bulk")
        waiting, go = asyncio.Event(), asyncio.Event()

        async def point(name: str) -> None:
            if name == "commit":
                waiting.set()
                await go.wait()

        twice = R("p/x", T0_US + 1, 2.0)
        await plant.send(twice)
        worker = plant.worker("bulk", Disturbed(histories["bulk"], point))  # type: ignore[arg-type]
        old = asyncio.create_task(worker.turn(await worker.start(), plant.never))
        await waiting.wait()
        changing = asyncio.create_task(registry.put("p/x", CRITICAL, "test"))
        await plant.send(twice, lane=Lane.CRITICAL)
        new = asyncio.create_task(drive(plant, histories, "critical", until=changing))
        await asyncio.sleep(0.3)
        assert changing.done() != held, "the barrier waits for the flush"
        go.set()
        await asyncio.gather(old, changing, new)
        with psycopg.connect(postgres_url) as connection:
            rows = connection.execute("select count(*), count(distinct ts) from readings").fetchone()
    assert rows == ((2, 2) if held else (3, 2)), "without the lock it is stored twice"


async def drive(plant: SharedPlant, histories: dict[str, PostgresHistory], unit: str, until: Any = None) -> None:
    """Store all that is there; if it fails for good reason, begin anew."""
    if until is not None:
        await until
    while True:
        worker = plant.worker(unit, histories[unit])
        holding = await worker.start()
        try:
            while await worker.turn(holding, plant.never):
                pass
        except (Reassigned, Unavailable):
            continue
        return


async def test_criticality_changes_while_readings_flow(postgres_url: str) -> None:
    async with on_postgres(postgres_url, *LANES) as (plant, histories, registry):
        paths = [f"p/t{i}" for i in range(4)]
        sent: Counter[tuple[str, int]] = Counter()
        stop, rng = asyncio.Event(), np.random.default_rng(2)

        async def work(unit: str) -> None:
            worker = plant.worker(unit, histories[unit])
            await worker.run(stop)

        running = [asyncio.create_task(work(shard.name)) for shard in LANES]
        lanes = dict.fromkeys(paths, Lane.BULK)
        for at in range(120):
            for path in paths:
                sent[path, T0_US + at] += 1
                await plant.send(R(path, T0_US + at, float(at)), lane=lanes[path])
                if rng.random() < 0.2:
                    await plant.send(R(path, T0_US + at, float(at)), lane=Lane.BULK)
            if at % 30 == 20:
                path = paths[at // 30]
                lanes[path] = Lane.CRITICAL
                await registry.put(path, CRITICAL, "test")
            await asyncio.sleep(0.005)
        await drained(postgres_url, len(sent))
        stop.set()
        await asyncio.gather(*running)
        with psycopg.connect(postgres_url) as connection:
            rows = connection.execute("select count(*), count(distinct (tag_id, ts)) from readings").fetchone()
            fates = connection.execute("select sum(stored), sum(quarantined), sum(moved) from shard").fetchone()
    assert rows == (480, 480)
    assert fates is not None
    assert fates[:2] == (480, 0)


async def drained(url: str, readings: int) -> None:
    async with asyncio.timeout(30):
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            while await (await connection.execute("select count(*) from readings")).fetchone() < (readings,):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        await asyncio.sleep(0.5)


async def test_the_next_holder_begins_at_the_position_of_a_snapshot_in_the_database(postgres_url: str) -> None:
    """Positions have 186 bits, and JSON's usual readers make floats of them."""
    async with on_postgres(postgres_url, ONLY) as (plant, histories, _):
        worker = plant.worker("only", histories["only"])
        holding = await worker.start()
        for at in range(6):
            await plant.send(R(PATH, T0_US + at, float(at)))
            await worker.turn(holding, plant.never)
            if at == 3:
                await worker._save(holding)
                saved = holding.positions["only"]
        positions, _ = await plant.snapshots.load("shared", "only")
        assert positions == {"only": saved}
        assert type(positions["only"]) is int
        again = await plant.worker("only", histories["only"]).start()
    assert again.detector.learned == holding.detector.learned
    assert again.positions == holding.positions
    assert len(again.detector.learned[PATH]) == 6
