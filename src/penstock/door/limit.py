"""How many requests a caller may send: a token bucket each, bounded in number."""

import math
import time
from collections.abc import Callable
from typing import Final, NamedTuple

BUCKETS_MAX: Final = 100_000


class Verdict(NamedTuple):
    """Whether the request passes, and what the RateLimit fields say."""

    passes: bool
    remaining: int
    retry_after_s: int
    """Whole seconds until one request passes again; 0 when it does now."""
    reset_s: int
    """Whole seconds until the bucket is full again."""


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
        retry_s = 0 if passes else max(1, math.ceil((1 - self.tokens) / rate))
        return Verdict(passes, int(self.tokens), retry_s, math.ceil((burst - self.tokens) / rate))


class Limiter:
    """A bucket for each name. Of too many names the one longest unheard of is forgotten; it would start full again."""

    def __init__(
        self, rate: float, burst: float, *, processes: int = 1, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        self.rate, self.burst = rate, burst
        self._processes = processes
        self._now_s = now_s
        self._buckets: dict[str, Bucket] = {}

    def take(self, name: str, rate: float | None = None, burst: float | None = None) -> Verdict | None:
        """One request of *name*, at its own rate or the default; None where there is no limit (rate 0)."""
        rate, burst = self.shares(rate, burst)
        if rate == 0:
            return None
        bucket = self._buckets.pop(name, None) or self._new(burst)
        self._buckets[name] = bucket
        return bucket.take(rate, burst, self._now_s())

    def shares(self, rate: float | None, burst: float | None) -> tuple[float, float]:
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
