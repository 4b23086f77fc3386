"""Whatever an entry is, it stands in nobody's way; and no passing trouble is blamed on one."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import psycopg
import pytest
from structlog.testing import capture_logs

from make import T0_US, R, batch
from penstock.errors import Backpressure, Fenced, Unavailable
from penstock.model.batch import Lane, batch_of
from penstock.model.shard import Shard
from penstock.model.slices import SLICES
from penstock.process import worker as loop
from penstock.process.blame import ALONE, TOGETHER, Blame
from penstock.process.commit import Steps
from penstock.process.detect.all import Detectors
from penstock.process.worker import Worker
from penstock.store.history import PostgresHistory
from penstock.store.memory import MemoryHistory
from penstock.store.port import Lease, Span
from penstock.store.postgres import Database
from penstock.store.snapshots import PostgresSnapshots
from penstock.stream.port import Entry, Origin, Poison
from process.plant import Disturbed, Plant, Recorder, reading
from process.shared import OTHERS, SharedPlant

ONLY = Shard("only", None, (), range(SLICES))
BAD = "p/bad"
GOOD = [f"p/good{i}" for i in range(3)]


@pytest.fixture(autouse=True)
def _at_once(monkeypatch) -> Iterator[None]:
    monkeypatch.setattr(loop, "BACKOFF_S", (0.0,))
    with capture_logs():
        yield


async def run_until_done(plant: SharedPlant, worker: Worker, done: Any) -> None:
    stop = asyncio.Event()
    running = asyncio.create_task(worker.run(stop))
    async with asyncio.timeout(60):
        while not await done():  # noqa: ASYNC110  # a worker tells nobody
            await asyncio.sleep(0.002)
    stop.set()
    await running


async def all_of(plant: SharedPlant, worker: Worker) -> None:
    """Until the shard's last entry is committed."""
    last = plant.stream.entries["only"][-1].position

    async def done() -> bool:
        return bool(plant.history.checkpoint("shared", "only").position == last)

    await run_until_done(plant, worker, done)


async def among_good(plant: SharedPlant, *bad: R, entries: int = 12) -> None:
    """Entries of which one, somewhere in the middle, holds *bad*."""
    for at in range(entries):
        if at == entries // 2:
            plant.stream.foreign("only", *bad)
        await plant.send(*(R(path, T0_US + at, float(at)) for path in GOOD))


def quarantined(plant: SharedPlant) -> list[tuple[str, str]]:
    return [(held.path, held.reason) for written in plant.history.flushes for held in written.held]


class Refusing(MemoryHistory):
    """A store that cannot do one thing with one entry."""

    def __init__(self, plant: list[SharedPlant], step: str) -> None:
        super().__init__()
        self.plant, self.step, self.failures = plant, step, 0

    @asynccontextmanager
    async def flush(self, lease: Lease, span: Span) -> AsyncIterator[Any]:
        async def point(name: str) -> None:
            entries = await self.plant[0].stream.between(span.shard, span.lo, span.hi)
            if name == self.step and any(BAD in entry.batch.paths for entry in entries):
                self.failures += 1
                raise ValueError("no")

        async with Disturbed(super(), point).flush(lease, span) as flush:  # type: ignore[arg-type]
            yield flush


@pytest.mark.parametrize("step", ["register", "register_states", "compare", "write", "fix_kind"])
async def test_an_entry_that_the_store_cannot_take_is_found_and_quarantined(step: str) -> None:
    plants: list[SharedPlant] = []
    plant = SharedPlant(ONLY, history=Refusing(plants, step))
    plants.append(plant)
    await plant.send(*(R(path, T0_US - 10, 0.0) for path in GOOD))
    await plant.work()
    bad = [R(BAD, T0_US, 1.0), R("p/state", T0_US, state="ODD"), R(GOOD[0], T0_US - 10, 0.0)]
    await among_good(plant, *bad)
    await all_of(plant, plant.worker("only"))
    assert quarantined(plant) == [(path, "unprocessable") for path in (BAD, "p/state", GOOD[0])]
    assert plant.fates == {"stored": 39, "quarantined": 3}
    assert plant.history.failures < TOGETHER + 7 + ALONE
    for path in GOOD:
        ts = [one[0] for one in (await in_order(plant)).get(path, [])]
        assert ts == sorted(ts)
        assert len(ts) == 13


