"""A stream: which open shard a hash key falls into, and what becomes of shards when it is resharded."""

import hashlib
from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import count

from kinesis_fake.limits import MIB, Bucket
from kinesis_fake.shard import HASH_KEYS, Record, Shard


@dataclass(eq=False)
class Consumer:
    """A registered reader with its own throughput."""

    name: str
    arn: str
    created_ms: int
    status: str = "CREATING"


@dataclass(eq=False)
class Stream:
    """All shards that have not expired, in the order of their birth."""

    name: str
    arn: str
    created_ms: int
    mode: str = "PROVISIONED"
    record_bytes_max: int = MIB
    status: str = "CREATING"
    retention_hours: int = 24
    key_id: str | None = None
    """Set while records are encrypted."""
    shards: list[Shard] = field(default_factory=list)
    consumers: dict[str, Consumer] = field(default_factory=dict)
    list_calls: Bucket = field(default_factory=Bucket)
    open_shards: list[Shard] = field(default_factory=list)
    """By hash key."""
    appended: int = 0
    """Records ever put, trimmed ones and those of expired shards included."""

    def __post_init__(self) -> None:
        self._counter, self._indexes = count(1), count()
        self._lows: list[int] = []

    def divide(self, shard_count: int) -> None:
        """Make the first shards, of equal ranges."""
        for low, high in equal_ranges(shard_count):
            self._born(low, high, self.created_ms, self.created_ms // 1000)
        self._reroute()

    @property
    def encryption(self) -> str | None:
        return "KMS" if self.key_id else None

    def route(self, partition_key: str, explicit_hash_key: str | None) -> Shard:
        """The one open shard for the key. *explicit_hash_key* must be a number below 2**128."""
        hash_key = int(explicit_hash_key) if explicit_hash_key else hash_of(partition_key)
        return self.open_shards[bisect_right(self._lows, hash_key) - 1]

    def append(self, shard: Shard, key: str, data: str, size: int, now_ms: int) -> Record:
        self.appended += 1
        return shard.append(next(self._counter), now_ms, key, data, size, encryption=self.encryption)

    def split(self, shard: Shard, at: int, now_ms: int) -> list[Shard]:
        """Close the shard; two children share its range, the second from *at* on."""
        born_s = max(now_ms // 1000, shard.born_s) + 1
        parents = (shard.id,)
        children = [
            self._born(shard.low, at - 1, now_ms, born_s, parents),
            self._born(at, shard.high, now_ms, born_s, parents),
        ]
        shard.close(now_ms, children)
        self._reroute()
        return children

    def merge(self, shard: Shard, adjacent: Shard, now_ms: int) -> Shard:
        """Close both; one child takes their ranges together."""
        born_s = max(now_ms // 1000, shard.born_s, adjacent.born_s) + 1
        low, high = min(shard.low, adjacent.low), max(shard.high, adjacent.high)
        child = self._born(low, high, now_ms, born_s, (shard.id, adjacent.id))
        shard.close(now_ms, [child])
        adjacent.close(now_ms, [child])
        self._reroute()
        return child

    def scale(self, shard_count: int, now_ms: int) -> None:
        """Split and merge until the ranges are equal; shards in between live only for a moment."""
        for low, high in equal_ranges(shard_count):
            for edge in (low, high + 1):
                self._cut(edge, now_ms)
            inside = [shard for shard in self.open_shards if low <= shard.low and shard.high <= high]
            while len(inside) > 1:
                inside[:2] = [self.merge(inside[0], inside[1], now_ms)]

    def trim(self, horizon_ms: int) -> None:
        """Forget records from before the horizon, and shards that closed before it."""
        for shard in self.shards:
            shard.trim(horizon_ms)
        if any(_expired(shard, horizon_ms) for shard in self.shards):
            self.shards = [shard for shard in self.shards if not _expired(shard, horizon_ms)]

    def find(self, shard_id: str) -> Shard | None:
        return next((shard for shard in self.shards if shard.id == shard_id), None)

    def _cut(self, edge: int, now_ms: int) -> None:
        for shard in self.open_shards:
            if shard.low < edge <= shard.high:
                self.split(shard, edge, now_ms)
                return

    def _born(self, low: int, high: int, now_ms: int, born_s: int, parents: tuple[str, ...] = ()) -> Shard:
        shard = Shard(next(self._indexes), low, high, born_ms=now_ms, born_s=born_s, parents=parents)
        self.shards.append(shard)
        return shard

    def _reroute(self) -> None:
        self.open_shards = sorted((shard for shard in self.shards if shard.open), key=lambda shard: shard.low)
        self._lows = [shard.low for shard in self.open_shards]


def hash_of(partition_key: str) -> int:
    return int.from_bytes(hashlib.md5(partition_key.encode(), usedforsecurity=False).digest())


def equal_ranges(shard_count: int) -> list[tuple[int, int]]:
    """First and last hash key of each; the last range takes what the division leaves."""
    width = HASH_KEYS // shard_count
    lows = [width * index for index in range(shard_count)]
    return list(zip(lows, [low - 1 for low in [*lows[1:], HASH_KEYS]], strict=True))


def _expired(shard: Shard, horizon_ms: int) -> bool:
    return shard.closed_ms is not None and shard.closed_ms < horizon_ms
