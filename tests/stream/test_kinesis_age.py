"""How old what waits in a shard is, by Kinesis' clock: hours of silence make nothing younger, polled or pushed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from kinesis_fake import FakeKinesis
from penstock.errors import Unavailable
from penstock.stream.kinesis import fan_out
from penstock.stream.kinesis import take as taking
from penstock.stream.kinesis.client import Kinesis
from penstock.stream.kinesis.stream import KinesisStream, Taking
from penstock.stream.port import Entry
from stream.on_fake import TAKE, Plant, connect, create, fake, numbers, open_stream, take_all

S0 = "shardId-000000000000"
HOUR_S, HOUR_MS = 3_600.0, 3_600_000


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setattr(fan_out, "AGAIN_S", 0.05)
    monkeypatch.setattr(fan_out, "RENEW_S", 0.2)  # so that a clock which was moved is seen


@pytest.fixture
async def kinesis() -> AsyncIterator[FakeKinesis]:
    async with fake() as one:
        one.timing.resubscribe_s = 0.05
        yield one


@pytest.fixture
async def client(kinesis: FakeKinesis) -> AsyncIterator[Kinesis]:
    async with await connect(kinesis) as one:
        await create(one)
        yield one


@pytest.fixture(params=["polled", "pushed"])
async def stream(client: Kinesis, request: pytest.FixtureRequest) -> AsyncIterator[KinesisStream]:
    one = await open_stream(client, Taking(consumer="penstock" if request.param == "pushed" else ""))
    yield one
    await one.close()


@pytest.fixture
def plant(client: Kinesis) -> Plant:
    return Plant(client)


def about(told_ms: int, hours: float) -> bool:
    """Kinesis tells its time in whole seconds, and a few pass meanwhile."""
    return hours * HOUR_MS - 1_000 <= told_ms <= hours * HOUR_MS + 5_000


async def test_what_came_while_nobody_looked_is_as_old_as_it_is(
    kinesis: FakeKinesis, stream: KinesisStream, plant: Plant
):
    await plant.records(0)
    (entry,) = await take_all(stream, S0, 1)
    await stream.drop(S0)  # its worker stops, and the stream is silent
    kinesis.faults.clock_offset_s = 6 * HOUR_S
    await plant.records(0, 0)
    kinesis.faults.clock_offset_s = 18 * HOUR_S  # and nobody reads what came
    first, last = await take_all(stream, S0, 2, entry.position)
    await stream.take(S0, entry.position, 1)
    assert about(stream.behind_ms(S0), 12), "the other is next"
    await stream.take(S0, first.position, 1)
    await stream.take(S0, last.position, 1)
    assert stream.behind_ms(S0) == 0


async def test_what_waits_here_grows_older_while_the_stream_is_silent(
    kinesis: FakeKinesis, stream: KinesisStream, plant: Plant
):
    kinesis.timing.idle_event_s = 0.05
    await plant.records(0, 0)
    assert numbers(await stream.take(S0, 0, 1)) == [0]  # and it cannot be stored
    assert 0 < stream.behind_ms(S0) < 5_000
    kinesis.faults.clock_offset_s = 13 * HOUR_S
    await asyncio.sleep(0.6)
    assert about(stream.behind_ms(S0), 13)


async def test_what_came_late_after_a_silence_is_told_by_itself(
    kinesis: FakeKinesis, stream: KinesisStream, plant: Plant
):
    await plant.records(0)
    kinesis.faults.clock_offset_s = 11 * HOUR_S
    await plant.records(0)
    kinesis.faults.clock_offset_s = 12 * HOUR_S
    first, _ = await take_all(stream, S0, 2)
    assert numbers(await stream.take(S0, 0, 1)) == [0]
    assert about(stream.behind_ms(S0), 1)
    assert numbers(await stream.take(S0, first.position, TAKE)) == [1]
    assert stream.behind_ms(S0) == 0


async def test_a_shard_of_which_nothing_is_heard_may_hold_what_came_since(
    kinesis: FakeKinesis, stream: KinesisStream, plant: Plant, monkeypatch: pytest.MonkeyPatch
):
    kinesis.timing.idle_event_s = 0.05
    await plant.records(0)
    (entry,) = await take_all(stream, S0, 1)
    await stream.take(S0, entry.position, TAKE)
    assert stream.behind_ms(S0) == 0
    monkeypatch.setattr(taking, "SILENT_S", 0.5)
    kinesis.faults.access_denied = ["GetRecords", "GetShardIterator", "SubscribeToShard"]
    async with asyncio.timeout(5):
        while stream.behind_ms(S0) < 1_000:  # noqa: ASYNC110  # nobody tells of what is not heard
            await asyncio.sleep(0.1)
    await plant.records(0)
    kinesis.faults.access_denied = []
    assert numbers(await _when_back(stream, entry.position)) == [1]
    assert stream.behind_ms(S0) == 0


async def test_a_shard_that_was_never_heard_of_is_as_far_behind_as_the_question_is_old(
    kinesis: FakeKinesis, stream: KinesisStream, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(taking, "SILENT_S", 0.2)
    kinesis.faults.access_denied = ["GetRecords", "GetShardIterator", "SubscribeToShard"]
    async with asyncio.timeout(5):
        while stream.behind_ms(S0) < 1_000:
            with suppress(Unavailable):
                assert await stream.take(S0, 0, TAKE) == []
            await asyncio.sleep(0.1)
    assert stream.unheard(S0), "that is a guess: no worker is to blame"


async def test_a_shard_that_its_worker_left_alone_goes_on_growing_older(
    kinesis: FakeKinesis, stream: KinesisStream, plant: Plant, monkeypatch: pytest.MonkeyPatch
):
    kinesis.timing.idle_event_s = 0.05
    await plant.records(0, 0)
    kinesis.faults.clock_offset_s = 13 * HOUR_S
    await take_all(stream, S0, 2)
    await stream.take(S0, 0, 1)
    monkeypatch.setattr(taking, "IDLE_S", 0.2)
    await asyncio.sleep(1.0)
    calls = kinesis.account.calls.total()
    await asyncio.sleep(0.6)
    assert kinesis.account.calls.total() == calls, "nobody reads it"
    assert about(stream.behind_ms(S0), 13)
    assert not stream.unheard(S0), "what lies here is known"


async def test_a_shard_that_was_read_to_its_end_is_behind_no_more(
    stream: KinesisStream, plant: Plant, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(taking, "SILENT_S", 0.0)
    await plant.records(0)
    await plant.split(S0)
    await take_all(stream, S0, 1)
    assert stream.ended(S0)
    await asyncio.sleep(0.05)
    assert stream.behind_ms(S0) == 0


async def _when_back(stream: KinesisStream, after: int) -> list[Entry]:
    async with asyncio.timeout(10):
        while True:
            try:
                return await take_all(stream, S0, 1, after)
            except Unavailable:
                await asyncio.sleep(0.1)
