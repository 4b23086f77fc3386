"""Live updates to those who listen: what is newest of each tag, never more than a listener can take."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple
from uuid import uuid4

from penstock.errors import Backpressure
from penstock.model.access import Caller
from penstock.model.tag import site_of

LISTENERS_MAX: Final = 200
KEPT_S: Final = 60.0
KEPT_MAX: Final = 200_000
"""News kept for those who come back; the oldest go first, whatever their age."""


class News(NamedTuple):
    """The newest of one thing: of `what` (reading, alarm, health), about the tag at *path* ("": about the plant)."""

    number: int
    what: str
    key: str
    path: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Wish:
    """What a listener wants to hear of: these tags, or all that begin with *prefix*; and what they may."""

    caller: Caller
    tags: frozenset[str] = frozenset()
    prefix: str = ""
    only_tags: bool = False

    def wants(self, news: News) -> bool:
        """Alarms are of interest whatever part of the plant is looked at."""
        if not news.path:
            return True
        if not self.caller.may_read(site_of(news.path)):
            return False
        if news.what == "alarm":
            return True
        return news.path in self.tags if self.only_tags else news.path.startswith(self.prefix)


@dataclass(slots=True)
class Listener:
    """One who listens. What was not yet sent is replaced by what is newer: memory is bounded by the tags there are."""

    wish: Wish
    waiting: OrderedDict[tuple[str, str], News] = field(default_factory=OrderedDict)
    something: asyncio.Event = field(default_factory=asyncio.Event)
    reset: bool = False
    closed: bool = False

    def tell(self, news: Iterable[News]) -> None:
        for each in news:
            if self.wish.wants(each):
                self.waiting.pop((each.what, each.key), None)
                self.waiting[each.what, each.key] = each
        if self.waiting:
            self.something.set()

    def take(self) -> list[News]:
        """What waits, oldest first."""
        taken = [*self.waiting.values()]
        self.waiting.clear()
        self.something.clear()
        return taken

    def close(self) -> None:
        self.closed = True
        self.something.set()


class Hub:
    """Who listens, and the last minute's news for those who come back. What nobody wished for is not news."""

    def __init__(self) -> None:
        self._generation = uuid4().hex[:8]
        self._number = 0
        self._kept: deque[tuple[float, News]] = deque()
        self._listeners: list[Listener] = []
        self._left: dict[Wish, float | None] = {}
        self._closed = False
        self._lost = 0
        self._heed()

    @property
    def listeners(self) -> int:
        return len(self._listeners)

    def id_of(self, number: int) -> str:
        """An event's id: good for this process only."""
        return f"{self._generation}-{number}"

    def tell(self, what: str, told: Iterable[tuple[str, str, bytes]], now_s: float) -> None:
        """Pass (key, path, data) on to all who want to hear it."""
        self._forget_left(now_s)
        news = [News(self._number + i, what, *each) for i, each in enumerate(told, 1)]
        self._number += len(news)
        self._kept.extend((now_s, each) for each in news)
        self._trim(now_s)
        for listener in self._listeners:
            listener.tell(news)

    def hears(self, path: str) -> bool:
        """Whether anyone listens to the tag, or did within the last minute and may come back."""
        return path in self._tags or path.startswith(self._prefixes)

    def reset(self) -> None:
        """Something may have been missed: all are told to ask anew."""
        for listener in self._listeners:
            listener.reset = True
            listener.something.set()
        self._lost = self._number
        self._kept.clear()

    def listen(self, wish: Wish, last_id: str = "") -> Listener:
        """Begin to listen, after *last_id* if that is a minute ago at most. Raises Backpressure."""
        if len(self._listeners) >= LISTENERS_MAX or self._closed:
            raise Backpressure("too many are listening", retry_after_s=5.0)
        listener = Listener(wish)
        if last_id:
            self._resume(listener, last_id)
        self._listeners.append(listener)
        self._heed()
        return listener

    def leave(self, listener: Listener) -> None:
        if listener in self._listeners:
            self._listeners.remove(listener)
            self._left[listener.wish] = None
            self._heed()

    def close(self) -> None:
        """No more news: every stream ends."""
        self._closed = True
        for listener in self._listeners:
            listener.close()

    def _resume(self, listener: Listener, last_id: str) -> None:
        generation, _, number = last_id.partition("-")
        known = generation == self._generation and number.isascii() and number.isdigit() and len(number) < len("9" * 19)
        heeded = listener.wish in self._left or any(listener.wish == other.wish for other in self._listeners)
        if not known or not heeded or not self._lost <= int(number) <= self._number:
            listener.reset = True
            listener.something.set()
            return
        listener.tell(news for _, news in self._kept if news.number > int(number))

    def _trim(self, now_s: float) -> None:
        while self._kept and (len(self._kept) > KEPT_MAX or self._kept[0][0] < now_s - KEPT_S):
            self._lost = self._kept.popleft()[1].number

    def _heed(self) -> None:
        """Sum up who wishes for what: `hears` is asked for every tag that has news."""
        wishes = [*(listener.wish for listener in self._listeners), *self._left]
        self._tags = frozenset[str]().union(*(wish.tags for wish in wishes if wish.only_tags))
        self._prefixes = tuple({wish.prefix for wish in wishes if not wish.only_tags})

    def _forget_left(self, now_s: float) -> None:
        """Those who left have a minute to come back, from the first news that they missed."""
        for wish, since_s in [*self._left.items()]:
            if since_s is None:
                self._left[wish] = now_s
            elif now_s - since_s > KEPT_S:
                del self._left[wish]
                self._heed()
