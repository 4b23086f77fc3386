"""What every latest-value cache promises; over memory and a real Redis."""

import socket
import time
from collections.abc import AsyncIterator, Iterator

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.errors import Unavailable
from penstock.model.batch import NO_SEQ
from penstock.store.latest import LatestCache, LatestReading, LatestRows, MemoryLatest
from penstock.store.redis import RedisLatest
from redis_server import RedisServer

Row = tuple[str, int, float, int]


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.kill()


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.redis)])
async def cache(request: pytest.FixtureRequest) -> AsyncIterator[LatestCache]:
    if request.param == "memory":
        made: LatestCache = MemoryLatest()
    else:
        made = RedisLatest(request.getfixturevalue("redis_server").url)
    await made.reset()
    yield made
    await made.close()


def rows_of(*rows: Row, states: tuple[str | None, ...] | None = None) -> LatestRows:
    path, ts, value, seq = zip(*rows, strict=True)
    n = len(rows)
    return LatestRows(
        path=list(path),
        ts=np.array(ts, np.int64),
        value=np.array(value, np.float64),
        state=states or [None] * n,
        quality=np.zeros(n, np.int64),
        seq=np.array(seq, np.int64),
        received_us=np.array(ts, np.int64) + 10,
        stored_us=np.array(ts, np.int64) + 20,
    )


async def value_of(cache: LatestCache, path: str) -> float | None:
    (reading,) = await cache.get([path])
    return None if reading is None else reading.value


async def test_everything_about_a_reading_comes_back(cache: LatestCache):
    rows = rows_of(("s/a", -7, 1.5, 3), ("s/b", 8, float("nan"), NO_SEQ), states=(None, "RUNNING \u00e4"))
    await cache.put(rows)
    assert await cache.get(["s/a", "s/none", "s/b"]) == [
        LatestReading("s/a", -7, 1.5, None, 0, 3, 3, 13),
        None,
        LatestReading("s/b", 8, None, "RUNNING \u00e4", 0, None, 18, 28),
    ]


async def test_a_late_reading_never_replaces_the_latest(cache: LatestCache):
    await cache.put(rows_of(("s/a", 100, 1.0, NO_SEQ)))
    await cache.put(rows_of(("s/a", 99, 2.0, NO_SEQ)))
    assert await value_of(cache, "s/a") == 1.0
    await cache.put(rows_of(("s/a", 101, 3.0, NO_SEQ)))
    assert await value_of(cache, "s/a") == 3.0


async def test_at_the_same_time_the_higher_seq_is_newer_and_the_first_of_two_alike_stays(cache: LatestCache):
    await cache.put(rows_of(("s/a", 1, 5.0, 5), ("s/a", 1, 1.0, NO_SEQ), ("s/a", 1, 55.0, 5), ("s/a", 1, -9.0, -9)))
    await cache.put(rows_of(("s/a", 1, 6.0, 5)))
    assert await value_of(cache, "s/a") == 5.0


async def test_minus_zero_stays_minus_zero(cache: LatestCache):
    await cache.put(rows_of(("s/a", 1, -0.0, NO_SEQ), ("s/b", 1, 5e-324, NO_SEQ)))
    assert np.signbit(await value_of(cache, "s/a"))
    assert await value_of(cache, "s/b") == 5e-324


async def test_a_prefix_is_paged_in_the_order_of_the_paths(cache: LatestCache):
    paths = ["lyon/a-1", "lyon/a/t", "lyon/a/u", "lyon/a0", "lyon/b", "paris/a", "Lyon/a"]
    await cache.put(rows_of(*((path, 1, 1.0, NO_SEQ) for path in paths)))

    async def page(prefix: str, after: str, limit: int) -> list[str]:
        return [reading.path for reading in await cache.prefix(prefix, after, limit)]

    assert await page("lyon/a", "", 10) == ["lyon/a-1", "lyon/a/t", "lyon/a/u", "lyon/a0"]
    assert await page("lyon/a", "lyon/a-1", 2) == ["lyon/a/t", "lyon/a/u"]
    assert await page("", "", 2) == ["Lyon/a", "lyon/a-1"]
    assert await page("", "lyon/b", 9) == ["paris/a"]
    assert await page("lyon/", "a", 1) == ["lyon/a-1"], "a place before the prefix is its beginning"
    assert await page("nowhere", "", 9) == []
    assert await page("lyon/a", "lyon/z", 9) == []


