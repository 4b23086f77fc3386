import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from make import T0_US, R, batch, entries, tag
from penstock.ingest.codec import Caps, decode
from penstock.model.batch import COLUMNS, ReadingBatch
from penstock.process.intake import join
from penstock.process.keep import as_json, contested_of, held_of, repeats_of
from penstock.process.tags import TagTable
from penstock.store.port import Contested, Held

TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=8)
VALUE = st.floats(allow_nan=False, allow_infinity=False)
TS = st.integers(-(10**15), 10**16)
SEQ = st.one_of(st.none(), st.integers(-(2**63) + 1, 2**63 - 1))
UNIT = st.sampled_from([None, "Cel", "m/s"])
QUALITY = st.one_of(st.sampled_from([0, 0x4000_0000, 0x8000_0000]), st.integers(0, 2**32 - 1))


def readings(
    value: st.SearchStrategy[float | None], state: st.SearchStrategy[str | None], quality: st.SearchStrategy[int]
):
    return st.builds(R, path=st.just("a/x"), ts=TS, value=value, state=state, quality=quality, seq=SEQ, unit=UNIT)


READINGS = st.one_of(
    readings(VALUE, st.none(), QUALITY),
    readings(st.none(), TEXT, QUALITY),
    readings(st.none(), st.none(), st.just(0x8000_0000)),
)


@given(READINGS)
def test_a_kept_reading_goes_back_through_the_door_to_the_bit(reading: R) -> None:
    one = batch(reading)
    decoded = decode(as_json(one, 0), "application/json", Caps())
    assert not decoded.refusals
    assert content(decoded.batch) == content(one)


def content(one: ReadingBatch) -> tuple[object, ...]:
    return (one.paths, one.states, one.units, *(getattr(one, name).tobytes() for name in COLUMNS))


@pytest.fixture
def taken():
    """Two entries; of the first only items 3 and 5 travelled in this lane."""
    first = batch(*(R("a/x", T0_US + i, float(i), seq=i) for i in range(6))).pick(np.array([3, 5]))
    second = batch(R("a/y", T0_US, state="IDLE", quality=0x8000_0000), R("a/x", T0_US + 9, -0.0))
    return entries(first, second, after=40)


def test_what_is_held_is_found_again_in_its_entry(taken) -> None:
    columns = join(taken, TagTable([tag(5, "a/x")]), {"IDLE": 1}).columns
    held = list(held_of("unknown_tag", columns.pick(np.array([1, 2])), taken))
    assert [(one.position, one.item, one.path, one.ts_us) for one in held] == [
        (41, 5, "a/x", T0_US + 5),
        (42, 0, "a/y", T0_US),
    ]
    assert all(isinstance(one, Held) and one.reason == "unknown_tag" and one.detail for one in held)
    assert b'"value":5.0' in held[0].raw


def test_what_is_contested_keeps_its_content(taken) -> None:
    tags = TagTable([tag(5, "a/x"), tag(8, "a/y")])
    columns = join(taken, tags, {"IDLE": 1}).columns
    contested = list(contested_of(columns.pick(np.array([2, 0])), taken, tags))
    assert contested == [
        Contested(42, 0, 8, T0_US, None, None, "IDLE", 0x8000_0000),
        Contested(41, 3, 5, T0_US + 3, 3, 3.0, None, 0),
    ]


def test_repeats_name_position_item_and_tag(taken) -> None:
    tags = TagTable([tag(5, "a/x"), tag(8, "a/y")])
    columns = join(taken, tags, {"IDLE": 1}).columns
    repeats = repeats_of([columns.pick(np.array([1])), columns.pick(np.array([2, 3]))], taken, tags)
    assert repeats.position == [41, 42, 42]
    assert repeats.index.tolist() == [5, 0, 1]
    assert repeats.tag_id.tolist() == [5, 8, 5]
    assert not repeats_of([], taken, tags).index.size
