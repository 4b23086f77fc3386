"""What a detector finds, explained: which test, what was expected, and where that expectation comes from."""

from enum import StrEnum

import msgspec


class Test(StrEnum):
    """The detectors' tests; the first six need no learning."""

    LIMIT_HH = "limit_hh"
    LIMIT_H = "limit_h"
    LIMIT_L = "limit_l"
    LIMIT_LL = "limit_ll"
    RATE = "rate"
    STUCK = "stuck"
    SILENCE = "silence"
    RECORD = "record"


class Priority(StrEnum):
    """How soon a person must act (ISA-18.2, clause 11)."""

    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One edge of one test at one tag: it became active, or it returned to normal.

    `low`/`high` bound the expected range in the tag's unit (None: unbounded or without meaning);
    `because` is the sentence an operator reads; `score` in [0, 1] is the strength of the evidence.
    """

    slot: int
    ts_us: int
    test: Test
    active: bool
    priority: Priority
    value: float | None
    score: float
    low: float | None
    high: float | None
    because: str
