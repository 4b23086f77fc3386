import asyncio
import time
from dataclasses import replace

import numpy as np
import pytest
from structlog.testing import capture_logs

from make import MINUTE_US, T0_US, R
from penstock.errors import Unavailable
from penstock.model import anomaly
from penstock.model.batch import Lane
from penstock.model.shard import ALL
from penstock.model.tag import TagConfig
from penstock.process.outcome import Unaccounted
from penstock.process.validate import Validate
from process.plant import Disturbed, Plant, Recorder, complaints, reading

DAY_US = 86_400_000_000
FINDING = anomaly.Finding(
    slot=0, ts_us=T0_US, test=anomaly.Test.SILENCE, active=True, priority=anomaly.Priority.LOW, value=None, score=1.0,
    low=None, high=None, because="nothing came",
)  # fmt: skip


async def tags(plant: Plant) -> dict[str, str | None]:
    return {tag.path: tag.holds for tag in (await plant.history.tags())[1]}


def reasons(plant: Plant) -> list[tuple[str, str]]:
    return [(held.path, held.reason) for written in plant.history.flushes for held in written.held]


async def test_every_reading_has_one_fate() -> None:
    plant = Plant()
    await plant.work(reading("a/x", 0, 1.0), reading("a/x", 9, 2.0), R("a/s", T0_US, state="IDLE"))
    await plant.work(
        reading("a/x", 9, 2.0),
        reading("a/x", 9, 3.0),
        R("a/x", T0_US + DAY_US, 4.0),
        reading("a/x", 5, 5.0),
        reading("a/x", 9, 2.0, seq=0),
        R("a/s", T0_US, state="RUNNING"),
        R("a/s", T0_US, 1.0),
    )
    assert plant.history.fates == {"stored": 5, "duplicate": 1, "conflict": 2, "quarantined": 2, "late": 1, "moved": 0}
    last = plant.history.flushes[-1]
    assert [(held.item, held.reason) for held in last.held] == [(2, "ts_ahead"), (6, "kind_mismatch")]
    assert sorted((one.item, one.value, one.state) for one in last.contested) == [(1, 3.0, None), (5, None, "RUNNING")]
    assert [repeats.index.tolist() for repeats in last.repeats] == [[0]]
    assert await plant.unaccounted() == 0


async def test_fates_count_for_the_minute_in_which_readings_were_received() -> None:
    plant = Plant()
    await plant.work(reading("a/x", 5, 1.0))
    start = plant.clock.now_us() // MINUTE_US * MINUTE_US + MINUTE_US
    plant.clock.advance(start - plant.clock.now_us() + 1)
    await plant.send(reading("a/x", 6, 1.0), reading("a/x", 5, 1.0))
    plant.clock.advance(MINUTE_US)
    await plant.work(reading("a/x", 4, 1.0), reading("a/x", 7, 1.0), reading("a/x", 7, 2.0))
    fates = plant.history.flushes[-1].fates
    assert fates is not None
    assert {at - start: (one.stored, one.duplicate, one.conflict, one.late) for at, one in fates.items()} == {
        0: (1, 1, 0, 0),
        MINUTE_US: (2, 0, 1, 1),
    }


async def test_critical_readings_go_first() -> None:
    plant = Plant()
    for at in range(3):
        await plant.send(reading("a/x", at, 1.0))
    await plant.send(reading("c/x", 0, 1.0), lane=Lane.CRITICAL)
    worker = plant.worker()
    await plant.drain(worker, await worker.start())
    assert [written.span.shard for written in plant.history.flushes] == ["critical", "bulk"]


