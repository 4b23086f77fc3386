"""The fake's SubscribeToShard, read by the real client's event stream."""

import asyncio

import pytest
from botocore.eventstream import ChecksumMismatch, EventStreamBuffer
from botocore.exceptions import EventStreamError
from hypothesis import given
from hypothesis import strategies as st

from kinesis_fake import UNLIMITED, Faults, Limits, Timing
from kinesis_fake.framing import frame
from stream.asking_kinesis import (
    Hand,
    consumer_of,
    name,
    plant,
    put,
    refused,
    split,
    subscribed,
)


async def test_a_subscription_pushes_what_is_there_and_what_comes() -> None:
    async with plant() as (_, client):
        await put(client, *"ab")
        events = await subscribed(client, await consumer_of(client))
        event = await anext(events)
        assert [record["PartitionKey"] for record in event["Records"]] == ["a", "b"]
        assert event["ContinuationSequenceNumber"] == event["Records"][-1]["SequenceNumber"]
        assert (event["MillisBehindLatest"], event["ChildShards"]) == (0, [])
        loop = asyncio.get_running_loop()
        before = loop.time()
        await put(client, "c")
        event = await anext(events)
        assert [record["PartitionKey"] for record in event["Records"]] == ["c"]
        assert loop.time() - before < 0.5


async def test_a_subscription_to_a_closed_shard_ends_with_its_children() -> None:
    async with plant() as (_, client):
        await put(client, *"ab")
        events = await subscribed(client, await consumer_of(client))
        await split(client, name(0))
        seen = [event async for event in events]
        assert [record["PartitionKey"] for event in seen for record in event["Records"]] == ["a", "b"]
        assert [child["ShardId"] for child in seen[-1]["ChildShards"]] == [name(1), name(2)]
        assert "ContinuationSequenceNumber" not in seen[-1]


async def test_a_subscription_lives_its_life_and_continues_where_it_was() -> None:
    timing = Timing(create_s=0, consumer_s=0, subscription_s=0.4, resubscribe_s=0.1, idle_event_s=0.1)
    async with plant(timing=timing) as (_, client):
        arn = await consumer_of(client)
        seen = [event async for event in await subscribed(client, arn)]
        assert len(seen) >= 3
        assert not any(event["Records"] for event in seen)
        after = seen[-1]["ContinuationSequenceNumber"]
        await put(client, "a")
        events = await subscribed(client, arn, "AFTER_SEQUENCE_NUMBER", SequenceNumber=after)
        seen = [event async for event in events]
        assert [record["PartitionKey"] for event in seen for record in event["Records"]] == ["a"]
        after = seen[-1]["ContinuationSequenceNumber"]
        await put(client, "b")
        events = await subscribed(client, arn, "AFTER_SEQUENCE_NUMBER", SequenceNumber=after)
        assert [record["PartitionKey"] for record in (await anext(events))["Records"]] == ["b"]


async def test_a_second_subscription_is_refused_for_five_seconds_and_then_takes_over() -> None:
    ticks = Hand(0)
    async with plant(ticks=ticks) as (kinesis, client):
        arn = await consumer_of(client)
        first = await subscribed(client, arn)
        ticks.now_s += 4.9
        assert await refused(subscribed(client, arn)) == "ResourceInUseException"
        await subscribed(client, await consumer_of(client, "other"))
        ticks.now_s += 0.2
        second = await subscribed(client, arn)
        with pytest.raises(EventStreamError, match="ResourceInUseException"):
            await anext(first)
        await put(client, "k")
        assert len((await anext(second))["Records"]) == 1
        assert sorted(kinesis.state()["subscriptions"]) == sorted(  # type: ignore[type-var]
            [(arn, name(0)), (arn.replace("consumer/c:", "consumer/other:"), name(0))]
        )


async def test_fan_out_carries_two_mib_a_second() -> None:
    limits = Limits(**vars(UNLIMITED) | {"fan_out_bytes_per_s": 10_000.0, "event_bytes_max": 5_000})
    async with plant(limits=limits) as (_, client):
        await put(client, *["k"] * 20, data=b"x" * 999)
        loop = asyncio.get_running_loop()
        begun, seen = loop.time(), 0
        events = await subscribed(client, await consumer_of(client))
        while seen < 20:
            event = await anext(events)
            assert len(event["Records"]) <= 5
            seen += len(event["Records"])
            assert (event["MillisBehindLatest"] == 0) == (seen == 20)
        assert 0.4 < loop.time() - begun < 3


