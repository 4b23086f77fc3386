import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from make import columns
from penstock.model.batch import NO_SEQ
from penstock.process.order import by_slot, order_of

INT64 = st.integers(-(2**63), 2**63 - 1)
TIME = st.one_of(st.integers(0, 3), INT64, st.sampled_from([-(2**63), 2**63 - 1, 0]))
SEQ = st.one_of(st.just(NO_SEQ), st.integers(-2, 2), INT64)
TAG = st.one_of(st.integers(1, 3), st.integers(1, 2**31 - 1))


@given(st.lists(st.tuples(TAG, TIME, SEQ), max_size=40))
@example([(2**31 - 1, -(2**63), NO_SEQ), (1, 2**63 - 1, NO_SEQ)])
@example([(1, 5, NO_SEQ), (1, 5, NO_SEQ), (1, 4, NO_SEQ)])
@example([(1, 5, 2), (1, 5, 1), (1, 5, 2)])
def test_readings_are_ordered_by_tag_time_seq_and_then_arrival(keys: list[tuple[int, int, int]]) -> None:
    tag, ts, seq = (np.array([key[i] for key in keys], kind) for i, kind in enumerate((np.int32, np.int64, np.int64)))
    assert order_of(tag, ts, seq).tolist() == sorted(range(len(keys)), key=lambda at: (*keys[at], at))


@given(st.integers(30, 62), st.integers(1, 2**20))
def test_order_holds_around_the_width_at_which_keys_no_longer_pack(bits: int, tag: int) -> None:
    ts = [2**bits, 0, 2**bits - 1, 2**bits]
    order = order_of(np.array([tag, tag, 1, tag], np.int32), np.array(ts, np.int64), np.full(4, NO_SEQ))
    assert order.tolist() == sorted(range(4), key=lambda at: ((tag, tag, 1, tag)[at], ts[at], at))


def test_detectors_get_slots_in_order_and_each_slot_as_it_was() -> None:
    mixed = columns((2, 1, 0.0, -1, 0, NO_SEQ), (2, 2, 1.0, -1, 0, NO_SEQ), (0, 9, 2.0, -1, 0, NO_SEQ))
    assert by_slot(mixed).value.tolist() == [2.0, 0.0, 1.0]
    assert by_slot(by_slot(mixed)).slot.tolist() == [0, 2, 2]
