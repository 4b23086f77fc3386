"""Many processes that serve: one follows the database for all, whatever becomes of it or of Redis meanwhile."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from msgspec.structs import asdict

from make import R
from penstock.errors import Unavailable
from penstock.serve.following import Following, Part
from penstock.serve.hub import Listener
from penstock.serve.live import Live
from penstock.serve.series import window, window_told
from penstock.store.read import Reader
from penstock.store.redis import RedisLatest
from penstock.store.redis_feed import LEASE, STREAM, RedisFeed
from penstock.store.redis_window import RedisWindow
from penstock.store.window import span_of
from redis_server import RedisServer
from serve.plant import NOW_US, Plant, T
from serve.test_live import wish

pytestmark = pytest.mark.redis
S = 1_000_000
OTHER = "lyon/press/line-3/press-8/temperature"


@pytest.fixture(scope="module")
def module_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.kill()


@pytest.fixture
def redis(module_redis: RedisServer) -> RedisServer:
    module_redis.command("REPLICAOF", "NO", "ONE")
    module_redis.command("FLUSHALL")
    return module_redis


Make = Callable[[], Following]


@pytest.fixture
async def process(plant: Plant, redis: RedisServer) -> AsyncIterator[Make]:
    """Makes what one process knows; all share the database and Redis."""
    async with AsyncExitStack() as closing:

        def make() -> Following:
            parts = RedisLatest(redis.url), RedisWindow(redis.url), RedisFeed(redis.url)
            for part in parts:
                closing.push_async_callback(part.close)
            return Following(plant.database, *parts, plant.clock)

        yield make


async def newest(following: Following, path: str = T) -> float | None:
    """What the process itself knows."""
    (reading,) = await following.own.get([path])
    return None if reading is None else reading.value


async def expire_lease(redis: RedisServer) -> None:
    redis.command("DEL", LEASE)


async def count(following: Following, tag_id: int = 1) -> int | None:
    found = await following.window(tag_id, 300.0)
    return None if found is None else found.n


async def put_windows(following: Following) -> None:
    """Look until the windows hold what is committed."""
    following._folded_s = 0.0
    await following.look()


async def test_one_leads_and_the_others_hear_what_it_found(plant: Plant, process: Make):
    leader, listener = process(), process()
    await plant.store(R(T, NOW_US, 1.0))
    await leader.look()
    await listener.look()
    await leader.look()
    await listener.look()
    assert (leader.part, listener.part) == (Part.LEADS, Part.LISTENS)
    assert await newest(listener) == 1.0
    listener._tail._database = None  # type: ignore[assignment]  # from now on it only hears
    await plant.store(R(T, NOW_US + 1, 2.0), R(OTHER, NOW_US, state="ON"))
    await put_windows(leader)
    rows = await listener.look()
    assert (sorted(rows.path), await newest(listener)) == ([T, OTHER], 2.0)
    assert [reading.value for reading in await listener.latest([T]) if reading] == [2.0]
    assert [reading.path for reading in await listener.latest_from("lyon", "", 9)] == [T, OTHER]
    assert await count(listener) == 2


async def test_when_the_leader_dies_another_goes_on_where_it_was(plant: Plant, process: Make):
    leader, listener = process(), process()
    await plant.store(R(T, NOW_US - S, 1.0))
    for _ in range(2):
        await put_windows(leader)
        await listener.look()
    await plant.store(R(T, NOW_US, 2.0))
    died_s = time.monotonic()
    while listener.part is not Part.LEADS or await newest(listener) != 2.0:
        await listener.look()
        await asyncio.sleep(0.05)
    assert time.monotonic() - died_s < 5.0
    await put_windows(listener)
    assert await count(listener) == 2


async def test_a_leader_that_falls_silent_hides_nothing(plant: Plant, process: Make, redis: RedisServer):
    leader, listener = process(), process()
    for _ in range(2):
        await leader.look()
        await listener.look()
    await plant.store(R(T, NOW_US, 2.0))
    began_s = time.monotonic()
    while await newest(listener) != 2.0:
        assert await leader._feed.lead(), "it holds the lease all the while"  # type: ignore[union-attr]
        await listener.look()
        await asyncio.sleep(0.05)
    assert time.monotonic() - began_s < 5.0
    assert listener.part is Part.LISTENS


async def test_a_process_stopped_while_it_led_does_no_harm_when_it_wakes(
    plant: Plant, process: Make, redis: RedisServer
):
    zombie, leader = process(), process()
    await plant.store(R(T, NOW_US - 2 * S, 1.0))
    await put_windows(zombie)
    await leader.look()
    redis.command("DEL", LEASE)
    await plant.store(R(T, NOW_US - S, 2.0))
    await put_windows(leader)
    await put_windows(leader)
    assert (leader.part, await count(leader)) == (Part.LEADS, 2)

    async def still_leads() -> Part:
        return Part.LEADS

    zombie._take_part = still_leads  # type: ignore[method-assign]
    for i in range(3):
        await plant.store(R(T, NOW_US + i, 3.0 + i))
        for each in (zombie, leader) if i % 2 else (leader, zombie):
            await put_windows(each)
    await put_windows(leader)
    assert (await newest(leader), await count(leader)) == (5.0, 5)


async def test_who_missed_something_looks_for_itself(plant: Plant, process: Make, redis: RedisServer):
    leader, listener = process(), process()
    for _ in range(2):
        await leader.look()
        await listener.look()
    await plant.store(R(T, NOW_US, 1.0))
    await leader.look()
    redis.command("DEL", STREAM)
    await plant.store(R(OTHER, NOW_US, 2.0))
    await leader.look()
    await listener.look()
    assert (await newest(listener, T), await newest(listener, OTHER)) == (1.0, 2.0)


async def test_a_new_leader_takes_up_windows_that_are_behind_or_ahead_of_it(
    plant: Plant, process: Make, redis: RedisServer
):
    first, second = process(), process()
    await plant.store(R(T, NOW_US - 9 * S, 1.0))
    await put_windows(first)
    await second.look()
    first._folded_s = time.monotonic() + 60  # it tells of what is not yet in the windows
    await plant.store(R(T, NOW_US - 8 * S, 2.0))
    await plant.seal()
    await first.look()
    await second.look()
    redis.command("DEL", LEASE)
    await second.look()
    await put_windows(second)
    assert (second.part, await count(second)) == (Part.LEADS, 2)
    await plant.store(R(T, NOW_US - 7 * S, 3.0))
    redis.command("DEL", STREAM)
    await put_windows(second)  # first hears nothing of it
    redis.command("DEL", LEASE)
    await put_windows(first)
    await put_windows(first)
    assert (first.part, await count(first)) == (Part.LEADS, 3)


async def test_windows_of_another_database_are_begun_anew(plant: Plant, process: Make, redis: RedisServer):
    await plant.store(R(T, NOW_US, 1.0))
    stranger = RedisWindow(redis.url)
    from contracts.test_window import Row, begun  # noqa: PLC0415

    await begun(stranger, Row(1, NOW_US, 99.0), heads={("another", "bulk"): 7})
    await stranger.close()
    leader = process()
    await put_windows(leader)
    assert (await leader.window(1, 300.0)).hi == 1.0  # type: ignore[union-attr]


async def test_the_pages_of_a_listener_show_readings_and_alarms(plant: Plant, process: Make):
    leader, listener = (live_of(plant, process()) for _ in range(2))
    await plant.store(R(T, NOW_US, 1.0))
    async with plant.client() as client:
        await client.put(f"/v1/tags/{T}", json={"limits": {"hh": 90.0}})
    for _ in range(2):
        await leader.look()
        await listener.look()
    page = listener.listen(wish(), "")
    await plant.store(R(T, NOW_US + 1, 95.0))
    for _ in range(2):
        await leader.look()
    await listener.look()
    await asyncio.sleep(0.5)
    await listener.look()
    told = news_of(page)
    assert json.loads(told["reading", T])["value"] == 95.0
    assert [json.loads(data)["test"] for (what, _), data in told.items() if what == "alarm"] == ["limit_hh"]


def live_of(plant: Plant, following: Following) -> Live:
    live = plant.serving.live
    return Live(plant.database, live._tallies, following, live._pulse)


def news_of(listener: Listener) -> dict[tuple[str, str], bytes]:
    return {(news.what, news.key): news.data for news in listener.take()}


@asynccontextmanager
async def looking(*processes: Following) -> AsyncIterator[list[float]]:
    """Each looks ten times a second; yields how long their looks took."""
    took: list[float] = []

    async def run(following: Following) -> None:
        while True:
            began_s = time.monotonic()
            await following.look()
            took.append(time.monotonic() - began_s)
            await asyncio.sleep(0.1)

    tasks = [asyncio.create_task(run(each)) for each in processes]
    try:
        yield took
    finally:
        for task in tasks:
            assert not task.done(), "no exception may escape a look"
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def killed(redis: RedisServer) -> Callable[[], None]:
    redis.kill()
    return redis.start


def flushed(redis: RedisServer) -> Callable[[], None]:
    redis.command("FLUSHALL")
    return lambda: None


def read_only(redis: RedisServer) -> Callable[[], None]:
    redis.command("REPLICAOF", "127.0.0.1", "1")
    return lambda: redis.command("REPLICAOF", "NO", "ONE")


def hung(redis: RedisServer) -> Callable[[], None]:
    redis.hang()
    return redis.wake


@pytest.mark.parametrize("fault", [killed, flushed, read_only, hung])
async def test_whatever_befalls_redis_latest_and_windows_are_right(
    plant: Plant, process: Make, redis: RedisServer, fault: Callable[[RedisServer], Callable[[], None]]
):
    one, other = process(), process()
    reader, cache = Reader(plant.database), RedisLatest(redis.url)
    async with looking(one, other) as took:
        await plant.store(R(T, NOW_US - 200 * S, 0.0))
        await until_right(one, other, 0.0, reader)
        mend = fault(redis)
        for i in range(1, 7):
            await plant.store(R(T, NOW_US - 100 * S + i * S, float(i)))
            await asyncio.sleep(0.5)
            for each in (one, other):
                assert await answers_in_time(each) or i < 6
        await until_right(one, other, 6.0, reader, seconds=2.0)
        mend()
        await until_right(one, other, 6.0, reader, cached=True)
        (reading,) = await cache.get([T])
        assert reading is not None
        assert reading.value == 6.0
    assert max(took) < 2.2
    assert {one.part, other.part} == {Part.LEADS, Part.LISTENS}
    await cache.close()


async def answers_in_time(following: Following) -> bool:
    async with asyncio.timeout(2.2):
        (reading,) = await following.latest([T])
        await following.window(1, 300.0)
    return reading is not None


async def until_right(
    one: Following, other: Following, value: float, reader: Reader, *, cached: bool = False, seconds: float = 5.0
) -> None:
    """Both know the newest value, and a window that tells anything tells what the history says."""
    span = span_of(300.0, NOW_US)
    points = await reader.points(1, span.start_us, NOW_US + S)
    until_s = time.monotonic() + seconds
    for each in (one, other):
        while True:
            (reading,) = await each.latest([T])
            found = await each.window(1, 300.0)
            right = found is None if not cached else found is not None
            if found is not None:
                right = asdict(window_told(found)) == pytest.approx(asdict(window(points)))
            if reading is not None and reading.value == value and right:
                break
            assert time.monotonic() < until_s, (each.part, reading, found)
            await asyncio.sleep(0.05)


async def test_nothing_that_redis_does_is_anybody_elses_error(plant: Plant, redis: RedisServer):
    feed = RedisFeed("redis://127.0.0.1:1/0")
    with pytest.raises(Unavailable):
        await feed.lead()
    await feed.resign()
    await feed.close()
