"""The fake keeps Kinesis's promises about records and shards, and only those. Asked through the real client."""

import asyncio
from hashlib import md5
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinesis_fake import Timing, sequence
from kinesis_fake.stream import Stream
from stream.asking_kinesis import (
    Hand,
    drain,
    iterator,
    listed,
    name,
    numbers,
    plant,
    put,
    read,
    refused,
    split,
)

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
