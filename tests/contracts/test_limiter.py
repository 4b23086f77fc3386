"""What every limiter promises; in one process, and in many that share a real Redis."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from penstock.door import redis
from penstock.door.limit import Limiter
from penstock.door.port import RateLimit
from penstock.door.redis import RedisLimiter, RedisLine
from redis_server import RedisServer


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory):
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.kill()


@pytest.fixture(params=["local", pytest.param("redis", marks=pytest.mark.redis)])
async def limiter(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RateLimit]:
    """200 a second, 400 at once; patient with a Redis on a busy machine."""
    monkeypatch.setattr(redis, "ANSWER_S", 2.0)
    if request.param == "local":
        yield Limiter(200, 400)
        return
    server = request.getfixturevalue("redis_server")
    server.command("FLUSHALL")
    line = RedisLine(server.url)
    await line.check()
    yield RedisLimiter(line, Limiter(1, 1))  # whatever fell back would be seen at once
    await line.close()


@pytest.fixture
def take(limiter):
    async def take(name, rate=200.0, burst=400.0):
        return await limiter.take(name, rate, burst)

    return take


async def test_a_burst_passes_and_then_the_rate(take):
    started = time.monotonic()
    verdicts = [await take("a") for _ in range(500)]
    passed = sum(verdict.passes for verdict in verdicts)
    assert 400 <= passed <= 401 + 200 * (time.monotonic() - started)
    assert all(verdict.passes for verdict in verdicts[:400])
    assert verdicts[0][1:] == (399, 0, 1, 400, 2)


async def test_a_refusal_says_when_to_come_back_and_what_the_limit_is(take):
    for _ in range(3):
        await take("a", 0.25, 3)
    verdict = await take("a", 0.25, 3)
    assert verdict == (False, 0, 4, 12, 3, 12)
    assert not (await take("a", 0.25, 3)).passes, "a refusal takes nothing and gives nothing"


async def test_a_bucket_refills_at_its_rate_and_never_beyond_its_burst(take):
    for _ in range(5):
        assert (await take("a", 50, 5)).passes
    await asyncio.sleep(0.1)
    assert (await take("a", 50, 5)).remaining in (4, 3)
    await asyncio.sleep(0.2)
    assert (await take("a", 50, 5)).remaining == 4


async def test_every_name_has_a_bucket_of_its_own(take):
    while (await take("noisy", 1, 3)).passes:
        pass
    assert (await take("honest", 1, 3)).remaining == 2


async def test_a_rate_of_nothing_is_no_limit_and_a_burst_of_nothing_lets_one_pass(take):
    assert await take("a", 0, 1) is None
    assert (await take("b", 1, 0)).passes
    assert not (await take("b", 1, 0)).passes


async def test_a_thousand_at_once_are_counted_one_by_one(take):
    started = time.monotonic()
    verdicts = await asyncio.gather(*(take("a", 100, 300) for _ in range(1_000)))
    passed = sum(verdict.passes for verdict in verdicts)
    assert 300 <= passed <= 301 + 100 * (time.monotonic() - started)


async def test_a_third_of_a_request_is_not_lost_in_rounding(take):
    """A rate of no round interval: exactly the burst passes, no float eats the last one."""
    verdicts = [await take("a", 0.003, 400) for _ in range(401)]
    assert [verdict.passes for verdict in verdicts] == [True] * 400 + [False]


async def test_a_fast_bucket_gives_its_whole_burst(take):
    """A microsecond lost in writing down a time would be a request in sixty."""
    verdicts = await asyncio.gather(*(take("a", 15_000, 1_000) for _ in range(1_000)))
    assert all(verdict.passes for verdict in verdicts)


async def test_the_rate_over_a_while_is_exact_to_one_in_a_hundred(take):
    """With room for a second, so that a stall of the machine loses nothing."""

    async def drain():
        passed = 0
        while (await take("a", 400, 400)).passes:
            passed += 1
        return passed

    await drain()
    passed, started = 0, time.monotonic()
    while time.monotonic() - started < 1:
        passed += await drain()
        await asyncio.sleep(0.01)
    passed += await drain()
    assert passed == pytest.approx(400 * (time.monotonic() - started), rel=0.01, abs=2)
