"""Simulated faults are found, the quiet plant stays quiet, and the reason can be read."""

import numpy as np
import pytest

from penstock.model.anomaly import Finding
from penstock.model.anomaly import Test as Check
from penstock.model.tag import Limits, Tag, TagConfig
from penstock.process.columns import Columns
from penstock.process.detect.all import Detectors
from penstock.process.tags import TagTable

T0 = 1_780_000_000_000_000
S = 1_000_000
HOUR = 3_600
PLANT = 40
OPEN = TagConfig(unit="Cel")
LIMITED = TagConfig(unit="Cel", limits=Limits(ll=0.0, l=10.0, h=80.0, hh=90.0), deadband=1.0)


def detectors_of(config: TagConfig = OPEN, tags: int = 1, learn_s: float = HOUR) -> tuple[Detectors, TagTable]:
    table = TagTable(Tag(i + 1, f"lyon/press/t{i}", 0, "value", config, 1) for i in range(tags))
    return Detectors(table, learn_s=learn_s), table


def see(
    detectors: Detectors, values: np.ndarray, at: int = 0, *, quality: int = 0, now_s: float | None = None
) -> list[Finding]:
    """*values* [tags, n], one a second from second *at* on."""
    values = np.atleast_2d(np.asarray(values, float))
    tags, n = values.shape
    blank = np.zeros(tags * n, np.int32)
    readings = Columns(
        slot=np.repeat(np.arange(tags, dtype=np.int32), n),
        ts=np.tile(T0 + (at + np.arange(n)) * S, tags).astype(np.int64),
        value=values.ravel(),
        state=blank - 1,
        quality=np.full(tags * n, quality, np.int64),
        seq=blank.astype(np.int64),
        entry=blank,
        index=blank,
    )
    now_us = T0 + int((at + n if now_s is None else now_s) * S)
    verdict = detectors.run(readings, now_us)
    detectors.remember(verdict.next)
    return list(verdict.findings)


def let_pass(detectors: Detectors, now_s: float) -> list[Finding]:
    verdict = detectors.tick(T0 + int(now_s * S))
    detectors.remember(verdict.next)
    return list(verdict.findings)


def edges(found: list[Finding]) -> list[tuple[str, bool]]:
    return [(str(finding.test), finding.active) for finding in found]


