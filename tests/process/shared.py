"""A shared stream in memory, with shards by slice and by lane; and workers on its units, over any history."""

import asyncio
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

import numpy as np

from make import T0_US, R, batch
from penstock.clock import FakeClock
from penstock.model.batch import Lane, ReadingBatch
from penstock.model.shard import Shard, Unit
from penstock.model.slices import SLICES, slice_of
from penstock.process.commit import WorkerLimits
from penstock.process.detect.port import Detector
from penstock.process.holding import Holding
from penstock.process.tags import TagTable
from penstock.process.validate import Validate
from penstock.process.worker import Worker
from penstock.store.memory import MemoryHistory
from penstock.store.port import Lease
from penstock.stream.port import BatchRef, Entry, Origin, Place, Poison, Receipt
from penstock.traces.port import Traces
from process.plant import Recorder

FIRST = 2**120
"""Positions are as large as Kinesis' sequence numbers."""
OURS, OTHERS = UUID(int=7), UUID(int=8)


class SharedMemory:
    """Keeps `SharedStream`. Each shard is a unit of its own; a closed one ends where it is."""

    identity = "shared"

    def __init__(self, clock: FakeClock, *shards: Shard) -> None:
        self.clock = clock
        self.shards = {shard.name: shard for shard in shards}
        self.entries: dict[str, list[Entry]] = {shard.name: [] for shard in shards}
        self.closed: set[str] = set()
        self.full: set[Lane] = set()
        self.put: Counter[tuple[UUID, int]] = Counter()
        self._last, self._requests = FIRST, 0
        self._given: dict[str, int] = {}

    async def units(self) -> Sequence[Unit]:
        return [self.unit(name) for name in self.shards]

    def unit(self, name: str) -> Unit:
        return Unit(name, (self.shards[name],))

    def open(self, shard: Shard) -> None:
        """After a split or a merge: its parents take nothing more."""
        self.shards[shard.name], self.entries[shard.name] = shard, []
        self.closed |= set(shard.parents)

    def shard_of(self, path: str, lane: Lane) -> str:
        (name,) = (
            shard.name
            for shard in self.shards.values()
            if shard.name not in self.closed and shard.lane in {None, lane}
            if slice_of(path) in (shard.slices or range(SLICES))
        )
        return name

    async def append(self, lanes: Mapping[Lane, ReadingBatch], received_us: int) -> Receipt:
        taken = [self.record(path, lane, one.pick(_of(one, path))) for lane, one in lanes.items()
                 if lane not in self.full for path in one.paths if _of(one, path).any()]  # fmt: skip
        for name, origin, one in taken:
            self.lay(name, one, origin, received_us=received_us)
        return Receipt("", (), frozenset(self.full & lanes.keys()))

    def record(
        self, path: str, lane: Lane, one: ReadingBatch, producer: UUID = OURS
    ) -> tuple[str, Origin, ReadingBatch]:
        """One tag's readings as a producer puts them; put it twice, and the second is a repeat."""
        self._requests += 1
        belt = slice_of(path) + (SLICES if lane is Lane.CRITICAL else 0)
        self.put[producer, belt] += len(one)
        request = np.full(len(one), self._requests, np.int64)
        numbers = np.arange(len(one), dtype=np.int32)
        origin = Origin(producer, belt, self.put[producer, belt], request, numbers)
        return self.shard_of(path, lane), origin, replace(one, index=numbers)

    def lay(
        self,
        shard: str,
        one: ReadingBatch,
        origin: Origin | None = None,
        *poison: Poison,
        received_us: int | None = None,
    ) -> Entry:
        """An entry at the shard's end, whatever its tags are."""
        self._last += 1 + len(one) % 3
        now_us = self.clock.now_us() if received_us is None else received_us
        entry = Entry(shard, self._last, 0, now_us, one, origin, poison)
        self.entries[shard].append(entry)
        return entry

    def foreign(self, shard: str, *readings: R) -> Entry:
        """What somebody put under a key of their own choice."""
        return self.lay(shard, batch(*readings))

    async def take(self, shard: str, after: int, readings_max: int) -> Sequence[Entry]:
        taken: list[Entry] = []
        readings = 0
        entries = self.entries[shard]
        for entry in entries[bisect_right(entries, after, key=lambda entry: entry.position) :]:
            readings += len(entry.batch)
            if taken and readings > readings_max:
                break
            taken.append(entry)
        self._given[shard] = taken[-1].position if taken else after
        return taken

    def ended(self, shard: str) -> bool:
        return shard in self.closed and not self._waiting(shard)

    def behind_ms(self, shard: str) -> int:
        return 1_000 if self._waiting(shard) else 0

    def unheard(self, shard: str) -> bool:
        return False

    def _waiting(self, shard: str) -> bool:
        return any(entry.position > self._given.get(shard, 0) for entry in self.entries[shard][-1:])

    async def wait(self, timeout_s: float, shards: Sequence[str] = ()) -> None:
        await asyncio.sleep(0)

    async def forget(self, shard: str, upto: int) -> None:
        """It keeps everything."""

    async def read(self, place: Place) -> Entry | None:
        return next((entry for entry in self.entries[place.shard] if entry.position == place.position), None)

    async def ready(self) -> None:
        """It is."""

    async def close(self) -> None:
        """There is nothing under way."""

    def batch(self, batch_id: str) -> BatchRef:
        raise NotImplementedError

    async def between(self, shard: str, after: int, upto: int) -> Sequence[Entry]:
        return [entry for entry in self.entries[shard] if after < entry.position <= upto]

    async def drop(self, shard: str) -> None:
        self._given.pop(shard, None)


