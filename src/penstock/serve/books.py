"""`/v1/balance`, `/v1/trace`, `/v1/quarantine`, `/v1/conflicts`: what became of everything that was received."""

from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
from litestar import get, post
from litestar.params import QueryParameter

from penstock.door.asgi import require
from penstock.model.quality import name_of
from penstock.serve.answers import BalanceAnswer, ConflictAnswer, Listing, QuarantineAnswer, RedriveAnswer, TraceAnswer
from penstock.serve.balance import balance, balance_between, balance_of_tag
from penstock.serve.desk import OPERATORS, seen_path, sites_of
from penstock.serve.given import ID_MAX, AnyTag, Cursor, GivenCaller, GivenDesk, Id, Limit, PathName, Time
from penstock.serve.redrive import redrive
from penstock.serve.trace import trace
from penstock.serve.words import cursor_of, place_of, span, told
from penstock.store.exceptions import NEWEST, Conflict, Quarantined


@get("/v1/balance", raises=[])
async def get_balance(
    desk: GivenDesk,
    caller: GivenCaller,
    start: Time = None,
    end: Time = None,
    tag: AnyTag = None,
) -> BalanceAnswer:
    """Received against what became of it: since installation, or of the minutes in which readings were received."""
    found = None if tag is None else await desk.tag(caller, tag)
    within = None if start is None and end is None else span(start, end)
    tallies = desk.parts.tallies
    if found is not None:
        return await balance_of_tag(desk.accounts, desk.reader, desk.forgotten, tallies, found, within)
    if within is not None:
        return await balance_between(tallies, *within)
    return await balance(tallies)


@get("/v1/trace/{batch_id:str}", raises=[])
async def get_trace(
    desk: GivenDesk,
    caller: GivenCaller,
    batch_id: PathName,
    index: Annotated[int | None, QueryParameter(ge=0, le=2**31 - 1)] = None,
) -> TraceAnswer:
    """Where the readings of a batch went, or the one at `index` of the request."""
    return await trace(desk.parts.tallies, caller, batch_id, index)


@get("/v1/quarantine", raises=[])
async def list_quarantine(  # noqa: PLR0913, PLR0917  # each is a word of the query
    desk: GivenDesk,
    caller: GivenCaller,
    tag: AnyTag = None,
    reason: Annotated[str | None, QueryParameter(max_length=64, pattern="^[a-z0-9_]*$")] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Listing[QuarantineAnswer]:
    """Accepted readings that broke their contract, newest first."""
    path = None if tag is None else seen_path(caller, tag)
    rows = await desk.exceptions.quarantine(
        sites_of(caller), limit + 1, path=path, reason=reason, before=_before(cursor)
    )
    last = rows[limit - 1].quarantine_id if len(rows) > limit else None
    return Listing([_quarantined(row) for row in rows[:limit]], None if last is None else cursor_of(last))


@post("/v1/quarantine/{quarantine_id:int}/redrive", status_code=200, raises=[])
async def post_redrive(
    desk: GivenDesk,
    caller: GivenCaller,
    quarantine_id: Id,
) -> RedriveAnswer:
    """Send a quarantined reading through the pipeline again (operator)."""
    require(caller, OPERATORS)
    return await redrive(desk, caller, min(quarantine_id, ID_MAX))


@get("/v1/conflicts", raises=[])
async def list_conflicts(
    desk: GivenDesk,
    caller: GivenCaller,
    tag: AnyTag = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Listing[ConflictAnswer]:
    """Readings whose identity is stored with other content, newest first: candidates for correction."""
    path = None if tag is None else seen_path(caller, tag)
    rows = await desk.exceptions.conflicts(sites_of(caller), limit + 1, path=path, before=_before(cursor))
    last = rows[limit - 1].conflict_id if len(rows) > limit else None
    return Listing([_conflict(row) for row in rows[:limit]], None if last is None else cursor_of(last))


def _before(cursor: str | None) -> int:
    return NEWEST if cursor is None else max(0, min(place_of(cursor, tuple[int])[0], NEWEST))


def _quarantined(row: Quarantined) -> QuarantineAnswer:
    return QuarantineAnswer(
        id=row.quarantine_id,
        tag=row.path,
        ts=_told(row.ts),
        reason=row.reason,
        detail=row.detail,
        reading=_raw(row.raw),
        at=told(row.at),
        redriven_at=_told(row.redriven_at),
        redriven_by=row.redriven_by,
        redriven_as=row.redriven_as,
    )


def _told(moment: datetime | None) -> str | None:
    return None if moment is None else told(moment)


def _raw(raw: bytes) -> Any:
    """As JSON where it is JSON; else as text."""
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return raw.decode("utf-8", "replace")


def _conflict(row: Conflict) -> ConflictAnswer:
    return ConflictAnswer(
        id=row.conflict_id,
        tag=row.path,
        ts=told(row.ts),
        seq=row.seq,
        value=row.value,
        state=row.state,
        quality=name_of(row.quality),
        at=told(row.at),
    )


ROUTES: Final = [get_balance, get_trace, list_quarantine, post_redrive, list_conflicts]
