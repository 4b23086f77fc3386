import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from make import columns
from penstock.model.batch import NO_SEQ, NO_TEXT
from penstock.process.columns import Columns
from penstock.process.dedupe import NEVER, Watermarks, sort_out
from penstock.process.order import order_of
from penstock.process.outcome import Outcome, Unaccounted
from penstock.store.port import Known

Reading = tuple[int, int, float, int, int, int]

READING = st.tuples(
    st.integers(0, 2),
    st.integers(0, 4),
    st.sampled_from([1.0, 2.0, 0.0, -0.0, np.nan]),
    st.sampled_from([NO_TEXT, 3]),
    st.sampled_from([0, 0x8000_0000]),
    st.sampled_from([NO_SEQ, 7]),
)


def content(reading: Reading) -> tuple[str, int, int]:
    return (repr(reading[2]), reading[3], reading[4])  # repr tells 0.0 from -0.0


def key(reading: Reading) -> tuple[int, int, int]:
    return (reading[0], reading[1], reading[5])


def fates_by_model(stored: dict[tuple[int, int, int], object], arriving: list[Reading]) -> list[Known]:
    """What a plain dict makes of readings, one at a time."""
    fates = []
    for reading in arriving:
        known = stored.setdefault(key(reading), (content(reading), len(fates)))
        first = known == (content(reading), len(fates))
        fates.append(Known.NEW if first else Known.DUPLICATE if known[0] == content(reading) else Known.CONFLICT)
    return fates


@given(st.lists(READING, max_size=8), st.lists(READING, max_size=20))
@example([], [(0, 0, 1.0, -1, 0, NO_SEQ), (0, 0, 2.0, -1, 0, NO_SEQ), (0, 0, 1.0, -1, 0, NO_SEQ)])
@example([(0, 4, 1.0, -1, 0, NO_SEQ)], [(0, 0, 2.0, -1, 0, 7), (0, 0, 2.0, -1, 0, NO_SEQ), (0, 0, 2.0, -1, 0, 7)])
def test_fates_are_those_of_a_plain_dict(before: list[Reading], arriving: list[Reading]) -> None:
    stored: dict[tuple[int, int, int], object] = {}
    fates_by_model(stored, before)
    marks = Watermarks()
    for reading in sorted(before, key=lambda one: one[1]):
        marks.remember(np.array([reading[0]], np.int32), np.array([reading[1]]))
    history = {at: known for at, (known, _) in stored.items()}
    expected = fates_by_model({at: (known, -1) for at, known in history.items()}, arriving)

    flush = columns(*arriving)
    order = order_of(flush.slot, flush.ts, flush.seq)
    flush = flush.pick(order)
    suspect = flush.ts <= marks(flush.slot)
    outcome = Outcome(flush)
    outcome.stored = sort_out(flush, suspect, asked(history, [arriving[at] for at in order[suspect]]), outcome)
    outcome.check()

    judged = {Known.NEW: [outcome.stored], Known.DUPLICATE: outcome.duplicates, Known.CONFLICT: outcome.conflicts}
    got = {int(at): known for known, parts in judged.items() for part in parts for at in part.index}
    assert [got[at] for at in range(len(arriving))] == expected
    assert order_of(outcome.stored.slot, outcome.stored.ts, outcome.stored.seq).tolist() == [
        *range(len(outcome.stored))
    ]


def asked(history: dict[tuple[int, int, int], object], suspects: list[Reading]) -> np.ndarray:
    def verdict(reading: Reading) -> Known:
        known = history.get(key(reading))
        return Known.NEW if known is None else Known.DUPLICATE if known == content(reading) else Known.CONFLICT

    return np.array([verdict(reading) for reading in suspects], np.int8)


@given(
    st.lists(st.lists(st.tuples(st.integers(0, 700), st.integers(-(2**63) + 1, 2**63 - 1)), max_size=10), max_size=6)
)
def test_a_watermark_is_the_newest_ever_stored(flushes: list[list[tuple[int, int]]]) -> None:
    marks, model = Watermarks(), dict[int, int]()
    for flush in flushes:
        ordered = sorted(flush)
        slots, ts = np.array([s for s, _ in ordered], np.int32), np.array([t for _, t in ordered], np.int64)
        marks.remember(slots, ts)
        for slot, at in flush:
            model[slot] = max(at, model.get(slot, NEVER))
    every = np.arange(900, dtype=np.int32)
    assert marks(every).tolist() == [model.get(slot, NEVER) for slot in range(900)]


def ten() -> Columns:
    return columns(*((slot, 0, 1.0, -1, 0, NO_SEQ) for slot in range(10)))


@pytest.mark.parametrize("cheat", ["loses one", "stores one twice", "quarantines what it stores"])
def test_a_step_that_cheats_is_caught_before_anything_is_committed(cheat: str) -> None:
    every = ten()
    outcome = Outcome(every, stored=every)
    outcome.check()
    if cheat == "loses one":
        outcome.stored = every.pick(np.arange(9))
    elif cheat == "stores one twice":
        outcome.stored = every.pick(np.array([*range(10), 3]))
    else:
        outcome.hold("ts_ahead", every.pick(np.array([4])))
    with pytest.raises(Unaccounted):
        outcome.check()


def test_a_step_that_loses_one_and_repeats_another_is_caught_too() -> None:
    outcome = Outcome(ten(), stored=ten().pick(np.array([*range(9), 0])))
    with pytest.raises(Unaccounted):
        outcome.check()
