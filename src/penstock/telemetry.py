"""What the system says of itself: one table of metrics, and logs as one JSON line an event."""

import logging
import sys
from typing import Final

import structlog
from prometheus_client import Counter, Gauge, Histogram

LATENCY_S: Final = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 30.0)

STAGE_LATENCY: Final = Histogram(
    "penstock_stage_latency_seconds",
    "Time a reading takes to the end of a stage, from its acceptance: durable, committed, alarmed.",
    ["stage", "criticality"],
    buckets=LATENCY_S,
)
REQUESTS: Final = Counter("penstock_requests_total", "HTTP requests by route and status.", ["route", "status"])
REFUSED: Final = Counter("penstock_readings_refused_total", "Readings refused at the door, by code.", ["code"])
FLUSH_READINGS: Final = Histogram(
    "penstock_flush_readings", "Readings committed in one transaction.", ["shard"],
    buckets=(1, 10, 100, 1_000, 5_000, 10_000, 20_000, 50_000),
)  # fmt: skip
FLUSH_SECONDS: Final = Histogram("penstock_flush_seconds", "Time one transaction takes.", ["shard"], buckets=LATENCY_S)
PUT_SECONDS: Final = Histogram(
    "penstock_put_seconds", "Time one call takes that puts records into a shared stream.", ["lane"], buckets=LATENCY_S
)
PUT_RECORDS: Final = Counter("penstock_put_records_total", "Records a shared stream acknowledged.", ["lane"])
PUT_READINGS: Final = Counter("penstock_put_readings_total", "Readings in these records.", ["lane"])
PUT_BYTES: Final = Counter("penstock_put_bytes_total", "Bytes of these records.", ["lane"])
PUT_RETRIES: Final = Counter(
    "penstock_put_retries_total", "Records that must be put again: throttled, failed, unanswered.", ["lane", "reason"]
)
FINDINGS: Final = Counter("penstock_findings_total", "Edges found by detectors, by test.", ["test"])

BEHIND: Final = Gauge(
    "penstock_shard_behind_seconds",
    "Age of the oldest entry not yet taken (the iterator age), by shard; scale out when it grows.",
    ["shard"],
    multiprocess_mode="mostrecent",
)
RETENTION_LEFT: Final = Gauge(
    "penstock_stream_retention_left_seconds",
    "Time until the stream drops the oldest entry not yet taken, by shard.",
    ["shard"],
    multiprocess_mode="mostrecent",
)
LEASES_HELD: Final = Gauge("penstock_leases_held", "Units that this process works on.", multiprocess_mode="livesum")
LEASE_EVENTS: Final = Counter(
    "penstock_lease_events_total",
    "What became of leases: acquired, asked_for, given_up, fenced, expired, stuck, failed, ended, lost_to_retention.",
    ["event"],
)
ARCHIVED_READINGS: Final = Counter("penstock_archived_readings_total", "Readings written to the archive.")
ARCHIVED_BYTES: Final = Counter("penstock_archived_bytes_total", "Bytes of Parquet files written to the archive.")
ARCHIVE_WAITING: Final = Gauge(
    "penstock_archive_waiting_days",
    "Closed days with readings that are not in the archive.",
    multiprocess_mode="mostrecent",
)
FORGOTTEN_READINGS: Final = Counter(
    "penstock_forgotten_readings_total", "Readings deleted from the database because the archive holds them."
)
HISTORY_BEGINS: Final = Gauge(
    "penstock_history_begins_timestamp_seconds",
    "Of some tag, readings of before may be in the archive alone: the newest such moment, seconds since 1970.",
    multiprocess_mode="mostrecent",
)
FORGET_WAITING: Final = Gauge(
    "penstock_forget_waiting_days",
    "Days by which the oldest readings have outstayed store.keep_days; they stay until the archive shows them.",
    multiprocess_mode="mostrecent",
)
FORGOTTEN_MINUTES: Final = Counter(
    "penstock_forgotten_minutes_total", "Rollups by the minute deleted from the database because they are old."
)
MINUTES_BEGIN: Final = Gauge(
    "penstock_minutes_begin_timestamp_seconds",
    "Rollups by the minute are complete from this moment on, seconds since 1970; 0 while none has left.",
    multiprocess_mode="mostrecent",
)
SPANS: Final = Counter(
    "penstock_spans_total",
    "Spans of traces by what became of them: sent; overflowed, since there were too many; failed, since the collector "
    "did not take them.",
    ["fate"],
)


def start_logging(level: str = "info") -> None:
    """Structured logs on standard error: JSON, or colours where a person is looking."""
    human = sys.stderr.isatty()
    logging.getLogger("psycopg").setLevel(logging.CRITICAL)  # what it would say, our own lines say as JSON
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.dev.ConsoleRenderer() if human else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


log: Final = structlog.get_logger("penstock")
