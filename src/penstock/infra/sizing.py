"""Whether what is described holds what is asked of it, by the planner's own arithmetic."""

from collections.abc import Iterator
from math import ceil
from typing import Final

from penstock.capacity import measured
from penstock.capacity.bill import rds_gb
from penstock.capacity.check import Given, check
from penstock.capacity.database import ACU_GIB, CLASSES
from penstock.capacity.demand import Demand
from penstock.capacity.design import NEVER, Design
from penstock.capacity.plan import fast_enough
from penstock.capacity.sizes import Sizes, sizes_for
from penstock.errors import Misconfigured
from penstock.infra.description import DatabasePart, Deployment
from penstock.infra.refusal import Refusal

FIELDS: Final = {
    "shards": "stream.shards",
    "critical_shards": "stream.critical_shards",
    "acus": "database.acu_max",
    "rds_class": "database.instance",
    "redis_node": "cache.node",
    "latency_ms": "watch.latency_ms",
    "requests_per_s": "api.doors",
}
"""What the planner calls our fields."""
BATCH_MAX: Final = 20_000
YEARS_MIN: Final = 0.1
"""The planner's limits."""
CPU_UNITS: Final = 1_024
CONNECTION_BYTES: Final = 9_531_392
"""PostgreSQL at RDS allows a connection for so much of the memory it is left, unless it is told otherwise."""
MEMORY_LEFT: Final = 0.84
"""Least of Amazon's table: a unit of 2 GiB takes 189 connections, where all of it would take 225; larger ones are
left more."""
CONNECTIONS_MAX: Final = 5_000
CONNECTIONS_MAX_HALF: Final = 2_000
"""Aurora's, where it may shrink to half a capacity unit."""
RDS_GB: Final = 65_536
AURORA_GB: Final = 140_737
"""What AWS gives a database at most: 64 TiB of gp3, 128 TiB of Aurora's."""
SHORTER: Final = "lower history.keep_days, keep_critical_days or keep_minutes_days"
UNKNOWN_GIB: Final = 4
"""Of a class that the planner does not know: as little as any of them has."""


def too_small(deployment: Deployment) -> Iterator[Refusal]:
    """Everything that the declared peak, or the latency, is too much for."""
    stream = deployment.stream
    demand, design = demand_of(deployment), design_of(deployment)
    asked = f"for {stream.peak_readings_per_s:,} readings/s, critical ones within {deployment.watch.latency_ms} ms"
    try:
        short, sizes = check(demand, _given(deployment), design), sizes_for(demand, fast_enough(demand, design))
    except Misconfigured as error:
        yield Refusal("stream.peak_readings_per_s", stream.peak_readings_per_s, error.why, error.mend)
        return
    for one in short:
        unit = f" {one.unit}" if one.unit else ""
        yield Refusal(FIELDS[one.field], one.value, f"{one.needed}{unit} or more {asked}", one.mend)
    yield from _tasks(deployment, sizes, asked)
    yield from _disk(deployment, sizes, asked)
    yield from _connections(deployment)


def connections_of(part: DatabasePart) -> int:
    """How many the database takes when it is at its largest, by its memory."""
    known = {one.name: one.gib for one in CLASSES}
    is_aurora = part.engine == "aurora"
    gib = part.acu_max * ACU_GIB if is_aurora else known.get(part.instance, UNKNOWN_GIB)
    most = CONNECTIONS_MAX_HALF if is_aurora and part.acu_min < 1 else CONNECTIONS_MAX
    return min(int(MEMORY_LEFT * gib * 2**30 / CONNECTION_BYTES), most)


def demand_of(deployment: Deployment) -> Demand:
    """What is declared, as the planner asks for it. What the gateway's clients send in a request follows from both."""
    peak, days = deployment.stream.peak_readings_per_s, deployment.archive.days
    told: dict[str, int] = {}
    if {"write", "all"} & set(deployment.api.doors):
        told["readings_a_request"] = min(max(1, round(peak * 60 / deployment.api.requests_per_minute)), BATCH_MAX)
    years = max(YEARS_MIN, days / measured.YEAR_DAYS)
    return Demand(peak=peak, latency_ms=deployment.watch.latency_ms, retention_years=years, **told)


