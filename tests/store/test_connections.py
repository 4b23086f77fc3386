"""Connections to PostgreSQL when it is away: nobody waits for long, and nobody has to be told that it is back."""

import asyncio
import re
import time
from collections.abc import Iterator

import pytest
from gate import Gate, Way

from penstock.errors import Unavailable
from penstock.store.postgres import Database
from penstock.store.watch import check_writable


@pytest.fixture
def gate(postgres_url: str) -> Iterator[Gate]:
    gate = Gate(int(re.search(r":(\d+)/", postgres_url)[1]))
    gate.open()
    yield gate
    gate.close()


@pytest.fixture
def url_by_gate(postgres_url: str, gate: Gate) -> str:
    return re.sub(r":\d+/", f":{gate.port}/", postgres_url)


async def asks(database: Database) -> None:
    async with database.connection() as connection:
        await connection.execute("select 1")


@pytest.mark.parametrize("way", [Way.MUTE, Way.DEAF])
async def test_whoever_gives_up_a_question_is_free_at_once_though_the_server_hangs(
    url_by_gate: str, gate: Gate, way: Way
) -> None:
    database = Database(url_by_gate, application="test")
    await database.open()
    gate.turn(way)
    began_s = time.monotonic()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await asks(database)
    assert time.monotonic() - began_s < 2
    await database.close()


async def test_a_connection_that_went_mute_in_the_pool_keeps_nobody_waiting(url_by_gate: str, gate: Gate) -> None:
    database = Database(url_by_gate, application="test")
    await database.open()
    gate.turn(Way.MUTE)
    gate.turn(Way.OPEN)
    await asyncio.wait_for(asks(database), 8)
    await database.close()


@pytest.mark.parametrize("way", [Way.MUTE, Way.DEAF, Way.REFUSED])
async def test_a_pool_finds_by_itself_that_the_server_is_back(url_by_gate: str, gate: Gate, way: Way) -> None:
    database = Database(url_by_gate, application="test")
    await database.open()
    gate.turn(way)
    until_s = time.monotonic() + 4
    while time.monotonic() < until_s:
        with pytest.raises((TimeoutError, Unavailable)):
            await asyncio.wait_for(asks(database), 0.5)
    gate.turn(Way.OPEN)
    began_s = time.monotonic()
    while True:
        try:
            await asyncio.wait_for(asks(database), 0.5)
            break
        except (TimeoutError, Unavailable):
            await asyncio.sleep(0.1)
    assert time.monotonic() - began_s < 5
    await database.close()


async def test_a_database_for_reading_only_cannot_store(postgres_url: str) -> None:
    before, after = Database(postgres_url, application="test"), Database(postgres_url, application="test")
    await before.open()
    await check_writable(before)
    name = postgres_url.rpartition("/")[2]
    async with before.connection() as connection:
        await connection.execute(f'alter database "{name}" set default_transaction_read_only = on')
    await after.open()
    with pytest.raises(Unavailable):
        await check_writable(after)
    for database in (before, after):
        await database.close()


async def holds(database: Database, begun: asyncio.Event, end: asyncio.Event) -> None:
    async with database.connection():
        begun.set()
        await end.wait()


@pytest.mark.parametrize("ticks", range(8))
async def test_who_is_cancelled_while_a_connection_comes_is_cancelled(postgres_url: str, ticks: int) -> None:
    database = Database(postgres_url, application="test", connections_max=1)
    await database.open()
    begun, end = asyncio.Event(), asyncio.Event()
    holder = asyncio.create_task(holds(database, begun, end))
    await begun.wait()
    waiter = asyncio.create_task(asks(database))
    await asyncio.sleep(0.1)
    end.set()
    for _ in range(ticks):
        await asyncio.sleep(0)
    waiter.cancel()
    await asyncio.wait([waiter, holder], timeout=5)
    assert waiter.cancelled()
    await asks(database)  # and the connection is not lost
    await database.close()
