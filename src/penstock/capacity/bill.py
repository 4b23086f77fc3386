"""A month's bill: every line is a quantity, in the unit of its price, times that price."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from penstock.capacity import measured as m
from penstock.capacity.archive import INFREQUENT, INSTANT, STANDARD, moved_a_month
from penstock.capacity.demand import Demand
from penstock.capacity.design import Design
from penstock.capacity.prices import Price, Prices
from penstock.capacity.sizes import Sizes
from penstock.capacity.tasks import queries_per_s

H: Final = m.HOURS_A_MONTH
MILLION: Final = 1e6
GATEWAY_TIERS: Final = (
    ("api_gateway_first", 333.0),
    ("api_gateway_second", 667.0),
    ("api_gateway_third", 19_000.0),
    ("api_gateway_rest", float("inf")),
)
"""Price keys, and millions of requests that each is for."""
STORAGE: Final = {STANDARD: "s3_standard", INFREQUENT: "s3_infrequent", INSTANT: "s3_instant"}
"""Price keys of what lies there; those of moving there end in `_move`."""
METRICS_FIRST: Final = 10_000


class Line(NamedTuple):
    """*quantity* is in the unit of the price."""

    station: str
    quantity: float
    price: Price

    @property
    def usd(self) -> float:
        return self.quantity * self.price.usd


@dataclass(frozen=True, slots=True)
class Bill:
    """Of one month."""

    lines: tuple[Line, ...]

    @property
    def usd(self) -> float:
        return sum(line.usd for line in self.lines)

    def by_station(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for line in self.lines:
            found[line.station] = found.get(line.station, 0.0) + line.usd
        return found

    def unverified(self) -> tuple[Line, ...]:
        """What rests on a price that nobody checked, the dearest first."""
        return tuple(sorted((one for one in self.lines if not one.price.verified), key=lambda one: -one.usd))


Item = tuple[str, float]
"""A price's key, and how much of it a month uses."""


def bill_for(demand: Demand, design: Design, sizes: Sizes, prices: Prices) -> Bill:
    """In the month when the retention is full, which is the dearest. Lines of nothing are left out."""
    stations = {
        "door": door(demand, design, sizes),
        "stream": stream(demand, design, sizes),
        "tasks": tasks(sizes),
        "database": database(design, sizes),
        "cache": cache(design, sizes),
        "archive": archive(demand, design, sizes),
        "network": network(demand, design, sizes),
        "watch": watch(demand, design, sizes),
        "secrets": iter([("kms_key", design.keys), ("secret", design.secrets)]),
    }
    return Bill(
        tuple(
            Line(station, quantity, prices.at(key, design.region))
            for station, items in stations.items()
            for key, quantity in items
            if quantity
        )
    )


def door(demand: Demand, design: Design, sizes: Sizes) -> Iterator[Item]:
    """A capacity unit of a balancer is 1 GB an hour; its other measures are smaller here."""
    sent = m.ZSTD_BYTES if design.compressed else m.JSON_BYTES
    gb_an_hour = demand.average_per_s * (1 - demand.foreign) * sent * 3_600 / m.GB
    yield "alb_hour", H
    yield "alb_lcu", H * max(1.0, gb_an_hour)
    if design.gateway != "none":
        yield "nlb_hour", H
        yield "nlb_lcu", H * max(1.0, gb_an_hour if design.gateway == "all" else 0.0)
    written, read = (per_s * m.MONTH_S / MILLION for per_s in (sizes.requests_per_s, queries_per_s(demand)))
    through = {"all": written + read, "readers": read, "none": 0.0}[design.gateway]
    yield from _gateway(through)
    if design.waf_rules:
        walls = design.public + (design.gateway != "none")
        yield "waf_acl", walls
        yield "waf_rule", walls * design.waf_rules
        yield "waf_requests", through + (written + read if design.public else 0.0)


def _gateway(millions: float) -> Iterator[Item]:
    for key, most in GATEWAY_TIERS:
        yield key, min(millions, most)
        millions = max(0.0, millions - most)


