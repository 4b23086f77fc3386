import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from make import T0_US, R, batch, entries, tag
from penstock.process.intake import join
from penstock.process.outcome import Outcome
from penstock.process.tags import HOLDS_STATE, HOLDS_VALUE, TagTable
from penstock.process.validate import DAY_US, REASONS, Validate, first_kinds

STATES = {"RUNNING": 1, "IDLE": 2}
BAD = 0x8000_0000
validate = Validate(ahead_s=300.0, window_days=2_557.0)


def reasons(tags: TagTable, *readings: R, rule: Validate = validate, now_us: int = T0_US) -> list[str]:
    """Each reading's reason of quarantine, `` for those that pass."""
    taken = entries(batch(*readings))
    intake = join(taken, tags, STATES)
    outcome = Outcome(intake.columns)
    outcome.stored = rule(intake, tags, now_us, outcome)
    outcome.check()
    found = {int(at): reason for reason, held in outcome.quarantined for at in held.index}
    assert len(found) + len(outcome.stored) == len(readings)
    return [found.get(at, "") for at in range(len(readings))]


def table() -> TagTable:
    return TagTable(
        [
            tag(1, "a/value", "value", unit="Cel"),
            tag(2, "a/state", "state"),
            tag(3, "a/new"),
            tag(4, "a/day", "value", window_days=1.0),
            tag(5, "a/age", "value", window_days=1e12),
        ]
    )


@pytest.mark.parametrize(
    ("reading", "reason"),
    [
        (R("a/value", T0_US, 1.0), ""),
        (R("a/nobody", T0_US, 1.0), "unknown_tag"),
        (R("a/state", T0_US, state="HALTED"), "states_full"),
        (R("a/value", T0_US + 300_000_000, 1.0), ""),
        (R("a/value", T0_US + 300_000_001, 1.0), "ts_ahead"),
        (R("a/value", 2**63 - 1, 1.0), "ts_ahead"),
        (R("a/value", T0_US - 2_557 * DAY_US, 1.0), ""),
        (R("a/value", T0_US - 2_557 * DAY_US - 1, 1.0), "ts_too_old"),
        (R("a/value", -(2**63), 1.0), "ts_too_old"),
        (R("a/day", T0_US - DAY_US, 1.0), ""),
        (R("a/day", T0_US - DAY_US - 1, 1.0), "ts_too_old"),
        (R("a/age", T0_US - 100_000 * DAY_US, 1.0), ""),
        (R("a/age", -T0_US, 1.0), ""),
        (R("a/value", T0_US, 1.0, unit="Cel"), ""),
        (R("a/value", T0_US, 1.0, unit="K"), "unit_mismatch"),
        (R("a/day", T0_US, 1.0, unit="K"), ""),
        (R("a/value", T0_US, state="IDLE"), "kind_mismatch"),
        (R("a/state", T0_US, 1.0), "kind_mismatch"),
        (R("a/state", T0_US, state="IDLE"), ""),
        (R("a/value", T0_US, quality=BAD), ""),
        (R("a/state", T0_US, quality=BAD), ""),
        (R("a/nobody", 2**63 - 1, state="HALTED", unit="K"), "unknown_tag"),
        (R("a/value", T0_US - 9_999 * DAY_US, state="IDLE", unit="K"), "ts_too_old"),
    ],
)
def test_a_reading_is_held_for_the_first_thing_it_breaks(reading: R, reason: str) -> None:
    assert reasons(table(), reading) == [reason]
    assert reason in ("", *REASONS)


def test_every_reason_is_told_apart_in_one_batch() -> None:
    broken = [
        R("a/nobody", T0_US, 1.0),
        R("a/state", T0_US, state="HALTED"),
        R("a/value", T0_US + DAY_US, 1.0),
        R("a/day", T0_US - 2 * DAY_US, 1.0),
        R("a/value", T0_US, 1.0, unit="K"),
        R("a/state", T0_US, 1.0),
        R("a/value", T0_US, 2.0),
    ]
    assert reasons(table(), *broken) == [*REASONS, ""]


