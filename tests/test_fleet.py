"""A reading's whole way over a shared stream: doors and workers of this process, a fake Kinesis, a real PostgreSQL."""

import asyncio
import json
import os
import re
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from gate import Gate, Way
from psycopg import AsyncConnection

from kinesis_fake import QUICK, UNLIMITED, FakeKinesis, Limits, Timing
from penstock.client import Client
from penstock.clock import SystemClock
from penstock.compose.adapters import opened_stream
from penstock.compose.front import Half, front
from penstock.compose.worker import work, work_on
from penstock.door.keys import create_key, make_key
from penstock.errors import Misconfigured
from penstock.model.access import ALL_SITES, Role
from penstock.settings import Settings, read_settings
from penstock.store.access import Access
from penstock.store.postgres import Database
from stream.asking_kinesis import client_of

REGION = "us-east-1"
T0_US = time.time_ns() // 1_000 - 60_000_000


@dataclass
class Fleet:
    kinesis: FakeKinesis
    settings: Settings
    url: str
    running: AsyncExitStack
    key: str = ""
    stops: list[tuple[asyncio.Event, "asyncio.Task[None]"]] = field(default_factory=list)

    async def door(self, half: Half) -> Client:
        served = await self.running.enter_async_context(front(self.settings, self.url, half))
        return await self.running.enter_async_context(Client(served.url, self.key))

    async def worker(self, **process: object) -> Callable[[], Awaitable[None]]:
        """Starts one, with settings of *process*; what it gives stops it in order."""
        stop = asyncio.Event()
        settings = self.settings.model_copy(update={"process": self.settings.process.model_copy(update=process)})
        task = asyncio.create_task(self._work(settings, stop))
        self.stops.append((stop, task))

        async def end() -> None:
            stop.set()
            await task

        return end

    async def _work(self, settings: Settings, stop: asyncio.Event) -> None:
        async with opened_stream(settings, writable=True) as opened:
            await work_on(settings, opened, self.url, stop)


@pytest.fixture
async def fleet(postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Fleet]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "any")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")
    limits, timing = Limits(**vars(UNLIMITED)), Timing(**vars(QUICK))
    async with AsyncExitStack() as running, FakeKinesis(limits=limits, timing=timing, region=REGION) as kinesis:
        async with client_of(kinesis) as client:
            for name, shards in (("plant", 2), ("plant-critical", 1)):
                await client.create_stream(StreamName=name, ShardCount=shards)
        settings = read_settings(
            data=tmp_path,
            store={"url": postgres_url},
            stream={"url": "kinesis://plant", "critical": "plant-critical", "region": REGION, "endpoint": kinesis.url},
            door={"port": 0},
            work={"lease_s": 2},
        )
        made = Fleet(kinesis, settings, postgres_url, running)
        made.key = await _key(postgres_url)
        yield made
        for stop, task in made.stops:
            stop.set()
            with suppress(asyncio.CancelledError):
                await task


async def _key(url: str) -> str:
    database = Database(url, application="test", connections_max=2)
    await database.open()
    try:
        new = make_key(SystemClock(), name="t", role=Role.ADMIN, sites=[ALL_SITES], created_by="test", rate=0.0)
        return await create_key(Access(database), new)
    finally:
        await database.close()


def readings(count: int, at: int = 0) -> list[dict[str, object]]:
    return [{"tag": f"a/b/t{i}", "ts": T0_US + at, "value": i / 8} for i in range(count)]


async def settled(page: Client, received: int) -> dict[str, int]:
    """The balance once nothing is in flight."""
    async with asyncio.timeout(30):
        while True:
            books: dict[str, int] = await page.get("/v1/balance")
            if books["received"] >= received and not books["in_flight"]:
                return books
            await asyncio.sleep(0.1)


async def test_every_reading_is_accounted_for_traced_and_shown(fleet: Fleet) -> None:
    door, page = await fleet.door(Half.INGEST), await fleet.door(Half.SERVE)
    end = await fleet.worker()
    told = await door.post("/v1/readings", readings(100))
    await door.post("/v1/readings", readings(100))
    books = await settled(page, 200)
    assert {name: books[name] for name in ("received", "stored", "duplicate", "unaccounted")} == {
        "received": 200, "stored": 100, "duplicate": 100, "unaccounted": 0,
    }  # fmt: skip
    traced = await page.get(f"/v1/trace/{told['batch_id']}")
    assert traced["complete"]
    assert sorted(item["index"] for item in traced["items"]) == list(range(100))
    assert {item["fate"] for item in traced["items"]} <= {"stored", "duplicate"}
    async with asyncio.timeout(10):
        while not (latest := (await page.get("/v1/latest", tag="a/b/t7"))["items"]):  # noqa: ASYNC110  # another process's
            await asyncio.sleep(0.1)
    assert latest[0]["value"] == 7 / 8
    await end()


