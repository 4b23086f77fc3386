"""The stream of many machines: records in Amazon Kinesis, each of its shards worked on by itself."""

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import Final, NamedTuple, Protocol

from botocore.exceptions import ClientError

from penstock.errors import PenstockError, Unavailable
from penstock.model.batch import Lane, ReadingBatch
from penstock.model.shard import Unit
from penstock.stream.batch_id import shared_batch_of
from penstock.stream.kinesis.client import Kinesis
from penstock.stream.kinesis.entries import DecodeForeign, entry_of
from penstock.stream.kinesis.fan_out import Consumer, FanOut
from penstock.stream.kinesis.feed import Chunk, Feed
from penstock.stream.kinesis.look import Look
from penstock.stream.kinesis.poll import Poll
from penstock.stream.kinesis.shards import Address, Lanes, Shards
from penstock.stream.kinesis.take import BUFFER_BYTES, News, Reader
from penstock.stream.kinesis.trouble import FOREIGN, THROTTLES, code_of
from penstock.stream.port import BatchRef, Entry, Place, Receipt
from penstock.telemetry import log

READY_S: Final = 2.0
"""How long it is believed that the streams can be written to."""
WRITABLE: Final = frozenset({"ACTIVE", "UPDATING"})


class Appends(Protocol):
    """The producer's side."""

    async def append(self, lanes: Mapping[Lane, ReadingBatch], received_us: int) -> Receipt:
        """As `Stream.append`."""
        ...

    async def close(self) -> None:
        """Wait for what is under way."""
        ...


class Taking(NamedTuple):
    """How shards are read."""

    buffer_bytes: int = BUFFER_BYTES
    """Of records read ahead, a shard."""
    consumer: str = ""
    """Name of the fan-out consumer; empty: shards are polled."""
    pushing: Kinesis | None = None
    """Connections for fan-out, which holds one a shard for minutes; None: those for everything else."""


