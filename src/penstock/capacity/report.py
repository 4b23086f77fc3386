"""What a plan says, as rows for people and as plain values for machines."""

from collections.abc import Iterable, Iterator
from math import isfinite
from typing import Any, Final, NamedTuple

from penstock.capacity import measured as m
from penstock.capacity.archive import INFREQUENT, INSTANT, STANDARD, Year
from penstock.capacity.bill import Bill
from penstock.capacity.check import Shortfall
from penstock.capacity.demand import Demand
from penstock.capacity.design import Design
from penstock.capacity.plan import Plan
from penstock.capacity.prices import Price
from penstock.capacity.streams import Stream
from penstock.capacity.tasks import Tasks

NAMES: Final = {STANDARD: "Standard", INFREQUENT: "Standard-IA", INSTANT: "Glacier Instant Retrieval"}


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
        f"readings {base.hot_gb:,.0f} ({_days(design.hot_days)}, critical {_days(design.critical_days)}); "
        f"rollups {base.rollup_gb:,.0f} (by the minute {_days(design.minute_days)}); "
        f"{base.wal_bytes_per_s / 1e6:.2f} MB/s of WAL",
    )
    node = sizes.cache.node.name
    yield Need("Redis", f"{node} x {design.redis_nodes}", f"{sizes.cache.gib:.2f} GiB of {plan.demand.tags:,} tags")
    yield _s3(sizes.archive[-1], plan.demand, design)


def _s3(full: Year, demand: Demand, design: Design) -> Need:
    apart = isfinite(design.standard_days)
    retention = f"{demand.retention_years * m.YEAR_DAYS:,.0f} days"
    kept = f"critical {retention}, others {_days(design.standard_days)}" if apart else f"all {retention}"
    places = "; ".join(f"{gb / 1e3:,.2f} in {NAMES[storage]}" for storage, gb in full.gb.items())
    return Need("S3 when full", f"{full.tb:,.2f} TB", f"{kept}, and until removed; {places}")


def _days(days: float) -> str:
    return f"{days:,g} days" if isfinite(days) else "for ever"


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
    """Names and units as they stand in the fields; dollars a month; what is kept None days is for ever."""
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
        "kept_days": {
            "readings": _or_none(design.hot_days),
            "critical_readings": _or_none(design.critical_days),
            "minutes": _or_none(design.minute_days),
            "archive_critical": demand.retention_years * m.YEAR_DAYS,
            "archive_others": _or_none(design.standard_days),
        },
        "archive_gb": sizes.archive[-1].gb,
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


def _or_none(days: float) -> float | None:
    """JSON knows no infinity."""
    return days if isfinite(days) else None


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