async def test_bulk_readings_gather_and_critical_ones_do_not_wait_for_them() -> None:
    plant = Plant(linger_ms=100, flush_readings_max=6)
    worker = plant.worker()
    holding = await worker.start()
    await plant.send(reading("a/x", 0, 1.0))
    assert await worker.turn(holding, plant.never) == 0
    plant.clock.advance(50_000)
    await plant.send(reading("c/x", 0, 1.0), lane=Lane.CRITICAL)
    await plant.send(reading("a/x", 1, 1.0))
    assert [await worker.turn(holding, plant.never) for _ in range(2)] == [1, 0]
    plant.clock.advance(50_000)
    assert await worker.turn(holding, plant.never) == 2, "the oldest has waited long enough"
    await plant.send(*(reading("a/x", at, 1.0) for at in range(2, 5)))
    assert await worker.turn(holding, plant.never) == 3, "half a flush does not wait"


async def test_gathering_lasts_no_longer_than_set() -> None:
    plant = Plant(linger_ms=60)
    worker = plant.worker()
    holding = await worker.start()
    await plant.send(R("a/x", plant.clock.now_us(), 1.0))
    plant.clock.advance(59_000)
    assert await worker.turn(holding, plant.never) == 0
    plant.clock.advance(1_000)
    assert await worker.turn(holding, plant.never) == 1


async def test_a_change_of_a_tag_holds_from_the_next_reading() -> None:
    plant = Plant()
    worker = plant.worker()
    holding = await worker.start()
    for at, unit in enumerate((None, "bar", "Cel")):
        plant.history.configure("a/x", TagConfig(unit=unit))
        await plant.send(R("a/x", T0_US + at, 1.0, unit="bar"))
        await plant.drain(worker, holding)
    assert reasons(plant) == [("a/x", "unit_mismatch")]
    assert plant.history.fates["stored"] == 2


async def test_a_change_made_while_a_flush_registers_tags_is_not_missed() -> None:
    plant = Plant()

    async def point(name: str) -> None:
        if name == "begin" and "a/x" in await tags(plant) and not plant.wrong:
            plant.wrong.append("changed")
        elif name == "register" and plant.wrong == ["changed"]:
            plant.history.configure("a/x", TagConfig(unit="Cel"))

    worker = plant.worker(Disturbed(plant.history, point))
    holding = await worker.start()
    for at, path in enumerate(("a/x", "a/new", "a/x")):
        await plant.send(R(path, T0_US + at, 1.0, unit="bar"))
        await plant.drain(worker, holding)
    assert reasons(plant) == [("a/x", "unit_mismatch")]


async def test_tags_register_themselves_while_there_is_room() -> None:
    plant = Plant(tags_max=2)
    await plant.work(*(reading(path, 0, 1.0) for path in ("a/1", "a/2", "a/3")), reading("a/1", 1, 1.0))
    await plant.work(reading("a/4", 0, 1.0), reading("a/2", 1, 1.0))
    assert await tags(plant) == {"a/1": "value", "a/2": "value"}
    assert reasons(plant) == [("a/3", "unknown_tag"), ("a/4", "unknown_tag")]
    assert plant.history.fates["stored"] == 4


async def test_tags_do_not_register_themselves_where_that_is_switched_off() -> None:
    plant = Plant(register_unknown=False)
    plant.history.configure("a/known", TagConfig())
    await plant.work(reading("a/known", 0, 1.0), reading("a/x", 0, 1.0))
    assert await tags(plant) == {"a/known": "value"}
    assert reasons(plant) == [("a/x", "unknown_tag")]


async def test_state_texts_are_numbered_while_there_is_room() -> None:
    plant = Plant(states_max=2)
    await plant.work(*(R("a/s", T0_US + at, state=text) for at, text in enumerate(("A", "B", "C", "A"))))
    await plant.work(R("a/s", T0_US + 9, state="D"), R("a/s", T0_US + 10, state="B"))
    assert set(await plant.history.state_texts()) == {"A", "B"}
    assert reasons(plant) == [("a/s", "states_full")] * 2