class KinesisStream:
    """Appends through *producer*; reads every shard that is taken from. It closes both, and *kinesis*.

    A shard is read from its first `take` until `drop`, or until nobody took from it for a minute.
    """

    def __init__(
        self,
        kinesis: Kinesis,
        lanes: Lanes,
        producer: Appends,
        decode_foreign: DecodeForeign,
        taking: Taking = Taking(),  # noqa: B008  # a frozen tuple
    ) -> None:
        self._kinesis, self._lanes, self._producer = kinesis, lanes, producer
        self._decode_foreign, self._taking = decode_foreign, taking
        self._shards = Shards(kinesis, lanes)
        self._news = News()
        self._readers: dict[str, Reader] = {}
        self._consumers: dict[str, Consumer] = {}
        self._open = True
        self._asking = asyncio.Lock()
        self._ready_until_s = 0.0

    @property
    def identity(self) -> str:
        return self._lanes.identity

    async def units(self) -> Sequence[Unit]:
        return await self._shards.units()

    async def append(self, lanes: Mapping[Lane, ReadingBatch], received_us: int) -> Receipt:
        return await self._producer.append(lanes, received_us)

    async def take(self, shard: str, after: int, readings_max: int) -> Sequence[Entry]:
        """Waits for what is known to be there, but not for long: a shard that stalls gives nothing.

        Raises Unknown for a shard that never was, Unavailable when Kinesis has not answered for a second or more.
        """
        if not self._open:
            raise Unavailable("the stream is closed")
        reader = self._readers.get(shard) or await self._make_reader(shard)
        entries = await reader.take(after, readings_max)
        if reader.ended:
            self._shards.outdate()  # there are children now
        return entries

    def ended(self, shard: str) -> bool:
        return shard in self._readers and self._readers[shard].ended

    def behind_ms(self, shard: str) -> int:
        return self._readers[shard].behind_ms if shard in self._readers else 0

    def unheard(self, shard: str) -> bool:
        return shard in self._readers and self._readers[shard].unheard

    async def wait(self, timeout_s: float, shards: Sequence[str] = ()) -> None:
        until_s = time.monotonic() + timeout_s
        while self._open and (left_s := until_s - time.monotonic()) > 0:
            readers = [self._readers[name] for name in shards or self._readers if name in self._readers]
            for reader in readers:
                reader.touch()
            if any(reader.has_news for reader in readers):
                return
            await self._news.wait(left_s)

    async def forget(self, shard: str, upto: int) -> None:
        """Kinesis keeps what it keeps, for as long as its retention says."""

    async def drop(self, shard: str) -> None:
        """The shard is somebody else's now: stop reading it. A later `take` begins anew."""
        reader = self._readers.pop(shard, None)
        if reader is not None:
            await reader.close()

    async def read(self, place: Place) -> Entry | None:
        """None for what was trimmed. Raises Unavailable; Unknown for a shard that never was."""
        entries = await self.between(place.shard, place.position - 1, place.position)
        return entries[0] if entries else None

    def batch(self, batch_id: str) -> BatchRef:
        return BatchRef(*shared_batch_of(self.identity, batch_id))

    async def between(self, shard: str, after: int, upto: int) -> Sequence[Entry]:
        """Nothing of what was trimmed. Raises Unavailable; Unknown for a shard that never was."""
        address = await self._shards.find(shard)
        try:
            raws = await Look(self._kinesis, address).between(after, upto)
        except FOREIGN as error:
            raise self._unavailable(error, "GetRecords", address.stream) from error
        return [entry_of(shard, raw, self._decode_foreign) for raw in raws]

    async def ready(self) -> None:
        async with self._asking:
            if time.monotonic() < self._ready_until_s:
                return
            for stream in (self._lanes.main, self._lanes.critical):
                if stream is not None:
                    await self._check_writable(stream.name)
            self._ready_until_s = time.monotonic() + READY_S

    async def close(self) -> None:
        if not self._open:
            return
        self._open = False
        self._news.tell()
        await self._producer.close()
        await asyncio.gather(*(reader.close() for reader in self._readers.values()))
        if self._taking.pushing is not None:
            await self._taking.pushing.close()
        await self._kinesis.close()

    async def _make_reader(self, shard: str) -> Reader:
        address = await self._shards.find(shard)
        if shard not in self._readers:  # nobody else was faster
            feed = _UntilGone(self._feed(address), self._shards, shard)
            self._readers[shard] = Reader(
                shard,
                feed,
                self._decode_foreign,
                partial(self._translated, address.stream),
                news=self._news,
                buffer_bytes=self._taking.buffer_bytes,
            )
        return self._readers[shard]

    def _feed(self, address: Address) -> Feed:
        poll = Poll(self._kinesis, address)
        if not self._taking.consumer:
            return poll
        kinesis = self._taking.pushing or self._kinesis
        consumer = self._consumers.get(address.arn) or Consumer(kinesis, address.arn, self._taking.consumer)
        self._consumers[address.arn] = consumer
        return FanOut(kinesis, consumer, address, poll)

    async def _check_writable(self, stream: str) -> None:
        try:
            answer = await self._kinesis.api.describe_stream_summary(StreamName=stream)
        except FOREIGN as error:
            if code_of(error) in THROTTLES:  # it is there, and answers
                return
            raise self._unavailable(error, "DescribeStreamSummary", stream) from error
        status = answer["StreamDescriptionSummary"]["StreamStatus"]
        if status not in WRITABLE:
            raise Unavailable(f"stream {stream} is {status.lower()}")

    def _translated(self, stream: str, error: BaseException) -> PenstockError:
        return self._kinesis.later(error, "GetRecords", stream)

    def _unavailable(self, error: BaseException, action: str, stream: str) -> Unavailable:
        return Unavailable(str(self._kinesis.later(error, action, stream)))


class _UntilGone:
    """A shard that Kinesis lists no longer has ended, whatever it held: retention ran out over it."""

    def __init__(self, feed: Feed, shards: Shards, shard: str) -> None:
        self._feed, self._shards, self._shard = feed, shards, shard

    async def follow(self, after: int) -> AsyncGenerator[Chunk]:
        try:
            async with aclosing(self._feed.follow(after)) as chunks:
                async for chunk in chunks:
                    after = chunk.reached
                    yield chunk
        except ClientError as error:
            if code_of(error) != "ResourceNotFoundException" or await self._shards.lists(self._shard):
                raise
            log.warning("a shard is gone with all it held: its retention ran out", shard=self._shard)
            yield Chunk((), 0, after, ended=True)
