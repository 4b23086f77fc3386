"""The record test: a value, mean, jump or time-of-day deviation beyond all that was learned, and how far beyond."""

import math
from typing import Final, NamedTuple

import numpy as np

from penstock.model.anomaly import Finding, Priority, Test
from penstock.process.detect import ladder as rung
from penstock.process.detect.course import US, Course, Taught
from penstock.process.detect.memory import Memory, Patch
from penstock.process.detect.season import HALF_US, Day, Season, turn
from penstock.process.detect.words import number, span
from penstock.process.tags import TagTable

WEIGHTS: Final = (0.9, 0.9, 0.3, 0.3)
HALF_EXCESS: Final = 0.2
"""An excess of this share of the range scores half its signal's weight."""
QUANTA: Final = 5.0
"""A range counts as at least so many of the signal's own smallest steps."""
ALARM: Final = 0.4
"""A value alone alarms from 16 % of the range beyond: rare enough on noise, far less than a fault."""
HOLD_S: Final = 300.0
HOLD_INTERVALS: Final = 20.0
WORSE: Final = 1.5
ADOPT_S: Final = 8 * 3_600.0
"""A new level that lasts so long is accepted as usual."""
THIN: Final = 24
"""Waves of fewer tags are cheaper one reading at a time."""
HIGH_SCORE, MEDIUM_SCORE = 0.8, 0.5


class Evidence(NamedTuple):
    """How strongly the four signals at a reading speak of something new, and which of them most."""

    score: float
    signal: int
    excess: float


class RecordNext(NamedTuple):
    """The next state of some tags; and what the batch's readings scored: places and scores, nothing where 0."""

    patch: Patch
    days: dict[int, Day]
    scores: list[tuple[int, float]]


class Record:
    """Learns every tag's extremes for `learn_s`, then calls what goes beyond them.

    After an alarm only markedly stronger evidence counts, until the value was back within its old range for a while.
    """

    def __init__(self, table: TagTable, *, learn_s: float) -> None:
        self._table, self._learn_us = table, learn_s * US
        self.memory = Memory(rung.FIELDS)
        self.season = Season()

    def run(self, course: Course) -> tuple[list[Finding], RecordNext]:
        """The edges of the good readings."""
        batch = _Batch(self._table, self._learn_us, course.taught, self.memory, self.season)
        batch.run()
        return batch.found, RecordNext(batch.patch(), batch.days, batch.scores)

    def put(self, state: RecordNext) -> None:
        """Take over the next state."""
        self.memory.put(state.patch)
        self.season.put(state.days)


