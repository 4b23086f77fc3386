"""What every test needs to know of a batch: which readings count, and for each the good one before it."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from penstock.model.batch import Floats, Ints, Mask
from penstock.model.quality import Quality, is_bad
from penstock.process.columns import Columns
from penstock.process.detect.memory import Memory, Patch, Slots

US: Final = 1e6
HUGE: Final = 1e30
NEWEST, GOOD_US, GOOD_VALUE = range(3)


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """n readings that may be judged by their value: neither bad nor late, sorted by slot and time."""

    slot: Slots
    ts: Ints
    value: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Taught:
    """n good readings, sorted by slot and time, and what came before each. Times in microseconds, NaN for none.

    Tag i has `counts[i]` of them from `starts[i]` on; `place` is each one's position among the batch's readings.
    """

    slot: Slots
    ts: Floats
    value: Floats
    before_ts: Floats
    before_value: Floats
    place: Slots
    tags: Slots
    starts: Slots
    counts: Slots


@dataclass(frozen=True, slots=True, eq=False)
class Course:
    """One batch, prepared. `heard` are the tags that sent anything in its due order, bad or not."""

    now_us: int
    readings: int
    heard: Slots
    judged: Judged
    taught: Taught


class Past:
    """Where each tag stands: newest judged time, and its last good reading."""

    def __init__(self) -> None:
        self.memory = Memory({"newest_us": -np.inf, "good_us": np.nan, "good_value": np.nan})

    def course(self, readings: Columns, now_us: int) -> tuple[Course, Patch]:
        """*readings* with all that the tests need, and the past as it will be after them."""
        slot = readings.slot.astype(np.intp)
        due = readings.ts >= self.memory.row("newest_us", slot)
        judged = due & ~is_bad(readings.quality) & ~np.isnan(readings.value)
        patch = self.memory.take(_tags(slot[judged]))
        taught = self._taught(readings, slot, judged & (readings.quality < Quality.UNCERTAIN))
        view = Judged(slot[judged], readings.ts[judged], readings.value[judged])
        _move(patch, view, taught)
        return Course(now_us, len(readings), _tags(slot[due]), view, taught), patch

    def _taught(self, readings: Columns, slot: Slots, good: Mask) -> Taught:
        place = np.flatnonzero(good)
        slot, ts, value = slot[place], readings.ts[place].astype(np.float64), _tame(readings.value[place])
        starts = _starts(slot)
        tags = slot[starts]
        before_ts, before_value = _shifted(ts), _shifted(value)
        before_ts[starts] = self.memory.row("good_us", tags)
        before_value[starts] = self.memory.row("good_value", tags)
        counts = np.diff(starts, append=slot.size)
        return Taught(slot, ts, value, before_ts, before_value, place, tags, starts, counts)


def _move(patch: Patch, judged: Judged, taught: Taught) -> None:
    ends = np.append(_starts(judged.slot), judged.slot.size)[1:] - 1
    patch.columns[NEWEST] = judged.ts[ends]
    last = taught.starts + taught.counts - 1
    where = np.searchsorted(patch.slots, taught.tags)
    patch.columns[GOOD_US, where] = taught.ts[last]
    patch.columns[GOOD_VALUE, where] = taught.value[last]


def _starts(slot: Slots) -> Slots:
    """Where each tag's run begins in a sorted column."""
    if slot.size == 0:
        return np.zeros(0, np.intp)
    return np.concatenate([[0], np.flatnonzero(slot[1:] != slot[:-1]) + 1])


def _tags(slot: Slots) -> Slots:
    return slot[_starts(slot)]


def _tame(value: Floats) -> Floats:
    """No -0.0, whose sign a maximum may or may not keep; nothing so large that a sum of it could overflow."""
    return np.clip(value, -HUGE, HUGE) + 0.0


def _shifted(column: Floats) -> Floats:
    shifted = np.empty_like(column)
    shifted[1:] = column[:-1]
    return shifted
