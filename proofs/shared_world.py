"""A small world on virtual time: a shared stream that splits and merges, crews that die, a store that loses answers."""

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any
from uuid import UUID

import msgspec
import numpy as np

from penstock.errors import Unavailable
from penstock.model.batch import ReadingBatch, batch_of
from penstock.model.shard import Shard, Unit
from penstock.model.slices import SLICES, slice_of
from penstock.process.columns import Columns
from penstock.process.crew import Crew, CrewLimits
from penstock.process.detect.port import Verdict
from penstock.process.tags import TagTable
from penstock.process.validate import Validate
from penstock.process.worker import Worker, WorkerLimits
from penstock.store.memory import MemoryFlush, MemoryHistory
from penstock.store.memory_leases import MemoryLeases
from penstock.store.port import Behind, Lease, LeaseState, Span
from penstock.stream.port import Entry, Origin

T0_US = 1_790_000_000_000_000
FIRST = 2**70
"""Positions are as large as Kinesis' sequence numbers."""
PRODUCER = UUID(int=7)
TTL_S = 4.0
STREAM = "plant"
LIMITS = CrewLimits(ttl_s=TTL_S, meet_s=2.0, stop_s=8.0)
DELUDED = CrewLimits(ttl_s=6 * TTL_S, meet_s=2.0, stop_s=8.0)
"""Of a crew that believes in leases long after they ran out, as one does that was suspended."""


def now_s() -> float:
    return asyncio.get_running_loop().time()


class Clock:
    def now_us(self) -> int:
        return T0_US + int(now_s() * 1e6)