class _Batch:
    """One batch on its way through: tags ordered by how many readings they have, so that each wave is a prefix."""

    def __init__(self, table: TagTable, learn_us: float, good: Taught, memory: Memory, season: Season) -> None:
        self._table, self._learn_us, self._good, self._season = table, learn_us, good, season
        self._order = np.argsort(-good.counts, kind="stable")
        self._slots, self._starts = good.tags[self._order], good.starts[self._order]
        self._counts = good.counts[self._order]
        self._state = memory.take(self._slots).columns
        self._half = np.floor(good.ts / HALF_US)
        self.days: dict[int, Day] = {}
        self.found: list[Finding] = []
        self.scores: list[tuple[int, float]] = []

    def patch(self) -> Patch:
        return Patch(self._slots, self._state)

    def run(self) -> None:
        """Wave k takes the k-th reading of every tag that has one; when waves get thin, tag by tag."""
        waves = int(self._counts[THIN - 1]) if self._counts.size >= THIN else 0
        for k in range(waves):
            self._wave(k, int(np.searchsorted(-self._counts, -k, side="left")))
        for i in range(int(np.searchsorted(-self._counts, -waves, side="left"))):
            self._alone(i, waves)

    def _wave(self, k: int, m: int) -> None:
        good, at, state = self._good, self._starts[:m] + k, self._state[:, :m]
        ts, value, before_ts = good.ts[at], good.value[at], good.before_ts[at]
        for i in np.flatnonzero(self._half[at] != state[rung.HALF]).tolist():
            self._turn_column(i, float(self._half[at[i]]))
        signals = rung.step_wave(state, ts, value, before_ts, good.before_value[at])
        state[rung.SINCE] = np.fmin(state[rung.SINCE], ts)
        learned = (ts - state[rung.SINCE] >= self._learn_us) & (state[rung.READINGS] >= rung.READINGS_MIN)
        for i in np.flatnonzero((rung.outside(state, signals) & learned) | (state[rung.ACTIVE] > 0)).tolist():
            s = state[:, i].tolist()
            self._weigh(int(self._slots[i]), int(at[i]), s, signals[:, i].tolist())
            state[:, i] = s
        rung.widen_wave(state, signals, (ts - before_ts) / US, learned)
        state[rung.READINGS] += 1.0

    def _turn_column(self, i: int, half: float) -> None:
        s = self._state[:, i].tolist()
        turn(self._day(int(self._slots[i])), s, half)
        self._state[:, i] = s

    def _day(self, slot: int) -> Day:
        if slot not in self.days:
            self.days[slot] = self._season.day(slot)
        return self.days[slot]

    def _alone(self, i: int, done: int) -> None:
        """The readings of tag *i* from its *done*-th on."""
        good, slot, s = self._good, int(self._slots[i]), self._state[:, i].tolist()
        first, end = int(self._starts[i]) + done, int(self._starts[i] + self._counts[i])
        columns = (self._half, good.ts, good.value, good.before_ts, good.before_value)
        rows = zip(range(first, end), *(column[first:end].tolist() for column in columns), strict=True)
        for at, half, ts, value, before_ts, before_value in rows:
            if half != s[rung.HALF]:
                turn(self._day(slot), s, half)
            signals = rung.step_alone(s, ts, value, before_ts, before_value)
            if math.isnan(s[rung.SINCE]):
                s[rung.SINCE] = ts
            learned = ts - s[rung.SINCE] >= self._learn_us and s[rung.READINGS] >= rung.READINGS_MIN
            if (learned and rung.outside_alone(s, signals)) or s[rung.ACTIVE] > 0:
                self._weigh(slot, at, s, signals)
            rung.widen_alone(s, signals, (ts - before_ts) / US, learned)
            s[rung.READINGS] += 1.0
        self._state[:, i] = s

    def _weigh(self, slot: int, at: int, s: list[float], signals: list[float]) -> None:
        """One reading that is new, or of a tag in alarm: score it, and move the latch."""
        if self._table.configs[slot].kind == "state":
            return
        ts, evidence = float(self._good.ts[at]), weigh(s, signals)
        if not _counts(s, evidence):
            evidence = Evidence(0.0, evidence.signal, 0.0)
        if evidence.score > 0:
            self.scores.append((int(self._good.place[at]), evidence.score))
        if evidence.score >= ALARM and not s[rung.ACTIVE]:
            self.found.append(self._raised(slot, ts, s, signals, evidence))
            s[rung.BASE_LO], s[rung.BASE_HI], s[rung.RAISED] = s[rung.LO], s[rung.HI], ts
            s[rung.ACTIVE] = 1.0
        if evidence.score >= ALARM:
            s[rung.HELD] = evidence.score
        if s[rung.ACTIVE] and (evidence.score >= ALARM or _still_beyond(s, ts, signals[rung.VALUE])):
            s[rung.UNTIL] = ts + US * max(HOLD_S, HOLD_INTERVALS * s[rung.INTERVAL])
        if s[rung.ACTIVE] and ts >= s[rung.UNTIL]:
            self.found.append(self._returned(slot, ts, s, signals))
            s[rung.ACTIVE] = s[rung.HELD] = 0.0

    def _raised(self, slot: int, ts: float, s: list[float], signals: list[float], evidence: Evidence) -> Finding:
        score = evidence.score
        high, medium = score >= HIGH_SCORE, score >= MEDIUM_SCORE
        return Finding(
            slot=slot,
            ts_us=int(ts),
            test=Test.RECORD,
            active=True,
            priority=Priority.HIGH if high else Priority.MEDIUM if medium else Priority.LOW,
            value=signals[rung.VALUE],
            score=score,
            low=s[rung.LO],
            high=s[rung.HI],
            because=_because(s, signals, evidence, (ts - s[rung.SINCE]) / US, self._table.configs[slot].unit),
        )

    def _returned(self, slot: int, ts: float, s: list[float], signals: list[float]) -> Finding:
        low, high, unit = s[rung.BASE_LO], s[rung.BASE_HI], self._table.configs[slot].unit
        inside = low <= signals[rung.VALUE] <= high
        where = f"back within {number(low)} to {number(high, unit)}" if inside else "accepted as a new usual level"
        return Finding(
            slot=slot,
            ts_us=int(ts),
            test=Test.RECORD,
            active=False,
            priority=Priority.LOW,
            value=signals[rung.VALUE],
            score=0.0,
            low=low,
            high=high,
            because=f"{number(signals[rung.VALUE], unit)} is {where}",
        )


def weigh(s: list[float], signals: list[float]) -> Evidence:
    """Excess over range, r / (r + HALF_EXCESS) each, joined as independent: 1 - prod(1 - w q)."""
    missed, best = 1.0, Evidence(0.0, rung.VALUE, 0.0)
    for j, y in enumerate(signals):
        lo, hi = s[rung.LO + j], s[rung.HI + j]
        excess = y - hi if y > hi else lo - y if y < lo and j != rung.JUMP else 0.0
        if not (excess > 0 and hi > lo):
            continue
        share = excess / max(hi - lo, QUANTA * s[rung.QUANTUM])
        q = WEIGHTS[j] * share / (share + HALF_EXCESS)
        missed *= 1.0 - q
        if q > best.score:
            best = Evidence(q, j, share)
    return Evidence(1.0 - missed, best.signal, best.excess)


def _counts(s: list[float], evidence: Evidence) -> bool:
    return not s[rung.ACTIVE] or evidence.score > WORSE * s[rung.HELD]


def _still_beyond(s: list[float], ts: float, value: float) -> bool:
    return not s[rung.BASE_LO] <= value <= s[rung.BASE_HI] and ts - s[rung.RAISED] < ADOPT_S * US


def _because(s: list[float], signals: list[float], evidence: Evidence, learned_s: float, unit: str | None) -> str:
    j = evidence.signal
    up = signals[j] > s[rung.HI + j]
    edge, end = ("highest", s[rung.HI + j]) if up else ("lowest", s[rung.LO + j])
    now, past, since = number(signals[j], unit), number(end, unit), span(learned_s)
    what = {
        rung.VALUE: f"{edge} in {since} was {past}; now {now}",
        rung.SHORT: f"{edge} short mean in {since} was {past}; now {now}",
        rung.JUMP: f"largest jump in {since} was {past}; now {now}",
        rung.SEASON: f"furthest {'above' if up else 'below'} its usual value at this hour was {past}; now {now}",
    }[j]
    return f"{what}, {100 * evidence.excess:.0f} % of the range beyond"
