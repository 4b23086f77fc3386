"""What a plan says, as rows for people and as plain values for machines."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from penstock.capacity import measured as m
from penstock.capacity.archive import reading_bytes
from penstock.capacity.bill import Bill
from penstock.capacity.check import Shortfall
from penstock.capacity.database import stored_bytes
from penstock.capacity.plan import Plan
from penstock.capacity.prices import Price
from penstock.capacity.streams import Stream
from penstock.capacity.tasks import Tasks


class Need(NamedTuple):
    """Something that must be there, and the arithmetic that says so."""

    what: str
    needed: str
    because: str


def needs(plan: Plan) -> Iterator[Need]:
    """From the sensors to the archive."""
    sizes, design = plan.ours.sizes, plan.ours.design
    yield from (_shards(stream) for stream in sizes.streams)
    yield from (_tasks(of) for of in sizes.tasks)
    base = sizes.database
    if design.database == "aurora":
        yield Need(
            "Aurora capacity",
            f"{base.acus:g} ACUs x {design.copies}",
            f"{base.vcpus:.2f} vCPU / {m.LOAD_MAX} x 4, {base.gib:.2f} GiB / 2; {base.acus_average:g} on average",
        )
    else:
        yield Need("RDS", f"{base.rds.name} x {design.copies}", f"{base.vcpus:.2f} vCPU, {base.gib:.2f} GiB")
    yield Need(
        "PostgreSQL disk",
        f"{base.gb:,.0f} GB",
        f"readings {base.hot_gb:,.0f}, rollups {base.rollup_gb:,.0f}; {base.wal_bytes_per_s / 1e6:.2f} MB/s of WAL",
    )
    node = sizes.cache.node.name
    yield Need("Redis", f"{node} x {design.redis_nodes}", f"{sizes.cache.gib:.2f} GiB of {plan.demand.tags:,} tags")
    full = sizes.archive[-1]
    yield Need(
        f"S3 in year {full.year}", f"{full.tb:,.2f} TB", f"{full.deep_gb / 1e3:,.2f} TB of it in Glacier Deep Archive"
    )


def _shards(stream: Stream) -> Need:
    flow = stream.flow
    because = (
        f"{m.HEADROOM} x max({flow.bytes_per_s / 1e6:.2f} MB/s, {flow.records_per_s / 1e3:.2f} thousand records/s); "
        f"{flow.readings_a_record:.0f} readings of {flow.bytes_a_reading:.1f} B a record"
    )
    return Need(f"Kinesis, {stream.name}", f"{stream.shards} shards", because)


def _tasks(of: Tasks) -> Need:
    size = f"{of.size.vcpus:g} vCPU, {of.size.gb:g} GB"
    because = f"{of.load:.2f} vCPU / {m.LOAD_MAX} at peak; {of.average} on average"
    return Need(f"Fargate, {of.role}", f"{of.peak} x {size}", because)


def as_values(plan: Plan, shortfalls: Iterable[Shortfall] = ()) -> dict[str, Any]:
    """Names and units as they stand in the fields; dollars a month."""
    demand, sizes, design = plan.demand, plan.ours.sizes, plan.ours.design
    base = sizes.database
    return {
        "profile": plan.profile,
        "region": design.region,
        "demand": {name: getattr(demand, name) for name in demand.__dataclass_fields__},
        "shards": {stream.name: stream.shards for stream in sizes.streams},
        "streams": [
            {"name": one.name, "shards": one.shards, **one.flow._asdict(), "bytes_per_s": one.flow.bytes_per_s}
            for one in sizes.streams
        ],
        "tasks": [{**of._asdict(), "size": of.size._asdict()} for of in sizes.tasks],
        "database": {**base._asdict(), "rds": base.rds.name, "kind": design.database, "gb": base.gb},
        "redis": {"node": sizes.cache.node.name, "nodes": design.redis_nodes, "gib": sizes.cache.gib},
        "archive_tb": {one.year: one.tb for one in sizes.archive},
        "latency": {
            "budget_ms": demand.latency_ms,
            "critical_ms": sizes.latency.critical_ms,
            "bulk_ms": sizes.latency.bulk_ms,
            "fan_out": design.fan_out,
            "stages": [stage._asdict() for stage in sizes.latency.stages],
        },
        "bill": _bill(plan.ours.bill),
        "naive": _bill(plan.naive.bill),
        "usd_a_million_readings": usd_a_million(plan, plan.ours.bill),
        "movers": [mover._asdict() for mover in plan.movers],
        "unverified": [_price(price) for price in plan.unverified],
        "advice": list(plan.advice),
        "shortfalls": [one._asdict() for one in shortfalls],
    }


def unbuilt(plan: Plan) -> str:
    """What the sizes count on, and does not happen by itself."""
    demand, design = plan.demand, plan.ours.design
    disk_gb = demand.average_per_s * m.DAY_S * stored_bytes(design) / m.GB
    archive_tb = demand.average_per_s * m.DAY_S * reading_bytes(design) * demand.retention_years * m.YEAR_DAYS / 1e12
    return (
        "these sizes count on readings that leave PostgreSQL by age and class, which takes store.keep_days and "
        "store.keep_critical_days, and process.window_days below both; and on an archive of critical readings alone "
        "after 90 days, which none is yet. Without: "
        f"the disk grows by {disk_gb:,.1f} GB a day on average, and the archive to {archive_tb:,.2f} TB"
    )


def usd_a_million(plan: Plan, bill: Bill) -> float:
    return bill.usd / (plan.demand.average_per_s * m.MONTH_S / 1e6)


def _bill(bill: Bill) -> dict[str, Any]:
    lines = [
        {
            "station": line.station,
            "what": line.price.what,
            "quantity": line.quantity,
            "unit": line.price.unit,
            "price": line.price.usd,
            "verified": line.price.verified,
            "usd": line.usd,
        }
        for line in bill.lines
    ]
    return {"usd": bill.usd, "lines": lines}


def _price(price: Price) -> dict[str, Any]:
    return {**price._asdict(), "dated": price.dated.isoformat()}