class Belt:
    """The stream itself, as all see it: who puts, and what lies in which shard."""

    def __init__(self, shards: int) -> None:
        cuts = [SLICES * i // shards for i in range(shards + 1)]
        self.shards: dict[str, Shard] = {}
        self.entries: dict[str, list[Entry]] = {}
        self.closed: set[str] = set()
        self._position = FIRST
        self.news = asyncio.Event()
        for lo, hi in pairwise(cuts):
            self._open(range(lo, hi))

    @property
    def open(self) -> list[Shard]:
        return [shard for name, shard in self.shards.items() if name not in self.closed]

    def put(self, batch: ReadingBatch, origin: Origin) -> None:
        (shard,) = (shard for shard in self.open if shard.slices and origin.belt in shard.slices)
        self._position += 1
        self.entries[shard.name].append(Entry(shard.name, self._position, 0, Clock().now_us(), batch, origin))
        self.tell()

    def split(self, shard: Shard) -> None:
        assert shard.slices is not None
        self.closed.add(shard.name)
        middle = (shard.slices.start + shard.slices.stop) // 2
        for part in (range(shard.slices.start, middle), range(middle, shard.slices.stop)):
            self._open(part, shard.name)
        self.tell()

    def merge(self, low: Shard, high: Shard) -> None:
        assert low.slices is not None
        assert high.slices is not None
        self.closed |= {low.name, high.name}
        self._open(range(low.slices.start, high.slices.stop), low.name, high.name)
        self.tell()

    def _open(self, slices: range, *parents: str) -> None:
        name = f"s{len(self.shards):03}"
        self.shards[name], self.entries[name] = Shard(name, None, parents, slices), []

    def tell(self) -> None:
        self.news.set()
        self.news = asyncio.Event()


class View:
    """The stream as one crew sees it."""

    identity = STREAM

    def __init__(self, belt: Belt, point: Callable[[], Awaitable[None]]) -> None:
        self._belt, self._point = belt, point
        self._taken: dict[str, int] = {}
        self._all: set[str] = set()

    async def units(self) -> Sequence[Unit]:
        await self._point()
        return [Unit(shard.name, (shard,)) for shard in self._belt.shards.values()]

    async def take(self, shard: str, after: int, readings_max: int) -> Sequence[Entry]:
        await self._point()
        following = [entry for entry in self._belt.entries[shard] if entry.position > after]
        entries = following[: max(1, readings_max)]
        self._taken[shard] = len(following) - len(entries)
        (self._all.discard if shard not in self._belt.closed or self._taken[shard] else self._all.add)(shard)
        return entries

    def ended(self, shard: str) -> bool:
        return shard in self._all

    def behind_ms(self, shard: str) -> int:
        return 1_000 if self._taken.get(shard) else 0

    def unheard(self, shard: str) -> bool:  # it is all here
        return False

    async def wait(self, timeout_s: float, shards: Sequence[str] = ()) -> None:
        try:
            async with asyncio.timeout(10 * timeout_s):
                await self._belt.news.wait()
        except TimeoutError:
            return

    async def forget(self, shard: str, upto: int) -> None:
        return

    async def append(self, lanes: object, received_us: int) -> None:
        raise AssertionError("every reading is put where its tag belongs")


class Learner:
    """A detector that remembers the time of every reading, in the order in which it learned them."""

    def __init__(self, table: TagTable) -> None:
        self.table = table
        self.learned: dict[str, list[int]] = {}

    def run(self, readings: Columns, now_us: int) -> Verdict[dict[str, list[int]]]:
        fresh: defaultdict[str, list[int]] = defaultdict(list)
        for slot, ts in zip(readings.slot.tolist(), readings.ts.tolist(), strict=True):
            fresh[self.table.paths[slot]].append(ts)
        return Verdict((), dict(fresh))

    def tick(self, now_us: int) -> Verdict[dict[str, list[int]]]:
        return Verdict((), {})

    def remember(self, state: Mapping[str, Sequence[int]]) -> None:
        for path, every in state.items():
            self.learned.setdefault(path, []).extend(every)

    def snapshot(self) -> bytes:
        return msgspec.json.encode(self.learned)

    def restore(self, snapshot: bytes) -> None:
        """What is known of our own tags; a parent may have had others, too."""
        known = msgspec.json.decode(snapshot)
        self.learned.update({path: ts for path, ts in known.items() if path in self.table.slot_of})


class Link:
    """A process's connections. Whatever it asks may fail, take its time, or be done without an answer."""

    def __init__(self, world: "World") -> None:
        self.world, self.dead = world, False

    async def point(self) -> None:
        if self.dead:
            raise asyncio.CancelledError
        chance = 1.0 if self.world.calm else self.world.rng.random()
        if chance < 0.02:
            raise Unavailable
        if chance < 0.12:
            await asyncio.sleep(self.world.rng.expovariate(10))

    async def through(self, asked: Callable[..., Awaitable[Any]], *given: object) -> Any:
        await self.point()
        answer = await asked(*given)
        await self.point()
        return answer


class LinkedHistory:
    """The store of rows, over a link."""

    def __init__(self, link: Link, history: MemoryHistory) -> None:
        self._link, self._history = link, history

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        async def call(*given: object) -> object:
            return await self._link.through(getattr(self._history, name), *given)

        return call

    @asynccontextmanager
    async def flush(self, lease: Lease, span: Span) -> AsyncIterator[MemoryFlush]:
        await self._link.point()
        inner = self._history.flush(lease, span)
        flush = await inner.__aenter__()
        try:
            yield flush
            await self._link.point()
        except BaseException as error:
            await inner.__aexit__(type(error), error, error.__traceback__)
            raise
        sent = self._link.world.detach(self._commit(inner))
        await self._link.point()  # the connection may be lost while the commit is on its way
        await asyncio.shield(sent)
        await self._link.point()

    async def _commit(self, inner: Any) -> None:
        """Once sent, it happens, whatever became of its sender; now and then much later."""
        world = self._link.world
        if not world.calm and world.rng.random() < 0.08:
            await asyncio.sleep(world.rng.uniform(0, 2 * TTL_S))
        await inner.__aexit__(None, None, None)


class LinkedLeases:
    """The leases over a link, and a second book of who may hold what until when."""

    def __init__(self, link: Link, leases: MemoryLeases) -> None:
        self._link, self._leases = link, leases

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        async def call(*given: object) -> object:
            return await self._link.through(getattr(self._leases, name), *given)

        return call

    async def beat(self, stream: str, owner: str, ttl_s: float, held: Mapping[str, tuple[int, Behind]]) -> Any:
        async def beat() -> Any:
            answer = await self._leases.beat(stream, owner, TTL_S, held)
            for unit in answer.held:
                self._link.world.until_s[unit] = now_s() + TTL_S
            return answer

        return await self._link.through(beat)

    async def acquire(self, stream: str, owner: str, ttl_s: float, *given: Any) -> Lease | None:
        async def acquire() -> Lease | None:
            lease = await self._leases.acquire(stream, owner, TTL_S, *given)
            if lease is not None:
                self._link.world.taken(lease)
            return lease

        return await self._link.through(acquire)

    async def release(self, lease: Lease) -> None:
        async def release() -> None:
            await self._leases.release(lease)
            if self._link.world.holder.get(lease.unit) == lease.owner:
                self._link.world.until_s[lease.unit] = now_s()

        await self._link.through(release)


class World:
    """One run: what was sent, who lives, and what went wrong."""

    def __init__(
        self,
        rng: random.Random,
        history: Callable[[], MemoryHistory] = MemoryHistory,
        leases: Callable[..., MemoryLeases] = MemoryLeases,
        worker: type[Worker] = Worker,
    ) -> None:
        self.rng, self.calm, self.wrong = rng, False, list[str]()
        self.belt = Belt(rng.randint(1, 3))
        self.history = history()
        self.leases = leases(self.history, now_s)
        self.worker = worker
        self.sent: dict[str, list[int]] = {f"a/t{i}": [] for i in range(5)}
        self.put: Counter[int] = Counter()
        self.until_s: dict[str, float] = {}
        self.holder: dict[str, str] = {}
        self.begun: dict[str, int] = {}
        self.learners: dict[str, Learner] = {}
        self._crews: dict[str, tuple[Link, asyncio.Event, asyncio.Task[None]]] = {}
        self._born = 0
        self._detached: set[asyncio.Future[None]] = set()

    def join(self) -> None:
        name, link, stop = f"w{self._born}", Link(self), asyncio.Event()
        self._born += 1
        view = View(self.belt, link.point)
        history = LinkedHistory(link, self.history)

        def worker(unit: Unit, claim: Callable[[], Awaitable[Lease]]) -> Worker:
            def detector(table: TagTable) -> Learner:
                self.learners[unit.name] = learner = Learner(table)
                return learner

            async def begin() -> Lease:
                lease = await claim()
                self.begun[unit.name] = lease.epochs[unit.name]
                return lease

            return self.worker(
                unit=unit,
                claim=begin,
                stream=view,  # type: ignore[arg-type]
                history=history,  # type: ignore[arg-type]
                snapshots=history,  # type: ignore[arg-type]
                detector=detector,
                validate=Validate(300.0, 2_557.0),
                limits=WorkerLimits(flush_readings_max=4, linger_ms=0),
                clock=Clock(),
            )

        limits = DELUDED if not self.calm and self.rng.random() < 0.25 else LIMITS
        crew = Crew(stream=view, leases=LinkedLeases(link, self.leases), worker=worker, owner=name, limits=limits)  # type: ignore[arg-type]
        self._crews[name] = link, stop, asyncio.create_task(crew.run(stop))

    @property
    def crews(self) -> int:
        return len(self._crews)

    async def leave(self, *, killed: bool) -> None:
        """One crew comes to its end, properly or as kill -9 ends it."""
        if not self._crews:
            return
        link, stop, task = self._crews.pop(self.rng.choice(list(self._crews)))
        if killed:
            link.dead = True
            task.cancel()
        stop.set()
        self.belt.tell()  # nobody sleeps through it
        await asyncio.wait([task])
        if not killed:
            task.result()

    async def end(self) -> None:
        while self._crews:
            await self.leave(killed=False)
        if self._detached:
            await asyncio.wait(self._detached)

    async def send(self) -> None:
        """One record, put again until its answer comes; the stream may have it each time."""
        path = self.rng.choice(list(self.sent))
        belt, now_us = slice_of(path), Clock().now_us()
        newest = self.sent[path][-1] if self.sent[path] else 0
        ts = [max(now_us, newest + 1) + i for i in range(self.rng.randint(1, 3))]
        self.put[belt] += len(ts)
        numbers = np.arange(len(ts))
        batch = batch_of((path,), [0] * len(ts), ts, [float(t % 1_000) for t in ts])
        origin = Origin(PRODUCER, belt, self.put[belt], numbers * 0 + sum(self.put.values()), numbers.astype(np.int32))
        self.sent[path] += ts
        while self.rng.random() < 0.1:  # noqa: ASYNC110  # it never came there
            await asyncio.sleep(self.rng.expovariate(5))
        self.belt.put(batch, origin)
        while self.rng.random() < 0.15:  # the answer was lost
            await asyncio.sleep(self.rng.expovariate(1))
            self.belt.put(batch, origin)

    def reshard(self) -> None:
        shards = sorted(self.belt.open, key=lambda shard: shard.slices.start if shard.slices else 0)
        at = self.rng.randrange(len(shards))
        if len(shards) > 1 and self.rng.random() < 0.5:
            at = min(at, len(shards) - 2)
            self.belt.merge(shards[at], shards[at + 1])
        elif shards[at].slices and len(shards[at].slices) > 1:
            self.belt.split(shards[at])

    def taken(self, lease: Lease) -> None:
        unit = lease.unit
        if self.until_s.get(unit, 0.0) > now_s() and self.holder[unit] != lease.owner:
            self.wrong.append(f"{lease.owner} took {unit} from {self.holder[unit]}, whose lease holds")
        self.until_s[unit], self.holder[unit] = now_s() + TTL_S, lease.owner

    def detach(self, work: Any) -> asyncio.Future[None]:
        """Goes on without whoever began it."""
        task = asyncio.ensure_future(work)
        self._detached.add(task)

        def done(task: asyncio.Future[None]) -> None:
            self._detached.discard(task)
            if not task.cancelled():
                task.exception()  # if the sender is there, it hears of it; else nobody does

        task.add_done_callback(done)
        return task

    async def waiting(self) -> bool:
        """Whether anything is still to be committed, a shard to be ended, or to be worked on."""
        known = {state.unit: state for state in await self.leases.states(STREAM)}
        return self._untaken() or any(
            name not in known
            or known[name].ended != (name in self.belt.closed)
            or not (known[name].ended or self._at_work(known[name]))
            for name in self.belt.shards
        )

    def _at_work(self, state: LeaseState) -> bool:
        """Not if the owner is dead, or never heard that it has the lease."""
        return state.owner in self._crews and self.begun.get(state.unit) == state.epoch

    def _untaken(self) -> bool:
        return any(
            entries and self.history.checkpoint(STREAM, name).position < entries[-1].position
            for name, entries in self.belt.entries.items()
        )

    async def complaints(self) -> list[str]:
        """Everything wrong with what became of the readings, when all are committed."""
        wrong = list(self.wrong)
        if self._untaken():
            wrong.append("not everything was taken")
        stored = await self._stored()
        for path, ts in self.sent.items():
            if sorted(stored[path]) != ts:
                lost, extra = Counter(ts) - Counter(stored[path]), Counter(stored[path]) - Counter(ts)
                wrong.append(f"{path}: {lost.total()} lost, {extra.total()} twice or not sent")
            elif stored[path] != ts:
                wrong.append(f"{path}: not in order")
        if balance := sum(self.put.values()) - sum(self.history.fates[fate] for fate in ("stored", "duplicate")):
            wrong.append(f"the balance is {balance}")
        seen = {belt: counted for (_, _, belt), counted in self.history.seen.items()}
        if seen != dict(self.put):
            wrong.append(f"put {dict(self.put)}, seen {seen}")
        return wrong + self._unlearned(stored)

    def _unlearned(self, stored: Mapping[str, Sequence[int]]) -> list[str]:
        """Detectors of the open shards know what is stored of their tags, once and in order."""
        return [
            f"{shard.name} learned something else of {path} than what is stored"
            for shard in self.belt.open
            for path, ts in stored.items()
            if shard.slices and slice_of(path) in shard.slices
            if shard.name not in self.learners or self.learners[shard.name].learned.get(path, []) != ts
        ]

    async def _stored(self) -> dict[str, list[int]]:
        """By tag the times, in the order in which they were committed."""
        path_of = {tag.tag_id: tag.path for tag in (await self.history.tags())[1]}
        stored: dict[str, list[int]] = {path: [] for path in self.sent}
        for written in self.history.flushes:
            for rows in written.rows:
                for tag_id, ts in zip(rows.tag_id.tolist(), rows.ts.tolist(), strict=True):
                    stored[path_of[tag_id]].append(ts)
        return stored
