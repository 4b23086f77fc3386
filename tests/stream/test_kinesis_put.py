"""Putting into Kinesis: nothing is lost and nothing overtakes, whatever Kinesis does."""

import asyncio
from base64 import urlsafe_b64encode
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import count, islice
from typing import NamedTuple
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinesis_fake import FakeKinesis
from penstock.clock import FakeClock
from penstock.errors import Backpressure, PenstockError, TooLarge, Unavailable, Unknown
from penstock.model.batch import Lane, ReadingBatch, batch_of
from penstock.model.slices import BELTS, SLICES, slice_of
from penstock.stream.batch_id import SharedBatch, shared_batch_id, shared_batch_of
from penstock.stream.kinesis.belts import Belts
from penstock.stream.kinesis.client import Fate, Kinesis, Outgoing
from penstock.stream.kinesis.put import MINUTE_US, Producer, PutLimits
from penstock.stream.kinesis.wave import RECORD_BYTES_MAX, Ask, Waiting, cut_wave, weight_of
from penstock.stream.port import Receipt
from penstock.stream.wire import Record, decode_record
from stream.on_fake import Plant, connect, create, fake
from stream.readings import any_batch, content

NOW_US = 1_790_000_000_000_000
PATHS = tuple(f"lyon/press/line-{i}/t" for i in range(200))
QUICK = PutLimits(retry_first_s=0.002, retry_max_s=0.02, records_per_s=1e6, critical_records_per_s=1e6, close_s=3)
BOTH = {Lane.BULK: "plant", Lane.CRITICAL: "plant"}
READ_MAX_BYTES = 2**20


def numbered(first: int, n: int, paths: Sequence[str] = PATHS) -> ReadingBatch:
    """Readings whose value counts up from *first*, over all *paths* in turn."""
    return batch_of(paths, np.arange(first, first + n) % len(paths), NOW_US + np.arange(n), np.arange(first, first + n))


class Arrived(NamedTuple):
    """A record as a taker sees it."""

    shard: str
    position: int
    record: Record


class Double:
    """Kinesis' put in process: one shard, and whatever *trouble* does to a call."""

    def __init__(self) -> None:
        self.calls: list[list[bytes]] = []
        self.arrived: list[Arrived] = []
        self.sizes: list[int] = []
        self.hold = asyncio.Event()
        self.hold.set()
        self.held_streams: set[str] = set()
        self.fails: PenstockError | None = None
        self.stuck: set[str] = set()
        """Hash keys that are throttled."""
        self._numbers = count(1)

    async def put(self, stream: str, records: Sequence[Outgoing]) -> Sequence[Fate]:
        self.calls.append([record["Data"] for record in records])
        self.sizes.append(sum(len(record["Data"]) + len(record["PartitionKey"]) for record in records))
        await asyncio.sleep(0)
        if stream in self.held_streams or not self.held_streams:
            await self.hold.wait()
        if self.fails is not None:
            raise self.fails
        return [self._fate(record) for record in records]

    def _fate(self, record: Outgoing) -> Fate:
        if record["ExplicitHashKey"] in self.stuck:
            return {"ErrorCode": "ProvisionedThroughputExceededException", "ErrorMessage": "Rate exceeded"}
        position = next(self._numbers)
        self.arrived.append(Arrived("shardId-0", position, decode_record(record["Data"])))
        return {"ShardId": "shardId-0", "SequenceNumber": str(position)}


@asynccontextmanager
async def producing(
    client: Kinesis | Double, limits: PutLimits = QUICK, streams: Mapping[Lane, str] = BOTH, **more: object
) -> AsyncIterator[Producer]:
    producer = Producer(client, streams, "stream-1", limits, FakeClock(NOW_US), **more)  # type: ignore[arg-type]
    try:
        yield producer
    finally:
        await producer.close()


