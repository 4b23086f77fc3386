"""A tag: one measured point of a plant, addressed by its ISA-95 path, and what is configured for it."""

import re
from enum import StrEnum
from typing import Final, Literal

import msgspec

PATH_LENGTH_MAX: Final = 200
SEGMENTS_MIN: Final = 2
SEGMENTS_MAX: Final = 8
_PATH: Final = re.compile(
    rf"(?!.*(?:^|/)\.\.?(?:/|$))[A-Za-z0-9._-]+(?:/[A-Za-z0-9._-]+){{{SEGMENTS_MIN - 1},{SEGMENTS_MAX - 1}}}",
    re.ASCII,
)


def is_path(text: str) -> bool:
    """True for 2-8 segments of `[A-Za-z0-9._-]` (none of them `.` or `..`), 200 characters at most."""
    return len(text) <= PATH_LENGTH_MAX and _PATH.fullmatch(text) is not None


def site_of(path: str) -> str:
    """The first segment, by which keys are scoped."""
    return path.partition("/")[0]


def asset_of(path: str) -> str:
    """The path without its last segment: the equipment that the tag belongs to."""
    return path.rpartition("/")[0]


class Criticality(StrEnum):
    """How much depends on the tag; critical readings travel in a lane of their own."""

    CRITICAL = "critical"
    STANDARD = "standard"
    DIAGNOSTIC = "diagnostic"


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Low-low, low, high, high-high, in the tag's unit; None is no limit."""

    ll: float | None = None
    l: float | None = None  # noqa: E741  # the field's own term on every alarm sheet
    h: float | None = None
    hh: float | None = None


class TagConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a person may set for a tag. None means: as the plant's settings say, or no such test."""

    unit: str | None = None
    kind: str | None = None
    description: str | None = None
    criticality: Criticality = Criticality.STANDARD
    expected_interval_s: float | None = None
    limits: Limits = Limits()
    deadband: float | None = None
    on_delay_s: float = 0.0
    off_delay_s: float = 0.0
    rate_max_per_s: float | None = None
    slow: bool = False
    window_days: float | None = None


class Tag(msgspec.Struct, frozen=True):
    """A registered tag. `holds` is fixed by its first stored reading."""

    tag_id: int
    path: str
    grp: int
    holds: Literal["value", "state"] | None
    config: TagConfig
    version: int
