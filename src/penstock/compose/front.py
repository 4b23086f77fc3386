"""A running front: a door on one socket, and behind it ingest, serve, or both."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Flag, auto
from functools import partial
from pathlib import Path
from socket import socket
from typing import Any, Final

from penstock import __version__
from penstock.clock import SystemClock, within
from penstock.compose.adapters import Opened, opened_stream
from penstock.compose.caches import DoorCaches, door_caches, serve_caches
from penstock.compose.kinesis import publish
from penstock.compose.traces import traced
from penstock.compose.worker import work_on
from penstock.door.asgi import LOGIN_PATH, Door
from penstock.door.keys import Keyring
from penstock.door.login import LoginApp
from penstock.door.port import App, Receive, Scope, Send
from penstock.door.probes import Probes
from penstock.door.server import Server, listen, server
from penstock.door.tls import certificate
from penstock.door.traced import TracedDoor
from penstock.errors import Unavailable
from penstock.ingest.http import IngestApp
from penstock.ingest.openapi import openapi_paths
from penstock.serve.health import Pulse
from penstock.serve.http import Serving, serve_app
from penstock.serve.parts import ServeParts
from penstock.settings import Settings
from penstock.store.access import Access
from penstock.store.alarms import Alarms
from penstock.store.postgres import Database
from penstock.store.watch import Committed, CriticalPaths
from penstock.stream.memory import MemoryStream
from penstock.telemetry import log

SHELVES_S: Final = 5.0
STOP_S: Final = 5.0
WRITE_PATH: Final = "/v1/readings"
WRITE_ALIAS: Final = "/sensor-data"
Work = Callable[[asyncio.Event], Coroutine[Any, Any, None]]
"""Runs until the event is set."""


class Half(Flag):
    """What stands behind a door."""

    INGEST = auto()
    SERVE = auto()
    BOTH = INGEST | SERVE


ROLES: Final = {Half.INGEST: "ingest", Half.SERVE: "serve", Half.BOTH: "front"}
"""What each process is called."""


@dataclass(frozen=True, slots=True)
class Front:
    """Part of a plant, or all of it, listening."""

    url: str
    certificate: Path | None
    serving: "asyncio.Task[None]"


@dataclass(slots=True)
class _Behind:
    """What the door leads to, and what has to run beside it."""

    settings: Settings
    store_url: str
    opened: Opened
    database: Database
    caches: DoorCaches
    keyring: Keyring
    routes: dict[str, App] = field(default_factory=dict)
    rest: App | None = None
    work: list[Work] = field(default_factory=list)
    serving: Serving | None = None

    @property
    def pulse(self) -> Pulse:
        return Pulse(self.database, self.opened.stream, self.opened.tallies(self.database))


@asynccontextmanager
async def front(settings: Settings, store_url: str, halves: Half = Half.BOTH) -> AsyncIterator[Front]:
    """A door and what is behind it on one socket; with an in-memory stream, the worker too. Ends gracefully."""
    async with AsyncExitStack() as running:
        listening = listen(settings.door)
        running.callback(listening.close)
        traces = await running.enter_async_context(traced(settings, ROLES[halves]))
        opened = await running.enter_async_context(opened_stream(settings, writable=True, traces=traces))
        caches = await running.enter_async_context(door_caches(settings))
        database = await running.enter_async_context(_database(settings, store_url, patient=halves is Half.INGEST))
        keyring = Keyring(Access(database), shared=caches.keys)
        behind = _Behind(settings, store_url, opened, database, caches, keyring)
        if Half.SERVE in halves:
            await _add_serve(behind, running)
        if Half.INGEST in halves:
            await _add_ingest(behind)
        _add_stream(behind)
        await running.enter_async_context(_beside(behind.work))
        door = Door(behind.routes, behind.rest or _probes(behind), keyring, caches.limiter)
        app = door if traces is None else TracedDoor(door, traces, SystemClock())
        host = server(app, settings.door, settings.data)
        serving = asyncio.create_task(host.serve(sockets=[listening]))
        running.push_async_callback(_drained, host, serving, behind.serving)
        pair = certificate(settings.door.tls, settings.door.host, settings.data)
        yield Front(_url(settings, listening), pair and pair.certificate, serving)


async def _add_serve(behind: _Behind, running: AsyncExitStack) -> None:
    caches = await running.enter_async_context(serve_caches(behind.settings))
    parts = ServeParts(
        behind.database,
        behind.opened.stream,
        caches.latest,
        Access(behind.database),
        behind.keyring,
        SystemClock(),
        behind.settings,
        __version__,
        openapi_paths(behind.settings.ingest),
        caches.window,
        caches.feed,
        tallies=behind.opened.tallies(behind.database),
    )
    behind.serving = serving = serve_app(parts)
    behind.rest = serving.app
    behind.routes[LOGIN_PATH] = LoginApp(behind.keyring)
    behind.work += [serving.run, partial(_expire_shelves, Alarms(behind.database))]


async def _add_ingest(behind: _Behind) -> None:
    critical = CriticalPaths(behind.database)
    with suppress(Unavailable):  # it is asked again every second; until then nothing is known to be critical
        await critical.refresh()
    stream = behind.opened.stream
    committed = Committed(behind.database, stream.identity)
    ingest = IngestApp(stream, critical, committed, behind.settings.ingest, SystemClock())
    behind.routes[WRITE_PATH] = ingest if behind.rest is None else _posts(ingest, behind.rest)
    behind.routes[WRITE_ALIAS] = ingest
    behind.work.append(critical.run)


def _add_stream(behind: _Behind) -> None:
    """What the stream itself needs to run beside it."""
    if behind.opened.shared is not None:
        behind.work.append(partial(publish, behind.database, behind.opened.shared))
    elif isinstance(behind.opened.stream, MemoryStream):
        behind.work.append(partial(work_on, behind.settings, behind.opened, behind.store_url))


def _probes(behind: _Behind) -> Probes:
    """Where nothing is served but health."""
    pulse = behind.pulse
    return Probes({"/readyz/ingest": pulse.failing_to_take, "/readyz": pulse.failing})


@asynccontextmanager
async def _database(settings: Settings, store_url: str, *, patient: bool) -> AsyncIterator[Database]:
    """Connections. Who is *patient* starts without: a database that fails over must not keep readings out."""
    database = Database(store_url, application="front", connections_max=settings.store.connections_max)
    try:
        try:
            await database.open()
        except Unavailable as error:
            if not patient:
                raise
            log.warning("the database is away: keys come from the cache until it is back", why=str(error))
        yield database
    finally:
        await database.close()


def _posts(writing: App, reading: App) -> App:
    """One path, two stations: what is posted is written, everything else reads."""

    async def choose(scope: Scope, receive: Receive, send: Send) -> None:
        await (writing if scope["method"] == "POST" else reading)(scope, receive, send)

    return choose


async def _expire_shelves(alarms: Alarms, stop: asyncio.Event) -> None:
    """Shelved alarms come back when their time is up, whether anyone looks or not."""
    while not stop.is_set():
        with suppress(Unavailable):
            await alarms.expire(datetime.now(UTC))
        await within(SHELVES_S, stop)


@asynccontextmanager
async def _beside(work: Sequence[Work]) -> AsyncIterator[None]:
    """Run *work* beside us; at the end each is told to stop, and cancelled if it does not within a few seconds."""
    stop = asyncio.Event()
    tasks = [asyncio.create_task(each(stop)) for each in work]
    try:
        yield
    finally:
        stop.set()
        _, late = await asyncio.wait(tasks, timeout=STOP_S) if tasks else (set(), set())
        for task in late:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _url(settings: Settings, listening: socket) -> str:
    """Where the page is; on all addresses, the one that this machine itself reaches."""
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.door.host, settings.door.host)  # noqa: S104
    return f"{'https' if settings.door.tls else 'http'}://{host}:{listening.getsockname()[1]}"


async def _drained(host: Server, serving: "asyncio.Task[None]", behind: Serving | None) -> None:
    """Streams that would never end are ended; answers under way are finished."""
    if behind is not None:
        behind.live.hub.close()
    host.should_exit = True
    await serving