async def arrived(client: Kinesis, stream: str = "plant") -> list[Arrived]:
    """All that any shard holds, parents first; each shard in its order."""
    found: list[Arrived] = []
    for shard in (await client.api.list_shards(StreamName=stream))["Shards"]:
        asked = {"StreamName": stream, "ShardId": shard["ShardId"], "ShardIteratorType": "TRIM_HORIZON"}
        iterator = (await client.api.get_shard_iterator(**asked))["ShardIterator"]
        while iterator:
            answer = await client.api.get_records(ShardIterator=iterator)
            found += [
                Arrived(shard["ShardId"], int(one["SequenceNumber"]), decode_record(one["Data"]))
                for one in answer["Records"]
            ]
            iterator = answer.get("NextShardIterator") if answer["Records"] else None
    return found


def new_ones(records: Sequence[Arrived]) -> Iterator[Record]:
    """As takers do: what a belt's count has passed is skipped. Fails when a count has a gap."""
    seen: dict[tuple[UUID, int], int] = defaultdict(int)
    for _, _, record in records:
        belt, counted, n = (record.stamp.producer, record.stamp.slice), record.stamp.counted, len(record.batch)
        if counted <= seen[belt]:
            continue
        assert counted - n == seen[belt], "a record of the belt is missing"
        seen[belt] = counted
        yield record


def by_path(records: Iterator[Record] | Sequence[Record]) -> dict[str, list[float]]:
    values: dict[str, list[float]] = defaultdict(list)
    for record in records:
        for tag, value in zip(record.batch.tag.tolist(), record.batch.value.tolist(), strict=True):
            values[record.batch.paths[tag]].append(value)
    return values


def sent_by_path(batches: Sequence[ReadingBatch]) -> dict[str, list[float]]:
    values: dict[str, list[float]] = defaultdict(list)
    for batch in batches:
        for tag, value in zip(batch.tag.tolist(), batch.value.tolist(), strict=True):
            values[batch.paths[tag]].append(value)
    return values


async def append_all(producer: Producer, batches: Sequence[ReadingBatch], every_s: float = 0.002) -> list[Receipt]:
    tasks = []
    for batch in batches:
        tasks.append(asyncio.create_task(producer.append({Lane.BULK: batch}, NOW_US)))
        await asyncio.sleep(every_s)
    return await asyncio.gather(*tasks)


REQUESTS = [numbered(first, 100) for first in range(0, 5_000, 100)]


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")


@pytest.fixture
async def kinesis() -> AsyncIterator[FakeKinesis]:
    async with fake() as one:
        yield one


@pytest.fixture
async def client(kinesis: FakeKinesis) -> AsyncIterator[Kinesis]:
    async with await connect(kinesis) as one:
        await create(one, shards=4)
        yield one


async def test_what_is_acknowledged_stands_where_the_receipt_says(client: Kinesis):
    async with producing(client) as producer:
        receipt = await producer.append({Lane.BULK: numbered(0, 300), Lane.CRITICAL: numbered(300, 5)}, NOW_US)
        found = {(one.shard, one.position): one.record for one in await arrived(client)}
    assert {tuple(place) for place in receipt.places} == found.keys()
    assert not receipt.overloaded
    assert {record.stamp.slice >= SLICES for record in found.values()} == {True, False}
    assert all(record.stamp.producer == producer.producer for record in found.values())
    assert shared_batch_of("stream-1", receipt.batch_id) == SharedBatch(producer.producer, 1, 305)
    assert all(set(record.request.tolist()) == {1} for record in found.values())


async def test_p6_a_third_of_the_entries_fails_and_calls_are_throttled(client: Kinesis, kinesis: FakeKinesis):
    kinesis.faults.put_entries_failed, kinesis.faults.calls_throttled = 0.3, 0.2
    async with producing(client) as producer:
        await append_all(producer, REQUESTS)
        acked = producer.acked()
    kinesis.faults.calls_throttled = 0.0
    found = await arrived(client)
    assert kinesis.account.trouble.counted["put_entries_failed"] > 50
    assert kinesis.account.trouble.counted["calls_throttled"] > 1
    assert by_path(new_ones(found)) == sent_by_path(REQUESTS)
    assert sum(len(one.record.batch) for one in found) == 5_000, "what did not fail must not be sent again"
    assert sum(acked.belts.values()) == sum(acked.minutes.values()) == 5_000


