import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from make import T0_US, R, batch, entries, tag
from penstock.model.batch import NO_TEXT, batch_of
from penstock.process.intake import NO_ROOM, NO_SLOT, join, unknown_texts
from penstock.process.tags import TagTable

PATHS = ("a/x", "a/y", "a/z", "b/unknown")
READING = st.builds(
    R,
    path=st.sampled_from(PATHS),
    ts=st.integers(-(2**63), 2**63 - 1),
    value=st.one_of(st.none(), st.floats(allow_nan=False)),
    state=st.sampled_from([None, "RUNNING", "IDLE", "new"]),
    quality=st.integers(0, 2**32 - 1),
    seq=st.one_of(st.none(), st.integers(-(2**63) + 1, 2**63 - 1)),
    unit=st.sampled_from([None, "Cel", "bar"]),
)


def table() -> TagTable:
    return TagTable([tag(7, "a/y"), tag(3, "a/x"), tag(9, "a/z")])


@given(st.lists(st.lists(READING, min_size=1, max_size=6), min_size=1, max_size=5))
def test_joining_keeps_every_reading_as_it_was(requests: list[list[R]]) -> None:
    tags, states = table(), {"RUNNING": 4, "IDLE": 5}
    joined = join(entries(*(batch(*request) for request in requests)), tags, states)
    flat = [(entry, at, reading) for entry, request in enumerate(requests) for at, reading in enumerate(request)]
    columns = joined.columns
    assert columns.slot.tolist() == [tags.slot_of.get(one.path, NO_SLOT) for _, _, one in flat]
    assert columns.ts.tolist() == [one.ts for _, _, one in flat]
    assert columns.state.tolist() == [
        NO_TEXT if one.state is None else states.get(one.state, NO_ROOM) for _, _, one in flat
    ]
    values = np.array([np.nan if one.value is None else one.value for _, _, one in flat])
    assert columns.value.tobytes() == values.tobytes()
    assert columns.quality.tolist() == [one.quality for _, _, one in flat]
    assert list(zip(columns.entry.tolist(), columns.index.tolist(), strict=True)) == [flat_[:2] for flat_ in flat]
    assert [None if unit == NO_TEXT else joined.units[unit] for unit in joined.unit] == [one.unit for _, _, one in flat]
    known = all(one.path != "b/unknown" and one.state != "new" for _, _, one in flat)
    assert joined.complete == known


def test_unknown_paths_come_once_and_in_order_of_appearance() -> None:
    taken = entries(
        batch(R("b/one", T0_US, 1.0), R("a/x", T0_US, 1.0), R("b/two", T0_US, 1.0)), batch(R("b/one", T0_US, 2.0))
    )
    assert unknown_texts(taken, "paths", "tag", table().slot_of) == ["b/one", "b/two"]
    assert unknown_texts(taken, "states", "state", {}) == []


def test_a_path_that_no_reading_uses_is_not_registered() -> None:
    """A request is split by lane, and items are refused; neither may register tags of another's readings."""
    unused = batch_of(("b/refused", "a/x", "b/one"), [1, 2], [T0_US, T0_US], [1.0, 2.0], states=("GONE",))
    assert unknown_texts(entries(unused), "paths", "tag", table().slot_of) == ["b/one"]
    assert unknown_texts(entries(unused), "states", "state", {}) == []
    assert join(entries(unused.pick(np.array([0]))), table(), {}).complete
