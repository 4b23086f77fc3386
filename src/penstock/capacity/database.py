"""PostgreSQL: processors, memory and disk, as Aurora capacity units or as a class of RDS."""

from math import ceil, isfinite
from typing import Final, NamedTuple

from penstock.capacity import measured as m
from penstock.capacity.demand import Demand
from penstock.capacity.design import Design
from penstock.capacity.tasks import queries_per_s

ACU_GIB: Final = 2.0
ACU_VCPUS: Final = 0.25
"""AWS gives a unit 2 GiB and says 4 of them make a vCPU."""
ACU_STEP: Final = 0.5


class Class(NamedTuple):
    """Of RDS. *price*: the key whose price it costs *multiple* times."""

    name: str
    vcpus: float
    gib: float
    price: str
    multiple: int


CLASSES: Final = (
    Class("db.t4g.medium", 0.4, 4, "rds_t4g_medium", 1),  # burstable: it may use a fifth of 2 vCPUs for ever
    Class("db.m7g.large", 2, 8, "rds_m7g_large", 1),
    Class("db.m7g.xlarge", 4, 16, "rds_m7g_large", 2),
    Class("db.m7g.2xlarge", 8, 32, "rds_m7g_large", 4),
    Class("db.m7g.4xlarge", 16, 64, "rds_m7g_large", 8),
    Class("db.m7g.8xlarge", 32, 128, "rds_m7g_large", 16),
    Class("db.m7g.16xlarge", 64, 256, "rds_m7g_large", 32),
)


class Database(NamedTuple):
    """What PostgreSQL needs. *average* is what Aurora would scale down to."""

    vcpus: float
    """In use at the peak."""
    gib: float
    acus: float
    acus_average: float
    rds: Class
    """The smallest that holds it, or the largest there is."""
    hot_gb: float
    rollup_gb: float
    wal_bytes_per_s: float
    ios_per_s: float
    """On average, as Aurora counts them."""

    @property
    def gb(self) -> float:
        """On disk when the retention is full."""
        return self.hot_gb + self.rollup_gb


def database_for(demand: Demand, design: Design, tasks: int, shards: int) -> Database:
    """*tasks*: of all roles, each with its connections."""
    gib = memory_gib(demand, design, tasks)
    at_peak = vcpus(demand, design, demand.peak)
    on_average = vcpus(demand, design, demand.average_per_s)
    fitting = (one for one in CLASSES if one.vcpus * m.LOAD_MAX >= at_peak and one.gib >= gib)
    return Database(
        vcpus=at_peak,
        gib=gib,
        acus=_acus(at_peak, gib, design.acus_min),
        acus_average=_acus(on_average, gib, design.acus_min),
        rds=next(fitting, CLASSES[-1]),
        hot_gb=hot_gb(demand, design),
        rollup_gb=rollup_gb(demand, design),
        wal_bytes_per_s=demand.peak * m.WAL_BYTES,
        ios_per_s=ios_per_s(demand, design, shards),
    )


def vcpus(demand: Demand, design: Design, rate: float) -> float:
    """Writing and sealing *rate* readings a second, and the readers' queries."""
    each_us = m.POSTGRES_US if design.flushed else m.ONE_INSERT_US
    return (rate * each_us + queries_per_s(demand) * m.QUERY_US) / 1e6


def memory_gib(demand: Demand, design: Design, tasks: int) -> float:
    """PostgreSQL itself, the tasks' connections, and an hour of readings that are asked for again and again."""
    hour_mb = demand.average_per_s * 3_600 * stored_bytes(design) / 1e6
    return (m.POSTGRES_MB + tasks * m.CONNECTIONS * m.CONNECTION_MB + hour_mb) * 1e6 / 2**30


def stored_bytes(design: Design) -> float:
    """A reading's, at rest."""
    return m.STORED_BYTES if design.packed else m.ROW_BYTES


def hot_gb(demand: Demand, design: Design) -> float:
    """Bulk readings for `hot_days`, critical ones for `critical_days`."""
    bulk_days, critical_days = (_days(days, demand) for days in (design.hot_days, design.critical_days))
    days = (1 - demand.critical) * bulk_days + demand.critical * critical_days
    return demand.average_per_s * m.DAY_S * days * stored_bytes(design) / m.GB


def rollup_gb(demand: Demand, design: Design) -> float:
    """A row a tag and minute for `minute_days`, a row a tag and hour for the retention."""
    minutes = _days(design.minute_days, demand) * 1_440 * m.MINUTE_BYTES
    hours = demand.retention_years * m.YEAR_DAYS * 24 * m.HOUR_BYTES
    return demand.tags * (minutes + hours) / m.GB


def ios_per_s(demand: Demand, design: Design, shards: int) -> float:
    """On average: pages of log, and one for every commit."""
    if not design.flushed:
        return demand.average_per_s
    commits = min(demand.average_per_s, m.FLUSHES_PER_S * shards)
    return demand.average_per_s * m.WAL_BYTES / m.PAGE_BYTES + commits


def _days(days: float, demand: Demand) -> float:
    """What never leaves is counted when the retention is full."""
    return days if isfinite(days) else demand.retention_years * m.YEAR_DAYS


def _acus(vcpus: float, gib: float, least: float) -> float:
    needed = max(least, vcpus / m.LOAD_MAX / ACU_VCPUS, gib / ACU_GIB)
    return ceil(needed / ACU_STEP) * ACU_STEP
