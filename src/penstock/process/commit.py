"""The steps of a flush: what its readings are, what becomes of them, and what is learned once they are stored."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from penstock.clock import Clock
from penstock.errors import Backpressure
from penstock.model.batch import Lane, ReadingBatch
from penstock.process.columns import Columns
from penstock.process.dedupe import rows_of, sort_out
from penstock.process.detect.port import Verdict
from penstock.process.holding import Holding
from penstock.process.intake import Intake, join, unknown_texts
from penstock.process.keep import contested_of, held_of, poison_of, repeats_of
from penstock.process.order import by_slot, order_of
from penstock.process.outcome import Outcome
from penstock.process.owning import strays_of, take_over
from penstock.process.tags import HOLDS_STATE, HOLDS_VALUE, TagTable
from penstock.process.validate import Validate, first_kinds
from penstock.store.port import Flush
from penstock.stream.port import Entry, Receipt

SendOn = Callable[[Mapping[Lane, ReadingBatch], int], Awaitable[Receipt]]
"""Puts readings into the stream again; returns when they are durable."""

SEND_ON_S: Final = 5.0
"""A transaction that says nothing for longer than ten seconds is ended by the database."""


@dataclass(frozen=True, slots=True)
class WorkerLimits:
    """What the worker takes at a time, and how many names it will register."""

    flush_readings_max: int = 20_000
    linger_ms: int = 100
    tags_max: int = 100_000
    states_max: int = 10_000
    register_unknown: bool = True


@dataclass(slots=True)
class Plan:
    """What a flush will store and teach, gathered inside its transaction."""

    outcome: Outcome
    verdict: Verdict[Any]
    kinds: dict[int, int]
    detected_us: tuple[int, int]
    """When detection began, and when it ended."""
    states: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Named:
    """What names the flush's readings needed: new states' numbers, and the lanes of paths that are not ours."""

    states: dict[str, int] = field(default_factory=dict)
    elsewhere: dict[str, Lane] = field(default_factory=dict)
    tags: bool = False


@dataclass(frozen=True, slots=True)
class Steps:
    """Intake, validation, duplicates, detection: all in the flush's transaction, and nothing learned before its end."""

    validate: Validate
    limits: WorkerLimits
    clock: Clock
    send_on: SendOn

    async def __call__(self, holding: Holding, flush: Flush, entries: Sequence[Entry]) -> Plan:
        tags = holding.tags
        intake, named = await self._intake(holding, flush, entries)
        outcome = Outcome(intake.columns)
        intake = await self._send_on(intake, entries, named, outcome)
        kept = self.validate(intake, tags, self.clock.now_us(), outcome)
        kept = kept.pick(order_of(tags.tag_id[kept.slot], kept.ts, kept.seq))
        outcome.stored = stored = await _sort_out(holding, flush, kept, outcome)
        outcome.check()
        await flush.write(rows_of(stored, tags))
        kinds = first_kinds(stored, tags)
        if kinds:
            await flush.fix_kind(*(_ids(tags, kinds, holds) for holds in (HOLDS_VALUE, HOLDS_STATE)))
        detecting_us = self.clock.now_us()
        # as of its reception, not of now: whoever replays these readings must come to the same state
        verdict = holding.detector.run(by_slot(stored), entries[-1].received_us)
        detected_us = detecting_us, self.clock.now_us()
        await find(flush, tags, verdict)
        await _keep(flush, tags, entries, outcome)
        return Plan(outcome, verdict, kinds, detected_us, named.states)

    async def _intake(self, holding: Holding, flush: Flush, entries: Sequence[Entry]) -> tuple[Intake, _Named]:
        """The flush's readings, in terms that include what changed and what is new."""
        await follow(holding, flush)
        intake = join(entries, holding.tags, holding.states)
        if intake.complete:
            return intake, _Named()
        named = _Named()
        await self._name_paths(holding, flush, entries, named)
        await self._name_states(holding, flush, entries, named)
        if named.tags or named.states:
            intake = join(entries, holding.tags, holding.states | named.states)
        return intake, named

    async def _name_paths(self, holding: Holding, flush: Flush, entries: Sequence[Entry], named: _Named) -> None:
        """Give new paths a tag while there is room; others' paths are noted with the lane in which to send them on."""
        paths = unknown_texts(entries, "paths", "tag", holding.tags.slot_of)
        ours = [path for path in paths if holding.unit.owns(path, critical=path in holding.elsewhere.critical)]
        named.elsewhere = {path: holding.elsewhere.lane_of(path) for path in set(paths).difference(ours)}
        room = self.limits.tags_max - len(holding.tags) - len(holding.elsewhere.ids)
        if self.limits.register_unknown and ours and room > 0:
            holding.tags.put(await flush.register(ours[:room]))
            named.tags = True

    async def _name_states(self, holding: Holding, flush: Flush, entries: Sequence[Entry], named: _Named) -> None:
        """Numbers for new state texts while there is room."""
        room = self.limits.states_max - len(holding.states)
        texts = unknown_texts(entries, "states", "state", holding.states)[: max(0, room)]
        if texts:
            named.states = dict(zip(texts, await flush.register_states(texts), strict=True))

    async def _send_on(self, intake: Intake, entries: Sequence[Entry], named: _Named, outcome: Outcome) -> Intake:
        """Durable in the stream again before this flush can commit: a crash between the two makes a duplicate."""
        if not named.elsewhere:
            return intake
        strays = strays_of(entries, named.elsewhere)
        if strays.lanes:
            await self._append(strays.lanes)
        outcome.moved.append(intake.columns.pick(strays.where))
        kept = ~strays.where
        return Intake(intake.columns.pick(kept), intake.unit[kept], intake.units)

    async def _append(self, lanes: Mapping[Lane, ReadingBatch]) -> None:
        try:
            async with asyncio.timeout(SEND_ON_S):
                receipt = await self.send_on(lanes, self.clock.now_us())
        except TimeoutError as error:
            raise Backpressure("readings of other units' tags wait: the stream does not acknowledge them") from error
        if receipt.overloaded:
            raise Backpressure("readings of other units' tags wait: the stream has no room for them")


