"""Time as something handed in, so that tests own it; and how to wait."""

import asyncio
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


async def within(seconds: float, event: asyncio.Event) -> bool:
    """Wait until *event* is set, for *seconds* at most, which may be infinite; whether it is set.

    Not by `asyncio.wait_for`: up to Python 3.11 that forgets a cancellation which comes as the event does.
    """
    try:
        async with asyncio.timeout(seconds if seconds < float("inf") else None):
            await event.wait()
    except TimeoutError:
        pass
    return event.is_set()
