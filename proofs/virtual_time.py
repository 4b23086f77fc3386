"""Real asyncio code on a clock that leaps from one timer to the next: an hour of waiting lasts no time at all."""

import asyncio
import selectors
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

T = TypeVar("T")


class Stuck(Exception):
    """Everybody waits, and nothing will ever happen."""


class _Leap(selectors.SelectSelector):
    """No socket ever has news; to wait is to let the time pass."""

    now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise Stuck
        self.now_s += max(0.0, timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """One task after another in the order in which they became ready, so that a run can be repeated."""

    def __init__(self) -> None:
        self._leap = _Leap()
        super().__init__(self._leap)

    def time(self) -> float:
        return self._leap.now_s

    def stall(self, seconds: float) -> None:
        """The process stands still while the world goes on."""
        self._leap.now_s += seconds


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Like `asyncio.run`, in virtual time. The first error that a task died of is raised."""
    loop = VirtualLoop()
    errors: list[BaseException] = []

    def note(_: object, context: Mapping[str, Any]) -> None:
        errors.append(context.get("exception") or RuntimeError(context["message"]))

    loop.set_exception_handler(note)
    try:
        return loop.run_until_complete(coroutine)
    finally:
        _cancel_all(loop)
        loop.close()
        if errors:
            raise errors[0]


def _cancel_all(loop: asyncio.AbstractEventLoop) -> None:
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