async def test_only_a_stored_reading_fixes_what_a_tag_holds() -> None:
    plant = Plant()
    await plant.work(R("a/x", T0_US, quality=0x8000_0000))
    await plant.work(R("a/x", T0_US, 1.0))
    assert plant.history.fates["conflict"] == 1
    assert await tags(plant) == {"a/x": None}
    await plant.work(R("a/x", T0_US + 1, state="IDLE"))
    assert await tags(plant) == {"a/x": "state"}


async def test_the_balance_holds_at_every_moment() -> None:
    plant, unaccounted = Plant(flush_readings_max=3), []

    async def point(_: str) -> None:
        unaccounted.append(await plant.unaccounted())

    for at in range(8):
        await plant.send(reading("a/x", at // 2, at), R("a/x", T0_US + DAY_US, 0.0), reading("a/y", at, 1.0))
    worker = plant.worker(Disturbed(plant.history, point))
    await plant.drain(worker, await worker.start())
    assert len(unaccounted) > 40
    assert set(unaccounted) == {0}


async def test_nothing_is_committed_when_a_step_loses_a_reading() -> None:
    class Lossy(Validate):
        def __call__(self, *given: object) -> object:  # type: ignore[override]
            return super().__call__(*given).pick(np.array([0]))  # type: ignore[arg-type]

    plant = Plant()
    worker = plant.worker()
    worker._steps = replace(worker._steps, validate=Lossy(300.0, 2_557.0))
    holding = await worker.start()
    await plant.send(reading("a/x", 0, 1.0), reading("a/x", 1, 1.0))
    with pytest.raises(Unaccounted):
        await worker.turn(holding, plant.never)
    assert not plant.history.flushes
    assert await plant.in_flight() == 2


async def test_findings_are_stored_with_what_led_to_them() -> None:
    plant = Plant()
    plant.findings.append(FINDING)
    await plant.work(reading("a/x", 0, 1.0))
    first = plant.history.flushes[0]
    assert first.findings == [(first.rows[0].tag_id[0], FINDING)]


async def test_the_passing_of_time_is_told_once_a_second_and_moves_no_checkpoint() -> None:
    plant = Plant()
    holding = await plant.work(reading("a/x", 0, 1.0))
    worker, positions = plant.worker(), dict(holding.positions)
    holding = await worker.start()
    plant.findings.append(FINDING)
    for _ in range(10):
        plant.clock.advance(250_000)
        await worker.turn(holding, plant.never)
    assert len(holding.detector.ticks) == 2  # type: ignore[attr-defined]
    told = plant.history.flushes[-2:]
    assert [written.findings for written in told] == [[(1, FINDING)]] * 2
    assert holding.positions == positions
    assert worker.progress >= 10


async def test_what_waits_in_the_stream_is_not_taken_for_silence() -> None:
    plant = Plant(flush_readings_max=1)
    for at in range(4):
        await plant.send(reading("a/x", at, 1.0))
        plant.clock.advance(600_000_000)
    worker = plant.worker()
    holding = await worker.start()
    await plant.drain(worker, holding)
    ticks = holding.detector.ticks  # type: ignore[attr-defined]
    received = [T0_US + at * 600_000_000 for at in range(4)]
    assert ticks[:2] == received[1:3]
    assert ticks[2:] == [tick for tick in ticks[2:] if tick >= received[3]]


async def test_detectors_are_kept_every_half_minute_and_when_the_worker_stops() -> None:
    plant = Plant()
    worker = plant.worker()
    holding = await worker.start()
    await plant.send(reading("a/x", 0, 1.0))
    await plant.drain(worker, holding)
    assert await plant.history.load(plant.stream.identity, ALL) is None
    plant.clock.advance(30_000_000)
    await worker.turn(holding, plant.never)
    kept = await plant.history.load(plant.stream.identity, ALL)
    assert kept == ({"critical": 0, "bulk": 1}, holding.detector.snapshot())

    stop, second = asyncio.Event(), plant.worker(owner="second")
    running = asyncio.create_task(second.run(stop))
    await plant.send(reading("a/x", 1, 1.0))
    await plant.emptied()
    stop.set()
    await running
    assert (await plant.history.load(plant.stream.identity, ALL) or ({}, b""))[0] == {"critical": 0, "bulk": 2}


@pytest.mark.parametrize("snapshot_after", [None, 0, 3])
async def test_a_new_worker_knows_what_the_last_one_had_learned(snapshot_after: int | None) -> None:
    """Flush by flush: a reading that was late then is late again, though its neighbours come with it now."""
    plant = Plant(flush_readings_max=3)
    worker = plant.worker()
    holding = await worker.start()
    for at in range(6):
        await plant.send(reading("a/x", 10 * at, at), reading("a/x", 10 * at - 15, at), reading("a/y", at // 2, 1.0))
        await plant.drain(worker, holding)
        if at == snapshot_after:
            await plant.history.save(holding.lease, holding.positions, holding.detector.snapshot())
    again = await plant.worker(owner="second").start()
    assert again.detector.learned == holding.detector.learned  # type: ignore[attr-defined]
    assert await complaints(plant, again) == []


async def test_readings_that_the_stream_no_longer_keeps_are_named_when_detectors_miss_them() -> None:
    plant = Plant()
    plant.stream = type(plant.stream)(2**20, keep_bytes=0)
    for at in range(3):
        await plant.work(reading("a/x", at, 1.0), reading("a/x", at, 1.0))
    with capture_logs() as logs:
        holding = await plant.worker().start()
    assert [(one["event"], one["missing"]) for one in logs] == [
        ("detectors go on without readings that the stream no longer keeps", 4)
    ]
    assert len(holding.detector.learned["a/x"]) == 1  # type: ignore[attr-defined]


async def test_the_worker_outlives_errors_and_says_so() -> None:
    plant, fails = Plant(), [Unavailable("the database sleeps"), ValueError("a bug"), Unavailable("again")]
    begun: list[float] = []

    async def point(name: str) -> None:
        if name == "claim":
            begun.append(time.monotonic())
        if name == "write" and fails:
            raise fails.pop(0)

    stop = asyncio.Event()
    await plant.send(reading("a/x", 0, 1.0))
    with capture_logs() as logs:
        running = asyncio.create_task(plant.worker(Disturbed(plant.history, point)).run(stop))
        await plant.emptied()
        stop.set()
        await asyncio.wait_for(running, 1.0)
    assert await complaints(plant) == []
    assert [(one["log_level"], one.get("code")) for one in logs] == [
        ("warning", "unavailable"),
        ("error", None),
        ("warning", "unavailable"),
    ]
    assert np.diff(begun) == pytest.approx([0.1, 0.2, 0.5], abs=0.09)


@pytest.mark.parametrize("state", ["idle", "busy", "failing"])
async def test_the_worker_stops_within_a_second(state: str) -> None:
    plant = Plant()

    async def point(name: str) -> None:
        if state == "failing":
            raise Unavailable

    async def busy() -> None:
        for at in range(10**6):
            await plant.send(*(reading("a/x", at * 1000 + i, 1.0) for i in range(100)))
            await asyncio.sleep(0)

    stop = asyncio.Event()
    sender = asyncio.create_task(busy()) if state == "busy" else None
    running = asyncio.create_task(plant.worker(Disturbed(plant.history, point)).run(stop))
    await asyncio.sleep(0.3)
    stop.set()
    await asyncio.wait_for(running, 1.0)
    if sender is not None:
        sender.cancel()


async def test_a_worker_that_has_nothing_to_complain_of_is_silent() -> None:
    plant = Plant()
    with capture_logs() as logs:
        await plant.work(reading("a/x", 0, 1.0))
        await plant.work(reading("a/x", 0, 1.0), reading("a/x", 0, 2.0), R("a/x", T0_US + DAY_US, 1.0))
        stop = asyncio.Event()
        running = asyncio.create_task(plant.worker().run(stop))
        await asyncio.sleep(0.05)
        stop.set()
        await running
    assert logs == []


async def test_a_slot_is_not_a_tag_id() -> None:
    """Slots follow the order of the holder's own registering; another's tags may lie between."""
    plant = Plant()
    plant.history.configure("z/first", TagConfig())
    worker = plant.worker()
    holding = await worker.start()
    plant.history.configure("m/other", TagConfig())
    await plant.send(reading("b/two", 0, 2.0), reading("z/first", 0, 1.0), reading("a/three", 0, 3.0))
    await plant.send(reading("m/other", 0, 4.0), reading("b/two", 0, 9.0))
    await plant.drain(worker, holding)
    assert await complaints(plant, holding) == []
    assert isinstance(holding.detector, Recorder)
    assert {path: len(every) for path, every in holding.detector.learned.items()} == dict.fromkeys(
        ("z/first", "m/other", "b/two", "a/three"), 1
    )


@pytest.mark.parametrize("step", ["register", "compare", "write", "find", "keep", "settle", "commit"])
async def test_nothing_is_learned_when_the_commit_does_not_come_about(step: str) -> None:
    plant = Plant()
    await plant.work(reading("a/x", 5, 1.0))
    plant.findings.append(FINDING)

    async def point(name: str) -> None:
        if name == step:
            raise Unavailable

    worker = plant.worker(Disturbed(plant.history, point))
    holding = await worker.start()
    before = (holding.detector.snapshot(), dict(holding.positions), dict(holding.counted), dict(holding.states))
    await plant.send(reading("a/x", 9, 1.0), reading("a/x", 5, 1.0), reading("a/new", 5, 1.0), R("a/s", 1, state="A"))
    with pytest.raises(Unavailable):
        await worker.turn(holding, plant.never)
    assert before == (holding.detector.snapshot(), holding.positions, holding.counted, holding.states)
    assert holding.watermarks(np.zeros(1, np.int32)).tolist() == [T0_US + 5]
    assert await plant.in_flight() == 4


async def test_what_it_holds_and_cannot_store_has_an_age() -> None:
    plant, away = Plant(), [True]

    async def point(name: str) -> None:
        if name == "write" and away:
            raise Unavailable

    worker = plant.worker(Disturbed(plant.history, point))
    holding = await worker.start()
    assert worker.held_ms == 0
    await plant.send(reading("a/x", 0, 1.0))
    plant.clock.advance(7_000_000)
    with pytest.raises(Unavailable):
        await worker.turn(holding, plant.never)
    assert worker.held_ms == 7_000
    holding = await worker.start()
    plant.clock.advance(1_000_000)
    assert worker.held_ms == 8_000, "it begins anew, and what it could not store is no younger for that"
    away.clear()
    await worker.turn(holding, plant.never)
    assert worker.held_ms == 0


async def test_what_was_stored_though_nobody_said_so_is_held_no_more() -> None:
    plant, lost = Plant(), [True]

    async def point(name: str) -> None:
        if name == "reply" and lost:
            raise Unavailable

    worker = plant.worker(Disturbed(plant.history, point))
    holding = await worker.start()
    await plant.send(reading("a/x", 0, 1.0))
    plant.clock.advance(7_000_000)
    with pytest.raises(Unavailable):
        await worker.turn(holding, plant.never)
    assert worker.held_ms == 7_000
    await worker.start()
    assert worker.held_ms == 0


async def test_the_registry_is_asked_only_when_it_has_changed() -> None:
    plant, asked = Plant(), []

    async def point(name: str) -> None:
        asked.extend([name] if name in ("changed_tags", "register") else [])

    worker = plant.worker(Disturbed(plant.history, point))
    holding = await worker.start()
    for at in range(4):
        await plant.send(reading("a/x", at, 1.0))
        await plant.drain(worker, holding)
    assert asked == ["register", "changed_tags"], "its own registering is a change too, once"
