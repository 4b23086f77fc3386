"""Time as something handed in, so that tests own it."""

import time
from typing import Protocol


class Clock(Protocol):
    """Where 'now' comes from."""

    def now_us(self) -> int:
        """Microseconds since 1970, UTC."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now_us(self) -> int:
        return time.time_ns() // 1_000


class FakeClock:
    """Stands still until told to move."""

    def __init__(self, now_us: int = 0) -> None:
        self._now_us = now_us

    def now_us(self) -> int:
        return self._now_us

    def advance(self, us: int) -> None:
        self._now_us += us
