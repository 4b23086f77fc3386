"""The shapes of answers, as the OpenAPI document shows them."""

from typing import Any, Generic, TypeVar

import msgspec

from penstock.model.tag import Criticality, Limits, Tag

Item = TypeVar("Item")


class Listing(msgspec.Struct, Generic[Item]):
    """One page of a list; `next` is the cursor of the next page, null at the end."""

    items: list[Item]
    next: str | None = None


class TagAnswer(msgspec.Struct):
    """A tag and what is configured for it."""

    tag: str
    holds: str | None
    version: int
    unit: str | None
    kind: str | None
    description: str | None
    criticality: Criticality
    expected_interval_s: float | None
    limits: Limits
    deadband: float | None
    on_delay_s: float
    off_delay_s: float
    rate_max_per_s: float | None
    slow: bool
    window_days: float | None


class ChangeAnswer(msgspec.Struct):
    """A change of a tag's configuration."""

    at: str
    tag: str
    who: str
    before: dict[str, Any]
    after: dict[str, Any]


class ReadingAnswer(msgspec.Struct):
    """A stored reading."""

    tag: str
    ts: str
    value: float | None
    state: str | None
    quality: str | int
    seq: int | None
    received_ts: str
    stored_ts: str


class ReadingsAnswer(msgspec.Struct):
    """One page of readings; `next` is the cursor of the next page, null at the end.

    `archived_before` is told of a range that begins before it: earlier readings of the tag may have left the database;
    they are in the archive, which is at `archived_in`, but for those before `expired_before`, which may be nowhere any
    more.
    """

    items: list[ReadingAnswer]
    next: str | None = None
    archived_before: str | None = None
    archived_in: str | None = None
    expired_before: str | None = None


class BinAnswer(msgspec.Struct):
    """Good and uncertain values of one interval."""

    ts: str
    count: int
    min: float
    max: float
    mean: float
    last: float


class BinsAnswer(msgspec.Struct):
    """One page of intervals; `next` is the cursor of the next page, null at the end.

    `minutes_before` is told of minutes asked for from before it: rollups by the minute of before have left the
    database, and none of them is among these; those by the hour and by the day are all here.
    """

    items: list[BinAnswer]
    next: str | None = None
    minutes_before: str | None = None


class SeriesPoint(msgspec.Struct):
    """What one pixel of a chart covers. `state` is the last text, of tags that hold one."""

    ts: str
    min: float | None = None
    max: float | None = None
    last: float | None = None
    state: str | None = None


class SeriesAnswer(msgspec.Struct):
    """A tag's course, light enough for a chart. `bin_s` 0: every reading.

    `archived_before`: single readings of before may be in the archive alone; rollups are all here. `expired_before`:
    those of before may be nowhere any more. `minutes_before`: what is of before is by the hour, since rollups by the
    minute have left.
    """

    tag: str
    source: str
    bin_s: float
    items: list[SeriesPoint]
    archived_before: str | None = None
    expired_before: str | None = None
    minutes_before: str | None = None


class WindowAnswer(msgspec.Struct):
    """The last seconds of a tag: good and uncertain values. `rate_per_s` is the change of the value a second."""

    count: int
    min: float | None = None
    max: float | None = None
    mean: float | None = None
    std: float | None = None
    rate_per_s: float | None = None
    last: float | None = None


class BalanceAnswer(msgspec.Struct, omit_defaults=True):
    """received = stored + duplicate + conflict + quarantined + in_flight + unaccounted; late is a part of stored.

    `archived_before` is told of one tag's range when readings received in it may have left the database: then stored
    and received count only those that are still here. Without a range they count all.
    """

    received: int
    stored: int
    duplicate: int
    conflict: int
    quarantined: int
    in_flight: int
    unaccounted: int
    late: int | None
    archived_before: str | None = None


class FateAnswer(msgspec.Struct):
    """Where one reading of a batch went."""

    index: int
    tag: str | None
    fate: str
    at: str
    where: str


class TraceAnswer(msgspec.Struct):
    """A batch's readings. `complete` is false when these are not all.

    A batch that is kept no more has only its exceptions listed; of one that came through a shared stream nothing is
    listed then, and while it is in flight only `in_flight` tells how many of its readings no flush has committed.
    """

    batch_id: str
    items: list[FateAnswer]
    complete: bool
    in_flight: int = 0


