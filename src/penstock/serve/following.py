"""How one process learns what was committed: from the database, or from the process that follows it for all.

Without a shared feed every process follows the database. With one, the process that leads follows it, keeps the cache
and tells the others; they listen, and look for themselves whenever they may have missed something: when the feed is
away, silent for longer than SILENT_S, or does not begin where they are. What is told twice, or by two leaders at once,
does no harm: latest values keep the newest, and the windows count every flush once.
"""

import time
from collections.abc import Sequence
from contextlib import suppress
from enum import Enum, auto
from typing import Final

from penstock.clock import Clock
from penstock.errors import Unavailable
from penstock.store.feed import Feed, Found, Told, read_heads
from penstock.store.follow import Look, Tail
from penstock.store.latest import LatestCache, LatestReading, LatestRows, MemoryLatest, chain_rows
from penstock.store.postgres import Database
from penstock.store.window import NOTHING, Summary, WindowCache
from penstock.telemetry import log

SILENT_S: Final = 1.5
"""A leader tells at every look, even that there was nothing."""
WINDOW_S: Final = 1.0
"""Windows are put once a second: a put costs the same for one reading of a tag and for ten."""


class Part(Enum):
    """What this process does for the others."""

    LEADS = auto()
    LISTENS = auto()
    ALONE = auto()