async def follow(holding: Holding, flush: Flush) -> bool:
    """Take over what changed in the registry, if anything did. Raises Reassigned."""
    if flush.registry_version == holding.tags.version:
        return False
    take_over(holding.unit, holding.tags, holding.elsewhere, await flush.changed_tags(holding.tags.version))
    holding.tags.version = flush.registry_version
    return True


def remember(holding: Holding, plan: Plan) -> None:
    """The flush is committed."""
    stored = plan.outcome.stored
    assert stored is not None
    holding.watermarks.remember(stored.slot, stored.ts)
    holding.detector.remember(plan.verdict.next)
    holding.states.update(plan.states)
    for slot, holds in plan.kinds.items():
        holding.tags.holds[slot] = holds


async def find(flush: Flush, tags: TagTable, verdict: Verdict[Any]) -> None:
    """Record findings, if there are any."""
    if verdict.findings:
        await flush.find([(int(tags.tag_id[finding.slot]), finding) for finding in verdict.findings])


async def _sort_out(holding: Holding, flush: Flush, kept: Columns, outcome: Outcome) -> Columns:
    newest = holding.watermarks(kept.slot)
    suspect = kept.ts <= newest
    if not suspect.any():
        return sort_out(kept, suspect, np.zeros(0, np.int8), outcome)
    known = await flush.compare(rows_of(kept.pick(suspect), holding.tags))
    stored = sort_out(kept, suspect, known, outcome)
    outcome.late = stored.pick(stored.ts < holding.watermarks(stored.slot))
    return stored


async def _keep(flush: Flush, tags: TagTable, entries: Sequence[Entry], outcome: Outcome) -> None:
    """Whatever was not stored is kept, with its reason."""
    held = [one for reason, part in outcome.quarantined for one in held_of(reason, part, entries)]
    held += poison_of(entries)
    contested = [one for part in outcome.conflicts for one in contested_of(part, entries, tags)]
    repeats = repeats_of(outcome.duplicates, entries, tags)
    if held or contested or repeats.index.size:
        await flush.keep(held, contested, repeats)


def _ids(tags: TagTable, kinds: Mapping[int, int], holds: int) -> list[int]:
    return [int(tags.tag_id[slot]) for slot, kind in kinds.items() if kind == holds]
