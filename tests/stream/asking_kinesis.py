"""The real Kinesis client at the fake: one stream `s`, and the questions that tests ask of it."""

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.exceptions import ClientError

from kinesis_fake import QUICK, UNLIMITED, FakeKinesis, Limits, Timing

MIB = 2**20
ONCE = AioConfig(retries={"total_max_attempts": 1}, parameter_validation=False)
SESSION = get_session()
OPENED: list[Any] = []
"""Event streams that a test still has to close."""


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
    given: dict[str, Any] = {"limits": Limits(**vars(UNLIMITED)), "timing": Timing(**vars(QUICK))} | settings
    async with FakeKinesis(**given) as kinesis, client_of(kinesis) as client:
        await client.create_stream(StreamName="s", ShardCount=shards)
        try:
            yield kinesis, client
        finally:
            while OPENED:
                OPENED.pop().close()


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
    answer: dict[str, Any] = {}
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


async def consumer_of(client: Any, consumer: str = "c") -> str:
    arn = (await client.describe_stream_summary(StreamName="s"))["StreamDescriptionSummary"]["StreamARN"]
    registered = await client.register_stream_consumer(StreamARN=arn, ConsumerName=consumer)
    text: str = registered["Consumer"]["ConsumerARN"]
    return text


async def subscribed(client: Any, arn: str, kind: str = "TRIM_HORIZON", **more: Any) -> AsyncIterator[dict[str, Any]]:
    start = {"Type": kind, **more}
    answer = await client.subscribe_to_shard(ConsumerARN=arn, ShardId=name(0), StartingPosition=start)
    OPENED.append(answer["EventStream"])
    return (event["SubscribeToShardEvent"] async for event in answer["EventStream"])
