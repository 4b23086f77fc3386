"""The pipeline's detectors over a file: no network, no database, and a file cut short scores the same up to the cut.

Readings are judged a second of the file's clock at a time, which is also when silence is judged. The rows of an
asset join its tags: the strongest evidence at that time, and an alarm while any of its tags has one.
"""

import csv
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import groupby
from math import inf
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from penstock.errors import Rejected
from penstock.model.anomaly import Finding, Test
from penstock.model.batch import NO_SEQ, NO_TEXT
from penstock.model.quality import Quality
from penstock.model.tag import Tag, TagConfig, asset_of
from penstock.process.columns import Columns
from penstock.process.detect.all import Detectors
from penstock.process.tags import TagTable

HEADER_IN: Final = ["source_ts", "tag", "value"]
HEADER_OUT: Final = ["source_ts", "tag", "score", "alarm", "test"]
LEARN_S: Final = 86_400.0
SLICE_US: Final = 1_000_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Line(NamedTuple):
    """One reading of the file; `stamp` is its time as written."""

    ts: int
    stamp: str
    path: str
    value: float


class Row(NamedTuple):
    """One line of the answer."""

    stamp: str
    path: str
    score: float
    tests: Sequence[str]

    def cells(self) -> list[str]:
        """As written: an alarm is any active test."""
        return [self.stamp, self.path, f"{self.score:.6f}", str(int(bool(self.tests))), "+".join(self.tests)]


def score_file(inp: Path, out: Path, learn_s: float | None = None, tags_csv: Path | None = None) -> None:
    """Score *inp* into *out*. Raises Rejected, naming the line, for what is not such a file."""
    configs = _read_tags(tags_csv) if tags_csv else {}
    scorer = Scorer(configs, LEARN_S if learn_s is None else learn_s)
    with inp.open(newline="", encoding="utf-8-sig") as source, out.open("w", newline="", encoding="utf-8") as target:
        lines = read_lines(csv.reader(source))
        writer = csv.writer(target, lineterminator="\n")
        writer.writerow(HEADER_OUT)
        for row in scorer.rows(lines):
            writer.writerow(row.cells())


def read_lines(rows: Iterator[list[str]]) -> Iterator[Line]:
    """The readings of a CSV. Raises Rejected for another header, a wrong cell, or time running backwards."""
    if next(rows, None) != HEADER_IN:
        raise Rejected(f"the header must be {','.join(HEADER_IN)}")
    newest = 0
    for number, cells in enumerate(rows, start=2):
        if not cells:
            continue
        line = _line(number, cells)
        if line.ts < newest:
            raise Rejected(f"line {number}: lines must be ordered by time")
        newest = line.ts
        yield line


