"""`/metrics`: what the processes count, and the books as they stand at this moment.

What comes from the books (everything in `BOOKED`) holds for the whole plant, and only processes that serve say it:
where several do they say the same, so take the maximum of it, not the sum. What processes count themselves
(`telemetry`) is theirs alone: add it up.
"""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from penstock.errors import Unavailable
from penstock.serve.answers import BalanceAnswer
from penstock.serve.balance import balance
from penstock.serve.tallies import ShardTally, Tallies

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
COUNTED: Final = ("received", "stored", "duplicate", "conflict", "quarantined", "late")
BOOKED: Final = {
    "penstock_store_up": "1 when the store answers.",
    **{f"penstock_readings_{name}_total": f"Readings {name}, since installation." for name in COUNTED},
    "penstock_readings_in_flight": "Durable readings not yet committed.",
    "penstock_balance_unaccounted_readings":
        "Received less everything that is known of them; anything but 0 is a defect.",
    "penstock_shard_lag_readings": "Durable readings not yet committed, by shard.",
    "penstock_lease_behind_seconds": "Age of what is taken next from a shard (iterator age), as its lease says.",
    "penstock_leases": "Shards by the worker that holds them; those that nobody holds under no name.",
    "penstock_producers": "Processes that put readings on a shared stream and said so within 30 s.",
}  # fmt: skip


class Books(NamedTuple):
    """What a scrape tells of the whole plant."""

    balance: BalanceAnswer
    shards: Sequence[ShardTally]
    producers: int | None


async def metrics(tallies: Tallies) -> bytes:
    """The text that Prometheus scrapes. While the store is away: what processes count, and that it is away."""
    try:
        books = Books(await balance(tallies), await tallies.shards(), await tallies.producers())
    except Unavailable:
        books = None
    return generate_latest(_processes()) + generate_latest(_once(Booked(books)))


class Booked(Collector):
    """The books as metrics."""

    def __init__(self, books: Books | None) -> None:
        self._books = books

    def collect(self) -> Iterator[Metric]:
        yield _gauge("penstock_store_up", int(self._books is not None))
        if self._books is None:
            return
        yield from _balance(self._books.balance)
        yield from _shards(self._books.shards)
        if self._books.producers is not None:
            yield _gauge("penstock_producers", self._books.producers)


def _balance(books: BalanceAnswer) -> Iterator[Metric]:
    for name in COUNTED:
        metric = f"penstock_readings_{name}_total"
        yield CounterMetricFamily(metric, BOOKED[metric], value=getattr(books, name))
    yield _gauge("penstock_readings_in_flight", books.in_flight)
    yield _gauge("penstock_balance_unaccounted_readings", books.unaccounted)


def _shards(shards: Sequence[ShardTally]) -> Iterator[Metric]:
    lag = _labelled("penstock_shard_lag_readings", "shard")
    behind = _labelled("penstock_lease_behind_seconds", "shard")
    for books, in_flight in shards:
        lag.add_metric([books.shard], in_flight)
        if books.behind_ms is not None:
            behind.add_metric([books.shard], books.behind_ms / 1_000)
    leases = _labelled("penstock_leases", "owner")
    holders = Counter(books.owner or "" if books.held else "" for books, _ in shards)
    for owner, held in holders.items():
        leases.add_metric([owner], held)
    yield from (lag, behind, leases)


def _gauge(name: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, BOOKED[name], value=value)


def _labelled(name: str, label: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, BOOKED[name], labels=[label])


def _processes() -> CollectorRegistry:
    """This process's counters, or those of all processes that share a directory."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return REGISTRY
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # prometheus_client's
    return registry


def _once(collector: Collector) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(collector)
    return registry
