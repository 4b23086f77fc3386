"""What a worker tells of the traced batches that a flush stored: taken, judged, committed, and what alarmed."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Final, NamedTuple
from uuid import UUID

import numpy as np

from penstock.clock import Clock
from penstock.model.anomaly import Finding
from penstock.process.commit import Plan
from penstock.process.tags import TagTable
from penstock.stream.port import Entry
from penstock.telemetry import SPANS
from penstock.traces.ids import BatchIds, ids_of, random_ids
from penstock.traces.port import EVENTS_MAX, Event, Kind, Span, Traces

BATCHES_MAX: Final = 64
"""Of one flush: at a share of one, ten thousand requests of a reading each would keep the next flush waiting."""
STEPS: Final = 4
"""Spans of a batch in a flush."""


class Times(NamedTuple):
    """Of a flush, in microseconds: its transaction began, had everything, was committed."""

    began_us: int
    settled_us: int
    committed_us: int


class TracedFlushes:
    """Hands on what concerns traced batches; a batch's readings in one flush are one `store` span with its children."""

    def __init__(self, traces: Traces, clock: Clock) -> None:
        self._traces, self._clock = traces, clock
        self._taken_us: dict[str, dict[int, int]] = defaultdict(dict)

    def took(self, entries: Sequence[Entry]) -> None:
        """These were just taken from the stream."""
        now_us = self._clock.now_us()
        for entry in entries:
            self._taken_us[entry.shard][entry.position] = now_us

    def forget(self) -> None:
        """What was taken will be taken again."""
        self._taken_us.clear()

    def stored(self, shard: str, entries: Sequence[Entry], plan: Plan | None, tags: TagTable, times: Times) -> None:
        """All that was taken of *shard* is committed; *entries* of it were new."""
        taken_us = self._taken_us.pop(shard, {})
        if plan is None:
            return
        picked = self._picked(entries)
        SPANS.labels("overflowed").inc(STEPS * max(0, len(picked) - BATCHES_MAX))
        for (producer, request), places in islice(picked.items(), BATCHES_MAX):
            ids = ids_of(producer, request)
            begun_us = min(taken_us.get(entries[at].position, times.began_us) for at in places)
            events = tuple(_events(_of_batch(entries, places, request, plan), tags, times.committed_us))
            store = _store(ids, [entries[at] for at in places], request, begun_us, times, events)
            self._traces.tell(store)
            for name, begun, ended in (
                ("read", begun_us, times.began_us),
                ("detect", *plan.detected_us),
                ("commit", times.settled_us, times.committed_us),
            ):
                self._traces.tell(Span(name, Kind.INTERNAL, ids.trace, random_ids()[1], store.span, begun, ended))

    def _picked(self, entries: Sequence[Entry]) -> Mapping[tuple[UUID, int], list[int]]:
        """Traced batches, and which of the entries carry something of each."""
        picked: dict[tuple[UUID, int], list[int]] = defaultdict(list)
        for at, entry in enumerate(entries):
            if entry.origin is not None:
                for request in self._traces.sample.picks(entry.origin.producer, entry.origin.request):
                    picked[entry.origin.producer, request].append(at)
        return picked


def _store(  # noqa: PLR0913, PLR0917  # all that a span is made of
    ids: BatchIds, entries: Sequence[Entry], request: int, begun_us: int, times: Times, events: tuple[Event, ...]
) -> Span:
    """From the first look at one of *entries* until all of them are committed."""
    readings = sum(int(np.count_nonzero(entry.origin.request == request)) for entry in entries if entry.origin)
    waited_us = begun_us - min(entry.received_us for entry in entries)
    return Span(
        name="store",
        kind=Kind.CONSUMER,
        trace=ids.trace,
        span=random_ids()[1],
        parent=ids.put,
        begun_us=begun_us,
        ended_us=times.committed_us,
        attributes={
            "penstock.shard": entries[0].shard,
            "penstock.position": str(entries[0].position),
            "penstock.records": len(entries),
            "penstock.readings": readings,
            "penstock.waited_ms": max(0, waited_us // 1_000),
        },
        events=events,
    )


def _of_batch(entries: Sequence[Entry], places: Sequence[int], request: int, plan: Plan) -> Iterator[Finding]:
    """What was found at tags of which the batch brought a reading."""
    stored = plan.outcome.stored
    if not plan.verdict.findings or stored is None:
        return
    slots: set[int] = set()
    for at in places:
        origin = entries[at].origin
        own = stored.entry == at
        if origin is not None:
            slots.update(stored.slot[own][origin.request[stored.index[own]] == request].tolist())
    yield from (finding for finding in plan.verdict.findings if finding.slot in slots)


def _events(findings: Iterator[Finding], tags: TagTable, at_us: int) -> Iterator[Event]:
    """Edges of alarms, without any value: which test, of which tag."""
    for finding, _ in zip(findings, range(EVENTS_MAX), strict=False):
        name = "alarm" if finding.active else "return to normal"
        told = {"penstock.test": finding.test.value, "penstock.priority": finding.priority.value}
        yield Event(name, at_us, told | {"penstock.tag": tags.paths[finding.slot]})
