"""One shard's reader: it keeps a bounded buffer filled in the background, and gives from it what is asked for."""

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable
from contextlib import aclosing
from typing import Final, NamedTuple

from penstock.errors import Backpressure, PenstockError, Unavailable
from penstock.stream.kinesis.entries import DecodeForeign, entry_of
from penstock.stream.kinesis.feed import Chunk, Feed, Raw
from penstock.stream.kinesis.trouble import FOREIGN
from penstock.stream.port import Entry
from penstock.telemetry import log

BUFFER_BYTES: Final = 8 * 2**20
"""As records; beyond it nothing more is read. One answer may exceed it, by 10 MiB at most."""
IDLE_S: Final = 60.0
"""A reader that nobody took from for so long lets go of its buffer."""
PATIENCE_S: Final = 2.0
"""How long a `take` waits, once, for a shard that is known or likely to have more."""
STANDS_S: Final = 0.5
"""How long, of that, for a connection that stands and has said nothing yet."""
SILENT_S: Final = 60.0
"""A shard at its tip of which nothing was heard for so long may have more. Fan-out speaks every few seconds."""
GRACE_S: Final = 1.0
"""Trouble that passes sooner is nobody's business."""
BACKOFF_S: Final = (0.1, 0.2, 0.4, 0.8, 1.6, 3.0)


