"""A plant in memory whose worker can be disturbed, and one set of checks on what becomes of its readings."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

import msgspec
import numpy as np

from make import T0_US, R, batch
from penstock.clock import FakeClock
from penstock.errors import Fenced, PenstockError
from penstock.model.anomaly import Finding
from penstock.model.batch import NO_SEQ, Lane
from penstock.process.columns import Columns
from penstock.process.commit import WorkerLimits
from penstock.process.detect.port import Verdict
from penstock.process.holding import Holding
from penstock.process.tags import TagTable
from penstock.process.validate import Validate
from penstock.process.worker import Worker
from penstock.store.memory import MemoryFlush, MemoryHistory
from penstock.store.port import Lease, Span
from penstock.stream.batch_id import LOCAL
from penstock.stream.memory import MemoryStream

Learned = dict[str, list[tuple[object, ...]]]
Point = Callable[[str], Awaitable[None]]


class Recorder:
    """A detector that learns everything: each reading, when it was judged, and whether it was late by then."""

    def __init__(self, table: TagTable, findings: Sequence[Finding] = (), *, hasty: bool = False) -> None:
        self.table, self.findings, self.hasty = table, findings, hasty
        self.learned: Learned = {}
        self.ticks: list[int] = []

    def run(self, readings: Columns, now_us: int) -> Verdict[Learned]:
        assert np.all(np.diff(readings.slot) >= 0), "a detector gets its readings sorted"
        fresh: defaultdict[str, list[tuple[object, ...]]] = defaultdict(list)
        columns = (readings.slot, readings.ts, readings.value.view(np.int64), readings.quality, readings.seq)
        for slot, *reading in zip(*(column.tolist() for column in columns), strict=True):
            path = self.table.paths[slot]
            before = [*self.learned.get(path, ()), *fresh[path]]
            late = any(one[0] > reading[0] for one in before)
            fresh[path].append((*reading, now_us, late))
        if self.hasty:
            self._learn(fresh)
        return Verdict(self.findings, dict(fresh))

    def tick(self, now_us: int) -> Verdict[Learned]:
        self.ticks.append(now_us)
        return Verdict(self.findings, {})

    def remember(self, state: Learned) -> None:
        if not self.hasty:
            self._learn(state)

    def snapshot(self) -> bytes:
        return msgspec.json.encode(self.learned)

    def restore(self, snapshot: bytes) -> None:
        self.learned = {path: [tuple(one) for one in every] for path, every in msgspec.json.decode(snapshot).items()}

    def _learn(self, state: Mapping[str, Sequence[tuple[object, ...]]]) -> None:
        for path, every in state.items():
            self.learned.setdefault(path, []).extend(every)


class Disturbed:
    """A history at whose every step something may happen: `point` is called with the step's name."""

    def __init__(self, inner: MemoryHistory, point: Point) -> None:
        self._inner, self._point = inner, point

    def __getattr__(self, name: str) -> object:
        return _pointed(self._inner, name, self._point)

    @asynccontextmanager
    async def flush(self, lease: Lease, span: Span) -> AsyncIterator[MemoryFlush]:
        await self._point("begin")
        async with self._inner.flush(lease, span) as flush:
            yield _Flush(flush, self._point)  # type: ignore[misc]  # it does all that a flush does
            await self._point("commit")
        await self._point("reply")


class _Flush:
    def __init__(self, inner: MemoryFlush, point: Point) -> None:
        self._inner, self._point = inner, point

    def __getattr__(self, name: str) -> object:
        return _pointed(self._inner, name, self._point)


def _pointed(inner: object, name: str, point: Point) -> object:
    method = getattr(inner, name)
    if not callable(method):
        return method

    async def call(*given: object) -> object:
        result = await method(*given)
        await point(name)
        return result

    return call


class Impatient(MemoryStream):
    """Nobody waits for what will not come by itself."""

    async def wait(self, timeout_s: float, shards: Sequence[str] = ()) -> None:
        await asyncio.sleep(0)


class Plant:
    """A stream, a history and a clock; workers come and go."""

    def __init__(self, history: MemoryHistory | None = None, **limits: object) -> None:
        self.clock = FakeClock(T0_US)
        self.stream = Impatient(2**30, keep_bytes=2**30)
        self.history = history or MemoryHistory()
        self.limits = WorkerLimits(**{"linger_ms": 0, **limits})  # type: ignore[arg-type]
        self.findings: list[Finding] = []
        self.hasty = False
        self.wrong: list[str] = []
        self.never = asyncio.Event()

    def worker(self, history: object = None, owner: str = "first", kind: type[Worker] = Worker) -> Worker:
        history = history or self.history
        return kind(
            unit=LOCAL,
            claim=lambda: history.claim(self.stream.identity, LOCAL.names, owner),  # type: ignore[attr-defined]
            stream=self.stream,
            history=history,  # type: ignore[arg-type]
            snapshots=history,  # type: ignore[arg-type]
            detector=lambda table: Recorder(table, self.findings, hasty=self.hasty),
            validate=Validate(300.0, 2_557.0),
            limits=self.limits,
            clock=self.clock,
        )

    async def send(self, *readings: R, lane: Lane = Lane.BULK) -> None:
        await self.stream.append({lane: batch(*readings)}, self.clock.now_us())

    async def drain(self, worker: Worker, holding: Holding) -> None:
        while await self.in_flight():
            await worker.turn(holding, self.never)
            self.clock.advance(1_500_000)

    async def work(self, *readings: R, lane: Lane = Lane.BULK) -> Holding:
        """Send *readings*, and let a new worker store them."""
        await self.send(*readings, lane=lane)
        worker = self.worker()
        holding = await worker.start()
        await self.drain(worker, holding)
        return holding

    async def in_flight(self) -> int:
        """From the stream's own count and the last settled flush of each shard."""
        done = {written.span.shard: written.span.counted for written in self.history.flushes}
        return sum(total.counted - done.get(shard, 0) for shard, total in (await self.stream.totals()).items())

    async def emptied(self) -> None:
        """Return when a worker that runs beside has stored all."""
        while await self.in_flight():  # noqa: ASYNC110  # a worker tells nobody
            await asyncio.sleep(0.001)

    async def unaccounted(self) -> int:
        received = sum(total.counted for total in (await self.stream.totals()).values())
        fates = sum(self.history.fates[fate] for fate in ("stored", "duplicate", "conflict", "quarantined"))
        return received - fates - await self.in_flight()


