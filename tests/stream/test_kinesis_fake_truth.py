"""The fake and the emulators of others, asked the same questions, wherever each is known to be right.

npm install kinesalite --prefix DIR     PENSTOCK_KINESALITE=DIR/node_modules/kinesalite/cli.js
pip install 'moto[server]' in a venv    PENSTOCK_MOTO=VENV/bin/moto_server
"""

import asyncio
import contextlib
import itertools
import os
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from stream.asking_kinesis import ONCE, SESSION

pytestmark = pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")  # aiohttp, from 1 MiB on
TESTS = Path(__file__).parents[1]
KEYS = [f"device-{number}" for number in range(60)]
MIB = 2**20
EDGES = ("0", str(2**127 - 1), str(2**127), str(2**128 - 1))
_names = (f"truth-{number}" for number in itertools.count())


class Asked:
    """One stream of one emulator."""

    def __init__(self, client: Any) -> None:
        self.client, self.stream = client, next(_names)

    async def create(self, shards: int) -> None:
        await self.client.create_stream(StreamName=self.stream, ShardCount=shards)
        await self.settled()

    async def settled(self) -> None:
        for _ in range(500):
            if (await self.summary())["StreamStatus"] == "ACTIVE":
                return
            await asyncio.sleep(0.02)
        raise TimeoutError

    async def summary(self) -> dict[str, Any]:
        answer: dict[str, Any] = await self.client.describe_stream_summary(StreamName=self.stream)
        return answer["StreamDescriptionSummary"]

    async def shards(self, **more: Any) -> list[dict[str, Any]]:
        answer: dict[str, Any] = await self.client.list_shards(StreamName=self.stream, **more)
        return answer["Shards"]

    async def put(self, keys: list[str]) -> list[dict[str, Any]]:
        records = [{"Data": key.encode(), "PartitionKey": key} for key in keys]
        answer: dict[str, Any] = await self.client.put_records(StreamName=self.stream, Records=records)
        return answer["Records"]

    async def iterator(self, shard: int, kind: str = "TRIM_HORIZON", **more: Any) -> str:
        answer: dict[str, str] = await self.client.get_shard_iterator(
            StreamName=self.stream, ShardId=name(shard), ShardIteratorType=kind, **more
        )
        return answer["ShardIterator"]

    async def read(self, shard: int, kind: str = "TRIM_HORIZON", **more: Any) -> list[str]:
        answer = await self.client.get_records(ShardIterator=await self.iterator(shard, kind, **more))
        return [record["PartitionKey"] for record in answer["Records"]]

    async def split(self, shard: int) -> None:
        keys = (await self.shards())[shard]["HashKeyRange"]
        middle = (int(keys["StartingHashKey"]) + int(keys["EndingHashKey"]) + 1) // 2
        await self.client.split_shard(StreamName=self.stream, ShardToSplit=name(shard), NewStartingHashKey=str(middle))

    async def merge(self, first: int, second: int) -> None:
        await self.client.merge_shards(
            StreamName=self.stream, ShardToMerge=name(first), AdjacentShardToMerge=name(second)
        )

    async def arn(self) -> str:
        arn: str = (await self.summary())["StreamARN"]
        return arn


def name(shard: int) -> str:
    return f"shardId-{shard:012d}"


async def code(call: Awaitable[object]) -> str:
    try:
        await call
    except ClientError as error:
        text: str = error.response["Error"]["Code"]
        return text
    return "done"


def shape(shard: dict[str, Any]) -> tuple[object, ...]:
    """A shard without its numbers, which are nobody's business."""
    keys = shard["HashKeyRange"]
    parents = shard.get("ParentShardId"), shard.get("AdjacentParentShardId")
    closed = "EndingSequenceNumber" in shard["SequenceNumberRange"]
    return shard["ShardId"], keys["StartingHashKey"], keys["EndingHashKey"], *parents, closed


# The questions


async def how_are_hash_keys_divided(asked: Asked) -> object:
    await asked.create(3)
    return [shape(shard) for shard in await asked.shards()]


async def which_shard_takes_a_key(asked: Asked) -> object:
    await asked.create(3)
    return [fate["ShardId"] for fate in await asked.put(KEYS)]


async def which_shard_takes_an_explicit_hash_key(asked: Asked) -> object:
    await asked.create(2)
    put = {"StreamName": asked.stream, "Data": b"x", "PartitionKey": "k"}
    return [(await asked.client.put_record(**put, ExplicitHashKey=edge))["ShardId"] for edge in EDGES]