def stream(demand: Demand, design: Design, sizes: Sizes) -> Iterator[Item]:
    yield "kinesis_shard", sizes.shards * H
    yield "kinesis_put", sizes.put_units_per_s * m.MONTH_S / MILLION
    if design.fan_out:
        yield "kinesis_fan_out_shard", sizes.shards * H
        yield "kinesis_fan_out_gb", stream_gb(demand, sizes)


def stream_gb(demand: Demand, sizes: Sizes) -> float:
    """A month's, on Kinesis, in readings of the peak's size."""
    bytes_per_s = sum(one.flow.bytes_per_s for one in sizes.streams)
    return bytes_per_s * demand.average * m.MONTH_S / m.GB


def tasks(sizes: Sizes) -> Iterator[Item]:
    """As many as the average needs: the services scale."""
    yield "fargate_vcpu", H * sum(of.average * of.size.vcpus for of in sizes.tasks)
    yield "fargate_gb", H * sum(of.average * of.size.gb for of in sizes.tasks)


def database(design: Design, sizes: Sizes) -> Iterator[Item]:
    needed = sizes.database
    if design.database == "aurora":
        yield "aurora_acu", H * design.copies * needed.acus_average
        yield "aurora_gb", needed.gb  # Aurora's copies share one storage
        yield "aurora_io", needed.ios_per_s * m.MONTH_S / MILLION
    else:
        yield needed.rds.price, H * design.copies * needed.rds.multiple
        yield "rds_gb", design.copies * rds_gb(sizes)


def rds_gb(sizes: Sizes) -> float:
    """Allocated: at least 20 GB, and a fifth free."""
    return max(20.0, sizes.database.gb / 0.8)


def cache(design: Design, sizes: Sizes) -> Iterator[Item]:
    node = sizes.cache.node
    yield node.price, H * design.redis_nodes * node.multiple


def archive(demand: Demand, design: Design, sizes: Sizes) -> Iterator[Item]:
    """And the database's snapshots, each of them whole."""
    for storage, gb in sizes.archive[-1].gb.items():
        yield STORAGE[storage], gb
    yield "s3_put", sizes.objects_a_month / 1e3
    for storage, files in moved_a_month(demand, design).items():
        yield f"{STORAGE[storage]}_move", files / 1e3
    snapshots = design.snapshots_a_year * demand.retention_years
    yield f"backup_{design.database}_gb", snapshots * sizes.database.gb


def network(demand: Demand, design: Design, sizes: Sizes) -> Iterator[Item]:
    """What is put on Kinesis and read from it goes through an endpoint, or a NAT gateway where there is none."""
    through = 2 * m.BASE64 * stream_gb(demand, sizes)
    yield "nat_hour", H * design.nat_gateways
    yield "nat_gb", 0.0 if design.kinesis_endpoint else through
    yield "endpoint_hour", H * design.zones * (design.endpoints + design.kinesis_endpoint)
    yield "endpoint_gb", through if design.kinesis_endpoint else 0.0
    stored_gb = demand.average_per_s * m.DATABASE_WIRE_BYTES * m.MONTH_S / m.GB
    yield "zone_gb", 2 * m.ZONE_CROSSED * stored_gb
    yield "efs_gb", design.efs_gb


def watch(demand: Demand, design: Design, sizes: Sizes) -> Iterator[Item]:
    logged = demand.average_per_s * m.MONTH_S * design.log_bytes / m.GB
    metrics = m.METRICS + (demand.tags if design.metric_a_tag else 0)
    requests = (sizes.requests_per_s + queries_per_s(demand)) * m.MONTH_S / MILLION
    yield "log_gb", logged + m.LOG_GB_A_TASK * sizes.tasks_average
    yield "metric_first", min(metrics, METRICS_FIRST)
    yield "metric_next", max(0, metrics - METRICS_FIRST)
    yield "alarm", design.alarms
    yield "dashboard", design.dashboards
    yield "trace", requests * m.TRACED if design.traced else 0.0
