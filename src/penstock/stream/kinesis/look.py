"""Reading records back by their positions, beside whoever reads the shard to work on it."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Final

from botocore.exceptions import ClientError

from penstock.stream.kinesis.client import Kinesis
from penstock.stream.kinesis.feed import Raw
from penstock.stream.kinesis.poll import iterator_at
from penstock.stream.kinesis.shards import Address
from penstock.stream.kinesis.trouble import THROTTLES, code_of

BUSY_S: Final = 3.0
"""How long a busy shard is asked again."""
PAUSE_S: Final = 0.25
RECORDS_MAX: Final = 1_000
_TRIMMED: Final = frozenset({"ResourceNotFoundException", "InvalidArgumentException"})
"""The shard is not kept any more; or the position never was one of its."""


class Look:
    """One look into one shard."""

    def __init__(self, kinesis: Kinesis, address: Address) -> None:
        self._kinesis, self._address = kinesis, address
        self._until_s = time.monotonic() + BUSY_S

    async def between(self, after: int, upto: int) -> list[Raw]:
        """What is kept of after < position <= upto, in order. Raises what a call of Kinesis raises."""
        try:
            async with aclosing(self._behind(after, upto)) as raws:
                return [raw async for raw in raws]
        except ClientError as error:
            if code_of(error) in _TRIMMED:
                return []
            raise

    async def _behind(self, after: int, upto: int) -> AsyncGenerator[Raw]:
        """Kinesis may answer with nothing although there is more further on: so it is asked again."""
        exact = after + 1 == upto
        iterator: str | None = await self._iterator(upto if exact else after, exact=exact)
        while iterator is not None:
            answer = await self._patiently(iterator, 1 if exact else RECORDS_MAX)
            for raw in map(Raw.of, answer["Records"]):
                if raw.position > upto:
                    return
                if raw.position > after:  # it may come again that came already
                    after = raw.position
                    yield raw
            further = after < upto and answer["MillisBehindLatest"] > 0
            iterator = answer.get("NextShardIterator") if further else None

    async def _iterator(self, position: int, *, exact: bool) -> str:
        kind = "AT_SEQUENCE_NUMBER" if exact else "AFTER_SEQUENCE_NUMBER"
        while True:
            try:
                return await iterator_at(self._kinesis, self._address, kind, position)
            except ClientError as error:
                await self._pause(error)

    async def _patiently(self, iterator: str, limit: int) -> dict[str, Any]:
        while True:
            try:
                answer: dict[str, Any] = await self._kinesis.api.get_records(ShardIterator=iterator, Limit=limit)
            except ClientError as error:
                await self._pause(error)
                continue
            return answer

    async def _pause(self, error: ClientError) -> None:
        """Before it is asked again; raises *error* when that is of no use."""
        if code_of(error) not in THROTTLES or time.monotonic() > self._until_s:
            raise error
        await asyncio.sleep(PAUSE_S)
