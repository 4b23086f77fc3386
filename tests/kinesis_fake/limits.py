"""What a shard carries and a call may hold. Sources: the quotas page and the API model of botocore 1.43.117.

A request of 10 MiB is the limit since large records came (5 MiB before); a record is limited to 1 MiB, key included,
until UpdateMaxRecordSize says more. A rate of None is no limit. Limits can be set at run time.
"""

from dataclasses import dataclass, fields, replace

KIB = 1024
MIB = 1024 * KIB


@dataclass
class Limits:
    """Rates are per second; sizes are bytes before base64."""

    write_records_per_s: float | None = 1_000
    """A shard."""
    write_bytes_per_s: float | None = MIB
    """A shard, partition keys included."""
    read_calls_per_s: float | None = 5
    """GetRecords, a shard."""
    read_bytes_per_s: float | None = 2 * MIB
    """GetRecords, a shard."""
    iterator_calls_per_s: float | None = 5
    """GetShardIterator, a shard."""
    fan_out_bytes_per_s: float | None = 2 * MIB
    """SubscribeToShard, a consumer and shard."""
    list_shards_per_s: float | None = 1_000
    """A stream."""
    describe_summary_per_s: float | None = 20
    """DescribeStreamSummary, the account."""
    describe_per_s: float | None = 10
    """DescribeStream, the account."""
    reshards_per_s: float | None = 5
    """SplitShard and MergeShards, the account."""
    request_bytes_max: int = 10 * MIB
    """PutRecords: all data and partition keys."""
    answer_bytes_max: int = 10 * MIB
    """GetRecords."""
    event_bytes_max: int = MIB
    """One SubscribeToShardEvent."""
    answer_pause_s: float = 5.0
    """An answer of the greatest size stops the shard's reads for so long."""
    consumers_max: int = 20
    """A stream."""


_RATES = {field.name: None for field in fields(Limits) if field.name.endswith("_per_s")}
UNLIMITED = replace(Limits(), **_RATES, answer_pause_s=0.0)  # type: ignore[arg-type]
"""No rate is limited; sizes are."""


class Bucket:
    """Holds one second's worth and refills steadily. What is greater than that is let in once the bucket is full."""

    __slots__ = ("_at", "_debt")

    def __init__(self) -> None:
        self._at = self._debt = 0.0

    def room(self, amount: float, rate: float | None, now_s: float) -> bool:
        """Would *amount* pass now? Nothing is taken."""
        if rate is None:
            self._debt = 0.0
            return True
        self._debt = max(0.0, self._debt - (now_s - self._at) * rate)
        self._at = now_s
        return self._debt + min(amount, rate) <= rate + 1e-6

    def take(self, amount: float) -> None:
        self._debt += amount

    def wait_s(self, rate: float | None) -> float:
        """Seconds until the bucket has any room, from the last look."""
        return 0.0 if rate is None else max(0.0, (self._debt - rate) / rate)


class Meter:
    """What one shard was asked to carry lately."""

    __slots__ = ("iterators", "paused_until_s", "read_bytes", "read_calls", "write_bytes", "write_records")

    def __init__(self) -> None:
        self.write_records, self.write_bytes = Bucket(), Bucket()
        self.read_calls, self.read_bytes, self.iterators = Bucket(), Bucket(), Bucket()
        self.paused_until_s = 0.0

    def admits_write(self, size: int, limits: Limits, now_s: float) -> bool:
        """Whether a record of *size* bytes passes; if so, it counts."""
        fits = self.write_records.room(1, limits.write_records_per_s, now_s) and self.write_bytes.room(
            size, limits.write_bytes_per_s, now_s
        )
        if fits:
            self.write_records.take(1)
            self.write_bytes.take(size)
        return fits

    def admits_read(self, limits: Limits, now_s: float) -> bool:
        """Whether a GetRecords call passes; if so, it counts. Its bytes are only known later: see `has_read`."""
        fits = (
            now_s >= self.paused_until_s
            and self.read_bytes.room(1, limits.read_bytes_per_s, now_s)
            and self.read_calls.room(1, limits.read_calls_per_s, now_s)
        )
        if fits:
            self.read_calls.take(1)
        return fits

    def has_read(self, size: int, full: bool, limits: Limits, now_s: float) -> None:
        """Count an answer's bytes; *full* when it had to stop at the greatest size."""
        self.read_bytes.take(size)
        if full:
            self.paused_until_s = now_s + limits.answer_pause_s

    def admits_iterator(self, limits: Limits, now_s: float) -> bool:
        fits = self.iterators.room(1, limits.iterator_calls_per_s, now_s)
        if fits:
            self.iterators.take(1)
        return fits