async def test_only_the_entries_that_failed_are_sent_again():
    double = Double()
    double.stuck = {str((2 * slice_of(PATHS[0]) + 1) * 2**121)}
    async with producing(double) as producer:
        task = asyncio.create_task(producer.append({Lane.BULK: numbered(0, 200)}, NOW_US))
        await until(lambda: len(double.calls) >= 3)
        double.stuck.clear()
        await task
    first, *again = double.calls
    assert len(first) > 40
    assert all(len(call) == 1 and call == again[0] for call in again), "the same bytes, and those alone"


async def test_lost_replies_make_repeated_counts_and_nothing_else(client: Kinesis, kinesis: FakeKinesis):
    kinesis.faults.lost_replies = kinesis.faults.lost_requests = 0.3
    async with producing(client, QUICK._replace(linger_s=0.005)) as producer:
        await append_all(producer, REQUESTS, every_s=0.005)
    lost = kinesis.account.trouble.counted["lost_replies"]
    kinesis.faults.lost_replies = kinesis.faults.lost_requests = 0.0
    found = await arrived(client)
    assert lost > 0
    assert sum(len(one.record.batch) for one in found) > 5_000
    assert by_path(new_ones(found)) == sent_by_path(REQUESTS)


async def test_a_split_in_the_middle_tears_no_slice(client: Kinesis):
    plant, third = Plant(client), len(REQUESTS) // 3
    async with producing(client) as producer:
        await append_all(producer, REQUESTS[:third])
        sending = asyncio.create_task(append_all(producer, REQUESTS[third:-third]))
        await plant.split((await plant.open_shards())[1])
        await sending
        await append_all(producer, REQUESTS[-third:])
    found = await arrived(client)
    assert len({one.shard for one in found}) == 6
    assert by_path(new_ones(found)) == sent_by_path(REQUESTS)


async def test_a_critical_stream_of_its_own_is_named_in_the_places(client: Kinesis):
    await create(client, "urgent")
    streams = {Lane.BULK: "plant", Lane.CRITICAL: "urgent"}
    async with producing(client, streams=streams, critical_created_ms=36**3) as producer:
        receipt = await producer.append({Lane.CRITICAL: numbered(0, 1), Lane.BULK: numbered(1, 1)}, NOW_US)
    assert [place.shard.partition("shardId")[0] for place in receipt.places] == ["critical.1000/", ""]
    assert [len(await arrived(client, name)) for name in ("plant", "urgent")] == [1, 1]


async def test_a_throttled_shard_stops_its_belts_alone_until_there_is_no_room():
    double = Double()
    stuck = slice_of(PATHS[0])
    double.stuck = {str((2 * stuck + 1) * 2**121)}
    limits = QUICK._replace(put_timeout_s=0.7, bytes_max=40_000, close_s=0.1)
    free = tuple(path for path in PATHS if slice_of(path) != stuck)
    async with producing(double, limits) as producer:
        with pytest.raises(Backpressure, match="ProvisionedThroughput"):
            await producer.append({Lane.BULK: numbered(0, 1)}, NOW_US)
        assert await producer.append({Lane.BULK: numbered(1, 100, free)}, NOW_US)
        with pytest.raises(Backpressure):
            await producer.append({Lane.BULK: numbered(0, 200)}, NOW_US)
        with pytest.raises(Backpressure, match="does not keep up"):
            await producer.append({Lane.BULK: numbered(0, 150)}, NOW_US)
        assert await producer.append({Lane.CRITICAL: numbered(0, 40, free)}, NOW_US), "the last tenth is its own"
    got = by_path(new_ones(double.arrived))
    assert PATHS[0] not in got


async def test_the_last_tenth_is_the_critical_lanes():
    double = Double()
    double.hold.clear()
    limits = QUICK._replace(put_timeout_s=0.05, bytes_max=10_000, close_s=0.01)
    most, more = (batch_of(("a/b",), np.zeros(n, np.int32), range(n), range(n)) for n in (70, 25))
    assert weight_of(most) + weight_of(more) in range(9_000, 10_000)
    async with producing(double, limits) as producer:
        with pytest.raises(Unavailable):
            await producer.append({Lane.BULK: most}, NOW_US)
        with pytest.raises(Backpressure, match="does not keep up"):
            await producer.append({Lane.BULK: more}, NOW_US)
        assert len(double.calls) == 1
        with pytest.raises(Unavailable):
            await producer.append({Lane.BULK: more, Lane.CRITICAL: more}, NOW_US)
        assert len(double.calls) == 2, "the critical lane's alone"


