"""Taking from Kinesis: every record once, in order, to each shard's end, over whatever happens on the way."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kinesis_fake import FakeKinesis, Limits
from penstock.errors import Unavailable, Unknown
from penstock.model.batch import Lane
from penstock.model.slices import SLICES
from penstock.stream.kinesis import shards as listing
from penstock.stream.kinesis import take as taking
from penstock.stream.kinesis.client import Kinesis, shard_name
from penstock.stream.kinesis.entries import NOTHING, entry_of
from penstock.stream.kinesis.feed import Raw
from penstock.stream.kinesis.stream import KinesisStream, Taking
from penstock.stream.port import Foreign, Place
from stream.on_fake import (
    NOW_US,
    PRODUCER,
    TAKE,
    Plant,
    connect,
    create,
    fake,
    numbers,
    open_stream,
    own_record,
    take_all,
)

S0, S1, S2, S3, S4 = (f"shardId-{n:012d}" for n in range(5))
DAY_S = 86_400.0


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")


@pytest.fixture
async def kinesis() -> AsyncIterator[FakeKinesis]:
    async with fake() as one:
        yield one


@pytest.fixture
async def client(kinesis: FakeKinesis) -> AsyncIterator[Kinesis]:
    async with await connect(kinesis) as one:
        await create(one)
        yield one


@pytest.fixture
async def stream(client: Kinesis) -> AsyncIterator[KinesisStream]:
    one = await open_stream(client)
    yield one
    await one.close()


@pytest.fixture
def plant(client: Kinesis) -> Plant:
    return Plant(client)


# -- order, positions, ends -------------------------------------------------------------------------------------------


async def test_records_come_in_order_with_what_the_producer_said(stream: KinesisStream, plant: Plant):
    await plant.records(0, 9, 63)
    entries = await stream.take(S0, 0, TAKE)
    assert numbers(entries) == [0, 1, 2]
    assert [entry.position for entry in entries] == [position for _, position in plant.put.values()]
    assert [(entry.origin.producer, entry.origin.belt) for entry in entries if entry.origin] == [
        (PRODUCER, 0),
        (PRODUCER, 9),
        (PRODUCER, 63),
    ]
    assert [entry.origin.counted for entry in entries if entry.origin] == [3, 6, 9]
    assert [entry.received_us for entry in entries] == [NOW_US, NOW_US + 1, NOW_US + 2]
    assert {entry.counted for entry in entries} == {0}


async def test_take_gives_one_entry_at_least_and_then_as_many_as_asked(stream: KinesisStream, plant: Plant):
    await plant.records(*[0] * 5, readings=10)
    first = await stream.take(S0, 0, 25)
    assert numbers(first) == [0, 1]
    assert numbers(await stream.take(S0, first[-1].position, 1)) == [2]


async def test_looking_again_costs_kinesis_nothing(kinesis: FakeKinesis, stream: KinesisStream, plant: Plant):
    await plant.records(0, 0, 0)
    first = await stream.take(S0, 0, TAKE)
    again = await stream.take(S0, 0, TAKE)
    assert [entry.batch for entry in again] == [entry.batch for entry in first], "decoded once"
    assert numbers(await stream.take(S0, first[0].position, TAKE)) == [1, 2]
    assert kinesis.account.calls["GetShardIterator"] == 1


async def test_going_back_gives_the_same_again(stream: KinesisStream, plant: Plant):
    await plant.records(0, 0, 0)
    entries = await stream.take(S0, 0, TAKE)
    assert await stream.take(S0, entries[-1].position, TAKE) == []
    assert numbers(await stream.take(S0, entries[0].position, TAKE)) == [1, 2]
    assert numbers(await stream.take(S0, 0, TAKE)) == [0, 1, 2]


async def test_a_shard_ends_when_everything_was_handed_out_and_not_before(stream: KinesisStream, plant: Plant):
    await plant.records(0, 0, 0, readings=3)
    await plant.split(S0)
    entries = await stream.take(S0, 0, 6)
    assert (numbers(entries), stream.ended(S0)) == ([0, 1], False)
    last = await stream.take(S0, entries[-1].position, 6)
    assert (numbers(last), stream.ended(S0)) == ([2], True)
    assert not stream.ended(S1)
    assert await stream.take(S0, last[-1].position, 6) == []
    assert stream.ended(S0)
    assert numbers(await stream.take(S0, 0, 6)) == [0, 1]
    assert not stream.ended(S0), "gone back: there is more again"


async def test_a_shard_that_closes_empty_has_ended(stream: KinesisStream, plant: Plant):
    assert await stream.take(S0, 0, TAKE) == []
    assert not stream.ended(S0)
    waiting = asyncio.create_task(stream.wait(5, [S0]))
    await plant.split(S0)
    await asyncio.wait_for(waiting, 1)
    assert await stream.take(S0, 0, TAKE) == []
    assert stream.ended(S0)


async def test_children_are_listed_with_their_parents_and_every_slice_has_one_open_shard(
    stream: KinesisStream, plant: Plant
):
    assert [unit.shards[0].slices for unit in await stream.units()] == [range(SLICES)]
    await plant.records(0, 40)
    await plant.split(S0)
    await plant.records(0, 40)
    assert len(await take_all(stream, S0, TAKE)) == 2
    units = {unit.name: unit for unit in await stream.units()}
    assert units[S1].parents == units[S2].parents == (S0,)
    assert (units[S1].shards[0].slices, units[S2].shards[0].slices) == (range(32), range(32, 64))
    await plant.merge(S1, S2)
    await plant.records(0, 40)
    assert numbers(await take_all(stream, S1, TAKE)) == [2]
    assert numbers(await take_all(stream, S2, TAKE)) == [3]
    units = {unit.name: unit for unit in await stream.units()}
    assert units[S3].parents == (S1, S2)
    assert units[S3].shards[0].slices == range(SLICES)
    assert numbers(await take_all(stream, S3, 2)) == [4, 5]


async def test_a_long_list_of_shards_is_read_to_its_end(
    client: Kinesis, stream: KinesisStream, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(listing, "PAGE", 2)
    await client.api.update_shard_count(StreamName="plant", TargetShardCount=2, ScalingType="UNIFORM_SCALING")
    await client.api.update_shard_count(StreamName="plant", TargetShardCount=4, ScalingType="UNIFORM_SCALING")
    assert [unit.name for unit in await stream.units()] == [f"shardId-{n:012d}" for n in range(7)]


async def test_the_list_is_not_asked_for_at_every_look(kinesis: FakeKinesis, stream: KinesisStream):
    for _ in range(5):
        await stream.units()
    assert kinesis.account.calls["ListShards"] == 1


async def test_an_unknown_shard_is_refused(stream: KinesisStream):
    with pytest.raises(Unknown):
        await stream.take("shardId-000000000077", 0, TAKE)


# -- waiting ----------------------------------------------------------------------------------------------------------


async def test_wait_wakes_for_its_own_shards_only(kinesis: FakeKinesis, client: Kinesis):
    await create(client, "wide", shards=2)
    plant = Plant(client, "wide")
    stream = await open_stream(client, name="wide")
    try:
        for shard in (S0, S1):
            await stream.take(shard, 0, TAKE)
        one, other = (asyncio.create_task(stream.wait(1.0, [shard])) for shard in (S0, S1))
        await plant.records(0)
        await asyncio.wait_for(one, 0.8)
        await asyncio.sleep(0.1)
        assert not other.done()
        await other
        await asyncio.wait_for(stream.wait(5, [S1, S0]), 0.1)
    finally:
        await stream.close()


# -- what Kinesis does to its readers ---------------------------------------------------------------------------------


async def test_an_expired_iterator_is_renewed(kinesis: FakeKinesis, stream: KinesisStream, plant: Plant):
    await plant.records(0, 0)
    entries = await stream.take(S0, 0, TAKE)
    kinesis.faults.clock_offset_s = 400
    await plant.records(0)
    assert numbers(await take_all(stream, S0, 1, entries[-1].position)) == [2]
    assert kinesis.account.refusals["ExpiredIteratorException"] >= 1


async def test_a_trimmed_position_goes_on_with_the_oldest_that_is_left(
    kinesis: FakeKinesis, stream: KinesisStream, plant: Plant
):
    await plant.records(0, 0)
    first, _ = await stream.take(S0, 0, TAKE)
    kinesis.faults.clock_offset_s = DAY_S + 60
    await plant.records(0, 0)
    await stream.drop(S0)
    assert numbers(await take_all(stream, S0, 2, first.position)) == [2, 3]
    assert numbers(await take_all(stream, S0, 2, 0)) == [2, 3]


async def test_a_shard_whose_retention_ran_out_has_ended_and_its_children_wait_for_nobody(
    kinesis: FakeKinesis, stream: KinesisStream, plant: Plant
):
    await plant.records(0, 0)
    first, _ = await stream.take(S0, 0, TAKE)
    await plant.split(S0)
    kinesis.faults.clock_offset_s = DAY_S + 60
    await stream.drop(S0)
    assert await take_all(stream, S0, 1, first.position) == []
    assert stream.ended(S0)
    units = {unit.name: unit.parents for unit in await stream.units()}
    assert units == {S1: (), S2: ()}


async def test_throttled_and_failing_reads_lose_nothing(kinesis: FakeKinesis, stream: KinesisStream, plant: Plant):
    kinesis.faults.calls_throttled, kinesis.faults.calls_failed, kinesis.faults.seed = 0.3, 0.1, 3
    kinesis.account.trouble.reseed()
    entries = []
    for n in range(4):
        await _put_through(plant, n)
        entries += await take_all(stream, S0, 1, entries[-1].position if entries else 0)
    assert numbers(entries) == list(range(4))
    assert kinesis.account.trouble.counted["calls_throttled"] > 0


async def _put_through(plant: Plant, number: int) -> None:
    """Despite of faults: nothing is stored when a call is refused as a whole."""
    while True:
        with suppress(Exception):
            return await plant.raw([own_record(number, 0)])


async def test_what_is_delivered_again_is_given_once(kinesis: FakeKinesis, stream: KinesisStream, plant: Plant):
    kinesis.faults.deliver_again = 1.0
    entries = []
    for _ in range(4):
        await plant.records(0, 0)
        entries += await take_all(stream, S0, 2, entries[-1].position if entries else 0)
    assert numbers(entries) == list(range(8))
    assert kinesis.account.trouble.counted["deliver_again"] > 0


async def test_a_lost_connection_is_told_after_a_moment_and_then_it_goes_on(
    kinesis: FakeKinesis, stream: KinesisStream, plant: Plant, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(taking, "GRACE_S", 0.2)
    await plant.records(0)
    (first,) = await stream.take(S0, 0, TAKE)
    await kinesis.__aexit__()
    assert await _trouble(stream, first.position) is not None
    await kinesis.__aenter__()
    await plant.records(0)
    assert numbers(await _when_back(stream, first.position)) == [1]


@pytest.mark.parametrize("code", ["ExpiredTokenException", "UnrecognizedClientException"])
async def test_bad_credentials_are_named_and_it_goes_on_with_good_ones(
    kinesis: FakeKinesis, stream: KinesisStream, plant: Plant, monkeypatch: pytest.MonkeyPatch, code: str
):
    monkeypatch.setattr(taking, "GRACE_S", 0.2)
    await plant.records(0)
    kinesis.faults.credentials_error = code
    with suppress(Unavailable):
        await stream.units()
    kinesis.faults.credentials_error = None
    await stream.units()
    kinesis.faults.credentials_error = code
    assert "credentials" in str(await _trouble(stream, 0))
    kinesis.faults.credentials_error = None
    assert numbers(await _when_back(stream, 0)) == [0]


async def test_a_forbidden_key_is_named(
    kinesis: FakeKinesis, stream: KinesisStream, plant: Plant, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(taking, "GRACE_S", 0.2)
    await plant.records(0)
    kinesis.faults.kms_error = "KMSAccessDeniedException"
    assert "KMS key" in str(await _trouble(stream, 0))
    kinesis.faults.kms_error = None
    assert numbers(await _when_back(stream, 0)) == [0]


async def _trouble(stream: KinesisStream, after: int) -> Unavailable | None:
    for _ in range(50):
        try:
            await stream.take(S0, after, TAKE)
        except Unavailable as error:
            return error
        await asyncio.sleep(0.05)
    return None


async def _when_back(stream: KinesisStream, after: int) -> list[object]:
    async with asyncio.timeout(5):
        while True:
            with suppress(Unavailable):
                return await take_all(stream, S0, 1, after)
            await asyncio.sleep(0.05)


async def test_a_shard_that_stalls_is_waited_for_once_and_no_other_is_held_up(
    kinesis: FakeKinesis, client: Kinesis, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(taking, "PATIENCE_S", 0.4)
    await create(client, "wide", shards=2)
    plant = Plant(client, "wide")
    await plant.records(0, 63)
    kinesis.faults.stalled_shards = [S0]
    stream = await open_stream(client, name="wide")
    try:
        stalled = asyncio.create_task(stream.take(S0, 0, TAKE))
        assert numbers(await asyncio.wait_for(stream.take(S1, 0, TAKE), 0.3)) == [1]
        assert await stalled == []
        assert await asyncio.wait_for(stream.take(S0, 0, TAKE), 0.05) == []
        assert stream.behind_ms(S0) > 0
        assert not stream.ended(S0)
        kinesis.faults.stalled_shards = []
        assert numbers(await take_all(stream, S0, 1)) == [0]
    finally:
        await stream.close()


# -- limits -----------------------------------------------------------------------------------------------------------


async def test_a_second_reader_finds_room_beside_us(kinesis: FakeKinesis, stream: KinesisStream, plant: Plant):
    for field, value in vars(Limits()).items():
        setattr(kinesis.limits, field, value)
    await plant.records(0)
    (entry,) = await stream.take(S0, 0, TAKE)
    began_s = time.monotonic()
    for _ in range(2):
        await asyncio.sleep(0.9)
        assert await stream.read(Place(S0, entry.position)) is not None
    calls = kinesis.account.calls["GetRecords"] - 2
    assert 4 <= calls / (time.monotonic() - began_s) <= 5.5
    assert kinesis.account.refusals["ProvisionedThroughputExceededException"] == 0


async def test_a_backlog_is_read_at_the_shards_full_rate_and_no_faster(
    kinesis: FakeKinesis, stream: KinesisStream, plant: Plant
):
    kinesis.limits.read_calls_per_s, kinesis.limits.read_bytes_per_s = 5, 2 * 2**20
    kinesis.limits.answer_bytes_max = 300_000
    for _ in range(8):
        await plant.raw([b"x" * 100_000] * 5)  # 4 MB in all
    began_s = time.monotonic()
    assert len(await take_all(stream, S0, 30)) >= 30
    assert 1.0 <= time.monotonic() - began_s <= 3.0
    assert kinesis.account.refusals["ProvisionedThroughputExceededException"] <= 1


async def test_no_more_is_read_ahead_than_the_buffer_holds(kinesis: FakeKinesis, client: Kinesis):
    kinesis.limits.answer_bytes_max = 5_000
    plant = Plant(client)
    await plant.raw([b"x" * 1_000] * 60)
    stream = await open_stream(client, Taking(buffer_bytes=10_000))
    try:
        first = await stream.take(S0, 0, 1)
        await asyncio.sleep(0.8)
        calls = kinesis.account.calls["GetRecords"]
        assert calls <= 3
        await asyncio.sleep(0.5)
        assert kinesis.account.calls["GetRecords"] == calls
        assert len(await take_all(stream, S0, 59, first[-1].position, within_s=10)) == 59
    finally:
        await stream.close()


async def test_a_shard_that_nobody_takes_from_is_left_alone(
    kinesis: FakeKinesis, stream: KinesisStream, plant: Plant, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(taking, "IDLE_S", 0.3)
    await plant.records(0, 0)
    first, _ = await stream.take(S0, 0, TAKE)
    await asyncio.sleep(0.8)
    calls = kinesis.account.calls["GetRecords"]
    await asyncio.sleep(0.5)
    assert kinesis.account.calls["GetRecords"] == calls
    assert numbers(await take_all(stream, S0, 1, first.position)) == [1]
    await stream.drop(S0)
    calls = kinesis.account.calls["GetRecords"]
    await asyncio.sleep(0.4)
    assert kinesis.account.calls["GetRecords"] == calls


# -- places, readiness, identity, lanes -------------------------------------------------------------------------------


async def test_read_finds_a_record_by_its_place_as_long_as_it_is_kept(
    kinesis: FakeKinesis, stream: KinesisStream, plant: Plant
):
    await plant.records(0, 0, 0)
    _, position = plant.put[1]
    found = await stream.read(Place(S0, position))
    assert found is not None
    assert numbers([found]) == [1]
    assert await stream.read(Place(S0, position + 1)) is None
    assert await stream.read(Place(S0, 12345)) is None
    kinesis.faults.clock_offset_s = DAY_S + 60
    assert await stream.read(Place(S0, position)) is None


async def test_what_lies_between_two_positions_is_read_back_in_order(
    kinesis: FakeKinesis, stream: KinesisStream, plant: Plant
):
    await plant.records(*[0] * 6)
    at = [position for _, position in plant.put.values()]
    kinesis.limits.answer_bytes_max, kinesis.faults.deliver_again = 500, 0.3
    assert numbers(await stream.between(S0, at[1], at[4])) == [2, 3, 4]
    assert numbers(await stream.between(S0, 0, at[0])) == [0]
    assert numbers(await stream.between(S0, at[4], at[5] + 5)) == [5]
    assert await stream.between(S0, at[5], at[5] + 5) == []
    kinesis.faults.clock_offset_s = DAY_S + 60
    assert await stream.between(S0, at[1], at[4]) == []


async def test_ready_asks_seldom_and_says_when_the_stream_cannot_be_written(
    kinesis: FakeKinesis, client: Kinesis, stream: KinesisStream, monkeypatch: pytest.MonkeyPatch
):
    calls = kinesis.account.calls["DescribeStreamSummary"]
    await asyncio.gather(*(stream.ready() for _ in range(10)))
    assert kinesis.account.calls["DescribeStreamSummary"] == calls + 1
    kinesis.faults.access_denied = ["DescribeStreamSummary"]
    await stream.ready()
    monkeypatch.setattr(time, "monotonic", lambda real=time.monotonic: real() + 3)
    with pytest.raises(Unavailable):
        await stream.ready()
    kinesis.faults.access_denied = []
    await stream.ready()
    await client.api.delete_stream(StreamName="plant")
    monkeypatch.setattr(time, "monotonic", lambda real=time.monotonic: real() + 6)
    with pytest.raises(Unavailable):
        await stream.ready()


async def test_a_recreated_stream_is_another_one(client: Kinesis, stream: KinesisStream):
    assert stream.identity.startswith("kinesis:arn:aws:kinesis:us-east-1:")
    await client.api.delete_stream(StreamName="plant")
    await asyncio.sleep(0.005)
    await create(client)
    again = await open_stream(client)
    assert again.identity != stream.identity
    await again.close()


async def test_the_critical_lanes_own_stream_comes_first_and_names_its_lane(kinesis: FakeKinesis, client: Kinesis):
    await create(client, "urgent", shards=2)
    created_ms = (await client.describe("urgent")).created_ms
    async with await connect(kinesis, critical="urgent") as both:
        stream = await open_stream(both)
        urgent = Plant(client, "urgent")
        await urgent.records(63)
        await Plant(client).records(5)
        await urgent.split(S0)
        units = await stream.units()
        c0, c1, c2, c3 = (shard_name(shard, created_ms) for shard in (S0, S1, S2, S3))
        assert [unit.name for unit in units] == [c0, c1, c2, c3, S0]
        assert [unit.shards[0].lane for unit in units] == [Lane.CRITICAL] * 4 + [Lane.BULK]
        assert units[2].parents == units[3].parents == (c0,)
        (entry,) = await stream.take(c1, 0, TAKE)
        assert (entry.shard, entry.origin and entry.origin.belt) == (c1, 63)
        assert [entry.shard for entry in await stream.take(S0, 0, TAKE)] == [S0]
        await stream.close()


async def test_behind_is_the_age_of_what_comes_next_by_kinesis_own_clock(
    kinesis: FakeKinesis, stream: KinesisStream, plant: Plant, monkeypatch: pytest.MonkeyPatch
):
    kinesis.faults.clock_offset_s = -7_200
    await plant.records(0)
    kinesis.faults.clock_offset_s = -7_200 + 60
    await plant.records(0)
    await stream.take(S0, 0, 3)
    entries = await stream.take(S0, 0, 3)
    assert numbers(entries) == [0]
    assert 0 <= stream.behind_ms(S0) < 2_000
    assert await stream.take(S0, plant.put[1][1], 3) == []
    assert stream.behind_ms(S0) == 0
    await stream.drop(S0)
    monkeypatch.setattr(taking, "PATIENCE_S", 0.2)
    kinesis.faults.stalled_shards = [S0]
    assert await stream.take(S0, 0, 3) == []
    assert 60_000 <= stream.behind_ms(S0) < 64_000


# -- whatever is in a record, its place gets an entry -----------------------------------------------------------------

JSON = b'{"tag": "lyon/press/t", "ts": "2026-11-20T08:00:00Z", "value": 1.5}'
BAD = b'{"tag": "lyon/press/t", "ts": "2026-11-20T08:00:00", "value": 1.5}'


async def test_a_broken_record_of_ours_is_poison_and_blocks_nothing(stream: KinesisStream, plant: Plant):
    whole = own_record(1, 0)
    await plant.raw([own_record(0, 0), whole[:-1] + bytes([whole[-1] ^ 1]), b"PSW" + b"\0" * 100_000, own_record(2, 0)])
    good, broken, long, last = await stream.take(S0, 0, TAKE)
    assert numbers([good, last]) == [0, 2]
    assert (len(broken.batch), broken.origin, broken.poison[0].reason) == (0, None, "undecodable")
    assert broken.poison[0].raw == whole[:-1] + bytes([whole[-1] ^ 1])
    assert len(long.poison[0].raw) == 64 * 2**10
    assert (await stream.read(Place(S0, broken.position))) == broken


async def test_records_of_others_are_judged_and_stamped_with_their_arrival(stream: KinesisStream, plant: Plant):
    now_us = time.time_ns() // 1_000
    await plant.raw([JSON, b"[%s,%s]" % (BAD, JSON), b"\0nonsense"])
    one, two, none = await stream.take(S0, 0, TAKE)
    assert (one.batch.paths, one.origin, one.poison, one.counted) == (("lyon/press/t",), None, (), 0)
    assert abs(one.received_us - now_us) < 2_000_000
    assert (two.batch.index.tolist(), [(p.item, p.reason, p.raw) for p in two.poison]) == (
        [1],
        [(0, "ts_zoneless", BAD)],
    )
    assert (len(none.batch), none.poison[0].reason) == (0, "not_json")


def aggregated(*records: bytes) -> bytes:
    """As Amazon's producer library makes it, with a table of keys before and a tag in each record."""

    def field(number: int, data: bytes) -> bytes:
        return bytes([number << 3 | 2]) + varint(len(data)) + data

    body = (
        field(1, b"key")
        + field(2, b"123")
        + b"".join(
            field(3, b"\x08\x00" + b"\x10\x00" + field(3, record) + field(4, field(1, b"a"))) for record in records
        )
    )
    return b"\xf3\x89\x9a\xc2" + body + hashlib.md5(body).digest()