async def test_reset_empties_it_and_begins_a_generation(cache: LatestCache):
    before = await cache.generation()
    await cache.put(rows_of(("s/a", 1, 1.0, NO_SEQ)))
    assert await cache.generation() == before
    after = await cache.reset()
    assert after != before
    assert await cache.generation() == after
    assert await cache.get(["s/a"]) == [None]
    assert await cache.prefix("", "", 9) == []


async def test_many_tags_at_once(cache: LatestCache):
    await cache.put(rows_of(*((f"s/{i:05}", i, float(i), NO_SEQ) for i in range(1_701))))
    assert [r.value for r in await cache.prefix("s/", "", 5_000)] == list(map(float, range(1_701)))
    assert await cache.alive()


ROWS = st.tuples(st.sampled_from(["s/a", "s/b"]), st.integers(-2, 2), st.floats(allow_nan=False), st.integers(-2, 2))


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(puts=st.lists(st.lists(ROWS, min_size=1, max_size=5), min_size=1, max_size=5))
async def test_what_is_held_is_the_first_of_the_newest(cache: LatestCache, puts: list[list[Row]]):
    await cache.reset()
    model: dict[str, Row] = {}
    for rows in puts:
        await cache.put(rows_of(*rows))
        for row in rows:
            if row[0] not in model or (row[1], row[3]) > (model[row[0]][1], model[row[0]][3]):
                model[row[0]] = row
    for path, row in model.items():
        (held,) = await cache.get([path])
        assert held is not None
        assert (held.ts_us, held.seq, repr(held.value)) == (row[1], row[3], repr(row[2]))


@pytest.mark.redis
async def test_redis_that_lost_its_content_says_so_by_its_generation(redis_server: RedisServer):
    cache = RedisLatest(redis_server.url)
    before = await cache.reset()
    await cache.put(rows_of(("s/a", 1, 1.0, NO_SEQ)))
    redis_server.kill()
    with pytest.raises(Unavailable):
        await cache.put(rows_of(("s/a", 2, 2.0, NO_SEQ)))
    assert not await cache.alive()
    redis_server.start()
    await cache.put(rows_of(("s/b", 3, 3.0, NO_SEQ)))
    after = await cache.generation()
    assert after != before
    assert await cache.get(["s/b"]) == [None], "what was put between loss and rebuilding may be half a truth"
    await cache.close()


@pytest.mark.redis
async def test_losing_either_key_is_losing_the_content(redis_server: RedisServer):
    cache = RedisLatest(redis_server.url)
    for key in ("{penstock}:latest", "{penstock}:latest:paths"):
        before = await cache.reset()
        redis_server.command("DEL", key)
        assert await cache.generation() != before
    await cache.close()


@pytest.mark.redis
async def test_a_read_only_redis_is_unavailable_until_it_is_not(redis_server: RedisServer):
    cache = RedisLatest(redis_server.url)
    await cache.reset()
    redis_server.command("REPLICAOF", "127.0.0.1", "1")
    with pytest.raises(Unavailable, match="read-only"):
        await cache.put(rows_of(("s/a", 1, 1.0, NO_SEQ)))
    redis_server.command("REPLICAOF", "NO", "ONE")
    await cache.put(rows_of(("s/a", 1, 1.0, NO_SEQ)))
    await cache.close()


async def test_a_redis_that_does_not_speak_is_unavailable_within_seconds():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        cache = RedisLatest(f"redis://127.0.0.1:{silent.getsockname()[1]}")
        started = time.monotonic()
        with pytest.raises(Unavailable):
            await cache.get(["s/a"])
        assert time.monotonic() - started < 10
        await cache.close()
