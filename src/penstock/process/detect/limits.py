"""Limits: low-low, low, high, high-high, with deadband and delays. Nothing is learned: the critical path."""

import math
from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np

from penstock.model.anomaly import Finding, Priority, Test
from penstock.model.batch import Floats, Mask
from penstock.process.detect.course import US, Course
from penstock.process.detect.memory import Memory, Patch, Slots
from penstock.process.detect.words import number
from penstock.process.tags import TagTable

NORMAL: Final = 0.0
RISING: Final = 1.0  # beyond the limit, the on-delay runs
ACTIVE: Final = 2.0
FALLING: Final = 3.0  # back within it, the off-delay runs
PHASE, SINCE, SEEN, VALUE = range(4)


class Level(NamedTuple):
    """One of the four limits; `sign` is +1 where greater is worse."""

    name: str
    test: Test
    sign: int

    @property
    def outer(self) -> bool:
        return len(self.name) == 2  # noqa: PLR2004  # ll and hh

    def priority(self, critical: bool) -> Priority:
        """An outer limit of a critical tag first (ISA-18.2: priority follows consequence)."""
        order = (Priority.CRITICAL, Priority.HIGH, Priority.MEDIUM)
        return order[(not self.outer) + (not critical)]


LEVELS: Final = (
    Level("hh", Test.LIMIT_HH, +1),
    Level("h", Test.LIMIT_H, +1),
    Level("l", Test.LIMIT_L, -1),
    Level("ll", Test.LIMIT_LL, -1),
)


class Trigger:
    """One limit of one tag: a Schmitt trigger with delays. Times in microseconds."""

    __slots__ = ("phase", "seen", "since")

    def __init__(self, phase: float, since: float, seen: float) -> None:
        self.phase, self.since, self.seen = phase, since, seen

    def step(self, beyond: bool, clear: bool, ts: int, now_us: int, delays_us: tuple[float, float]) -> bool | None:
        """The edge that the reading at *ts* makes, if any: True raised, False returned."""
        rising = self.phase in (NORMAL, RISING)
        if not (beyond if rising else clear):
            self.phase = NORMAL if rising else ACTIVE
            return None
        if self.phase in (NORMAL, ACTIVE):
            self.phase, self.since, self.seen = self.phase + 1, ts, now_us
        if ts - self.since < delays_us[not rising]:
            return None
        self.phase = ACTIVE if rising else NORMAL
        return rising

    def lapse(self, now_us: int, delays_us: tuple[float, float]) -> bool | None:
        """The edge that the passing of time makes: a delay ran out since it was seen to begin."""
        rising = self.phase == RISING
        if self.phase not in (RISING, FALLING) or now_us - self.seen < delays_us[not rising]:
            return None
        self.phase = ACTIVE if rising else NORMAL
        return rising


