"""A Kinesis stream on the fake: made, filled with our records, split and merged, and read back."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from uuid import UUID

import numpy as np

from kinesis_fake import QUICK, UNLIMITED, FakeKinesis, Faults, Limits, Timing
from penstock.ingest.foreign import decode_foreign
from penstock.model.batch import Lane, ReadingBatch
from penstock.model.slices import hash_key
from penstock.stream.kinesis.client import Kinesis, KinesisSettings, open_client
from penstock.stream.kinesis.shards import Lanes
from penstock.stream.kinesis.stream import KinesisStream, Taking
from penstock.stream.port import Entry, Receipt
from penstock.stream.wire import Part, Stamp, encode_record
from stream.readings import plain

PRODUCER = UUID(int=7)
NOW_US = 1_790_000_000_000_000
TAKE = 10**6


class NoProducer:
    """For tests that only read."""

    async def append(self, lanes: Mapping[Lane, ReadingBatch], received_us: int) -> Receipt:
        raise NotImplementedError

    async def close(self) -> None:
        return


@asynccontextmanager
async def fake(
    *, limits: Limits | None = None, timing: Timing | None = None, faults: Faults | None = None
) -> AsyncIterator[FakeKinesis]:
    """Unlimited, and without waiting, unless told otherwise."""
    async with FakeKinesis(
        limits=limits or replace(UNLIMITED), timing=timing or replace(QUICK), faults=faults or Faults()
    ) as kinesis:
        yield kinesis


async def connect(kinesis: FakeKinesis, critical: str = "", **settings: float) -> Kinesis:
    return await open_client(
        KinesisSettings("plant", critical, region="us-east-1", endpoint=kinesis.url, **settings)  # type: ignore[arg-type]
    )


async def create(client: Kinesis, *names: str, shards: int = 1) -> None:
    for name in names or ("plant",):
        await client.api.create_stream(StreamName=name, ShardCount=shards)


async def open_stream(client: Kinesis, taking: Taking | None = None, name: str = "plant") -> KinesisStream:
    main = await client.describe(name)
    critical = await client.describe(client.settings.critical) if client.settings.critical else None
    return KinesisStream(client, Lanes(main, critical), NoProducer(), decode_foreign, taking or Taking())


class Plant:
    """Puts numbered records: record k has k in every value, and belongs to the slice asked for."""

    def __init__(self, client: Kinesis, stream: str = "plant") -> None:
        self.client, self.stream = client, stream
        self.put: dict[int, tuple[str, int]] = {}
        """By record number: shard id and position."""

    async def records(self, *slices: int, readings: int = 3) -> None:
        """One of our records for each slice, in order."""
        first = len(self.put)
        datas = [own_record(first + k, number, readings) for k, number in enumerate(slices)]
        answer = await self.raw(datas, [hash_key(number) for number in slices])
        assert answer["FailedRecordCount"] == 0
        for k, fate in enumerate(answer["Records"], first):
            self.put[k] = fate["ShardId"], int(fate["SequenceNumber"])

    async def raw(self, datas: Sequence[bytes], keys: Sequence[int] | None = None) -> Any:
        keys = keys or [0] * len(datas)
        records = [
            {"Data": data, "PartitionKey": "k", "ExplicitHashKey": str(key)}
            for data, key in zip(datas, keys, strict=True)
        ]
        return await self.client.api.put_records(StreamName=self.stream, Records=records)

    async def split(self, shard_id: str, at: float = 0.5) -> None:
        """At a share of the shard's range."""
        first, last = await self._range(shard_id)
        await self.client.api.split_shard(
            StreamName=self.stream, ShardToSplit=shard_id, NewStartingHashKey=str(first + int((last - first) * at) + 1)
        )

    async def merge(self, shard_id: str, adjacent: str) -> None:
        await self.client.api.merge_shards(StreamName=self.stream, ShardToMerge=shard_id, AdjacentShardToMerge=adjacent)

    async def open_shards(self) -> list[str]:
        """Ids by hash range."""
        listed = (await self.client.api.list_shards(StreamName=self.stream))["Shards"]
        alive = [one for one in listed if "EndingSequenceNumber" not in one["SequenceNumberRange"]]
        return [one["ShardId"] for one in sorted(alive, key=lambda one: int(one["HashKeyRange"]["StartingHashKey"]))]

    async def _range(self, shard_id: str) -> tuple[int, int]:
        listed = (await self.client.api.list_shards(StreamName=self.stream))["Shards"]
        (keys,) = [one["HashKeyRange"] for one in listed if one["ShardId"] == shard_id]
        return int(keys["StartingHashKey"]), int(keys["EndingHashKey"])

    def of(self, shard_id: str) -> list[int]:
        """Numbers of the records that landed in the shard, in order."""
        landed = [(position, k) for k, (shard, position) in self.put.items() if shard == shard_id]
        return [k for _, k in sorted(landed)]


def own_record(number: int, slice_number: int, readings: int = 3) -> bytes:
    batch = plain(readings)
    batch = replace(batch, value=np.full(readings, float(number)))
    stamp = Stamp(PRODUCER, slice_number, (number + 1) * readings)
    return encode_record(stamp, NOW_US + number, [Part(number, batch)])


def numbers(entries: Iterable[Entry]) -> list[int]:
    return [int(entry.batch.value[0]) for entry in entries]


async def take_all(stream: KinesisStream, shard: str, count: int, after: int = 0, within_s: float = 5.0) -> list[Entry]:
    """Entries until there are *count*, or the shard has ended. Fails after *within_s*."""
    entries: list[Entry] = []
    async with asyncio.timeout(within_s):
        while len(entries) < count:
            taken = await stream.take(shard, after, TAKE)
            entries += taken
            after = entries[-1].position if entries else after
            if stream.ended(shard):
                break
            if not taken:
                await stream.wait(1.0, [shard])
    return entries
