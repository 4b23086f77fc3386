"""The only file that introduces concrete things to each other: settings to a running front, or a running worker."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from os import getpid
from pathlib import Path
from socket import gethostname, socket
from typing import Any, Final

from penstock import __version__
from penstock.children import end_with_parent
from penstock.clock import SystemClock
from penstock.datadir import read_note
from penstock.door.asgi import LOGIN_PATH, Door
from penstock.door.keys import Keyring
from penstock.door.limit import Limiter
from penstock.door.login import LoginApp
from penstock.door.port import App
from penstock.door.server import Server, listen, server
from penstock.door.tls import certificate
from penstock.errors import Misconfigured, Unavailable
from penstock.ingest.http import IngestApp
from penstock.ingest.openapi import openapi_paths
from penstock.process.detect.all import Detectors
from penstock.process.tags import TagTable
from penstock.process.validate import Validate
from penstock.process.worker import Worker, WorkerLimits
from penstock.serve.http import serve_app
from penstock.serve.parts import ServeParts
from penstock.settings import Settings
from penstock.store.access import Access
from penstock.store.alarms import Alarms
from penstock.store.history import PostgresHistory
from penstock.store.latest import LatestCache, MemoryLatest
from penstock.store.postgres import Database
from penstock.store.redis import RedisLatest
from penstock.store.seal import Sealer
from penstock.store.snapshots import PostgresSnapshots
from penstock.store.watch import Committed, CriticalPaths
from penstock.stream.log import LogStream
from penstock.stream.log_writer import Limits as LogLimits
from penstock.stream.memory import MemoryStream
from penstock.stream.port import Stream
from penstock.telemetry import start_logging

WRITING_PATHS: Final = ("/v1/readings", "/sensor-data")
SHELVES_S: Final = 5.0
STOP_S: Final = 5.0
Work = Callable[[asyncio.Event], Coroutine[Any, Any, None]]
"""Runs until the event is set."""


def log_folder(settings: Settings) -> Path:
    """Where a `log:` stream lies."""
    path = settings.stream.url.partition(":")[2]
    return Path(path) if path else settings.data / "stream"


def open_stream(settings: Settings, *, writable: bool) -> Stream:
    """The stream that `stream.url` names."""
    stream = settings.stream
    match stream.url.partition(":")[0]:
        case "memory":
            return MemoryStream(stream.bytes_max, keep_bytes=stream.keep_bytes, keep_days=stream.keep_days)
        case "log":
            limits = LogLimits(
                stream.bytes_max, stream.keep_bytes, stream.keep_days, settings.store.disk_free_min_bytes
            )
            return LogStream(log_folder(settings), limits, writable=writable)
        case scheme:
            raise Misconfigured("stream.url", f"no stream is called {scheme!r}", "use log: or memory:")


def open_cache(settings: Settings) -> LatestCache:
    """The cache that `cache.url` names."""
    match settings.cache.url.partition(":")[0]:
        case "memory":
            return MemoryLatest()
        case "redis" | "rediss":
            return RedisLatest(settings.cache.url)
        case scheme:
            raise Misconfigured("cache.url", f"no cache is called {scheme!r}", "use memory:, redis:// or rediss://")


def build_worker(settings: Settings, stream: Stream, database: Database, history: PostgresHistory) -> Worker:
    """A worker over *stream*."""
    process, detect = settings.process, settings.detect

    def detectors(tags: TagTable) -> Detectors:
        return Detectors(tags, learn_s=detect.learn_s, silence_intervals=detect.silence_intervals)

    return Worker(
        stream=stream,
        history=history,
        snapshots=PostgresSnapshots(database),
        detector=detectors,
        validate=Validate(ahead_s=process.ahead_s, window_days=process.window_days),
        limits=WorkerLimits(
            flush_readings_max=process.flush_readings_max,
            linger_ms=process.linger_ms,
            tags_max=process.tags_max,
            states_max=process.states_max,
            register_unknown=process.register_unknown,
        ),
        clock=SystemClock(),
        owner=f"{gethostname()} {getpid()}",
    )


async def work(settings: Settings, *, store_url: str | None = None, parent: int | None = None) -> None:
    """`penstock work`: take, judge, store and seal until SIGTERM; beside a running `up`, in its database."""
    if parent is not None:
        end_with_parent(parent)
    start_logging()
    stop = asyncio.Event()
    for sign in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(sign, stop.set)
    stream = open_stream(settings, writable=False)
    try:
        await _work(settings, stream, store_url or url_of_store(settings), stop)
    finally:
        await stream.close()


async def _work(settings: Settings, stream: Stream, store_url: str, stop: asyncio.Event) -> None:
    database = Database(store_url, application="work", connections_max=settings.store.connections_max)
    await _open(database)
    history = PostgresHistory(database)
    sealer = Sealer(database, settings.store.seal_s)
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(sealer.run(stop))
            tasks.create_task(build_worker(settings, stream, database, history).run(stop))
    finally:
        await history.close()
        await database.close()


def url_of_store(settings: Settings) -> str:
    """The database's URL; for an embedded one, what the running `up` left for us. Raises Unavailable."""
    if not settings.store.url.startswith("embedded:"):
        return settings.store.url
    note = read_note(settings.data)
    if note is None:
        raise Unavailable(f"nothing runs on {settings.data}, and its database neither: start `penstock up`")
    return note.store_url


async def _open(database: Database) -> None:
    """Wait for a database that is only just starting; give up after half a minute."""
    for _ in range(30):
        with suppress(Unavailable):
            await database.open()
            return
        await asyncio.sleep(1)
    await database.open()


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
        app, work = await _front_app(settings, stream, cache, database)
        if isinstance(stream, MemoryStream):
            work.append(partial(_work, settings, stream, store_url))
        await running.enter_async_context(_beside(work))
        host = server(app, settings.door, settings.data)
        serving = asyncio.create_task(host.serve(sockets=[listening]))
        running.push_async_callback(_drained, host, serving)
        pair = certificate(settings.door.tls, settings.door.host, settings.data)
        yield Front(_url(settings, listening), pair and pair.certificate, serving)


async def _front_app(
    settings: Settings, stream: Stream, cache: LatestCache, database: Database
) -> tuple[Door, list[Work]]:
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
    routes: dict[str, App] = {**dict.fromkeys(WRITING_PATHS, ingest), LOGIN_PATH: LoginApp(keyring)}
    door = Door(routes, serving.app, keyring, Limiter(settings.door.rate, settings.door.burst))
    alarms = Alarms(database)
    return door, [critical.run, serving.run, partial(_expire_shelves, alarms)]


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


async def _drained(host: Server, serving: "asyncio.Task[None]") -> None:
    host.should_exit = True
    await serving
