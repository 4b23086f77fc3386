"""How many requests a caller may send: a token bucket each, bounded in number."""

import math
import time
from collections.abc import Callable
from typing import Final

from penstock.door.port import Verdict

BUCKETS_MAX: Final = 100_000


def judged(*, passes: bool, tokens: float, rate: float, burst: float) -> Verdict:
    """What to tell a caller whose bucket of *burst*, refilled at *rate* a second, holds *tokens* after this request."""
    retry_s = 0 if passes else max(1, math.ceil((1 - tokens) / rate))
    reset_s, window_s = math.ceil((burst - tokens) / rate), math.ceil(burst / rate)
    return Verdict(passes, int(tokens), retry_s, reset_s, int(burst), window_s)


class Bucket:
    """*burst* requests at once, refilled at *rate* a second."""

    __slots__ = ("at_s", "tokens")

    def __init__(self, burst: float, at_s: float) -> None:
        self.tokens = burst
        self.at_s = at_s

    def take(self, rate: float, burst: float, now_s: float) -> Verdict:
        self.tokens = min(burst, self.tokens + max(0.0, now_s - self.at_s) * rate)
        self.at_s = now_s
        passes = self.tokens >= 1
        if passes:
            self.tokens -= 1
        return judged(passes=passes, tokens=self.tokens, rate=rate, burst=burst)


class Limiter:
    """The buckets of one process, each its share of a rate that *processes* keep together without asking each other.

    Of too many names the one longest unheard of is forgotten; it would start full again.
    """

    def __init__(
        self, rate: float, burst: float, *, processes: int = 1, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        self.rate, self.burst = rate, burst
        self._processes = processes
        self._now_s = now_s
        self._buckets: dict[str, Bucket] = {}

    async def take(self, name: str, rate: float | None = None, burst: float | None = None) -> Verdict | None:
        rate, burst = self._shares(rate, burst)
        if rate == 0:
            return None
        bucket = self._buckets.pop(name, None) or self._new(burst)
        self._buckets[name] = bucket
        return bucket.take(rate, burst, self._now_s())

    def _shares(self, rate: float | None, burst: float | None) -> tuple[float, float]:
        """This process's part of a caller's rate and burst; a burst lets at least one request pass."""
        rate = (self.rate if rate is None else rate) / self._processes
        return rate, max(1.0, (self.burst if burst is None else burst) / self._processes)

    def empty(self, name: str) -> bool:
        """Whether *name* has nothing left, without taking anything."""
        bucket = self._buckets.get(name)
        return bucket is not None and bucket.tokens + (self._now_s() - bucket.at_s) * self.rate < 1

    def _new(self, burst: float) -> Bucket:
        if len(self._buckets) >= BUCKETS_MAX:
            del self._buckets[next(iter(self._buckets))]
        return Bucket(burst, self._now_s())