async def complaints(plant: Plant, holding: Holding | None = None) -> list[str]:
    """Everything wrong with what became of the readings, after all are committed. Empty when all is well."""
    wrong = list(plant.wrong)
    expected, fates = await _model(plant)
    stored = Counter(await _stored(plant))
    if stored != Counter(expected):
        wrong.append(f"twice or not sent: {stored - Counter(expected)}, lost: {Counter(expected) - stored}")
    counted = {fate: plant.history.fates[fate] for fate in ("stored", "duplicate", "conflict")}
    if counted != {fate: fates[fate] for fate in counted}:
        wrong.append(f"counted {counted}, expected {dict(fates)}")
    if await plant.unaccounted():
        wrong.append(f"{await plant.unaccounted()} readings are unaccounted for")
    if holding is not None and await _holds(plant, holding) and holding.detector.learned != await _undisturbed(plant):  # type: ignore[attr-defined]
        wrong.append("the detectors learned something else than what is stored")
    return wrong


async def _holds(plant: Plant, holding: Holding) -> bool:
    """The lease has not passed to another, who may have stored more since."""
    at = holding.positions["bulk"]
    try:
        async with plant.history.flush(holding.lease, Span("bulk", at, at, holding.counted["bulk"], 0)):
            return True
    except Fenced:
        return False


async def _model(plant: Plant) -> tuple[list[tuple[object, ...]], Counter[str]]:
    """What a plain dict makes of all entries: the first content of each key is stored."""
    first: dict[tuple[object, ...], tuple[object, ...]] = {}
    fates: Counter[str] = Counter()
    for shard in LOCAL.names:
        for entry in await plant.stream.take(shard, 0, 10**9):
            one = entry.batch
            columns = (one.tag, one.ts, one.seq, one.value.view(np.int64), one.quality)
            for tag, ts, seq, *content in zip(*(column.tolist() for column in columns), strict=True):
                key = (one.paths[tag], ts, seq)
                known = first.get(key)
                first.setdefault(key, tuple(content))
                fates["stored" if known is None else "duplicate" if known == tuple(content) else "conflict"] += 1
    return [key + content for key, content in first.items()], fates


async def _stored(plant: Plant) -> list[tuple[object, ...]]:
    path = {tag.tag_id: tag.path for tag in (await plant.history.tags())[1]}
    rows = plant.history.rows()
    columns = (rows.tag_id, rows.ts, rows.seq, rows.value.view(np.int64), rows.quality)
    return [
        (path.get(tag, "?"), *reading) for tag, *reading in zip(*(column.tolist() for column in columns), strict=True)
    ]


async def _undisturbed(plant: Plant) -> Learned:
    """What a detector learns that sees each settled flush once, in order, and nothing else."""
    table = TagTable((await plant.history.tags())[1])
    slot_of = {int(tag_id): slot for slot, tag_id in enumerate(table.tag_id[: len(table)])}
    recorder = Recorder(table)
    for written in plant.history.flushes:
        for rows in written.rows:
            slot = np.array([slot_of[tag_id] for tag_id in rows.tag_id.tolist()], np.int32)
            nothing = np.zeros(len(rows), np.int32)
            columns = Columns(slot, rows.ts, rows.value, rows.state, rows.quality, rows.seq, nothing, nothing)
            (last,) = await plant.stream.take(written.span.shard, written.span.hi - 1, 1)
            order = np.argsort(slot, kind="stable")
            recorder.remember(recorder.run(columns.pick(order), last.received_us).next)
    return recorder.learned


async def survive(plant: Plant, worker: Worker, requests: Sequence[tuple[Lane, Sequence[R]]]) -> Holding:
    """Send *requests* one a turn, and work until all is committed, whatever fails on the way."""
    waiting = list(requests)
    while True:
        try:
            holding = await worker.start()
            while waiting or await plant.in_flight():
                if waiting:
                    lane, readings = waiting.pop(0)
                    await plant.send(*readings, lane=lane)
                await worker.turn(holding, plant.never)
                if await plant.unaccounted():
                    plant.wrong.append(f"{await plant.unaccounted()} readings are unaccounted for on the way")
                plant.clock.advance(11_000_000)
        except (PenstockError, RuntimeError, asyncio.CancelledError):
            continue
        return holding


def reading(path: str, ts: int, value: float, seq: int | None = None) -> R:
    return R(path, T0_US + ts, value, seq=seq if seq != NO_SEQ else None)