class Limits:
    """The four limits of every tag. Tags within their limits cost a comparison; only others are stepped one by one."""

    def __init__(self, table: TagTable) -> None:
        self._table = table
        fields = {f"{name}.{level.name}": 0.0 for level in LEVELS for name in ("phase", "since", "seen")}
        self.memory = Memory({**fields, "value": np.nan})

    def run(self, course: Course) -> tuple[list[Finding], Patch]:
        """The edges of the judged readings."""
        slot, ts, value = course.judged.slot, course.judged.ts, course.judged.value
        pick = self._interesting(slot, value)[slot]
        slot, ts, value = slot[pick], ts[pick], value[pick]
        tags, starts = np.unique(slot, return_index=True)
        patch, found = self.memory.take(tags), list[Finding]()
        ends = np.append(starts, slot.size)[1:]
        for i, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
            readings = zip(ts[start:end].tolist(), value[start:end].tolist(), strict=True)
            mine = self._judge(patch, i, list(readings), course.now_us)
            found += sorted(mine, key=lambda finding: finding.ts_us)
            patch.columns[-1, i] = value[end - 1] if patch.columns[:-1:3, i].any() else np.nan
        return found, patch

    def _interesting(self, slot: Slots, value: Floats) -> Mask:
        """A flag a slot: beyond a limit somewhere in this batch, or not at rest."""
        table = self._table
        beyond = (value > np.fmin(table.h[slot], table.hh[slot])) | (value < np.fmax(table.l[slot], table.ll[slot]))
        for level in LEVELS:
            beyond |= self.memory.row(f"phase.{level.name}", slot) > NORMAL
        flags = np.zeros(len(table), np.bool_)
        flags[slot[beyond]] = True
        return flags

    def _judge(self, patch: Patch, i: int, readings: list[tuple[int, float]], now_us: int) -> Iterator[Finding]:
        slot = int(patch.slots[i])
        for k, level in enumerate(LEVELS):
            cells = patch.columns[3 * k : 3 * k + 3, i]
            limit, deadband, delays = self._terms(slot, level)
            trigger = Trigger(*cells.tolist())
            for t, v in readings:
                over = level.sign * (v - limit)
                edge = trigger.step(over > 0, not over > -deadband, t, now_us, delays)
                if edge is not None:
                    yield self._finding(slot, level, edge, t, v)
            cells[:] = trigger.phase, trigger.since, trigger.seen

    def _terms(self, slot: int, level: Level) -> tuple[float, float, tuple[float, float]]:
        table = self._table
        deadband = float(table.deadband[slot])
        delays = (float(table.on_delay_s[slot]) * US, float(table.off_delay_s[slot]) * US)
        return float(getattr(table, level.name)[slot]), 0.0 if math.isnan(deadband) else deadband, delays

    def tick(self, now_us: int) -> tuple[list[Finding], Patch]:
        """The edges of delays that ran out while no reading came."""
        every = slice(0, len(self._table))
        phases = np.stack([self.memory.row(f"phase.{level.name}", every) for level in LEVELS])
        patch = self.memory.take(np.flatnonzero(((phases == RISING) | (phases == FALLING)).any(axis=0)))
        found = [
            finding for i, slot in enumerate(patch.slots.tolist()) for finding in self._lapse(slot, patch, i, now_us)
        ]
        return found, patch

    def _lapse(self, slot: int, patch: Patch, i: int, now_us: int) -> Iterator[Finding]:
        value = float(patch.columns[-1, i])
        for k, level in enumerate(LEVELS):
            cells = patch.columns[3 * k : 3 * k + 3, i]
            delays = self._terms(slot, level)[2]
            trigger = Trigger(*cells.tolist())
            edge = trigger.lapse(now_us, delays)
            cells[:] = trigger.phase, trigger.since, trigger.seen
            if edge is not None:
                yield self._finding(slot, level, edge, int(trigger.since + delays[not edge]), value)

    def _finding(self, slot: int, level: Level, active: bool, ts: int, value: float) -> Finding:
        limits = self._table.configs[slot].limits
        low, high = (limits.ll, limits.hh) if level.outer else (limits.l, limits.h)
        return Finding(
            slot=slot,
            ts_us=ts,
            test=level.test,
            active=active,
            priority=level.priority(bool(self._table.critical[slot])),
            value=value,
            score=1.0 if active else 0.0,
            low=low,
            high=high,
            because=self._because(slot, level, active, value),
        )

    def _because(self, slot: int, level: Level, active: bool, value: float) -> str:
        config = self._table.configs[slot]
        limit, now = getattr(config.limits, level.name), number(value, config.unit)
        name, side = level.name.upper(), "above" if level.sign > 0 else "below"
        if limit is None:
            return f"the limit {name} was removed; the value is {now}"
        text = f"{now} is {'' if active else 'no longer '}{side} the limit {name} = {number(limit, config.unit)}"
        delay = config.on_delay_s if active else config.off_delay_s
        return f"{text}, for {delay:g} s" if delay else text
