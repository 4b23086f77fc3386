"""Take, run, store, remember: the worker's loop. A crash on any line loses nothing and learns nothing."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum
from typing import Any, Final, NamedTuple

from penstock.clock import Clock, within
from penstock.errors import Backpressure, Fenced, PenstockError, Unavailable
from penstock.model.batch import Lane
from penstock.model.shard import ALL, Shard, Unit
from penstock.model.slices import SLICES
from penstock.process.arrivals import arrived, readings_of
from penstock.process.blame import Blame
from penstock.process.commit import Plan, Steps, WorkerLimits, find, follow, remember
from penstock.process.detect.port import Detector, Verdict
from penstock.process.holding import Holding, Snapshots
from penstock.process.keep import whole
from penstock.process.outcome import MINUTE_US, fates_of
from penstock.process.owning import Reassigned
from penstock.process.recall import Recall
from penstock.process.tags import TagTable
from penstock.process.traced import Times, TracedFlushes
from penstock.process.validate import Validate
from penstock.store.port import NO_ARRIVALS, NO_REPEATS, Fates, History, Lease, Span
from penstock.stream.port import Entry, Stream
from penstock.telemetry import FINDINGS, FLUSH_READINGS, FLUSH_SECONDS, STAGE_LATENCY, log
from penstock.traces.port import Traces

TICK_US: Final = 1_000_000
SNAPSHOT_US: Final = 30_000_000
LOOK_MS: Final = 20
"""While bulk readings gather, the critical lane is looked at this often."""
BACKOFF_S: Final = (0.1, 0.2, 0.5, 1.0)
PASSING: Final = (Unavailable, Backpressure, Fenced, Reassigned)
"""What says nothing against the entries themselves."""


class Ending(StrEnum):
    """Why a worker came to an end."""

    STOPPED = "stopped"
    """It was asked to; what it learned is saved."""
    FENCED = "fenced"
    """Another holds the lease."""
    ENDED = "ended"
    """All of the unit is stored, and nothing will follow; what it learned is saved."""


class Left(NamedTuple):
    """How a worker left its unit; position is that of the unit's first shard."""

    ending: Ending
    lease: Lease | None
    position: int