async def is_a_hash_key_beyond_the_last_refused(asked: Asked) -> object:
    await asked.create(1)
    put = {"StreamName": asked.stream, "Data": b"x", "PartitionKey": "k"}
    return await code(asked.client.put_record(**put, ExplicitHashKey=str(2**128)))


async def in_what_order_do_records_come(asked: Asked) -> object:
    await asked.create(2)
    await asked.put(KEYS)
    return [await asked.read(shard) for shard in (0, 1)]


async def do_numbers_grow_within_a_shard(asked: Asked) -> object:
    await asked.create(1)
    numbers = [int(fate["SequenceNumber"]) for fate in await asked.put(KEYS)]
    return all(low < high for low, high in pairwise(numbers))


async def how_long_are_sequence_numbers_and_do_they_lie_between_the_shard_s(asked: Asked) -> object:
    await asked.create(1)
    fates = await asked.put(KEYS)
    await asked.split(0)
    await asked.settled()
    parent, child, _ = await asked.shards()
    numbers = [fate["SequenceNumber"] for fate in fates]
    span, born = parent["SequenceNumberRange"], child["SequenceNumberRange"]["StartingSequenceNumber"]
    order = [span["StartingSequenceNumber"], *numbers, span["EndingSequenceNumber"], born]
    return {len(number) for number in order}, all(int(low) < int(high) for low, high in pairwise(order))


async def where_does_each_iterator_begin(asked: Asked) -> object:
    await asked.create(1)
    second = (await asked.put(["a", "b", "c"]))[1]["SequenceNumber"]
    at = {"StartingSequenceNumber": second}
    return [
        await asked.read(0),
        await asked.read(0, "AT_SEQUENCE_NUMBER", **at),
        await asked.read(0, "AFTER_SEQUENCE_NUMBER", **at),
        await asked.read(0, "AT_TIMESTAMP", Timestamp=time.time() - 3600),
        await asked.read(0, "LATEST"),
    ]


async def what_does_latest_see(asked: Asked) -> object:
    await asked.create(1)
    await asked.put(["before"])
    place = await asked.iterator(0, "LATEST")
    await asked.put(["after"])
    return [record["PartitionKey"] for record in (await asked.client.get_records(ShardIterator=place))["Records"]]


async def what_does_a_limit_leave_for_the_next_call(asked: Asked) -> object:
    await asked.create(1)
    await asked.put(list("abcde"))
    place, pages = await asked.iterator(0), []
    for _ in range(3):
        answer = await asked.client.get_records(ShardIterator=place, Limit=2)
        place = answer["NextShardIterator"]
        pages.append([record["PartitionKey"] for record in answer["Records"]])
    return pages


async def does_an_old_iterator_still_give_the_same(asked: Asked) -> object:
    await asked.create(1)
    await asked.put(list("abc"))
    place = await asked.iterator(0)
    answers = [await asked.client.get_records(ShardIterator=place) for _ in range(2)]
    return [[record["PartitionKey"] for record in answer["Records"]] for answer in answers]


async def what_does_a_split_leave(asked: Asked) -> object:
    await asked.create(2)
    await asked.split(0)
    await asked.settled()
    return [shape(shard) for shard in await asked.shards()], (await asked.summary())["OpenShardCount"]


async def who_takes_records_after_a_split(asked: Asked) -> object:
    await asked.create(2)
    await asked.split(1)
    await asked.settled()
    return [fate["ShardId"] for fate in await asked.put(KEYS)]


async def who_takes_records_while_a_split_is_under_way(asked: Asked) -> object:
    await asked.create(1)
    await asked.split(0)
    state = (await asked.summary())["StreamStatus"]
    return state, {fate["ShardId"] for fate in await asked.put(KEYS)}


async def does_a_closed_shard_drain_to_its_end(asked: Asked) -> object:
    await asked.create(1)
    await asked.put(KEYS)
    await asked.split(0)
    await asked.settled()
    await asyncio.sleep(1.1)  # kinesalite's shards end with the second they closed in
    await asked.put(KEYS)
    return await _drained(asked, 0)


async def what_does_a_merge_leave(asked: Asked) -> object:
    await asked.create(3)
    await asked.put(KEYS)
    await asked.merge(0, 1)
    await asked.settled()
    return [shape(shard) for shard in await asked.shards()], [fate["ShardId"] for fate in await asked.put(KEYS)]


async def which_merges_are_refused(asked: Asked) -> object:
    await asked.create(3)
    return [await code(asked.merge(*pair)) for pair in ((0, 2), (1, 0), (0, 9))]


