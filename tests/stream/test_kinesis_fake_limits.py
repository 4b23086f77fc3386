"""The fake has Kinesis's limits: sizes of records, calls and answers, and rates of shards."""

import pytest

from kinesis_fake import Limits
from stream.asking_kinesis import MIB, Hand, drain, iterator, name, plant, put, refused

pytestmark = pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")  # aiohttp, from 1 MiB on


async def test_a_record_holds_one_mib_with_its_key_and_more_only_when_allowed() -> None:
    async with plant() as (_, client):
        await client.put_record(StreamName="s", Data=b"x" * (MIB - 2), PartitionKey="é")
        for call in (
            client.put_record(StreamName="s", Data=b"x" * (MIB - 1), PartitionKey="é"),
            put(client, "small", "é" * 100, data=b"x" * (MIB - 150)),
        ):
            assert await refused(call) == "ValidationException"
        assert len((await drain(client, name(0)))[0]) == 1  # the call was refused whole
        arn = (await client.describe_stream_summary(StreamName="s"))["StreamDescriptionSummary"]["StreamARN"]
        await client.update_max_record_size(StreamARN=arn, MaxRecordSizeInKiB=2048)
        await client.put_record(StreamName="s", Data=b"x" * (2 * MIB - 1), PartitionKey="k")


async def test_a_call_holds_500_records_and_ten_mib() -> None:
    async with plant(shards=2) as (_, client):
        assert (await put(client, *["k"] * 500))["FailedRecordCount"] == 0
        assert await refused(put(client, *["k"] * 501)) == "ValidationException"
        assert await refused(put(client)) == "ValidationException"
        assert (await put(client, *["k"] * 10, data=b"x" * (MIB - 1)))["FailedRecordCount"] == 0
        assert await refused(put(client, *["k"] * 11, data=b"x" * (MIB - 1))) == "InvalidArgumentException"


@pytest.mark.parametrize("key", ["", "k" * 257])
async def test_a_partition_key_has_1_to_256_characters(key: str) -> None:
    async with plant() as (_, client):
        assert await refused(put(client, key)) == "ValidationException"


async def test_a_shard_takes_1000_records_a_second_and_throttles_the_rest_one_by_one() -> None:
    ticks = Hand(0)
    async with plant(shards=2, limits=Limits(), ticks=ticks) as (kinesis, client):
        half = [{"Data": b"x", "PartitionKey": "k", "ExplicitHashKey": str(n % 2 * 2**127)} for n in range(500)]
        hot = [record | {"ExplicitHashKey": "0"} for record in half]
        for records, failed in ((hot, 0), (half, 0), (hot, 250), (half, 250)):
            answer = await client.put_records(StreamName="s", Records=records)
            assert answer["FailedRecordCount"] == failed
        bad = [fate for fate in answer["Records"] if "ErrorCode" in fate]
        assert {fate["ErrorCode"] for fate in bad} == {"ProvisionedThroughputExceededException"}
        assert "shardId-000000000000 in stream s under account" in bad[0]["ErrorMessage"]
        assert all("SequenceNumber" not in fate for fate in bad)
        one = {"StreamName": "s", "Data": b"x", "PartitionKey": "k", "ExplicitHashKey": "0"}
        assert await refused(client.put_record(**one)) == "ProvisionedThroughputExceededException"
        ticks.now_s += 0.1
        answer = await client.put_records(StreamName="s", Records=hot)
        assert answer["FailedRecordCount"] == 400
        ticks.now_s += 0.0011
        await client.put_record(**one)
        assert kinesis.account.streams["s"].open_shards[0].held == 1101


async def test_a_shard_takes_one_mib_a_second_keys_included() -> None:
    ticks = Hand(0)
    async with plant(limits=Limits(), ticks=ticks) as (_, client):
        tenth = MIB // 10 - 1
        answer = await put(client, *["k"] * 12, data=b"x" * tenth)
        assert [("ErrorCode" in fate) for fate in answer["Records"]] == [False] * 10 + [True] * 2
        ticks.now_s += 0.2
        assert (await put(client, *["k"] * 3, data=b"x" * tenth))["FailedRecordCount"] == 1


