"""Adapters are chosen by URL, and an unknown one stops the start with its setting's name and the mend."""

from pathlib import Path

import pytest

from penstock.compose.adapters import open_cache, open_stream, url_of_store
from penstock.errors import Misconfigured, Unavailable
from penstock.settings import read_settings
from penstock.store.latest import MemoryLatest
from penstock.store.redis import RedisLatest
from penstock.stream.log import LogStream
from penstock.stream.memory import MemoryStream


async def test_streams(tmp_path: Path) -> None:
    assert isinstance(open_stream(read_settings(stream={"url": "memory:"}), writable=True), MemoryStream)
    log = open_stream(read_settings(data=tmp_path), writable=True)
    assert isinstance(log, LogStream)
    assert (tmp_path / "stream" / "log.db").exists()
    await log.close()


async def test_caches() -> None:
    assert isinstance(open_cache(read_settings()), MemoryLatest)
    redis = open_cache(read_settings(cache={"url": "redis://127.0.0.1:1"}))
    assert isinstance(redis, RedisLatest)
    await redis.close()


@pytest.mark.parametrize("room", ["stream", "cache"])
def test_an_unknown_adapter_is_named(room: str) -> None:
    settings = read_settings(**{room: {"url": "kafka://x"}})
    with pytest.raises(Misconfigured, match=f"{room}.url.*kafka.*use "):
        open_stream(settings, writable=True) if room == "stream" else open_cache(settings)


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