class Following:
    """One process's knowledge of the present."""

    def __init__(
        self, database: Database, latest: LatestCache, window: WindowCache, feed: Feed | None, clock: Clock
    ) -> None:
        self.own = latest if type(latest) is MemoryLatest else MemoryLatest()  # not the same thing twice
        self.event_no = 0
        """The newest event of an alarm that is known of; told to the others, or heard from the leader."""
        self._tail = Tail(database)
        self._latest, self._window, self._feed, self._clock = latest, window, feed, clock
        self._part = Part.ALONE
        self._begun = False
        self._place: str | None = None
        self._heard_s = -SILENT_S
        self._generation = ""
        self._fold, self._folded_s = NOTHING, 0.0
        self._folds = False
        """Whether what we look at next is what the windows are to get next."""
        self._well = True

    @property
    def part(self) -> Part:
        """What it did at the last look."""
        return self._part

    async def look(self) -> LatestRows:
        """The newest of each tag that changed since the last look.

        Raises Unavailable when the database is away: then `forget`. A cache that is away raises nothing.
        """
        self._part = await self._take_part()
        if not self._begun:
            return await self._begin()
        if self._part is Part.LISTENS:
            self._folds = False
            heard = await self._listen()
            if heard is not None:
                return heard
        leads = self._part is Part.LEADS
        self._folds &= leads
        look = await self._tail.look(folding=leads)
        await self.own.put(look.rows)
        if leads:
            await self._share(look)
        return look.rows

    def forget(self) -> None:
        """Begin anew at the next look."""
        self._begun = False
        self._generation = ""

    async def latest(self, paths: Sequence[str]) -> list[LatestReading | None]:
        """The newest of each path; from our own memory what the cache does not know, or may not know yet."""
        own = await self.own.get(paths)
        if not self._asks_cache:
            return own
        try:
            cached = await self._latest.get(paths)
        except Unavailable:
            return own
        return [_newer(one, other) for one, other in zip(own, cached, strict=True)]

    async def latest_from(self, prefix: str, after: str, limit: int) -> list[LatestReading]:
        """The newest of up to *limit* tags that begin with *prefix*, after *after*, likewise."""
        own = await self.own.prefix(prefix, after, limit)
        if not self._asks_cache:
            return own
        try:
            cached = await self._latest.prefix(prefix, after, limit)
        except Unavailable:
            return own
        both = {reading.path: reading for reading in own}
        both |= {reading.path: _newer(both.get(reading.path), reading) or reading for reading in cached}
        return [both[path] for path in sorted(both)][:limit]

    async def window(self, tag_id: int, seconds: float) -> Summary | None:
        """The window in figures, None where the cache cannot tell it in full."""
        if not self._cached:
            return None
        try:
            return await self._window.get(tag_id, seconds, self._clock.now_us())
        except Unavailable:
            return None

    async def close(self) -> None:
        """Let another lead."""
        if self._feed is not None and self._part is Part.LEADS:
            await self._feed.resign()

    @property
    def _cached(self) -> bool:
        """Whether the cache is as new as what was looked at last, as far as we know."""
        current = self._part is Part.LEADS or time.monotonic() - self._heard_s < SILENT_S
        return bool(self._generation) and current

    @property
    def _asks_cache(self) -> bool:
        """Before the first look it is all there is."""
        return self._latest is not self.own and (self._cached or not self._begun)

    async def _take_part(self) -> Part:
        """Lead if nobody else does."""
        if self._feed is None:
            return Part.LEADS
        try:
            leads = await self._feed.lead()
        except Unavailable as error:
            self._say(error)
            self._generation, self._place = "", None
            return Part.ALONE
        return Part.LEADS if leads else Part.LISTENS

    async def _begin(self) -> LatestRows:
        """What is told while we read everything is heard afterwards."""
        if self._part is Part.LISTENS:
            await self._find_place()
        look = await self._tail.rebuild(self._clock.now_us())
        await self.own.put(look.rows)
        self._begun = True
        if self._part is Part.LEADS:
            await self._share(look)
        return look.rows

    async def _listen(self) -> LatestRows | None:
        """What the leader found; None when we have to look for ourselves."""
        if self._feed is None or self._place is None:
            await self._find_place()
            return None
        try:
            told = await self._feed.heard(self._place)
        except Unavailable as error:
            self._say(error)
            self._place, self._part, self._generation = None, Part.ALONE, ""
            return None
        found = [rows for each in told if (rows := await self._take_in(each)) is not None]
        if len(found) < len(told):
            await self._find_place()
            return None
        return None if time.monotonic() - self._heard_s > SILENT_S else chain_rows(found)

    async def _take_in(self, told: Told) -> LatestRows | None:
        """None: something was told before it that we did not hear."""
        found = told.found
        if not found.follows(self._tail.heads):
            return None
        self._place, self._heard_s = told.place, time.monotonic()
        self._generation, self.event_no = found.generation, max(self.event_no, found.event_no)
        self._tail.pass_over(read_heads(found.heads))
        rows = found.rows()
        await self.own.put(rows)
        return rows

    async def _find_place(self) -> None:
        """Hear from here on; what was told before is looked up."""
        self._place = None
        if self._feed is not None:
            with suppress(Unavailable):
                self._place = await self._feed.newest()

    async def _share(self, look: Look) -> None:
        """Into the cache, and to those who listen. A cache that was away, or lost what it had, is filled anew."""
        try:
            await self._keep(look)
            self._well = True
        except Unavailable as error:
            self._say(error)
            self._generation, self._fold = "", NOTHING
        if self._feed is not None:
            with suppress(Unavailable):
                await self._feed.tell(
                    Found.of(look.rows, look.before, self._tail.heads, self.event_no, self._generation)
                )

    async def _keep(self, look: Look) -> None:
        latest, window = await self._latest.generation(), await self._window.generation()
        if window is None or self._generation != _generation(latest, window):
            return await self._fill(look, latest)
        if self._latest is not self.own:
            await self._latest.put(look.rows)
        if not self._folds:
            self._folds = await self._take_up()
        else:
            await self._put_windows(look)
        return None

    async def _put_windows(self, look: Look) -> None:
        self._fold = self._fold.and_then(look.fold)
        if time.monotonic() - self._folded_s >= WINDOW_S:
            self._folded_s = time.monotonic()
            fold, self._fold = self._fold, NOTHING
            self._folds = await self._window.put(fold, self._clock.now_us())

    async def _take_up(self) -> bool:
        """Go on with windows that another has put, from the next look on. False: they are not of this database."""
        self._fold = NOTHING
        return await self._tail.fold_from(await self._window.heads())

    async def _fill(self, look: Look, latest: str) -> None:
        """Bring a cache up to date that is new to us: all of the latest values, and the windows from where they are."""
        window = await self._window.generation()
        if window is None or not await self._take_up():
            if look.since_us is None:
                look = await self._tail.rebuild(self._clock.now_us())
            window = await self._window.begin(look.fold, look.since_us or 0)
        if self._latest is not self.own:
            await self._latest.put(self.own.rows())
        self._fold, self._folds, self._generation = NOTHING, True, _generation(latest, window)

    def _say(self, error: Unavailable) -> None:
        if self._well:
            log.warning("the cache is away: latest values and windows come from the database meanwhile", why=str(error))
        self._well = False


def _generation(latest: str, window: str) -> str:
    return f"{latest} {window}"


def _newer(one: LatestReading | None, other: LatestReading | None) -> LatestReading | None:
    if one is None or other is None:
        return one or other
    return other if other.order > one.order else one