def design_of(deployment: Deployment) -> Design:
    """Our choices as the planner knows them."""
    api, history, archive = deployment.api.doors, deployment.history, deployment.archive
    only_by_gateway = {"write", "all"} & set(api) and deployment.door.kind == "private"
    return Design(
        region=deployment.region,
        zones=len(deployment.zones),
        database=deployment.database.engine,
        gateway="all" if only_by_gateway else "readers" if api else "none",
        critical_stream=deployment.stream.critical_shards > 0,
        fan_out=deployment.stream.fan_out,
        shards_min=1,
        tasks_min=1,
        hot_days=history.keep_days or NEVER,
        critical_days=history.keep_critical_days or NEVER,
        minute_days=history.keep_minutes_days or NEVER,
        archive_days=archive.days,
        standard_days=archive.standard_days or NEVER,
        colder_days=archive.colder_days,
        snapshots_a_year=archive.backups_a_year,
    )


def _given(deployment: Deployment) -> Given:
    """What is left to Kinesis or to the other engine is not checked."""
    stream, database = deployment.stream, deployment.database
    is_aurora = database.engine == "aurora"
    return Given(
        shards=None if stream.on_demand else stream.shards,
        critical_shards=None if stream.on_demand else stream.critical_shards or None,
        acus=database.acu_max if is_aurora else None,
        rds_class=None if is_aurora else database.instance,
        redis_node=deployment.cache.node,
        fan_out=stream.fan_out,
    )


def _tasks(deployment: Deployment, sizes: Sizes, asked: str) -> Iterator[Refusal]:
    """By their virtual CPUs in all: a few large tasks do as well as many small ones."""
    ours = deployment.roles
    for need in sizes.tasks:
        part, wanted = ours[need.role], need.load * measured.HEADROOM
        if part.tasks_max * part.cpu / CPU_UNITS < wanted:
            least = ceil(wanted * CPU_UNITS / part.cpu)
            allowed = f"{wanted:.2f} virtual CPUs are needed {asked}"
            mend = f"--set {need.role}.tasks_max={least}, or a larger {need.role}.cpu"
            yield Refusal(f"{need.role}.tasks_max", part.tasks_max, allowed, mend)


def _disk(deployment: Deployment, sizes: Sizes, asked: str) -> Iterator[Refusal]:
    """RDS' storage grows as far as it is let; Aurora's by itself, as far as there is any."""
    part, disk_gb = deployment.database, ceil(rds_gb(sizes))
    if part.engine == "aurora":
        if sizes.database.gb > AURORA_GB:
            allowed = f"it ends at {AURORA_GB:,} GB; {sizes.database.gb:,.0f} are needed {asked}, {_stays(deployment)}"
            yield Refusal("database.engine", "aurora", allowed, SHORTER)
    elif part.storage_max_gb < disk_gb:
        larger = f"--set database.storage_max_gb={disk_gb}, or " if disk_gb <= RDS_GB else ""
        allowed = f"{disk_gb:,} GB or more {asked}, {_stays(deployment)}"
        yield Refusal("database.storage_max_gb", part.storage_max_gb, allowed, larger + SHORTER)


def _stays(deployment: Deployment) -> str:
    """What PostgreSQL keeps, in words."""
    history, days = deployment.history, deployment.archive.days
    kept = {
        "readings": history.keep_days,
        "critical ones": history.keep_critical_days,
        "rollups by the minute": history.keep_minutes_days,
    }
    ever = f"for ever (counted as archive.days, {days:,})"
    return "with " + ", ".join(f"{what} {f'{stay:,} days' if stay else ever}" for what, stay in kept.items())


def _connections(deployment: Deployment) -> Iterator[Refusal]:
    """Tasks that scale beyond what the database takes would fail together, at the worst moment."""
    roles = deployment.roles
    most, allowed = sum(part.tasks_max for part in roles.values()), connections_of(deployment.database)
    if most * measured.CONNECTIONS > allowed:
        widest = max(roles, key=lambda role: roles[role].tasks_max)
        why = f"all tasks_max make {most}, each with {measured.CONNECTIONS} connections; the database takes {allowed:,}"
        larger = "acu_max" if deployment.database.engine == "aurora" else "instance"
        mend = f"let fewer scale, or a larger database.{larger}"
        yield Refusal(f"{widest}.tasks_max", roles[widest].tasks_max, why, mend)
