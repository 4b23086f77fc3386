"""Faults by name, at a time of our choosing: what a detector is shown, with the truth beside it."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

import numpy as np

from penstock.errors import Misconfigured
from penstock.model.batch import Floats, Mask
from penstock.simulate.plant import SECOND_US, Plant
from penstock.simulate.signals import values_at

FAULT_COLUMNS: Final = ("at_s", "kind", "tag", "duration_s", "size")
TRIP_SHARE: Final = 0.75
"""After this share of a step or a drift the machine itself reports FAULT."""
LATER_EVERY_S: Final = 420


class FaultKind(StrEnum):
    """What can be wrong with a sensor, or with what it measures."""

    SPIKE = "spike"
    STEP = "step"
    DRIFT = "drift"
    STUCK = "stuck"
    VARIANCE = "variance"
    NOISE = "noise"
    DROPOUT = "dropout"
    SILENCE = "silence"


TRIPPING: Final = frozenset({FaultKind.STEP, FaultKind.DRIFT})


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: *at_s* after the plant's start, for *duration_s*, of *size* spans (standstill to full load)."""

    at_s: float
    kind: FaultKind
    tag: str
    duration_s: float
    size: float = 1.0

    def progress(self, after_s: float) -> float | None:
        """0 to 1 while it lasts, else None."""
        share = (after_s - self.at_s) / self.duration_s
        return share if 0 <= share < 1 else None


def shipped_faults(plant: Plant, hours: float = 24.0) -> list[Fault]:
    """One slow and one fast fault in the first three minutes, then something every seven minutes or so."""
    random = np.random.default_rng([plant.seed, 2])
    measuring = [path for path, measures in zip(plant.paths, plant.measures, strict=True) if measures]
    first = [
        Fault(45, FaultKind.DRIFT, plant.find("press", "temperature"), 150, 1.3),
        Fault(100, FaultKind.STEP, plant.find("compressor", "pressure"), 45, 1.2),
    ]
    return first + [
        Fault(
            at_s=float(at_s + random.integers(0, 180)),
            kind=FaultKind(random.choice(list(FaultKind))),
            tag=str(random.choice(measuring)),
            duration_s=float(random.integers(60, 240)),
            size=float(random.uniform(0.8, 1.6)),
        )
        for at_s in range(LATER_EVERY_S, int(hours * 3_600), LATER_EVERY_S)
    ]


def read_faults(file: Path) -> list[Fault]:
    """A time table: CSV with the columns at_s, kind, tag, duration_s, size. Raises Misconfigured with the line."""
    with file.open(newline="", encoding="utf-8") as lines:
        return list(_faults(csv.DictReader(lines), file))


def _faults(rows: "csv.DictReader[str]", file: Path) -> Iterator[Fault]:
    for row in rows:
        try:
            at_s, duration_s, size = (float(row[name]) for name in ("at_s", "duration_s", "size"))
            yield Fault(at_s, FaultKind(row["kind"]), row["tag"], duration_s, size)
        except (KeyError, TypeError, ValueError) as error:
            columns = ",".join(FAULT_COLUMNS)
            raise Misconfigured("faults", f"{file}, line {rows.line_num}: {error}", f"write {columns}") from error


class FaultTable:
    """The faults of one plant, applied to its values moment by moment."""

    def __init__(self, plant: Plant, faults: Sequence[Fault], start_us: int) -> None:
        """Raises Misconfigured when a fault names a tag that the plant does not measure."""
        self._plant, self._start_us = plant, start_us
        measuring = np.flatnonzero(plant.measures)
        column = {plant.paths[place]: at for at, place in enumerate(measuring)}
        for fault in faults:
            if fault.tag not in column:
                raise Misconfigured("faults", f"the plant has no measuring tag {fault.tag}", "see `penstock tags list`")
        self._faults = [(fault, column[fault.tag]) for fault in faults]

    def active(self, ts_us: int) -> list[tuple[Fault, int, float]]:
        """Faults under way: with the column they are in, and how far they have come."""
        after_s = (ts_us - self._start_us) / SECOND_US
        found = ((fault, at, fault.progress(after_s)) for fault, at in self._faults)
        return [(fault, at, progress) for fault, at, progress in found if progress is not None]

    def apply(self, ts_us: int, values: Floats, noise: Floats) -> tuple[Floats, Mask]:
        """Values with their faults, and which of them are reported at all."""
        shown, reported = values.copy(), np.ones(values.size, bool)
        random = np.random.default_rng([self._plant.seed, 3, ts_us])
        for fault, at, progress in self.active(ts_us):
            size = fault.size * self._plant.span[at]
            match fault.kind:
                case FaultKind.SPIKE:
                    shown[at] += size if (progress * fault.duration_s) % 20 < 2 else 0.0  # noqa: PLR2004  # 2 s in 20
                case FaultKind.STEP:
                    shown[at] += size
                case FaultKind.DRIFT:
                    shown[at] += size * progress
                case FaultKind.STUCK:
                    shown[at] = values_at(self._plant, self._start_us + int(fault.at_s * SECOND_US))[0][at]
                case FaultKind.VARIANCE:
                    shown[at] += 10 * fault.size * noise[at]
                case FaultKind.NOISE:
                    shown[at] += 0.2 * size * random.uniform(-1, 1)
                case FaultKind.DROPOUT:
                    reported[at] = random.random() < 0.5  # noqa: PLR2004  # every other reading
                case FaultKind.SILENCE:
                    reported[at] = False
        return shown, reported

    def tripped(self, ts_us: int) -> set[int]:
        """Machines that report FAULT."""
        return {
            int(self._plant.machine[at])
            for fault, at, progress in self.active(ts_us)
            if fault.kind in TRIPPING and progress > TRIP_SHARE
        }


def write_truth(file: Path, faults: Sequence[Fault], start_us: int) -> None:
    """The faults as CSV with times in microseconds since 1970: what was really wrong, and when."""
    with file.open("w", newline="", encoding="utf-8") as lines:
        rows = csv.writer(lines)
        rows.writerow(("start_us", "end_us", "kind", "tag", "size"))
        for fault in faults:
            begins = start_us + int(fault.at_s * SECOND_US)
            rows.writerow((begins, begins + int(fault.duration_s * SECOND_US), fault.kind, fault.tag, fault.size))
