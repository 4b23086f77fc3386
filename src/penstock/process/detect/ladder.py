"""The record test's arithmetic: how each good reading moves what a tag has learned. O(1) a reading and tag.

Four signals are watched for new records: the value, its short mean, its jump since the reading before, and its
distance from the usual value at this half-hour of the day. Each keeps its smallest and largest; records leak back in
wall time, so that an old extreme does not blind the test for ever.

The same steps stand here twice: `step_wave` takes one reading each of many tags, `step_alone` takes one reading of
one tag, for bursts of few tags. They agree to the bit (only +, -, *, / and comparisons, in the same order).
"""

import math
from typing import Final

import numpy as np

from penstock.model.batch import Floats, Mask
from penstock.process.detect.course import US

(
    READINGS, SINCE, MEAN, INTERVAL, STEPS, QUANTUM, HALF, REF, VISIT_SUM, VISIT_N,
    LO, _LO1, _LO2, _LO3, HI, _HI1, _HI2, _HI3,
    ACTIVE, HELD, UNTIL, RAISED, BASE_LO, BASE_HI,
) = range(24)  # fmt: skip

VALUE, SHORT, JUMP, SEASON = range(4)
SIGNALS: Final = 4
DAY_S: Final = 86_400.0
LEAK_PER_S: Final = tuple(0.5 / (days * DAY_S) for days in (365.0, 60.0, 174.0, 174.0))
"""Share of the range by which each record comes back a second: half over its days at either end."""
GAP_MAX_S: Final = DAY_S
"""A longer gap leaks no more than this."""
MEAN_INTERVALS: Final = 20.0
"""Time constant of the short mean, in usual intervals."""
JUMP_INTERVALS: Final = 3.0
"""A jump over a longer gap is no jump."""
STEP_MIN: Final = 0.02
READINGS_MIN: Final = 50
_LEAKS: Final = np.array(LEAK_PER_S)[:, None]

FIELDS: Final = {
    "readings": 0.0, "since_us": np.nan, "mean": np.nan, "interval_s": np.nan, "steps": 0.0, "quantum": np.inf,
    "half": np.nan, "ref": np.nan, "visit_sum": 0.0, "visit_n": 0.0,
    **{f"{end}.{name}": np.nan for end in ("lo", "hi") for name in ("value", "short", "jump", "season")},
    "active": 0.0, "held": 0.0, "until_us": 0.0, "raised_us": 0.0, "base_lo": np.nan, "base_hi": np.nan,
}  # fmt: skip


def step_wave(state: Floats, ts: Floats, value: Floats, before_ts: Floats, before_value: Floats) -> Floats:
    """Move m tags by one reading each, but for their records; returns the four signals, NaN where there is none."""
    dt = (ts - before_ts) / US
    interval, mean = _pace(state, dt), state[MEAN]
    rise = np.where(dt > 0, dt / (dt + MEAN_INTERVALS * interval), 0.0)
    mean = np.where(np.isnan(mean), value, mean + rise * (value - mean))
    jump = np.abs(value - before_value)
    state[QUANTUM] = np.where(jump > 0, np.minimum(state[QUANTUM], jump), state[QUANTUM])
    state[MEAN] = mean
    state[VISIT_SUM] += value
    state[VISIT_N] += 1.0
    jump = np.where(dt <= JUMP_INTERVALS * interval, jump, np.nan)
    return np.stack([value, mean, jump, value - state[REF]])


def _pace(state: Floats, dt: Floats) -> Floats:
    """A running median of the steps of source time: a small step towards each, a smaller one each time."""
    usual, steps = state[INTERVAL], state[STEPS]
    step = 1.0 + np.maximum(1.0 / (steps + 2.0), STEP_MIN)
    moved = np.where(dt > usual, usual * step, np.where(dt < usual, usual / step, usual))
    moved = np.where(np.isnan(usual), dt, moved)
    state[INTERVAL] = np.where(dt > 0, moved, usual)
    state[STEPS] = steps + (dt > 0)
    paced: Floats = state[INTERVAL]
    return paced


def outside(state: Floats, signals: Floats) -> Mask:
    """Which of m tags have a signal beyond its record."""
    beyond: Mask = signals > state[HI : HI + SIGNALS]
    below = signals < state[LO : LO + SIGNALS]
    below[JUMP] = False
    beyond |= below
    some: Mask = np.logical_or.reduce(beyond, axis=0)
    return some


def widen_wave(state: Floats, signals: Floats, dt: Floats, learned: Mask) -> None:
    """Let the records leak, then take the signals in; once learned, a range at most doubles either way at a time."""
    lo, hi = state[LO : LO + SIGNALS], state[HI : HI + SIGNALS]
    width = hi - lo
    gap = np.where(dt > 0, np.minimum(dt, GAP_MAX_S), 0.0)
    leak = _LEAKS * gap * width
    reach = np.where(learned & (width > 0), width, np.inf)
    top = np.where(np.isnan(hi), signals, np.minimum(signals, hi + reach))
    bottom = np.where(np.isnan(lo), signals, np.maximum(signals, lo - reach))
    hi[:] = np.fmax(hi - leak, top)
    lo[:] = np.fmin(lo + leak, bottom)


def step_alone(s: list[float], ts: float, value: float, before_ts: float, before_value: float) -> list[float]:
    """`step_wave` for one tag, its state as a list."""
    dt = (ts - before_ts) / US
    interval = _pace_alone(s, dt)
    mean = s[MEAN]
    rise = dt / (dt + MEAN_INTERVALS * interval) if dt > 0 else 0.0
    mean = value if math.isnan(mean) else mean + rise * (value - mean)
    jump = abs(value - before_value)
    if 0 < jump < s[QUANTUM]:
        s[QUANTUM] = jump
    s[MEAN] = mean
    s[VISIT_SUM] += value
    s[VISIT_N] += 1.0
    return [value, mean, jump if dt <= JUMP_INTERVALS * interval else math.nan, value - s[REF]]


def _pace_alone(s: list[float], dt: float) -> float:
    usual, steps = s[INTERVAL], s[STEPS]
    if dt > 0:
        step = 1.0 + max(1.0 / (steps + 2.0), STEP_MIN)
        if math.isnan(usual):
            usual = dt
        elif dt > usual:
            usual = usual * step
        elif dt < usual:
            usual = usual / step
        s[INTERVAL], s[STEPS] = usual, steps + 1.0
    return usual


def outside_alone(s: list[float], signals: list[float]) -> bool:
    """`outside` for one tag."""
    value, mean, jump, season = signals
    return (
        value > s[HI] or value < s[LO] or mean > s[_HI1] or mean < s[_LO1]
        or jump > s[_HI2] or season > s[_HI3] or season < s[_LO3]
    )  # fmt: skip


def widen_alone(s: list[float], signals: list[float], dt: float, learned: bool) -> None:
    """`widen_wave` for one tag."""
    gap = min(dt, GAP_MAX_S) if dt > 0 else 0.0
    for j in range(SIGNALS):
        lo, hi, y = s[LO + j], s[HI + j], signals[j]
        if math.isnan(hi):
            s[LO + j] = s[HI + j] = y
            continue
        width = hi - lo
        leak = LEAK_PER_S[j] * gap * width
        reach = width if learned and width > 0 else math.inf
        top, bottom = min(y, hi + reach), max(y, lo - reach)
        s[HI + j] = max(hi - leak, top)
        s[LO + j] = min(lo + leak, bottom)
