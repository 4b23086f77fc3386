"""Take, run, store, remember: the worker's loop. A crash on any line loses nothing and learns nothing."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from penstock.clock import Clock
from penstock.errors import PenstockError
from penstock.model.batch import Lane
from penstock.process.columns import Columns
from penstock.process.dedupe import rows_of, sort_out
from penstock.process.detect.port import Detector, Verdict
from penstock.process.holding import Holding, Snapshots
from penstock.process.intake import Intake, join, unknown_texts
from penstock.process.keep import contested_of, held_of, repeats_of
from penstock.process.order import by_slot, order_of
from penstock.process.outcome import Outcome, fates_of
from penstock.process.recall import Recall
from penstock.process.tags import HOLDS_STATE, HOLDS_VALUE, TagTable
from penstock.process.validate import Validate, first_kinds
from penstock.store.port import Flush, History, Span
from penstock.stream.port import Entry, Stream
from penstock.telemetry import FINDINGS, FLUSH_READINGS, FLUSH_SECONDS, LAG, STAGE_LATENCY, log

TICK_US: Final = 1_000_000
SNAPSHOT_US: Final = 30_000_000
LOOK_MS: Final = 20
"""While bulk readings gather, the critical lane is looked at this often."""
BACKOFF_S: Final = (0.1, 0.2, 0.5, 1.0, 2.0)


@dataclass(frozen=True, slots=True)
class WorkerLimits:
    """What the worker takes at a time, and how many names it will register."""

    flush_readings_max: int = 20_000
    linger_ms: int = 100
    tags_max: int = 100_000
    states_max: int = 10_000
    register_unknown: bool = True


@dataclass(slots=True)
class _Plan:
    """What a flush will store and teach, gathered inside its transaction."""

    outcome: Outcome
    verdict: Verdict[Any]
    kinds: dict[int, int]
    states: dict[str, int] = field(default_factory=dict)


class Worker:
    """One loop over all shards of a stream; the most urgent shard with anything to take goes first."""

    def __init__(  # noqa: PLR0913  # the parts of a plant meet here
        self,
        *,
        stream: Stream,
        history: History,
        snapshots: Snapshots,
        detector: Callable[[TagTable], Detector[Any]],
        validate: Validate,
        limits: WorkerLimits,
        clock: Clock,
        owner: str,
    ) -> None:
        self._stream, self._history, self._snapshots = stream, history, snapshots
        self._recall = Recall(stream, history, snapshots, detector, limits.flush_readings_max)
        self._validate, self._limits = validate, limits
        self._clock, self._owner = clock, owner
        self._ticked_us = self._saved_us = 0
        self._ripe_at_us: dict[str, int] = {}
        self.healthy_at_us = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Work until *stop*. Whatever fails, start again from what the store has; errors are ours to outlive."""
        failures = 0
        while not stop.is_set():
            try:
                holding = await self.start()
                while not stop.is_set():
                    await self.turn(holding, stop)
                    failures = 0
                await self._save(holding)
            except PenstockError as error:
                log.warning("worker starts again", code=error.code, detail=str(error))
            except Exception:  # noqa: BLE001  # the worker's loop is one of the two places where anything may be caught
                log.exception("worker starts again after an unexpected error")
            else:
                return
            await _pause(stop, BACKOFF_S[min(failures, len(BACKOFF_S) - 1)])
            failures += 1

    async def start(self) -> Holding:
        """Claim the lease, and learn from the store what is needed to go on where the last holder stopped."""
        holding = await self._recall(self._owner)
        self._ticked_us = self._saved_us = self._clock.now_us()
        for shard, position in holding.positions.items():
            await self._stream.forget(shard, position)
        return holding

    async def turn(self, holding: Holding, stop: asyncio.Event) -> int:
        """Commit one flush of the most urgent shard that has entries; returns its readings. Waits a little if none."""
        for shard in self._stream.shards:
            if self._gathering_ms(shard, stop) > 0:
                break
            entries = await self._stream.take(shard, holding.positions[shard], self._limits.flush_readings_max)
            if not entries:
                continue
            self._ripe_at_us[shard] = self._ripe_at(shard, entries)
            if self._gathering_ms(shard, stop) > 0:
                break
            await self.commit(holding, shard, entries)
            await self._housekeeping(holding)
            return sum(len(entry.batch) for entry in entries)
        await self._housekeeping(holding)
        await self._rest(stop)
        return 0

    def _ripe_at(self, shard: str, entries: Sequence[Entry]) -> int:
        """Until when bulk readings may gather: a transaction costs the same for one as for a thousand."""
        readings = sum(len(entry.batch) for entry in entries)
        if shard == Lane.CRITICAL or 2 * readings >= self._limits.flush_readings_max:
            return 0
        return min(entries[0].received_us, self._clock.now_us()) + self._limits.linger_ms * 1_000

    def _gathering_ms(self, shard: str, stop: asyncio.Event) -> float:
        """How long the shard is left alone; looking at it meanwhile would decode the same entries again and again."""
        return 0.0 if stop.is_set() else (self._ripe_at_us.get(shard, 0) - self._clock.now_us()) / 1_000

    async def _rest(self, stop: asyncio.Event) -> None:
        """Until the next look at the critical lane, or, when nothing gathers, until something comes."""
        gathering_ms = max(self._gathering_ms(shard, stop) for shard in self._stream.shards)
        if gathering_ms > 0:
            await asyncio.sleep(min(gathering_ms, LOOK_MS) / 1_000)
        else:
            await self._stream.wait(0.2)

    async def commit(self, holding: Holding, shard: str, entries: Sequence[Entry]) -> None:
        """Store entries and all that follows from them in one transaction; then, and only then, learn from them."""
        began_us = self._clock.now_us()
        last = entries[-1]
        span = Span(shard, holding.positions[shard], last.position, last.counted, entries[0].received_us)
        async with self._history.flush(holding.lease, span) as flush:
            plan = await self._store(holding, flush, entries)
            await flush.settle(fates_of(plan.outcome, entries))
        self._remember(holding, plan)
        holding.positions[shard], holding.counted[shard] = last.position, last.counted
        holding.received_us[shard] = last.received_us
        await self._stream.forget(shard, last.position)
        self._report(shard, entries, plan, began_us)

    async def _store(self, holding: Holding, flush: Flush, entries: Sequence[Entry]) -> _Plan:
        tags = holding.tags
        intake, new_states = await self._intake(holding, flush, entries)
        outcome = Outcome(intake.columns)
        kept = self._validate(intake, tags, self._clock.now_us(), outcome)
        kept = kept.pick(order_of(tags.tag_id[kept.slot], kept.ts, kept.seq))
        outcome.stored = stored = await self._sort_out(holding, flush, kept, outcome)
        outcome.check()
        await flush.write(rows_of(stored, tags))
        kinds = first_kinds(stored, tags)
        if kinds:
            await flush.fix_kind(*(_ids(tags, kinds, holds) for holds in (HOLDS_VALUE, HOLDS_STATE)))
        # as of its reception, not of now: whoever replays these readings must come to the same state
        verdict = holding.detector.run(by_slot(stored), entries[-1].received_us)
        await _find(flush, tags, verdict)
        await _keep(flush, tags, entries, outcome)
        return _Plan(outcome, verdict, kinds, new_states)

    async def _intake(self, holding: Holding, flush: Flush, entries: Sequence[Entry]) -> tuple[Intake, dict[str, int]]:
        """The flush's readings, in terms that include what changed and what is new; and the new states' numbers."""
        if flush.registry_version != holding.tags.version:
            holding.tags.put(await flush.changed_tags(holding.tags.version))
            holding.tags.version = flush.registry_version
        intake = join(entries, holding.tags, holding.states)
        if intake.complete:
            return intake, {}
        registered = await self._register_paths(holding, flush, entries)
        new_states = await self._register_states(holding, flush, entries)
        if registered or new_states:
            intake = join(entries, holding.tags, holding.states | new_states)
        return intake, new_states

    async def _register_paths(self, holding: Holding, flush: Flush, entries: Sequence[Entry]) -> bool:
        """Give new paths a tag while there is room. True if there was any."""
        room = self._limits.tags_max - len(holding.tags)
        if not self._limits.register_unknown or room <= 0:
            return False
        paths = unknown_texts(entries, "paths", "tag", holding.tags.slot_of)[:room]
        if paths:
            holding.tags.put(await flush.register(paths))
        return bool(paths)

    async def _register_states(self, holding: Holding, flush: Flush, entries: Sequence[Entry]) -> dict[str, int]:
        """Numbers for new state texts while there is room."""
        room = self._limits.states_max - len(holding.states)
        if room <= 0:
            return {}
        texts = unknown_texts(entries, "states", "state", holding.states)[:room]
        return dict(zip(texts, await flush.register_states(texts), strict=True)) if texts else {}

    async def _sort_out(self, holding: Holding, flush: Flush, kept: Columns, outcome: Outcome) -> Columns:
        newest = holding.watermarks(kept.slot)
        suspect = kept.ts <= newest
        if not suspect.any():
            return sort_out(kept, suspect, np.zeros(0, np.int8), outcome)
        known = await flush.compare(rows_of(kept.pick(suspect), holding.tags))
        stored = sort_out(kept, suspect, known, outcome)
        outcome.late = stored.pick(stored.ts < holding.watermarks(stored.slot))
        return stored

    def _remember(self, holding: Holding, plan: _Plan) -> None:
        """The flush is committed."""
        stored = plan.outcome.stored
        assert stored is not None
        holding.watermarks.remember(stored.slot, stored.ts)
        holding.detector.remember(plan.verdict.next)
        holding.states.update(plan.states)
        for slot, holds in plan.kinds.items():
            holding.tags.holds[slot] = holds

    def _report(self, shard: str, entries: Sequence[Entry], plan: _Plan, began_us: int) -> None:
        now_us = self.healthy_at_us = self._clock.now_us()
        FLUSH_READINGS.labels(shard).observe(plan.outcome.readings)
        FLUSH_SECONDS.labels(shard).observe((now_us - began_us) / 1e6)
        latency = STAGE_LATENCY.labels("committed", shard)
        for entry in entries:
            latency.observe((now_us - entry.received_us) / 1e6)
        _count(plan.verdict)

    async def _housekeeping(self, holding: Holding) -> None:
        """Once a second let time pass for the detectors; every 30 s keep their state."""
        now_us = self._clock.now_us()
        if now_us - self._ticked_us >= TICK_US:
            self._ticked_us = now_us
            await self._tick(holding, now_us)
            self.healthy_at_us = now_us
        if now_us - self._saved_us >= SNAPSHOT_US:
            await self._save(holding)

    async def _tick(self, holding: Holding, now_us: int) -> None:
        """Detectors' time is that of the readings they have seen: what still waits in the stream is not silent."""
        for shard, total in (await self._stream.totals()).items():
            lag = total.counted - holding.counted[shard]
            LAG.labels(shard).set(lag)
            if lag:
                now_us = min(now_us, holding.received_us.get(shard, 0))
        if now_us > holding.told_us:
            holding.told_us = now_us
            await self._let_pass(holding, now_us)

    async def _let_pass(self, holding: Holding, now_us: int) -> None:
        verdict = holding.detector.tick(now_us)
        if verdict.findings:
            shard = self._stream.shards[0]
            at = holding.positions[shard]
            span = Span(shard, at, at, holding.counted[shard], now_us)
            async with self._history.flush(holding.lease, span) as flush:
                await _find(flush, holding.tags, verdict)
                await flush.settle({})
            _count(verdict)
        holding.detector.remember(verdict.next)

    async def _save(self, holding: Holding) -> None:
        self._saved_us = self._clock.now_us()
        await self._snapshots.save(holding.lease, holding.positions, holding.detector.snapshot())


async def _find(flush: Flush, tags: TagTable, verdict: Verdict[Any]) -> None:
    if verdict.findings:
        await flush.find([(int(tags.tag_id[finding.slot]), finding) for finding in verdict.findings])


async def _keep(flush: Flush, tags: TagTable, entries: Sequence[Entry], outcome: Outcome) -> None:
    """Whatever was not stored is kept, with its reason."""
    held = [one for reason, part in outcome.quarantined for one in held_of(reason, part, entries)]
    contested = [one for part in outcome.conflicts for one in contested_of(part, entries, tags)]
    repeats = repeats_of(outcome.duplicates, entries, tags)
    if held or contested or repeats.index.size:
        await flush.keep(held, contested, repeats)


def _count(verdict: Verdict[Any]) -> None:
    for finding in verdict.findings:
        FINDINGS.labels(finding.test.value).inc()


def _ids(tags: TagTable, kinds: Mapping[int, int], holds: int) -> list[int]:
    return [int(tags.tag_id[slot]) for slot, kind in kinds.items() if kind == holds]


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return
