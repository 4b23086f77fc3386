"""The archiver beside the worker: it archives by itself, and what is wrong with it stops nothing else."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from penstock.compose.archive import archive_now, archiving, opened_archive
from penstock.errors import Misconfigured
from penstock.keeping import keeping_of, limits_of
from penstock.settings import Settings, read_settings
from penstock.store.archive_s3 import S3Archive
from penstock.store.archiver import only_archiver
from penstock.store.history import PostgresHistory
from penstock.store.postgres import Database
from penstock.telemetry import ARCHIVE_WAITING
from store.test_archive import seal_all, waiting_days
from store.test_history import ask, good, make_tags
from store.test_history_machine import DAY, NOW, Writer


@pytest.fixture
async def database(postgres_url: str) -> AsyncIterator[Database]:
    database = Database(postgres_url, application="test", connections_max=6)
    await database.open()
    history = PostgresHistory(database)
    await make_tags(history)
    await (await Writer.start(history)).flush([good(1, NOW - 400 * DAY, 1.0), good(2, NOW - 30 * DAY, 1.0)])
    yield database
    await history.close()
    await database.close()


def given(tmp_path: Path, **archive: Any) -> Settings:
    there = {"url": f"files:{tmp_path / 'archive'}", "retention": "ephemeral", "every_s": 0.05}
    return read_settings(data=tmp_path, archive=there | archive)


async def test_now_seals_first_and_tells_how_far_it_is(database: Database, tmp_path: Path) -> None:
    told: list[Any] = []
    done = await archive_now(given(tmp_path), database, lambda *it: told.append(it))
    assert done is not None
    assert (done.segments, done.readings) == (2, 2)
    assert [(done, most) for _, done, most in told] == [(1, 1), (1, 1)]


async def test_now_is_refused_while_another_archives(database: Database, tmp_path: Path) -> None:
    async with only_archiver(database) as ours:
        assert ours
        assert await archive_now(given(tmp_path), database, lambda *_: None) is None


async def test_it_archives_meanwhile_and_ends_with_the_work(database: Database, tmp_path: Path) -> None:
    settings = given(tmp_path)
    await archive_now(settings, database, lambda *_: None)
    history = PostgresHistory(database)
    async with archiving(given(tmp_path, late_h=0), database), asyncio.timeout(10):
        await (await Writer.start(history)).flush([good(1, NOW - 200 * DAY, 1.0)])
        await archive_now(settings, database, lambda *_: None)  # to have it sealed; either may archive it
        while ask(database, "select count(*) from archive_segment") != [(3,)]:  # noqa: ASYNC110  # told by the database only
            await asyncio.sleep(0.05)
    async with only_archiver(database) as ours:
        assert ours, "the lock is let go"
    await history.close()


async def test_a_folder_that_cannot_be_written_stops_nothing_and_what_waits_is_told(
    database: Database, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    await seal_all(database)
    ARCHIVE_WAITING.set(0)
    async with archiving(given(tmp_path, url=f"files:{tmp_path / 'file' / 'below'}"), database), asyncio.timeout(10):
        while waiting_days() != 2:  # noqa: ASYNC110  # told by the metric only
            await asyncio.sleep(0.05)
    assert ask(database, "select count(*) from archive_segment") == [(0,)]


@pytest.mark.parametrize(
    ("archive", "setting"),
    [
        ({"url": "ftp://x"}, "archive.url"),
        ({"url": "s3://"}, "archive.url"),
        ({"retention": "sealed"}, "archive.retention"),
        ({"url": "s3://b", "endpoint": "nowhere"}, "archive.endpoint"),
    ],
)
async def test_settings_that_cannot_be_meant_stop_the_start(
    database: Database, tmp_path: Path, archive: dict[str, Any], setting: str
) -> None:
    with pytest.raises(Misconfigured) as told:
        async with archiving(given(tmp_path, **archive), database):
            pass
    assert told.value.setting == setting


async def test_none_is_no_archive(database: Database, tmp_path: Path) -> None:
    async with archiving(given(tmp_path, url=""), database):
        pass
    with pytest.raises(Misconfigured, match="not set"):
        await archive_now(given(tmp_path, url=""), database, lambda *_: None)


async def test_a_bucket_is_opened_by_its_url(tmp_path: Path) -> None:
    async with opened_archive(given(tmp_path, url="s3://bucket/a/", region="eu-west-1")) as archive:
        assert isinstance(archive, S3Archive)
        assert archive.url == "s3://bucket/a"


LOCKED = {"url": "s3://b", "retention": "sealed", "region": "eu-west-3"}


@pytest.mark.parametrize(
    ("store", "more", "setting"),
    [
        ({"keep_days": 30}, {"archive": {"url": ""}}, "store.keep_days"),
        ({"keep_critical_days": 30}, {"archive": {"url": ""}}, "store.keep_critical_days"),
        ({"keep_days": 30}, {}, "store.keep_days"),
        ({"keep_days": 4}, {"process": {"window_days": 3}}, "store.keep_days"),
        ({"keep_days": 30, "keep_critical_days": 3}, {"process": {"window_days": 3}}, "store.keep_critical_days"),
        (
            {"keep_days": 30},
            {
                "process": {"window_days": 3},
                "archive": {"url": "s3://b", "retention": "sealed", "retention_days": 30, "region": "eu-west-3"},
            },
            "store.keep_days",
        ),
        (
            {"keep_days": 30},
            {"process": {"window_days": 3}, "archive": LOCKED | {"standard_days": 31}},
            "store.keep_days",
        ),
        (
            {"keep_days": 30, "keep_critical_days": 89.5},
            {"process": {"window_days": 3}, "archive": LOCKED | {"standard_days": 60, "retention_days": 90}},
            "store.keep_critical_days",
        ),
        ({}, {"archive": LOCKED | {"standard_days": 90, "retention_days": 89}}, "archive.standard_days"),
    ],
)
async def test_readings_may_leave_only_where_something_keeps_them_and_none_can_still_come(
    database: Database, tmp_path: Path, store: dict[str, Any], more: dict[str, Any], setting: str
) -> None:
    settings = read_settings(
        data=tmp_path, store=store, **({"archive": {"url": f"files:{tmp_path}", "retention": "ephemeral"}} | more)
    )
    with pytest.raises(Misconfigured) as told:
        async with archiving(settings, database):
            pass
    assert told.value.setting == setting


@pytest.mark.parametrize("retention", ["sealed", "ephemeral"])
def test_times_that_leave_the_archive_a_day_more_than_the_database_are_taken(tmp_path: Path, retention: str) -> None:
    """Critical ones may stay longer than the archive keeps others: of a tag that turned, what may expire stays too."""
    settings = read_settings(
        data=tmp_path,
        archive=LOCKED | {"retention": retention, "standard_days": 90, "retention_days": 365},
        process={"window_days": 3},
        store={"keep_days": 88, "keep_critical_days": 90},
    )
    assert keeping_of(settings) == (timedelta(days=88), timedelta(days=90))
    limits = limits_of(settings)
    assert (limits.keep, limits.keep_standard) == (timedelta(days=365), timedelta(days=90))
    assert limits_of(given(tmp_path)).keep_standard is None


async def test_what_is_archived_leaves_by_itself_when_it_is_old(database: Database, tmp_path: Path) -> None:
    kept = read_settings(
        data=tmp_path,
        archive=given(tmp_path).archive.model_dump(),
        process={"window_days": 3},
        store={"keep_days": 5, "keep_critical_days": 2_000},
    )
    history = PostgresHistory(database)
    await (await Writer.start(history)).flush([good(1, NOW - 399 * DAY, 1.0)])
    await seal_all(database)
    async with archiving(kept, database), asyncio.timeout(20):
        while ask(database, "select tag_id, readings from forgotten") != [(1, 1)]:  # noqa: ASYNC110  # told by the database only
            await asyncio.sleep(0.05)
    assert ask(database, "select count(*) from readings") == [(2,)], "each tag's newest stays"
    await history.close()
