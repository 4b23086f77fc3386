"""A running front: the door, ingest and serve on one socket."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from socket import socket
from typing import Any, Final

from penstock import __version__
from penstock.clock import SystemClock
from penstock.compose.adapters import open_cache, open_stream
from penstock.compose.worker import work_on
from penstock.door.asgi import LOGIN_PATH, Door
from penstock.door.keys import Keyring
from penstock.door.limit import Limiter
from penstock.door.login import LoginApp
from penstock.door.port import App, Receive, Scope, Send
from penstock.door.server import Server, listen, server
from penstock.door.tls import certificate
from penstock.errors import Unavailable
from penstock.ingest.http import IngestApp
from penstock.ingest.openapi import openapi_paths
from penstock.serve.http import serve_app
from penstock.serve.live import Live
from penstock.serve.parts import ServeParts
from penstock.settings import Settings
from penstock.store.access import Access
from penstock.store.alarms import Alarms
from penstock.store.latest import LatestCache
from penstock.store.postgres import Database
from penstock.store.watch import Committed, CriticalPaths
from penstock.stream.memory import MemoryStream
from penstock.stream.port import Stream

SHELVES_S: Final = 5.0
STOP_S: Final = 5.0
Work = Callable[[asyncio.Event], Coroutine[Any, Any, None]]
"""Runs until the event is set."""


@dataclass(frozen=True, slots=True)
class Front:
    """The serving half of a plant, listening."""

    url: str
    certificate: Path | None
    serving: "asyncio.Task[None]"


@asynccontextmanager
async def front(settings: Settings, store_url: str) -> AsyncIterator[Front]:
    """The door, ingest and serve on one socket; with an in-memory stream, the worker too. Ends gracefully."""
    async with AsyncExitStack() as running:
        listening = listen(settings.door)
        running.callback(listening.close)
        stream = open_stream(settings, writable=True)
        running.push_async_callback(stream.close)
        cache = open_cache(settings)
        running.push_async_callback(cache.close)
        database = Database(store_url, application="front", connections_max=settings.store.connections_max)
        await database.open()
        running.push_async_callback(database.close)
        app, live, work = await _front_app(settings, stream, cache, database)
        if isinstance(stream, MemoryStream):
            work.append(partial(work_on, settings, stream, store_url))
        await running.enter_async_context(_beside(work))
        host = server(app, settings.door, settings.data)
        serving = asyncio.create_task(host.serve(sockets=[listening]))
        running.push_async_callback(_drained, host, serving, live)
        pair = certificate(settings.door.tls, settings.door.host, settings.data)
        yield Front(_url(settings, listening), pair and pair.certificate, serving)


async def _front_app(
    settings: Settings, stream: Stream, cache: LatestCache, database: Database
) -> tuple[Door, Live, list[Work]]:
    """The app, and what has to run beside it."""
    access, clock = Access(database), SystemClock()
    keyring, critical = Keyring(access), CriticalPaths(database)
    await critical.refresh()
    ingest = IngestApp(stream, critical, Committed(database, stream.identity), settings.ingest, clock)
    serving = serve_app(
        ServeParts(
            database, stream, cache, access, keyring, clock, settings, __version__, openapi_paths(settings.ingest)
        )
    )
    routes: dict[str, App] = {
        "/v1/readings": _posts(ingest, serving.app),
        "/sensor-data": ingest,
        LOGIN_PATH: LoginApp(keyring),
    }
    door = Door(routes, serving.app, keyring, Limiter(settings.door.rate, settings.door.burst))
    alarms = Alarms(database)
    return door, serving.live, [critical.run, serving.run, partial(_expire_shelves, alarms)]


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
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), SHELVES_S)


@asynccontextmanager
async def _beside(work: Sequence[Work]) -> AsyncIterator[None]:
    """Run *work* beside us; at the end each is told to stop, and cancelled if it does not within a few seconds."""
    stop = asyncio.Event()
    tasks = [asyncio.create_task(each(stop)) for each in work]
    try:
        yield
    finally:
        stop.set()
        _, late = await asyncio.wait(tasks, timeout=STOP_S)
        for task in late:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _url(settings: Settings, listening: socket) -> str:
    """Where the page is; on all addresses, the one that this machine itself reaches."""
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.door.host, settings.door.host)  # noqa: S104
    return f"{'https' if settings.door.tls else 'http'}://{host}:{listening.getsockname()[1]}"


async def _drained(host: Server, serving: "asyncio.Task[None]", live: Live) -> None:
    """Streams that would never end are ended; answers under way are finished."""
    live.hub.close()
    host.should_exit = True
    await serving
