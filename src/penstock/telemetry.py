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
FINDINGS: Final = Counter("penstock_findings_total", "Edges found by detectors, by test.", ["test"])
LAG: Final = Gauge(
    "penstock_shard_lag_readings",
    "Durable readings not yet committed, by shard.",
    ["shard"],
    multiprocess_mode="mostrecent",
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
