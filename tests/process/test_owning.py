"""One tag, one owner: strays are sent on, a change of lane is a change of owner."""

from collections import Counter

import pytest

from make import T0_US, R, tag
from penstock.errors import Backpressure, Unavailable
from penstock.model.anomaly import Test as Kind
from penstock.model.batch import Lane
from penstock.model.shard import Shard
from penstock.model.slices import SLICES
from penstock.model.tag import Criticality, TagConfig
from penstock.process.detect.all import Detectors
from penstock.process.owning import Elsewhere, Reassigned, owns, take_over
from penstock.process.tags import TagTable
from process.plant import Disturbed
from process.shared import SharedPlant, halves, path_in

LOW, HIGH = halves()
MINE = path_in(LOW.slices)
"""Tag of the low shard."""
CRITICAL = TagConfig(criticality=Criticality.CRITICAL)


def two_lanes() -> SharedPlant:
    every = range(SLICES)
    return SharedPlant(Shard("critical", Lane.CRITICAL, (), every), Shard("bulk", Lane.BULK, (), every))


def stored(plant: SharedPlant) -> Counter[tuple[int, int, str]]:
    """Tag, time and the unit that stored it."""
    return Counter(
        (int(tag_id), int(ts) - T0_US, written.span.shard)
        for written in plant.history.flushes
        for rows in written.rows
        for tag_id, ts in zip(rows.tag_id, rows.ts, strict=True)
    )


def fates_of(plant: SharedPlant, shard: str) -> Counter[str]:
    fates: Counter[str] = Counter()
    for written in plant.history.flushes:
        if written.span.shard == shard:
            for one in (written.fates or {}).values():
                fates.update({fate: getattr(one, fate) for fate in one.__struct_fields__ if getattr(one, fate)})
    return fates


async def test_each_unit_stores_only_what_is_its_own() -> None:
    plant = SharedPlant(LOW, HIGH)
    paths = [path_in(LOW.slices, i) for i in range(3)] + [path_in(HIGH.slices, i) for i in range(3)]
    for at in range(4):
        await plant.send(*(R(path, T0_US + at, 1.0) for path in paths))
    holdings = await plant.work()
    assert plant.fates == {"stored": 24}
    assert {name: set(holding.tags.paths) for name, holding in holdings.items()} == {
        "low": set(paths[:3]),
        "high": set(paths[3:]),
    }
    ids = {tag.tag_id: tag.path for tag in (await plant.history.tags())[1]}
    assert {(ids[tag_id] in paths[:3], unit) for tag_id, _, unit in stored(plant)} == {(True, "low"), (False, "high")}


