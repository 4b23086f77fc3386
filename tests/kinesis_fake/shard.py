"""A shard: a range of hash keys, and the records that fell into it, in order, until they are trimmed."""

import asyncio
from bisect import bisect_left
from itertools import accumulate
from typing import NamedTuple

import msgspec

from kinesis_fake import sequence
from kinesis_fake.limits import Meter
from kinesis_fake.sequence import ORDINAL_MAX, Sequence

HASH_KEYS = 2**128


class Record(msgspec.Struct, rename="pascal", gc=False, omit_defaults=True):
    """As GetRecords shows it; the data stays base64 as it came."""

    sequence_number: str
    approximate_arrival_timestamp: float
    data: str
    partition_key: str
    encryption_type: str | None = None


class Slice(NamedTuple):
    """Records in order, the position behind them, their bytes, and whether the greatest size was reached."""

    records: list[Record]
    position: int
    size: int
    full: bool


class Shard:
    """Positions are sequence numbers as integers; a reader's position is the least number it has not seen."""

    def __init__(self, index: int, low: int, high: int, *, born_ms: int, born_s: int, parents: tuple[str, ...]) -> None:
        self.index, self.low, self.high = index, low, high
        self.id = f"shardId-{index:012d}"
        self.born_ms, self.born_s, self.parents = born_ms, born_s, parents
        self.starting = sequence.compose(Sequence(index, born_s, 0, born_s))
        self.last = self.starting
        self.closed_ms: int | None = None
        self.ending: int | None = None
        self.children: list[Shard] = []
        self.meter = Meter()
        self.listeners: set[asyncio.Event] = set()
        self.appended = 0
        """Records ever put here, trimmed ones included."""
        self._prefix = sequence.prefix(index, born_s)
        self._positions: list[int] = []
        self._records: list[Record] = []
        self._sizes: list[int] = []

    @property
    def open(self) -> bool:
        return self.closed_ms is None

    @property
    def held(self) -> int:
        return len(self._records)

    @property
    def held_bytes(self) -> int:
        return sum(self._sizes)

    def append(self, count: int, now_ms: int, key: str, data: str, size: int, *, encryption: str | None) -> Record:
        self.last = sequence.numbered(self._prefix, count, max(now_ms // 1000, self.born_s))
        record = Record(str(self.last), now_ms / 1000, data, key, encryption)
        self._positions.append(self.last)
        self._records.append(record)
        self._sizes.append(size)
        self.appended += 1
        self.wake()
        return record

    def close(self, now_ms: int, children: list["Shard"]) -> None:
        self.closed_ms, self.children = now_ms, children
        time_s = max(now_ms // 1000, self.born_s)
        self.ending = sequence.compose(Sequence(self.index, self.born_s, ORDINAL_MAX, time_s))
        self.wake()

    def wake(self) -> None:
        for listener in self.listeners:
            listener.set()

    def trim(self, horizon_ms: int) -> None:
        """Forget what arrived before the horizon."""
        gone = 0
        while gone < len(self._records) and self._arrival_ms(gone) < horizon_ms:
            gone += 1
        if gone:
            del self._positions[:gone], self._records[:gone], self._sizes[:gone]

    def read(self, position: int, count_max: int, size_max: int, rewind: int = 0) -> Slice:
        """What is held from *position* on; one record at least when there is one. `rewind` begins earlier."""
        first = max(0, bisect_left(self._positions, position) - rewind)
        sizes = list(accumulate(self._sizes[first : first + count_max]))
        count = bisect_left(sizes, size_max + 1) or min(len(sizes), 1)
        records = self._records[first : first + count]
        behind = max(position, self._positions[first + count - 1] + 1) if count else position
        size = sizes[count - 1] if count else 0
        return Slice(records, behind, size, count < len(sizes) or size >= size_max)

    def ended(self, position: int) -> bool:
        """Nothing is left for a reader at *position*, and nothing will come."""
        return not self.open and not self.holds(position)

    def holds(self, position: int) -> bool:
        """Something waits for a reader at *position*."""
        return bool(self._positions) and self._positions[-1] >= position

    def behind_ms(self, position: int, now_ms: int) -> int:
        """The age of the oldest record a reader at *position* has not seen; 0 when it has seen all."""
        first = bisect_left(self._positions, position)
        return max(1, now_ms - self._arrival_ms(first)) if first < len(self._records) else 0

    def position_at(self, timestamp_ms: float) -> int:
        """The first record that arrived then or later; arrival times need not be in order."""
        for index, position in enumerate(self._positions):
            if self._arrival_ms(index) >= timestamp_ms:
                return position
        return self.last + 1

    def _arrival_ms(self, index: int) -> int:
        return round(self._records[index].approximate_arrival_timestamp * 1000)