async def which_splits_are_refused(asked: Asked) -> object:
    await asked.create(2)
    split = asked.client.split_shard
    middle = 2**127
    return [
        await code(split(StreamName=asked.stream, ShardToSplit=name(shard), NewStartingHashKey=str(at)))
        for shard, at in ((0, 0), (0, 1), (0, middle - 1), (0, middle), (1, middle), (9, 5))
    ]


async def is_a_reshard_refused_while_another_is_under_way(asked: Asked) -> object:
    await asked.create(2)
    await asked.split(0)
    return await code(asked.split(1)), await code(asked.merge(0, 1))


async def which_calls_for_what_is_not_there_are_refused(asked: Asked) -> object:
    absent = {"StreamName": f"{asked.stream}-absent"}
    record = {"Data": b"x", "PartitionKey": "k"}
    await asked.create(1)
    client = asked.client
    return [
        await code(client.put_record(**absent, **record)),
        await code(client.put_records(**absent, Records=[record])),
        await code(client.describe_stream_summary(**absent)),
        await code(client.list_shards(**absent)),
        await code(client.delete_stream(**absent)),
        await code(client.split_shard(**absent, ShardToSplit=name(0), NewStartingHashKey="7")),
        await code(asked.iterator(7)),
    ]


async def is_a_second_stream_of_a_name_refused(asked: Asked) -> object:
    await asked.create(1)
    return await code(asked.client.create_stream(StreamName=asked.stream, ShardCount=1))


async def is_a_deleted_stream_gone(asked: Asked) -> object:
    await asked.create(1)
    await asked.client.delete_stream(StreamName=asked.stream)
    for _ in range(100):
        if await code(asked.summary()) != "done":
            break
        await asyncio.sleep(0.02)
    return await code(asked.summary()), await code(asked.put(["k"]))


async def are_501_records_refused(asked: Asked) -> object:
    await asked.create(1)
    return await code(asked.put(["k"] * 500)), await code(asked.put(["k"] * 501))


async def are_a_key_of_257_characters_and_a_record_over_one_mib_refused(asked: Asked) -> object:
    await asked.create(1)
    put = asked.client.put_record
    return (
        await code(put(StreamName=asked.stream, Data=b"x", PartitionKey="k" * 257)),
        await code(put(StreamName=asked.stream, Data=b"x" * (MIB + 1), PartitionKey="k")),
    )


async def is_what_is_no_iterator_refused(asked: Asked) -> object:
    await asked.create(1)
    place = await asked.iterator(0)
    broken = (place[:-8], "AAAAAAAAAAE=", "nonsense")
    return [await code(asked.client.get_records(ShardIterator=text)) for text in broken]


async def is_another_shard_s_number_refused(asked: Asked) -> object:
    await asked.create(2)
    fate = (await asked.put(["k"]))[0]
    other = 0 if fate["ShardId"] == name(1) else 1
    at = {"StartingSequenceNumber": fate["SequenceNumber"]}
    return await code(asked.iterator(other, "AFTER_SEQUENCE_NUMBER", **at))


async def which_mixed_iterators_are_refused(asked: Asked) -> object:
    await asked.create(1)
    number = (await asked.put(["k"]))[0]["SequenceNumber"]
    return [
        await code(asked.iterator(0, "LATEST", StartingSequenceNumber=number)),
        await code(asked.iterator(0, "AT_SEQUENCE_NUMBER")),
        await code(asked.iterator(0, "AT_TIMESTAMP")),
        await code(asked.iterator(0, "AT_TIMESTAMP", Timestamp=time.time() + 3600)),
    ]


async def how_may_retention_change(asked: Asked) -> object:
    await asked.create(1)
    more, less = asked.client.increase_stream_retention_period, asked.client.decrease_stream_retention_period
    told = []
    for change, hours in ((more, 48), (more, 30), (less, 72), (less, 23), (less, 24)):
        told.append(await code(change(StreamName=asked.stream, RetentionPeriodHours=hours)))
        told.append((await asked.summary())["RetentionPeriodHours"])
    return told


async def how_is_a_description_paged(asked: Asked) -> object:
    await asked.create(3)
    describe = asked.client.describe_stream
    pages = [
        (await describe(StreamName=asked.stream, Limit=2))["StreamDescription"],
        (await describe(StreamName=asked.stream, Limit=2, ExclusiveStartShardId=name(1)))["StreamDescription"],
    ]
    return [([shard["ShardId"] for shard in page["Shards"]], page["HasMoreShards"]) for page in pages]