class Worker:
    """One loop over the shards of a unit; the most urgent shard with anything to take goes first."""

    def __init__(  # noqa: PLR0913  # the parts of a plant meet here
        self,
        *,
        unit: Unit,
        claim: Callable[[], Awaitable[Lease]],
        stream: Stream,
        history: History,
        snapshots: Snapshots,
        detector: Callable[[TagTable], Detector[Any]],
        validate: Validate,
        limits: WorkerLimits,
        clock: Clock,
        traces: Traces | None = None,
    ) -> None:
        """*claim* takes the unit's lease, again and again; Fenced when it has passed to another for good."""
        self._unit, self._claim = unit, claim
        self._stream, self._history, self._snapshots = stream, history, snapshots
        self._recall = Recall(unit, stream, history, snapshots, detector, limits.flush_readings_max, self._progressed)
        self._steps = Steps(validate, limits, clock, stream.append)
        self._limits, self._clock = limits, clock
        self._traced = None if traces is None else TracedFlushes(traces, clock)
        self._own_belt = min(unit.belts, default=0)
        self._ticked_us = self._saved_us = 0
        self._gathered: dict[str, list[Entry]] = {}
        self._oldest: dict[str, Entry] = {}
        self._drained: set[str] = set()
        self._blame = Blame()
        self.progress = 0
        """Grows with every commit, and with every look that found nothing to commit."""

    @property
    def held_ms(self) -> int:
        """How old the oldest entry is that was taken and is not committed, however often it was tried; 0: none is."""
        oldest_us = min((entry.received_us for entry in self._oldest.values()), default=None)
        return 0 if oldest_us is None else max(1, (self._clock.now_us() - oldest_us) // 1_000)

    def _progressed(self) -> None:
        self.progress += 1

    async def run(self, stop: asyncio.Event) -> Left:
        """Work until *stop*. Whatever fails, start again from what the store has; errors are ours to outlive."""
        failures, holding = 0, None
        while not stop.is_set():
            try:
                holding = await self.start()
                while not stop.is_set() and not self._ended():
                    failures = 0 if await self.turn(holding, stop) else failures
                if any(self._gathered.values()):
                    await self.turn(holding, stop)
                await self._save(holding)
                return _left(Ending.ENDED if self._ended() else Ending.STOPPED, holding)
            except Fenced as error:
                if self._unit.name != ALL:
                    return _left(Ending.FENCED, holding)
                log.warning("worker starts again", code=error.code, detail=str(error))
            except PenstockError as error:
                log.warning("worker starts again", unit=self._unit.name, code=error.code, detail=str(error))
            except Exception:  # noqa: BLE001  # the worker's loop is one of the two places where anything may be caught
                log.exception("worker starts again after an unexpected error", unit=self._unit.name)
            failures = 0 if self._blame.narrowing else failures
            await within(BACKOFF_S[min(failures, len(BACKOFF_S) - 1)], stop)
            failures += 1
        return _left(Ending.STOPPED, holding)

    async def start(self) -> Holding:
        """Claim the lease, and learn from the store what is needed to go on where the last holder stopped."""
        self._gathered, self._drained = {name: [] for name in self._unit.names}, set()
        if self._traced is not None:
            self._traced.forget()
        holding = await self._recall(await self._claim())
        self._ticked_us = self._saved_us = self._clock.now_us()
        for shard, position in holding.positions.items():
            await self._stored(shard, position)
        return holding

    async def turn(self, holding: Holding, stop: asyncio.Event) -> int:
        """Commit one flush of the most urgent shard that has entries; returns its readings. Waits a little if none."""
        self._drained.clear()  # where nobody looks this time, something may wait
        for shard in self._unit.shards:
            entries = await self._gather(holding, shard)
            if not entries:
                continue
            if not stop.is_set() and self._gathering_ms(shard) > 0:
                break
            await self._commit_or_blame(holding, shard.name, entries)
            await self._housekeeping(holding)
            return sum(map(readings_of, entries))
        self.progress += 1
        await self._housekeeping(holding)
        await self._rest(stop)
        return 0

    async def _gather(self, holding: Holding, shard: Shard) -> list[Entry]:
        """What was taken and not yet committed, and what has come since."""
        gathered = self._gathered[shard.name]
        room = self._blame.room(shard.name, self._limits.flush_readings_max) - sum(map(readings_of, gathered))
        if gathered and room <= 0:
            return gathered
        after = gathered[-1].position if gathered else holding.positions[shard.name]
        taken = await self._stream.take(shard.name, after, room)
        gathered += taken
        if taken:
            self._oldest.setdefault(shard.name, taken[0])
        if self._traced is not None:
            self._traced.took(taken)
        if not gathered and not self._stream.behind_ms(shard.name):
            self._drained.add(shard.name)
        return gathered

    def _gathering_ms(self, shard: Shard) -> float:
        """How long bulk readings may still gather: a transaction costs the same for one as for a thousand."""
        entries = self._gathered[shard.name]
        if not entries or 2 * sum(map(readings_of, entries)) >= self._limits.flush_readings_max:
            return 0.0
        if shard.lane is Lane.CRITICAL or any(map(_urgent, entries)):
            return 0.0
        now_us = self._clock.now_us()
        return (min(entries[0].received_us, now_us) + self._limits.linger_ms * 1_000 - now_us) / 1_000

    async def _rest(self, stop: asyncio.Event) -> None:
        """Until the next look at the critical lane, or, when nothing gathers, until something comes."""
        gathering_ms = max(0.0 if stop.is_set() else self._gathering_ms(shard) for shard in self._unit.shards)
        if gathering_ms > 0:
            await asyncio.sleep(min(gathering_ms, LOOK_MS) / 1_000)
        else:
            await self._stream.wait(0.2, self._unit.names)

    async def _commit_or_blame(self, holding: Holding, shard: str, entries: Sequence[Entry]) -> None:
        """A flush that fails for no reason of the store's is remembered; an entry that fails alone is quarantined."""
        try:
            if tries := self._blame.given_up(shard, entries):
                await self._give_up(holding, shard, entries[0] if tries == 1 else self._as_strangers(entries[0]))
            else:
                await self.commit(holding, shard, entries)
        except PASSING:
            raise
        except Exception:
            self._blame.failed(shard, entries)
            if self._blame.narrowing:  # a watchdog that took the unit away would have the next holder begin anew
                self._progressed()
            raise
        self._blame.passed(shard, holding.positions[shard])

    async def commit(self, holding: Holding, shard: str, entries: Sequence[Entry]) -> None:
        """Store entries and all that follows from them in one transaction; then, and only then, learn from them."""
        began_us = self._clock.now_us()
        fresh, arrivals = arrived(entries, holding.seen, self._own_belt)
        span = _span(holding, shard, entries)
        plan = None
        async with self._history.flush(holding.lease, span) as flush:
            if fresh:
                plan = await self._steps(holding, flush, fresh)
            fates = fates_of(plan.outcome, fresh) if plan else {}
            await flush.settle(fates, NO_ARRIVALS if self._unit.name == ALL else arrivals)
            settled_us = self._clock.now_us()
        if plan:
            remember(holding, plan)
        holding.seen.update(arrivals.counted)
        await self._moved_on(holding, span, entries)
        self._report(shard, entries, plan, began_us)
        if self._traced is not None:
            times = Times(began_us, settled_us, self._clock.now_us())
            self._traced.stored(shard, fresh, plan, holding.tags, times)

    async def _give_up(self, holding: Holding, shard: str, entry: Entry) -> None:
        """Nothing can be done with this entry: keep it for a person, and let those behind it pass."""
        fresh, arrivals = arrived([entry], holding.seen, self._own_belt)
        held = [one for each in fresh for one in whole(each)]
        span = _span(holding, shard, [entry])
        async with self._history.flush(holding.lease, span) as flush:
            await flush.keep(held, [], NO_REPEATS)
            minute = entry.received_us // MINUTE_US * MINUTE_US
            fates = {minute: Fates(quarantined=len(held))} if held else {}
            await flush.settle(fates, NO_ARRIVALS if self._unit.name == ALL else arrivals)
        log.error("an entry cannot be processed: quarantined", shard=shard, position=entry.position)
        holding.seen.update(arrivals.counted)
        await self._moved_on(holding, span, [entry])

    def _as_strangers(self, entry: Entry) -> Entry:
        """Not even its origin can be noted: it counts as somebody else's, and as received now."""
        return entry._replace(origin=None, received_us=self._clock.now_us())

    async def _moved_on(self, holding: Holding, span: Span, entries: Sequence[Entry]) -> None:
        """The checkpoint is committed."""
        holding.positions[span.shard], holding.counted[span.shard] = span.hi, span.counted
        holding.received_us[span.shard] = entries[-1].received_us
        self._gathered[span.shard] = []
        self.progress += 1
        await self._stored(span.shard, span.hi)

    async def _stored(self, shard: str, upto: int) -> None:
        """Entries up to *upto* are; an answer to a commit may be lost, and then the next start says so."""
        if shard in self._oldest and self._oldest[shard].position <= upto:
            del self._oldest[shard]
        await self._stream.forget(shard, upto)

    def _ended(self) -> bool:
        return all(
            shard in self._drained and not self._gathered[shard] and self._stream.ended(shard)
            for shard in self._unit.names
        )

    def _report(self, shard: str, entries: Sequence[Entry], plan: Plan | None, began_us: int) -> None:
        now_us = self._clock.now_us()
        FLUSH_READINGS.labels(shard).observe(plan.outcome.readings if plan else 0)
        FLUSH_SECONDS.labels(shard).observe((now_us - began_us) / 1e6)
        for entry in entries:
            lane = Lane.CRITICAL if shard == Lane.CRITICAL or _urgent(entry) else Lane.BULK
            STAGE_LATENCY.labels("committed", lane.value).observe((now_us - entry.received_us) / 1e6)
        if plan:
            _count(plan.verdict)

    async def _housekeeping(self, holding: Holding) -> None:
        """Once a second let time pass for the detectors; every 30 s keep their state."""
        now_us = self._clock.now_us()
        if now_us - self._ticked_us >= TICK_US:
            self._ticked_us = now_us
            await self._tick(holding, now_us)
        if now_us - self._saved_us >= SNAPSHOT_US:
            await self._save(holding)

    async def _tick(self, holding: Holding, now_us: int) -> None:
        """Detectors' time is that of the readings they have seen: what still waits in the stream is not silent."""
        for shard in set(self._unit.names) - self._drained:
            now_us = min(now_us, holding.received_us.get(shard, 0))
        if now_us > holding.told_us:
            holding.told_us = now_us
            await self._let_pass(holding, now_us)

    async def _let_pass(self, holding: Holding, now_us: int) -> None:
        verdict = holding.detector.tick(now_us)
        if verdict.findings:
            shard = self._unit.names[0]
            at = holding.positions[shard]
            span = Span(shard, at, at, holding.counted[shard], now_us)
            async with self._history.flush(holding.lease, span) as flush:
                if await follow(holding, flush):
                    verdict = holding.detector.tick(now_us)
                await find(flush, holding.tags, verdict)
                await flush.settle({})
            _count(verdict)
        holding.detector.remember(verdict.next)

    async def _save(self, holding: Holding) -> None:
        self._saved_us = self._clock.now_us()
        await self._snapshots.save(holding.lease, holding.positions, holding.detector.snapshot())


def _span(holding: Holding, shard: str, entries: Sequence[Entry]) -> Span:
    """What a flush of *entries* commits."""
    last = entries[-1]
    return Span(shard, holding.positions[shard], last.position, last.counted, entries[0].received_us)


def _urgent(entry: Entry) -> bool:
    return entry.origin is not None and entry.origin.belt >= SLICES


def _left(ending: Ending, holding: Holding | None) -> Left:
    if holding is None:
        return Left(ending, None, 0)
    return Left(ending, holding.lease, holding.positions[holding.unit.names[0]])


def _count(verdict: Verdict[Any]) -> None:
    for finding in verdict.findings:
        FINDINGS.labels(finding.test.value).inc()
