"""One part of a plant in a process of its own: `penstock ingest`, `penstock serve`. (`work` is in `worker.py`.)"""

import asyncio
import sys

from penstock.compose.adapters import is_shared
from penstock.compose.front import ROLES, Front, Half, front
from penstock.compose.worker import stop_on_signals
from penstock.errors import Misconfigured, Unavailable
from penstock.settings import Settings
from penstock.store.migrate import migrate
from penstock.telemetry import log, start_logging


async def run_half(settings: Settings, half: Half) -> None:
    """Run one half until SIGTERM or SIGINT, and end gracefully.

    Raises Misconfigured for a stream or database that only one machine has: there `penstock up` runs both halves.
    """
    start_logging()
    stop = stop_on_signals()
    _check(settings, half)
    try:
        await migrate(settings.store.url)
    except Unavailable:
        if half is not Half.INGEST:
            raise
    async with front(settings, settings.store.url, half) as served:
        sys.stdout.write(f"{ROLES[half]}: {served.url}\n")
        sys.stdout.flush()
        await until(stop, served)


async def until(stop: asyncio.Event, served: Front) -> None:
    """Until we are told to stop, or the server ends by itself."""
    waiting = {asyncio.ensure_future(stop.wait()), served.serving}
    _, pending = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for task in pending - {served.serving}:
        task.cancel()
    log.info("stopping")


def _check(settings: Settings, half: Half) -> None:
    if not is_shared(settings):
        why = f"`penstock {ROLES[half]}` needs a stream that other processes share"
        raise Misconfigured("stream.url", why, "use kinesis://NAME, or run everything with `penstock up`")
    if settings.store.url.startswith("embedded:"):
        why = f"`penstock {ROLES[half]}` needs a database that other processes share"
        raise Misconfigured("store.url", why, "use postgresql://…")
