"""A plant with everything real but the process boundaries: stream in memory, worker, PostgreSQL, the reading side."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import httpx

from make import R, batch
from penstock.clock import FakeClock
from penstock.compose.worker import local_worker
from penstock.door.keys import Keyring
from penstock.door.port import App
from penstock.door.problem import answer, problem_of
from penstock.errors import PenstockError
from penstock.model.access import Caller, Role
from penstock.model.batch import Lane
from penstock.process.worker import Worker
from penstock.serve.counted import CountedTallies
from penstock.serve.http import Serving, serve_app
from penstock.serve.parts import ServeParts
from penstock.settings import Settings
from penstock.store.access import Access
from penstock.store.history import PostgresHistory
from penstock.store.latest import LatestCache, MemoryLatest
from penstock.store.postgres import Database
from penstock.store.seal import Sealer
from penstock.stream.memory import MemoryStream

NOW_US = 1_790_000_000_000_000
T = "lyon/press/line-3/press-7/temperature"


@dataclass
class Plant:
    database: Database
    stream: MemoryStream
    latest: LatestCache
    worker: Worker
    clock: FakeClock
    serving: Serving
    settings: Settings
    holding: Any = None

    async def send(self, *readings: R, lane: Lane = Lane.BULK, received_us: int | None = None) -> str:
        receipt = await self.stream.append({lane: batch(*readings)}, received_us or self.clock.now_us())
        return receipt.batch_id

    async def work(self) -> None:
        """Commit all that is in the stream."""
        if self.holding is None:
            self.holding = await self.worker.start()
        stop = asyncio.Event()
        stop.set()  # nothing more is coming: do not linger
        while await self.worker.turn(self.holding, stop):
            pass

    async def store(self, *readings: R, received_us: int | None = None) -> str:
        batch_id = await self.send(*readings, received_us=received_us)
        await self.work()
        return batch_id

    async def seal(self, grp: int = 0) -> None:
        await Sealer(self.database, 1.0).seal(grp)

    def client(self, role: Role = Role.ADMIN, sites: tuple[str, ...] = ("*",), name: str = "ada") -> httpx.AsyncClient:
        caller = Caller("k1", name, role, frozenset(sites))
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(app=as_caller(self.serving.app, caller)), base_url="http://t"
        )

    async def rows(self, query: str, **given: Any) -> list[tuple[Any, ...]]:
        async with self.database.connection() as connection:
            return await (await connection.execute(query, given)).fetchall()


def as_caller(app: App, caller: Caller | None) -> Any:
    async def called(scope: Any, receive: Any, send: Any) -> None:
        scope.setdefault("state", {})["caller"] = caller
        try:
            await app(scope, receive, send)
        except PenstockError as error:
            await answer(send, problem_of(error))

    return called


@asynccontextmanager
async def plant_on(url: str, *, latest: LatestCache | None = None) -> AsyncIterator[Plant]:
    database = Database(url, application="test", connections_max=6)
    await database.open()
    history = PostgresHistory(database)
    stream = MemoryStream(64 * 2**20, keep_bytes=64 * 2**20)
    clock = FakeClock(NOW_US)
    settings = Settings()
    access = Access(database)
    cache = latest or MemoryLatest()
    parts = ServeParts(
        database=database, stream=stream, latest=cache, keys=access, keyring=Keyring(access), clock=clock,
        settings=settings, version="0.1.0", tallies=CountedTallies(database, stream),
    )  # fmt: skip
    worker = local_worker(settings, stream, database, history)
    worker._clock = clock
    worker._steps = replace(worker._steps, clock=clock)
    try:
        yield Plant(database, stream, cache, worker, clock, serve_app(parts), settings)
    finally:
        await stream.close()
        await history.close()
        await database.close()
