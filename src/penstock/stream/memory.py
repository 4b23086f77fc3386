"""The stream that lives as long as its process: for tests, and for plants that may forget."""

import asyncio
from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from typing import Final
from uuid import uuid4

from penstock.clock import within
from penstock.errors import Backpressure
from penstock.model.batch import Lane, ReadingBatch
from penstock.model.shard import Unit
from penstock.stream.batch_id import LANES, LOCAL, batch_id_of, places_of
from penstock.stream.port import Entry, Place, Receipt, Total
from penstock.stream.record import encode_batch
from penstock.stream.room import limit_of, weight_of

MINUTE_US: Final = 60_000_000
DAY_US: Final = 86_400_000_000


class MemoryStream:
    """Bounded as a log is: *bytes_max* unstored; stored entries stay for `read` up to *keep_bytes*, *keep_days*."""

    def __init__(self, bytes_max: int, *, keep_bytes: int = 0, keep_days: float = 7.0) -> None:
        self._identity = str(uuid4())
        self._limits = {lane: limit_of(lane, bytes_max) for lane in LANES}
        self._keep_bytes, self._keep_us = keep_bytes, int(keep_days * DAY_US)
        self._belts = {lane: _Belt() for lane in LANES}
        self._minutes: Counter[int] = Counter()
        self._news = asyncio.Event()

    @property
    def identity(self) -> str:
        return self._identity

    async def units(self) -> Sequence[Unit]:
        return (LOCAL,)

    async def append(self, lanes: Mapping[Lane, ReadingBatch], received_us: int) -> Receipt:
        taken: dict[Lane, int] = {}
        for lane in (lane for lane in LANES if lane in lanes):
            weight = weight_of(encode_batch(lanes[lane]))
            if sum(belt.unstored for belt in self._belts.values()) + weight <= self._limits[lane]:
                taken[lane] = self._belts[lane].put(lane, lanes[lane], weight, received_us)
                self._minutes[received_us // MINUTE_US] += len(lanes[lane])
        if not taken:
            raise Backpressure("the stream is full")
        self._trim(received_us)
        self._news.set()
        places = tuple(Place(lane, position) for lane, position in taken.items())
        return Receipt(batch_id_of(self._identity, taken), places, frozenset(lanes.keys() - taken.keys()))

    async def take(self, shard: str, after: int, readings_max: int) -> Sequence[Entry]:
        self._news.clear()
        entries: list[Entry] = []
        room = readings_max
        for entry in self._belts[Lane(shard)].after(after):
            room -= len(entry.batch)
            if entries and room < 0:
                break
            entries.append(entry)
        return entries

    def ended(self, shard: str) -> bool:  # noqa: ARG002  # none ever does
        return False

    def behind_ms(self, shard: str) -> int:  # noqa: ARG002  # its totals say
        return 0

    def unheard(self, shard: str) -> bool:  # noqa: ARG002  # it is here
        return False

    async def wait(self, timeout_s: float, shards: Sequence[str] = ()) -> None:  # noqa: ARG002  # news of any
        await within(timeout_s, self._news)

    async def forget(self, shard: str, upto: int) -> None:
        self._belts[Lane(shard)].store(upto)

    async def read(self, place: Place) -> Entry | None:
        entry = next(iter(self._belts[Lane(place.shard)].after(place.position - 1)), None)
        return entry if entry is not None and entry.position == place.position else None

    async def ready(self) -> None:
        return

    def places(self, batch_id: str) -> tuple[Place, ...]:
        return places_of(self._identity, batch_id)

    async def totals(self) -> Mapping[str, Total]:
        return {lane: belt.head for lane, belt in self._belts.items()}

    async def received(self, start_us: int, end_us: int) -> int:
        return sum(n for minute, n in self._minutes.items() if start_us <= minute * MINUTE_US < end_us)

    async def close(self) -> None:
        self._news.set()

    def _trim(self, now_us: int) -> None:
        for belt in self._belts.values():
            belt.trim(self._keep_bytes // len(LANES), now_us - self._keep_us)


class _Belt:
    """One lane: entries in order, and how far they are stored."""

    def __init__(self) -> None:
        self.head = Total(0, 0)
        self.unstored = 0
        self._kept = 0
        self._stored = 0
        self._entries: deque[Entry] = deque()
        self._weights: deque[int] = deque()

    def put(self, lane: Lane, batch: ReadingBatch, weight: int, received_us: int) -> int:
        self.head = Total(self.head.position + 1, self.head.counted + len(batch))
        self._entries.append(Entry(lane, *self.head, received_us, batch))
        self._weights.append(weight)
        self.unstored += weight
        return self.head.position

    def after(self, position: int) -> Sequence[Entry]:
        start = bisect_right(self._entries, position, key=lambda entry: entry.position)
        return [self._entries[i] for i in range(start, len(self._entries))]

    def store(self, upto: int) -> None:
        for position in range(self._stored + 1, min(upto, self.head.position) + 1):
            weight = self._weights[position - self._entries[0].position]
            self.unstored -= weight
            self._kept += weight
            self._stored = position

    def trim(self, keep_bytes: int, since_us: int) -> None:
        while self._entries and self._entries[0].position <= self._stored:
            if self._kept <= keep_bytes and self._entries[0].received_us >= since_us:
                return
            self._entries.popleft()
            self._kept -= self._weights.popleft()
