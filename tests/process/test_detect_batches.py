"""However readings are batched, detectors find the same and learn the same, to the bit; also over a restart."""

import itertools
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.model.anomaly import Finding
from penstock.model.batch import NO_SEQ, NO_TEXT
from penstock.model.tag import Limits, Tag, TagConfig
from penstock.process.columns import Columns
from penstock.process.detect import record
from penstock.process.detect.all import Detectors
from penstock.process.tags import TagTable

T0 = 1_780_000_000_000_000
S = 1_000_000
CONFIG = TagConfig(
    unit="Cel", limits=Limits(ll=-4.0, l=-3.0, h=3.0, hh=4.0), deadband=0.5, on_delay_s=1.0, rate_max_per_s=2.0
)


def table_of(tags: int, config: TagConfig = CONFIG) -> TagTable:
    return TagTable(Tag(i + 1, f"lyon/press/t{i}", 0, "value", config, 1) for i in range(tags))


def columns(slot: list[int], ts: list[int], value: list[float], quality: list[int]) -> Columns:
    n = len(ts)
    blank = np.zeros(n, np.int32)
    return Columns(
        np.array(slot, np.int32), np.array(ts, np.int64), np.array(value, np.float64), blank + NO_TEXT,
        np.array(quality, np.int64), np.full(n, NO_SEQ, np.int64), blank, blank,
    )  # fmt: skip


def pieces(rows: list[tuple[int, int, float, int]], cuts: list[int]) -> list[Columns]:
    """Rows in order of arrival, cut into batches, each sorted as the worker does."""
    bounds = [0, *sorted(cuts), len(rows)]
    parts = [sorted(rows[a:b], key=lambda row: row[:2]) for a, b in itertools.pairwise(bounds)]
    return [columns(*(list(column) for column in zip(*part, strict=True))) for part in parts if part]


def feed(detectors: Detectors, parts: list[Columns], now_us: int = T0) -> list[Finding]:
    found: list[Finding] = []
    for part in parts:
        verdict = detectors.run(part, now_us)
        detectors.remember(verdict.next)
        found += verdict.findings
    return sorted(found, key=lambda f: (f.slot, f.ts_us, f.test))


VALUES = st.one_of(
    st.floats(-5, 5, width=32), st.sampled_from([0.0, -0.0, 1.0, 20.0]), st.floats(-1e300, 1e300, allow_nan=False)
)
STEPS = st.one_of(st.sampled_from([0, S, S, S]), st.integers(1, 5 * S), st.sampled_from([3600 * S, 86_400 * S]))
QUALITY = st.sampled_from([0, 0, 0, 0, 0x4000_0000, 0x8000_0000])


@st.composite
def histories(draw: st.DrawFn) -> tuple[int, list[tuple[int, int, float, int]], list[int]]:
    tags = draw(st.integers(1, 4))
    rows, at = [], [T0] * tags
    for slot, step, value, quality in draw(
        st.lists(st.tuples(st.integers(0, tags - 1), STEPS, VALUES, QUALITY), min_size=1, max_size=60)
    ):
        at[slot] += step
        rows.append((slot, at[slot], value, quality))
    return tags, rows, draw(st.lists(st.integers(0, len(rows)), max_size=6))


@pytest.mark.parametrize("thin", [1, 2, 1_000])
def test_any_split_of_the_same_readings_gives_the_same_findings_and_state(thin: int, monkeypatch) -> None:
    monkeypatch.setattr(record, "THIN", thin)
    monkeypatch.setattr("penstock.process.detect.ladder.READINGS_MIN", 3)
    monkeypatch.setattr("penstock.process.detect.stuck.RUN_MIN", 3)
    monkeypatch.setattr("penstock.process.detect.stuck.CHANGES_MIN", 3)

    @settings(max_examples=60, deadline=None)
    @given(histories())
    def check(history: tuple[int, list[tuple[int, int, float, int]], list[int]]) -> None:
        tags, rows, cuts = history
        whole, split, single = (Detectors(table_of(tags), learn_s=5.0) for _ in range(3))
        found = feed(whole, pieces(rows, []))
        assert feed(split, pieces(rows, cuts)) == found
        with monkeypatch.context() as patched:
            patched.setattr(record, "THIN", 1_000_000)
            assert feed(single, pieces(rows, list(range(len(rows))))) == found
        assert split.snapshot() == whole.snapshot() == single.snapshot()

    check()


@settings(max_examples=60, deadline=None)
@given(histories())
def test_a_restart_continues_bit_for_bit(history: tuple[int, list[tuple[int, int, float, int]], list[int]]) -> None:
    tags, rows, _ = history
    half = len(rows) // 2
    before, after = pieces(rows[:half], []), pieces(rows[half:], [])
    steady = Detectors(table_of(tags), learn_s=5.0)
    feed(steady, before)
    restarted = Detectors(table_of(tags), learn_s=5.0)
    restarted.restore(steady.snapshot())
    assert restarted.snapshot() == steady.snapshot()
    assert feed(restarted, after) == feed(steady, after)
    assert restarted.snapshot() == steady.snapshot()


def test_a_snapshot_follows_its_tags_to_other_slots() -> None:
    old = Detectors(table_of(3), learn_s=0.0)
    feed(old, [columns([2] * 60, [T0 + i * S for i in range(60)], [float(i % 7) for i in range(60)], [0] * 60)])
    table = TagTable([Tag(9, "lyon/press/new", 0, "value", CONFIG, 1), Tag(3, "lyon/press/t2", 0, "value", CONFIG, 1)])
    new = Detectors(table, learn_s=0.0)
    new.restore(old.snapshot())
    assert (
        [f.test for f in feed(new, [columns([1], [T0 + 60 * S], [30.0], [0])])]
        == [f.test for f in feed(old, [columns([2], [T0 + 60 * S], [30.0], [0])])]
        != []
    )


def test_a_snapshot_that_cannot_be_read_is_started_afresh() -> None:
    detectors = Detectors(table_of(1))
    fresh = detectors.snapshot()
    detectors.restore(b"no snapshot of ours")
    assert detectors.snapshot() == fresh


def test_looking_teaches_nothing() -> None:
    detectors = Detectors(table_of(2))
    before = detectors.snapshot()
    detectors.run(columns([0, 0, 1], [T0, T0 + S, T0], [1.0, 90.0, 2.0], [0, 0, 0]), T0)
    detectors.tick(T0 + 3600 * S)
    assert detectors.snapshot() == before


def test_a_burst_of_one_tag_takes_less_than_half_a_second() -> None:
    n = 20_000
    values = np.random.default_rng(1).normal(0, 1, n).tolist()
    burst = columns([0] * n, [T0 + i * S for i in range(n)], values, [0] * n)
    detectors = Detectors(table_of(1))
    begun = time.process_time()
    detectors.run(burst, T0)
    assert time.process_time() - begun < 0.5
