"""Everything an operator may set, read once at start-up and frozen. The docstrings are the reference's text."""

import os
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from penstock.errors import Misconfigured


class Room(BaseModel):
    """One station's settings; each group is named as the folder that reads it."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class IngestSettings(Room):
    """What the writing door takes."""

    body_bytes_max: int = Field(default=8 * 2**20, gt=0, description="Largest body as sent.")
    decompressed_bytes_max: int = Field(default=64 * 2**20, gt=0, description="Largest body once decompressed.")
    items_max: int = Field(default=20_000, gt=0, description="Readings in one request.")
    depth_max: int = Field(default=8, gt=0, description="Deepest nesting of a JSON body.")
    bodies_bytes_max: int = Field(
        default=64 * 2**20, gt=0, description="Bodies under way together; beyond, senders are told to come back."
    )
    commit_wait_s: float = Field(
        default=5.0, gt=0, description="How long `Prefer: wait=committed` waits before it answers 202."
    )


class DoorSettings(Room):
    """What every HTTP door shares."""

    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(default=8080, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    rate: float = Field(default=200.0, ge=0, description="Requests a second of a key that sets none; 0 is no limit.")
    burst: float = Field(default=400.0, ge=0, description="Requests a key that sets none may send at once.")
    arrive_s: float = Field(
        default=15.0, gt=0, description="Time within which headers, and then the body, must arrive."
    )
    idle_s: float = Field(default=75.0, gt=0, description="How long an idle connection is kept.")
    header_bytes_max: int = Field(default=16 * 2**10, gt=0, description="All headers of a request together.")
    headers_max: int = Field(default=100, gt=0, description="Header lines of a request.")
    connections_max: int = Field(default=4_096, gt=0, description="Open connections at a time.")
    proxies: str = Field(
        default="", description="Addresses of proxies whose X-Forwarded-For and -Proto are believed, by commas."
    )
    processes: int = Field(
        default=1, ge=1, description="Processes that share the rate; without Redis each lets its part of it pass."
    )
    cache_secret: str = Field(
        default="",
        description="Signs keys remembered in Redis, so that doors start while the database is away; 32 bytes or more, "
        "the same in every process. Better than the secret itself: `secret://NAME`, or `file:///PATH`.",
    )
    tls: str = Field(
        default="",
        description="`` none, `self` makes a certificate in the data directory, or `CERT.pem:KEY.pem`.",
    )


class StreamSettings(Room):
    """Where readings wait between ingest and process."""

    url: str = Field(
        default="log:", description="`log:` in the data directory, `log:PATH`, `memory:`, or `kinesis://NAME`."
    )
    critical: str = Field(
        default="", description="A second Kinesis stream, for the critical lane alone; none: both lanes share one."
    )
    region: str = Field(default="", description="AWS region of the streams; what the environment says by default.")
    endpoint: str = Field(default="", description="Where Kinesis answers; Amazon's own in the region by default.")
    fan_out: str = Field(
        default="", description="Name of an enhanced fan-out consumer: shards are pushed, not polled (costs extra)."
    )
    linger_ms: float = Field(
        default=20.0, ge=0, description="How long bulk readings gather before they are put on Kinesis, at most."
    )
    critical_linger_ms: float = Field(default=2.0, ge=0, description="Likewise of critical readings.")
    put_timeout_s: float = Field(
        default=10.0, gt=0, description="Readings that Kinesis has not acknowledged by then are answered as overloaded."
    )
    pending_bytes_max: int = Field(
        default=64 * 2**20,
        gt=0,
        description="Unacknowledged bytes a process holds before it answers 503; a tenth is for the critical lane.",
    )
    bytes_max: int = Field(
        default=2 * 2**30,
        gt=0,
        description="Unstored bytes a log holds before it answers 503; a tenth is kept for the critical lane.",
    )
    keep_bytes: int = Field(default=256 * 2**20, ge=0, description="Stored entries kept for `trace`, at most.")
    keep_days: float = Field(default=7.0, ge=0, description="Stored entries kept for `trace`, at longest.")


class ProcessSettings(Room):
    """How the worker takes readings and judges them."""

    linger_ms: int = Field(
        default=100, ge=0, description="How long bulk readings may gather before they are committed."
    )
    flush_readings_max: int = Field(default=20_000, gt=0, description="Readings committed in one transaction.")
    ahead_s: float = Field(default=300.0, ge=0, description="A source time further ahead than this is quarantined.")
    window_days: float = Field(
        default=2_557.0,
        gt=0,
        description="A source time older than this is quarantined, unless the tag says otherwise.",
    )
    tags_max: int = Field(default=100_000, gt=0, description="Tags; readings of further ones are quarantined.")
    states_max: int = Field(
        default=10_000, gt=0, description="Distinct state texts; readings with further ones are quarantined."
    )
    register_unknown: bool = Field(
        default=True, description="Unknown tags register themselves; otherwise they are quarantined."
    )


class WorkSettings(Room):
    """How workers share a stream."""

    lease_s: float = Field(default=10.0, ge=1, description="A worker that is silent for so long loses its shards.")
    stuck_s: float = Field(
        default=30.0, gt=0, description="A shard that is behind without progress for so long goes to another worker."
    )
    port: int = Field(default=0, ge=0, le=65535, description="Health and metrics of `penstock work`; 0 serves none.")


class DetectSettings(Room):
    """When a reading is called an anomaly."""

    learn_s: float = Field(
        default=86_400.0, ge=0, description="How long a tag is learned before its record test may alarm."
    )
    silence_intervals: float = Field(
        default=5.0, gt=1, description="Expected intervals without a reading that make silence."
    )


class StoreSettings(Room):
    """Where readings rest."""

    url: str = Field(
        default="embedded:",
        description="`embedded:` in the data directory, `embedded:PATH`, or `postgresql://HOST/DB`; who we are there "
        "by `?credentials=secret://NAME` (AWS Secrets Manager, name or ARN) or `?credentials=file:///PATH`.",
    )
    seal_s: float = Field(
        default=30.0, gt=0, description="How often each group's fresh readings are sealed into packs."
    )
    keep_days: float = Field(
        default=0.0,
        ge=0,
        description="Sealed readings older than this leave the database, by whole UTC days, once the archive has shown "
        "that it holds them; more than `process.window_days` and a day. 0: they stay for ever.",
    )
    keep_critical_days: float = Field(
        default=0.0, ge=0, description="Likewise of tags that are critical. 0: they stay for ever."
    )
    keep_minutes_days: float = Field(
        default=0.0,
        ge=0,
        description="Rollups by the minute older than this, a day at least, leave the database by whole UTC hours; "
        "those by the hour stay. 0: for ever.",
    )
    connections_max: int = Field(default=10, gt=1, description="Connections of one process.")
    disk_free_min_bytes: int = Field(
        default=512 * 2**20, ge=0, description="Free disk below which nothing more is accepted."
    )


class CacheSettings(Room):
    """Where live values are held."""

    url: str = Field(
        default="memory:",
        description="`memory:`, `redis://…` or `rediss://…`; who we are there by `?credentials=secret://NAME` too.",
    )


class ArchiveSettings(Room):
    """Where closed days are kept as Parquet files, out of the database's reach."""

    url: str = Field(default="", description="`` none, `files:PATH`, or `s3://BUCKET/PREFIX`.")
    retention: Literal["ephemeral", "governance", "sealed"] = Field(
        default="governance",
        description="`ephemeral` locks nothing (all that `files:` can do), `governance` locks what a named role may "
        "unlock, `sealed` what nobody can unlock before its time.",
    )
    retention_days: float = Field(
        default=2_557.0, gt=0, description="How long what is archived stays locked, and may be counted on."
    )
    standard_days: float = Field(
        default=0.0,
        ge=0,
        description="Likewise of tags that are not critical, which then have files of their own below `standard/`. "
        "0: as long as critical ones, in the same files.",
    )
    kms_key: str = Field(
        default="", description="KMS key that encrypts, by ARN, id or alias; as the bucket does by default."
    )
    region: str = Field(default="", description="AWS region of the bucket; what the environment says by default.")
    endpoint: str = Field(default="", description="Where S3 answers; Amazon's own in the region by default.")
    after_h: float = Field(default=1.0, ge=0, description="So long after its end in UTC a day is archived.")
    late_h: float = Field(
        default=24.0, ge=0, description="How long what comes late to an archived day gathers before it is archived."
    )
    every_s: float = Field(default=3_600.0, gt=0, description="How often closed days are looked for.")


