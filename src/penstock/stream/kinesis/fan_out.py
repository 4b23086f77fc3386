"""Reading by SubscribeToShard: records are pushed as they come, to a registered consumer with its own throughput."""

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, Final

from botocore.exceptions import ClientError

from penstock.stream.kinesis.client import Kinesis
from penstock.stream.kinesis.feed import Chunk, Feed, Raw, ahead_s_of
from penstock.stream.kinesis.shards import Address
from penstock.stream.kinesis.trouble import code_of
from penstock.telemetry import log

RENEW_S: Final = 285.0
"""Kinesis ends a subscription after five minutes; we do so before, between two events."""
AGAIN_S: Final = 0.2
"""Between two subscriptions to one shard, at least: Kinesis takes five calls a second."""
YOUNG_S: Final = 5.0
"""A subscription that is younger cannot be taken over."""
LIMITED_MAX: Final = 5
"""Tries to register where Kinesis says that there are too many consumers, or too many calls."""
_DENIED: Final = frozenset({"AccessDeniedException", "AccessDenied", "LimitExceededException"})


class Consumer:
    """A stream's consumer of our name, registered when it is first needed. It stays: every worker uses it."""

    def __init__(self, kinesis: Kinesis, stream_arn: str, name: str) -> None:
        self._kinesis, self._name = kinesis, name
        self._asked = {"StreamARN": stream_arn, "ConsumerName": name}
        self._arn: str | None = None
        self._refused = False
        self._registering = asyncio.Lock()

    async def arn(self) -> str | None:
        """None when it may not be registered. Raises what a call of Kinesis raises."""
        async with self._registering:
            if self._arn is None and not self._refused:
                self._arn = await self._register()
        return self._arn

    async def _register(self) -> str | None:
        why = ""
        for attempt in range(LIMITED_MAX):
            try:
                return await self._registered()
            except ClientError as error:
                if code_of(error) not in _DENIED:
                    raise
                why = str(error)
                if code_of(error) != "LimitExceededException":
                    break
            await asyncio.sleep(_jittered(0.2 * 2**attempt))
        self._refused = True
        log.warning("fan-out cannot be used, so shards are polled", consumer=self._name, why=why)
        return None

    async def _registered(self) -> str:
        """Waits until a new consumer is active, and until one that is being deleted is gone."""
        while True:
            try:
                consumer = (await self._kinesis.api.register_stream_consumer(**self._asked))["Consumer"]
            except ClientError as error:
                if code_of(error) != "ResourceInUseException":
                    raise
                consumer = await self._described()
            while consumer is not None and consumer["ConsumerStatus"] != "ACTIVE":
                await asyncio.sleep(_jittered(0.5))
                consumer = await self._described()
            if consumer is not None:
                return str(consumer["ConsumerARN"])

    async def _described(self) -> Mapping[str, Any] | None:
        try:
            answer = await self._kinesis.api.describe_stream_consumer(**self._asked)
        except ClientError as error:
            if code_of(error) != "ResourceNotFoundException":
                raise
            return None
        described: Mapping[str, Any] = answer["ConsumerDescription"]
        return described


class FanOut:
    """The feed of one shard; *poll* where the consumer may not be registered."""

    def __init__(self, kinesis: Kinesis, consumer: Consumer, address: Address, poll: Feed) -> None:
        self._kinesis, self._consumer, self._address, self._poll = kinesis, consumer, address, poll
        self._subscribed_s = -AGAIN_S

    async def follow(self, after: int) -> AsyncGenerator[Chunk]:
        arn = await self._consumer.arn()
        if arn is None:
            async with aclosing(self._poll.follow(after)) as polled:
                async for chunk in polled:
                    yield chunk
            return
        ended = False
        while not ended:
            async with aclosing(self._subscription(arn, after)) as pushed:
                async for chunk in pushed:
                    after, ended = chunk.reached, chunk.ended
                    yield chunk

    async def _subscription(self, arn: str, after: int) -> AsyncGenerator[Chunk]:
        """Until it is due for renewal, ends, or somebody else takes it over."""
        try:
            answer = await self._subscribe(arn, after)
        except ClientError as error:
            if code_of(error) != "ResourceInUseException":
                raise
            async with aclosing(self._meanwhile(after)) as polled:
                async for chunk in polled:
                    yield chunk
            return
        events, ahead_s = answer["EventStream"], ahead_s_of(answer)
        until_s = time.monotonic() + RENEW_S
        try:
            yield Chunk((), None, after, ended=False, ahead_s=ahead_s)
            pushed = aiter(events)
            while (left_s := until_s - time.monotonic()) > 0:
                async with asyncio.timeout(left_s):  # `wait_for` would at times swallow that we are cancelled
                    event = await anext(pushed, None)
                if event is None:
                    return
                chunk = _chunk(event["SubscribeToShardEvent"], after, ahead_s)
                after = chunk.reached
                yield chunk
        except TimeoutError:
            return
        except ClientError as error:
            if code_of(error) != "ResourceInUseException":
                raise
        finally:
            events.close()

    async def _meanwhile(self, after: int) -> AsyncGenerator[Chunk]:
        """The last subscription, perhaps another worker's, is too young to be taken over: nobody waits for that."""
        until_s = time.monotonic() + YOUNG_S
        async with aclosing(self._poll.follow(after)) as polled:
            async for chunk in polled:
                yield chunk
                if time.monotonic() >= until_s:
                    return

    async def _subscribe(self, arn: str, after: int) -> dict[str, Any]:
        pause_s = self._subscribed_s + AGAIN_S - time.monotonic()
        await asyncio.sleep(_jittered(pause_s) if pause_s > 0 else 0)
        self._subscribed_s = time.monotonic()
        start = {"Type": "TRIM_HORIZON"}
        if after:
            start = {"Type": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": str(after)}
        answer: dict[str, Any] = await self._kinesis.api.subscribe_to_shard(
            ConsumerARN=arn, ShardId=self._address.shard_id, StartingPosition=start
        )
        return answer


def _chunk(event: Mapping[str, Any], after: int, ahead_s: float) -> Chunk:
    """The last event of a shard that ended has children, and nowhere to continue."""
    records = [Raw.of(told) for told in event["Records"]]
    further = event.get("ContinuationSequenceNumber")
    reached = max(after, int(further or 0), *(raw.position for raw in records[-1:]))
    return Chunk(records, int(event["MillisBehindLatest"]), reached, further is None, ahead_s)


def _jittered(pause_s: float) -> float:
    return pause_s * random.uniform(0.75, 1.25)  # noqa: S311  # so that shards do not come back as one
