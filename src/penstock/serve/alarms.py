"""`/v1/alarms` and `/v1/anomalies`: what the detectors found, and what people make of it."""

from typing import Annotated, Final

import msgspec
from litestar import get, post
from litestar.params import JSONBody, QueryParameter

from penstock.door.asgi import require
from penstock.errors import Undecodable
from penstock.model.alarm import State
from penstock.serve.answers import AlarmAnswer, AlarmEventAnswer, AnomalyAnswer, Listing
from penstock.serve.desk import OPERATORS, seen_path
from penstock.serve.given import ID_MAX, AnyTag, Cursor, GivenCaller, GivenDesk, Id, Limit, Time
from penstock.serve.told import alarm_told, anomaly_told, event_told
from penstock.serve.words import cursor_of, microseconds, place_of, prefix_of
from penstock.store.read import at

NOTE_MAX: Final = 1_000
Note = Annotated[str, msgspec.Meta(max_length=NOTE_MAX)]
Reason = Annotated[str, msgspec.Meta(min_length=1, max_length=NOTE_MAX)]


class Acknowledgement(msgspec.Struct, forbid_unknown_fields=True):
    """What whoever acknowledges has to say."""

    note: Note | None = None


class Shelving(msgspec.Struct, forbid_unknown_fields=True):
    """Until when an alarm is set aside, and why."""

    until: str | int
    reason: Reason


@get("/v1/alarms", raises=[])
async def list_alarms(  # noqa: PLR0913, PLR0917  # each is a word of the query
    desk: GivenDesk,
    caller: GivenCaller,
    stands: Annotated[State | None, QueryParameter(name="state")] = None,
    tag: AnyTag = None,
    asset: AnyTag = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Listing[AlarmAnswer]:
    """Alarms, newest first."""
    before = None if cursor is None else _id(place_of(cursor, tuple[int])[0])
    path = None if tag is None else seen_path(caller, tag)
    rows = await desk.alarms.list(
        state=stands,
        tag=path,
        asset=None if asset is None else prefix_of(asset),
        limit=limit,
        before=before,
        sites=sorted(caller.sites),
    )
    return Listing([alarm_told(row) for row in rows], cursor_of(rows[-1].alarm_id) if len(rows) == limit else None)


@get("/v1/alarms/{alarm_id:int}", raises=[])
async def get_alarm(desk: GivenDesk, caller: GivenCaller, alarm_id: Id) -> AlarmAnswer:
    """One alarm."""
    return alarm_told(await desk.alarms.get(_id(alarm_id), sites=sorted(caller.sites)))


@get("/v1/alarms/{alarm_id:int}/events", raises=[])
async def list_events(desk: GivenDesk, caller: GivenCaller, alarm_id: Id) -> Listing[AlarmEventAnswer]:
    """An alarm's life so far, oldest first."""
    rows = await desk.alarms.events(_id(alarm_id), sites=sorted(caller.sites))
    return Listing([event_told(row) for row in rows])


@post("/v1/alarms/{alarm_id:int}/ack", status_code=200, raises=[])
async def acknowledge(
    desk: GivenDesk, caller: GivenCaller, alarm_id: Id, data: JSONBody[Acknowledgement | None] = None
) -> AlarmAnswer:
    """Say that someone has seen it (operator)."""
    require(caller, OPERATORS)
    note = _printable(data.note) if data is not None and data.note else None
    return alarm_told(await desk.alarms.acknowledge(_id(alarm_id), caller.name, note, sites=sorted(caller.sites)))


@post("/v1/alarms/{alarm_id:int}/shelve", status_code=200, raises=[])
async def shelve(desk: GivenDesk, caller: GivenCaller, alarm_id: Id, data: JSONBody[Shelving]) -> AlarmAnswer:
    """Set it aside for a while, with a reason (operator)."""
    require(caller, OPERATORS)
    until = at(microseconds(str(data.until), "until"))
    reason = _printable(data.reason)
    return alarm_told(await desk.alarms.shelve(_id(alarm_id), caller.name, until, reason, sites=sorted(caller.sites)))


@post("/v1/alarms/{alarm_id:int}/unshelve", status_code=200, raises=[])
async def unshelve(desk: GivenDesk, caller: GivenCaller, alarm_id: Id) -> AlarmAnswer:
    """Bring it back (operator)."""
    require(caller, OPERATORS)
    return alarm_told(await desk.alarms.unshelve(_id(alarm_id), caller.name, sites=sorted(caller.sites)))


@get("/v1/anomalies", raises=[])
async def list_anomalies(  # noqa: PLR0913, PLR0917  # each is a word of the query
    desk: GivenDesk,
    caller: GivenCaller,
    tag: AnyTag = None,
    start: Time = None,
    end: Time = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Listing[AnomalyAnswer]:
    """What detectors found, in the order they found it."""
    rows = await desk.alarms.anomalies(
        tag=None if tag is None else seen_path(caller, tag),
        start=None if start is None else at(microseconds(start, "start")),
        end=None if end is None else at(microseconds(end, "end")),
        limit=limit,
        cursor=0 if cursor is None else _id(place_of(cursor, tuple[int])[0]),
        sites=sorted(caller.sites),
    )
    return Listing([anomaly_told(row) for row in rows], cursor_of(rows[-1].anomaly_id) if len(rows) == limit else None)


def _id(number: int) -> int:
    """An id that the database can hold."""
    return max(-1, min(number, ID_MAX))


def _printable(text: str) -> str:
    if any(not (letter.isprintable() or letter in "\n\t") for letter in text):
        raise Undecodable("texts are printable characters", code="bad_text")
    return text


ROUTES: Final = [list_alarms, get_alarm, list_events, acknowledge, shelve, unshelve, list_anomalies]
