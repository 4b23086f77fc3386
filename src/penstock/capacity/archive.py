"""The archive in S3: how long files of each class lie in which storage, and the bytes there in each year."""

from collections.abc import Iterator, Mapping
from itertools import pairwise
from math import ceil, inf, isfinite
from typing import Final, NamedTuple

from penstock.capacity import measured as m
from penstock.capacity.demand import Demand
from penstock.capacity.design import Design

STANDARD: Final = "STANDARD"
INFREQUENT: Final = "STANDARD_IA"
INSTANT: Final = "GLACIER_IR"
LEAST_DAYS: Final[Mapping[str, int]] = {INFREQUENT: 30, INSTANT: 90}
"""AWS, S3 pricing: what goes sooner is paid for as if it had stayed so long."""
INSTANT_AFTER_DAYS: Final = 365
"""Age at which files move to Glacier Instant Retrieval; later where they stay in S3 Standard for longer."""
GRACE_DAYS: Final = 30
"""A file expires so long after its lock has ended."""
REMOVED_DAYS: Final = 30
"""What has expired is an old version of nothing, and is removed so much later."""
STANDARD_REMOVED_DAYS: Final = 1
"""Likewise of files without critical readings: most of the archive, and its dearest storage."""


class Step(NamedTuple):
    """From so many days of age on files lie in *storage*, as S3 calls it."""

    days: float
    storage: str


class Kept(NamedTuple):
    """Files of one class: all readings, or critical ones and others apart."""

    share: float
    """Of the readings."""
    locked_days: float
    removed_days: float
    """Age at which they are gone."""
    moves: tuple[Step, ...]


class Year(NamedTuple):
    """What lies there at the end of a year; of the last one, when as much is removed as is added."""

    year: int
    gb: Mapping[str, float]
    """By storage."""

    @property
    def tb(self) -> float:
        return sum(self.gb.values()) / 1e3


def moves(colder_days: float, locked_days: float) -> tuple[Step, ...]:
    """Where files that are locked for so long go as they age: to no storage that they would leave before its time."""
    taken: list[Step] = []
    end = locked_days
    for step in (Step(max(INSTANT_AFTER_DAYS, colder_days), INSTANT), Step(colder_days, INFREQUENT)):
        if step.days + LEAST_DAYS[step.storage] <= end:
            taken.insert(0, step)
            end = step.days
    return tuple(taken)


def classes(demand: Demand, design: Design) -> Iterator[Kept]:
    """One where all readings are kept as long as critical ones, else two."""
    retention_days = demand.retention_years * m.YEAR_DAYS
    apart = isfinite(design.standard_days)
    share = demand.critical if apart else 1.0
    removed_days = retention_days + GRACE_DAYS + REMOVED_DAYS
    yield Kept(share, retention_days, removed_days, moves(design.colder_days, retention_days))
    if apart:
        days = design.standard_days
        removed_days = days + GRACE_DAYS + STANDARD_REMOVED_DAYS
        yield Kept(1 - share, days, removed_days, moves(design.colder_days, days))


def archive_for(demand: Demand, design: Design) -> tuple[Year, ...]:
    """Year by year until the retention is full, which is when it costs most."""
    last = ceil(demand.retention_years)
    ages_days = [*(year * m.YEAR_DAYS for year in range(1, last)), inf]
    return tuple(_at_end_of(year, age, demand, design) for year, age in enumerate(ages_days, 1))


def objects_a_month(demand: Demand, design: Design) -> float:
    """What is put: files, and a manifest a day. What comes late is not counted: two more a day at most."""
    return m.MONTH_S / m.DAY_S + sum(_files_a_month(one, demand, design) for one in classes(demand, design))


def moved_a_month(demand: Demand, design: Design) -> Mapping[str, float]:
    """Files that move to each storage. Manifests are too small to move."""
    found: dict[str, float] = {}
    for one in classes(demand, design):
        for step in one.moves:
            found[step.storage] = found.get(step.storage, 0.0) + _files_a_month(one, demand, design)
    return found


def reading_bytes(design: Design) -> float:
    return m.PARQUET_BYTES if design.parquet else m.JSON_BYTES


def _files_a_month(kept: Kept, demand: Demand, design: Design) -> float:
    """Of a full size, but one a day at least."""
    readings = demand.average_per_s * kept.share * m.MONTH_S
    return max(readings / (design.object_readings or m.OBJECT_READINGS), m.MONTH_S / m.DAY_S if readings else 0.0)


def _at_end_of(year: int, age_days: float, demand: Demand, design: Design) -> Year:
    day_gb = demand.average_per_s * m.DAY_S * reading_bytes(design) / m.GB
    found: dict[str, float] = {}
    for kept in classes(demand, design):
        oldest_days = min(age_days, kept.removed_days)
        for since, until in pairwise([Step(0, STANDARD), *kept.moves, Step(inf, "")]):
            days = max(0.0, min(until.days, oldest_days) - since.days)
            found[since.storage] = found.get(since.storage, 0.0) + day_gb * kept.share * days
    return Year(year, found)