async def test_deleting_a_consumer_or_stream_ends_its_subscriptions() -> None:
    async with plant() as (_, client):
        arn = await consumer_of(client)
        events = await subscribed(client, arn)
        assert await refused(client.delete_stream(StreamName="s")) == "ResourceInUseException"
        await client.deregister_stream_consumer(ConsumerARN=arn)
        with pytest.raises(EventStreamError, match="ResourceNotFoundException"):
            await anext(events)
        assert await refused(subscribed(client, arn)) == "ResourceNotFoundException"
        events = await subscribed(client, await consumer_of(client, "again"))
        await client.delete_stream(StreamName="s", EnforceConsumerDeletion=True)
        with pytest.raises(EventStreamError, match="ResourceNotFoundException"):
            await anext(events)


async def test_a_cut_or_stalled_subscription_loses_nothing() -> None:
    timing = Timing(create_s=0, consumer_s=0, resubscribe_s=0, idle_event_s=0.1)
    async with plant(timing=timing, faults=Faults(subscriptions_cut=1.0)) as (kinesis, client):
        await put(client, "a")
        arn = await consumer_of(client)
        with pytest.raises(Exception, match=r"payload|[Dd]isconnect|reset|closed"):
            await anext(await subscribed(client, arn))
        kinesis.faults.subscriptions_cut, kinesis.faults.stalled_shards = 0.0, [name(0)]
        event = await anext(await subscribed(client, arn))
        assert event["Records"] == []
        assert event["MillisBehindLatest"] > 0
        kinesis.faults.stalled_shards = []
        after = event["ContinuationSequenceNumber"]
        events = await subscribed(client, arn, "AFTER_SEQUENCE_NUMBER", SequenceNumber=after)
        assert [record["PartitionKey"] for record in (await anext(events))["Records"]] == ["a"]


async def test_consumers_are_registered_described_and_listed() -> None:
    async with plant(timing=Timing(create_s=0, consumer_s=0.1)) as (_, client):
        arn = await consumer_of(client)
        stream = arn.partition("/consumer/")[0]
        assert await refused(subscribed(client, arn)) == "ResourceInUseException"
        assert await refused(consumer_of(client)) == "ResourceInUseException"
        await asyncio.sleep(0.15)
        for call in ({"ConsumerARN": arn}, {"StreamARN": stream, "ConsumerName": "c"}):
            described = (await client.describe_stream_consumer(**call))["ConsumerDescription"]
            assert (described["ConsumerStatus"], described["StreamARN"]) == ("ACTIVE", stream)
        await consumer_of(client, "d")
        page = await client.list_stream_consumers(StreamARN=stream, MaxResults=1)
        rest = await client.list_stream_consumers(StreamARN=stream, NextToken=page["NextToken"])
        assert [one["ConsumerName"] for one in page["Consumers"] + rest["Consumers"]] == ["c", "d"]
        missing = client.describe_stream_consumer(StreamARN=stream, ConsumerName="x")
        assert await refused(missing) == "ResourceNotFoundException"


@given(st.dictionaries(st.text("ab:-", min_size=1, max_size=20), st.text(max_size=50), max_size=5), st.binary())
def test_frames_are_read_by_botocore_with_their_checksums(headers: dict[str, str], payload: bytes) -> None:
    framed = frame(headers, payload)
    buffer = EventStreamBuffer()
    buffer.add_data(framed)
    message = next(buffer)
    assert (message.headers, message.payload) == (headers, payload)
    buffer = EventStreamBuffer()
    buffer.add_data(framed[:-5] + bytes([framed[-5] ^ 1]) + framed[-4:])
    with pytest.raises(ChecksumMismatch):
        next(buffer)


async def test_what_retention_has_ended_is_not_pushed() -> None:
    clock = Hand()
    async with plant(clock=clock) as (_, client):
        await put(client, "old")
        arn = await consumer_of(client)
        clock.now_s += 25 * 3600
        await put(client, "new")
        events = await subscribed(client, arn)
        assert [record["PartitionKey"] for record in (await anext(events))["Records"]] == ["new"]
