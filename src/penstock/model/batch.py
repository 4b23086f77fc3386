"""Readings as columns: the only form in which the hot path holds them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

NO_SEQ: Final = -(2**63)
"""`seq` was not given. The one int64 that a sender may not use."""
NO_TEXT: Final = -1
"""No state, or no unit, at this reading."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Int32s = NDArray[np.int32]
Mask = NDArray[np.bool_]


class Lane(StrEnum):
    """Two belts side by side, so that bulk never delays what is critical."""

    CRITICAL = "critical"
    BULK = "bulk"


@dataclass(frozen=True, slots=True, eq=False)
class ReadingBatch:
    """n readings, one array each column, self-contained: texts are indices into the batch's own tuples.

    ========  =======  ==========================================================
    tag       int32    index into `paths`
    ts        int64    source time, microseconds since 1970 UTC
    value     float64  NaN where there is none (a state, or bad quality)
    state     int32    index into `states`, NO_TEXT where there is none
    quality   int64    OPC UA status code, 0 is good
    seq       int64    NO_SEQ where the sender gave none
    unit      int32    index into `units`, NO_TEXT where the sender gave none
    index     int32    the reading's place in the request that brought it
    ========  =======  ==========================================================
    """

    paths: tuple[str, ...]
    states: tuple[str, ...]
    units: tuple[str, ...]
    tag: Int32s
    ts: Ints
    value: Floats
    state: Int32s
    quality: Ints
    seq: Ints
    unit: Int32s
    index: Int32s

    def __len__(self) -> int:
        return self.ts.size

    def pick(self, where: Mask | Ints) -> Self:
        """The readings at *where* (a mask or positions); the text tuples stay whole."""
        return replace(
            self,
            **{name: getattr(self, name)[where] for name in COLUMNS},
        )


COLUMNS: Final = ("tag", "ts", "value", "state", "quality", "seq", "unit", "index")


def batch_of(  # noqa: PLR0913  # one argument a column: this is where columns come together
    paths: Sequence[str],
    tag: Sequence[int] | Int32s,
    ts: Sequence[int] | Ints,
    value: Sequence[float] | Floats,
    *,
    states: Sequence[str] = (),
    state: Sequence[int] | Int32s | None = None,
    quality: Sequence[int] | Ints | None = None,
    seq: Sequence[int] | Ints | None = None,
    units: Sequence[str] = (),
    unit: Sequence[int] | Int32s | None = None,
    index: Sequence[int] | Int32s | None = None,
) -> ReadingBatch:
    """A batch from columns; whatever is left out means good, without state, seq and unit, in order."""
    n = len(ts)
    return ReadingBatch(
        paths=tuple(paths),
        states=tuple(states),
        units=tuple(units),
        tag=np.asarray(tag, np.int32),
        ts=np.asarray(ts, np.int64),
        value=np.asarray(value, np.float64),
        state=np.full(n, NO_TEXT, np.int32) if state is None else np.asarray(state, np.int32),
        quality=np.zeros(n, np.int64) if quality is None else np.asarray(quality, np.int64),
        seq=np.full(n, NO_SEQ, np.int64) if seq is None else np.asarray(seq, np.int64),
        unit=np.full(n, NO_TEXT, np.int32) if unit is None else np.asarray(unit, np.int32),
        index=np.arange(n, dtype=np.int32) if index is None else np.asarray(index, np.int32),
    )