async def test_a_worker_that_stops_hands_over_at_once(fleet: Fleet) -> None:
    door, page = await fleet.door(Half.INGEST), await fleet.door(Half.SERVE)
    end = await fleet.worker()
    await door.post("/v1/readings", readings(100))
    await settled(page, 100)
    await end()
    await fleet.worker()
    began = time.monotonic()
    await door.post("/v1/readings", readings(100, at=1_000))
    books = await settled(page, 200)
    assert (books["stored"], books["unaccounted"]) == (200, 0)
    assert time.monotonic() - began < 10, "whoever takes over need not wait for a lease to run out"


async def test_retention_that_runs_out_is_told_while_a_worker_stalls_and_no_more_when_it_caught_up(
    fleet: Fleet,
) -> None:
    door, page = await fleet.door(Half.INGEST), await fleet.door(Half.SERVE)
    for _ in range(3):
        await door.post("/v1/readings", readings(100))
    await _told(page, ("no_workers", "critical"))
    fleet.kinesis.faults.clock_offset_s = 19 * 3_600  # of the 24 that the stream keeps them
    await door.post("/v1/readings", readings(100, at=1_000))
    async with _stalled(fleet.url):
        end = await fleet.worker(flush_readings_max=1)  # what it has in its hands does not count as waiting
        (told, *_) = await _told(page, ("retention_running_out", "critical"))
        assert "19 h ago" in told["why"]
        said = json.loads(await _shards(fleet, "--json"))
        assert (told["name"], told["mend"]) in {(it["name"], it["mend"]) for it in said["conditions"]}
        assert {shard["state"] for shard in said["shards"]} == {"held"}
        assert f"critical: retention_running_out of {told['shard']} since " in await _shards(fleet)
    await _told(page)
    assert "conditions: none" in await _shards(fleet)
    assert (await settled(page, 400))["stored"] == 200
    assert {
        shard["last_commit"] is not None for shard in (await page.get("/v1/plant"))["shards"] if shard["committed"]
    } == {True}
    await end()
    await _told(page, ("no_workers", "high"))


async def _told(page: Client, *names: tuple[str, str]) -> list[dict[str, str]]:
    """The conditions, once these are among them; without names, once there are none."""
    deadline_s, told = time.monotonic() + 20, []
    while time.monotonic() < deadline_s:
        told = (await page.get("/v1/plant"))["conditions"]
        found = {(it["name"], it["severity"]) for it in told}
        if found.issuperset(names) and bool(found) == bool(names):
            return told
        await asyncio.sleep(0.1)
    raise AssertionError(told)


@asynccontextmanager
async def _stalled(url: str) -> AsyncIterator[None]:
    """Nobody can commit meanwhile, though everything answers."""
    async with await AsyncConnection.connect(url) as connection:
        await connection.execute("lock table flush in exclusive mode")
        yield


async def _shards(fleet: Fleet, *words: str) -> str:
    """What `penstock shards` prints."""
    running = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "penstock", "shards", "--data", str(fleet.settings.data), *words,
        env={**os.environ, "PENSTOCK_STORE__URL": fleet.url}, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    told, _ = await running.communicate()
    assert running.returncode == 0
    return told.decode()


async def test_a_worker_that_starts_before_its_database_waits_for_it(fleet: Fleet) -> None:
    door, page = await fleet.door(Half.INGEST), await fleet.door(Half.SERVE)
    await door.post("/v1/readings", readings(100))
    gate = Gate(int(re.search(r":(\d+)/", fleet.url)[1]))
    gate.open()
    gate.turn(Way.REFUSED)
    working = asyncio.create_task(work(fleet.settings, store_url=re.sub(r":\d+/", f":{gate.port}/", fleet.url)))
    await asyncio.sleep(1.5)
    assert not working.done()
    gate.turn(Way.OPEN)
    assert (await settled(page, 100))["stored"] == 100
    os.kill(os.getpid(), signal.SIGTERM)  # `penstock work` minds it
    await working
    gate.close()


async def test_what_is_foreign_and_what_is_poison_is_accounted_for(fleet: Fleet) -> None:
    page = await fleet.door(Half.SERVE)
    await fleet.worker()
    async with client_of(fleet.kinesis) as client:
        for number, data in enumerate((json.dumps(readings(10)).encode(), b"\x00\xff no reading")):
            await client.put_record(StreamName="plant", PartitionKey=f"plc{number}", Data=data)
    books = await settled(page, 11)
    assert (books["stored"], books["quarantined"], books["unaccounted"]) == (10, 1, 0)
    (held,) = (await page.get("/v1/quarantine"))["items"]
    assert held["reason"] == "not_json"


@pytest.mark.parametrize(
    ("stream", "named"),
    [
        ({"url": "kinesis://elsewhere"}, "stream.url.*elsewhere"),
        ({"critical": "elsewhere"}, "stream.critical.*elsewhere"),
    ],
)
async def test_a_stream_that_is_not_there_ends_the_start_with_its_mend(
    fleet: Fleet, stream: dict[str, str], named: str
) -> None:
    wrong = fleet.settings.stream.model_copy(update=stream)
    with pytest.raises(Misconfigured, match=named):
        await opened_stream(fleet.settings.model_copy(update={"stream": wrong}), writable=True).__aenter__()
