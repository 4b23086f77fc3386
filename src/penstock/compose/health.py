"""Health and metrics of a process that has no other door."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from penstock.compose.adapters import Opened
from penstock.door.asgi import Door
from penstock.door.keys import Keyring
from penstock.door.limit import Limiter
from penstock.door.probes import Probes
from penstock.door.server import listen, server
from penstock.serve.health import Pulse
from penstock.settings import Settings
from penstock.store.access import Access
from penstock.store.postgres import Database


@asynccontextmanager
async def health(settings: Settings, opened: Opened, database: Database) -> AsyncIterator[None]:
    """`/healthz`, `/readyz` and `/metrics` on `work.port`, if that is set."""
    if not settings.work.port:
        yield
        return
    door = settings.door.model_copy(update={"port": settings.work.port})
    pulse = Pulse(database, opened.stream, opened.tallies(database))
    probes = Probes({"/readyz": pulse.failing})
    host = server(Door({}, probes, Keyring(Access(database)), Limiter(door.rate, door.burst)), door, settings.data)
    with listen(door) as listening:
        serving = asyncio.create_task(host.serve(sockets=[listening]))
        try:
            yield
        finally:
            host.should_exit = True
            await serving
