"""Let each reading through once, though senders and the stream may bring it again."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from penstock.model.batch import Ints, Mask
from penstock.process.columns import Columns
from penstock.process.outcome import Outcome
from penstock.process.tags import TagTable
from penstock.store.port import Known, Rows

NEVER: Final = np.iinfo(np.int64).min
GONE: Final = {
    "archived": "Readings of its time have left the database (store.keep_days): whether it came before cannot be told.",
}
"""The reason of quarantine for what cannot be compared any more, as the reference lists it."""


class Watermarks:
    """The newest stored ts of each slot. Only a reading that is not newer can have been stored before."""

    def __init__(self) -> None:
        self._ts: Ints = np.zeros(0, np.int64)

    def __call__(self, slot: NDArray[np.int32]) -> Ints:
        """The watermark of each slot; NEVER where nothing is stored."""
        if slot.size and int(slot.max()) >= self._ts.size:
            grown = np.full(max(256, 2 * int(slot.max())), NEVER)
            grown[: self._ts.size] = self._ts
            self._ts = grown
        return self._ts[slot]

    def remember(self, slot: NDArray[np.int32], ts: Ints) -> None:
        """These are stored; *ts* does not fall within a slot."""
        self._ts[slot] = np.maximum(self(slot), ts)  # of a slot's several the last, the newest, is the one that stays


def rows_of(columns: Columns, tags: TagTable) -> Rows:
    """The same readings in the store's terms."""
    return Rows(
        tag_id=tags.tag_id[columns.slot],
        ts=columns.ts,
        value=columns.value,
        state=columns.state,
        quality=columns.quality,
        seq=columns.seq,
    )


def sort_out(columns: Columns, suspect: Mask, known: NDArray[np.int8], outcome: Outcome) -> Columns:
    """The readings that are new, of *columns* in store order.

    *known* says what the store has of the suspects. Among those that are new to it, the first to arrive wins.
    """
    verdict = np.zeros(len(columns), np.int8)
    verdict[suspect] = known
    _judge_repeats(columns, verdict)
    if not verdict.any():
        return columns
    outcome.duplicates.append(columns.pick(verdict == Known.DUPLICATE))
    outcome.conflicts.append(columns.pick(verdict == Known.CONFLICT))
    outcome.hold("archived", columns.pick(verdict == Known.ARCHIVED))
    return columns.pick(verdict == Known.NEW)


def _judge_repeats(columns: Columns, verdict: NDArray[np.int8]) -> None:
    """Mark repeated keys among the new readings: duplicates of the first of their run, or in conflict with it."""
    repeated = (columns.ts[1:] == columns.ts[:-1]) & (columns.slot[1:] == columns.slot[:-1])
    if not repeated.any():
        return
    at = np.flatnonzero(verdict == Known.NEW)
    slot, ts, seq = columns.slot[at], columns.ts[at], columns.seq[at]
    repeats = np.zeros(at.size, np.bool_)
    repeats[1:] = (slot[1:] == slot[:-1]) & (ts[1:] == ts[:-1]) & (seq[1:] == seq[:-1])
    first = np.maximum.accumulate(np.where(repeats, 0, np.arange(at.size)))
    again, original = at[repeats], at[first[repeats]]
    verdict[again] = np.where(_same_content(columns, again, original), Known.DUPLICATE, Known.CONFLICT)


def _same_content(columns: Columns, a: NDArray[np.intp], b: NDArray[np.intp]) -> Mask:
    """Value bits, state and quality agree; the unit is no part of a reading's content."""
    ours, theirs = columns.value[a], columns.value[b]
    same: Mask = (ours.view(np.int64) == theirs.view(np.int64)) | (np.isnan(ours) & np.isnan(theirs))
    same &= columns.state[a] == columns.state[b]
    same &= columns.quality[a] == columns.quality[b]
    return same
