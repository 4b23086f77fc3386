"""All tests side by side, as one detector: what the worker holds."""

from itertools import chain
from typing import NamedTuple

from penstock.model.anomaly import Finding
from penstock.process.columns import Columns
from penstock.process.detect.course import Past
from penstock.process.detect.frozen import freeze, thaw
from penstock.process.detect.limits import Limits
from penstock.process.detect.memory import Memory, Patch
from penstock.process.detect.port import Verdict
from penstock.process.detect.rate import Rate
from penstock.process.detect.record import Record, RecordNext
from penstock.process.detect.silence import Silence, SilenceNext
from penstock.process.detect.stuck import Stuck
from penstock.process.tags import TagTable


class DetectorsNext(NamedTuple):
    """What `Detectors.remember` takes over. None: that test saw nothing."""

    past: Patch | None = None
    limits: Patch | None = None
    rate: Patch | None = None
    stuck: Patch | None = None
    record: RecordNext | None = None
    silence: SilenceNext | None = None


class Detectors:
    """Limits, rate, stuck, record and silence over all tags of a table; keeps the `Detector` promises."""

    def __init__(
        self, table: TagTable, *, learn_s: float = 86_400.0, silence_intervals: float = 5.0, stall_s: float = 10.0
    ) -> None:
        self._table = table
        self._past = Past()
        self._limits, self._rate = Limits(table), Rate(table)
        self._stuck, self._record = Stuck(table, learn_s=learn_s), Record(table, learn_s=learn_s)
        self._silence = Silence(table, self._record.memory, intervals=silence_intervals, stall_s=stall_s)

    @property
    def _memories(self) -> dict[str, Memory]:
        return {
            "past": self._past.memory,
            "limits": self._limits.memory,
            "rate": self._rate.memory,
            "stuck": self._stuck.memory,
            "record": self._record.memory,
            "silence": self._silence.memory,
        }

    def run(self, readings: Columns, now_us: int) -> Verdict[DetectorsNext]:
        """Judge *readings*: new to the store, sorted by (slot, ts, seq)."""
        self._reserve()
        course, past = self._past.course(readings, now_us)
        limits, rate = self._limits.run(course), self._rate.run(course)
        stuck, record, silence = self._stuck.run(course), self._record.run(course), self._silence.run(course)
        found = _in_time([limits[0], rate[0], stuck[0], record[0], silence[0]])
        return Verdict(found, DetectorsNext(past, limits[1], rate[1], stuck[1], record[1], silence[1]))

    def tick(self, now_us: int) -> Verdict[DetectorsNext]:
        """Judge the passing of time. Only to be called by who has taken all readings that were there."""
        self._reserve()
        (limits, limits_next), (silence, silence_next) = self._limits.tick(now_us), self._silence.tick(now_us)
        return Verdict(_in_time([limits, silence]), DetectorsNext(limits=limits_next, silence=silence_next))

    def remember(self, state: DetectorsNext) -> None:
        """What led to *state* is stored."""
        memories = self._memories
        for name in ("past", "limits", "rate", "stuck"):
            patch: Patch | None = getattr(state, name)
            if patch is not None:
                memories[name].put(patch)
        if state.record is not None:
            self._record.put(state.record)
        if state.silence is not None:
            self._silence.put(state.silence)

    def snapshot(self) -> bytes:
        """All that was learned; a few hundred bytes a tag."""
        self._reserve()
        return freeze(self._table.paths, self._memories, self._record.season)

    def restore(self, snapshot: bytes) -> None:
        """Continue where *snapshot* was taken; tags that the table does not know are left out."""
        self._reserve()
        thaw(snapshot, self._table.slot_of, self._memories, self._record.season)

    def _reserve(self) -> None:
        for memory in self._memories.values():
            memory.reserve(len(self._table))
        self._record.season.reserve(len(self._table))


def _in_time(found: list[list[Finding]]) -> list[Finding]:
    return sorted(chain.from_iterable(found), key=lambda finding: (finding.slot, finding.ts_us))
