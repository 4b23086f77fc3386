"""Processors and memory: how many Fargate tasks of which size, at the peak and on average."""

from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple

from penstock.capacity import measured as m
from penstock.capacity.demand import Demand
from penstock.capacity.design import Design
from penstock.capacity.streams import bulk, critical, requests_per_s
from penstock.errors import Misconfigured

Load = Callable[[float, int], float]
"""vCPUs that so many readings a second cost so many tasks together; it may grow with their number."""


class Size(NamedTuple):
    """Of a Fargate task, as AWS sells them."""

    vcpus: float
    gb: float

    @property
    def usable(self) -> float:
        return self.vcpus * m.LOAD_MAX


SIZES: Final = (Size(0.25, 0.5), Size(0.25, 1), Size(0.5, 1), Size(0.5, 2), Size(1, 2), Size(1, 4), Size(1, 8))
"""A Python process uses one processor: what needs more needs more tasks."""
VCPUS_MAX: Final = 1
TASKS_MAX: Final = 10_000
"""Every page's process follows every commit, so there is a rate that no number of them carries."""


class Tasks(NamedTuple):
    """Of one role. *load*: vCPUs they use at the peak, all together."""

    role: str
    size: Size
    peak: int
    average: int
    load: float


def tasks_for(demand: Demand, design: Design) -> tuple[Tasks, ...]:
    """Of ingest, work and serve."""
    process_gb = m.PROCESS_MB / 1e3
    tags_gb = demand.tags * m.TAG_KB / 1e6
    return (
        _fit("ingest", partial(ingest_load, demand, design), process_gb, demand, design),
        _fit("work", work_load, process_gb + tags_gb, demand, design),
        _fit("serve", partial(serve_load, demand), process_gb + tags_gb, demand, design),
    )


def ingest_load(demand: Demand, design: Design, rate: float, tasks: int) -> float:
    """Requests, their readings, and the records they become. One record a reading is left to API Gateway to put."""
    own = rate * (1 - demand.foreign)
    records = 0.0
    if design.aggregated:
        records = sum(lane(demand, design, rate, tasks).records_per_s for lane in (bulk, critical))
    return _vcpus(requests_per_s(demand, design, rate) * m.REQUEST_US + own * m.READING_US + records * m.RECORD_US)


def work_load(rate: float, tasks: int) -> float:  # noqa: ARG001  # tasks share the shards, and nothing is done twice
    """Take, validate, detect, write: a reading costs the same however many share the work."""
    return _vcpus(rate * m.WORK_US)


def serve_load(demand: Demand, rate: float, tasks: int) -> float:
    """Each task follows every commit; queries are shared."""
    return _vcpus(tasks * rate * m.FOLLOW_US + queries_per_s(demand) * m.QUERY_US)


def queries_per_s(demand: Demand) -> float:
    return demand.readers * m.READER_QUERIES_PER_S


def _vcpus(us_per_s: float) -> float:
    return us_per_s * m.FARGATE_FACTOR / 1e6


def _fit(role: str, load: Load, gb: float, demand: Demand, design: Design) -> Tasks:
    """The smallest size of which the fewest tasks allowed suffice; else as many of one vCPU as it takes."""
    roomy = [size for size in SIZES if size.gb >= gb]
    if not roomy:
        raise Misconfigured("demand.tags", f"{demand.tags:,} need {gb:.0f} GB a task", "share them among plants")
    fewest = design.tasks_min
    enough = (size for size in roomy if load(demand.peak, fewest) <= fewest * size.usable)
    size = next(enough, next(size for size in roomy if size.vcpus == VCPUS_MAX))
    peak, average = (_how_many(role, partial(load, rate), size, fewest) for rate in (demand.peak, demand.average_per_s))
    return Tasks(role, size, peak, average, load(demand.peak, peak))


def _how_many(role: str, load: Callable[[int], float], size: Size, fewest: int) -> int:
    for tasks in range(fewest, TASKS_MAX):
        if load(tasks) <= tasks * size.usable:
            return tasks
    raise Misconfigured("demand.peak", f"no number of {role} tasks carries it", "share the tags among plants")
