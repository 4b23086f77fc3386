"""The simulated plant: the same seed, the same plant; faults where the truth says, and nowhere else."""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from penstock.client import Client
from penstock.errors import Misconfigured, Unauthorized
from penstock.model.tag import TagConfig, is_path
from penstock.simulate import Fault, FaultKind, Plant, PlantOptions, read_faults, run_plant, shipped_faults
from penstock.simulate.faults import FaultTable
from penstock.simulate.feed import columns_at
from penstock.simulate.signals import DOING, Doing, doing_at, rhythm_at, values_at
from scripted_door import scripted_door

SECOND_US = 1_000_000
START_US = 1_795_000_000 * SECOND_US
HOUR_US = 3_600 * SECOND_US


def test_a_plant_has_as_many_tags_as_asked_each_with_a_legal_path():
    for sensors in (1, 7, 200, 5_000):
        paths = Plant(sensors).paths
        assert len(set(paths)) == sensors
        assert all(map(is_path, paths))


def test_the_same_seed_gives_the_same_plant_at_the_same_moment_however_it_was_reached():
    ours, again, other = (columns_of(Plant(60, seed), START_US + 5 * SECOND_US) for seed in (7, 7, 8))
    assert ours == again
    assert ours != other


def columns_of(plant: Plant, ts_us: int, *faults: Fault) -> dict[str, list[Any]]:
    return columns_at(plant, FaultTable(plant, faults, START_US), ts_us)


def test_the_plant_works_hardest_by_day_and_slows_at_the_change_of_shift():
    assert rhythm_at(11 * 3600) > rhythm_at(23 * 3600) + 0.3
    assert rhythm_at(14 * 3600 + 1) < rhythm_at(14 * 3600 - 1) - 0.1


def test_channels_of_a_machine_rise_and_fall_together():
    plant = Plant(9, seed=3)
    rows = np.array([values_at(plant, START_US + i * 97 * SECOND_US)[0] for i in range(800)])
    vibration, current = (plant.paths.index(plant.find("press", name)) for name in ("vibration", "current"))
    assert np.corrcoef(rows[:, vibration], rows[:, current])[0, 1] > 0.8


def test_every_machine_is_maintained_once_a_week_and_draws_no_current_meanwhile():
    plant = Plant(40)
    weeks = np.array([doing_at(plant, START_US + hour * HOUR_US) for hour in range(7 * 24)])
    assert (weeks == Doing.MAINTENANCE).sum(axis=0).tolist() == [1] * plant.machines
    hour = int(np.flatnonzero(weeks[:, 0] == Doing.MAINTENANCE)[0])
    at = plant.paths.index(plant.find("press", "current"))
    assert values_at(plant, START_US + hour * HOUR_US)[0][at] < 10


def test_values_stay_within_their_limits_in_good_health():
    plant = Plant(200)
    configs = plant.configs(1.0)
    highs = np.array([configs[p].limits.h for p, m in zip(plant.paths, plant.measures, strict=True) if m])
    for minute in range(0, 24 * 60, 7):
        values, _ = values_at(plant, START_US + minute * 60 * SECOND_US)
        assert (values < highs).all()


FAULTY = [kind for kind in FaultKind if kind not in (FaultKind.DROPOUT, FaultKind.SILENCE)]


def series(kind: FaultKind) -> tuple[np.ndarray, np.ndarray]:
    """120 s without and with a fault from 30 s to 90 s, at one tag."""
    plant = Plant(20)
    tag = plant.find("press", "vibration")

    def one(*faults: Fault) -> list[float]:
        found = (columns_of(plant, START_US + s * SECOND_US, *faults) for s in range(120))
        return [dict(zip(c["tags"], c["values"], strict=True)).get(tag, np.nan) for c in found]

    return np.array(one()), np.array(one(Fault(30, kind, tag, 60, 1.0)))


@pytest.mark.parametrize("kind", list(FaultKind))
def test_a_fault_shows_while_it_lasts_and_at_no_other_time(kind: FaultKind):
    clean, faulty = series(kind)
    differs = ~np.isclose(clean, faulty)
    assert differs[30:90].any()
    assert not differs[:30].any()
    assert not differs[90:].any()


