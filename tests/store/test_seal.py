"""The sealer: each group in turn, alone, and never what it has not read."""

import asyncio
from collections.abc import AsyncIterator

import psycopg
import pytest

from penstock.store.history import PostgresHistory
from penstock.store.postgres import Database
from penstock.store.seal import Sealer
from store.test_history import ask, good, make_tags
from store.test_history_machine import NOW, Writer

DAY = 86_400_000_000


@pytest.fixture
async def database(postgres_url: str) -> AsyncIterator[Database]:
    database = Database(postgres_url, application="test", connections_max=6)
    await database.open()
    yield database
    await database.close()


@pytest.fixture
async def writer(database: Database) -> AsyncIterator[Writer]:
    history = PostgresHistory(database)
    await make_tags(history, 250)
    yield await Writer.start(history)
    await history.close()


async def test_run_seals_every_group_and_stops_at_once(database: Database, writer: Writer) -> None:
    stop = asyncio.Event()
    running = asyncio.create_task(Sealer(database, 0.05).run(stop))
    for i in range(5):
        await writer.flush([good(tag, NOW + i, 1.0) for tag in (1, 101, 201)])
    async with asyncio.timeout(10):
        while ask(database, "select count(*) from hot union all select sum(n) from segment") != [(0,), (15,)]:  # noqa: ASYNC110  # told by the database only
            await asyncio.sleep(0.05)
        stop.set()
        await running
    assert ask(database, "select count(*) from readings") == [(15,)]
    assert ask(database, "select sum(n), sum(total) from rollup_1m") == [(15, 15.0)]


async def test_two_sealers_at_once_seal_each_reading_once(database: Database, writer: Writer) -> None:
    sealers = [Sealer(database, 1.0, packs_min=2) for _ in range(2)]
    for i in range(8):
        await writer.flush([good(1 + i % 3, NOW + i * 1_000, float(i)), good(9, NOW + i, 0.5)])
        await asyncio.gather(*(sealer.seal(0) for sealer in sealers), *(sealer.compact(0) for sealer in sealers))
    await sealers[0].seal(0)
    assert ask(database, "select count(*), count(distinct (tag_id, ts)) from readings") == [(16, 16)]
    assert ask(database, "select sum(n) from rollup_1h") == [(16,)]


async def test_a_group_that_another_seals_is_skipped(database: Database, writer: Writer) -> None:
    await writer.flush([good(1, NOW, 1.0)])
    async with database.transaction() as connection:
        await connection.execute("select pg_advisory_xact_lock(20563, 0)")
        assert await Sealer(database, 1.0).seal(0) == 0
    assert await Sealer(database, 1.0).seal(0) == 1


async def test_a_chunk_committed_meanwhile_stays_hot(database: Database, writer: Writer) -> None:
    """A flush with a lower id that commits after a higher one was sealed is not lost."""
    await writer.flush([good(1, NOW, 1.0)])
    with psycopg.connect(database.url) as slow:
        slow.execute("insert into hot select grp, 0, n, ts_lo, ts_hi, '{2}', ts, v, q, seq, state from hot")
        assert await Sealer(database, 1.0).seal(0) == 1
    assert ask(database, "select count(*) from readings") == [(2,)]
    assert ask(database, "select flush from hot") == [(0,)]


async def test_small_packs_are_merged_and_full_ones_left(database: Database, writer: Writer) -> None:
    sealer = Sealer(database, 1.0, packs_min=4)
    today = ask(database, "select (extract(epoch from now()) * 1000000)::bigint")[0][0]
    assert isinstance(today, int)
    today = today // DAY * DAY
    await writer.flush([good(1, today + i, 1.0) for i in range(2_100)])
    await sealer.seal(0)
    for i in range(3):
        await writer.flush([good(1, today + 5_000 + i, 2.0)])
        await sealer.seal(0)
    assert await sealer.compact(0) == 0
    await writer.flush([good(1, today + 6_000, 2.0)])
    await sealer.seal(0)
    assert await sealer.compact(0) == 4
    assert ask(database, "select n, level, flush_hi - flush_lo from segment order by t0") == [(2_100, 2, 0), (4, 1, 3)]
    assert await sealer.compact(0) == 0


async def test_a_day_that_is_over_is_merged_once(database: Database, writer: Writer) -> None:
    sealer = Sealer(database, 1.0)
    for i in range(3):
        await writer.flush([good(1, NOW - 9 * DAY + i * 3_600_000_001, 2.0)])
        await sealer.seal(0)
    await sealer.compact(0)
    assert await sealer.compact(0) == 0, "packs that cannot be joined are not tried for ever"
    assert ask(database, "select count(*) from readings") == [(3,)]


async def test_mark_keeps_the_newest_of_each_tag(database: Database, writer: Writer) -> None:
    sealer = Sealer(database, 1.0)
    for batch in ([good(1, NOW, 1.0), good(2, NOW, 1.0)], [good(1, NOW - 5, 1.0), good(3, NOW + 5, 1.0)]):
        await writer.flush(batch)
        await sealer.seal(0)
    again = await Writer.start(writer.history)
    assert again.marks == {1: NOW, 2: NOW, 3: NOW + 5}


async def test_a_rollup_s_last_is_by_time_and_seq_not_by_arrival(database: Database, writer: Writer) -> None:
    sealer = Sealer(database, 1.0)
    for ts, value, seq in [(NOW + 5, 5.0, 1), (NOW + 3, 3.0, 1), (NOW + 5, 4.0, 0), (NOW + 5, 9.0, 2), (NOW, 0.5, 9)]:
        await writer.flush([good(1, ts, value, seq)])
        await sealer.seal(0)
    for table in ("rollup_1m", "rollup_1h"):
        assert ask(database, f"select n, lo, hi, total, last, last_seq from {table}") == [(5, 0.5, 9.0, 21.5, 9.0, 2)]
