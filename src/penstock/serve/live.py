"""Tells what was committed to everyone who listens."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Final

import numpy as np

from penstock.clock import within
from penstock.errors import Unavailable
from penstock.serve.balance import balance
from penstock.serve.following import Following, Part
from penstock.serve.health import Pulse
from penstock.serve.hub import Hub, Listener, News, Wish
from penstock.serve.tallies import Tallies
from penstock.serve.told import alarm_told, as_json, latest_told
from penstock.store.alarms import Alarms
from penstock.store.latest import LatestReading, LatestRows
from penstock.store.postgres import Database
from penstock.store.window import Summary
from penstock.telemetry import log

LOOK_S: Final = 0.25
CONFLATE_S: Final = 0.5
"""A tag is told of twice a second at most."""
HEALTH_S: Final = 3.0
ALARMS_S: Final = 2.0
LIFE_S: Final = 900.0
"""A stream ends after this; whoever listened comes back with its last id, and is asked again who it is."""
SILENT_S: Final = 10.0
"""A stream with nothing to say says so."""


class Live:
    """One process's feed."""

    def __init__(self, database: Database, tallies: Tallies, following: Following, pulse: Pulse) -> None:
        self.hub = Hub()
        self._following = following
        self._alarms = Alarms(database)
        self._tallies = tallies
        self._conflation = Conflation()
        self._rates = Rates()
        self._pulse = pulse
        self._event: int | None = None
        self._alarms_due_s = 0.0
        self._health_due_s = 0.0
        self._lag_s = 0.0

    async def run(self, stop: asyncio.Event) -> None:
        """Look four times a second until *stop*; whatever was away meanwhile, the newest is told afterwards."""
        well = True
        while not stop.is_set():
            try:
                await self.look()
                well = True
            except Unavailable as error:
                if well:
                    log.warning("live updates wait for what is away", why=str(error))
                well = False
                self._following.forget()
            await within(LOOK_S, stop)
        self.hub.close()
        await self._following.close()

    async def look(self) -> None:
        """Take in what was committed since the last look. Raises Unavailable; then the next look begins anew."""
        now_s = time.monotonic()
        rows = await self._following.look()
        if len(rows):
            self._lag_s = _lag_s(rows)
            heard = [path for path in rows.path if self.hub.hears(path)]
            self._conflation.put(filter(None, await self._following.own.get(heard)))
        self.hub.tell("reading", _told(self._conflation.due(now_s)), now_s)
        if self._alarms_changed(now_s):
            await self._tell_alarms(now_s)
        if now_s >= self._health_due_s:
            self._health_due_s = now_s + HEALTH_S
            await self._tell_health(now_s)

    async def latest(self, paths: Sequence[str]) -> list[LatestReading | None]:
        """The newest of each path."""
        return await self._following.latest(paths)

    async def latest_from(self, prefix: str, after: str, limit: int) -> list[LatestReading]:
        """The newest of tags that begin with *prefix*."""
        return await self._following.latest_from(prefix, after, limit)

    async def window(self, tag_id: int, seconds: float) -> Summary | None:
        """A tag's last seconds in figures, as `WindowCache.get` tells them; None: ask the history."""
        return await self._following.window(tag_id, seconds)

    async def events(self, listener: Listener) -> AsyncIterator[bytes]:
        """The stream of server-sent events for one listener."""
        ends_s = time.monotonic() + LIFE_S
        yield b"retry: 1000\n\n"
        try:
            while not listener.closed and time.monotonic() < ends_s:
                if listener.reset:
                    listener.reset = False
                    yield b"event: reset\ndata: {}\n\n"
                if news := listener.take():
                    yield self._said(news)
                yield b"" if await within(SILENT_S, listener.something) else b": still here\n\n"
        finally:
            self.hub.leave(listener)

    def listen(self, wish: Wish, last_id: str) -> Listener:
        return self.hub.listen(wish, last_id)

    def _said(self, news: list[News]) -> bytes:
        readings = [each.data for each in news if each.what == "reading"]
        parts = [_event(each.what, each.data) for each in news if each.what != "reading"]
        if readings:
            parts.append(_event("reading", b"[" + b",".join(readings) + b"]"))
        last = self.hub.id_of(max(each.number for each in news))
        return b"".join(parts[:-1]) + b"id: " + last.encode() + b"\n" + parts[-1]

    def _alarms_changed(self, now_s: float) -> bool:
        """Alarms come from the database: at every look, or when the leader knows of new ones, and now and then."""
        listens = self._following.part is Part.LISTENS
        return not listens or now_s >= self._alarms_due_s or self._following.event_no > (self._event or 0)

    async def _tell_alarms(self, now_s: float) -> None:
        self._alarms_due_s = now_s + ALARMS_S
        if self._event is None:
            self._event = self._following.event_no = await self._alarms.newest_event()
            return
        changed = await self._alarms.changed(self._event)
        if changed:
            self._event = self._following.event_no = changed[-1].event_no
            told = [(str(each.alarm_id), each.tag, as_json(alarm_told(each))) for each in changed]
            self.hub.tell("alarm", told, now_s)

    async def _tell_health(self, now_s: float) -> None:
        books = await balance(self._tallies)
        failing = await self._pulse.failing()
        received_per_s, stored_per_s = self._rates.of(now_s, books.received, books.stored)
        health = {
            "received_per_s": received_per_s,
            "stored_per_s": stored_per_s,
            "lag_s": max(self._lag_s, self._pulse.behind_s),
            "worker": "worker" not in failing,
            "failing": failing,
            "balance": books,
        }
        self.hub.tell("health", [("", "", as_json(health))], now_s)


class Conflation:
    """Holds a tag's newest reading back until half a second after its last."""

    def __init__(self) -> None:
        self._held: dict[str, LatestReading] = {}
        self._told_s: dict[str, float] = {}

    def put(self, readings: Iterable[LatestReading]) -> None:
        self._held.update((reading.path, reading) for reading in readings)

    def due(self, now_s: float) -> list[LatestReading]:
        paths = [path for path in self._held if now_s - self._told_s.get(path, -CONFLATE_S) >= CONFLATE_S]
        self._told_s.update(dict.fromkeys(paths, now_s))
        return [self._held.pop(path) for path in paths]


class Rates:
    """Readings a second over the last half minute."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int, int]] = deque(maxlen=10)

    def of(self, now_s: float, received: int, stored: int) -> tuple[float, float]:
        self._seen.append((now_s, received, stored))
        then_s, received_then, stored_then = self._seen[0]
        elapsed_s = max(now_s - then_s, 1e-3)
        return (received - received_then) / elapsed_s, (stored - stored_then) / elapsed_s


def _told(readings: Iterable[LatestReading]) -> list[tuple[str, str, bytes]]:
    return [(reading.path, reading.path, as_json(latest_told(reading))) for reading in readings]


def _event(what: str, data: bytes) -> bytes:
    return b"event: " + what.encode() + b"\ndata: " + data + b"\n\n"


def _lag_s(rows: LatestRows) -> float:
    """From received to stored, of what came last."""
    return float(np.median(rows.stored_us - rows.received_us)) / 1e6