async def in_order(plant: SharedPlant) -> dict[str, list[tuple[int, float]]]:
    path_of = {tag.tag_id: tag.path for tag in (await plant.history.tags())[1]}
    stored: dict[str, list[tuple[int, float]]] = {}
    for written in plant.history.flushes:
        for rows in written.rows:
            for tag_id, ts, value in zip(rows.tag_id.tolist(), rows.ts.tolist(), rows.value.tolist(), strict=True):
                stored.setdefault(path_of[tag_id], []).append((ts, value))
    return stored


@pytest.mark.parametrize("step", ["_intake", "_send_on", "detector"])
async def test_an_entry_that_a_step_cannot_take_is_found_and_quarantined(step: str, monkeypatch) -> None:
    plant = SharedPlant(ONLY)
    worker = plant.worker("only")
    if step == "detector":
        monkeypatch.setattr(Recorder, "run", _sick(Recorder.run))
    else:
        monkeypatch.setattr(Steps, step, _sick_step(getattr(Steps, step)))
    await among_good(plant, R(BAD, T0_US, 1.0))
    await all_of(plant, worker)
    assert quarantined(plant) == [(BAD, "unprocessable")]
    assert plant.fates == {"stored": 36, "quarantined": 1}
    again = await plant.worker("only").start()
    assert BAD not in again.detector.learned
    assert sum(map(len, again.detector.learned.values())) == 36, "the next holder does not stumble over it"


def _sick(run: Any) -> Any:
    def raising(self: Recorder, readings: Any, now_us: int) -> Any:
        if any(self.table.paths[slot] == BAD for slot in readings.slot.tolist()):
            raise ZeroDivisionError
        return run(self, readings, now_us)

    return raising


def _sick_step(step: Any) -> Any:
    async def raising(self: Steps, *given: Any) -> Any:
        for one in given:
            if isinstance(one, list) and any(isinstance(entry, Entry) and BAD in entry.batch.paths for entry in one):
                raise IndexError
        return await step(self, *given)

    return raising


@pytest.mark.parametrize("error", [Unavailable, Backpressure, Fenced])
@pytest.mark.parametrize("step", ["begin", "register", "write", "commit", "reply"])
async def test_passing_trouble_quarantines_nothing(step: str, error: type[Exception]) -> None:
    plant = SharedPlant(ONLY)
    failures = 0

    async def point(name: str) -> None:
        nonlocal failures
        if name == step and failures < 40:
            failures += 1
            raise error

    await among_good(plant, R("p/fine", T0_US, 1.0))
    for _ in range(41):  # who is fenced, leaves
        worker = plant.worker("only", Disturbed(plant.history, point))  # type: ignore[arg-type]
        if error is Fenced:
            await worker.run(asyncio.Event()) if failures < 40 and (step != "reply" or failures == 0) else None
    failures = min(failures, 39)
    await all_of(
        plant, plant.worker("only", Disturbed(plant.history, point)) if error is not Fenced else plant.worker("only")
    )  # type: ignore[arg-type]
    assert plant.fates == {"stored": 37}


