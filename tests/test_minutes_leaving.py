"""Who lets old rollups by the minute leave: it begins with the worker, and what is wrong with it stops nothing else."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from structlog.testing import capture_logs

from penstock.compose.minutes import minutes_leaving
from penstock.errors import Misconfigured
from penstock.keeping import DAYS_MAX, minutes_kept
from penstock.settings import Settings, read_settings
from penstock.store.history import PostgresHistory
from penstock.store.minutes import only_one
from penstock.store.postgres import Database
from store.test_archive import seal_all
from store.test_history import ask, good, make_tags
from store.test_history_machine import DAY, NOW, Writer

MINUTES, HOURS = "select count(*) from rollup_1m", "select count(*) from rollup_1h"


@pytest.fixture
async def database(postgres_url: str) -> AsyncIterator[Database]:
    """Of two minutes: one of long ago, one of a time that has not come."""
    database = Database(postgres_url, application="test", connections_max=6)
    await database.open()
    history = PostgresHistory(database)
    await make_tags(history)
    await (await Writer.start(history)).flush([good(1, NOW - 400 * DAY, 1.0), good(1, NOW + 400 * DAY, 1.0)])
    await seal_all(database)
    yield database
    await history.close()
    await database.close()


def keeping(tmp_path: Path, days: float) -> Settings:
    return read_settings(data=tmp_path, store={"keep_minutes_days": days})


async def until(database: Database, query: str, count: int) -> None:
    async with asyncio.timeout(10):
        while ask(database, query) != [(count,)]:  # noqa: ASYNC110  # told by the database only
            await asyncio.sleep(0.02)


async def test_old_minutes_leave_beside_the_work_and_hours_stay(database: Database, tmp_path: Path) -> None:
    async with minutes_leaving(keeping(tmp_path, 30), database):
        await until(database, MINUTES, 1)
    assert ask(database, HOURS) == [(2,)]
    async with only_one(database) as ours:
        assert ours, "the lock is let go"


async def test_nothing_leaves_by_default(database: Database, tmp_path: Path) -> None:
    async with minutes_leaving(keeping(tmp_path, 0), database, every_s=0.01):
        await asyncio.sleep(0.2)
    assert ask(database, MINUTES) == [(2,)]


async def test_another_that_is_at_it_is_left_to_it(database: Database, tmp_path: Path) -> None:
    async with only_one(database), minutes_leaving(keeping(tmp_path, 30), database, every_s=0.01):
        await asyncio.sleep(0.2)
        assert ask(database, MINUTES) == [(2,)]
    async with minutes_leaving(keeping(tmp_path, 30), database, every_s=0.01):
        await until(database, MINUTES, 1)


async def test_what_fails_is_said_and_tried_again(database: Database, tmp_path: Path) -> None:
    with capture_logs() as logs, psycopg.connect(database.url, autocommit=True) as connection:

        def reconnect(setting: str) -> None:
            connection.execute(f"alter database {connection.info.dbname} {setting}")
            connection.execute("select pg_terminate_backend(pid) from pg_stat_activity where application_name ~ 'test'")

        reconnect("set default_transaction_read_only = on")
        async with minutes_leaving(keeping(tmp_path, 30), database, every_s=0.05):
            await asyncio.sleep(0.5)
            assert ask(database, MINUTES) == [(2,)]
            reconnect("reset default_transaction_read_only")
            await until(database, MINUTES, 1)
    assert any("store.keep_minutes_days, and stay for now" in line["event"] for line in logs)


@pytest.mark.parametrize("days", [0.5, 0.999])
async def test_less_than_a_day_is_refused_by_name(database: Database, tmp_path: Path, days: float) -> None:
    with pytest.raises(Misconfigured, match="0: for ever") as told:
        async with minutes_leaving(keeping(tmp_path, days), database):
            pass
    assert told.value.setting == "store.keep_minutes_days"


def test_a_day_is_enough_and_a_very_long_time_is_no_error(tmp_path: Path) -> None:
    assert minutes_kept(keeping(tmp_path, 1)) == timedelta(days=1)
    assert minutes_kept(keeping(tmp_path, 1e300)) == timedelta(days=DAYS_MAX)
