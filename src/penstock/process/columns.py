"""The readings of one flush, joined from its entries, in the worker's own terms."""

from dataclasses import dataclass, replace
from typing import Final, Self

from penstock.model.batch import Floats, Int32s, Ints, Mask


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """n readings; one array each column.

    ========  =======  ==============================================================
    slot      int32    row of the tag table
    ts        int64    source time, microseconds since 1970 UTC
    value     float64  NaN where there is none
    state     int32    id in the store's `state_text`, NO_TEXT where there is none
    quality   int64    OPC UA status code
    seq       int64    NO_SEQ where there is none
    entry     int32    which of the flush's entries brought it
    index     int32    its place in the request
    ========  =======  ==============================================================
    """

    slot: Int32s
    ts: Ints
    value: Floats
    state: Int32s
    quality: Ints
    seq: Ints
    entry: Int32s
    index: Int32s

    def __len__(self) -> int:
        return self.ts.size

    def pick(self, where: Mask | Ints) -> Self:
        return replace(self, **{name: getattr(self, name)[where] for name in COLUMN_NAMES})


COLUMN_NAMES: Final = ("slot", "ts", "value", "state", "quality", "seq", "entry", "index")