async def test_critical_never_waits_behind_bulk():
    double = Double()
    double.hold.clear()
    double.held_streams = {"plant"}
    streams = {Lane.BULK: "plant", Lane.CRITICAL: "urgent"}
    limits = QUICK._replace(put_timeout_s=0.2, calls_max=1, close_s=0.1)
    async with producing(double, limits, streams, critical_created_ms=1) as producer:
        both = {Lane.BULK: numbered(0, 200), Lane.CRITICAL: numbered(0, 20)}
        receipt = await producer.append(both, NOW_US)
        assert receipt.overloaded == {Lane.BULK}
        assert shared_batch_of("stream-1", receipt.batch_id).readings == 20
        assert {place.shard.partition("/")[0] for place in receipt.places} == {"critical.1"}
        await asyncio.wait_for(producer.append({Lane.CRITICAL: numbered(0, 20)}, NOW_US), 0.1)


async def test_a_stream_that_is_away_is_unavailable_and_nothing_is_forgotten():
    double = Double()
    double.fails = Unavailable("no route")
    async with producing(double, QUICK._replace(put_timeout_s=0.3)) as producer:
        with pytest.raises(Unavailable, match="no route"):
            await producer.append({Lane.BULK: numbered(0, 100)}, NOW_US)
        double.fails = None
        await producer.append({Lane.BULK: numbered(100, 100)}, NOW_US)
    assert by_path(new_ones(double.arrived)) == sent_by_path([numbered(0, 200)])


async def test_a_belt_has_one_record_under_way_and_what_waits_goes_as_one():
    double = Double()
    double.hold.clear()
    batches = [numbered(first, 200) for first in range(0, 2_000, 200)]
    async with producing(double) as producer:
        first = asyncio.create_task(producer.append({Lane.BULK: batches[0]}, NOW_US))
        await until(lambda: bool(double.calls))
        rest = [asyncio.create_task(producer.append({Lane.BULK: batch}, NOW_US)) for batch in batches[1:]]
        await asyncio.sleep(0.1)
        assert len(double.calls) == 1
        double.hold.set()
        await asyncio.gather(first, *rest)
    assert by_path(new_ones(double.arrived)) == sent_by_path(batches)
    assert len(double.arrived) == 2 * len(double.calls[0])


async def test_cancelled_callers_leave_nothing_broken():
    double = Double()
    double.hold.clear()
    async with producing(double) as producer:
        tasks = [asyncio.create_task(producer.append({Lane.BULK: batch}, NOW_US)) for batch in REQUESTS[:10]]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        await until(lambda: bool(double.calls))
        tasks[1].cancel()
        double.hold.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert [task.cancelled() for task in tasks] == [True, True, *[True, False] * 4]
        await producer.append({Lane.BULK: numbered(1_000, 100)}, NOW_US)
    assert by_path(new_ones(double.arrived)) == sent_by_path(REQUESTS[:11])


async def test_close_drains_and_then_nothing_is_taken():
    double = Double()
    async with producing(double, QUICK._replace(linger_s=0.05, gather_s=0.05)) as producer:
        waiting = asyncio.create_task(producer.append({Lane.BULK: numbered(0, 100)}, NOW_US))
        await asyncio.sleep(0)
        await producer.close()
        assert len((await waiting).places) > 30
        with pytest.raises(Unavailable, match="closed"):
            await producer.append({Lane.BULK: numbered(0, 1)}, NOW_US)


async def test_close_does_not_wait_for_ever_and_tells_who_waits():
    double = Double()
    double.hold.clear()
    async with producing(double, QUICK._replace(close_s=0.05)) as producer:
        waiting = asyncio.create_task(producer.append({Lane.BULK: numbered(0, 100)}, NOW_US))
        await until(lambda: bool(double.calls))
        await asyncio.wait_for(producer.close(), 1.0)
        with pytest.raises(Unavailable):
            await waiting


