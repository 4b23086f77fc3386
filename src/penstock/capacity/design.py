"""The choices behind a deployment: five profiles, and what a first afternoon would have made of them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from penstock.capacity.demand import Demand
from penstock.capacity.measured import YEAR_DAYS
from penstock.errors import Misconfigured

NEVER: Final = float("inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """What somebody chose; sizes follow from it and the demand, the bill from the sizes."""

    region: str
    zones: int = 2
    database: Literal["aurora", "rds"] = "rds"
    copies: int = 2
    """Of the database, in as many zones."""
    acus_min: float = 0.5
    acus_max: float = 256.0
    """Aurora Serverless v2 ends there."""
    public: bool = True
    """The balancer faces the internet; otherwise API Gateway alone does."""
    gateway: Literal["all", "readers", "none"] = "none"
    """Whose requests go through API Gateway, and its own way to the balancer."""
    critical_stream: bool = False
    """A stream of its own for the critical lane."""
    fan_out: bool = False
    shards_min: int = 2
    tasks_min: int = 2
    """Of each of ingest, work and serve."""
    redis_nodes: int = 2
    redis_min: str = "cache.t4g.micro"
    """The smallest that is taken, however few the tags."""
    nat_gateways: int = 0
    endpoints: int = 4
    """Interface endpoints beside Kinesis': Secrets Manager, ECR twice, Logs; the S3 gateway costs nothing."""
    kinesis_endpoint: bool = True
    """Otherwise the stream is reached through a NAT gateway."""
    alarms: int = 38
    dashboards: int = 1
    waf_rules: int = 5
    """Before each door that faces the internet."""
    keys: int = 2
    secrets: int = 3
    """The tasks' login, the doors' signing key, the master's that RDS keeps."""
    efs_gb: float = 0.0
    traced: bool = False

    batched: bool = True
    """Senders put many readings into a request; otherwise one."""
    compressed: bool = True
    """Senders compress their requests."""
    aggregated: bool = True
    """Many readings share a record; otherwise each is one."""
    flushed: bool = True
    """Thousands of readings are one commit; otherwise each is one."""
    packed: bool = True
    """Readings lie in PostgreSQL as packs of one tag; otherwise each is a row."""
    hot_days: float = 30.0
    """Readings stay in PostgreSQL; then only the archive has them. NEVER, here and below: they stay for ever."""
    critical_days: float = 90.0
    """Likewise critical ones."""
    minute_days: float = 90.0
    """Likewise the rollups by the minute; those by the hour stay for ever."""
    archive_days: float = 365.0
    """Critical readings are locked in the archive; `kept_as_in` makes it what is demanded."""
    standard_days: float = NEVER
    """Likewise others; NEVER: as long as critical ones."""
    colder_days: float = 90.0
    """Age at which files leave S3 Standard; NEVER: they stay there."""
    parquet: bool = True
    """The archive is Parquet; otherwise JSON."""
    object_readings: float | None = None
    """Of an object in the archive; as the archive seals them by default."""
    snapshots_a_year: float = 0.0
    """Copies of the database that AWS Backup keeps for the whole retention, beside the backups of the last 7 days."""
    log_bytes: float = 0.0
    """Logged of every reading."""
    metric_a_tag: bool = False
    """A CloudWatch metric for every tag."""


PROFILES: Final[Mapping[str, Design]] = {
    "tokyo": Design(
        region="ap-northeast-1", gateway="all", critical_stream=True, nat_gateways=1, kinesis_endpoint=False, alarms=43,
        snapshots_a_year=1.0,
    ),
    "london": Design(region="eu-west-2", critical_stream=True, snapshots_a_year=1.0, archive_days=2_557.0),
    "montreal": Design(
        region="ca-central-1", database="aurora", acus_max=1.0, public=False, gateway="all", nat_gateways=1,
        endpoints=0, kinesis_endpoint=False, snapshots_a_year=1.0, tasks_min=1,
    ),
    "virginia": Design(
        region="us-east-1", zones=3, database="aurora", acus_min=2.0, acus_max=64.0, gateway="readers",
        critical_stream=True, fan_out=True, shards_min=5, redis_min="cache.r7g.large", nat_gateways=3, endpoints=8,
        alarms=48, efs_gb=1.0, traced=True, snapshots_a_year=4.0, hot_days=7.0, minute_days=30.0,
        archive_days=2_557.0, standard_days=92.0,
    ),
    "frankfurt": Design(region="eu-central-1", critical_stream=True, snapshots_a_year=4.0, archive_days=2_557.0),
}  # fmt: skip
"""The five reference deployments as far as a bill can tell them apart; a test holds them to the stacks that are made.
Tokyo and montreal reach Kinesis by NAT."""

NAIVE: Final[Mapping[str, Any]] = {
    "gateway": "all",
    "critical_stream": False,
    "fan_out": True,
    "batched": False,
    "compressed": False,
    "aggregated": False,
    "flushed": False,
    "packed": False,
    "hot_days": 90.0,
    "parquet": False,
    "colder_days": NEVER,
    "object_readings": 500.0,
    "snapshots_a_year": 0.0,
    "log_bytes": 200.0,
    "metric_a_tag": True,
    "waf_rules": 0,
    "nat_gateways": 2,
    "endpoints": 0,
    "kinesis_endpoint": False,
}
"""One request, one record, one commit, one row, one log line a reading; JSON in S3 Standard; a metric for every tag."""

CHOICES: Final[Mapping[str, Mapping[str, Any]]] = {
    "one API Gateway request a reading": {"gateway": "all", "batched": False},
    "one Kinesis record a reading": {"aggregated": False},
    "one commit a reading": {"flushed": False},
    "one row a reading, by text": {"packed": False},
    "an S3 object for every 500 readings": {"object_readings": 500.0},
    "JSON in S3 Standard": {"parquet": False, "colder_days": NEVER},
    "an archive that stays in S3 Standard": {"colder_days": NEVER},
    "all readings in the archive for the whole retention": {"standard_days": NEVER},
    "90 days hot in PostgreSQL": {"hot_days": 90.0},
    "all readings in PostgreSQL for the whole retention": {"hot_days": NEVER, "critical_days": NEVER},
    "a log line of 200 bytes a reading": {"log_bytes": 200.0},
    "a CloudWatch metric for every tag": {"metric_a_tag": True},
    "requests that are not compressed": {"compressed": False},
    "NAT gateways instead of endpoints": {"nat_gateways": 2, "endpoints": 0, "kinesis_endpoint": False},
    "a database snapshot every day": {"snapshots_a_year": 365.25},
    "enhanced fan-out": {"fan_out": True},
    "polling": {"fan_out": False},
}
"""What the plan tries one by one on its own design, to say what moves the bill."""


def design_of(profile: str | None, demand: Demand) -> Design:
    """A profile's choices; without one, montreal's for a small plant and virginia's for another."""
    name = profile or recommended(demand)
    try:
        return PROFILES[name]
    except KeyError:
        raise Misconfigured("profile", f"there is no {name!r}", f"take one of {', '.join(PROFILES)}") from None


def kept_as_in(profile: str | None, demand: Demand) -> Demand:
    """With the retention of that profile, or of the one recommended."""
    return replace(demand, retention_years=round(design_of(profile, demand).archive_days / YEAR_DAYS, 2))


def recommended(demand: Demand) -> str:
    """The profile that a plant of this size wants, wherever it stands."""
    return "montreal" if demand.small else "virginia"


def naive(design: Design) -> Design:
    """The same place and promises, built as one builds the first time."""
    return replace(design, **NAIVE)