def plant(hours: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(50, 1, (PLANT, hours * HOUR)).round(4)


def faulty(values: np.ndarray, fault: str, at: int) -> np.ndarray:
    values = values.copy()
    match fault:
        case "spike":
            values[:, at] += 25
        case "step":
            values[:, at:] += 12
        case "stuck":
            values[:, at:] = values[:, at : at + 1]
    return values


def recall(fault: str, test: Check, learn_s: float = HOUR) -> tuple[float, int]:
    """Share of tags in which *fault* is found within two minutes, and alarms before it."""
    at = 2 * HOUR - 600
    detectors, _ = detectors_of(tags=PLANT, learn_s=learn_s)
    found = [f for f in see(detectors, faulty(plant(2), fault, at)) if f.active]
    fault_us = T0 + at * S
    hit = {f.slot for f in found if f.test is test and 0 <= f.ts_us - fault_us <= 120 * S}
    return len(hit) / PLANT, sum(f.ts_us < fault_us for f in found)


@pytest.mark.parametrize(("fault", "test"), [("spike", Check.RECORD), ("step", Check.RECORD), ("stuck", Check.STUCK)])
def test_simulated_faults_are_found(fault: str, test: Check) -> None:
    share, early = recall(fault, test)
    assert share >= 0.95
    assert early <= PLANT * 0.1


def test_control_without_a_fault_or_still_learning_nothing_is_found() -> None:
    assert recall("none", Check.RECORD)[0] == 0.0
    assert recall("spike", Check.RECORD, learn_s=1e9) == (0.0, 0)
    assert recall("stuck", Check.STUCK, learn_s=1e9) == (0.0, 0)


def test_limits_raise_and_return_with_a_deadband_and_say_why() -> None:
    detectors, _ = detectors_of(LIMITED)
    found = see(detectors, [70, 82.4, 79.5, 81, 79, 95, 50, 5, -3, 12])
    assert edges(found) == [
        ("limit_h", True), ("limit_h", False), ("limit_hh", True), ("limit_h", True), ("limit_hh", False),
        ("limit_h", False), ("limit_l", True), ("limit_ll", True), ("limit_l", False), ("limit_ll", False),
    ]  # fmt: skip
    assert found[0].because == "82.4 Cel is above the limit H = 80 Cel"
    assert (found[0].low, found[0].high, found[0].priority) == (10.0, 80.0, "medium")


def test_control_without_limits_nothing_is_raised() -> None:
    assert see(detectors_of(OPEN)[0], [70, 82.4, 95, -3]) == []


def test_delays_run_in_source_time_and_in_ours_when_nothing_comes() -> None:
    config = TagConfig(limits=Limits(h=80.0), on_delay_s=3.0, off_delay_s=2.0)
    detectors, _ = detectors_of(config)
    assert edges(see(detectors, [81, 81, 70, 81, 81, 81, 81, 70, 70, 70])) == [("limit_h", True), ("limit_h", False)]
    assert see(detectors, [90], 20, now_s=20) == []
    assert let_pass(detectors, 22) == []
    (late,) = let_pass(detectors, 23)
    assert (late.active, late.ts_us, late.value) == (True, T0 + 23 * S, 90.0)


def test_bad_readings_never_alarm_and_uncertain_ones_are_judged_but_do_not_teach() -> None:
    detectors, _ = detectors_of(LIMITED)
    assert see(detectors, [95], 0, quality=0x8000_0000) == []
    assert edges(see(detectors, [95], 1, quality=0x4000_0000)) == [("limit_hh", True), ("limit_h", True)]
    learned, _ = detectors_of(LIMITED)
    assert see(learned, [50.0] * 5, 0, quality=0x4000_0000) == []
    assert see(learned, [50.0] * 5, 5) == see(detectors_of(LIMITED)[0], [50.0] * 5, 5)


def test_late_readings_are_left_alone() -> None:
    detectors, _ = detectors_of(LIMITED)
    see(detectors, [50], 10)
    assert see(detectors, [95], 9) == []


def test_a_limit_that_is_removed_returns_with_the_next_reading() -> None:
    detectors, table = detectors_of(LIMITED)
    see(detectors, [85])
    table.put([Tag(1, "lyon/press/t0", 0, "value", OPEN, 2)])
    (back,) = see(detectors, [85], 1)
    assert edges([back]) == [("limit_h", False)]
    assert back.because == "the limit H was removed; the value is 85 Cel"


def test_a_rate_that_is_too_steep() -> None:
    detectors, _ = detectors_of(TagConfig(unit="Cel", rate_max_per_s=2.0))
    found = see(detectors, [50, 51, 56, 56.5])
    assert edges(found) == [("rate", True), ("rate", False)]
    assert found[0].because == "rose by 5 Cel/s; at most 2 Cel/s is allowed"
    assert see(detectors_of()[0], [50, 51, 56, 56.5]) == []


@pytest.mark.parametrize("shape", ["constant", "setpoint", "quantised", "on_off", "state"])
def test_what_may_stand_still_is_not_called_stuck(shape: str) -> None:
    n, rng = 6 * HOUR, np.random.default_rng(2)
    values = {
        "constant": np.full(n, 20.0),
        "setpoint": np.repeat(rng.integers(20, 30, n // 1_200), 1_200).astype(float),
        "quantised": np.round(20 + np.sin(np.arange(n) / 900.0) + rng.normal(0, 0.02, n), 0),
        "on_off": np.where(np.arange(n) // 1_200 % 2, 10 + rng.normal(0, 0.3, n), 0.0),
        "state": np.repeat(rng.integers(0, 3, n // 5), 5).astype(float),
    }[shape]
    detectors, _ = detectors_of(TagConfig(kind="state") if shape == "state" else OPEN)
    assert [f.because for f in see(detectors, values) if f.test is Check.STUCK and f.active] == []


def test_silence_is_raised_once_and_ends_with_the_next_reading() -> None:
    detectors, _ = detectors_of()
    for second in range(30):
        see(detectors, [50 + second % 3], second, now_s=second)
        assert let_pass(detectors, second) == []
    found = [finding for second in range(30, 60) for finding in let_pass(detectors, second)]
    assert edges(found) == [("silence", True)]
    assert found[0].because == "no reading for 6 s; one is expected every 1 s"
    assert edges(see(detectors, [50], 60, now_s=60)) == [("silence", False)]


def test_a_restart_after_a_long_break_raises_no_storm() -> None:
    detectors, _ = detectors_of(TagConfig(expected_interval_s=1.0), tags=PLANT)
    see(detectors, np.full((PLANT, 1), 50.0), 0)
    restarted, _ = detectors_of(TagConfig(expected_interval_s=1.0), tags=PLANT)
    restarted.restore(detectors.snapshot())
    assert [f for second in range(9_000, 9_005) for f in let_pass(restarted, second)] == []
    assert len([f for second in range(9_005, 9_010) for f in let_pass(restarted, second)]) == PLANT


def test_a_pause_of_our_own_is_nobodys_silence() -> None:
    detectors, _ = detectors_of(TagConfig(expected_interval_s=1.0))
    see(detectors, [50], 0)
    assert let_pass(detectors, 4_000) == []


@pytest.mark.parametrize("shape", ["normal", "daily", "on_off", "quantised"])
def test_after_a_day_of_learning_a_steady_plant_raises_few_records(shape: str) -> None:
    """Two days at one reading every 10 s; at most 0.3 alarms a tag and day after the first."""
    n, tags, rng = 17_280, 30, np.random.default_rng(3)
    at, noise = np.arange(n) * 10.0, rng.normal(0, 1, (tags, n))
    values = {
        "normal": noise,
        "daily": 5 * np.sin(2 * np.pi * at / 86_400) + noise,
        "on_off": np.where(at // 1_200 % 2, 10.0, 0.0) + 0.3 * noise,
        "quantised": np.round(20 + noise, 1),
    }[shape]
    detectors, _ = detectors_of(tags=tags, learn_s=86_400)
    blank = np.zeros(tags * n, np.int32)
    ts = np.tile(T0 + (at * S).astype(np.int64), tags)
    slot = np.repeat(np.arange(tags, dtype=np.int32), n)
    wide = blank.astype(np.int64)
    found = detectors.run(Columns(slot, ts, values.ravel(), blank - 1, wide, wide, blank, blank), T0).findings
    assert sum(finding.active for finding in found) / tags <= 0.3