async def test_what_a_foreign_producer_scatters_is_stored_once_by_the_owner() -> None:
    plant = SharedPlant(LOW, HIGH)
    for at in range(12):
        plant.stream.foreign(("low", "high")[at % 2], R(MINE, T0_US + at, at / 8), R(MINE, T0_US + at // 2, at / 8))
    plant.stream.foreign("high", R(MINE, T0_US + 4, -1.0))
    await plant.work()
    assert set(stored(plant)) == {(1, at, "low") for at in range(12)}
    assert max(stored(plant).values()) == 1
    assert fates_of(plant, "high").keys() == {"moved"}, "it judges nothing that is another's"
    moved = plant.fates["moved"]
    received = sum(len(entry.batch) for entries in plant.stream.entries.values() for entry in entries)
    fates = sum(plant.fates[fate] for fate in ("stored", "duplicate", "conflict", "quarantined"))
    assert (moved, received - moved) == (13, fates)
    assert plant.fates["stored"] == 12
    assert (plant.fates["duplicate"], plant.fates["conflict"]) == (1, 12)


async def test_a_stray_does_not_register_its_tag() -> None:
    plant = SharedPlant(LOW, HIGH)
    plant.stream.foreign("high", R(MINE, T0_US, 1.0), R(path_in(HIGH.slices), T0_US, 1.0))
    holdings = await plant.work("high")
    assert [tag.path for tag in (await plant.history.tags())[1]] == [path_in(HIGH.slices)]
    assert holdings["high"].tags.paths == [path_in(HIGH.slices)]
    await plant.work("low")
    assert plant.fates == {"moved": 1, "stored": 2}


async def test_strays_leave_at_once_however_many_entries_bring_them() -> None:
    plant = SharedPlant(LOW, HIGH)
    appends = []
    append = plant.stream.append

    async def counted(lanes, received_us):
        appends.append({lane: [one.paths[tag] for tag in one.tag] for lane, one in lanes.items()})
        return await append(lanes, received_us)

    plant.stream.append = counted
    for at in range(5):
        other, own = path_in(LOW.slices, at % 2), path_in(HIGH.slices)
        plant.stream.foreign("high", R(own, T0_US + at, 1.0), R(other, T0_US + at, state="IDLE", unit="bar"))
    await plant.work()
    assert appends == [{Lane.BULK: [path_in(LOW.slices, at % 2) for at in range(5)]}]
    assert plant.fates == {"moved": 5, "stored": 10}


async def test_a_crash_between_sending_on_and_the_commit_makes_duplicates_only() -> None:
    plant = SharedPlant(LOW, HIGH)
    crashes = 0

    async def point(name: str) -> None:
        nonlocal crashes
        crashes += name == "commit"
        if name == "commit" and crashes <= 2:
            raise Unavailable

    plant.stream.foreign("high", R(MINE, T0_US, 1.0), R(path_in(HIGH.slices), T0_US, 1.0))
    for _ in range(2):
        worker = plant.worker("high", Disturbed(plant.history, point))
        with pytest.raises(Unavailable):
            await worker.turn(await worker.start(), plant.never)
    await plant.work()
    assert plant.fates == {"moved": 1, "stored": 2, "duplicate": 2}


async def test_nothing_counts_as_moved_that_the_stream_did_not_take() -> None:
    plant = SharedPlant(LOW, HIGH)
    plant.stream.full.add(Lane.BULK)
    plant.stream.foreign("high", R(MINE, T0_US, 1.0))
    worker = plant.worker("high")
    holding = await worker.start()
    for _ in range(20):
        with pytest.raises(Backpressure):
            await worker.turn(holding, plant.never)
    assert not plant.history.flushes
    plant.stream.full.clear()
    await plant.work()
    assert plant.fates == {"moved": 1, "stored": 1}


async def test_readings_in_the_wrong_lane_find_their_owner_and_do_not_go_back_and_forth() -> None:
    plant = two_lanes()
    plant.history.configure("p/critical", CRITICAL)
    plant.history.configure("p/bulk", TagConfig())
    for at, shard in enumerate(("critical", "bulk")):
        plant.stream.foreign(shard, *(R(path, T0_US + at, 1.0) for path in ("p/critical", "p/bulk", "p/new")))
    await plant.work()
    assert plant.fates == {"moved": 3, "stored": 6}
    assert set(stored(plant)) == {(1, 0, "critical"), (1, 1, "critical")} | {
        (n, at, "bulk") for n in (2, 3) for at in (0, 1)
    }


@pytest.mark.parametrize("limits", [{"register_unknown": False}, {"tags_max": 2}])
async def test_strays_are_known_where_no_tag_may_be_registered(limits) -> None:
    every = range(SLICES)
    plant = SharedPlant(Shard("critical", Lane.CRITICAL, (), every), Shard("bulk", Lane.BULK, (), every), **limits)
    plant.history.configure("p/critical", CRITICAL)
    plant.history.configure("p/bulk", TagConfig())
    for shard in ("critical", "bulk"):
        plant.stream.foreign(shard, R("p/critical", T0_US, 1.0), R("p/bulk", T0_US, 1.0), R("p/new", T0_US, 1.0))
    await plant.work()
    assert plant.fates == {"moved": 3, "stored": 2, "duplicate": 2, "quarantined": 2}


async def test_a_tag_that_becomes_critical_is_learned_anew_by_its_new_owner() -> None:
    plant = two_lanes()
    await plant.send(R("p/x", T0_US, 1.0), R("p/y", T0_US, 1.0))
    workers = {name: plant.worker(name) for name in plant.stream.shards}
    holdings = {name: await worker.start() for name, worker in workers.items()}
    await plant.go_on(workers, holdings)
    plant.history.configure("p/x", CRITICAL)
    await plant.send(R("p/x", T0_US + 1, 2.0), lane=Lane.CRITICAL)
    with pytest.raises(Reassigned):
        await workers["critical"].turn(holdings["critical"], plant.never)
    await plant.send(
        R("p/x", T0_US, 1.0), R("p/x", T0_US + 2, 3.0), R("p/y", T0_US + 1, 2.0)
    )  # sent before the door knew
    with pytest.raises(Reassigned):
        await workers["bulk"].turn(holdings["bulk"], plant.never)
    await plant.work()
    assert plant.fates == {"stored": 5, "duplicate": 1, "moved": 2}
    assert {(at, unit) for tag_id, at, unit in stored(plant) if tag_id == 1} == {
        (0, "bulk"),
        (1, "critical"),
        (2, "critical"),
    }


async def test_a_tag_without_values_is_no_new_tag_to_its_new_owner() -> None:
    """Nothing fixes what it holds, and still it has readings and a watermark."""
    plant = two_lanes()
    bad = R("p/x", T0_US, quality=0x8000_0000)
    workers = {name: plant.worker(name) for name in plant.stream.shards}
    holdings = {name: await worker.start() for name, worker in workers.items()}
    await plant.send(bad)
    await plant.go_on({"bulk": workers["bulk"]}, holdings)
    plant.history.configure("p/x", CRITICAL)
    await plant.send(bad, lane=Lane.CRITICAL)
    with pytest.raises(Reassigned):
        await workers["critical"].turn(holdings["critical"], plant.never)
    await plant.work()
    assert plant.fates == {"stored": 1, "duplicate": 1}


async def test_silence_of_a_tag_that_left_is_no_business_of_its_old_owner() -> None:
    plant = two_lanes()
    plant.detector = Detectors
    plant.history.configure("p/x", TagConfig(expected_interval_s=1.0))
    worker = plant.worker("bulk")
    holding = await worker.start()
    for _ in range(5):
        await plant.send(R("p/x", plant.clock.now_us(), 1.0))
        await worker.turn(holding, plant.never)
        plant.clock.advance(1_000_000)
    plant.history.configure("p/x", TagConfig(expected_interval_s=1.0, criticality=Criticality.CRITICAL))
    plant.clock.advance(9_000_000)
    with pytest.raises(Reassigned):
        await worker.turn(holding, plant.never)
    holding = await worker.start()
    for _ in range(20):
        plant.clock.advance(1_000_000)
        await worker.turn(holding, plant.never)
    assert [finding.test for written in plant.history.flushes for _, finding in written.findings] == []


async def test_silence_of_a_tag_that_stayed_is_found() -> None:
    """The control of the one before."""
    plant = two_lanes()
    plant.detector = Detectors
    plant.history.configure("p/x", TagConfig(expected_interval_s=1.0))
    worker = plant.worker("bulk")
    holding = await worker.start()
    for _ in range(5):
        await plant.send(R("p/x", plant.clock.now_us(), 1.0))
        await worker.turn(holding, plant.never)
        plant.clock.advance(1_000_000)
    for _ in range(20):
        plant.clock.advance(1_000_000)
        await worker.turn(holding, plant.never)
    assert [finding.test for written in plant.history.flushes for _, finding in written.findings] == [Kind.SILENCE]


def test_who_owns_is_who_has_slice_and_lane() -> None:
    plant = SharedPlant(*halves(Lane.BULK), *halves(Lane.CRITICAL, "c-"))
    for number in range(40):
        for critical in (False, True):
            config = CRITICAL if critical else TagConfig()
            one = tag(1, f"a/{number}")
            one = type(one)(one.tag_id, one.path, one.grp, one.holds, config, one.version)
            owners = [name for name in plant.stream.shards if owns(plant.stream.unit(name), one)]
            assert len(owners) == 1
            assert owners[0].startswith("c-") == critical


def test_what_others_own_goes_to_the_lane_it_is_in_now() -> None:
    unit = two_lanes().stream.unit("bulk")
    elsewhere = Elsewhere()
    take_over(unit, TagTable(), elsewhere, [tag(3, "a/x", criticality=Criticality.CRITICAL)])
    assert (elsewhere.lane_of("a/x"), elsewhere.lane_of("a/y")) == (Lane.CRITICAL, Lane.BULK)
    with pytest.raises(Reassigned):
        take_over(unit, TagTable(), elsewhere, [tag(3, "a/x")])
