"""The reading side of a plant whose stream many machines share: balance, trace, shards, health and metrics."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import httpx
import numpy as np
import pytest

from make import R, batch
from penstock.clock import FakeClock
from penstock.door.keys import Keyring
from penstock.errors import Unavailable, Unknown
from penstock.model.access import Caller, Role
from penstock.model.batch import Lane
from penstock.model.shard import Shard
from penstock.serve.http import Serving, serve_app
from penstock.serve.parts import ServeParts
from penstock.serve.shared import SharedTallies
from penstock.settings import Settings
from penstock.store.access import Access
from penstock.store.latest import MemoryLatest
from penstock.store.port import Arrivals, Fates, Repeats, Span
from penstock.stream.port import BatchRef, Entry, Origin
from serve.plant import NOW_US, T, as_caller
from serve.test_readings import get
from store.shared_books import STREAM, SharedBooks, foreign, shared_books

ME = UUID(int=77)
FAR = 2**100
HALVES = (Shard("s-critical", Lane.CRITICAL), Shard("s-lo", Lane.BULK, slices=range(32)),
          Shard("s-hi", Lane.BULK, slices=range(32, 64)))  # fmt: skip


@dataclass
class Kept:
    """What serve asks of a shared stream: the entries that it still keeps."""

    identity: str = STREAM
    entries: list[Entry] = field(default_factory=list)
    away: bool = False

    def batch(self, batch_id: str) -> BatchRef:
        request, _, readings = batch_id.partition("x")
        if not readings.isdigit():
            raise Unknown("there is no such batch")
        return BatchRef(ME, int(request), int(readings))

    async def between(self, shard: str, after: int, upto: int) -> Sequence[Entry]:
        return [entry for entry in self.entries if entry.shard == shard and after < entry.position <= upto]

    async def ready(self) -> None:
        if self.away:
            raise Unavailable("the stream does not answer")


@dataclass
class Shared:
    books: SharedBooks
    stream: Kept
    serving: Serving

    def client(self, *sites: str) -> httpx.AsyncClient:
        caller = Caller("k1", "ada", Role.ADMIN, frozenset(sites or ("*",)))
        transport = httpx.ASGITransport(app=as_caller(self.serving.app, caller))
        return httpx.AsyncClient(transport=transport, base_url="http://t")

    def put(self, shard: str, position: int, *readings: tuple[int, int, R], producer: UUID = ME) -> Entry:
        """An entry of (request, item, reading) on the stream."""
        requests, items, bodies = zip(*readings, strict=True)
        origin = Origin(producer, 0, len(readings), np.array(requests), np.array(items, np.int32))
        self.stream.entries.append(Entry(shard, FAR + position, 0, NOW_US, batch(*bodies), origin))
        return self.stream.entries[-1]

    async def commit(self, *entries: Entry, lo: int, repeated: Sequence[int] = (), **fates: int) -> None:
        """A flush through the last of *entries*; a duplicate is the reading at index 1 of the first."""
        shard, hi = entries[-1].shard, entries[-1].position
        lease = await self.books.history.claim(STREAM, [shard], "taker")
        requests = np.concatenate([entry.origin.request for entry in entries if entry.origin])
        arrivals = Arrivals(requests={ME: (int(requests.min()), int(requests.max()))}, repeated=repeated)
        at = lease.checkpoints[shard].position or lo
        await self.books.ask("update shard set position = %(at)s where shard = %(shard)s", at=at, shard=shard)
        async with self.books.history.flush(lease, Span(shard, at, hi, 0, NOW_US)) as flush:
            (tag,) = await flush.register([T])
            if fates.get("duplicate"):
                await flush.keep(
                    [], [], Repeats([entries[0].position], np.array([1], np.int32), np.array([tag.tag_id], np.int32))
                )
            await flush.settle({NOW_US: Fates(**fates)}, arrivals)


@pytest.fixture
async def shared(postgres_url: str) -> AsyncIterator[Shared]:
    async with shared_books(postgres_url) as books:
        stream, access = Kept(), Access(books.database)
        parts = ServeParts(
            database=books.database, stream=stream, latest=MemoryLatest(), keys=access, keyring=Keyring(access),
            clock=FakeClock(NOW_US), settings=Settings(), version="0.1.0",
            tallies=SharedTallies(books.database, stream),
        )  # fmt: skip
        yield Shared(books, stream, serve_app(parts))


@pytest.fixture
async def client(shared: Shared) -> AsyncIterator[httpx.AsyncClient]:
    async with shared.client() as client:
        yield client


async def test_the_balance_and_its_minutes_come_from_what_producers_counted(
    shared: Shared, client: httpx.AsyncClient
) -> None:
    books, producer = shared.books, shared.books.producer()
    lost, first, waiting = producer.put(2), producer.put(10), producer.put(5, belt=64)
    await producer.publish()
    await books.take(foreign(3), quarantined=1)
    told = await get(client, "/v1/balance")
    assert told == {
        "received": 20, "stored": 2, "duplicate": 0, "conflict": 0, "quarantined": 1, "in_flight": 17,
        "unaccounted": 0, "late": 0,
    }  # fmt: skip
    minute = {"start": first.minute, "end": first.minute + 60_000_000}
    assert await get(client, "/v1/balance", **minute) == told
    await books.take(first)
    for query in ({}, minute):
        told = await get(client, "/v1/balance", **query)
        assert (told["received"], told["in_flight"], told["unaccounted"]) == (20, waiting.readings, lost.readings)
    text = (await client.get("/metrics")).text
    for line in (
        "penstock_balance_unaccounted_readings 2.0",
        "penstock_readings_received_total 20.0",
        "penstock_producers 1.0",
        "penstock_store_up 1.0",
    ):
        assert line in text, line


async def test_a_batch_is_traced_through_the_records_that_carried_it(shared: Shared, client: httpx.AsyncClient) -> None:
    bulk = shared.put("s-lo", 5, (6, 0, R(T, NOW_US, 1.0)), (7, 2, R(T, NOW_US, 1.0)), (7, 0, R("oslo/a/b", 1, 1.0)))
    again = shared.put("s-lo", 6, (7, 0, R("oslo/a/b", 1, 1.0)))
    other = shared.put("s-lo", 7, (7, 3, R("oslo/stranger", 1, 1.0)), producer=UUID(int=8))
    critical = shared.put("s-critical", 1, (7, 1, R(T, NOW_US + 1, 1.0)))
    assert await get(client, "/v1/trace/7x3") == {"batch_id": "7x3", "items": [], "complete": False, "in_flight": 3}
    await shared.commit(bulk, lo=FAR + 4, stored=2, duplicate=1)
    await shared.commit(again, other, lo=0, repeated=[again.position], stored=1)
    told = await get(client, "/v1/trace/7x3")
    assert (told["complete"], told["in_flight"]) == (False, 1)
    assert [(item["index"], item["tag"], item["fate"]) for item in told["items"]] == [
        (0, "oslo/a/b", "stored"), (2, T, "duplicate"),
    ]  # fmt: skip
    assert told["items"][0]["where"] == "flush 1"
    await shared.commit(critical, lo=FAR, stored=1)
    told = await get(client, "/v1/trace/7x3")
    assert (told["complete"], told["in_flight"], len(told["items"])) == (True, 0, 3)
    ((one,), sixth) = ((await get(client, "/v1/trace/7x3", index=1))["items"], await get(client, "/v1/trace/6x1"))
    assert (one["tag"], one["fate"]) == (T, "stored")
    assert [item["index"] for item in sixth["items"]] == [0]
    assert (await client.get("/v1/trace/7x3?index=3")).status_code == 404
    assert (await client.get("/v1/trace/nonsense")).status_code == 404
    async with shared.client("oslo") as narrow:
        assert [item["tag"] for item in (await get(narrow, "/v1/trace/7x3"))["items"]] == ["oslo/a/b"]
        assert (await narrow.get("/v1/trace/6x1")).status_code == 404


async def test_a_record_put_twice_is_told_as_it_was_the_first_time(shared: Shared, client: httpx.AsyncClient) -> None:
    readings = [(7, 0, R(T, NOW_US, 1.0)), (7, 1, R(T, NOW_US, 1.0))]
    first, again = shared.put("s-lo", 5, *readings), shared.put("s-lo", 6, *readings)
    await shared.commit(first, again, lo=FAR, repeated=[again.position], stored=1, duplicate=1)
    told = await get(client, "/v1/trace/7x2")
    assert [item["fate"] for item in told["items"]] == ["stored", "duplicate"]
    assert told["complete"] is True


async def test_a_batch_that_the_stream_keeps_no_more_is_not_made_up(shared: Shared, client: httpx.AsyncClient) -> None:
    entry = shared.put("s-lo", 5, (7, 0, R(T, NOW_US, 1.0)), (7, 1, R(T, NOW_US, 1.0)))
    await shared.commit(entry, lo=0, stored=1, duplicate=1)
    shared.stream.entries.clear()
    assert await get(client, "/v1/trace/7x2") == {"batch_id": "7x2", "items": [], "complete": False, "in_flight": 0}


async def test_readings_that_were_sent_on_are_told_with_a_doubt(shared: Shared, client: httpx.AsyncClient) -> None:
    entry = shared.put("s-lo", 5, (7, 0, R(T, NOW_US, 1.0)), (7, 1, R("oslo/a/b", NOW_US, 1.0)))
    await shared.commit(entry, lo=0, stored=1, moved=1)
    told = await get(client, "/v1/trace/7x2")
    assert (len(told["items"]), told["complete"], told["in_flight"]) == (2, False, 0)


async def test_shards_tell_owner_epoch_and_how_far_behind(shared: Shared, client: httpx.AsyncClient) -> None:
    await shared.books.lease(*HALVES, Shard("s-old", Lane.BULK))
    await shared.books.ask("update shard set ended = true where shard = 's-old'")
    for shard, behind_ms in (("s-critical", 0), ("s-lo", 1_500), ("s-hi", 0)):
        await shared.books.beat(shard, behind_ms)
    await shared.books.ask("update lease set expires_at = clock_timestamp() where unit = 's-hi'")
    producer = shared.books.producer()
    producer.put(4, belt=3)
    producer.put(5, belt=40)
    producer.put(6, belt=64 + 40)
    await producer.publish()
    plant = await get(client, "/v1/plant")
    told = {shard["shard"]: shard for shard in plant["shards"]}
    assert told.keys() == {shard["shard"] for shard in (await get(client, "/v1/shards"))["items"]}
    assert {name: shard["lag"] for name, shard in told.items()} == {"s-critical": 6, "s-lo": 4, "s-hi": 5}
    assert told["s-lo"] == {
        "stream": STREAM, "shard": "s-lo", "lane": "bulk", "owner": "taker", "held": True, "epoch": 1,
        "position": "0", "committed": 0, "lag": 4, "behind_s": 1.5, "last_commit": None,
    }  # fmt: skip
    assert told["s-hi"]["held"] is False
    assert plant["conditions"] == []
    text = (await client.get("/metrics")).text
    for line in (
        'penstock_shard_lag_readings{shard="s-critical"} 6.0',
        'penstock_lease_behind_seconds{shard="s-lo"} 1.5',
        'penstock_leases{owner="taker"} 2.0',
        'penstock_leases{owner=""} 1.0',
    ):
        assert line in text, line
    assert "s-old" not in text
    async with shared.client("lyon") as narrow:
        assert {shard["owner"] for shard in (await get(narrow, "/v1/plant"))["shards"]} == {None}


async def test_a_condition_is_told_with_its_mend_and_a_commit_with_its_time(
    shared: Shared, client: httpx.AsyncClient
) -> None:
    await shared.books.lease(Shard("s-0"))
    await shared.books.beat("s-0", 3_600_000)
    await shared.books.ask("update lease set progress_at = clock_timestamp() - interval '31 seconds'")
    (told,) = (await get(client, "/v1/plant"))["conditions"]
    assert told.keys() == {"name", "severity", "shard", "since", "why", "mend"}
    assert (told["name"], told["shard"]) == ("shard_stuck", "s-0")
    await shared.books.take(shared.books.producer().put(1))
    plant = await get(client, "/v1/plant")
    assert plant["conditions"] == []
    assert plant["shards"][0]["last_commit"].endswith("Z")


async def test_positions_beyond_what_javascript_tells_apart_are_text(shared: Shared, client: httpx.AsyncClient) -> None:
    await shared.books.take(shared.books.producer().put(1))
    (shard,) = (await get(client, "/v1/shards"))["items"]
    assert shard["position"] == str(2**70 + 1)


async def test_after_a_split_what_is_in_flight_waits_in_the_parent(shared: Shared, client: httpx.AsyncClient) -> None:
    parent = Shard("parent", Lane.BULK)
    await shared.books.leases.meet(
        STREAM,
        [parent, Shard("a", Lane.BULK, ("parent",), range(32)), Shard("b", Lane.BULK, ("parent",), range(32, 64))],
    )
    producer = shared.books.producer()
    producer.put(4, belt=3)
    await producer.publish()

    async def lags() -> dict[str, int]:
        return {shard["shard"]: shard["lag"] for shard in (await get(client, "/v1/shards"))["items"]}

    assert await lags() == {"a": 0, "b": 0, "parent": 4}
    await shared.books.ask("update shard set ended = true where shard = 'parent'")
    assert await lags() == {"a": 4, "b": 0}


async def test_a_worker_that_commits_nothing_is_noticed_and_a_lost_tail_is_not_taken_for_one(
    shared: Shared, client: httpx.AsyncClient
) -> None:
    pulse = shared.serving.live._pulse
    await shared.books.lease(Shard("s-0"))
    producer = shared.books.producer()
    producer.put(4)
    await producer.publish()
    assert (await client.get("/readyz")).status_code == 200
    pulse._moved_s -= 11.0
    answer = await client.get("/readyz")
    assert (answer.status_code, answer.json()["failing"].keys()) == (503, {"worker"})
    await shared.books.age(61)
    await shared.books.beat("s-0")  # everything was taken: these will not come
    assert (await client.get("/readyz")).status_code == 200
    assert (await get(client, "/v1/balance"))["unaccounted"] == 4


async def test_a_stream_that_is_away_takes_nothing(shared: Shared, client: httpx.AsyncClient) -> None:
    assert (await client.get("/readyz/ingest")).status_code == 200
    shared.stream.away = True
    for path in ("/readyz/ingest", "/readyz"):
        answer = await client.get(path)
        assert (answer.status_code, answer.json()["failing"]) == (503, {"stream": "does not answer"})


async def test_the_balance_of_a_tag_is_what_was_found_of_it(shared: Shared, client: httpx.AsyncClient) -> None:
    await shared.commit(shared.put("s-lo", 1, (7, 0, R(T, NOW_US, 1.0)), (7, 1, R(T, NOW_US, 1.0))), lo=0, duplicate=1)
    told = await get(client, "/v1/balance", tag=T)
    assert (told["received"], told["duplicate"], told["in_flight"], told["unaccounted"]) == (1, 1, 0, 0)
