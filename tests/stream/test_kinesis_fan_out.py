"""Enhanced fan-out: records are pushed, subscriptions come and go, and a reader sees none of it."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
import structlog

from kinesis_fake import FakeKinesis
from penstock.stream.kinesis import fan_out
from penstock.stream.kinesis.client import Kinesis
from penstock.stream.kinesis.stream import KinesisStream, Taking
from stream.on_fake import TAKE, Plant, connect, create, fake, numbers, open_stream, take_all

S0, S1, S2 = (f"shardId-{n:012d}" for n in range(3))
PUSHED = Taking(consumer="penstock")


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fan_out, "AGAIN_S", 0.05)


@pytest.fixture
async def kinesis() -> AsyncIterator[FakeKinesis]:
    async with fake() as one:
        one.timing.resubscribe_s = 0.1
        yield one


@pytest.fixture
async def client(kinesis: FakeKinesis) -> AsyncIterator[Kinesis]:
    async with await connect(kinesis) as one:
        await create(one)
        yield one


@pytest.fixture
async def stream(client: Kinesis) -> AsyncIterator[KinesisStream]:
    one = await open_stream(client, PUSHED)
    yield one
    await one.close()


@pytest.fixture
def plant(client: Kinesis) -> Plant:
    return Plant(client)


async def test_records_are_pushed_as_they_come(kinesis: FakeKinesis, stream: KinesisStream, plant: Plant):
    await plant.records(0, 0)
    entries = await stream.take(S0, 0, TAKE)
    assert numbers(entries) == [0, 1]
    delays_s = []
    for _ in range(5):
        began_s = time.monotonic()
        await plant.records(0)
        entries += await take_all(stream, S0, 1, entries[-1].position)
        delays_s.append(time.monotonic() - began_s)
    assert numbers(entries) == list(range(7))
    assert sorted(delays_s)[2] < 0.1
    assert kinesis.account.calls["GetRecords"] == 0
    assert kinesis.account.calls["SubscribeToShard"] == 1


async def test_a_pushed_shard_is_read_to_its_end(stream: KinesisStream, plant: Plant):
    await plant.records(0, 40)
    assert numbers(await stream.take(S0, 0, TAKE)) == [0, 1]
    await plant.split(S0)
    await plant.records(0, 40)
    assert await take_all(stream, S0, 1, plant.put[1][1]) == []
    assert stream.ended(S0)
    assert {unit.name: unit.parents for unit in await stream.units()} == {S0: (), S1: (S0,), S2: (S0,)}
    assert numbers(await take_all(stream, S1, 1)) == [2]
    assert numbers(await take_all(stream, S2, 1)) == [3]


@pytest.mark.parametrize("ended_by", ["kinesis", "us", "the network", "a lost and found server"])
async def test_subscriptions_follow_one_another_without_loss(
    kinesis: FakeKinesis, stream: KinesisStream, plant: Plant, monkeypatch: pytest.MonkeyPatch, ended_by: str
):
    match ended_by:
        case "kinesis":
            kinesis.timing.subscription_s = 0.2
        case "us":
            monkeypatch.setattr(fan_out, "RENEW_S", 0.2)
        case "the network":
            kinesis.faults.subscriptions_cut, kinesis.faults.deliver_again = 0.3, 0.3
    entries = []
    for n in range(8):
        if ended_by == "a lost and found server" and n == 4:
            await kinesis.__aexit__()
            await kinesis.__aenter__()
        await plant.records(0, 0)
        entries += await take_all(stream, S0, 2, entries[-1].position if entries else 0)
        await asyncio.sleep(0.06)
    assert numbers(entries) == list(range(16))
    assert kinesis.account.calls["SubscribeToShard"] >= 2


async def test_going_back_subscribes_from_there(stream: KinesisStream, plant: Plant):
    await plant.records(0, 0, 0)
    first, _, last = await stream.take(S0, 0, TAKE)
    await stream.take(S0, last.position, TAKE)
    assert numbers(await take_all(stream, S0, 2, first.position)) == [1, 2]


async def test_a_subscription_too_young_to_be_taken_over_is_polled_beside(
    kinesis: FakeKinesis, stream: KinesisStream, plant: Plant, monkeypatch: pytest.MonkeyPatch
):
    kinesis.timing.resubscribe_s = 1.0
    monkeypatch.setattr(fan_out, "YOUNG_S", 1.0)
    await plant.records(0, 0, 0)
    first, _, last = await stream.take(S0, 0, TAKE)
    await stream.take(S0, last.position, TAKE)
    began_s = time.monotonic()
    assert numbers(await take_all(stream, S0, 2, first.position)) == [1, 2]
    assert time.monotonic() - began_s < 0.8
    await asyncio.sleep(1.5)
    polls = kinesis.account.calls["GetRecords"]
    assert polls >= 1
    await plant.records(0)
    assert numbers(await take_all(stream, S0, 1, last.position)) == [3]
    assert kinesis.account.calls["GetRecords"] == polls


async def test_the_shard_goes_from_one_worker_to_the_next(kinesis: FakeKinesis, stream: KinesisStream, plant: Plant):
    await plant.records(0)
    (entry,) = await stream.take(S0, 0, TAKE)
    async with await connect(kinesis) as theirs:
        other = await open_stream(theirs, PUSHED)
        await stream.drop(S0)
        await plant.records(0)
        assert numbers(await take_all(other, S0, 1, entry.position)) == [1]
        await other.close()


async def test_a_shard_is_let_go_at_once_while_events_pour_in(kinesis: FakeKinesis, stream: KinesisStream):
    kinesis.timing.idle_event_s = kinesis.timing.resubscribe_s = 0.0005
    for _ in range(20):
        await stream.take(S0, 0, TAKE)
        await asyncio.wait_for(stream.drop(S0), 0.5)


async def test_a_consumer_that_is_just_being_made_is_waited_for(
    kinesis: FakeKinesis, stream: KinesisStream, plant: Plant
):
    kinesis.timing.consumer_s = 0.3
    await plant.records(0)
    assert numbers(await take_all(stream, S0, 1)) == [0]
    assert kinesis.account.calls["GetRecords"] == 0


async def test_who_may_not_register_polls_and_says_so(kinesis: FakeKinesis, stream: KinesisStream, plant: Plant):
    kinesis.faults.access_denied = ["RegisterStreamConsumer"]
    await plant.records(0)
    with structlog.testing.capture_logs() as logs:
        (entry,) = await take_all(stream, S0, 1)
        await plant.split(S0)
        assert await take_all(stream, S0, 1, entry.position) == []
    assert stream.ended(S0)
    assert [line["log_level"] for line in logs] == ["warning"]
    assert "polled" in logs[0]["event"]
    assert kinesis.account.calls["SubscribeToShard"] == 0


async def test_too_many_consumers_are_polled_beside(
    kinesis: FakeKinesis, stream: KinesisStream, plant: Plant, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(fan_out, "LIMITED_MAX", 2)
    kinesis.limits.consumers_max = 0
    await plant.records(0)
    assert numbers(await take_all(stream, S0, 1)) == [0]
    assert kinesis.account.calls["RegisterStreamConsumer"] == 2
    assert kinesis.account.calls["GetRecords"] >= 1
