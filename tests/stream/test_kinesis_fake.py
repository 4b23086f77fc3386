"""The fake keeps Kinesis's promises, and only those. Everything is asked through the real client."""

import asyncio
import json
import signal
import sys
import urllib.request
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from hashlib import md5
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.exceptions import ClientError, ConnectionClosedError, EventStreamError
from hypothesis import given
from hypothesis import strategies as st

from kinesis_fake import QUICK, UNLIMITED, FakeKinesis, Faults, Limits, Timing, sequence
from kinesis_fake.framing import frame
from kinesis_fake.stream import Stream

MIB = 2**20
ONCE = AioConfig(retries={"total_max_attempts": 1}, parameter_validation=False)
SESSION = get_session()


class Hand:
    """A clock moved by hand."""

    def __init__(self, now_s: float = 1_790_000_000.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


@asynccontextmanager
async def client_of(kinesis: FakeKinesis) -> AsyncIterator[Any]:
    async with SESSION.create_client(
        "kinesis",
        region_name="us-east-1",
        endpoint_url=kinesis.url,
        aws_access_key_id="any",
        aws_secret_access_key="any",
        config=ONCE,
    ) as client:
        yield client


@asynccontextmanager
async def plant(shards: int = 1, **settings: Any) -> AsyncIterator[tuple[FakeKinesis, Any]]:
    """A fake with one stream `s`; no rates and no waiting unless settings say so."""
    settings = {"limits": Limits(**vars(UNLIMITED)), "timing": Timing(**vars(QUICK))} | settings
    async with FakeKinesis(**settings) as kinesis, client_of(kinesis) as client:
        await client.create_stream(StreamName="s", ShardCount=shards)
        yield kinesis, client


async def put(client: Any, *keys: str, data: bytes = b"x") -> dict[str, Any]:
    records = [{"Data": data, "PartitionKey": key} for key in keys]
    answer: dict[str, Any] = await client.put_records(StreamName="s", Records=records)
    return answer


async def iterator(client: Any, shard: str, kind: str = "TRIM_HORIZON", **more: Any) -> str:
    answer = await client.get_shard_iterator(StreamName="s", ShardId=shard, ShardIteratorType=kind, **more)
    text: str = answer["ShardIterator"]
    return text


async def read(client: Any, shard: str, kind: str = "TRIM_HORIZON", **more: Any) -> list[bytes]:
    """What one GetRecords call sees from there."""
    answer = await client.get_records(ShardIterator=await iterator(client, shard, kind, **more))
    return [record["Data"] for record in answer["Records"]]


async def drain(client: Any, shard: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """All records and, for a closed shard, its children."""
    place: str | None = await iterator(client, shard)
    records: list[dict[str, Any]] = []
    while place:
        answer = await client.get_records(ShardIterator=place, Limit=100)
        records += answer["Records"]
        place = answer.get("NextShardIterator")
        if not answer["Records"] and answer["MillisBehindLatest"] == 0:
            break
    return records, answer.get("ChildShards", [])


async def listed(client: Any, **more: Any) -> dict[str, dict[str, Any]]:
    return {shard["ShardId"]: shard for shard in (await client.list_shards(StreamName="s", **more))["Shards"]}


async def split(client: Any, shard: str) -> None:
    keys = (await listed(client))[shard]["HashKeyRange"]
    middle = (int(keys["StartingHashKey"]) + int(keys["EndingHashKey"])) // 2 + 1
    await client.split_shard(StreamName="s", ShardToSplit=shard, NewStartingHashKey=str(middle))


async def refused(call: Awaitable[object]) -> str:
    """The code of the refusal."""
    with pytest.raises(ClientError) as caught:
        await call
    code: str = caught.value.response["Error"]["Code"]
    return code


def name(index: int) -> str:
    return f"shardId-{index:012d}"


def numbers(records: list[dict[str, Any]]) -> list[int]:
    return [int(record["SequenceNumber"]) for record in records]


# Sequence numbers and routing


@given(
    st.integers(0, 2**20), st.integers(10**9, 2**33), st.integers(0, sequence.ORDINAL_MAX), st.integers(10**9, 2**33)
)
def test_a_sequence_number_has_56_digits_and_can_be_taken_apart(shard: int, born: int, ordinal: int, now: int) -> None:
    parts = sequence.Sequence(shard, born, ordinal, now)
    text = str(sequence.compose(parts))
    assert len(text) == 56
    assert sequence.take_apart(text) == parts


@pytest.mark.parametrize("text", ["0", "1", "", "x", "٣", "9" * 56, "4" + "0" * 55])
def test_what_is_no_sequence_number_is_not_taken_apart(text: str) -> None:
    assert sequence.take_apart(text) is None


async def test_records_go_by_the_md5_of_their_key_and_come_in_order_with_growing_numbers() -> None:
    async with plant(shards=4) as (_, client):
        keys = [f"device-{n}" for n in range(400)]
        fates = (await put(client, *keys))["Records"]
        assert len({fate["SequenceNumber"] for fate in fates}) == 400
        shards = await listed(client)
        for key, fate in zip(keys, fates, strict=True):
            keys_of = shards[fate["ShardId"]]["HashKeyRange"]
            hashed = int(md5(key.encode()).hexdigest(), 16)
            assert int(keys_of["StartingHashKey"]) <= hashed <= int(keys_of["EndingHashKey"])
        for shard in shards:
            records, children = await drain(client, shard)
            assert [r["PartitionKey"] for r in records] == [
                key for key, fate in zip(keys, fates, strict=True) if fate["ShardId"] == shard
            ]
            assert all(low < high for low, high in pairwise(numbers(records)))
            assert children == []


async def test_an_explicit_hash_key_overrules_the_partition_key() -> None:
    async with plant(shards=2) as (_, client):
        for at, shard in ((0, 0), (2**127 - 1, 0), (2**127, 1), (2**128 - 1, 1)):
            call = client.put_record(StreamName="s", Data=b"", PartitionKey="k", ExplicitHashKey=str(at))
            assert (await call)["ShardId"] == name(shard)
        call = client.put_record(StreamName="s", Data=b"", PartitionKey="k", ExplicitHashKey=str(2**128))
        assert await refused(call) == "InvalidArgumentException"


async def test_data_and_keys_come_back_as_they_were() -> None:
    async with plant() as (_, client):
        sent = [(bytes(range(256)), "clé ⚙"), (b"", "k"), (b"\x00\xff", '"\\\n')]
        for data, key in sent:
            await client.put_record(StreamName="s", Data=data, PartitionKey=key)
        records, _ = await drain(client, name(0))
        assert [(record["Data"], record["PartitionKey"]) for record in records] == sent


# Iterators


async def test_every_kind_of_iterator_begins_where_it_says() -> None:
    clock = Hand()
    async with plant(clock=clock) as (_, client):
        for data in (b"1", b"2", b"3"):
            await put(client, "k", data=data)
            clock.now_s += 10
        second = str(numbers((await drain(client, name(0)))[0])[1])
        shard = name(0)
        assert await read(client, shard) == [b"1", b"2", b"3"]
        assert await read(client, shard, "AT_SEQUENCE_NUMBER", StartingSequenceNumber=second) == [b"2", b"3"]
        assert await read(client, shard, "AFTER_SEQUENCE_NUMBER", StartingSequenceNumber=second) == [b"3"]
        assert await read(client, shard, "LATEST") == []
        assert await read(client, shard, "AT_TIMESTAMP", Timestamp=clock.now_s - 20) == [b"2", b"3"]
        assert await read(client, shard, "AT_TIMESTAMP", Timestamp=clock.now_s - 19.999) == [b"3"]
        assert await read(client, shard, "AT_TIMESTAMP", Timestamp=1) == [b"1", b"2", b"3"]
        assert await read(client, shard, "AT_TIMESTAMP", Timestamp=clock.now_s) == []
        too_late = iterator(client, shard, "AT_TIMESTAMP", Timestamp=clock.now_s + 5)
        assert await refused(too_late) == "InvalidArgumentException"


async def test_latest_sees_what_comes_after_it_and_nothing_else() -> None:
    async with plant() as (_, client):
        await put(client, "k", data=b"before")
        place = await iterator(client, name(0), "LATEST")
        await put(client, "k", data=b"after")
        answer = await client.get_records(ShardIterator=place)
        assert [record["Data"] for record in answer["Records"]] == [b"after"]


async def test_an_iterator_can_be_used_again_and_gives_the_same() -> None:
    async with plant() as (_, client):
        await put(client, *"abc")
        place = await iterator(client, name(0))
        first, again = [await client.get_records(ShardIterator=place, Limit=2) for _ in range(2)]
        assert numbers(first["Records"]) == numbers(again["Records"])
        rest = await client.get_records(ShardIterator=first["NextShardIterator"])
        assert len(rest["Records"]) == 1


async def test_iterators_expire() -> None:
    clock = Hand()
    async with plant(clock=clock) as (_, client):
        place = await iterator(client, name(0))
        clock.now_s += 300
        place = (await client.get_records(ShardIterator=place))["NextShardIterator"]
        clock.now_s += 300.5
        assert await refused(client.get_records(ShardIterator=place)) == "ExpiredIteratorException"


async def test_a_wrong_iterator_or_number_is_refused_by_name() -> None:
    async with plant(shards=2) as (_, client):
        place = await iterator(client, name(0))
        for wrong in ("x", place[:-4], place[:20] + "AAAA" + place[24:], "é"):
            assert await refused(client.get_records(ShardIterator=wrong)) == "InvalidArgumentException"
        fate = (await put(client, "k"))["Records"][0]
        other = name(0) if fate["ShardId"] == name(1) else name(1)
        for number in (fate["SequenceNumber"], "17", str(int(fate["SequenceNumber"]) + 1)):
            wrong = iterator(client, other, "AFTER_SEQUENCE_NUMBER", StartingSequenceNumber=number)
            assert await refused(wrong) == "InvalidArgumentException"
        both = iterator(client, other, "LATEST", StartingSequenceNumber=fate["SequenceNumber"])
        assert await refused(both) == "InvalidArgumentException"
        assert await refused(iterator(client, name(7))) == "ResourceNotFoundException"


async def test_an_iterator_does_not_outlive_its_stream() -> None:
    clock = Hand()
    async with plant(clock=clock) as (_, client):
        place = await iterator(client, name(0))
        number = (await put(client, "k"))["Records"][0]["SequenceNumber"]
        await client.delete_stream(StreamName="s")
        clock.now_s += 5
        await client.create_stream(StreamName="s", ShardCount=1)
        assert await refused(client.get_records(ShardIterator=place)) == "ResourceNotFoundException"
        old = iterator(client, name(0), "AFTER_SEQUENCE_NUMBER", StartingSequenceNumber=number)
        assert await refused(old) == "InvalidArgumentException"


async def test_millis_behind_latest_is_the_age_of_what_is_unread() -> None:
    clock = Hand()
    async with plant(clock=clock) as (_, client):
        for _ in range(3):
            await put(client, "k")
            clock.now_s += 2
        place, behind = await iterator(client, name(0)), []
        for _ in range(3):
            answer = await client.get_records(ShardIterator=place, Limit=1)
            place = answer["NextShardIterator"]
            behind.append(answer["MillisBehindLatest"])
        assert behind == [4000, 2000, 0]


# Resharding


async def test_a_split_closes_the_parent_which_drains_to_its_end_and_names_its_children() -> None:
    async with plant() as (_, client):
        keys = [f"device-{n}" for n in range(250)]
        await put(client, *keys)
        await split(client, name(0))
        fates = (await put(client, *keys))["Records"]
        assert {fate["ShardId"] for fate in fates} == {name(1), name(2)}
        old, children = await drain(client, name(0))
        assert [record["PartitionKey"] for record in old] == keys
        assert [child["ShardId"] for child in children] == [name(1), name(2)]
        assert all(child["ParentShards"] == [name(0)] for child in children)
        shards = await listed(client)
        ending = int(shards[name(0)]["SequenceNumberRange"]["EndingSequenceNumber"])
        assert max(numbers(old)) < ending < min(numbers(fates))
        assert all(shards[name(n)]["ParentShardId"] == name(0) for n in (1, 2))
        assert all("EndingSequenceNumber" not in shards[name(n)]["SequenceNumberRange"] for n in (1, 2))


async def test_a_reader_at_the_tip_of_a_shard_that_closes_is_told_its_end() -> None:
    async with plant() as (_, client):
        place = await iterator(client, name(0), "LATEST")
        answer = await client.get_records(ShardIterator=place)
        await put(client, "k")
        await split(client, name(0))
        answer = await client.get_records(ShardIterator=answer["NextShardIterator"])
        assert len(answer["Records"]) == 1
        assert "NextShardIterator" not in answer
        assert len(answer["ChildShards"]) == 2
        last = answer["Records"][0]["SequenceNumber"]
        place = await iterator(client, name(0), "AFTER_SEQUENCE_NUMBER", StartingSequenceNumber=last)
        answer = await client.get_records(ShardIterator=place)
        assert answer["Records"] == []
        assert "NextShardIterator" not in answer


async def test_a_merge_has_two_parents_and_takes_only_neighbours_in_order() -> None:
    async with plant(shards=3) as (_, client):
        merge = client.merge_shards
        for first, second in ((0, 2), (1, 0), (0, 0)):
            call = merge(StreamName="s", ShardToMerge=name(first), AdjacentShardToMerge=name(second))
            assert await refused(call) == "InvalidArgumentException"
        await merge(StreamName="s", ShardToMerge=name(0), AdjacentShardToMerge=name(1))
        child = (await listed(client))[name(3)]
        assert (child["ParentShardId"], child["AdjacentParentShardId"]) == (name(0), name(1))
        for parent in (name(0), name(1)):
            _, children = await drain(client, parent)
            assert [(one["ShardId"], one["ParentShards"]) for one in children] == [(name(3), [name(0), name(1)])]
        again = merge(StreamName="s", ShardToMerge=name(0), AdjacentShardToMerge=name(1))
        assert await refused(again) == "InvalidArgumentException"


@pytest.mark.parametrize(("before", "after"), [(2, 4), (4, 2), (3, 5), (5, 3), (4, 4)])
async def test_scaling_loses_nothing_and_ends_with_equal_ranges(before: int, after: int) -> None:
    async with plant(shards=before) as (_, client):
        keys = {f"device-{n}" for n in range(200)}
        await put(client, *keys)
        await client.update_shard_count(StreamName="s", TargetShardCount=after, ScalingType="UNIFORM_SCALING")
        summary = (await client.describe_stream_summary(StreamName="s"))["StreamDescriptionSummary"]
        assert summary["OpenShardCount"] == after
        seen = [record["PartitionKey"] for shard in await listed(client) for record in (await drain(client, shard))[0]]
        assert sorted(seen) == sorted(keys)
        too_many = client.update_shard_count(
            StreamName="s", TargetShardCount=2 * after + 1, ScalingType="UNIFORM_SCALING"
        )
        assert await refused(too_many) == "InvalidArgumentException"


@given(st.integers(1, 6), st.lists(st.tuples(st.sampled_from(["split", "merge", "scale"]), st.integers(0, 1000))))
def test_open_shards_always_share_all_hash_keys_without_gap_or_overlap(
    start: int, steps: list[tuple[str, int]]
) -> None:
    stream = Stream("s", "arn", 1_790_000_000_000)
    stream.divide(start)
    for step, pick in steps:
        shards = stream.open_shards
        chosen = shards[pick % len(shards)]
        match step:
            case "split" if chosen.high - chosen.low > 4:
                stream.split(chosen, chosen.low + 2 + pick % 2, 1_790_000_000_000)
            case "merge" if len(shards) > 1:
                stream.merge(*shards[pick % (len(shards) - 1) :][:2], 1_790_000_000_000)
            case "scale":
                stream.scale(1 + pick % 8, 1_790_000_000_000)
    shards = stream.open_shards
    assert (shards[0].low, shards[-1].high) == (0, 2**128 - 1)
    assert all(left.high + 1 == right.low for left, right in pairwise(shards))
    born = {shard.id: shard for shard in stream.shards}
    assert all(born[parent].ending < shard.starting for shard in stream.shards for parent in shard.parents)  # type: ignore[operator]


async def test_while_updating_the_parent_takes_writes_and_another_reshard_is_refused() -> None:
    async with plant(timing=Timing(create_s=0, update_s=0.2)) as (_, client):
        await split(client, name(0))
        summary = (await client.describe_stream_summary(StreamName="s"))["StreamDescriptionSummary"]
        assert summary["StreamStatus"] == "UPDATING"
        assert (await put(client, "k"))["Records"][0]["ShardId"] == name(0)
        assert await refused(split(client, name(0))) == "ResourceInUseException"
        await asyncio.sleep(0.25)
        assert (await put(client, "k"))["Records"][0]["ShardId"] != name(0)
        await split(client, name(1))


async def test_a_split_outside_the_shard_or_of_a_closed_one_is_refused() -> None:
    async with plant(shards=2) as (_, client):
        for at in (0, 1, 2**127 - 1, 2**127 + 5):
            call = client.split_shard(StreamName="s", ShardToSplit=name(0), NewStartingHashKey=str(at))
            assert await refused(call) == "InvalidArgumentException"
        await split(client, name(0))
        assert await refused(split(client, name(0))) == "InvalidArgumentException"
        call = client.split_shard(StreamName="s", ShardToSplit=name(9), NewStartingHashKey="7")
        assert await refused(call) == "ResourceNotFoundException"


# Retention


async def test_old_records_are_trimmed_and_a_reader_behind_continues_at_the_horizon() -> None:
    clock = Hand()
    async with plant(clock=clock) as (kinesis, client):
        old = (await put(client, "k", data=b"old"))["Records"][0]["SequenceNumber"]
        place = await iterator(client, name(0))
        clock.now_s += 100
        await put(client, "k", data=b"new")
        kinesis.timing.iterator_s = 1e9
        clock.now_s += 24 * 3600 - 50
        for kind in ("AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER"):
            assert await read(client, name(0), kind, StartingSequenceNumber=old) == [b"new"]
        answer = await client.get_records(ShardIterator=place)
        assert [record["Data"] for record in answer["Records"]] == [b"new"]


async def test_a_longer_retention_keeps_more_but_brings_nothing_back() -> None:
    clock = Hand()
    async with plant(clock=clock) as (_, client):
        await put(client, "k", data=b"gone")
        clock.now_s += 20 * 3600
        await put(client, "k", data=b"kept")
        clock.now_s += 5 * 3600
        await client.increase_stream_retention_period(StreamName="s", RetentionPeriodHours=48)
        assert await read(client, name(0)) == [b"kept"]
        clock.now_s += 40 * 3600
        assert await read(client, name(0)) == [b"kept"]
        await client.decrease_stream_retention_period(StreamName="s", RetentionPeriodHours=24)
        assert await read(client, name(0)) == []
        for hours in (23, 25):
            call = client.decrease_stream_retention_period(StreamName="s", RetentionPeriodHours=hours)
            assert await refused(call) == "InvalidArgumentException"


async def test_retention_can_be_seconds_and_an_expired_shard_disappears() -> None:
    async with plant(timing=Timing(create_s=0, update_s=0, hour_s=0.4 / 24)) as (_, client):
        await put(client, "k")
        place = await iterator(client, name(0))
        await split(client, name(0))
        assert len(await listed(client)) == 3
        await asyncio.sleep(0.5)
        shards = await listed(client)
        assert list(shards) == [name(1), name(2)]
        assert shards[name(1)]["ParentShardId"] == name(0)
        assert await refused(client.get_records(ShardIterator=place)) == "ResourceNotFoundException"
        assert await refused(iterator(client, name(0))) == "ResourceNotFoundException"


# Listing and describing


async def test_shards_are_listed_in_pages() -> None:
    clock = Hand()
    async with plant(shards=5, clock=clock) as (_, client):
        page = await client.list_shards(StreamName="s", MaxResults=2)
        seen = page["Shards"]
        first_token = page["NextToken"]
        while token := page.get("NextToken"):
            page = await client.list_shards(NextToken=token, MaxResults=2)
            seen += page["Shards"]
        assert [shard["ShardId"] for shard in seen] == [name(n) for n in range(5)]
        both = client.list_shards(StreamName="s", NextToken=first_token)
        assert await refused(both) == "InvalidArgumentException"
        clock.now_s += 301
        assert await refused(client.list_shards(NextToken=first_token)) == "ExpiredNextTokenException"
        described = (await client.describe_stream(StreamName="s", Limit=3))["StreamDescription"]
        assert (len(described["Shards"]), described["HasMoreShards"]) == (3, True)
        described = (await client.describe_stream(StreamName="s", ExclusiveStartShardId=name(2)))["StreamDescription"]
        assert ([shard["ShardId"] for shard in described["Shards"]], described["HasMoreShards"]) == (
            [name(3), name(4)],
            False,
        )


async def test_shards_are_filtered_by_when_they_were_open() -> None:
    clock = Hand()
    async with plant(shards=2, clock=clock) as (_, client):
        clock.now_s += 100
        await split(client, name(0))
        clock.now_s += 100
        start = clock.now_s - 200

        async def chosen(kind: str, **more: Any) -> list[int]:
            shards = await listed(client, ShardFilter={"Type": kind, **more})
            return [int(shard[-12:]) for shard in shards]

        assert await chosen("FROM_TRIM_HORIZON") == [0, 1, 2, 3]
        assert await chosen("AT_TRIM_HORIZON") == [0, 1]
        assert await chosen("AT_LATEST") == [1, 2, 3]
        assert await chosen("AT_TIMESTAMP", Timestamp=start + 50) == [0, 1]
        assert await chosen("AT_TIMESTAMP", Timestamp=start + 150) == [1, 2, 3]
        assert await chosen("FROM_TIMESTAMP", Timestamp=start + 50) == [0, 1, 2, 3]
        assert await chosen("FROM_TIMESTAMP", Timestamp=start + 150) == [1, 2, 3]
        assert await chosen("AFTER_SHARD_ID", ShardId=name(1)) == [2, 3]
        clock.now_s += 24 * 3600 - 150
        assert await chosen("AT_TRIM_HORIZON") == [0, 1]
        clock.now_s += 100
        assert await chosen("FROM_TRIM_HORIZON") == [1, 2, 3]


async def test_a_stream_is_created_found_by_arn_and_deleted() -> None:
    async with plant(timing=Timing(create_s=0.1, delete_s=0.1)) as (_, client):
        summary = (await client.describe_stream_summary(StreamName="s"))["StreamDescriptionSummary"]
        assert summary["StreamStatus"] == "CREATING"
        assert await refused(put(client, "k")) == "ResourceNotFoundException"
        assert await refused(client.create_stream(StreamName="s", ShardCount=1)) == "ResourceInUseException"
        await asyncio.sleep(0.15)
        records = [{"Data": b"x", "PartitionKey": "k"}]
        answer = await client.put_records(StreamARN=summary["StreamARN"], Records=records)
        assert answer["FailedRecordCount"] == 0
        assert (await client.list_streams())["StreamNames"] == ["s"]
        elsewhere = summary["StreamARN"].replace("us-east-1", "eu-west-2")
        assert await refused(client.put_records(StreamARN=elsewhere, Records=records)) == "ResourceNotFoundException"
        await client.delete_stream(StreamName="s")
        await asyncio.sleep(0.15)
        for call in (put(client, "k"), client.describe_stream_summary(StreamName="s"), iterator(client, name(0))):
            assert await refused(call) == "ResourceNotFoundException"


async def test_an_encrypted_stream_says_so() -> None:
    async with plant() as (_, client):
        await client.start_stream_encryption(StreamName="s", EncryptionType="KMS", KeyId="alias/aws/kinesis")
        assert (await put(client, "k"))["EncryptionType"] == "KMS"
        assert (await drain(client, name(0)))[0][0]["EncryptionType"] == "KMS"


# Limits


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
    ticks = Hand()
    async with plant(shards=2, limits=Limits(), ticks=ticks) as (_, client):
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
        assert len((await drain(client, name(0)))[0]) == 1101


async def test_a_shard_takes_one_mib_a_second_keys_included() -> None:
    ticks = Hand()
    async with plant(limits=Limits(), ticks=ticks) as (_, client):
        tenth = MIB // 10 - 1
        answer = await put(client, *["k"] * 12, data=b"x" * tenth)
        assert [("ErrorCode" in fate) for fate in answer["Records"]] == [False] * 10 + [True] * 2
        ticks.now_s += 0.2
        assert (await put(client, *["k"] * 3, data=b"x" * tenth))["FailedRecordCount"] == 1


async def test_a_record_greater_than_a_second_s_worth_passes_alone_and_is_paid_back() -> None:
    ticks = Hand()
    async with plant(limits=Limits(), ticks=ticks) as (_, client):
        arn = (await client.describe_stream_summary(StreamName="s"))["StreamDescriptionSummary"]["StreamARN"]
        await client.update_max_record_size(StreamARN=arn, MaxRecordSizeInKiB=10_240)
        assert (await put(client, "k", data=b"x" * 5 * MIB))["FailedRecordCount"] == 0
        ticks.now_s += 3.9
        assert (await put(client, "k"))["FailedRecordCount"] == 1
        ticks.now_s += 0.2
        assert (await put(client, "k"))["FailedRecordCount"] == 0


async def test_a_shard_is_read_five_times_a_second() -> None:
    ticks = Hand()
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
    ticks = Hand()
    limits = Limits(write_bytes_per_s=None)
    async with plant(limits=limits, ticks=ticks) as (_, client):
        for _ in range(3):
            await put(client, *["k"] * 8, data=b"x" * (MIB - 1))
        place = await iterator(client, name(0))
        answer = await client.get_records(ShardIterator=place, Limit=4)
        assert await refused(client.get_records(ShardIterator=place)) == "ProvisionedThroughputExceededException"
        ticks.now_s += 1.1
        answer = await client.get_records(ShardIterator=answer["NextShardIterator"])
        assert len(answer["Records"]) == 10
        ticks.now_s += 4.9
        again = client.get_records(ShardIterator=answer["NextShardIterator"])
        assert await refused(again) == "ProvisionedThroughputExceededException"
        ticks.now_s += 1.2
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
    ticks = Hand()
    async with plant(limits=Limits(describe_summary_per_s=2, list_shards_per_s=1), ticks=ticks) as (_, client):
        await client.list_shards(StreamName="s")
        assert await refused(client.list_shards(StreamName="s")) == "LimitExceededException"
        for _ in range(2):
            await client.describe_stream_summary(StreamName="s")
        assert await refused(client.describe_stream_summary(StreamName="s")) == "LimitExceededException"
        for _ in range(5):
            await iterator(client, name(0))
        assert await refused(iterator(client, name(0))) == "ProvisionedThroughputExceededException"


# Faults


async def test_entries_fail_one_by_one_by_seeded_chance_and_only_the_others_are_stored() -> None:
    async def fates(seed: int) -> list[str]:
        faults = Faults(seed=seed, put_entries_failed=0.2, put_entries_throttled=0.2)
        async with plant(faults=faults) as (kinesis, client):
            answer = await put(client, *map(str, range(500)))
            codes = [fate.get("ErrorCode", "") for fate in answer["Records"]]
            assert answer["FailedRecordCount"] == 500 - codes.count("")
            stored = [record["PartitionKey"] for record in (await drain(client, name(0)))[0]]
            assert stored == [str(n) for n, code in enumerate(codes) if not code]
            assert kinesis.account.trouble.counted["put_entries_failed"] == codes.count("InternalFailure")
            return codes

    first = await fates(1)
    assert 60 < first.count("InternalFailure") < 140
    assert 50 < first.count("ProvisionedThroughputExceededException") < 120
    assert first == await fates(1)
    assert first != await fates(2)


async def test_a_lost_reply_hides_a_put_that_happened_and_a_lost_request_one_that_did_not() -> None:
    async with plant() as (kinesis, client):
        for fault, stored in (("lost_requests", 0), ("lost_replies", 1)):
            setattr(kinesis.faults, fault, 1.0)
            with pytest.raises(ConnectionClosedError):
                await put(client, "k")
            setattr(kinesis.faults, fault, 0.0)
            assert len((await drain(client, name(0)))[0]) == stored


async def test_a_call_can_be_throttled_or_fail_as_a_whole() -> None:
    async with plant() as (kinesis, client):
        kinesis.faults.calls_throttled = 1.0
        assert await refused(put(client, "k")) == "ProvisionedThroughputExceededException"
        kinesis.faults.calls_throttled, kinesis.faults.calls_failed = 0.0, 1.0
        assert await refused(iterator(client, name(0))) == "InternalFailure"
        await client.list_shards(StreamName="s")


@pytest.mark.parametrize(
    ("fault", "value", "code"),
    [
        ("access_denied", ["PutRecords"], "AccessDeniedException"),
        ("access_denied", ["*"], "AccessDeniedException"),
        ("kms_error", "KMSAccessDeniedException", "KMSAccessDeniedException"),
        ("credentials_error", "UnrecognizedClientException", "UnrecognizedClientException"),
    ],
)
async def test_permissions_keys_and_credentials_can_be_refused(fault: str, value: object, code: str) -> None:
    async with plant() as (kinesis, client):
        setattr(kinesis.faults, fault, value)
        assert await refused(put(client, "k")) == code
        assert kinesis.state()["refusals"] == {code: 1}


async def test_a_producer_s_duplicate_has_two_numbers_and_a_delivery_s_has_one() -> None:
    async with plant() as (kinesis, client):
        kinesis.faults.put_twice = 1.0
        await put(client, *"abc")
        records, _ = await drain(client, name(0))
        assert [record["PartitionKey"] for record in records] == list("aabbcc")
        assert len(set(numbers(records))) == 6
        kinesis.faults.put_twice, kinesis.faults.deliver_again = 0.0, 1.0
        place, seen = await iterator(client, name(0)), []
        for _ in range(3):
            answer = await client.get_records(ShardIterator=place)
            place = answer["NextShardIterator"]
            seen += numbers(answer["Records"])
        assert set(seen) == set(numbers(records))
        assert len(seen) > 6


async def test_a_stalled_shard_takes_writes_and_delivers_nothing_until_it_recovers() -> None:
    clock = Hand()
    async with plant(clock=clock) as (kinesis, client):
        await put(client, "k")
        kinesis.faults.stalled_shards = [name(0)]
        clock.now_s += 9
        answer = await client.get_records(ShardIterator=await iterator(client, name(0)))
        assert (answer["Records"], answer["MillisBehindLatest"]) == ([], 9000)
        await put(client, "k")
        kinesis.faults.stalled_shards = []
        answer = await client.get_records(ShardIterator=answer["NextShardIterator"])
        assert len(answer["Records"]) == 2


async def test_latency_and_a_wrong_clock_can_be_set() -> None:
    async with plant() as (kinesis, client):
        loop = asyncio.get_running_loop()
        kinesis.faults.put_latency_s = kinesis.faults.get_latency_s = 0.05
        kinesis.faults.clock_offset_s = -1000
        before = loop.time()
        await put(client, "k")
        assert loop.time() - before >= 0.05
        record = (await drain(client, name(0)))[0][0]
        assert loop.time() - before >= 0.15
        assert 990 < kinesis.account.now_ms() / 1000 - record["ApproximateArrivalTimestamp"].timestamp() + 1000 < 1010
        kinesis.faults.clock_offset_s = 0
        await put(client, "k")
        records, _ = await drain(client, name(0))
        assert (records[1]["ApproximateArrivalTimestamp"] - records[0]["ApproximateArrivalTimestamp"]).seconds >= 999


async def test_a_real_client_s_own_retries_make_the_duplicates_that_lost_replies_make() -> None:
    async with plant(faults=Faults(lost_replies=0.3, seed=5)) as (kinesis, _):
        retrying = SESSION.create_client(
            "kinesis",
            region_name="us-east-1",
            endpoint_url=kinesis.url,
            aws_access_key_id="any",
            aws_secret_access_key="any",
            config=AioConfig(retries={"mode": "standard", "total_max_attempts": 9}),
        )
        async with retrying as client:
            for number in range(10):
                await put(client, str(number))
            kinesis.faults.lost_replies = 0.0
            records, _ = await drain(client, name(0))
        assert {record["PartitionKey"] for record in records} == set(map(str, range(10)))
        assert len(records) == 10 + kinesis.account.trouble.counted["lost_replies"] > 10


# Fan-out


async def consumer_of(client: Any, consumer: str = "c") -> str:
    arn = (await client.describe_stream_summary(StreamName="s"))["StreamDescriptionSummary"]["StreamARN"]
    registered = await client.register_stream_consumer(StreamARN=arn, ConsumerName=consumer)
    text: str = registered["Consumer"]["ConsumerARN"]
    return text


async def subscribed(client: Any, arn: str, kind: str = "TRIM_HORIZON", **more: Any) -> AsyncIterator[dict[str, Any]]:
    start = {"Type": kind, **more}
    answer = await client.subscribe_to_shard(ConsumerARN=arn, ShardId=name(0), StartingPosition=start)
    return (event["SubscribeToShardEvent"] async for event in answer["EventStream"])


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
    ticks = Hand()
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
    from botocore.eventstream import ChecksumMismatch, EventStreamBuffer

    framed = frame(headers, payload)
    buffer = EventStreamBuffer()
    buffer.add_data(framed)
    message = next(buffer)
    assert (message.headers, message.payload) == (headers, payload)
    buffer = EventStreamBuffer()
    buffer.add_data(framed[:-5] + bytes([framed[-5] ^ 1]) + framed[-4:])
    with pytest.raises(ChecksumMismatch):
        next(buffer)


# The doors of our own


def door(url: str, body: object = None) -> dict[str, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, method="GET" if data is None else "PUT")
    with urllib.request.urlopen(request, timeout=5) as answer:
        shown: dict[str, Any] = json.load(answer)
    return shown


async def test_faults_limits_and_timing_are_set_over_http_and_the_state_is_shown() -> None:
    async with plant(shards=2) as (kinesis, client):
        shown = await asyncio.to_thread(door, f"{kinesis.url}/_faults", {"put_entries_failed": 1, "seed": 3})
        assert (shown["put_entries_failed"], shown["seed"], shown["lost_replies"]) == (1.0, 3, 0.0)
        assert (await put(client, "k"))["FailedRecordCount"] == 1
        await asyncio.to_thread(door, f"{kinesis.url}/_faults", {"put_entries_failed": 0})
        await asyncio.to_thread(door, f"{kinesis.url}/_limits", {"write_records_per_s": 1})
        assert (await put(client, "k", "k"))["FailedRecordCount"] == 1
        await asyncio.to_thread(door, f"{kinesis.url}/_timing", {"update_s": 9})
        assert (kinesis.timing.update_s, kinesis.faults.seed) == (9, 3)
        for wrong in ({"no_such_fault": 1}, {"seed": "x"}):
            with pytest.raises(urllib.error.HTTPError, match="400"):
                await asyncio.to_thread(door, f"{kinesis.url}/_faults", wrong)
        state = await asyncio.to_thread(door, f"{kinesis.url}/_state")
        assert state["streams"]["s"]["appended"] == 1
        assert sum(shard["held"] for shard in state["streams"]["s"]["shards"].values()) == 1
        assert state["injected"] == {"put_entries_failed": 1}
        assert state["refusals"] == {"entry:InternalFailure": 1, "entry:ProvisionedThroughputExceededException": 1}
        assert state["calls"]["PutRecords"] == 2


async def test_what_is_no_kinesis_call_is_refused_and_a_broken_one_hurts_nobody() -> None:
    async with plant() as (kinesis, client):
        for target, body in (("Kinesis_20131202.Nonsense", b"{}"), ("Kinesis_20131202.PutRecords", b"{"), ("", b"")):
            request = urllib.request.Request(kinesis.url, body, {"X-Amz-Target": target} if target else {})
            with pytest.raises(urllib.error.HTTPError):
                await asyncio.to_thread(urllib.request.urlopen, request)
        reader, writer = await asyncio.open_connection("127.0.0.1", kinesis.port)
        writer.write(b"\x00\x01 nonsense\r\n\r\n")
        assert await reader.read() == b""
        writer.close()
        bad = {"StreamName": "s", "Records": [{"Data": "not base64!", "PartitionKey": "k"}]}
        request = urllib.request.Request(
            kinesis.url, json.dumps(bad).encode(), {"X-Amz-Target": "Kinesis_20131202.PutRecords"}
        )
        with pytest.raises(urllib.error.HTTPError, match="400"):
            await asyncio.to_thread(urllib.request.urlopen, request)
        assert (await put(client, "k"))["FailedRecordCount"] == 0


async def test_it_runs_on_its_own_and_ends_on_sigterm() -> None:
    flags = ("--port", "0", "--records-per-s", "2", "--retention-s", "60", "--put-latency-s", "0.01", "--stream", "s:3")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "kinesis_fake", *flags, cwd=Path(__file__).parents[1], stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        url = (await process.stdout.readline()).decode().strip()
        assert (await asyncio.to_thread(door, f"{url}/_limits"))["write_records_per_s"] == 2
        assert (await asyncio.to_thread(door, f"{url}/_timing"))["hour_s"] == 2.5
        assert (await asyncio.to_thread(door, f"{url}/_faults"))["put_latency_s"] == 0.01
        assert "s" in (await asyncio.to_thread(door, f"{url}/_state"))["streams"]
    finally:
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 5) == 0
