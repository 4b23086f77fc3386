"""Silence: a tag from which nothing comes any more, by our own clock; late source times never matter here.

Rule: nothing for `silence_intervals` times the expected interval. The expectation is configured, or learned: the
larger of the usual step of source time and the usual time between arrivals (gateways send in batches), and then
also not less than twice the longest gap of late, so that a tag that reports by exception is left in peace.
"""

from typing import Final, NamedTuple

import numpy as np

from penstock.model.anomaly import Finding, Priority, Test
from penstock.model.batch import Floats
from penstock.process.detect.course import US, Course
from penstock.process.detect.memory import Memory, Patch, Slots
from penstock.process.detect.words import span
from penstock.process.tags import TagTable

GAPS_MIN: Final = 10
LONGER: Final = 2.0
FADE_US: Final = 7 * 86_400 * US
"""The longest gap of late fades over a week."""
STEP_MIN: Final = 0.02
HEARD, GAPS, GAP, LONGEST, ACTIVE = range(5)


class Ear(NamedTuple):
    """When we last listened, and since when without a break: nobody is silent while we do not listen."""

    last_us: int | None = None
    since_us: int | None = None


class SilenceNext(NamedTuple):
    """The next state of some tags, and of the listener."""

    patch: Patch
    ear: Ear


class Silence:
    """Judged by `tick`; `run` only hears who speaks. A break of more than *stall_s* in listening starts anew."""

    def __init__(self, table: TagTable, interval: Memory, *, intervals: float, stall_s: float = 10.0) -> None:
        """*interval* is the memory whose column `interval_s` holds each tag's usual step of source time."""
        self._table, self._interval = table, interval
        self._intervals, self._stall_us = intervals, stall_s * US
        self.memory = Memory(
            {"heard_us": np.nan, "gaps": 0.0, "gap_us": np.nan, "longest_us": 0.0, "active": 0.0},
        )
        self.ear = Ear()

    def run(self, course: Course) -> tuple[list[Finding], SilenceNext]:
        """Those who were silent and are heard again."""
        patch, now = self.memory.take(course.heard), float(course.now_us)
        cells = patch.columns
        gap = now - cells[HEARD]
        found = [self._back(int(patch.slots[i]), course.now_us, float(gap[i])) for i in np.flatnonzero(cells[ACTIVE])]
        cells[ACTIVE] = 0.0
        _learn(cells, gap, LONGER * self._allowed_us(patch.slots))
        cells[HEARD] = np.fmax(cells[HEARD], now)
        return found, SilenceNext(patch, self._listened(course.now_us))

    def tick(self, now_us: int) -> tuple[list[Finding], SilenceNext]:
        """Those who have been silent for too long by now."""
        ear = self._listened(now_us)
        every = slice(0, len(self._table))
        waited = now_us - np.fmax(self.memory.row("heard_us", every), ear.since_us or now_us)
        heard = ~np.isnan(self.memory.row("heard_us", every)) & (self.memory.row("active", every) == 0)
        expected = np.flatnonzero(heard)
        slots = expected[waited[expected] > self._allowed_us(expected)]
        patch = self.memory.take(slots)
        patch.columns[ACTIVE] = 1.0
        expected_us = self._expected_us(slots)
        found = [
            self._gone(int(slot), now_us, float(waited[slot]), float(expected_us[i])) for i, slot in enumerate(slots)
        ]
        return found, SilenceNext(patch, ear)

    def put(self, state: SilenceNext) -> None:
        """Take over the next state."""
        self.memory.put(state.patch)
        self.ear = state.ear

    def _listened(self, now_us: int) -> Ear:
        last, since = self.ear
        if last is None or since is None or now_us - last > self._stall_us:
            return Ear(now_us, now_us)
        return Ear(max(now_us, last), since)

    def _expected_us(self, slots: Slots) -> Floats:
        configured = self._table.expected_interval_s[slots] * US
        learned = np.fmax(self._interval.row("interval_s", slots) * US, self.memory.row("gap_us", slots))
        return np.where(np.isnan(configured), learned, configured)

    def _allowed_us(self, slots: Slots) -> Floats:
        """Silence that is still usual; infinite where nothing is expected (yet)."""
        allowed = self._intervals * self._expected_us(slots)
        learned = np.isnan(self._table.expected_interval_s[slots])
        patient = np.fmax(allowed, LONGER * self.memory.row("longest_us", slots))
        unknown = np.isnan(allowed) | (learned & (self.memory.row("gaps", slots) < GAPS_MIN))
        return np.where(unknown, np.inf, np.where(learned, patient, allowed))

    def _gone(self, slot: int, now_us: int, waited_us: float, expected_us: float) -> Finding:
        because = f"no reading for {span(waited_us / US)}; one is expected every {span(expected_us / US)}"
        return self._finding(slot, now_us, because, waited_us / (waited_us + expected_us))

    def _back(self, slot: int, now_us: int, gap_us: float) -> Finding:
        return self._finding(slot, now_us, f"heard again after {span(gap_us / US)}", 0.0)

    def _finding(self, slot: int, now_us: int, because: str, score: float) -> Finding:
        return Finding(
            slot=slot,
            ts_us=now_us,
            test=Test.SILENCE,
            active=score > 0,
            priority=Priority.MEDIUM if self._table.critical[slot] else Priority.LOW,
            value=None,
            score=score,
            low=None,
            high=None,
            because=because,
        )


def _learn(cells: Floats, gap: Floats, most: Floats) -> None:
    """A running median of the gaps between arrivals (a small step towards each), and the longest of late."""
    new = np.flatnonzero(gap > 0)
    gap, most, old = gap[new], most[new], cells[GAP, new]
    step = 1.0 + np.maximum(1.0 / (cells[GAPS, new] + 2.0), STEP_MIN)
    moved = np.where(gap > old, old * step, np.where(gap < old, old / step, old))
    cells[GAP, new] = np.where(np.isnan(old), gap, moved)
    cells[GAPS, new] += 1.0
    fading = cells[LONGEST, new] * (1.0 - np.minimum(gap / FADE_US, 1.0))
    cells[LONGEST, new] = np.maximum(fading, np.minimum(gap, most))