def varint(number: int) -> bytes:
    head = b""
    while number > 127:
        head += bytes([number & 127 | 128])
        number >>= 7
    return head + bytes([number])


async def test_an_aggregated_record_is_taken_apart_and_its_items_keep_distinct_places(
    stream: KinesisStream, plant: Plant
):
    other = JSON.replace(b"/t", b"/u")
    record = aggregated(b"[%s,%s,%s]" % (JSON, other, BAD), b"nonsense", other, b"%s\n%s" % (BAD, JSON))
    await plant.raw([record, record[:-1] + b"?", own_record(7, 0)])
    entry, torn, own = await stream.take(S0, 0, TAKE)
    assert entry.batch.index.tolist() == [0, 1, 4, 6]
    assert [entry.batch.paths[tag][-1] for tag in entry.batch.tag] == ["t", "u", "u", "t"]
    assert [(poison.item, poison.reason) for poison in entry.poison] == [
        (2, "ts_zoneless"),
        (3, "not_json"),
        (5, "ts_zoneless"),
    ]
    assert [poison.reason for poison in torn.poison] == ["undecodable"]
    assert numbers([own]) == [7]


# -- all of it together -----------------------------------------------------------------------------------------------

DEEDS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.lists(st.integers(0, SLICES - 1), min_size=1, max_size=6)),
        st.tuples(st.just("split"), st.floats(0.1, 0.9)),
        st.tuples(st.just("merge"), st.floats(0, 1)),
        st.tuples(st.just("take"), st.integers(1, 30)),
    ),
    min_size=4,
    max_size=24,
)


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(deeds=DEEDS, data=st.data())
async def test_each_shard_is_given_whole_and_in_order_whatever_the_taker_does(deeds: list[tuple], data: st.DataObject):
    async with fake() as kinesis, await connect(kinesis) as client:
        kinesis.faults.deliver_again = 0.2
        await create(client, shards=2)
        plant, stream = Plant(client), await open_stream(client)
        given: dict[str, list[tuple[int, int]]] = {}
        for deed, what in deeds:
            await _do(plant, deed, what)
            if deed == "take":
                shard = data.draw(st.sampled_from([unit.name for unit in await stream.units()]))
                await _take_some(stream, shard, given.setdefault(shard, []), what, data)
        for unit in await _all_units(stream, client):
            taken = given.get(unit, [])
            expected = plant.of(unit)
            rest = await take_all(stream, unit, len(expected) - len(taken), taken[-1][1] if taken else 0)
            assert [number for number, _ in taken] + numbers(rest) == expected
            closed = unit not in await plant.open_shards()
            if closed:
                last = rest[-1].position if rest else taken[-1][1] if taken else 0
                assert await take_all(stream, unit, 1, last) == []
            assert stream.ended(unit) == closed
        await stream.close()