class TracesSettings(Room):
    """Where a batch's way is shown, from the door to its commit."""

    url: str = Field(
        default="",
        description="`` none, or an OpenTelemetry collector that takes OTLP over HTTP, as `http://127.0.0.1:4318`; "
        "needs the extra `traces`.",
    )
    share: float = Field(
        default=0.01,
        gt=0,
        le=1,
        description="Of all batches and requests so many are traced; each batch by all or none.",
    )


class ServeSettings(Room):
    """What people see."""

    zone: str = Field(default="UTC", description="The plant's time zone on the page, as `Europe/Paris`.")
    plant: str = Field(default="Penstock", description="The plant's name on the page.")

    @field_validator("zone")
    @classmethod
    def _known(cls, zone: str) -> str:
        try:
            ZoneInfo(zone)
        except (KeyError, ValueError, OSError) as error:
            raise ValueError(f"there is no time zone {zone!r}; write it as Europe/Paris") from error
        return zone


class Settings(BaseSettings):
    """Arguments > environment `PENSTOCK_<STATION>__<KEY>` > `penstock.toml` > what stands here."""

    model_config = SettingsConfigDict(
        env_prefix="PENSTOCK_",
        env_nested_delimiter="__",
        toml_file="penstock.toml",
        frozen=True,
        extra="forbid",
    )

    data: Path = Field(default=Path("penstock-data"), description="The data directory.")
    residency: Literal["", "EU", "UK", "CA", "JP", "US"] = Field(
        default="",
        description="Where readings must stay; AWS regions elsewhere are refused at the start. Empty: anywhere.",
    )
    ingest: IngestSettings = IngestSettings()
    door: DoorSettings = DoorSettings()
    stream: StreamSettings = StreamSettings()
    process: ProcessSettings = ProcessSettings()
    work: WorkSettings = WorkSettings()
    detect: DetectSettings = DetectSettings()
    store: StoreSettings = StoreSettings()
    cache: CacheSettings = CacheSettings()
    archive: ArchiveSettings = ArchiveSettings()
    serve: ServeSettings = ServeSettings()
    traces: TracesSettings = TracesSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # pydantic-settings' signature
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments win over the environment, the environment over the file."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)


def read_settings(**given: Any) -> Settings:
    """The settings, with *given* above all else. Raises Misconfigured with the first wrong setting's name."""
    _check_environment()
    try:
        return Settings(**given)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"]) or "penstock.toml"
        raise Misconfigured(name, first["msg"].lower(), f"see `{name}` in docs/reference.md") from error
    except (OSError, ValueError) as error:
        raise Misconfigured("penstock.toml", f"cannot be read ({error})", "correct the file, or remove it") from error


def _check_environment() -> None:
    """A misspelt variable would be passed over in silence. Those that name no station are somebody else's."""
    rooms = tuple(name.upper() for name in Settings.model_fields if name != "data")
    for name in os.environ:
        room, double, _ = name.upper().removeprefix("PENSTOCK_").partition("__")
        misspelt = room not in rooms if double else room.startswith(tuple(f"{one}_" for one in rooms))
        if name.upper().startswith("PENSTOCK_") and misspelt:
            raise Misconfigured(name, "there is no such setting", "write PENSTOCK_<STATION>__<KEY>: docs/reference.md")