async def test_minutes_are_counted_by_the_records_time_and_dropped_once_published():
    double = Double()
    async with producing(double) as producer:
        for minutes_ago in (180, 121, 1):
            await producer.append({Lane.BULK: numbered(0, 10)}, NOW_US - minutes_ago * MINUTE_US)
        told = producer.acked()
        assert sorted(told.minutes.values()) == [10, 10, 10]
        assert all(start % MINUTE_US == 0 for start in told.minutes)
        await producer.append({Lane.BULK: numbered(0, 5)}, NOW_US - 180 * MINUTE_US)
        producer.published(told)
        assert sorted(producer.acked().minutes.values()) == [10, 15], "what grew meanwhile is kept"
        assert sum(producer.acked().belts.values()) == 35


async def test_a_minute_that_may_still_grow_is_kept_however_old():
    double = Double()
    old_us = NOW_US - 300 * MINUTE_US
    async with producing(double, QUICK._replace(put_timeout_s=0.2)) as producer:
        await producer.append({Lane.BULK: numbered(0, 10)}, old_us)
        double.fails = Unavailable("a long outage")
        with pytest.raises(Unavailable):
            await producer.append({Lane.BULK: numbered(0, 5)}, old_us)
        producer.published(producer.acked())
        double.fails = None
    assert list(producer.acked().minutes.values()) == [15]


async def test_little_waits_for_nothing_and_much_makes_fuller_records():
    assert min([await seconds_of_the_first() for _ in range(10)]) < 0.1, "the machine is not always busy"
    double, limits, begun_s = Double(), PutLimits(), asyncio.get_running_loop().time()
    async with producing(double, limits) as producer:
        await append_all(producer, REQUESTS * 4, every_s=0.005)
    per_s = len(double.arrived) / (asyncio.get_running_loop().time() - begun_s)
    assert per_s < limits.records_per_s * 1.6


async def seconds_of_the_first() -> float:
    async with producing(Double(), PutLimits()) as producer:
        begun_s = asyncio.get_running_loop().time()
        await producer.append({Lane.BULK: numbered(0, 200)}, NOW_US)
        return asyncio.get_running_loop().time() - begun_s


async def test_texts_that_no_record_takes_are_refused_at_once():
    async with producing(Double()) as producer:
        with pytest.raises(TooLarge):
            await producer.append({Lane.BULK: batch_of(("a/" + "b" * 2_000,), [0], [1], [1.0])}, NOW_US)


