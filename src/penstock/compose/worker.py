"""A running worker: take from the stream, judge, store, and seal what is stored."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from os import getpid
from socket import gethostname
from typing import Final

from penstock.children import end_with_parent
from penstock.clock import SystemClock
from penstock.compose.adapters import open_stream, url_of_store
from penstock.errors import Unavailable
from penstock.model.shard import Unit
from penstock.process.commit import WorkerLimits
from penstock.process.detect.all import Detectors
from penstock.process.tags import TagTable
from penstock.process.validate import Validate
from penstock.process.worker import Worker
from penstock.settings import Settings
from penstock.store.history import PostgresHistory
from penstock.store.port import Lease
from penstock.store.postgres import Database
from penstock.store.seal import Sealer
from penstock.store.snapshots import PostgresSnapshots
from penstock.stream.batch_id import LOCAL
from penstock.stream.port import Stream
from penstock.telemetry import start_logging

DATABASE_TRIES: Final = 30


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
        await work_on(settings, stream, store_url or url_of_store(settings), stop)
    finally:
        await stream.close()


async def work_on(settings: Settings, stream: Stream, store_url: str, stop: asyncio.Event) -> None:
    """Until *stop*."""
    database = Database(store_url, application="work", connections_max=settings.store.connections_max)
    await _open(database)
    history = PostgresHistory(database)
    sealer = Sealer(database, settings.store.seal_s)
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(sealer.run(stop))
            tasks.create_task(local_worker(settings, stream, database, history).run(stop))
    finally:
        await history.close()
        await database.close()


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
    )


async def _open(database: Database) -> None:
    """Wait for a database that is only just starting; give up after half a minute."""
    for _ in range(DATABASE_TRIES):
        with suppress(Unavailable):
            await database.open()
            return
        await asyncio.sleep(1)
    await database.open()