async def what_comes_after_a_shard_in_the_list(asked: Asked) -> object:
    await asked.create(4)
    return [shard["ShardId"] for shard in await asked.shards(ExclusiveStartShardId=name(1))]


async def how_are_shards_paged(asked: Asked) -> object:
    await asked.create(5)
    answer = await asked.client.list_shards(StreamName=asked.stream, MaxResults=2)
    pages = [[shard["ShardId"] for shard in answer["Shards"]]]
    while token := answer.get("NextToken"):
        answer = await asked.client.list_shards(NextToken=token, MaxResults=2)
        pages.append([shard["ShardId"] for shard in answer["Shards"]])
    return pages


async def how_many_shards_are_open_after_scaling(asked: Asked) -> object:
    await asked.create(2)
    scale = {"StreamName": asked.stream, "ScalingType": "UNIFORM_SCALING"}
    counts = []
    for target in (4, 2, 3):
        await asked.client.update_shard_count(**scale, TargetShardCount=target)
        await asked.settled()
        counts.append((await asked.summary())["OpenShardCount"])
    return counts


async def how_are_consumers_kept(asked: Asked) -> object:
    await asked.create(1)
    arn, client = await asked.arn(), asked.client
    call = {"StreamARN": arn, "ConsumerName": "c"}
    made = (await client.register_stream_consumer(**call))["Consumer"]
    await asyncio.sleep(0.2)
    told = [
        await code(client.register_stream_consumer(**call)),
        (await client.describe_stream_consumer(**call))["ConsumerDescription"]["ConsumerStatus"],
        [one["ConsumerName"] for one in (await client.list_stream_consumers(StreamARN=arn))["Consumers"]],
        made["ConsumerARN"].partition("/consumer/")[0] == arn,
    ]
    await client.deregister_stream_consumer(ConsumerARN=made["ConsumerARN"])
    await asyncio.sleep(0.2)
    return [*told, await code(client.describe_stream_consumer(**call))]


async def what_does_an_encrypted_stream_say(asked: Asked) -> object:
    await asked.create(1)
    key = {"StreamName": asked.stream, "EncryptionType": "KMS", "KeyId": "alias/aws/kinesis"}
    await asked.client.start_stream_encryption(**key)
    summary = await asked.summary()
    return summary["EncryptionType"], summary["KeyId"], summary["StreamStatus"]


async def _drained(asked: Asked, shard: int) -> object:
    place: str | None = await asked.iterator(shard)
    keys: list[str] = []
    for _ in range(20):
        answer = await asked.client.get_records(ShardIterator=place, Limit=25)
        keys += [record["PartitionKey"] for record in answer["Records"]]
        place = answer.get("NextShardIterator")
        if place is None:
            return keys
    return "it never ends"


Question = Callable[[Asked], Awaitable[object]]
ASKED = ""
LACKS = "it lacks the operation"
STILL_WRITTEN = "its closed shards go on taking records"
NEVER_ENDS = "its closed shards never end"
PROGRAMS = {"kinesalite": "PENSTOCK_KINESALITE", "moto": "PENSTOCK_MOTO"}