class News:
    """Wakes all who wait for it."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Future[None]] = set()

    def tell(self) -> None:
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)

    async def wait(self, timeout_s: float) -> None:
        """Until somebody tells something from now on, or *timeout_s* has passed."""
        waiting = asyncio.get_running_loop().create_future()
        self._waiting.add(waiting)
        try:
            await asyncio.wait([waiting], timeout=timeout_s)
        finally:
            self._waiting.discard(waiting)


class _Held(NamedTuple):
    """A record in the buffer."""

    raw: Raw
    size: int


class _Trouble(NamedTuple):
    error: PenstockError
    since_s: float


class Reader:
    """Works from the first `take` on, and again from the first after it was left alone or closed.

    The buffer keeps what was given until a later `take` begins behind it: a worker that looks again at entries which
    it did not commit costs Kinesis nothing.
    """

    def __init__(  # noqa: PLR0913  # each is a thing of its own
        self,
        shard: str,
        feed: Feed,
        decode_foreign: DecodeForeign,
        translated: Callable[[BaseException], PenstockError],
        *,
        news: News,
        buffer_bytes: int = BUFFER_BYTES,
    ) -> None:
        self._shard, self._feed, self._decode_foreign = shard, feed, decode_foreign
        self._translated, self._news, self._buffer_bytes = translated, news, buffer_bytes
        self._room = News()
        self._task: asyncio.Task[None] | None = None
        self._touched_s = time.monotonic()
        self._ahead_s = time.time() - time.monotonic()
        self._begin(0)

    def _begin(self, after: int) -> None:
        self._held: deque[_Held] = deque()
        self._decoded: dict[int, Entry] = {}
        self._bytes = 0
        self._floor = self._tail = self._reached = self._given = after
        self._drained = self._told_end = False
        self._behind_ms: int | None = None
        self._told_s = time.monotonic()
        self._stands_s: float | None = None
        self._patient = True
        self._trouble: _Trouble | None = None
        self._failures = 0

    async def take(self, after: int, readings_max: int) -> list[Entry]:
        """As `Stream.take`. Raises Unavailable when there is nothing to give because Kinesis does not answer."""
        self._touched_s = time.monotonic()
        await self._position(after)
        if not self._held and self._patient:
            await self._await_some()
        entries = self._entries(readings_max)
        if not entries and self._trouble is not None and time.monotonic() - self._trouble.since_s >= GRACE_S:
            raise self._trouble.error
        self._given = entries[-1].position if entries else after
        self._told_end = self.ended
        return entries

    @property
    def ended(self) -> bool:
        """Nothing follows what the last `take` gave."""
        return self._drained and self._given >= self._tail

    @property
    def drained(self) -> bool:
        """The shard is closed and all of it was read, though perhaps not given yet."""
        return self._drained

    @property
    def has_news(self) -> bool:
        """Something is here that the last `take` did not give, or did not say."""
        return self._tail > self._given or (self._drained and not self._told_end)

    @property
    def behind_ms(self) -> int:
        """By Kinesis' clock: the age of the first record that was not given, 0 when there is none.

        Of one that was read it is known, to half a second. Of what was not read, only Kinesis knows; what it said of
        the first goes on growing older. It cannot be known what came since nothing is heard of the shard any more, nor
        what lies in a shard of which nothing was heard yet: after a minute that counts for as old as it may be, or as
        the question is.
        """
        first = next((held.raw for held in self._held if held.raw.position > self._given), None)
        if first is not None:
            return max(1, round((time.monotonic() + self._ahead_s) * 1_000) - first.arrived_ms)
        silent_s = time.monotonic() - self._told_s
        if self._drained or (not self._behind_ms and silent_s < SILENT_S):
            return 0
        return (self._behind_ms or 0) + round(silent_s * 1_000)

    @property
    def unheard(self) -> bool:
        """Nothing was known to wait, and nothing is heard of it since: `behind_ms` is only what may be."""
        return self.behind_ms > 0 and not self._held and not self._behind_ms

    def touch(self) -> None:
        """Somebody is still interested."""
        self._touched_s = time.monotonic()

    async def close(self) -> None:
        """Let go of the buffer; a later `take` begins anew."""
        task, self._task = self._task, None
        while task is not None and not task.done():
            task.cancel()
            await asyncio.wait([task], timeout=1.0)

    # -- the buffer -------------------------------------------------------------------------------------------------

    async def _position(self, after: int) -> None:
        if self._task is None or not self._floor <= after <= self._tail or self._has_left():
            await self.close()
            self._begin(after)
            self._task = asyncio.create_task(self._fill(), name=f"read {self._shard}")
        while self._held and self._held[0].raw.position <= after:
            gone = self._held.popleft()
            self._bytes -= gone.size
            self._decoded.pop(gone.raw.position, None)
        self._floor = after
        self._room.tell()

    def _has_left(self) -> bool:
        """The task went because it was left alone. One that raised (which is a defect) is told of, and begun anew."""
        if self._task is None or not self._task.done() or self._drained:
            return False
        if not self._task.cancelled() and (defect := self._task.exception()) is not None:
            log.error("a shard's reader failed and is begun anew", shard=self._shard, exc_info=defect)
        return True

    async def _await_some(self) -> None:
        """At the beginning, and while more is known to lie there; but a shard that stalls makes wait only once."""
        began_s = time.monotonic()
        while not self._held and not self._drained and self._behind_ms != 0 and self._patient:
            left_s = self._until_s(began_s) - time.monotonic()
            self._patient = left_s > 0 and not (self._trouble and time.monotonic() - self._trouble.since_s >= GRACE_S)
            await self._news.wait(min(max(left_s, 0.0), GRACE_S))

    def _until_s(self, began_s: float) -> float:
        until_s = began_s + PATIENCE_S
        if self._stands_s is None or self._behind_ms is not None:
            return until_s
        return min(until_s, self._stands_s + STANDS_S)

    def _entries(self, readings_max: int) -> list[Entry]:
        entries: list[Entry] = []
        readings = 0
        for held in self._held:
            entry = self._decode(held)
            readings += max(len(entry.batch), 1)  # a record of nothing but poison has its price too
            if entries and readings > readings_max:
                break
            entries.append(entry)
        return entries

    def _decode(self, held: _Held) -> Entry:
        """Once, however often it is looked at."""
        position = held.raw.position
        if position not in self._decoded:
            self._decoded[position] = entry_of(self._shard, held.raw, self._decode_foreign)
        return self._decoded[position]

    # -- the background ---------------------------------------------------------------------------------------------

    async def _fill(self) -> None:
        """Until the shard's end, or until nobody takes any more."""
        while not self._drained and not self._left_alone():
            try:
                await self._follow()
            except FOREIGN as error:
                await self._recover(self._translated(error))
            except Unavailable as error:
                await self._recover(error)
        if not self._drained:
            behind_ms = self.behind_ms
            self._begin(self._given)
            self._behind_ms = behind_ms

    async def _recover(self, error: PenstockError) -> None:
        self._note(error)
        pause_s = BACKOFF_S[min(self._failures, len(BACKOFF_S) - 1)]
        self._failures += 1
        await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311  # so that readers do not come back as one

    async def _follow(self) -> None:
        async with aclosing(self._feed.follow(self._reached)) as chunks:
            async for chunk in chunks:
                self._add(chunk)
                while self._bytes >= self._buffer_bytes and not self._left_alone():
                    await self._room.wait(IDLE_S)
                if self._left_alone():
                    return

    def _add(self, chunk: Chunk) -> None:
        for raw in chunk.records:
            if raw.position > self._tail:  # Kinesis may deliver again what it delivered
                held = _Held(raw, len(raw.data))
                self._held.append(held)
                self._bytes += held.size
                self._tail = raw.position
        self._reached = max(self._reached, chunk.reached, self._tail)
        self._drained, self._stands_s = chunk.ended, time.monotonic()
        if chunk.behind_ms is not None:
            self._behind_ms, self._told_s = chunk.behind_ms, self._stands_s
        self._ahead_s = self._ahead_s if chunk.ahead_s is None else chunk.ahead_s
        self._trouble, self._failures, self._patient = None, 0, self._patient or bool(chunk.records)
        self._news.tell()

    def _note(self, error: PenstockError) -> None:
        """Being throttled is no trouble, only slow."""
        if isinstance(error, Backpressure):
            return
        if self._trouble is None:
            log.warning("a shard cannot be read for the moment", shard=self._shard, why=str(error))
        since_s = time.monotonic() if self._trouble is None else self._trouble.since_s
        self._trouble = _Trouble(error, since_s)

    def _left_alone(self) -> bool:
        return time.monotonic() - self._touched_s > IDLE_S
