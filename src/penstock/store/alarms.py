"""Alarms at rest: the worker's findings move them, people acknowledge and shelve them, every step is kept."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, LiteralString, TypeVar

import msgspec
from psycopg import AsyncConnection, AsyncCursor
from psycopg.rows import dict_row, tuple_row

from penstock.errors import Rejected, Unknown
from penstock.model.alarm import Alarm, Event, Impossible, State, step
from penstock.model.anomaly import Finding, Priority, Test
from penstock.store.postgres import Database
from penstock.store.sql import statements

OURSELVES: Final = "penstock"
ALL_SITES: Final = ("*",)
LIMIT_MAX: Final = 1_000
_SQL: Final = statements("alarms")
Row = TypeVar("Row", bound=msgspec.Struct)


class AlarmRow(msgspec.Struct, frozen=True, kw_only=True):
    """An alarm as people see it."""

    alarm_id: int
    tag: str
    unit: str | None
    description: str | None
    test: Test
    priority: Priority
    state: State
    active: bool
    raised_at: datetime
    detected_at: datetime
    returned_at: datetime | None
    closed_at: datetime | None
    acknowledged_at: datetime | None
    acknowledged_by: str | None
    note: str | None
    shelved_until: datetime | None
    shelved_by: str | None
    shelve_reason: str | None
    occurrences: int
    value: float | None
    score: float
    low: float | None
    high: float | None
    because: str


class AnomalyRow(msgspec.Struct, frozen=True, kw_only=True):
    """One edge that a detector found."""

    anomaly_id: int
    tag: str
    alarm_id: int | None
    ts: datetime
    detected_at: datetime
    test: Test
    active: bool
    priority: Priority
    value: float | None
    score: float
    low: float | None
    high: float | None
    because: str


class EventRow(msgspec.Struct, frozen=True, kw_only=True):
    """One step of an alarm's life."""

    event_no: int
    at: datetime
    event: Event
    who: str
    state: State
    note: str | None


class ChangedRow(AlarmRow, frozen=True, kw_only=True):
    """An alarm as it is now, and the event of its life that says so."""

    event_no: int
    event: Event


@dataclass(slots=True)
class _Life:
    """An alarm on its way through one flush."""

    alarm_id: int
    tag_id: int
    now: Alarm
    new: bool
    last: Finding
    """The finding that says why: the last one raised, else the last."""
    returned_us: int | None = None
    raised_us: int | None = None
    """The first time it was raised in this flush."""


@dataclass(slots=True)
class _Steps:
    """What a flush's findings do: every alarm touched, and each finding with its alarm and the state after."""

    lives: list[_Life]
    edges: list[tuple[int | None, int, Finding, State | None]]


async def record(connection: AsyncConnection, flush_id: int | None, findings: Sequence[tuple[int, Finding]]) -> None:
    """Keep findings (with their tag ids) as anomalies and move the alarms, in the transaction of *connection*."""
    if not findings:
        return
    async with connection.cursor(row_factory=tuple_row) as cursor:
        keys = {"tag_id": [tag_id for tag_id, _ in findings], "test": [str(finding.test) for _, finding in findings]}
        await cursor.execute(_SQL["open_alarms"], keys)
        known = [_alarm_of(row) for row in await cursor.fetchall()]
        await cursor.execute(_SQL["new_ids"], {"count": sum(finding.active for _, finding in findings)})
        steps = _fold(known, [row[0] for row in await cursor.fetchall()], findings)
        await _write(cursor, flush_id, steps)


def _alarm_of(row: Sequence[Any]) -> tuple[int, int, Alarm]:
    alarm_id, tag_id, test, priority, state, active, acknowledged, occurrences = row
    return (
        alarm_id,
        tag_id,
        Alarm(
            test=Test(test),
            priority=Priority(priority),
            state=State(state),
            active=active,
            acknowledged=acknowledged,
            occurrences=occurrences,
        ),
    )


def _fold(known: Iterable[tuple[int, int, Alarm]], ids: list[int], findings: Sequence[tuple[int, Finding]]) -> _Steps:
    """Take every finding in order along the life of its tag's and test's open alarm, or begin a new one."""
    at_rest = {(tag_id, alarm.test): (alarm_id, alarm) for alarm_id, tag_id, alarm in known}
    open_lives: dict[tuple[int, Test], _Life] = {}
    steps, fresh = _Steps([], []), iter(ids)
    for tag_id, finding in findings:
        key = (tag_id, finding.test)
        life = open_lives.get(key)
        if life is None and key in at_rest:
            alarm_id, alarm = at_rest.pop(key)
            life = _Life(alarm_id, tag_id, alarm, new=False, last=finding)
            steps.lives.append(life)
        if life is not None:
            _move(life, finding)
        elif finding.active:
            alarm = Alarm(test=finding.test, priority=finding.priority)
            life = _Life(next(fresh), tag_id, alarm, new=True, last=finding, raised_us=finding.ts_us)
            steps.lives.append(life)
        steps.edges.append((life.alarm_id if life else None, tag_id, finding, life.now.state if life else None))
        if life is not None and life.now.state is not State.CLOSED:
            open_lives[key] = life
        else:
            open_lives.pop(key, None)
    return steps