async def _do(plant: Plant, deed: str, what: object) -> None:
    alive = await plant.open_shards()
    match deed, what:
        case "put", list(slices):
            await plant.records(*slices)
        case "split", float(at) if len(alive) < 6:
            await plant.split(alive[int(at * len(alive))], at)
        case "merge", float(at) if len(alive) > 1:
            first = min(int(at * len(alive)), len(alive) - 2)
            await plant.merge(alive[first], alive[first + 1])


async def _take_some(
    stream: KinesisStream, shard: str, given: list[tuple[int, int]], readings: int, data: st.DataObject
) -> None:
    """From where it was, or from somewhere before: then the same must come again."""
    back = data.draw(st.integers(0, len(given)))
    del given[len(given) - back :]
    entries = await stream.take(shard, given[-1][1] if given else 0, readings)
    given += zip(numbers(entries), [entry.position for entry in entries], strict=True)


async def _all_units(stream: KinesisStream, client: Kinesis) -> list[str]:
    listed = [one["ShardId"] for one in (await client.api.list_shards(StreamName="plant"))["Shards"]]
    for shard in listed:
        if shard not in [unit.name for unit in await stream.units()]:
            await stream.take(shard, 0, 1)
    assert [unit.name for unit in await stream.units()] == listed
    return listed


def test_a_thousand_bombs_in_one_record_are_not_all_opened() -> None:
    opened = []

    def decode(data: bytes) -> Foreign:
        opened.append(data)
        return Foreign(NOTHING, (), size_bytes=8 * 2**20)

    entry = entry_of("s", Raw(1, 0, aggregated(*[b"bomb%d" % i for i in range(1_000)])), decode)
    assert len(opened) == 3
    assert [one.raw for one in entry.poison] == [b"bomb%d" % i for i in range(3, 1_000)]
    assert len({one.item for one in entry.poison}) == len(entry.poison)