def test_each_fault_is_what_its_name_says():
    shown = {kind: series(kind)[1][30:90] for kind in FaultKind}
    clean = series(FaultKind.STEP)[0][30:90]
    assert np.isnan(shown[FaultKind.SILENCE]).all()
    assert 10 < np.isnan(shown[FaultKind.DROPOUT]).sum() < 50
    assert np.ptp(shown[FaultKind.STUCK]) == 0
    assert (shown[FaultKind.STEP] - clean > 3).all()
    assert np.ptp(shown[FaultKind.DRIFT] - clean) > 3
    assert np.std(shown[FaultKind.VARIANCE] - clean) > 4 * np.std(clean) / 2
    assert np.std(shown[FaultKind.NOISE] - clean) > np.std(clean)
    assert ((shown[FaultKind.SPIKE] - clean) > 3).sum() == 6


def test_a_machine_reports_fault_towards_the_end_of_a_drift():
    plant = Plant(20)
    fault = Fault(0, FaultKind.DRIFT, plant.find("press", "temperature"), 100)
    status = fault.tag.replace("temperature", "status")
    for second, state in ((50, "RUNNING"), (90, "FAULT"), (110, "RUNNING")):
        columns = columns_of(plant, START_US + second * SECOND_US, fault)
        assert dict(zip(columns["tags"], columns["states"], strict=True))[status] in (state, "IDLE")


def test_a_newcomer_sees_a_slow_and_a_fast_fault_within_three_minutes():
    plant = Plant()
    first, second, *later = shipped_faults(plant)
    assert first.at_s + first.duration_s < 200
    assert {first.kind, second.kind} == {FaultKind.DRIFT, FaultKind.STEP}
    assert second.at_s < 120
    assert plant.configs(1)[second.tag].criticality == "critical"
    assert len(later) > 100
    assert {fault.tag for fault in later} <= set(plant.paths)


def test_faults_come_from_a_time_table(tmp_path: Path):
    file = tmp_path / "faults.csv"
    file.write_text("at_s,kind,tag,duration_s,size\n5,spike,a/b,10,2\n")
    assert read_faults(file) == [Fault(5, FaultKind.SPIKE, "a/b", 10, 2)]
    file.write_text("at_s,kind,tag,duration_s,size\n5,spike,a/b,10,2\n5,quake,a/b,10,2\n")
    with pytest.raises(Misconfigured, match=r"line 3.*quake"):
        read_faults(file)
    with pytest.raises(Misconfigured, match="no measuring tag a/b"):
        FaultTable(Plant(20), [Fault(5, FaultKind.SPIKE, "a/b", 10, 2)], START_US)


async def test_a_plant_sends_its_readings_sets_up_its_tags_and_writes_down_the_truth(tmp_path: Path):
    stop, sent, tags = asyncio.Event(), [], {"lyon/hall-1/line-1/press-1/current": {"description": "A person's own"}}
    truth = tmp_path / "truth.csv"

    def rule(method: str, path: str, query: object, body: Any) -> tuple[int, Any]:
        if method == "POST":
            sent.append(body)
            if len(tags) == 12 and len(sent) > 2:
                stop.set()
            return 202, {"accepted": len(body["tags"])}
        tag = path.removeprefix("/v1/tags/")
        if method == "PUT":
            tags[tag] = body
        if path == "/v1/tags":
            return 200, {"items": [{"tag": tag} | held for tag, held in tags.items()], "next": None}
        return (200, {}) if sent else (404, {"code": "unknown"})

    async with scripted_door(rule) as url, Client(url) as client, asyncio.timeout(10):
        await run_plant(client, PlantOptions(sensors=12, rate_hz=20, truth=truth), stop)
    ts = sorted({(tag, at) for body in sent for tag, at in zip(body["tags"], body["ts"], strict=True)})
    assert len(ts) == sum(len(body["tags"]) for body in sent), "no tag reports twice for one moment"
    assert {tag for tag, _ in ts} == set(Plant(12).paths)
    assert tags["lyon/hall-1/line-1/press-1/current"]["description"] == "A person's own"
    assert tags["lyon/hall-1/line-1/press-1/temperature"]["limits"]["hh"] > 70
    assert all(set(config) <= set(TagConfig.__struct_fields__) for config in tags.values())
    assert truth.read_text().splitlines()[1].split(",")[2] == "drift"
    states = {state for body in sent for state in body["states"]}
    assert states <= {None, *DOING}


async def test_a_wrong_key_ends_the_plant():
    async with scripted_door(lambda *_: (401, {"code": "unauthorized"})) as url, Client(url) as client:
        with pytest.raises(Unauthorized):
            await run_plant(client, PlantOptions(sensors=5, rate_hz=20), asyncio.Event())
