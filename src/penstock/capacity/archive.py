"""The archive in S3: bytes by storage class, in each year."""

from math import ceil
from typing import NamedTuple

from penstock.capacity import measured as m
from penstock.capacity.demand import Demand
from penstock.capacity.design import Design


class Year(NamedTuple):
    """What lies there at the end of a year."""

    year: int
    standard_gb: float
    deep_gb: float

    @property
    def tb(self) -> float:
        return (self.standard_gb + self.deep_gb) / 1e3


def archive_for(demand: Demand, design: Design) -> tuple[Year, ...]:
    """Year by year until the retention is full, which is when it costs most."""
    return tuple(_at_end_of(year, demand, design) for year in range(1, ceil(demand.retention_years) + 1))


def objects_a_month(demand: Demand, design: Design) -> float:
    """Segments of a full size, but one an hour at least."""
    size = design.object_readings or m.OBJECT_READINGS
    return max(demand.average_per_s * m.MONTH_S / size, m.HOURS_A_MONTH)


def reading_bytes(design: Design) -> float:
    return m.PARQUET_BYTES if design.parquet else m.JSON_BYTES


def _at_end_of(year: int, demand: Demand, design: Design) -> Year:
    """Bulk readings stay `bulk_days` in Standard; critical ones the retention, of it the first days in Standard."""
    age_days = year * m.YEAR_DAYS
    day_gb = demand.average_per_s * m.DAY_S * reading_bytes(design) / m.GB
    kept_days = min(age_days, demand.retention_years * m.YEAR_DAYS)
    young_days = min(kept_days, design.deep_after_days)
    bulk_gb = day_gb * (1 - demand.critical) * min(age_days, design.bulk_days)
    return Year(
        year,
        bulk_gb + day_gb * demand.critical * young_days,
        day_gb * demand.critical * (kept_days - young_days),
    )