async def test_a_busy_critical_lane_excuses_nobody() -> None:
    plant = Plant()
    broken = 0

    async def point(name: str) -> None:
        nonlocal broken
        if name == "write" and plant.wrong:
            broken += 1
            raise ValueError

    class Watching(Worker):
        async def commit(self, holding: Any, shard: str, entries: Any) -> None:
            plant.wrong[:] = ["bad"] if any(BAD in entry.batch.paths for entry in entries) else []
            await super().commit(holding, shard, entries)

    await plant.send(reading(BAD, 1, 1.0))
    worker, stop = plant.worker(Disturbed(plant.history, point), kind=Watching), asyncio.Event()
    running = asyncio.create_task(worker.run(stop))
    async with asyncio.timeout(20):
        at = 0
        while not plant.history.fates["quarantined"]:
            at += 1
            await plant.send(reading("p/urgent", at, 1.0), lane=Lane.CRITICAL)
            await asyncio.sleep(0.001)
    stop.set()
    await running
    assert broken == ALONE


def test_halves_find_it() -> None:
    blame, flushes = Blame(), 0
    left = [Entry("s", at, 0, T0_US, batch(R("a/x", T0_US, 1.0))) for at in range(1, 10_001)]
    sick = {7_777, 7_778}
    given_up = []
    while left:
        flushes += 1
        entries = left[: blame.room("s", 20_000)]
        if blame.given_up("s", entries):
            given_up.append(entries[0].position)
        elif sick & {entry.position for entry in entries}:
            blame.failed("s", entries)
            continue
        del left[: len(entries)]
        blame.passed("s", entries[-1].position)
    assert given_up == [7_777, 7_778]
    assert flushes < 120 or blame.room("s", 20_000) == 20_000


# -- over PostgreSQL --------------------------------------------------------------------------------------------------


@asynccontextmanager
async def on_postgres(url: str):
    database = Database(url, application="test")
    await database.open()
    history = PostgresHistory(database)
    try:
        yield SharedPlant(ONLY, history=history, snapshots=PostgresSnapshots(database))
    finally:
        await history.close()
        await database.close()


async def stored_in(url: str, plant: SharedPlant) -> None:
    last = plant.stream.entries["only"][-1].position
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:

        async def done() -> bool:
            cursor = await connection.execute("select position from shard where shard = 'only'")
            row = await cursor.fetchone()
            return row is not None and int(row[0]) == last

        await run_until_done(plant, plant.worker("only"), done)


