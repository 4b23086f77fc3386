"""Batches for the stream's tests."""

import numpy as np
from hypothesis import strategies as st

from penstock.model.batch import COLUMNS, NO_SEQ, ReadingBatch, batch_of

INT64 = st.integers(-(2**63), 2**63 - 1)
BITS = st.one_of(INT64, st.sampled_from([-(2**63), 0, 0x7FF8_0000_0000_0001, -1]))
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)


def plain(n: int, first_ts: int = 1_700_000_000_000_000) -> ReadingBatch:
    """*n* good readings of three tags."""
    return batch_of(
        ("lyon/press/a/t", "lyon/press/b/t", "lyon/press/c/t"),
        np.arange(n) % 3,
        first_ts + np.arange(n) * 1_000_003,
        np.sin(np.arange(n, dtype=float) + first_ts % 97),
    )


@st.composite
def any_batch(draw: st.DrawFn) -> ReadingBatch:
    n = draw(st.integers(1, 12))
    paths, states, units = (draw(st.lists(TEXT, min_size=1, max_size=4)) for _ in range(3))

    def column(items: st.SearchStrategy[int]) -> list[int]:
        return draw(st.one_of(st.lists(items, min_size=n, max_size=n), items.map(lambda same: [same] * n)))

    return batch_of(
        paths,
        column(st.integers(0, len(paths) - 1)),
        column(INT64),
        np.asarray(column(BITS), np.int64).view(np.float64),
        states=states,
        state=column(st.integers(-1, len(states) - 1)),
        quality=column(st.integers(0, 2**32 - 1)),
        seq=column(st.one_of(INT64, st.just(NO_SEQ))),
        units=units,
        unit=column(st.integers(-1, len(units) - 1)),
        index=column(st.integers(0, 2**31 - 1)),
    )


def content(batch: ReadingBatch) -> tuple[object, ...]:
    """Everything in a batch, to the bit, as something that compares."""
    columns = tuple((getattr(batch, name).dtype.str, getattr(batch, name).tobytes()) for name in COLUMNS)
    return (batch.paths, batch.states, batch.units, *columns)