def one_slice(n: int, length: int) -> list[str]:
    """*n* paths of *length* that nothing can compress, all of one slice."""
    rng = np.random.default_rng(1)
    endless = ("a/" + urlsafe_b64encode(rng.bytes(3 * length // 4)).decode()[: length - 2] for _ in count())
    hashed = (path for path in endless if slice_of.__wrapped__(path) == 5)  # past the cache, which others need
    return list(islice(hashed, n))


@pytest.mark.parametrize(("paths", "states"), [(800, 0), (1, 20_000)])
async def test_no_record_and_no_call_is_ever_too_large(paths: int, states: int):
    rng = np.random.default_rng(2)
    n = 20_000
    batch = batch_of(
        one_slice(paths, 1_000), rng.integers(0, paths, n), rng.integers(-(2**63), 2**63, n),
        rng.integers(-(2**63), 2**63, n).view(np.float64),
        states=["".join(map(chr, rng.integers(0x4E00, 0x9FFF, 64))) for _ in range(states)],
        state=rng.integers(-1, states, n) if states else None,
        quality=rng.integers(-(2**63), 2**63, n), seq=rng.integers(-(2**63), 2**63, n),
    )  # fmt: skip
    double = Double()
    async with producing(double, QUICK._replace(bytes_max=2**30)) as producer:
        await producer.append({Lane.BULK: batch}, NOW_US)
    assert max(len(data) for call in double.calls for data in call) < READ_MAX_BYTES - 256
    assert sum(len(one.record.batch) for one in double.arrived) == n
    assert len(double.arrived) > 3
    back = np.concatenate([one.record.batch.value.view(np.int64) for one in double.arrived])
    assert np.array_equal(back, batch.value.view(np.int64))


async def test_a_call_holds_no_more_than_kinesis_takes():
    rng = np.random.default_rng(3)
    paths = [
        path for i in range(5_000) if slice_of(path := f"p/{i}") != 0
    ]  # an idle belt lets the others' pieces pile up
    n = 20_000
    batches = [
        batch_of(paths, np.arange(n) % len(paths), rng.integers(-(2**63), 2**63, n),
                 rng.integers(-(2**63), 2**63, n).view(np.float64), seq=rng.integers(0, 2**62, n))
        for _ in range(14)
    ]  # fmt: skip
    double = Double()
    double.hold.clear()
    async with producing(double, QUICK._replace(bytes_max=2**30, linger_s=0.001)) as producer:
        tasks = [asyncio.create_task(producer.append({Lane.BULK: batches[0]}, NOW_US))]
        await until(lambda: bool(double.calls))
        tasks += [asyncio.create_task(producer.append({Lane.BULK: batch}, NOW_US)) for batch in batches[1:]]
        await asyncio.sleep(0.5)
        double.hold.set()
        await asyncio.gather(*tasks)
    assert sum(double.sizes) > 6 * 2**20
    assert 4 * 2**20 < max(double.sizes) <= 5 * 2**20
    assert max(map(len, double.calls)) <= 500


@settings(max_examples=30, deadline=None)
@given(st.lists(any_batch(), min_size=1, max_size=6))
def test_what_goes_in_comes_out_cut_by_slice_and_in_order(batches: list[ReadingBatch]):
    waiting = [Waiting(Ask(number, NOW_US, 0), batch) for number, batch in enumerate(batches, 1)]
    out: dict[str, list[tuple[object, ...]]] = defaultdict(list)
    pieces = list(cut_wave(waiting))
    for number, piece in pieces:
        assert piece.weight == weight_of(piece.batch) <= RECORD_BYTES_MAX
        assert {ask.number for ask in piece.asks} == set(piece.request.tolist())
        for path, *rest in rows(piece.batch, piece.request):
            assert slice_of(path) == number
            out[path].append(tuple(rest))
        kept = piece.kept()
        assert content(kept.batch) == content(piece.batch)
        assert kept.batch.ts.base is None, "what waits must not hold the wave in memory"
    expected: dict[str, list[tuple[object, ...]]] = defaultdict(list)
    for ask, batch in waiting:
        for path, *rest in rows(batch, np.full(len(batch), ask.number)):
            expected[path].append(tuple(rest))
        assert ask.left == sum(ask in piece.asks for _, piece in pieces)
    assert out == expected


def rows(batch: ReadingBatch, request: np.ndarray) -> Iterator[tuple[str, object, object]]:
    for i in range(len(batch)):
        state, unit = int(batch.state[i]), int(batch.unit[i])
        yield (
            batch.paths[batch.tag[i]], int(request[i]), int(batch.index[i]), int(batch.ts[i]),
            int(batch.value.view(np.int64)[i]), batch.states[state] if state >= 0 else None,
            batch.units[unit] if unit >= 0 else None, int(batch.quality[i]), int(batch.seq[i]),
        )  # type: ignore[misc]  # fmt: skip


def test_a_batch_id_is_taken_only_from_us():
    batch = SharedBatch(UUID(int=2**127 + 5), 77, 1_000)
    batch_id = shared_batch_id("one", batch)
    assert shared_batch_of("one", batch_id) == batch
    for wrong in (batch_id[:-1] + "g", batch_id.replace("-4d-", "-4e-"), batch_id + "0", "", "1-1-00000000"):
        with pytest.raises(Unknown):
            shared_batch_of("one", wrong)
    with pytest.raises(Unknown):
        shared_batch_of("two", batch_id)


def test_belts_are_numbered_by_lane():
    pace = PutLimits().pace(Lane.BULK)
    assert Belts(Lane.CRITICAL, UUID(int=1), pace).idle
    assert BELTS == 2 * SLICES


async def until(holds: Callable[[], bool], within_s: float = 3.0) -> None:
    async with asyncio.timeout(within_s):
        while not holds():  # noqa: ASYNC110  # what it waits for has no event
            await asyncio.sleep(0.002)