def ask(url: str, question: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(question).fetchall()


def forged(**given: Any) -> tuple[Any, Origin | None, int]:
    """A record that says it is ours, and holds what no door lets in."""
    path, state, ts = given.get("path", "p/odd"), given.get("state"), given.get("ts", T0_US)
    one = batch(R(path, ts, None if state else 1.0, state=state), R("p/beside", T0_US, 2.0))
    one = (
        one
        if "quality" not in given
        else batch_of(one.paths, one.tag, one.ts, one.value, quality=[given["quality"], 0])
    )
    request = np.full(2, given.get("request", 1), np.int64)
    origin = Origin(OTHERS, given.get("belt", 3), given.get("counted", 2), request, np.arange(2, dtype=np.int32))
    return one, origin, given.get("received_us", T0_US)


FORGED = {
    "a path with NUL": {"path": "p/\0x"},
    "a path too long for the index": {"path": "p/" + "".join(chr(0x10000 + i * 977 % 60_000) for i in range(1_000))},
    "a state with NUL": {"state": "A\0B"},
    "a state too long for the index": {"state": "".join(chr(0x10000 + i * 977 % 60_000) for i in range(1_000))},
    "received before the first year": {"received_us": -(2**62)},
    "received when no calendar ends": {"received_us": 2**63 - 1},
    "a time before all calendars": {"ts": -(2**62)},
    "a time behind all calendars": {"ts": 2**63 - 1},
    "a request beyond all ranges": {"request": 2**63 - 1},
    "a request below zero": {"request": -(2**63)},
    "a count beyond all counts": {"counted": 2**63 - 1},
    "a belt that is none": {"belt": 65_535},
    "a quality beyond all codes": {"quality": 2**63 - 1},
}


@pytest.mark.parametrize("kind", FORGED)
async def test_what_the_database_refuses_is_quarantined_by_itself(postgres_url: str, kind: str) -> None:
    async with on_postgres(postgres_url) as plant:
        for at in range(6):
            if at == 3:
                one, origin, received_us = forged(**FORGED[kind])
                plant.stream.lay("only", one, origin, received_us=received_us)
            await plant.send(*(R(path, T0_US + at, float(at)) for path in GOOD))
        await stored_in(postgres_url, plant)
        again = await plant.worker("only").start()
    (fates,) = ask(postgres_url, "select stored, duplicate, conflict, quarantined from shard")
    assert sum(fates) == 20
    assert ask(postgres_url, "select count(*) from readings where path like 'p/good%'") == [(18,)]
    held = ask(postgres_url, "select reason, raw from quarantine")
    assert len(held) == fates[3]
    assert all(raw for _, raw in held)
    assert len(again.detector.learned[GOOD[0]]) == 6


async def test_poison_is_kept_with_its_reason_in_the_transaction_of_the_checkpoint(postgres_url: str) -> None:
    async with on_postgres(postgres_url) as plant:
        nothing = batch_of((), (), (), ())
        raw = b"\x00\xff not JSON"
        plant.stream.lay("only", nothing, None, Poison(0, "not_json", "it is \0 none", raw, "p/\0"))
        beside = batch(R("p/x", T0_US, 1.0))
        plant.stream.lay("only", beside, None, Poison(1, "value_not_finite", "NaN", b'{"value": NaN}', "p/y"))
        await stored_in(postgres_url, plant)
    assert ask(postgres_url, "select reason, detail, raw, path, index from quarantine order by 1") == [
        ("not_json", "it is ? none", raw, "p/?", 0),
        ("value_not_finite", "NaN", b'{"value": NaN}', "p/y", 1),
    ]
    assert ask(postgres_url, "select stored, quarantined from shard") == [(1, 2)]
    assert ask(postgres_url, "select distinct q.flush_id = f.flush_id from quarantine q, flush f") == [(True,)]
    assert ask(postgres_url, "select sum(seen) from produced") == [(3,)]


async def test_very_many_new_tags_and_very_much_poison_in_one_entry(postgres_url: str) -> None:
    async with on_postgres(postgres_url) as plant:
        paths = [f"many/t{i}" for i in range(20_000)]
        plant.detector = Detectors
        one = batch_of(paths, np.arange(20_000), np.full(20_000, T0_US), np.ones(20_000))
        plant.stream.lay("only", one)
        poison = [Poison(i, "not_object", "it is no object", b"0") for i in range(20_000)]
        plant.stream.lay("only", batch_of((), (), (), ()), None, *poison)
        plant.stream.lay("only", batch(R("many/t5", T0_US + 1, 1.0), R("many/late", T0_US, 1.0)))
        await stored_in(postgres_url, plant)
    assert ask(postgres_url, "select stored, quarantined from shard") == [(20_002, 20_000)]
    assert ask(postgres_url, "select max(tag_id) from tag") == [(20_001,)]


async def test_rights_that_are_taken_away_for_a_while_quarantine_nothing(postgres_url: str, monkeypatch) -> None:
    failures = 0
    begin = PostgresHistory._begin

    async def refused(self: Any, connection: Any, lease: Lease, span: Span) -> Any:
        nonlocal failures
        if failures < 20:
            failures += 1
            raise psycopg.errors.InsufficientPrivilege("permission denied for table hot")
        return await begin(self, connection, lease, span)

    monkeypatch.setattr(PostgresHistory, "_begin", refused)
    async with on_postgres(postgres_url) as plant:
        await among_good(plant, R("p/fine", T0_US, 1.0))
        await stored_in(postgres_url, plant)
    assert ask(postgres_url, "select stored, quarantined from shard") == [(37, 0)]
    assert failures == 20