def _line(number: int, cells: list[str]) -> Line:
    try:
        stamp, path, text = cells
        at = datetime.fromisoformat(stamp)
        at = at.replace(tzinfo=at.tzinfo or UTC)
        value = float(text) if text else float("nan")
    except ValueError as error:
        raise Rejected(f"line {number}: {error}") from error
    since = at - _EPOCH
    return Line((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds, stamp, path, value)


def _read_tags(path: Path) -> dict[str, TagConfig]:
    """`tag,kind,unit,interval_s`; empty cells mean unknown."""
    with path.open(newline="", encoding="utf-8-sig") as source:
        return {row["tag"]: _config(row) for row in csv.DictReader(source)}


def _config(row: dict[str, str]) -> TagConfig:
    kind, interval = row.get("kind") or None, row.get("interval_s")
    return TagConfig(
        unit=row.get("unit") or None,
        kind=kind,
        expected_interval_s=float(interval) if interval else None,
        slow=kind == "temperature",
    )


class Scorer:
    """Detectors, and which of each tag's tests are active."""

    def __init__(self, configs: dict[str, TagConfig], learn_s: float) -> None:
        self._configs, self._table = configs, TagTable()
        # a file's clock only moves when some tag speaks: its jumps are no break in our listening
        self._detectors = Detectors(self._table, learn_s=learn_s, stall_s=inf)
        self._active: dict[int, set[str]] = {}
        self._assets: dict[str, set[int]] = {}

    def rows(self, lines: Iterator[Line]) -> Iterator[Row]:
        """The answer, as the readings come."""
        for _, same_second in groupby(lines, key=lambda line: line.ts // SLICE_US):
            now = list(same_second)
            for line in now:
                self._know(line.path)
            # the second's end, not its last reading, so that a cut within it changes nothing before the cut
            end_us = (now[0].ts // SLICE_US + 1) * SLICE_US
            yield from self._judge(now, end_us)
            yield from self._tick(now[-1].stamp, end_us)

    def _know(self, path: str) -> None:
        if path in self._table.slot_of:
            return
        config = self._configs.get(path, TagConfig())
        slot = len(self._table)
        self._table.put([Tag(slot + 1, path, 0, "value", config, 1)])
        self._active[slot] = set()

    def _judge(self, lines: list[Line], now_us: int) -> Iterator[Row]:
        """Rows of readings in the file's order, each time closed by its assets' rows."""
        slots = np.array([self._table.slot_of[line.path] for line in lines], np.int32)
        order = np.argsort(slots, kind="stable")
        verdict = self._detectors.run(_columns([lines[i] for i in order], slots[order]), now_us)
        self._detectors.remember(verdict.next)
        scores = np.zeros(len(lines))
        for place, score in verdict.next.record.scores if verdict.next.record else ():
            scores[order[place]] = score
        edges = sorted(verdict.findings, key=lambda finding: finding.ts_us)
        for _, at in groupby(range(len(lines)), key=lambda i: lines[i].ts):
            yield from self._moment([(lines[i], int(slots[i]), float(scores[i])) for i in at], edges)

    def _moment(self, readings: list[tuple[Line, int, float]], edges: list[Finding]) -> Iterator[Row]:
        """The rows of one `source_ts`; takes the edges up to it off the list."""
        best: dict[str, float] = {}
        raised: dict[int, float] = {}
        while edges and edges[0].ts_us <= readings[0][0].ts:
            edge = edges.pop(0)
            self._take(edge)
            raised[edge.slot] = max(raised.get(edge.slot, 0.0), edge.score)
        for line, slot, evidence in readings:
            self._active[slot].discard(str(Test.SILENCE))
            score = max(evidence, raised.get(slot, 0.0))
            yield Row(line.stamp, line.path, score, sorted(self._active[slot]))
            asset = asset_of(line.path)
            self._assets.setdefault(asset, set()).add(slot)
            best[asset] = max(best.get(asset, 0.0), score)
        for asset, score in best.items():
            yield from self._joint(readings[0][0].stamp, asset, score)

    def _joint(self, stamp: str, asset: str, score: float) -> Iterator[Row]:
        slots = self._assets[asset]
        if len(slots) > 1:
            yield Row(stamp, asset, score, sorted(set[str]().union(*(self._active[slot] for slot in slots))))

    def _take(self, edge: Finding) -> None:
        move: Callable[[str], None] = self._active[edge.slot].add if edge.active else self._active[edge.slot].discard
        move(str(edge.test))

    def _tick(self, stamp: str, now_us: int) -> Iterator[Row]:
        """Rows of tags that fell silent by the clock of the others."""
        verdict = self._detectors.tick(now_us)
        self._detectors.remember(verdict.next)
        for edge in verdict.findings:
            self._take(edge)
            yield Row(stamp, self._table.paths[edge.slot], edge.score, sorted(self._active[edge.slot]))


def _columns(lines: list[Line], slots: np.ndarray[tuple[int], np.dtype[np.int32]]) -> Columns:
    n, value = len(lines), np.array([line.value for line in lines], np.float64)
    blank = np.zeros(n, np.int32)
    return Columns(
        slot=slots,
        ts=np.array([line.ts for line in lines], np.int64),
        value=np.where(np.isfinite(value), value, np.nan),
        state=blank + NO_TEXT,
        quality=np.where(np.isfinite(value), int(Quality.GOOD), int(Quality.BAD)),
        seq=np.full(n, NO_SEQ, np.int64),
        entry=blank,
        index=np.arange(n, dtype=np.int32),
    )
