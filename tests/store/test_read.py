"""History read back equals a plain list, whatever was sealed, merged or is still hot, and however it is paged."""

import asyncio
from collections.abc import AsyncIterator
from random import Random

import numpy as np
import pytest

from penstock.model.batch import NO_SEQ
from penstock.store.history import PostgresHistory
from penstock.store.postgres import Database
from penstock.store.read import EARLIEST_US, LATEST_US, Key, Order, Reader
from penstock.store.rollups import DAY_US, MINUTE_US, WIDTH_US, Interval, Rollups
from penstock.store.seal import Sealer
from store.test_history import good, make_tags
from store.test_history_machine import NOW, Writer

TAG = 3
Reading = tuple[int, int, float]


@pytest.fixture
async def database(postgres_url: str) -> AsyncIterator[Database]:
    database = Database(postgres_url, application="test", connections_max=6)
    await database.open()
    yield database
    await database.close()


@pytest.fixture
async def writer(database: Database) -> AsyncIterator[Writer]:
    history = PostgresHistory(database)
    await make_tags(history, 8)
    yield await Writer.start(history)
    await history.close()


async def _fill(database: Database, writer: Writer, random: Random) -> list[Reading]:
    """Flushes of random times over three days, now and then sealed or merged; some times come twice, with a seq."""
    sealer, model = Sealer(database, 1.0, packs_min=2), {}
    for _ in range(14):
        rows = []
        for _ in range(random.randint(1, 12)):
            key = (NOW - random.randrange(0, 3 * DAY_US, MINUTE_US // 4), random.choice([NO_SEQ, 0, 5]))
            if key not in model:
                model[key] = round(random.uniform(-5, 5), 2)
                rows.append((key, model[key]))
        if rows:
            await writer.flush([good(TAG, ts, value, seq) for (ts, seq), value in sorted(rows)])
        await random.choice([sealer.seal, sealer.compact, _nothing])(0)
    return [(ts, seq, value) for (ts, seq), value in sorted(model.items())]


async def _nothing(_: int) -> int:
    return 0


@pytest.mark.parametrize("seed", range(6))
async def test_pages_of_any_range_and_order_are_the_list(database: Database, writer: Writer, seed: int) -> None:
    random = Random(seed)
    model = await _fill(database, writer, random)
    reader = Reader(database)
    orders: tuple[Order, ...] = ("asc", "desc")
    for order in orders:
        for _ in range(4):
            lo, hi = sorted(random.choice([NOW - 4 * DAY_US, NOW + 1, *(ts for ts, *_ in model)]) for _ in range(2))
            found = await _paged(reader, lo, hi, random.randint(1, 9), order)
            expected = [reading for reading in model if lo <= reading[0] < hi]
            assert found == (expected if order == "asc" else expected[::-1])


async def _paged(reader: Reader, lo: int, hi: int, limit: int, order: Order) -> list[Reading]:
    found: list[Reading] = []
    after: Key | None = None
    while True:
        page = await reader.readings(TAG, lo, hi, limit, after=after, order=order)
        points = page.told.points
        assert len(points) <= limit
        found += zip(points.ts.tolist(), points.seq.tolist(), points.value.tolist(), strict=True)
        after = page.next
        if after is None:
            return found


@pytest.mark.parametrize("interval", ["1m", "1h", "1d"])
async def test_rollups_of_any_mix_are_those_of_the_list(database: Database, writer: Writer, interval: Interval) -> None:
    model = await _fill(database, writer, Random(7))
    width = WIDTH_US[interval]
    expected = []
    for bin_us in sorted({ts // width * width for ts, *_ in model}):
        values = [value for ts, _, value in model if ts // width * width == bin_us]
        expected.append((bin_us, len(values), min(values), max(values), pytest.approx(sum(values)), values[-1]))
    rollups, start, found = Rollups(database), EARLIEST_US, []
    while True:
        page = await rollups.read(TAG, start, LATEST_US, interval, 4)
        bins = page.bins
        found += list(
            zip(*(getattr(bins, name).tolist() for name in ("t", "n", "lo", "hi", "total", "last")), strict=True)
        )
        if page.next_us is None:
            break
        start = page.next_us
    assert found == expected


async def test_reading_while_sealing_sees_every_reading_once(database: Database, writer: Writer) -> None:
    reader, sealer, stop = Reader(database), Sealer(database, 1.0, packs_min=2), asyncio.Event()
    seen = []

    async def read() -> None:
        while not stop.is_set():
            seen.append((len(written), (await reader.points(TAG, NOW, NOW + 10**9)).ts, len(written)))
            await asyncio.sleep(0)

    written: list[int] = []
    reading = asyncio.create_task(read())
    for i in range(60):
        await writer.flush([good(TAG, NOW + i, 1.0, NO_SEQ)])
        written.append(NOW + i)
        await sealer.seal(0)
        await sealer.compact(0)
    stop.set()
    await reading
    assert len(seen) > 20
    for before, ts, after in seen:
        assert before <= len(ts) <= after + 1
        assert np.array_equal(ts, NOW + np.arange(len(ts)))
