"""A running worker: take from the stream, judge, store, and seal what is stored."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from os import getpid
from socket import gethostname
from typing import Final
from uuid import uuid4

from penstock.children import end_with_parent
from penstock.clock import SystemClock, within
from penstock.compose.adapters import Opened, is_shared, opened_stream, url_of_store
from penstock.compose.archive import archiving
from penstock.compose.health import health
from penstock.compose.kinesis import Shared, publish
from penstock.compose.minutes import minutes_leaving
from penstock.compose.traces import traced
from penstock.errors import Unavailable
from penstock.keeping import check_keeping
from penstock.model.shard import Unit
from penstock.process.commit import WorkerLimits
from penstock.process.crew import Crew, CrewLimits
from penstock.process.detect.all import Detectors
from penstock.process.tags import TagTable
from penstock.process.validate import Validate
from penstock.process.worker import Left, Worker
from penstock.settings import Settings
from penstock.store.history import PostgresHistory
from penstock.store.leases import PostgresLeases
from penstock.store.migrate import migrate
from penstock.store.port import Lease
from penstock.store.postgres import Database
from penstock.store.producers import Producers
from penstock.store.seal import Sealer
from penstock.store.snapshots import PostgresSnapshots
from penstock.stream.batch_id import LOCAL
from penstock.stream.port import Stream
from penstock.telemetry import start_logging
from penstock.traces.port import Traces

DATABASE_TRIES: Final = 30
FOLD_S: Final = 3600.0


async def work(settings: Settings, *, store_url: str | None = None, parent: int | None = None) -> None:
    """`penstock work`: take, judge, store and seal until SIGTERM; beside a running `up`, in its database."""
    if parent is not None:
        end_with_parent(parent)
    check_keeping(settings)
    start_logging()
    stop = stop_on_signals()
    url = store_url or url_of_store(settings)
    if is_shared(settings):
        await _patiently(lambda: migrate(url))
    async with (
        traced(settings, "work") as traces,
        opened_stream(settings, writable=is_shared(settings), traces=traces) as opened,
    ):
        await work_on(settings, opened, url, stop)


def stop_on_signals() -> asyncio.Event:
    """Set when somebody asks this process to end."""
    stop = asyncio.Event()
    for sign in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(sign, stop.set)
    return stop


async def work_on(settings: Settings, opened: Opened, store_url: str, stop: asyncio.Event) -> None:
    """Until *stop*."""
    database = Database(store_url, application="work", connections_max=settings.store.connections_max)
    await _patiently(database.open)
    sealer = Sealer(database, settings.store.seal_s)
    try:
        async with (
            health(settings, opened, database),
            archiving(settings, database),
            minutes_leaving(settings, database),
            asyncio.TaskGroup() as tasks,
        ):
            tasks.create_task(sealer.run(stop))
            if opened.shared is None:
                tasks.create_task(_work_alone(settings, opened.stream, database, stop))
            else:
                tasks.create_task(_work_in_crew(settings, opened.shared, opened.traces, database, stop))
    finally:
        await database.close()


async def _work_alone(settings: Settings, stream: Stream, database: Database, stop: asyncio.Event) -> None:
    history = PostgresHistory(database)
    try:
        await local_worker(settings, stream, database, history).run(stop)
    finally:
        await history.close()


async def _work_in_crew(
    settings: Settings, shared: Shared, traces: Traces | None, database: Database, stop: asyncio.Event
) -> None:
    """One of many: whichever units are our share. Readings sent on are counted like any others."""
    owner = f"{gethostname()} {getpid()} {uuid4().hex[:6]}"
    beating = Database(database.url, application="leases", connections_max=2)  # a beat waits for nobody's connection
    crew = Crew(
        stream=shared.stream,
        leases=PostgresLeases(beating),
        worker=partial(_OnUnit, settings, shared, database, traces),
        owner=owner,
        limits=CrewLimits(ttl_s=settings.work.lease_s, stuck_s=settings.work.stuck_s, retention_h=shared.retention_h),
    )
    left = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(publish(database, shared, left))
        tasks.create_task(_fold(database, shared.stream.identity, left))
        try:
            await beating.open()
            await crew.run(stop)
        finally:
            left.set()
            await beating.close()


class _OnUnit:
    """A worker on one unit, with a connection of its own to commit on."""

    def __init__(  # noqa: PLR0913, PLR0917  # what a worker stands between
        self,
        settings: Settings,
        shared: Shared,
        database: Database,
        traces: Traces | None,
        unit: Unit,
        claim: Callable[[], Awaitable[Lease]],
    ) -> None:
        self._stream, self._unit = shared.stream, unit
        self._history = PostgresHistory(database)
        self._worker = build_worker(settings, shared.stream, database, self._history, unit, claim, traces)

    @property
    def progress(self) -> int:
        return self._worker.progress

    @property
    def held_ms(self) -> int:
        return self._worker.held_ms

    async def run(self, stop: asyncio.Event) -> Left:
        try:
            return await self._worker.run(stop)
        finally:
            await self._history.close()
            for shard in self._unit.names:
                await self._stream.drop(shard)


async def _fold(database: Database, stream: str, stop: asyncio.Event) -> None:
    """Keep what producers of long ago have said small."""
    while not stop.is_set():
        with suppress(Unavailable):
            await Producers(database).fold(stream)
        await within(FOLD_S, stop)


def local_worker(settings: Settings, stream: Stream, database: Database, history: PostgresHistory) -> Worker:
    """The one worker of a local stream."""
    owner = f"{gethostname()} {getpid()}"
    return build_worker(
        settings, stream, database, history, LOCAL, partial(history.claim, stream.identity, LOCAL.names, owner)
    )


def build_worker(  # noqa: PLR0913, PLR0917  # the parts of a plant meet here
    settings: Settings,
    stream: Stream,
    database: Database,
    history: PostgresHistory,
    unit: Unit,
    claim: Callable[[], Awaitable[Lease]],
    traces: Traces | None = None,
) -> Worker:
    """A worker over one unit of *stream*."""
    process, detect = settings.process, settings.detect

    def detectors(tags: TagTable) -> Detectors:
        return Detectors(tags, learn_s=detect.learn_s, silence_intervals=detect.silence_intervals)

    return Worker(
        unit=unit,
        claim=claim,
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
        traces=traces,
    )


async def _patiently(attempt: Callable[[], Awaitable[object]]) -> None:
    """Wait for a database that is only just starting; give up after half a minute."""
    for _ in range(DATABASE_TRIES):
        with suppress(Unavailable):
            await attempt()
            return
        await asyncio.sleep(1)
    await attempt()