def _move(life: _Life, finding: Finding) -> None:
    life.now = step(life.now, Event.RAISE if finding.active else Event.RETURN)
    if finding.active:
        life.now = msgspec.structs.replace(life.now, priority=finding.priority)
        life.last, life.returned_us = finding, None
        life.raised_us = life.raised_us or finding.ts_us
    else:
        life.returned_us = finding.ts_us


async def _write(cursor: AsyncCursor[Any], flush_id: int | None, steps: _Steps) -> None:
    for name, new in (("move_alarms", False), ("put_alarms", True)):
        lives = [life for life in steps.lives if life.new is new]
        if lives:
            await cursor.execute(_SQL[name], _alarm_columns(lives))
    await cursor.execute(_SQL["put_anomalies"], {"flush_id": flush_id, **_anomaly_columns(steps)})
    edges = [(alarm_id, finding, state) for alarm_id, _, finding, state in steps.edges if alarm_id is not None]
    if edges:
        await cursor.execute(_SQL["lock_events"])
        await cursor.execute(_SQL["put_events"], {"who": OURSELVES, **_event_columns(edges)})


def _event_columns(edges: Sequence[tuple[int, Finding, State | None]]) -> dict[str, list[object]]:
    return {
        "alarm_id": [alarm_id for alarm_id, _, _ in edges],
        "event": [str(Event.RAISE if finding.active else Event.RETURN) for _, finding, _ in edges],
        "state": [str(state) for _, _, state in edges],
        "note": [finding.because for _, finding, _ in edges],
    }


def _alarm_columns(lives: Sequence[_Life]) -> dict[str, list[object]]:
    return {
        "alarm_id": [life.alarm_id for life in lives],
        "tag_id": [life.tag_id for life in lives],
        "test": [str(life.now.test) for life in lives],
        "priority": [str(life.now.priority) for life in lives],
        "state": [str(life.now.state) for life in lives],
        "active": [life.now.active for life in lives],
        "acknowledged": [life.now.acknowledged for life in lives],
        "raised": [life.raised_us is not None for life in lives],
        "raised_at": [_time(life.raised_us) for life in lives],
        "returned_at": [_time(life.returned_us) for life in lives],
        "closed_at": [_time(life.returned_us) if life.now.state is State.CLOSED else None for life in lives],
        "occurrences": [life.now.occurrences for life in lives],
        **_finding_columns([life.last for life in lives]),
    }


def _anomaly_columns(steps: _Steps) -> dict[str, list[object]]:
    found = [finding for _, _, finding, _ in steps.edges]
    return {
        "alarm_id": [alarm_id for alarm_id, _, _, _ in steps.edges],
        "tag_id": [tag_id for _, tag_id, _, _ in steps.edges],
        "ts": [_time(finding.ts_us) for finding in found],
        "test": [str(finding.test) for finding in found],
        "active": [finding.active for finding in found],
        "priority": [str(finding.priority) for finding in found],
        **_finding_columns(found),
    }


def _finding_columns(found: Sequence[Finding]) -> dict[str, list[object]]:
    return {
        name: [getattr(finding, name) for finding in found] for name in ("value", "score", "low", "high", "because")
    }


def _time(us: int | None) -> datetime | None:
    return None if us is None else datetime.fromtimestamp(us / 1e6, UTC)


