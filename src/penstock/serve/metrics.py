"""`/metrics`: what the processes count, and the books as they stand at this moment."""

import os
from collections.abc import Iterator
from typing import Final

from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from penstock.errors import Unavailable
from penstock.serve.answers import BalanceAnswer
from penstock.serve.balance import balance, lag_of
from penstock.store.accounts import Accounts
from penstock.stream.port import Stream
from penstock.telemetry import LAG

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
_COUNTED: Final = ("received", "stored", "duplicate", "conflict", "quarantined", "late")


async def metrics(accounts: Accounts, stream: Stream) -> bytes:
    """The text that Prometheus scrapes. While the store is away: what processes count, and that it is away."""
    try:
        books = await balance(accounts, stream)
        lags = lag_of(await accounts.shards(), stream.identity, await stream.totals())
        for shard, lag in lags.items():
            LAG.labels(shard).set(lag)
    except Unavailable:
        books = None
    return generate_latest(_processes()) + generate_latest(_once(Books(books)))


class Books(Collector):
    """The balance as metrics."""

    def __init__(self, books: BalanceAnswer | None) -> None:
        self._books = books

    def collect(self) -> Iterator[Metric]:
        up = GaugeMetricFamily("penstock_store_up", "1 when the store answers.", value=float(self._books is not None))
        yield up
        if self._books is None:
            return
        for name in _COUNTED:
            text = f"Readings {name}, since installation."
            yield CounterMetricFamily(f"penstock_readings_{name}", text, value=getattr(self._books, name))
        yield GaugeMetricFamily(
            "penstock_readings_in_flight", "Durable readings not yet committed.", value=self._books.in_flight
        )
        yield GaugeMetricFamily(
            "penstock_balance_unaccounted_readings",
            "Received less everything that is known of them; anything but 0 is a defect.",
            value=self._books.unaccounted,
        )


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
