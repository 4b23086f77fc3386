"""Take, run, store, remember: the worker's loop. A crash on any line loses nothing and learns nothing."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np

from penstock.clock import Clock
from penstock.errors import PenstockError
from penstock.model.batch import Lane
from penstock.process.columns import Columns
from penstock.process.dedupe import Watermarks, rows_of, sort_out
from penstock.process.detect.port import Detector, Verdict
from penstock.process.intake import join, unknown_paths, unknown_states
from penstock.process.keep import contested_of, held_of, repeats_of
from penstock.process.order import order_of
from penstock.process.outcome import Outcome
from penstock.process.tags import HOLDS_STATE, HOLDS_VALUE, TagTable
from penstock.process.validate import Validate, first_kinds
from penstock.store.port import Fates, Flush, History, Lease, Span
from penstock.stream.port import Entry, Stream
from penstock.telemetry import FINDINGS, FLUSH_READINGS, FLUSH_SECONDS, LAG, STAGE_LATENCY, log

MINUTE_US: Final = 60_000_000
TICK_US: Final = 1_000_000
SNAPSHOT_US: Final = 30_000_000
BACKOFF_S: Final = (0.1, 0.2, 0.5, 1.0, 2.0)


@dataclass(frozen=True, slots=True)
class WorkerLimits:
    """What the worker takes at a time, and how many names it will register."""

    flush_readings_max: int = 20_000
    linger_ms: int = 100
    tags_max: int = 100_000
    states_max: int = 10_000
    register_unknown: bool = True


class Snapshots(Protocol):
    """Where detector state rests between runs."""

    async def load(self, stream: str) -> tuple[Mapping[str, int], bytes] | None:
        """Positions by shard and the state as of them, or None."""
        ...

    async def save(self, lease: Lease, positions: Mapping[str, int], state: bytes) -> None:
        """Replace what was kept, if the lease still holds."""
        ...

    async def unstored(self, stream: str, shard: str, lo: int, hi: int) -> Mapping[int, Sequence[int]]:
        """Items of entries lo < position <= hi that were not stored, by position."""
        ...


@dataclass(slots=True)
class Holding:
    """What the worker holds of the store's knowledge. Made anew at each start, so that it is never in doubt."""

    lease: Lease
    tags: TagTable
    states: dict[str, int]
    watermarks: Watermarks
    detector: Detector[object]
    positions: dict[str, int]
    counted: dict[str, int]


