"""Findings move alarms in the worker's transaction; people judge them; every step is kept in order."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from penstock.errors import Rejected, Unknown
from penstock.model.alarm import State
from penstock.model.anomaly import Finding, Priority
from penstock.model.anomaly import Test as Check
from penstock.store.alarms import Alarms, record
from penstock.store.postgres import Database

T0 = 1_780_000_000_000_000
SOON = datetime.now(UTC) + timedelta(hours=1)


def finding(active: bool = True, at: int = 0, test: Check = Check.LIMIT_H) -> Finding:
    return Finding(
        slot=0, ts_us=T0 + at * 1_000_000, test=test, active=active, priority=Priority.HIGH, value=82.4, score=1.0,
        low=None, high=80.0, because="82.4 Cel is above the limit H = 80 Cel",
    )  # fmt: skip


@pytest.fixture
async def database(postgres_url: str) -> AsyncIterator[Database]:
    database = Database(postgres_url, application="test")
    await database.open()
    async with database.connection() as connection:
        for path in ("lyon/press/t1", "lyon/press/t2", "oslo/mill/t3"):
            await connection.execute(
                'insert into tag (path, config, version) values (%s, \'{"unit": "Cel"}\', 1)', [path]
            )
    yield database
    await database.close()


async def found(database: Database, *findings: tuple[int, Finding]) -> None:
    async with database.transaction() as connection:
        await record(connection, 7, findings)


async def test_a_finding_becomes_an_alarm_that_says_what_an_operator_needs(database: Database) -> None:
    await found(database, (1, finding()))
    (row,) = await Alarms(database).list()
    assert (row.tag, row.unit, row.state, row.active, row.occurrences) == (
        "lyon/press/t1", "Cel", State.UNACKNOWLEDGED, True, 1,
    )  # fmt: skip
    assert row.raised_at == datetime.fromtimestamp(T0 / 1e6, UTC)
    assert (row.value, row.high, row.because) == (82.4, 80.0, "82.4 Cel is above the limit H = 80 Cel")


async def test_a_whole_life_and_its_trail(database: Database) -> None:
    alarms = Alarms(database)
    await found(database, (1, finding()))
    (row,) = await alarms.list()
    acked = await alarms.acknowledge(row.alarm_id, "anna", "seen")
    assert (acked.state, acked.acknowledged_by, acked.note) == (State.ACKNOWLEDGED, "anna", "seen")
    await found(database, (1, finding(False, 5)))
    closed = await alarms.get(row.alarm_id)
    assert closed.state is State.CLOSED
    assert closed.closed_at == closed.returned_at == datetime.fromtimestamp(T0 / 1e6 + 5, UTC)
    trail = [(event.event, event.who, event.state) for event in await alarms.events(row.alarm_id)]
    assert trail == [
        ("raise", "penstock", "unacknowledged"),
        ("acknowledge", "anna", "acknowledged"),
        ("return", "penstock", "closed"),
    ]
    await found(database, (1, finding(True, 9)))
    assert [alarm.state for alarm in await alarms.list()] == [State.UNACKNOWLEDGED, State.CLOSED]


async def test_edges_of_one_flush_are_taken_in_their_order(database: Database) -> None:
    alarms = Alarms(database)
    await found(database, *((1, finding(i % 2 == 0, i)) for i in range(5)), (2, finding()))
    second, first = sorted(await alarms.list(), key=lambda row: row.tag, reverse=True)
    assert (first.occurrences, first.active, second.occurrences) == (3, True, 1)
    await alarms.acknowledge(first.alarm_id, "anna")
    await found(database, (1, finding(False, 6)), (1, finding(True, 7)), (1, finding(False, 8)))
    ours = await alarms.list(tag="lyon/press/t1")
    assert [row.state for row in ours] == [State.RETURNED, State.CLOSED]
    assert len(await alarms.anomalies(tag="lyon/press/t1")) == 8


async def test_a_return_without_an_alarm_is_only_an_anomaly(database: Database) -> None:
    await found(database, (1, finding(False)))
    assert await Alarms(database).list() == []
    (anomaly,) = await Alarms(database).anomalies()
    assert anomaly.alarm_id is None


async def test_a_shelved_alarm_demands_nothing_until_it_expires(database: Database) -> None:
    alarms = Alarms(database)
    await found(database, (1, finding()))
    (row,) = await alarms.list()
    shelved = await alarms.shelve(row.alarm_id, "anna", SOON, "sensor is being changed")
    assert (shelved.state, shelved.shelved_by, shelved.shelve_reason) == (
        State.SHELVED, "anna", "sensor is being changed",
    )  # fmt: skip
    await found(database, (1, finding(False, 3)), (1, finding(True, 4)))
    assert (await alarms.get(row.alarm_id)).state is State.SHELVED
    assert await alarms.expire(datetime.now(UTC)) == 0
    assert await alarms.expire(SOON) == 1
    back = await alarms.get(row.alarm_id)
    assert (back.state, back.occurrences, back.shelved_until) == (State.UNACKNOWLEDGED, 2, None)


async def test_what_the_state_forbids_is_rejected_with_its_reason(database: Database) -> None:
    alarms = Alarms(database)
    await found(database, (1, finding()))
    (row,) = await alarms.list()
    with pytest.raises(Rejected, match="only a shelved alarm"):
        await alarms.unshelve(row.alarm_id, "anna")
    with pytest.raises(Rejected, match="must lie ahead"):
        await alarms.shelve(row.alarm_id, "anna", datetime.now(UTC), "late")
    assert len(await alarms.events(row.alarm_id)) == 1


async def test_another_site_is_not_there(database: Database) -> None:
    alarms = Alarms(database)
    await found(database, (3, finding()))
    (row,) = await alarms.list(sites=["oslo"])
    assert await alarms.list(sites=["lyon"]) == await alarms.anomalies(sites=["lyon"]) == []
    assert await alarms.changed(0, sites=["lyon"]) == []
    for attempt in (
        alarms.get(row.alarm_id, sites=["lyon"]),
        alarms.acknowledge(row.alarm_id, "anna", sites=["lyon"]),
        alarms.events(row.alarm_id, sites=["lyon"]),
    ):
        with pytest.raises(Unknown):
            await attempt


async def test_lists_are_filtered_and_paged(database: Database) -> None:
    alarms = Alarms(database)
    await found(database, (1, finding()), (2, finding()), (2, finding(test=Check.RATE)), (3, finding()))
    newest = await alarms.list(limit=1)
    older = await alarms.list(before=newest[0].alarm_id)
    assert len(older) == 3
    assert {row.tag for row in await alarms.list(asset="lyon/press")} == {"lyon/press/t1", "lyon/press/t2"}
    assert await alarms.list(asset="lyon/pre") == await alarms.list(state=State.CLOSED) == []
    page = await alarms.anomalies(limit=3)
    assert len(await alarms.anomalies(cursor=page[-1].anomaly_id)) == 1


async def test_a_feed_misses_nothing_however_writers_overlap(database: Database) -> None:
    alarms = Alarms(database)
    await found(database, *((1, finding(test=test)) for test in Check))
    ids = [row.alarm_id for row in await alarms.list()]
    seen, after = 0, 0

    async def follow() -> None:
        nonlocal seen, after
        for row in await alarms.changed(after):
            seen, after = seen + 1, row.event_no

    async def write() -> None:
        acks = (alarms.acknowledge(alarm_id, "anna") for alarm_id in ids)
        await asyncio.gather(*acks, *(found(database, (2, finding(test=test))) for test in Check))

    writing = asyncio.create_task(write())
    while not writing.done():
        await follow()
    await writing
    await follow()
    assert seen == len(ids) * 3
    assert after == await alarms.newest_event()


async def test_thousands_of_findings_in_one_flush(database: Database) -> None:
    await found(database, *((1 + i % 3, finding(i % 2 == 0, i)) for i in range(6_000)))
    assert [row.occurrences for row in await Alarms(database).list()] == [1_000, 1_000, 1_000]
