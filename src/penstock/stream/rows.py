"""Readings of a record as rows of one matrix of integers, each in the form that squeezes best, and back."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from penstock.errors import Undecodable
from penstock.model.batch import NO_SEQ, NO_TEXT, Floats, Ints, ReadingBatch
from penstock.stream.figures import Figures
from penstock.stream.spelling import Spelling, Texts
from penstock.stream.squeeze import CONSTANT, COUNTING, Shape

ROWS: Final = 10
TAG, TS, WHOLE, IS_RAW, STATE, QUALITY, SEQ, UNIT, REQUEST, ITEM = range(ROWS)
"""`ts` counts from the record's own time; `item` from the reading before."""

USUAL: Final[Sequence[Shape | None]] = (
    Shape(0, 1, COUNTING), None, None, Shape(0, 0, CONSTANT), Shape(NO_TEXT, 0, CONSTANT), Shape(0, 0, CONSTANT),
    Shape(NO_SEQ, 0, CONSTANT), Shape(NO_TEXT, 0, CONSTANT), None, None,
)  # fmt: skip
"""Shapes that go without saying: each tag once, no state, all good, no seq, no unit."""

_ITEM_MAX: Final = 2**31 - 1


def rows_of(
    request: Ints,
    batches: Sequence[ReadingBatch],
    tables: Sequence[Spelling],
    figures: Figures,
    received_us: int,
) -> Ints:
    """ROWS x n of joined *batches*: *request* by reading, *tables* of all paths, states and units, and the values."""
    rows = np.empty((ROWS, figures.whole.size), np.int64)
    rows[TAG], rows[STATE], rows[UNIT] = (table.codes for table in tables)
    rows[WHOLE], rows[IS_RAW] = figures.whole, figures.is_raw
    np.concatenate([batch.ts for batch in batches], out=rows[TS])
    rows[TS] -= received_us
    np.concatenate([batch.quality for batch in batches], out=rows[QUALITY])
    np.concatenate([batch.seq for batch in batches], out=rows[SEQ])
    item = np.concatenate([batch.index for batch in batches], dtype=np.int64)
    rows[ITEM, 0] = item[0]
    np.subtract(item[1:], item[:-1], out=rows[ITEM, 1:])
    rows[REQUEST] = request
    return rows


def restore(rows: Ints, received_us: int, texts: Sequence[int]) -> None:
    """*rows* as they are in a batch, in place. Raises Undecodable where one points outside what it is a place in.

    *texts*: how many paths, states and units there are.
    """
    rows[TS] += received_us
    np.cumsum(rows[ITEM], out=rows[ITEM])
    paths, states, units = texts
    low, high = np.minimum.reduce(rows, axis=1).tolist(), np.maximum.reduce(rows, axis=1).tolist()
    for row, least, most in (
        (TAG, 0, paths - 1),
        (STATE, NO_TEXT, states - 1),
        (UNIT, NO_TEXT, units - 1),
        (IS_RAW, 0, 1),
        (ITEM, 0, _ITEM_MAX),
    ):
        if low[row] < least or high[row] > most:
            raise Undecodable("a record's reading points outside its texts or its request")


def batch_of_rows(rows: Ints, value: Floats, paths: Texts, states: Texts, units: Texts) -> ReadingBatch:
    """The batch whose *rows* were restored; its `index` counts up."""
    return ReadingBatch(
        paths,
        states,
        units,
        tag=rows[TAG].astype(np.int32),
        ts=rows[TS],
        value=value,
        state=rows[STATE].astype(np.int32),
        quality=rows[QUALITY],
        seq=rows[SEQ],
        unit=rows[UNIT].astype(np.int32),
        index=np.arange(value.size, dtype=np.int32),
    )


def unless_usual(shapes: Sequence[Shape]) -> tuple[Shape | None, ...]:
    """None in place of a usual shape."""
    return tuple(None if shape == usual else shape for shape, usual in zip(shapes, USUAL, strict=True))


def or_usual(shapes: Sequence[Shape | None]) -> list[Shape]:
    """The usual shapes in place of None. Raises Undecodable where nothing is usual."""
    whole = [shape or usual for shape, usual in zip(shapes, USUAL, strict=True)]
    if None in whole:
        raise Undecodable("a record's column has no shape")
    return whole  # type: ignore[return-value]  # there is no None in it