class Alarms:
    """Alarms for people. *sites* are those a caller may see, `('*',)` for all; of others nothing is known."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(  # noqa: PLR0913  # the filters of the route
        self,
        *,
        state: State | None = None,
        tag: str | None = None,
        asset: str | None = None,
        limit: int = 100,
        before: int | None = None,
        sites: Sequence[str] = ALL_SITES,
    ) -> Sequence[AlarmRow]:
        """The newest first; the page after ends *before* the last one's id."""
        given = {"state": state and str(state), "tag": tag, "asset": asset, "before": before}
        return await self._rows(
            AlarmRow, _SQL["columns"] + "\n" + _SQL["list_where"], {**given, "limit": min(limit, LIMIT_MAX)}, sites
        )

    async def get(self, alarm_id: int, *, sites: Sequence[str] = ALL_SITES) -> AlarmRow:
        """Raises Unknown."""
        given = {"alarm_id": alarm_id}
        rows = await self._rows(AlarmRow, _SQL["columns"] + "\n" + _SQL["get_where"], given, sites)
        if not rows:
            raise Unknown(f"there is no alarm {alarm_id}")
        return rows[0]

    async def acknowledge(
        self, alarm_id: int, who: str, note: str | None = None, *, sites: Sequence[str] = ALL_SITES
    ) -> AlarmRow:
        """Raises Unknown, or Rejected with what the alarm's state allows."""
        return await self._judge(alarm_id, Event.ACKNOWLEDGE, who, note, sites=sites)

    async def shelve(
        self, alarm_id: int, who: str, until: datetime, reason: str, *, sites: Sequence[str] = ALL_SITES
    ) -> AlarmRow:
        """Set it aside until *until*. Raises Unknown or Rejected."""
        if until <= datetime.now(UTC):
            raise Rejected("`until` must lie ahead", code="until_past")
        return await self._judge(alarm_id, Event.SHELVE, who, reason, until=until, sites=sites)

    async def unshelve(self, alarm_id: int, who: str, *, sites: Sequence[str] = ALL_SITES) -> AlarmRow:
        """Raises Unknown or Rejected."""
        return await self._judge(alarm_id, Event.UNSHELVE, who, None, sites=sites)

    async def expire(self, now: datetime) -> int:
        """Bring back alarms whose shelving is over; how many those were."""
        async with self._database.transaction() as connection, connection.cursor(row_factory=tuple_row) as cursor:
            await cursor.execute(_SQL["lock_expired"], {"now": now})
            over = [_alarm_of(row) for row in await cursor.fetchall()]
            for alarm_id, _, alarm in over:
                await _judged(cursor, alarm_id, step(alarm, Event.EXPIRE), Event.EXPIRE, OURSELVES)
            return len(over)

    async def anomalies(  # noqa: PLR0913  # the filters of the route
        self,
        *,
        tag: str | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
        limit: int = 100,
        cursor: int = 0,
        sites: Sequence[str] = ALL_SITES,
    ) -> Sequence[AnomalyRow]:
        """In the order they were found; the page after has the last one's id as its *cursor*."""
        given = {"tag": tag, "start": start, "end": end, "after": cursor, "limit": min(limit, LIMIT_MAX)}
        return await self._rows(AnomalyRow, _SQL["anomalies"], given, sites)

    async def events(self, alarm_id: int, *, sites: Sequence[str] = ALL_SITES) -> Sequence[EventRow]:
        """An alarm's life so far. Raises Unknown."""
        await self.get(alarm_id, sites=sites)
        return await self._rows(EventRow, _SQL["events"], {"alarm_id": alarm_id}, sites)

    async def newest_event(self) -> int:
        """Where a feed that wants only what is to come begins."""
        async with self._database.connection() as connection, connection.cursor(row_factory=tuple_row) as cursor:
            await cursor.execute(_SQL["newest_event"])
            row = await cursor.fetchone()
            return int(row[0]) if row else 0

    async def changed(
        self, after: int, limit: int = LIMIT_MAX, *, sites: Sequence[str] = ALL_SITES
    ) -> Sequence[ChangedRow]:
        """Events after *after* in the order of their commits, each with its alarm as it is now."""
        query = _SQL["changed"].replace("{columns}", _SQL["columns"])
        return await self._rows(ChangedRow, query, {"after": after, "limit": min(limit, LIMIT_MAX)}, sites)

    async def _rows(
        self, kind: type[Row], query: LiteralString, given: Mapping[str, object], sites: Sequence[str]
    ) -> Sequence[Row]:
        async with self._database.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(query, {**given, "sites": [*sites]})
            return msgspec.convert(await cursor.fetchall(), list[kind])  # type: ignore[valid-type]  # known when called

    async def _judge(  # noqa: PLR0913  # who did what, why and until when: the audit's columns
        self,
        alarm_id: int,
        event: Event,
        who: str,
        note: str | None,
        *,
        until: datetime | None = None,
        sites: Sequence[str],
    ) -> AlarmRow:
        async with self._database.transaction() as connection, connection.cursor(row_factory=tuple_row) as cursor:
            await cursor.execute(_SQL["lock_alarm"], {"alarm_id": alarm_id, "sites": [*sites]})
            row = await cursor.fetchone()
            if row is None:
                raise Unknown(f"there is no alarm {alarm_id}")
            try:
                after = step(_alarm_of(row)[2], event)
            except Impossible as error:
                raise Rejected(str(error), code="alarm_state") from error
            await _judged(cursor, alarm_id, after, event, who, note, until)
        return await self.get(alarm_id, sites=sites)


async def _judged(  # noqa: PLR0913, PLR0917  # the audit's columns
    cursor: AsyncCursor[Any],
    alarm_id: int,
    after: Alarm,
    event: Event,
    who: str,
    note: str | None = None,
    until: datetime | None = None,
) -> None:
    given = {"alarm_id": alarm_id, "event": str(event), "state": str(after.state), "who": who, "note": note}
    await cursor.execute(_SQL["judge_alarm"], {**given, "acknowledged": after.acknowledged, "until": until})
    await cursor.execute(_SQL["lock_events"])
    listed = {name: [given[name]] for name in ("alarm_id", "event", "state", "note")}
    await cursor.execute(_SQL["put_events"], {"who": who, **listed})