@pytest.mark.parametrize(
    ("readings", "held"),
    [
        ([R("a/new", T0_US, 1.0), R("a/new", T0_US - 5, state="IDLE")], [1]),
        ([R("a/new", T0_US, state="IDLE"), R("a/new", T0_US - 5, 1.0)], [1]),
        ([R("a/new", T0_US, quality=BAD), R("a/new", T0_US, state="IDLE"), R("a/new", T0_US, 1.0)], [2]),
        ([R("a/new", T0_US + DAY_US, state="IDLE"), R("a/new", T0_US, 1.0)], [0]),
        ([R("a/new", T0_US, 1.0), R("a/state", T0_US, state="IDLE"), R("a/new", T0_US + 1, 2.0)], []),
    ],
    ids=["value first", "state first", "nothing decides nothing", "what is held decides nothing", "one kind"],
)
def test_the_first_reading_to_arrive_fixes_what_a_new_tag_holds(readings: list[R], held: list[int]) -> None:
    assert [at for at, reason in enumerate(reasons(table(), *readings)) if reason] == held


@given(st.lists(st.tuples(st.sampled_from(["a/n1", "a/n2", "a/v", "a/s"]), st.sampled_from("vs-")), max_size=25))
def test_kinds_are_those_of_a_plain_dict(sent: list[tuple[str, str]]) -> None:
    tags = TagTable([tag(1, "a/n1"), tag(2, "a/n2"), tag(3, "a/v", "value"), tag(4, "a/s", "state")])
    made = {"v": {"value": 1.0}, "s": {"state": "IDLE"}, "-": {"quality": BAD}}
    model, expected = {"a/v": "v", "a/s": "s"}, []
    for path, kind in sent:
        differs = kind != "-" and model.setdefault(path, kind) != kind
        expected.append("kind_mismatch" if differs else "")
    if not sent:
        return
    readings = [R(path, T0_US, **made[kind]) for path, kind in sent]  # type: ignore[arg-type]
    assert reasons(tags, *readings) == expected
    kept = [reading for reading, reason in zip(readings, expected, strict=True) if not reason]
    decided = first_kinds(join(entries(batch(*kept)), tags, STATES).columns, tags)
    numbers = {"v": HOLDS_VALUE, "s": HOLDS_STATE}
    assert decided == {slot: numbers[model[path]] for path, slot in (("a/n1", 0), ("a/n2", 1)) if path in model}


@given(st.floats(0, 1e300), st.floats(0, 1e300, exclude_min=True), st.integers(-(2**63), 2**63 - 1))
def test_no_setting_and_no_time_overflows(ahead_s: float, window_days: float, ts: int) -> None:
    rule = Validate(ahead_s, window_days)
    tags = TagTable([tag(1, "a/x"), tag(2, "a/y", window_days=window_days)])
    got = reasons(tags, R("a/x", ts, 1.0), R("a/y", ts, 1.0), rule=rule)
    ahead = ts > T0_US + int(min(ahead_s * 1e6, 5e7 * DAY_US))
    old = ts < T0_US - int(min(window_days, 5e7) * DAY_US)
    assert got == ["ts_ahead" if ahead else "ts_too_old" if old else ""] * 2


def test_a_plant_without_tags_holds_everything() -> None:
    assert reasons(TagTable(), R("a/x", T0_US, 1.0), R("a/y", T0_US, state="IDLE")) == ["unknown_tag"] * 2


def test_a_flush_without_readings_passes() -> None:
    taken = entries(batch(R("a/value", T0_US, 1.0)).pick(np.zeros(1, np.bool_)))
    intake = join(taken, table(), STATES)
    outcome = Outcome(intake.columns)
    assert len(validate(intake, table(), T0_US, outcome)) == 0
    assert not outcome.quarantined
