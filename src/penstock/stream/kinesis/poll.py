"""Reading by GetRecords: as often as a shard allows, and leaving room for a second reader."""

import asyncio
import time
from collections.abc import AsyncGenerator
from typing import Any, Final

from botocore.exceptions import ClientError

from penstock.stream.kinesis.client import Kinesis
from penstock.stream.kinesis.feed import Chunk, Raw, ahead_s_of
from penstock.stream.kinesis.shards import Address
from penstock.stream.kinesis.trouble import code_of

CALLS_PER_S: Final = 4.5
"""Of the five that all readers of a shard have together."""
BURST: Final = 2.0
"""Calls that may follow one another at once, when a quiet time came before."""
BYTES_PER_S: Final = 2 * 2**20
RECORDS_MAX: Final = 10_000


class Pace:
    """When the next call may be made: not sooner than so many a second, nor before what was read is paid for."""

    def __init__(self) -> None:
        self._calls = BURST
        self._at_s = self._paid_s = time.monotonic()

    def wait_s(self, *, hurry: bool) -> float:
        """Seconds until the next call. Without *hurry* none of the burst is used up: it is for when much lies there."""
        now_s = time.monotonic()
        self._calls, self._at_s = min(BURST, self._calls + (now_s - self._at_s) * CALLS_PER_S), now_s
        needed = 1.0 if hurry else BURST
        return max(self._paid_s - now_s, (needed - self._calls) / CALLS_PER_S, 0.0)

    def called(self, size: int = 0) -> None:
        """A call was made, and brought *size* bytes."""
        self._calls -= 1.0
        self._paid_s = time.monotonic() + size / BYTES_PER_S


class Poll:
    """The feed of one shard."""

    def __init__(self, kinesis: Kinesis, address: Address) -> None:
        self._kinesis, self._address = kinesis, address
        self._pace = Pace()

    async def follow(self, after: int) -> AsyncGenerator[Chunk]:
        iterator: str | None = await self._iterator(after)
        hurry = True
        while iterator is not None:
            await asyncio.sleep(self._pace.wait_s(hurry=hurry))
            try:
                answer = await self._get(iterator)
            except ClientError as error:
                if code_of(error) != "ExpiredIteratorException":
                    raise
                iterator = await self._iterator(after)
                continue
            records = [Raw.of(told) for told in answer["Records"]]
            after = records[-1].position if records else after
            iterator = answer.get("NextShardIterator")
            behind_ms = int(answer["MillisBehindLatest"])
            hurry = behind_ms > 0
            yield Chunk(records, behind_ms, after, iterator is None, ahead_s_of(answer))

    async def _get(self, iterator: str) -> dict[str, Any]:
        size = 0
        try:
            answer: dict[str, Any] = await self._kinesis.api.get_records(ShardIterator=iterator, Limit=RECORDS_MAX)
            size = sum(len(told["Data"]) for told in answer["Records"])
        finally:
            self._pace.called(size)
        return answer

    async def _iterator(self, after: int) -> str:
        return await iterator_at(self._kinesis, self._address, "AFTER_SEQUENCE_NUMBER", after)


async def iterator_at(kinesis: Kinesis, address: Address, kind: str, position: int) -> str:
    """A shard iterator; position 0 is the oldest record that is kept."""
    where = {"ShardIteratorType": "TRIM_HORIZON"}
    if position:
        where = {"ShardIteratorType": kind, "StartingSequenceNumber": str(position)}
    answer = await kinesis.api.get_shard_iterator(StreamName=address.stream, ShardId=address.shard_id, **where)
    return str(answer["ShardIterator"])
