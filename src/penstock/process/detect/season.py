"""What is usual at each half-hour of the day (UTC): the mean of the visits so far, a visit being one half-hour."""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from penstock.process.detect.course import US
from penstock.process.detect.ladder import HALF, REF, VISIT_N, VISIT_SUM

HALF_US: Final = 1_800 * US
BINS: Final = 48
VISITS_MIN: Final = 3
VISITS_MAX: Final = 255
WEIGHT_MIN: Final = 0.1


class Day(NamedTuple):
    """One tag's 48 half-hours: means and how often each was visited. NaN where never."""

    mean: NDArray[np.float32]
    visits: NDArray[np.uint8]


class Season:
    """Every tag's day."""

    def __init__(self) -> None:
        self.mean: NDArray[np.float32] = np.empty((0, BINS), np.float32)
        self.visits: NDArray[np.uint8] = np.empty((0, BINS), np.uint8)

    def reserve(self, slots: int) -> None:
        more = max(256, slots, 2 * len(self.mean)) - len(self.mean) if slots > len(self.mean) else 0
        if more:
            self.mean = np.concatenate([self.mean, np.zeros((more, BINS), np.float32)])
            self.visits = np.concatenate([self.visits, np.zeros((more, BINS), np.uint8)])

    def day(self, slot: int) -> Day:
        """A copy to work on."""
        return Day(self.mean[slot].copy(), self.visits[slot].copy())

    def put(self, days: dict[int, Day]) -> None:
        for slot, day in days.items():
            self.mean[slot], self.visits[slot] = day


def turn(day: Day, s: list[float], half: float) -> None:
    """The tag's state *s* leaves one half-hour, which teaches its day, and enters *half* (a count since 1970)."""
    if s[VISIT_N] > 0:
        at = int(s[HALF]) % BINS
        visits = min(int(day.visits[at]) + 1, VISITS_MAX)
        mean = float(day.mean[at])
        day.mean[at] = mean + max(1.0 / visits, WEIGHT_MIN) * (s[VISIT_SUM] / s[VISIT_N] - mean)
        day.visits[at] = visits
    at = int(half) % BINS
    s[REF] = float(day.mean[at]) if day.visits[at] >= VISITS_MIN else np.nan
    s[HALF], s[VISIT_SUM], s[VISIT_N] = half, 0.0, 0.0
