"""Adapters are chosen by URL, and an unknown one stops the start with its setting's name and the mend."""

from pathlib import Path

import pytest

from penstock.compose.adapters import open_local, opened_stream, url_of_store
from penstock.compose.caches import door_caches, serve_caches
from penstock.door.limit import Limiter
from penstock.door.redis import RedisLimiter
from penstock.errors import Misconfigured, Unavailable
from penstock.settings import read_settings
from penstock.store.latest import MemoryLatest
from penstock.stream.log import LogStream
from penstock.stream.memory import MemoryStream


async def test_streams(tmp_path: Path) -> None:
    assert isinstance(open_local(read_settings(stream={"url": "memory:"}), writable=True), MemoryStream)
    log = open_local(read_settings(data=tmp_path), writable=True)
    assert isinstance(log, LogStream)
    assert (tmp_path / "stream" / "log.db").exists()
    await log.close()


async def test_caches() -> None:
    async with serve_caches(read_settings()) as caches, door_caches(read_settings()) as door:
        assert isinstance(caches.latest, MemoryLatest)
        assert isinstance(door.limiter, Limiter)


async def test_a_redis_that_is_away_stops_no_door() -> None:
    async with door_caches(read_settings(cache={"url": "redis://127.0.0.1:1"})) as door:
        assert isinstance(door.limiter, RedisLimiter)
        assert (await door.limiter.take("someone")) is not None


async def test_an_unknown_adapter_is_named() -> None:
    settings = read_settings(stream={"url": "kafka://x"}, cache={"url": "kafka://x"})
    for opening in (opened_stream(settings, writable=True), door_caches(settings), serve_caches(settings)):
        with pytest.raises(Misconfigured, match=r"(stream|cache)\.url.*kafka.*use "):
            await opening.__aenter__()


@pytest.mark.parametrize(
    ("stream", "named"),
    [
        ({"url": "kinesis://"}, "stream.url: names no stream"),
        ({"url": "kinesis://one", "critical": "one"}, "stream.critical: is the same stream"),
        ({"url": "kinesis://one", "region": "eu-central-1", "endpoint": "nowhere"}, "stream.endpoint"),
    ],
)
async def test_a_stream_that_cannot_be_is_named(stream: dict[str, str], named: str) -> None:
    with pytest.raises(Misconfigured, match=named):
        await opened_stream(read_settings(stream=stream), writable=True).__aenter__()


def test_the_embedded_database_is_found_by_the_note_of_who_runs_it(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="penstock up"):
        url_of_store(read_settings(data=tmp_path))
    assert url_of_store(read_settings(store={"url": "postgresql://h/d"})) == "postgresql://h/d"


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"door": {"port": 80_000}}, "door.port"),
        ({"process": {"linger_ms": -1}}, "process.linger_ms"),
        ({"stream": {"urls": "log:"}}, "stream.urls"),
        ({"no_such_room": 1}, "no_such_room"),
    ],
)
def test_a_wrong_setting_is_named(given: dict[str, object], named: str) -> None:
    with pytest.raises(Misconfigured, match=named):
        read_settings(**given)


def test_the_environment_sets_what_no_argument_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_DOOR__PORT", "9000")
    assert read_settings().door.port == 9000
    assert read_settings(door={"port": 9001}).door.port == 9001
