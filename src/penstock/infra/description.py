"""One deployment, described: every value an operator may choose, with its range, its default and its meaning."""

from ipaddress import IPv4Network
from typing import Annotated, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator

from penstock.infra.names import Names


def _text(value: object) -> object:
    """A number would be taken for an address too."""
    if not isinstance(value, str | IPv4Network):
        raise ValueError("write it as 10.0.0.0/16")  # noqa: TRY004  # pydantic's way to refuse
    return value


Short = Annotated[str, Field(pattern=r"^[a-z][a-z0-9]{0,11}$")]
Suffix = Annotated[str, Field(pattern=r"^[a-z0-9]{1,12}$")]
Endpoint = Literal[
    "s3", "secretsmanager", "ecr.api", "ecr.dkr", "logs", "kinesis-streams", "kms", "sts", "monitoring", "xray"
]
LOCK_MODES: Final = {"governance": "GOVERNANCE", "sealed": "COMPLIANCE"}
"""What S3 calls our retention classes; `ephemeral` has no lock."""
Days = Annotated[int, Field(ge=1, le=36_500)]
DaysOrEver = Annotated[int, Field(ge=0, le=36_500)]
Cidr = Annotated[IPv4Network, BeforeValidator(_text, json_schema_input_type=str)]


class Room(BaseModel):
    """One station's part of the description."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: object, info: ValidationInfo) -> object:
        """Python takes `true` for 1; whoever wrote it meant something else."""
        if isinstance(value, bool) and cls.model_fields[str(info.field_name)].annotation is not bool:
            raise ValueError("true or false is not asked here")  # pydantic's way to refuse
        return value


class NetworkPart(Room):
    """Where everything lives."""

    cidr: Cidr = Field(default=IPv4Network("10.0.0.0/16"), description="Addresses of the network.")
    public_cidrs: tuple[Cidr, ...] = Field(
        default=(IPv4Network("10.0.0.0/24"), IPv4Network("10.0.1.0/24")),
        description="One public subnet a zone: load balancer and NAT gateway, nothing else.",
    )
    private_cidrs: tuple[Cidr, ...] = Field(
        default=(IPv4Network("10.0.10.0/24"), IPv4Network("10.0.11.0/24")),
        description="One private subnet a zone: tasks, cache, database.",
    )
    nat: Literal["none", "one", "per_zone"] = Field(
        default="one",
        description="NAT gateways: one for all is cheaper, one a zone survives a zone's loss; none where endpoints "
        "lead to all that tasks need.",
    )
    endpoints: tuple[Endpoint, ...] = Field(
        default=("s3", "secretsmanager", "ecr.api", "ecr.dkr", "logs", "kinesis-streams"),
        description="AWS services reached without leaving the network.",
    )
    acls: bool = Field(default=False, description="Network ACLs on every subnet, beside the security groups.")


class DoorPart(Room):
    """The load balancer in front of `ingest` and `serve`."""

    kind: Literal["public", "private"] = Field(
        default="public", description="Whether it faces the internet, or only the API Gateway's private link."
    )
    domain: str = Field(
        default="",
        pattern=r"^$|^([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z]{2,}$",
        examples=["penstock.example.com"],
        description="Name the door answers to; a certificate is asked for in it unless one is given.",
    )
    zone_id: str = Field(
        default="",
        pattern=r"^$|^Z[A-Z0-9]{1,31}$",
        examples=["Z0123456789ABC"],
        description="Route 53 zone that proves and points the domain.",
    )
    certificate_arn: str = Field(
        default="",
        pattern=r"^$|^arn:aws:acm:[a-z0-9-]+:[0-9]{12}:certificate/[A-Za-z0-9-]+$",
        examples=["arn:aws:acm:eu-west-2:111122223333:certificate/1b2c"],
        description="ACM certificate of the domain, when there is one already.",
    )
    insecure_http: bool = Field(
        default=False, description="No certificate and no TLS at the door: for throw-away deployments only."
    )
    requests_per_address: int = Field(
        default=60_000, ge=100, le=2_000_000, description="Requests in five minutes of one address before WAF stops it."
    )


class ApiPart(Room):
    """API Gateway, for clients that are metered."""

    doors: tuple[Literal["write", "read", "all"], ...] = Field(
        default=(),
        examples=[["write", "all"]],
        description="What it opens: `write` is POST /sensor-data, `read` is GET /v1/…, `all` is every method of it, "
        "for a door that nobody reaches otherwise; none: no gateway.",
    )
    rate: int = Field(default=200, ge=1, le=10_000, description="Requests a second of one client.")
    burst: int = Field(default=400, ge=1, le=5_000, description="Requests one client may send at once.")
    requests_per_minute: int = Field(
        default=10_000, ge=1, le=600_000, description="What all clients together send: sizes the tasks, limits nobody."
    )


class StreamPart(Room):
    """Kinesis, between ingest and work."""

    peak_readings_per_s: int = Field(
        default=1_000, ge=1, le=5_000_000, description="The plant's peak, which everything is sized for."
    )
    bytes_per_reading: int = Field(
        default=30, ge=4, le=1_024, description="On the wire, packed; a foreign producer's plain JSON takes 150."
    )
    shards: int = Field(default=2, ge=1, le=64, description="Shards of the bulk lane.")
    critical_shards: int = Field(default=1, ge=0, le=16, description="Shards of the critical lane; 0: both share.")
    on_demand: bool = Field(default=False, description="Kinesis sizes itself, at a higher price a byte.")
    retention_h: int = Field(
        default=24, ge=24, le=8_760, description="How long readings wait when the database is away, at longest."
    )
    fan_out: bool = Field(
        default=False, description="Shards are pushed, not polled: 70 ms instead of 200, costs extra."
    )


class TaskPart(Room):
    """Fargate tasks of one role."""

    cpu: Literal[256, 512, 1024, 2048, 4096] = Field(default=256, description="1,024 are one virtual CPU.")
    memory_mb: int = Field(default=512, ge=512, le=30_720, description="Memory of one task.")
    tasks_min: int = Field(default=2, ge=1, le=100, description="Tasks at least; two survive a zone's loss.")
    tasks_max: int = Field(default=6, ge=1, le=500, description="Tasks at most.")


class CachePart(Room):
    """ElastiCache for Redis."""

    node: str = Field(default="cache.t4g.small", pattern=r"^cache\.[a-z0-9]+\.[a-z0-9]+$", description="Node type.")
    nodes: int = Field(default=2, ge=1, le=6, description="A primary and its replicas; two or more fail over.")


class DatabasePart(Room):
    """PostgreSQL."""

    engine: Literal["rds", "aurora"] = Field(default="rds", description="RDS PostgreSQL or Aurora Serverless v2.")
    version: str = Field(default="16", pattern=r"^1[5-8](\.[0-9]+)?$", description="PostgreSQL's version.")
    instance: str = Field(
        default="db.t4g.medium", pattern=r"^db\.[a-z0-9]+\.[a-z0-9]+$", description="Instance class (RDS)."
    )
    storage_gb: int = Field(default=20, ge=20, le=65_536, description="gp3 storage to begin with (RDS).")
    storage_max_gb: int = Field(default=1_000, ge=20, le=65_536, description="What storage may grow to (RDS).")
    multi_az: bool = Field(default=True, description="A standby in another zone (RDS).")
    acu_min: float = Field(default=0.5, ge=0.5, le=256, multiple_of=0.5, description="Capacity at least (Aurora).")
    acu_max: float = Field(default=1.0, ge=1, le=256, multiple_of=0.5, description="Capacity at most (Aurora).")
    instances: int = Field(default=2, ge=1, le=15, description="A writer and its readers (Aurora).")
    data_api: bool = Field(default=False, description="Statements over HTTPS, for administration (Aurora).")
    backup_days: int = Field(default=7, ge=1, le=35, description="Automated backups; 35 days is all AWS keeps.")


class HistoryPart(Room):
    """How long what was stored stays in PostgreSQL. Rollups by the hour, alarms and accounts stay for ever."""

    window_days: Days = Field(default=14, description="A source time older than this is quarantined.")
    keep_days: DaysOrEver = Field(
        default=30, description="Readings stay so long, and then are in the archive alone; 0: for ever."
    )
    keep_critical_days: DaysOrEver = Field(default=90, description="Likewise of tags that are critical; 0: for ever.")
    keep_minutes_days: DaysOrEver = Field(
        default=90, description="Rollups by the minute, from which charts are drawn; 0: for ever."
    )


class ArchivePart(Room):
    """What outlives the database: Parquet in S3, and AWS Backup."""

    retention: Literal["ephemeral", "governance", "sealed"] = Field(
        default="governance",
        description="`ephemeral`: no lock, goes with the stack; `governance`: locked, a named role may lift it; "
        "`sealed`: nobody may, and `destroy` refuses.",
    )
    days: Days = Field(default=365, description="How long the archive is locked and backups are kept.")
    standard_days: DaysOrEver = Field(
        default=0,
        description="How long files of tags that are not critical are locked; 0: as `days`, in the same files.",
    )
    backups_a_year: Literal[1, 4, 12, 52] = Field(
        default=1, description="Snapshots of the database, each kept for `days`; its own backups cover the last week."
    )
    colder_days: int = Field(default=90, ge=30, le=3_650, description="Age at which segments move to cheaper storage.")


class SecretsPart(Room):
    """Credentials, of which the tasks hold only the names."""

    rotation_days: int = Field(default=30, ge=1, le=365, description="How often they change by themselves.")
    recovery_days: int = Field(
        default=0,
        ge=0,
        le=30,
        description="How long a destroyed secret can be brought back; 0: its name is free at once.",
    )


class WatchPart(Room):
    """What is said of it all, and to whom."""

    log_days: Literal[1, 3, 5, 7, 14, 30, 60, 90, 180, 365, 400, 545, 731] = Field(
        default=30, description="How long logs are kept; they are not the audit trail."
    )
    email: str = Field(
        default="",
        pattern=r"^$|^[^@\s]+@[^@\s]+\.[^@\s]+$",
        examples=["watch@example.com"],
        description="Who is told of alarms.",
    )
    tracing: bool = Field(default=False, description="X-Ray, through an OpenTelemetry collector beside every task.")
    traced_share: float = Field(
        default=0.01, gt=0, le=1, description="Share of batches and requests that X-Ray shows; it is paid by the trace."
    )
    latency_ms: int = Field(
        default=500, ge=50, le=60_000, description="Critical readings are stored within; alarms watch."
    )


class Deployment(Room):
    """One deployment: a profile, an environment's overlay, and what was set by hand."""

    profile: Short = Field(examples=["lyon"], description="What the profile is called.")
    environment: Annotated[str, Field(pattern=r"^[a-z][a-z0-9]{0,7}$")] = Field(
        default="prod", description="dev, stage, prod, or one of yours; a part of every name."
    )
    suffix: Suffix = Field(default="main", description="Tells deployments of one profile and environment apart.")
    region: str = Field(examples=["eu-west-2"], description="AWS region.")
    zones: tuple[str, ...] = Field(
        min_length=2, max_length=3, examples=[["a", "b"]], description="Letters of the region's zones."
    )
    residency: Literal["EU", "UK", "CA", "JP", "US"] = Field(description="Where the data must stay.")
    image: str = Field(
        default="",
        pattern=r"^$|^[a-z0-9.\-/]+(:[A-Za-z0-9_.\-]+)?(@sha256:[0-9a-f]{64})?$",
        examples=["ghcr.io/mine/penstock:1.4.0"],
        description="Container image; none: this version, in the deployment's own repository.",
    )
    architecture: Literal["X86_64", "ARM64"] = Field(default="X86_64", description="What the image was built for.")
    release: Literal["codedeploy", "rolling"] = Field(
        default="rolling", description="How doors change versions: blue/green with a way back, or one after another."
    )
    shared_files: bool = Field(default=False, description="A file system that `work` and `serve` share, over zones.")
    fast: bool = Field(default=False, description="One database, one Redis node, one task: for trials of the stack.")
    state: str = Field(
        default="local",
        pattern=r"^local$|^s3://[a-z0-9][a-z0-9.\-]{1,61}[a-z0-9](/[A-Za-z0-9_.\-/]*)?$",
        description="Terraform's state: beside the stack, or s3://BUCKET/PREFIX, encrypted and with a lock file.",
    )
    network: NetworkPart = NetworkPart()
    door: DoorPart = DoorPart()
    api: ApiPart = ApiPart()
    stream: StreamPart = StreamPart()
    ingest: TaskPart = TaskPart()
    work: TaskPart = TaskPart()
    serve: TaskPart = TaskPart()
    cache: CachePart = CachePart()
    database: DatabasePart = DatabasePart()
    history: HistoryPart = HistoryPart()
    archive: ArchivePart = ArchivePart()
    secrets: SecretsPart = SecretsPart()
    watch: WatchPart = WatchPart()

    @property
    def names(self) -> Names:
        """What its things are called."""
        return Names(self.profile, self.environment, self.suffix)

    @property
    def is_ephemeral(self) -> bool:
        """Everything may go with the stack, what was stored included."""
        return self.archive.retention == "ephemeral"

    @property
    def roles(self) -> dict[str, TaskPart]:
        """The tasks of each role."""
        return {"ingest": self.ingest, "work": self.work, "serve": self.serve}

    @property
    def zone_names(self) -> tuple[str, ...]:
        """`eu-west-2a`, …"""
        return tuple(f"{self.region}{letter}" for letter in self.zones)
