"""`/v1/tags` and `/v1/changes`: what is measured, how it is configured, and who changed that."""

import math
from datetime import UTC, datetime
from typing import Annotated, Final

import msgspec
from litestar import get, put
from litestar.params import JSONBody

from penstock.door.asgi import require
from penstock.errors import Rejected, Undecodable
from penstock.model.tag import Criticality, Limits, TagConfig
from penstock.serve.answers import ChangeAnswer, Listing, TagAnswer, tag_answer
from penstock.serve.desk import AUDITORS, OPERATORS, seen_path, sites_of
from penstock.serve.given import AnyTag, Cursor, GivenCaller, GivenDesk, Limit, PathName, Prefix
from penstock.serve.words import cursor_of, place_of, prefix_of, told
from penstock.store.read import EPOCH, LATEST_US, at

TEXT_MAX: Final = 64
DESCRIPTION_MAX: Final = 2_000
Positive = Annotated[float, msgspec.Meta(gt=0, le=1e12)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e9)]
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=TEXT_MAX)]


class TagWish(msgspec.Struct, forbid_unknown_fields=True):
    """A tag's whole configuration: what is left out is unset. `version` guards against changes made meanwhile.

    `tag` and `holds` may be sent along as they were read; they cannot be changed.
    """

    unit: Text | None = None
    kind: Text | None = None
    description: Annotated[str, msgspec.Meta(max_length=DESCRIPTION_MAX)] | None = None
    criticality: Criticality = Criticality.STANDARD
    expected_interval_s: Positive | None = None
    limits: Limits = Limits()
    deadband: Annotated[float, msgspec.Meta(ge=0, le=1e300)] | None = None
    on_delay_s: Seconds = 0.0
    off_delay_s: Seconds = 0.0
    rate_max_per_s: Annotated[float, msgspec.Meta(gt=0, le=1e300)] | None = None
    slow: bool = False
    window_days: Annotated[float, msgspec.Meta(gt=0, le=40_000)] | None = None
    version: int | None = None
    tag: str | None = None
    holds: str | None = None

    def config(self) -> TagConfig:
        """Raises Rejected for what cannot be meant."""
        config = TagConfig(**{name: getattr(self, name) for name in TagConfig.__struct_fields__})
        _check_limits(config.limits)
        _check_texts(config.unit, config.kind, config.description)
        return config


@get("/v1/tags", raises=[])
async def list_tags(
    desk: GivenDesk,
    caller: GivenCaller,
    prefix: Prefix = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Listing[TagAnswer]:
    """Tags in the order of their paths."""
    after = "" if cursor is None else place_of(cursor, tuple[str])[0]
    tags = await desk.registry.list(prefix_of(prefix), sites_of(caller), limit + 1, prefix_of(after))
    items = [tag_answer(tag) for tag in tags[:limit]]
    return Listing(items, cursor_of(items[-1].tag) if len(tags) > limit else None)


@get("/v1/tags/{tag:path}", raises=[])
async def get_tag(desk: GivenDesk, caller: GivenCaller, tag: PathName) -> TagAnswer:
    """A tag and its configuration."""
    return tag_answer(await desk.tag(caller, tag.removeprefix("/")))


@put("/v1/tags/{tag:path}", raises=[])
async def put_tag(
    desk: GivenDesk,
    caller: GivenCaller,
    tag: PathName,
    data: JSONBody[TagWish],
) -> TagAnswer:
    """Configure a tag (operator). It holds from the next reading on, and is kept with who changed it."""
    path = seen_path(caller, tag.removeprefix("/"))
    require(caller, OPERATORS)
    return tag_answer(await desk.registry.put(path, data.config(), caller.name, version=data.version))


@get("/v1/changes", raises=[])
async def list_changes(
    desk: GivenDesk,
    caller: GivenCaller,
    tag: AnyTag = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Listing[ChangeAnswer]:
    """Who configured what, newest first (auditor)."""
    require(caller, AUDITORS)
    path = None if tag is None else seen_path(caller, tag)
    us, tag_id = (LATEST_US, 0) if cursor is None else place_of(cursor, tuple[int, int])
    before = (at(us), max(-(2**31), min(tag_id, 2**31 - 1)))
    changes = await desk.registry.changes(path, sites_of(caller), limit + 1, before)
    items = [ChangeAnswer(told(each.at), each.path, each.who, each.before, each.after) for each in changes[:limit]]
    last = changes[limit - 1] if len(changes) > limit else None
    return Listing(items, last and cursor_of(_us(last.at), last.tag_id))


def _us(moment: datetime) -> int:
    since = moment.astimezone(UTC) - EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def _check_limits(limits: Limits) -> None:
    given = [limit for limit in (limits.ll, limits.l, limits.h, limits.hh) if limit is not None]
    if any(not math.isfinite(limit) for limit in given) or given != sorted(given):
        raise Rejected("limits must be finite and rise from ll over l and h to hh", code="bad_limits")


def _check_texts(*texts: str | None) -> None:
    if any(text is not None and not text.isprintable() for text in texts):
        raise Undecodable("texts are printable characters", code="bad_text")


ROUTES: Final = [list_tags, get_tag, put_tag, list_changes]
