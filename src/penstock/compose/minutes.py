"""The one process that lets old rollups by the minute leave, among all who work."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final

from penstock.errors import PenstockError
from penstock.keeping import minutes_kept
from penstock.settings import Settings
from penstock.store.minutes import OldMinutes, only_one
from penstock.store.postgres import Database
from penstock.telemetry import log

EVERY_S: Final = 600.0
"""An hour's minutes leave together; what came late for times of before goes this soon."""


@asynccontextmanager
async def minutes_leaving(settings: Settings, database: Database, *, every_s: float = EVERY_S) -> AsyncIterator[None]:
    """Meanwhile rollups by the minute older than `store.keep_minutes_days` leave, unless another process sees to it.

    Raises Misconfigured. What fails is told in the log and tried again: readings are taken and stored all the same.
    """
    kept = minutes_kept(settings)
    if kept is None:
        yield
        return
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(_keep_leaving(database, kept, every_s))
        try:
            yield
        finally:
            running.cancel()


async def _keep_leaving(database: Database, kept: timedelta, every_s: float) -> None:
    while True:
        try:
            async with only_one(database) as ours:
                if ours:
                    await OldMinutes(database, kept).run()
        except PenstockError as error:
            log.error("rollups by the minute are older than store.keep_minutes_days, and stay for now", why=str(error))
        await asyncio.sleep(every_s)