@dataclass(slots=True)
class _Plan:
    """What a flush will store and teach, gathered inside its transaction."""

    outcome: Outcome
    verdict: Verdict[object]
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
        detector: Callable[[TagTable], Detector[object]],
        validate: Validate,
        limits: WorkerLimits,
        clock: Clock,
        owner: str,
    ) -> None:
        self._stream, self._history, self._snapshots = stream, history, snapshots
        self._make_detector, self._validate, self._limits = detector, validate, limits
        self._clock, self._owner = clock, owner
        self._ticked_us = self._saved_us = 0
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
        lease = await self._history.claim(self._stream.identity, self._stream.shards, self._owner)
        version, tags = await self._history.tags()
        table = TagTable(sorted(tags, key=lambda tag: tag.tag_id))
        table.version = version
        holding = Holding(
            lease=lease,
            tags=table,
            states=dict(await self._history.state_texts()),
            watermarks=await self._watermarks(table),
            detector=self._make_detector(table),
            positions={shard: at.position for shard, at in lease.checkpoints.items()},
            counted={shard: at.counted for shard, at in lease.checkpoints.items()},
        )
        await self._recall(holding)
        self._ticked_us = self._saved_us = self._clock.now_us()
        for shard, position in holding.positions.items():
            await self._stream.forget(shard, position)
        return holding

    async def turn(self, holding: Holding, stop: asyncio.Event) -> int:
        """Commit one flush of the most urgent shard that has entries; returns its readings. Waits a little if none."""
        for shard in self._stream.shards:
            entries = await self._stream.take(shard, holding.positions[shard], self._limits.flush_readings_max)
            if entries and await self._ripe(shard, entries, stop):
                await self.commit(holding, shard, entries)
                await self._housekeeping(holding)
                return sum(len(entry.batch) for entry in entries)
        await self._housekeeping(holding)
        await self._stream.wait(0.2)
        return 0

    async def _ripe(self, shard: str, entries: Sequence[Entry], stop: asyncio.Event) -> bool:
        """Let bulk readings gather for a moment: a transaction costs the same for one as for a thousand."""
        readings = sum(len(entry.batch) for entry in entries)
        age_ms = (self._clock.now_us() - entries[0].received_us) / 1_000
        wait_ms = self._limits.linger_ms - age_ms
        if shard == Lane.CRITICAL or wait_ms <= 0 or 2 * readings >= self._limits.flush_readings_max or stop.is_set():
            return True
        await asyncio.sleep(min(wait_ms, 20) / 1_000)  # short, so that the critical lane is looked at again soon
        return False

    async def commit(self, holding: Holding, shard: str, entries: Sequence[Entry]) -> None:
        """Store entries and all that follows from them in one transaction; then, and only then, learn from them."""
        began_us = self._clock.now_us()
        last = entries[-1]
        span = Span(shard, holding.positions[shard], last.position, last.counted, entries[0].received_us)
        async with self._history.flush(holding.lease, span) as flush:
            plan = await self._store(holding, flush, entries)
            await flush.settle(self._fates(plan.outcome, entries))
        self._remember(holding, plan)
        holding.positions[shard], holding.counted[shard] = last.position, last.counted
        await self._stream.forget(shard, last.position)
        self._report(shard, entries, plan, began_us)

    async def _store(self, holding: Holding, flush: Flush, entries: Sequence[Entry]) -> _Plan:
        new_states = await self._register(holding, flush, entries)
        intake = join(entries, holding.tags, holding.states | new_states if new_states else holding.states)
        outcome = Outcome(readings=len(intake.columns))
        kept = self._validate(intake, holding.tags, self._clock.now_us(), outcome)
        kinds = first_kinds(kept, holding.tags)
        kept = kept.pick(order_of(holding.tags.tag_id[kept.slot], kept.ts, kept.seq))
        outcome.stored = stored = await self._sort_out(holding, flush, kept, outcome)
        outcome.check()
        tag_ids = holding.tags.tag_id
        await flush.write(rows_of(stored, holding.tags))
        if kinds:
            await flush.fix_kind(*(_ids(tag_ids, kinds, holds) for holds in (HOLDS_VALUE, HOLDS_STATE)))
        verdict = holding.detector.run(_by_slot(stored), self._clock.now_us())
        await flush.find([(int(tag_ids[finding.slot]), finding) for finding in verdict.findings])
        await self._keep(holding, flush, entries, outcome)
        return _Plan(outcome, verdict, kinds, new_states)

    async def _register(self, holding: Holding, flush: Flush, entries: Sequence[Entry]) -> dict[str, int]:
        """Take over changed tags, and give new paths and state texts their numbers while there is room."""
        if flush.registry_version != holding.tags.version:
            holding.tags.put(await flush.changed_tags(holding.tags.version))
            holding.tags.version = flush.registry_version
        paths = unknown_paths(entries, holding.tags) if self._limits.register_unknown else []
        paths = paths[: max(0, self._limits.tags_max - len(holding.tags))]
        if paths:
            holding.tags.put(await flush.register(paths))
        texts = unknown_states(entries, holding.states)[: max(0, self._limits.states_max - len(holding.states))]
        return dict(zip(texts, await flush.register_states(texts), strict=True)) if texts else {}

    async def _sort_out(self, holding: Holding, flush: Flush, kept: Columns, outcome: Outcome) -> Columns:
        newest = holding.watermarks(kept.slot)
        suspect = kept.ts <= newest
        known = np.zeros(0, np.int8)
        if suspect.any():
            known = await flush.compare(rows_of(kept.pick(suspect), holding.tags))
        stored = sort_out(kept, suspect, known, outcome)
        outcome.late = int(np.count_nonzero(stored.ts < holding.watermarks(stored.slot)))
        return stored

    async def _keep(self, holding: Holding, flush: Flush, entries: Sequence[Entry], outcome: Outcome) -> None:
        """Whatever was not stored is kept, with its reason."""
        if outcome.stored is not None and len(outcome.stored) == outcome.readings:
            return
        await flush.keep(
            [held for reason, part in outcome.quarantined for held in held_of(reason, part, entries)],
            [one for part in outcome.conflicts for one in contested_of(part, entries, holding.tags)],
            repeats_of(outcome.duplicates, entries, holding.tags),
        )

    def _fates(self, outcome: Outcome, entries: Sequence[Entry]) -> dict[int, Fates]:
        """Counts by the minute in which the readings were received; late ones count for the flush's first minute."""
        assert outcome.stored is not None
        per_entry = {
            "stored": outcome.per_entry([outcome.stored], len(entries)),
            "duplicate": outcome.per_entry(outcome.duplicates, len(entries)),
            "conflict": outcome.per_entry(outcome.conflicts, len(entries)),
            "quarantined": outcome.per_entry([part for _, part in outcome.quarantined], len(entries)),
        }
        minute = np.array([entry.received_us // MINUTE_US * MINUTE_US for entry in entries])
        minutes = list(dict.fromkeys(minute.tolist()))
        return {
            at: Fates(
                **{fate: int(count[minute == at].sum()) for fate, count in per_entry.items()},
                late=outcome.late if at == minutes[0] else 0,
            )
            for at in minutes
        }

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
        for finding in plan.verdict.findings:
            FINDINGS.labels(finding.test.value).inc()

    async def _housekeeping(self, holding: Holding) -> None:
        """Once a second let time pass for the detectors; every 30 s keep their state."""
        now_us = self._clock.now_us()
        if now_us - self._ticked_us >= TICK_US:
            self._ticked_us = now_us
            await self._tick(holding, now_us)
            totals = await self._stream.totals()
            for shard, total in totals.items():
                LAG.labels(shard).set(total.counted - holding.counted[shard])
        if now_us - self._saved_us >= SNAPSHOT_US:
            await self._save(holding)

    async def _tick(self, holding: Holding, now_us: int) -> None:
        verdict = holding.detector.tick(now_us)
        if verdict.findings:
            shard = self._stream.shards[0]
            at = holding.positions[shard]
            async with self._history.flush(holding.lease, Span(shard, at, at, holding.counted[shard], now_us)) as flush:
                tag_ids = holding.tags.tag_id
                await flush.find([(int(tag_ids[finding.slot]), finding) for finding in verdict.findings])
                await flush.settle({})
        holding.detector.remember(verdict.next)
        self.healthy_at_us = now_us

    async def _save(self, holding: Holding) -> None:
        self._saved_us = self._clock.now_us()
        await self._snapshots.save(holding.lease, holding.positions, holding.detector.snapshot())

    async def _watermarks(self, tags: TagTable) -> Watermarks:
        tag_ids, ts = await self._history.watermarks()
        own = tags.tag_id[: len(tags)]
        by_id = np.argsort(own)
        watermarks = Watermarks()
        watermarks.remember(by_id[np.searchsorted(own, tag_ids, sorter=by_id)].astype(np.int32), ts)
        return watermarks

    async def _recall(self, holding: Holding) -> None:
        """Restore the detectors, and let them see again what was committed after their snapshot."""
        kept = await self._snapshots.load(holding.lease.stream)
        if kept is None:
            return
        positions, state = kept
        holding.detector.restore(state)
        for shard, checkpoint in holding.positions.items():
            await self._replay(holding, shard, positions.get(shard, 0), checkpoint)

    async def _replay(self, holding: Holding, shard: str, lo: int, hi: int) -> None:
        unstored = await self._snapshots.unstored(holding.lease.stream, shard, lo, hi) if lo < hi else {}
        while lo < hi:
            taken = await self._stream.take(shard, lo, self._limits.flush_readings_max)
            entries = [entry for entry in taken if entry.position <= hi]
            if not entries:
                log.warning("detectors skip readings the stream no longer keeps", shard=shard, after=lo, upto=hi)
                return
            columns = join(entries, holding.tags, holding.states).columns
            columns = columns.pick(_was_stored(columns, entries, unstored))
            columns = columns.pick(order_of(holding.tags.tag_id[columns.slot], columns.ts, columns.seq))
            verdict = holding.detector.run(_by_slot(columns), entries[-1].received_us)
            holding.detector.remember(verdict.next)
            lo = entries[-1].position


def _was_stored(
    columns: Columns, entries: Sequence[Entry], unstored: Mapping[int, Sequence[int]]
) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    stored = columns.slot >= 0
    for number, entry in enumerate(entries):
        if entry.position in unstored:
            stored &= ~((columns.entry == number) & np.isin(columns.index, unstored[entry.position]))
    return stored


def _by_slot(columns: Columns) -> Columns:
    """Detectors want slots in order; store order differs where another worker registered tags in between."""
    if np.any(columns.slot[1:] < columns.slot[:-1]):
        return columns.pick(np.argsort(columns.slot, kind="stable"))
    return columns


def _ids(tag_ids: np.ndarray[tuple[int], np.dtype[np.int32]], kinds: Mapping[int, int], holds: int) -> list[int]:
    return [int(tag_ids[slot]) for slot, kind in kinds.items() if kind == holds]


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return
