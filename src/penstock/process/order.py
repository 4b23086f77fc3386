"""One order for readings everywhere behind the stream: by tag, then source time, then seq, then arrival."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from penstock.model.batch import NO_SEQ, Int32s, Ints
from penstock.process.columns import Columns

KEY_MAX: Final = 2**63 - 1


def order_of(tag: Int32s, ts: Ints, seq: Ints) -> NDArray[np.intp]:
    """Positions that sort by (tag, ts, seq); equal keys stay in order of arrival."""
    order = _packed_order(tag, ts)
    if order is None or _seq_decides(tag, ts, seq, order):
        return np.lexsort((seq, ts, tag))
    return order


def by_slot(columns: Columns) -> Columns:
    """Detectors want slots in order; store order differs where another worker registered tags in between."""
    if np.any(columns.slot[1:] < columns.slot[:-1]):
        return columns.pick(np.argsort(columns.slot, kind="stable"))
    return columns


def _packed_order(tag: Int32s, ts: Ints) -> NDArray[np.intp] | None:
    """Order by (tag, ts, arrival), packed into one integer each; None where they do not fit.

    Sorting plain integers costs a tenth of a lexsort.
    """
    if not tag.size:
        return np.empty(0, np.intp)
    ts_lo, width = int(ts.min()), int(ts.max()) - int(ts.min()) + 1
    bits = int(tag.size - 1).bit_length()
    if ((int(tag.max()) + 1) * width) << bits > KEY_MAX:
        return None
    key = tag.astype(np.int64)
    key *= width
    key += ts - ts_lo
    key <<= bits
    key |= np.arange(tag.size)
    key.sort()
    return (key & ((1 << bits) - 1)).astype(np.intp, copy=False)


def _seq_decides(tag: Int32s, ts: Ints, seq: Ints, order: NDArray[np.intp]) -> bool:
    """True where two readings agree in (tag, ts) but not in seq."""
    if not np.any(seq != NO_SEQ):
        return False
    tag, ts, seq = tag[order], ts[order], seq[order]
    return bool(np.any((tag[1:] == tag[:-1]) & (ts[1:] == ts[:-1]) & (seq[1:] != seq[:-1])))
