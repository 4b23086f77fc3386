"""An account in one region: its streams, its clock, its limits and its troubles. Every operation works on this."""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Callable

from kinesis_fake.errors import invalid, limit_exceeded, not_found
from kinesis_fake.faults import Faults, Trouble
from kinesis_fake.limits import Bucket, Limits
from kinesis_fake.shard import Shard
from kinesis_fake.stream import Consumer, Stream
from kinesis_fake.timing import Timing
from kinesis_fake.wire import OnStream


class Account:
    """Kinesis's state; nothing here knows HTTP."""

    def __init__(
        self,
        limits: Limits,
        timing: Timing,
        faults: Faults,
        *,
        region: str = "us-east-1",
        number: str = "000000000000",
        clock: Callable[[], float] = time.time,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limits, self.timing, self.faults = limits, timing, faults
        self.region, self.number = region, number
        self.trouble = Trouble(faults)
        self.streams: dict[str, Stream] = {}
        self.calls: Counter[str] = Counter()
        """Calls by operation, refused ones included."""
        self.refusals: Counter[str] = Counter()
        """Refused calls by error code; refused PutRecords entries by `entry:` and code."""
        self.subscriptions: dict[tuple[str, str], Seat] = {}
        self.tick_s = ticks
        """Steady time, for rates: the clock offset must not move them."""
        self._clock, self._buckets = clock, defaultdict[str, Bucket](Bucket)

    def now_ms(self) -> int:
        return int((self._clock() + self.faults.clock_offset_s) * 1000)

    @staticmethod
    def after(delay_s: float, act: Callable[[], None]) -> None:
        """Act in a while; without delay, at once."""
        if delay_s <= 0:
            act()
        else:
            asyncio.get_running_loop().call_later(delay_s, act)

    def stream(self, call: OnStream) -> Stream:
        """The stream of a call, trimmed to its retention. Raises ResourceNotFoundException."""
        if not (call.stream_name or call.stream_arn):
            raise invalid("Either StreamName or StreamARN should be provided.")
        name = call.stream_name or self.name_in(call.stream_arn or "")
        stream = self.streams.get(name)
        if stream is None or (call.stream_arn and call.stream_arn != stream.arn):
            raise not_found(f"Stream {name} under account {self.number} not found.")
        self.trim(stream)
        return stream

    def stream_of(self, arn: str) -> Stream:
        return self.stream(OnStream(stream_arn=arn))

    def shard(self, stream: Stream, shard_id: str) -> Shard:
        shard = stream.find(shard_id)
        if shard is None:
            raise not_found(f"Shard {shard_id} in stream {stream.name} under account {self.number} does not exist")
        return shard

    def trim(self, stream: Stream) -> None:
        stream.trim(self.horizon_ms(stream))

    def horizon_ms(self, stream: Stream) -> int:
        return self.now_ms() - round(stream.retention_hours * self.timing.hour_s * 1000)

    def consumer(self, arn: str) -> tuple[Stream, Consumer]:
        """Raises ResourceNotFoundException."""
        stream = self.stream_of(arn.partition("/consumer/")[0])
        found = next((consumer for consumer in stream.consumers.values() if consumer.arn == arn), None)
        if found is None:
            raise not_found(f"Consumer {arn} not found.")
        return stream, found

    def limit_calls(self, operation: str, rate: float | None) -> None:
        """Count a call against the account's rate. Raises LimitExceededException."""
        self.limit_bucket(self._buckets[operation], operation, rate)

    def limit_bucket(self, bucket: Bucket, operation: str, rate: float | None) -> None:
        if not bucket.room(1, rate, self.tick_s()):
            raise limit_exceeded(f"Rate exceeded for {operation} under account {self.number}.")
        bucket.take(1)

    @staticmethod
    def name_in(arn: str) -> str:
        return arn.rpartition("stream/")[2].partition("/")[0]

    def arn(self, name: str) -> str:
        return f"arn:aws:kinesis:{self.region}:{self.number}:stream/{name}"


class Seat:
    """Who holds the one subscription of a consumer to a shard, since when."""

    def __init__(self, taken_s: float) -> None:
        self.taken_s = taken_s
        self.changed = asyncio.Event()
        self.live = False
        self.lost_to: tuple[str, str] | None = None
        """Error code and message once another took it or its stream went away."""

    def give_up(self, code: str, message: str) -> None:
        self.lost_to = code, message
        self.changed.set()
