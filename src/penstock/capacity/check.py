"""Does what is given hold what is demanded? Asked by the command line, and by synth before anything is made."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil, isfinite
from typing import NamedTuple

from penstock.capacity import measured as m
from penstock.capacity.cache import NODES
from penstock.capacity.database import CLASSES
from penstock.capacity.demand import Demand
from penstock.capacity.design import Design, design_of
from penstock.capacity.latency import latency_for
from penstock.capacity.plan import fast_enough
from penstock.capacity.sizes import Sizes, sizes_for
from penstock.capacity.streams import requests_per_s
from penstock.errors import Misconfigured


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What a profile or an operator has settled on; None is not checked."""

    shards: int | None = None
    """Of the main stream."""
    critical_shards: int | None = None
    """Of the critical lane's own stream."""
    tasks: int | None = None
    """Most that each of ingest, work and serve may scale to."""
    acus: float | None = None
    """Most that Aurora may scale to."""
    rds_class: str | None = None
    redis_node: str | None = None
    retention_days: float | None = None
    """Of critical readings."""
    fan_out: bool | None = None
    """Whether workers are pushed to or poll; checked against the latency budget."""

    def __post_init__(self) -> None:
        for name in ("acus", "retention_days"):
            value = getattr(self, name)
            if value is not None and not isfinite(value):
                raise Misconfigured(f"given.{name}", f"{value} is no number", "give what you have settled on")


class Shortfall(NamedTuple):
    """A *field* that is given too small for the demand. *mend* is a sentence for whoever set it."""

    field: str
    value: object
    needed: object
    unit: str
    mend: str

    def __str__(self) -> str:
        return f"{self.field} = {self.value} {self.unit}, needed: {self.needed}. Mend: {self.mend}"


def check(demand: Demand, given: Given, design: Design | None = None) -> list[Shortfall]:
    """Everything that does not hold; empty when all does. *design*: as the demand's size recommends by default."""
    design = design or design_of(None, demand)
    sizes = sizes_for(demand, fast_enough(demand, design))
    return [
        *_door(demand, design),
        *_streams(given, sizes),
        *_tasks(given, sizes),
        *_database(given, design, sizes),
        *_cache(given, sizes),
        *_retention(demand, given),
        *_latency(demand, given, design),
    ]


def _door(demand: Demand, design: Design) -> Iterator[Shortfall]:
    if design.gateway == "all":
        needed = ceil(requests_per_s(demand, design, demand.peak))
        mend = "put more readings into a request, or ask AWS for a higher quota"
        yield from _less("requests_per_s", m.GATEWAY_REQUESTS_PER_S, needed, "through API Gateway", mend)


def _streams(given: Given, sizes: Sizes) -> Iterator[Shortfall]:
    shards = {"main": ("shards", given.shards), "critical": ("critical_shards", given.critical_shards)}
    for stream in sizes.streams:
        field, value = shards[stream.name]
        flow = stream.flow
        mend = (
            f"{flow.bytes_per_s / 1e6:.2f} MB/s and {flow.records_per_s:,.0f} records/s at peak, times "
            f"{m.HEADROOM}: give {stream.shards} shards, or larger batches"
        )
        yield from _less(field, value, stream.shards, "shards", mend)


def _tasks(given: Given, sizes: Sizes) -> Iterator[Shortfall]:
    for of in sizes.tasks:
        mend = f"{of.role} uses {of.load:.2f} vCPU at peak: let it scale to {of.peak} tasks of {of.size.vcpus:g} vCPU"
        yield from _less("tasks", given.tasks, of.peak, f"{of.role} tasks", mend)


def _database(given: Given, design: Design, sizes: Sizes) -> Iterator[Shortfall]:
    needed = sizes.database
    if design.database == "aurora":
        value = design.acus_max if given.acus is None else given.acus
        mend = f"{needed.vcpus:.2f} vCPU and {needed.gib:.1f} GiB at peak: let Aurora scale so far, or share the tags"
        yield from _less("acus", value, needed.acus, "ACUs", mend)
    elif given.rds_class is not None:
        names = [one.name for one in CLASSES]
        yield from _smaller("rds_class", given.rds_class, needed.rds.name, names)


def _cache(given: Given, sizes: Sizes) -> Iterator[Shortfall]:
    if given.redis_node is not None:
        yield from _smaller("redis_node", given.redis_node, sizes.cache.node.name, [node.name for node in NODES])


def _retention(demand: Demand, given: Given) -> Iterator[Shortfall]:
    days = round(demand.retention_years * m.YEAR_DAYS)
    mend = f"{demand.retention_years:g} years are demanded: keep critical readings {days:,} days"
    yield from _less("retention_days", given.retention_days, days, "days", mend)


def _latency(demand: Demand, given: Given, design: Design) -> Iterator[Shortfall]:
    """The budget is the demand's: what falls short is the way that critical readings take."""
    chosen = fast_enough(demand, design) if given.fan_out is None else replace(design, fan_out=given.fan_out)
    taken_ms = latency_for(demand, chosen).critical_ms
    if taken_ms > demand.latency_ms:
        pushed_ms = latency_for(demand, replace(design, fan_out=True)).critical_ms
        least = f"{pushed_ms:.0f} ms is the least that can be promised"
        mend = "set stream.fan_out" if pushed_ms <= demand.latency_ms else least
        yield Shortfall("latency_ms", f"{demand.latency_ms:g}", f"{taken_ms:.0f}", "ms", mend)


def _less(field: str, value: float | None, needed: float, unit: str, mend: str) -> Iterator[Shortfall]:
    if value is not None and value < needed:
        yield Shortfall(field, value, needed, unit, mend)


def _smaller(field: str, value: str, needed: str, rising: list[str]) -> Iterator[Shortfall]:
    """Of classes that are listed; others are somebody's own choice."""
    if value in rising and rising.index(value) < rising.index(needed):
        yield Shortfall(field, value, needed, "", f"take {needed} or larger")
