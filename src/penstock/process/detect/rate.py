"""Rate of change: how fast the value moved since the good reading before."""

from typing import Final

import numpy as np

from penstock.model.anomaly import Finding, Priority, Test
from penstock.process.detect.course import US, Course
from penstock.process.detect.memory import Memory, Patch
from penstock.process.detect.words import number
from penstock.process.tags import TagTable

ACTIVE: Final = 0


class Rate:
    """Raised by one step that is too steep, returned by the next that is not. Bounds hold both up and down."""

    def __init__(self, table: TagTable) -> None:
        self._table = table
        self.memory = Memory({"active": 0.0})

    def run(self, course: Course) -> tuple[list[Finding], Patch]:
        """The edges of the good readings; two readings of the same time have no rate."""
        good = course.taught
        dt = (good.ts - good.before_ts) / US
        limited = ~np.isnan(self._table.rate_max_per_s[good.slot])
        known = np.flatnonzero(np.where(limited, dt > 0, self.memory.row("active", good.slot) > 0))
        slot = good.slot[known]
        with np.errstate(invalid="ignore", over="ignore"):
            rate = (good.value[known] - good.before_value[known]) / dt[known]
        steep = np.abs(rate) > self._table.rate_max_per_s[slot]
        was = np.empty_like(steep)
        was[1:] = steep[:-1]
        tags, starts = np.unique(slot, return_index=True)
        patch = self.memory.take(tags)
        was[starts] = patch.columns[ACTIVE] > 0
        patch.columns[ACTIVE] = steep[np.append(starts, slot.size)[1:] - 1]
        edges = np.flatnonzero(steep != was)
        found = [self._finding(int(slot[i]), int(good.ts[known[i]]), float(good.value[known[i]]), float(rate[i]),
                               bool(steep[i])) for i in edges]  # fmt: skip
        return found, patch

    def _finding(self, slot: int, ts: int, value: float, rate: float, active: bool) -> Finding:
        config = self._table.configs[slot]
        return Finding(
            slot=slot,
            ts_us=ts,
            test=Test.RATE,
            active=active,
            priority=Priority.MEDIUM,
            value=value,
            score=1.0 if active else 0.0,
            low=None,
            high=None,
            because=_because(rate, config.rate_max_per_s, f"{config.unit or ''}/s".strip()),
        )


def _because(rate: float, limit: float | None, unit: str) -> str:
    if limit is None:
        return "the limit of its rate was removed"
    if abs(rate) > limit:
        return (
            f"{'rose' if rate > 0 else 'fell'} by {number(abs(rate), unit)}; at most {number(limit, unit)} is allowed"
        )
    return f"moves by {number(abs(rate), unit)} again; at most {number(limit, unit)} is allowed"
