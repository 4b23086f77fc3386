"""Stuck: a value that used to move stands still, for longer than it ever did.

Rule: 30 good readings in a row without change, over more than three times the longest standstill seen before,
at a tag that was learned for `learn_s` and changed at least 100 times. A set point changes too seldom, and a
coarsely quantised or on/off signal has had long standstills, so neither is called stuck.
"""

import math
from typing import Final

import numpy as np

from penstock.model.anomaly import Finding, Priority, Test
from penstock.model.batch import Floats, Mask
from penstock.process.detect.course import US, Course, Taught
from penstock.process.detect.memory import Memory, Patch, Slots
from penstock.process.detect.words import number, span
from penstock.process.tags import TagTable

RUN_MIN: Final = 30
CHANGES_MIN: Final = 100
LONGER: Final = 3.0
TEACH: Final = 2.0
TEACH_US: Final = 60 * US
"""A standstill that was called stuck at most doubles what is usual, or makes it a minute."""
STILL_KINDS: Final = frozenset({"state", "setpoint"})
FIRST, CHANGED, RUN, CHANGES, LONGEST, ACTIVE = range(6)


class Stuck:
    """Everything but a tag in question is judged whole columns at a time: counts and maxima need no order."""

    def __init__(self, table: TagTable, *, learn_s: float) -> None:
        self._table, self._learn_us = table, learn_s * US
        self.memory = Memory(
            {"first_us": np.nan, "changed_us": np.nan, "run": 0.0, "changes": 0.0, "longest_us": 0.0, "active": 0.0}
        )

    def run(self, course: Course) -> tuple[list[Finding], Patch]:
        """The edges of the good readings."""
        good = course.taught
        patch = self.memory.take(good.tags)
        if not good.tags.size:
            return [], patch
        asked = self._asked(good, patch)
        found: list[Finding] = []
        for i in asked:
            found += self._step(good, patch, int(i))
        return found, patch

    def _asked(self, good: Taught, patch: Patch) -> Slots:
        """Moves the state of all tags, but of those that need a closer look: their positions are returned."""
        of, at = np.repeat(np.arange(good.tags.size), good.counts), np.arange(good.ts.size)
        moved = good.value != good.before_value
        last = _last_before(np.where(moved, at, -1))
        inside = last >= good.starts[of]
        since = np.where(inside, good.ts[last], patch.columns[CHANGED][of])
        run = np.where(inside, at - last, patch.columns[RUN][of] + (at - good.starts[of]) + 1)
        now = _reduced(good, patch, moved, since)
        still = ~moved & (run >= RUN_MIN) & (good.ts - since > LONGER * patch.columns[LONGEST][of])
        question = np.logical_or.reduceat(still, good.starts) & (now[CHANGES] >= CHANGES_MIN)
        question |= patch.columns[ACTIVE] > 0
        quiet = ~question
        patch.columns[:, quiet] = now[:, quiet]
        return np.flatnonzero(question)

    def _step(self, good: Taught, patch: Patch, i: int) -> list[Finding]:
        found, slot = list[Finding](), int(good.tags[i])
        cells: list[float] = patch.columns[:, i].tolist()
        here = slice(good.starts[i], good.starts[i] + good.counts[i])
        rows = zip(*(column[here].tolist() for column in (good.ts, good.value, good.before_ts, good.before_value)),
                   strict=True)  # fmt: skip
        for ts, value, before_ts, before_value in rows:
            moved, was_stuck = value != before_value, cells[ACTIVE] > 0
            edge = self._edge(cells, ts, moved, self._exempt(slot))
            if edge is not None:
                found.append(self._finding(slot, ts, value, edge, cells))
            if moved:
                _move(cells, ts, before_ts, was_stuck)
        patch.columns[:, i] = cells
        return found

    def _edge(self, cells: list[float], ts: float, moved: bool, exempt: bool) -> bool | None:
        if cells[ACTIVE]:
            return False if moved or exempt else None
        if moved:
            return None
        cells[RUN] += 1
        learned = ts - cells[FIRST] >= self._learn_us and cells[CHANGES] >= CHANGES_MIN
        long = cells[RUN] >= RUN_MIN and ts - cells[CHANGED] > LONGER * cells[LONGEST]
        return True if learned and long and not exempt else None

    def _exempt(self, slot: int) -> bool:
        return self._table.configs[slot].kind in STILL_KINDS

    def _finding(self, slot: int, ts: float, value: float, active: bool, cells: list[float]) -> Finding:
        stood, longest = (ts - cells[CHANGED]) / US, cells[LONGEST] / US
        cells[ACTIVE] = float(active)
        config = self._table.configs[slot]
        was = f"has not changed from {number(value, config.unit)} for {span(stood)}; at most {span(longest)} was usual"
        return Finding(
            slot=slot,
            ts_us=int(ts),
            test=Test.STUCK,
            active=active,
            priority=Priority.MEDIUM if self._table.critical[slot] else Priority.LOW,
            value=value,
            score=stood / (stood + LONGER * longest) if active else 0.0,
            low=None,
            high=None,
            because=was if active else f"moves again after {span(stood)}",
        )


def _move(cells: list[float], ts: float, before_ts: float, was_stuck: bool) -> None:
    """The value changed at *ts*: the standstill up to the reading before is over, and teaches."""
    if math.isnan(before_ts):
        cells[FIRST] = ts
    else:
        stood, most = before_ts - cells[CHANGED], max(TEACH * cells[LONGEST], TEACH_US)
        cells[LONGEST] = max(cells[LONGEST], min(stood, most) if was_stuck else stood)
        cells[CHANGES] += 1
    cells[CHANGED], cells[RUN] = ts, 0.0


def _last_before(place: Slots) -> Slots:
    """For each reading the place of the last change before it, or less than its tag's start."""
    last = np.empty_like(place)
    last[0], last[1:] = -1, np.maximum.accumulate(place)[:-1]
    return last


def _reduced(good: Taught, patch: Patch, moved: Mask, since: Floats) -> Floats:
    """The state after the batch of tags that were never in question."""
    now, ends = patch.columns.copy(), good.starts + good.counts - 1
    fresh = np.isnan(now[FIRST])
    now[FIRST] = np.where(fresh, good.ts[good.starts], now[FIRST])
    known = moved & ~np.isnan(good.before_ts)
    stood = np.where(known, good.before_ts - since, 0.0)
    now[LONGEST] = np.maximum(now[LONGEST], np.maximum.reduceat(stood, good.starts))
    now[CHANGES] += np.add.reduceat(known.astype(np.float64), good.starts)
    place = np.maximum.reduceat(np.where(moved, np.arange(moved.size), -1), good.starts)
    now[CHANGED] = np.where(place >= 0, good.ts[place], now[CHANGED])
    now[RUN] = np.where(place >= 0, ends - place, now[RUN] + good.counts)
    return now