class SharedPlant:
    """A shared stream, a history, and workers that take turns."""

    def __init__(self, *shards: Shard, history: Any = None, snapshots: Any = None, **limits: object) -> None:
        self.clock = FakeClock(T0_US)
        self.stream = SharedMemory(self.clock, *shards)
        self.history = history or MemoryHistory()
        self.snapshots = snapshots or self.history
        self.limits = WorkerLimits(**{"linger_ms": 0, **limits})  # type: ignore[arg-type]
        self.never = asyncio.Event()
        self.detector: Callable[[TagTable], Detector[Any]] = Recorder
        self.traces: Traces | None = None

    def worker(self, unit: str, history: Any = None, snapshots: Any = None) -> Worker:
        history = history or self.history

        async def claim() -> Lease:
            lease: Lease = await history.claim(self.stream.identity, [unit], "worker")
            return lease._replace(unit=unit)

        return Worker(
            unit=self.stream.unit(unit), claim=claim, stream=self.stream, history=history,
            snapshots=snapshots or self.snapshots, detector=self.detector, validate=Validate(300.0, 2_557.0),
            limits=self.limits, clock=self.clock, traces=self.traces,
        )  # fmt: skip

    async def send(self, *readings: R, lane: Lane = Lane.BULK) -> None:
        await self.stream.append({lane: batch(*readings)}, self.clock.now_us())

    async def work(self, *units: str) -> dict[str, Holding]:
        """New workers on *units*, or on all, take turns until none has anything to do."""
        workers = {name: self.worker(name) for name in units or self.stream.shards}
        holdings = {name: await worker.start() for name, worker in workers.items()}
        await self.go_on(workers, holdings)
        return holdings

    async def go_on(self, workers: Mapping[str, Worker], holdings: Mapping[str, Holding]) -> None:
        while [name for name, worker in workers.items() if await worker.turn(holdings[name], self.never)]:
            pass

    @property
    def fates(self) -> Counter[str]:
        return Counter({fate: count for fate, count in self.history.fates.items() if count})


def halves(lane: Lane | None = None, prefix: str = "") -> tuple[Shard, Shard]:
    """Two shards that share all slices."""
    middle = SLICES // 2
    return Shard(f"{prefix}low", lane, (), range(middle)), Shard(f"{prefix}high", lane, (), range(middle, SLICES))


def path_in(slices: range, number: int = 0) -> str:
    """A tag that lies there; another for each *number*."""
    paths = (f"plant/line/t{i}" for i in range(10_000))
    return next(path for i, path in enumerate(p for p in paths if slice_of(p) in slices) if i == number)


def _of(one: ReadingBatch, path: str) -> Any:
    return one.tag == one.paths.index(path)
