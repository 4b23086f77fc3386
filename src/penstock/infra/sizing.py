"""Whether what is described holds what is asked of it, by the planner's own arithmetic."""

from collections.abc import Iterator
from typing import Final

from penstock.capacity import measured
from penstock.capacity.check import Given, check
from penstock.capacity.demand import Demand
from penstock.capacity.design import Design
from penstock.capacity.plan import fast_enough
from penstock.capacity.sizes import sizes_for
from penstock.infra.description import Deployment, TaskPart
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
CPU_UNITS: Final = 1_024


def too_small(deployment: Deployment) -> Iterator[Refusal]:
    """Everything that the declared peak, or the latency, is too much for."""
    stream = deployment.stream
    demand = Demand(peak=stream.peak_readings_per_s, latency_ms=deployment.watch.latency_ms)
    design = _design(deployment)
    asked = f"for {stream.peak_readings_per_s:,} readings/s, critical ones within {deployment.watch.latency_ms} ms"
    for one in check(demand, _given(deployment), design):
        yield Refusal(FIELDS[one.field], one.value, f"{one.needed} {one.unit} or more {asked}", one.mend)
    yield from _tasks(deployment, demand, design, asked)


def _design(deployment: Deployment) -> Design:
    """Our choices as the planner knows them."""
    api = deployment.api.doors
    only_by_gateway = "write" in api and deployment.door.kind == "private"
    return Design(
        region=deployment.region,
        zones=len(deployment.zones),
        database=deployment.database.engine,
        gateway="all" if only_by_gateway else "readers" if api else "none",
        critical_stream=deployment.stream.critical_shards > 0,
        fan_out=deployment.stream.fan_out,
        shards_min=1,
        tasks_min=1,
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


def _tasks(deployment: Deployment, demand: Demand, design: Design, asked: str) -> Iterator[Refusal]:
    """By their virtual CPUs in all: a few large tasks do as well as many small ones."""
    ours: dict[str, TaskPart] = {"ingest": deployment.ingest, "work": deployment.work, "serve": deployment.serve}
    for need in sizes_for(demand, fast_enough(demand, design)).tasks:
        part, wanted = ours[need.role], need.load * measured.HEADROOM
        if part.tasks_max * part.cpu / CPU_UNITS < wanted:
            least = -int(-wanted * CPU_UNITS // part.cpu)
            allowed = f"{wanted:.2f} virtual CPUs are needed {asked}"
            mend = f"--set {need.role}.tasks_max={least}, or a larger {need.role}.cpu"
            yield Refusal(f"{need.role}.tasks_max", part.tasks_max, allowed, mend)