class QuarantineAnswer(msgspec.Struct):
    """A quarantined reading; `reading` is as it came."""

    id: int
    tag: str
    ts: str | None
    reason: str
    detail: str
    reading: Any
    at: str
    redriven_at: str | None
    redriven_by: str | None
    redriven_as: str | None


class RedriveAnswer(msgspec.Struct):
    """The batch under which a quarantined reading was sent again."""

    id: int
    batch_id: str


class ConflictAnswer(msgspec.Struct):
    """A reading whose identity was stored before with other content."""

    id: int
    tag: str
    ts: str
    seq: int | None
    value: float | None
    state: str | None
    quality: str | int
    at: str


class KeyAnswer(msgspec.Struct):
    """A key, without its secret."""

    id: str
    name: str
    role: str
    sites: list[str]
    rate: float | None
    burst: float | None
    created_at: str
    created_by: str
    revoked_at: str | None
    revoked_by: str | None


class NewKeyAnswer(msgspec.Struct):
    """A key just made; `key` is shown this once."""

    id: str
    name: str
    role: str
    sites: list[str]
    key: str


class ShardAnswer(msgspec.Struct):
    """How far a shard of the stream is committed.

    `position` is a decimal number as text: a shared stream's exceed what JavaScript can tell apart. `behind_s` is the
    age of what comes next, null where nobody has told; `held` says whether the owner's lease still runs; `last_commit`
    is when something of it was last stored.
    """

    stream: str
    shard: str
    lane: str | None
    owner: str | None
    held: bool
    epoch: int
    position: str
    committed: int
    lag: int
    behind_s: float | None
    last_commit: str | None = None


class ConditionAnswer(msgspec.Struct):
    """A state of the pipeline itself that asks for a person, with the reason and the mend.

    `severity` is `critical` or `high`. `shard` is null where it is the whole stream's. `since` is when it began, as far
    as that is known; of readings that wait, when the oldest came.
    """

    name: str
    severity: str
    shard: str | None
    since: str | None
    why: str
    mend: str


class PlantAnswer(msgspec.Struct):
    """What the page's head says. `conditions` is what ails the pipeline, the worst first; empty when all is well.

    `archived_before`: of some tag, readings of before may be in the archive alone, at `archived_in`; null when all that
    was ever stored is in the database.
    """

    name: str
    zone: str
    version: str
    started: str
    sites: list[str]
    shards: list[ShardAnswer]
    conditions: list[ConditionAnswer] = []
    archived_before: str | None = None
    archived_in: str | None = None


class HealthAnswer(msgspec.Struct):
    """Whether something works, and if not, what does not."""

    status: str
    failing: dict[str, str] = {}


def tag_answer(tag: Tag) -> TagAnswer:
    config = {name: getattr(tag.config, name) for name in tag.config.__struct_fields__}
    return TagAnswer(tag=tag.path, holds=tag.holds, version=tag.version, **config)


class AlarmAnswer(msgspec.Struct):
    """An alarm with the why of it, and what people made of it."""

    id: int
    tag: str
    unit: str | None
    description: str | None
    test: str
    priority: str
    state: str
    active: bool
    raised_at: str
    detected_at: str
    returned_at: str | None
    closed_at: str | None
    acknowledged_at: str | None
    acknowledged_by: str | None
    note: str | None
    shelved_until: str | None
    shelved_by: str | None
    shelve_reason: str | None
    occurrences: int
    value: float | None
    score: float
    low: float | None
    high: float | None
    because: str


class AnomalyAnswer(msgspec.Struct):
    """An edge that a detector found: a test began to hold (active), or returned to normal."""

    id: int
    tag: str
    alarm_id: int | None
    ts: str
    detected_at: str
    test: str
    active: bool
    priority: str
    value: float | None
    score: float
    low: float | None
    high: float | None
    because: str


class AlarmEventAnswer(msgspec.Struct):
    """A step in an alarm's life."""

    at: str
    event: str
    who: str
    state: str
    note: str | None