async def test_a_record_greater_than_a_second_s_worth_passes_alone_and_is_paid_back() -> None:
    ticks = Hand(0)
    async with plant(limits=Limits(), ticks=ticks) as (_, client):
        arn = (await client.describe_stream_summary(StreamName="s"))["StreamDescriptionSummary"]["StreamARN"]
        await client.update_max_record_size(StreamARN=arn, MaxRecordSizeInKiB=10_240)
        assert (await put(client, "k", data=b"x" * 5 * MIB))["FailedRecordCount"] == 0
        ticks.now_s += 3.9
        assert (await put(client, "k"))["FailedRecordCount"] == 1
        ticks.now_s += 0.2
        assert (await put(client, "k"))["FailedRecordCount"] == 0


async def test_a_shard_is_read_five_times_a_second() -> None:
    ticks = Hand(0)
    async with plant(shards=2, limits=Limits(), ticks=ticks) as (_, client):
        place, other = await iterator(client, name(0)), await iterator(client, name(1))
        for _ in range(5):
            await client.get_records(ShardIterator=place)
        assert await refused(client.get_records(ShardIterator=place)) == "ProvisionedThroughputExceededException"
        await client.get_records(ShardIterator=other)
        ticks.now_s += 0.2
        await client.get_records(ShardIterator=place)
        assert await refused(client.get_records(ShardIterator=place)) == "ProvisionedThroughputExceededException"


async def test_two_mib_a_second_are_read_and_a_ten_mib_answer_stops_reads_for_five_seconds() -> None:
    ticks = Hand(0)
    limits = Limits(write_bytes_per_s=None)
    async with plant(limits=limits, ticks=ticks) as (_, client):
        for _ in range(3):
            await put(client, *["k"] * 8, data=b"x" * (MIB - 1))
        place = await iterator(client, name(0))
        answer = await client.get_records(ShardIterator=place, Limit=4)
        assert await refused(client.get_records(ShardIterator=place)) == "ProvisionedThroughputExceededException"
        ticks.now_s += 60
        answer = await client.get_records(ShardIterator=answer["NextShardIterator"])
        assert len(answer["Records"]) == 10
        ticks.now_s += 4.9
        again = client.get_records(ShardIterator=answer["NextShardIterator"])
        assert await refused(again) == "ProvisionedThroughputExceededException"
        ticks.now_s += 0.2
        answer = await client.get_records(ShardIterator=answer["NextShardIterator"])
        assert len(answer["Records"]) == 10


async def test_an_answer_holds_10_000_records() -> None:
    async with plant() as (_, client):
        for _ in range(21):
            await put(client, *["k"] * 500)
        answer = await client.get_records(ShardIterator=await iterator(client, name(0)))
        assert len(answer["Records"]) == 10_000
        assert answer["MillisBehindLatest"] > 0
        answer = await client.get_records(ShardIterator=answer["NextShardIterator"])
        assert len(answer["Records"]) == 500
        assert await refused(client.get_records(ShardIterator="x", Limit=10_001)) == "ValidationException"


async def test_control_calls_and_iterators_have_their_rates() -> None:
    ticks = Hand(0)
    async with plant(limits=Limits(describe_summary_per_s=2, list_shards_per_s=1), ticks=ticks) as (_, client):
        await client.list_shards(StreamName="s")
        assert await refused(client.list_shards(StreamName="s")) == "LimitExceededException"
        for _ in range(2):
            await client.describe_stream_summary(StreamName="s")
        assert await refused(client.describe_stream_summary(StreamName="s")) == "LimitExceededException"
        for _ in range(5):
            await iterator(client, name(0))
        assert await refused(iterator(client, name(0))) == "ProvisionedThroughputExceededException"
