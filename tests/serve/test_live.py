"""Live values follow the commits within a second, are conflated, resume, and never make anyone wait."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from make import R
from penstock.errors import Backpressure, Unavailable
from penstock.model.access import Caller, Role
from penstock.serve.hub import LISTENERS_MAX, Hub, Listener, Wish
from penstock.store.follow import Tail
from penstock.store.latest import LatestReading, LatestRows, MemoryLatest
from serve.plant import NOW_US, Plant, T, plant_on
from serve.test_readings import get

ALL = Caller("k", "ada", Role.VIEWER, frozenset("*"))
S = 1_000_000


def wish(prefix: str = "", sites: str = "*") -> Wish:
    return Wish(Caller("k", "ada", Role.VIEWER, frozenset([sites])), prefix=prefix)


def said(listener: Listener) -> list[tuple[str, bytes]]:
    return [(news.key, news.data) for news in listener.take()]


async def test_latest_follows_commits_late_never_replaces(plant: Plant, client: httpx.AsyncClient) -> None:
    await plant.store(R(T, NOW_US, 1.0), R("lyon/press/mode", NOW_US, state="ON"))
    await plant.serving.live.look()
    await plant.store(R(T, NOW_US - 5 * S, 0.5), R(T, NOW_US, 2.0, seq=1))
    await plant.serving.live.look()
    items = {item["tag"]: item for item in (await get(client, "/v1/latest", prefix="lyon"))["items"]}
    assert (items[T]["value"], items[T]["seq"]) == (2.0, 1)
    assert (items["lyon/press/mode"]["state"], items["lyon/press/mode"]["value"]) == ("ON", None)
    (stored,) = (await get(client, "/v1/readings", tag="lyon/press/mode"))["items"]
    assert items["lyon/press/mode"] == stored
    page = await get(client, "/v1/latest", limit=1)
    rest = await get(client, "/v1/latest", limit=1, cursor=page["next"])
    assert [each["items"][0]["tag"] for each in (page, rest)] == sorted(items)
    assert rest["next"] is None


@pytest.mark.parametrize("sealed", [False, True])
async def test_a_new_process_finds_the_newest_of_every_tag(plant: Plant, sealed: bool) -> None:
    await plant.store(*(R(f"lyon/a/x{i}", NOW_US + i, 0.5 + i, quality=i % 2 << 30) for i in range(150)))
    await plant.store(R("lyon/a/x7", NOW_US - S, -1.0), R("lyon/a/x8", NOW_US + 8, 99.0, seq=3))
    if sealed:
        await plant.seal(0)
        await plant.seal(1)
    await plant.serving.live.look()
    paths = [f"lyon/a/x{i}" for i in range(150)]
    found = [reading for reading in await plant.latest.get(paths) if reading is not None]
    assert [reading.value for reading in found] == [99.0 if i == 8 else 0.5 + i for i in range(150)]
    assert all(0 < reading.received_us <= reading.stored_us or reading.stored_us > 0 for reading in found)


async def test_what_is_sealed_before_it_was_seen_still_shows(plant: Plant, client: httpx.AsyncClient) -> None:
    live = plant.serving.live
    await plant.store(R(T, NOW_US, 1.0))
    await live.look()
    listener = live.listen(wish(), "")
    await plant.store(R(T, NOW_US + S, 2.0, seq=4), R("lyon/new/x", NOW_US, 0.125))
    await plant.seal()
    await asyncio.sleep(0.5)
    await live.look()
    items = (await get(client, "/v1/latest"))["items"]
    assert {item["tag"]: (item["value"], item["seq"]) for item in items} == {T: (2.0, 4), "lyon/new/x": (0.125, None)}
    assert {key for key, _ in said(listener)} >= {T, "lyon/new/x"}


class _Away(MemoryLatest):
    """A cache that can be away, and forget."""

    away = False

    async def put(self, rows: LatestRows) -> None:
        if self.away:
            raise Unavailable("away")
        await super().put(rows)

    async def generation(self) -> str:
        if self.away:
            raise Unavailable("away")
        return await super().generation()

    async def get(self, paths: object) -> list[LatestReading | None]:
        if self.away:
            raise Unavailable("away")
        return await super().get(paths)  # type: ignore[arg-type]


async def test_a_cache_that_was_away_or_forgot_is_filled_anew(postgres_url: str) -> None:
    cache = _Away()
    async with plant_on(postgres_url, latest=cache) as plant, plant.client() as client:
        await plant.store(R(T, NOW_US, 1.0))
        await plant.serving.live.look()
        cache.away = True
        await plant.store(R(T, NOW_US + 1, 2.0))
        await plant.serving.live.look()
        assert (await get(client, "/v1/latest", tag=T))["items"][0]["value"] == 2.0  # from memory meanwhile
        await cache.reset()
        cache.away = False
        plant.serving.live._health_due_s = 0.0
        await plant.serving.live.look()
        assert (await cache.get([T]))[0].value == 2.0  # type: ignore[union-attr]


def test_a_slow_listener_gets_the_newest_only() -> None:
    hub = Hub()
    slow = hub.listen(wish())
    for i in range(10_000):
        hub.tell("reading", [(f"lyon/a/x{i % 3}", f"lyon/a/x{i % 3}", b"%d" % i)], 0.0)
    assert said(slow) == [("lyon/a/x1", b"9997"), ("lyon/a/x2", b"9998"), ("lyon/a/x0", b"9999")]
    assert said(slow) == []


def test_listeners_hear_what_they_may_and_asked_for() -> None:
    hub = Hub()
    narrow, scoped = hub.listen(wish("lyon/a")), hub.listen(wish(sites="metz"))
    named = hub.listen(Wish(ALL, frozenset(["metz/b/y"]), only_tags=True))
    nothing = hub.listen(Wish(ALL, frozenset(), only_tags=True))
    hub.tell("reading", [(path, path, path.encode()) for path in ("lyon/a/x", "lyon/b/x", "metz/b/y")], 0.0)
    hub.tell("alarm", [("7", "lyon/b/x", b"alarm")], 0.0)
    assert [key for key, _ in said(narrow)] == ["lyon/a/x", "7"]
    assert [key for key, _ in said(scoped)] == ["metz/b/y"]
    assert [key for key, _ in said(named)] == ["metz/b/y", "7"]
    assert [key for key, _ in said(nothing)] == ["7"]


def test_listening_resumes_within_a_minute_else_resets() -> None:
    hub = Hub()
    first = hub.listen(wish())
    hub.tell("reading", [("lyon/a/x", "lyon/a/x", b"1")], 0.0)
    seen = hub.id_of(first.take()[-1].number)
    hub.tell("reading", [("lyon/a/x", "lyon/a/x", b"2"), ("lyon/a/y", "lyon/a/y", b"3")], 30.0)
    back = hub.listen(wish(), seen)
    assert (back.reset, said(back)) == (False, [("lyon/a/x", b"2"), ("lyon/a/y", b"3")])
    hub.tell("reading", [("lyon/a/x", "lyon/a/x", b"4")], 95.0)
    assert hub.listen(wish(), seen).reset
    assert hub.listen(wish(), "00000000-1").reset
    assert hub.listen(wish(), "nonsense").reset


def test_too_many_listeners_are_refused() -> None:
    hub = Hub()
    listeners = [hub.listen(wish()) for _ in range(LISTENERS_MAX)]
    with pytest.raises(Backpressure):
        hub.listen(wish())
    hub.leave(listeners[0])
    hub.listen(wish())


@asynccontextmanager
async def listening(plant: Plant, last_id: str = "") -> AsyncIterator[AsyncIterator[bytes]]:
    live = plant.serving.live
    events = live.events(live.listen(wish(), last_id))
    try:
        yield events
    finally:
        await events.aclose()  # type: ignore[attr-defined]


async def heard(events: AsyncIterator[bytes], what: str) -> object:
    """The data of the next event of that name."""
    async with asyncio.timeout(10):
        async for chunk in events:
            for event in chunk.decode().split("\n\n"):
                fields = dict(line.split(": ", 1) for line in event.splitlines() if ": " in line)
                if fields.get("event") == what:
                    return json.loads(fields["data"])
    raise AssertionError(f"no {what}")


async def test_events_tell_readings_alarms_and_health(plant: Plant, client: httpx.AsyncClient) -> None:
    stop = asyncio.Event()
    await plant.store(R(T, NOW_US, 1.0))
    await client.put(f"/v1/tags/{T}", json={"limits": {"hh": 90.0}})
    running = asyncio.create_task(plant.serving.run(stop))
    await asyncio.sleep(0.3)
    async with listening(plant) as events:
        await plant.store(R(T, NOW_US + 1, 95.0))
        reading = await heard(events, "reading")
        assert [(each["tag"], each["value"]) for each in reading] == [(T, 95.0)]  # type: ignore[attr-defined]
    async with listening(plant, f"{plant.serving.live.hub._generation}-1") as events:
        alarm = await heard(events, "alarm")
        assert (alarm["tag"], alarm["test"]) == (T, "limit_hh")  # type: ignore[index]
    async with listening(plant) as events:
        health = await heard(events, "health")
        assert (health["worker"], health["balance"]["unaccounted"]) == (True, 0)  # type: ignore[index]
        stop.set()
        await running
        async for _ in events:  # it ends
            pass
    assert plant.serving.live.hub.listeners == 0


async def test_a_tag_is_told_twice_a_second_at_most(plant: Plant) -> None:
    live = plant.serving.live
    await live.look()
    listener = live.listen(wish(), "")
    told = []
    began = asyncio.get_running_loop().time()
    for i in range(12):
        await plant.store(R(T, NOW_US + i, float(i)))
        await live.look()
        told += [data for key, data in said(listener) if key == T]
    elapsed = asyncio.get_running_loop().time() - began
    assert 1 <= len(told) <= elapsed * 2 + 1
    await asyncio.sleep(0.5)
    await live.look()
    told += [data for key, data in said(listener) if key == T]  # nothing more where the last look was slow enough
    assert json.loads(told[-1])["value"] == 11.0


FAR = 2**186
"""As far as positions in Kinesis go."""


async def test_positions_of_any_size_new_shards_and_ended_ones_are_followed(plant: Plant) -> None:
    tail = Tail(plant.database)
    await plant.store(R(T, NOW_US, 1.0))
    await tail.rebuild(NOW_US)
    await plant.rows("update shard set position = position + %(far)s returning 1", far=FAR)
    await plant.rows("update flush set position_hi = position_hi + %(far)s returning 1", far=FAR)
    first = await tail.look()
    assert (set(first.heads.values()) & {FAR + 1}, len(first.rows), first.fold.buckets["n"].sum()) == ({FAR + 1}, 1, 1)
    assert len((await tail.look()).rows) == 0
    await plant.rows("update shard set shard = 'bulk-2' where shard = 'bulk' returning 1")
    await plant.rows("update flush set shard = 'bulk-2' returning 1")
    renamed = await tail.look()
    assert {shard for _, shard in renamed.heads if shard.startswith("bulk")} == {"bulk-2"}
    assert renamed.fold.heads == {(next(iter(renamed.heads))[0], "bulk-2"): FAR + 1}