# Which question goes to kinesalite and which to moto, and otherwise why it is no witness.
# Nobody can be asked of ChildShards, rates, expiry, MillisBehindLatest, ShardFilter, SubscribeToShard or a call of
# 10 MiB: those stand on Amazon's documents alone, in the fake's other tests.
TABLE: dict[Question, tuple[str, str]] = {
    how_are_hash_keys_divided: (ASKED, ASKED),
    which_shard_takes_a_key: (ASKED, ASKED),
    which_shard_takes_an_explicit_hash_key: (ASKED, "it has no shard for the last hash key (500)"),
    is_a_hash_key_beyond_the_last_refused: (ASKED, ASKED),
    in_what_order_do_records_come: (ASKED, ASKED),
    do_numbers_grow_within_a_shard: (ASKED, ASKED),
    how_long_are_sequence_numbers_and_do_they_lie_between_the_shard_s: (ASKED, "its numbers are 1, 2, 3"),
    where_does_each_iterator_begin: (ASKED, ASKED),
    what_does_latest_see: (ASKED, ASKED),
    what_does_a_limit_leave_for_the_next_call: (ASKED, ASKED),
    does_an_old_iterator_still_give_the_same: (ASKED, ASKED),
    what_does_a_split_leave: (ASKED, "it counts its closed shards wrongly"),
    who_takes_records_after_a_split: (ASKED, STILL_WRITTEN),
    who_takes_records_while_a_split_is_under_way: (ASKED, "it is never UPDATING"),
    does_a_closed_shard_drain_to_its_end: (ASKED, NEVER_ENDS),
    what_does_a_merge_leave: (ASKED, STILL_WRITTEN),
    which_merges_are_refused: (ASKED, ASKED),
    which_splits_are_refused: (ASKED, "it splits at any key"),
    is_a_reshard_refused_while_another_is_under_way: (ASKED, "it is never UPDATING"),
    which_calls_for_what_is_not_there_are_refused: (ASKED, ASKED),
    is_a_second_stream_of_a_name_refused: (ASKED, ASKED),
    is_a_deleted_stream_gone: (ASKED, ASKED),
    are_501_records_refused: (ASKED, ASKED),
    are_a_key_of_257_characters_and_a_record_over_one_mib_refused: (ASKED, "it takes records of any size"),
    is_what_is_no_iterator_refused: (ASKED, "it fails (500)"),
    is_another_shard_s_number_refused: (ASKED, "its numbers name no shard"),
    which_mixed_iterators_are_refused: (ASKED, "it takes them or fails (500)"),
    how_may_retention_change: (ASKED, ASKED),
    how_is_a_description_paged: ("it ignores Limit", "its pages with ExclusiveStartShardId begin anew"),
    what_comes_after_a_shard_in_the_list: (ASKED, "it ignores ExclusiveStartShardId"),
    how_are_shards_paged: ("it ignores MaxResults", "it refuses NextToken with MaxResults, which Amazon documents"),
    how_many_shards_are_open_after_scaling: (LACKS, ASKED),
    how_are_consumers_kept: (LACKS, "it registers one name twice"),
    what_does_an_encrypted_stream_say: (LACKS, ASKED),
}


def command(emulator: str, port: int) -> list[str]:
    """On 127.0.0.1 only; kinesalite's own command line would listen everywhere."""
    if emulator == "fake":
        flags = ("--port", str(port), "--unlimited", "--update-s", "0.3", "--create-s", "0.05", "--consumer-s", "0.05")
        return [sys.executable, "-m", "kinesis_fake", *flags, "--delete-s", "0.05"]
    program = os.environ.get(PROGRAMS[emulator])
    if not program:
        pytest.skip(f"this machine has no {emulator} ({PROGRAMS[emulator]} says where it is)")
    if emulator == "moto":
        return [program, "-H", "127.0.0.1", "-p", str(port)]
    options = "{createStreamMs: 50, deleteStreamMs: 50, updateStreamMs: 300, shardLimit: 1000}"
    return ["node", "-e", f"require({str(Path(program).parent)!r})({options}).listen({port}, '127.0.0.1')"]


@contextmanager
def running(emulator: str) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(command(emulator, port), cwd=TESTS, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def _wait_for(port: int) -> None:
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise TimeoutError


@pytest.fixture(scope="module")
def fake() -> Iterator[str]:
    with running("fake") as url:
        yield url


@pytest.fixture(scope="module")
def emulator(request: pytest.FixtureRequest) -> Iterator[str]:
    with running(request.param) as url:
        yield url


async def answered(url: str, question: Question) -> object:
    async with SESSION.create_client(
        "kinesis",
        region_name="us-east-1",
        endpoint_url=url,
        aws_access_key_id="any",
        aws_secret_access_key="any",
        config=ONCE,
    ) as client:
        return await question(Asked(client))


def pairs(asked: bool) -> list[Any]:
    """Questions with the emulators that are, or are not, asked."""
    return [
        pytest.param(question, name, id=f"{question.__name__}-{name}")
        for name, column in zip(PROGRAMS, zip(*TABLE.values(), strict=True), strict=True)
        for question, reason in zip(TABLE, column, strict=True)
        if (reason == ASKED) is asked
    ]


@pytest.mark.parametrize(("question", "emulator"), pairs(asked=True), indirect=["emulator"])
async def test_the_fake_answers_as_the_emulator_does(question: Question, fake: str, emulator: str) -> None:
    assert await answered(fake, question) == await answered(emulator, question)


@pytest.mark.parametrize(("question", "emulator"), pairs(asked=False), indirect=["emulator"])
async def test_an_emulator_that_is_not_asked_is_still_wrong(question: Question, fake: str, emulator: str) -> None:
    right = await answered(fake, question)
    with contextlib.suppress(ClientError):  # refused outright
        assert right != await answered(emulator, question)
