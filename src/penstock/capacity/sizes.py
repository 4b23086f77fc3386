"""Everything a deployment consists of, sized for a demand."""

from dataclasses import dataclass

from penstock.capacity.archive import Year, archive_for, objects_a_month
from penstock.capacity.cache import Cache, cache_for
from penstock.capacity.database import Database, database_for
from penstock.capacity.demand import Demand
from penstock.capacity.design import Design
from penstock.capacity.latency import Latency, latency_for
from penstock.capacity.streams import Stream, put_units_per_s, requests_per_s, streams_for
from penstock.capacity.tasks import Tasks, tasks_for


@dataclass(frozen=True, slots=True)
class Sizes:
    """What must be there for the peak, and what a month of the average uses."""

    tasks: tuple[Tasks, ...]
    """Ingest, work, serve."""
    streams: tuple[Stream, ...]
    """Main, and critical where it has its own."""
    database: Database
    cache: Cache
    archive: tuple[Year, ...]
    latency: Latency
    requests_per_s: float
    """Of senders, on average."""
    put_units_per_s: float
    """On average."""
    objects_a_month: float

    @property
    def shards(self) -> int:
        return sum(stream.shards for stream in self.streams)

    @property
    def tasks_average(self) -> int:
        return sum(of.average for of in self.tasks)


def sizes_for(demand: Demand, design: Design) -> Sizes:
    """Raises Misconfigured where no size is enough."""
    tasks = tasks_for(demand, design)
    ingest = tasks[0]
    # more processes make smaller records: at the peak there are as many as the peak needs, on average fewer
    streams = streams_for(demand, design, ingest.peak)
    shards = sum(stream.shards for stream in streams)
    average = demand.average_per_s
    return Sizes(
        tasks=tasks,
        streams=streams,
        database=database_for(demand, design, sum(of.peak for of in tasks), shards),
        cache=cache_for(demand, design.redis_min),
        archive=archive_for(demand, design),
        latency=latency_for(demand, design),
        requests_per_s=requests_per_s(demand, design, average),
        put_units_per_s=put_units_per_s(demand, design, average, ingest.average),
        objects_a_month=objects_a_month(demand, design),
    )
