"""Critical readings and others: files of their own, kept for different times, and still each reading once."""

import asyncio
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.errors import Unavailable
from penstock.store.archive import Kept, Retention
from penstock.store.archive_files import FilesArchive
from penstock.store.archiver import Archiver
from penstock.store.postgres import Database
from store import test_archive
from store.test_archive import (
    LONG_AGO,
    Failing,
    archiver,
    begin_anew,
    folder,
    in_database,
    in_files,
    manifests,
    prepared,
    seal_all,
)
from store.test_history import ask, good
from store.test_history_machine import DAY, Writer
from store.test_history_machine import batches as any_batches

database, writer, files = test_archive.database, test_archive.writer, test_archive.files
QUARTER = timedelta(days=90)
OF_A_FILE = {"key", "sha256", "size_bytes", "readings", "ts_lo", "ts_hi", "tags"}


def by_class(database: Database, archive: Any, **limits: Any) -> Archiver:
    return archiver(database, archive, **{"keep_standard": QUARTER} | limits)


def turn(url: str, critical: list[int]) -> None:
    """From now on these tags are critical, and no other."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            'update tag set config = case when tag_id = any(%s) then config || \'{"criticality": "critical"}\'::jsonb'
            " else config - 'criticality' end",
            (critical,),
        )


async def stored(database: Database, writer: Writer, *tags: int) -> None:
    await writer.flush([good(tag, LONG_AGO + i, i / 7) for tag in tags for i in range(50)])
    await seal_all(database)


def is_written_down_once(url: str, archive: FilesArchive) -> None:
    """Each reading is in one file that is written down, and nothing else lies there."""
    told = [(key,) for (key,) in ask_url(url, "select key from archive_object order by key")]
    there = sorted(str(file.relative_to(folder(archive))) for file in folder(archive).rglob("*.parquet"))
    assert told == [(key,) for key in there]
    assert in_files(archive) == in_database(url)


def ask_url(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query).fetchall()


async def test_each_class_has_files_of_its_own_and_one_manifest_names_them(
    database: Database, writer: Writer, files: FilesArchive
) -> None:
    turn(database.url, [10, 2])
    await stored(database, writer, 1, 2, 10, 100)
    done = await by_class(database, files).run()
    (told,) = manifests(files)
    critical, standard = told["objects"]
    assert (done.segments, done.objects, done.readings, told["readings"]) == (1, 2, 200, 200)
    day = told["day"]
    assert critical["key"] == f"day={day}/0001-0001-{critical['sha256'][:16]}.parquet"
    assert standard["key"] == f"standard/day={day}/0001-0002-{standard['sha256'][:16]}.parquet"
    assert [file.parent.name for file in folder(files).rglob("*.json")] == [f"day={day}"]
    assert (critical["class"], [*critical["tags"]]) == ("critical", ["site/10", "site/2"])
    assert (standard["class"], [*standard["tags"]]) == ("standard", ["site/1", "site/100"])
    kept = [datetime.fromisoformat(file["kept_until"]) for file in (critical, standard)]
    begun = datetime.fromisoformat(told["made_at"]).replace(microsecond=0)
    assert kept == [begun + timedelta(days=2_557), begun + QUARTER]
    assert set(standard) == OF_A_FILE | {"class", "kept_until"}
    assert ask(database, "select part, class, key from archive_object order by part") == [
        (1, "critical", critical["key"]), (2, "standard", standard["key"]),
    ]  # fmt: skip
    assert ask(database, "select standard_until from archive_segment") == [(kept[1],)]
    assert ask(database, "select tag_id, first_day::text, last_day::text from archive_standard order by 1") == [
        (1, day, day), (100, day, day),
    ]  # fmt: skip
    assert ask(database, "select critical from archive_day") == [(None,)]
    for file in (critical, standard):
        rows = duckdb.sql(f"select tag, epoch_us(ts) from '{folder(files) / file['key']}'").fetchall()
        assert rows == sorted(rows)
    is_written_down_once(database.url, files)


async def test_with_one_class_keys_manifest_and_books_are_as_they_ever_were(
    database: Database, writer: Writer, files: FilesArchive
) -> None:
    turn(database.url, [2])
    await stored(database, writer, 1, 2)
    await archiver(database, files).run()
    (told,) = manifests(files)
    (file,) = told["objects"]
    assert set(file) == OF_A_FILE
    assert file["key"] == f"day={told['day']}/0001-0001-{file['sha256'][:16]}.parquet"
    assert [*told] == [
        "schema", "day", "number", "flush_lo", "flush_hi", "made_at", "readings", "size_bytes", "ts_lo", "ts_hi",
        "columns", "replaces", "previous", "objects",
    ]  # fmt: skip
    assert ask(database, "select class from archive_object") == [(None,)]
    assert ask(database, "select standard_until from archive_segment") == [(None,)]
    assert ask(database, "select * from archive_standard") == []


@pytest.mark.parametrize(("critical", "parts"), [([], ["standard"]), ([1, 2], ["critical"])])
async def test_a_class_without_readings_has_no_file(
    database: Database, writer: Writer, files: FilesArchive, critical: list[int], parts: list[str]
) -> None:
    turn(database.url, critical)
    await stored(database, writer, 1, 2)
    await by_class(database, files).run()
    assert ask(database, "select part, class from archive_object") == [(1, *parts)]


async def test_files_end_with_a_tag_in_each_class_and_numbers_run_through(
    database: Database, writer: Writer, files: FilesArchive
) -> None:
    turn(database.url, [2, 4])
    await stored(database, writer, 1, 2, 3, 4, 5)
    await by_class(database, files, part_readings=50).run()
    assert ask(database, "select part, class, readings from archive_object order by part") == [
        (1, "critical", 50), (2, "critical", 50), (3, "standard", 50), (4, "standard", 50), (5, "standard", 50),
    ]  # fmt: skip
    is_written_down_once(database.url, files)


async def test_what_comes_late_is_split_by_what_its_tag_is_then(
    database: Database, writer: Writer, files: FilesArchive
) -> None:
    await stored(database, writer, 1, 2)
    await by_class(database, files).run()
    turn(database.url, [1])
    await writer.flush([good(tag, LONG_AGO + 1_000, 1.0) for tag in (1, 2)])
    await seal_all(database)
    await by_class(database, files).run()
    assert ask(database, "select number, part, class, readings from archive_object order by 1, 2") == [
        (1, 1, "standard", 100), (2, 1, "critical", 1), (2, 2, "standard", 1),
    ]  # fmt: skip
    is_written_down_once(database.url, files)


async def test_locks_run_for_the_time_of_the_class_and_the_manifest_s_for_the_longer(
    database: Database, writer: Writer, files: FilesArchive
) -> None:
    asked: dict[str, datetime | None] = {}

    class Locking(Failing):
        async def put(self, key: str, file: Path, digest: bytes, until: datetime | None) -> Kept:
            asked[key] = until
            await super().put(key, file, digest, None)
            return Kept("tag", "version", until)

    turn(database.url, [1])
    await stored(database, writer, 1, 2)
    locking = Locking(files, 9, kept=True)
    locking.retention = Retention.GOVERNANCE
    await by_class(database, locking).run()
    (told,) = manifests(files)
    begun = datetime.fromisoformat(told["made_at"]).replace(microsecond=0)
    days = {key.split("/")[0] + key[-8:]: (until - begun).days for key, until in asked.items() if until is not None}
    day = f"day={told['day']}"
    assert {name[-7:]: days_ for name, days_ in days.items() if name.startswith("standard")} == {"parquet": 90}
    assert sorted(days_ for name, days_ in days.items() if name.startswith(day)) == [2_557, 2_557]
    ((standard_until,),) = ask(database, "select standard_until from archive_segment")
    assert standard_until == begun + QUARTER


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("nth", [1, 2, 3])  # the critical file, the other, the manifest
async def test_a_tag_that_turns_between_a_crash_and_the_repeat_is_what_it_was(
    database: Database, writer: Writer, files: FilesArchive, nth: int, kept: bool
) -> None:
    """So that the repeat makes the same objects: none is left over, and no reading lies there twice."""
    turn(database.url, [1])
    await stored(database, writer, 1, 2)
    with pytest.raises(Unavailable):
        await by_class(database, Failing(files, nth, kept=kept)).run()
    turn(database.url, [2])
    await by_class(database, files).run()
    assert ask(database, "select class, key like 'standard/%' from archive_object order by part") == [
        ("critical", False), ("standard", True),
    ]  # fmt: skip
    assert ask(database, "select tag_id from archive_standard") == [(2,)]
    assert len(manifests(files)) == 1
    is_written_down_once(database.url, files)


@pytest.mark.parametrize(("before", "after"), [(None, QUARTER), (QUARTER, None), (QUARTER, 2 * QUARTER)])
async def test_a_setting_that_changes_between_a_crash_and_the_repeat_doubles_no_file(
    database: Database, writer: Writer, files: FilesArchive, before: timedelta | None, after: timedelta | None
) -> None:
    turn(database.url, [1])
    await stored(database, writer, 1, 2)
    with pytest.raises(Unavailable):
        await by_class(database, Failing(files, 2, kept=True), keep_standard=before).run()
    await by_class(database, files, keep_standard=after).run()
    assert len(list(folder(files).rglob("*.parquet"))) == (1 if before is None else 2)
    is_written_down_once(database.url, files)


class Forgetful(Archiver):
    """The control: looks again at what tags are, instead of at what was written down when the day was begun."""

    async def run(self, **given: Any) -> Any:
        async with self._database.transaction() as connection:
            await connection.execute(
                "update archive_day set critical ="
                " array(select tag_id from tag where config->>'criticality' = 'critical') where begun is not null"
            )
        return await super().run(**given)


async def test_control_classes_that_are_looked_up_anew_leave_readings_twice_in_the_archive(
    database: Database, writer: Writer, files: FilesArchive
) -> None:
    """In the archive; what is written down is right even so."""
    turn(database.url, [1])
    await stored(database, writer, 1, 2)
    with pytest.raises(Unavailable):
        await by_class(database, Failing(files, 3, kept=False)).run()
    turn(database.url, [1, 2])
    forgetful = Forgetful(database, files, by_class(database, files)._limits)
    await forgetful.run()
    assert ask(database, "select sum(readings) from archive_object") == [(100,)]
    with pytest.raises(AssertionError):
        is_written_down_once(database.url, files)


async def test_two_archivers_and_a_tag_that_turns_archive_once(
    database: Database, writer: Writer, files: FilesArchive
) -> None:
    turn(database.url, [1])
    await stored(database, writer, 1, 2)

    async def turning() -> None:
        for critical in ([2], [1, 2], [], [1]):
            await asyncio.to_thread(turn, database.url, critical)

    done = await asyncio.gather(*(by_class(database, files).run() for _ in range(3)), turning())
    assert sum(each.readings for each in done if each) == 100
    is_written_down_once(database.url, files)


turns = st.lists(st.sampled_from([1, 2, 101]), unique=True)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(turns, any_batches, turns, st.integers(1, 6)), min_size=1, max_size=3))
def test_files_of_two_classes_hold_what_the_view_holds_to_the_bit(
    postgres_url: str, tmp_path_factory: pytest.TempPathFactory, steps: Any
) -> None:
    """Through tags that turn at any time, crashes at any object, late readings and files of any size."""

    async def check() -> None:
        begin_anew(postgres_url)
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            connection.execute("truncate archive_standard")
        database = Database(postgres_url, application="test", connections_max=6)
        await database.open()
        writer = await prepared(database)
        files = FilesArchive(tmp_path_factory.mktemp("archive"), Retention.EPHEMERAL)
        for before, batch, after, nth in steps:
            turn(postgres_url, before)
            await writer.flush([((tag, ts - 400 * DAY, seq), content) for (tag, ts, seq), content in batch])
            await seal_all(database)
            for failing in (Failing(files, nth, kept=bool(nth % 2)), files):
                try:
                    await by_class(database, failing, part_readings=nth).run()
                except Unavailable:
                    turn(postgres_url, after)
        is_written_down_once(postgres_url, files)
        classes = {
            file["key"]: dict.fromkeys(file["tags"], file["class"])
            for told in manifests(files) for file in told["objects"]
        }  # fmt: skip
        assert all(("standard/" in key) == ({*tags.values()} == {"standard"}) for key, tags in classes.items())
        await writer.history.close()
        await database.close()

    asyncio.run(check())


async def test_engines_read_one_class_or_both(database: Database, writer: Writer, files: FilesArchive) -> None:
    turn(database.url, [1])
    await stored(database, writer, 1, 2)
    await by_class(database, files).run()
    for glob, tags in (("day=*", [1]), ("standard/day=*", [2]), ("**/day=2025-*", [1, 2])):
        rows = duckdb.sql(f"select distinct tag from read_parquet('{folder(files)}/{glob}/*.parquet') order by 1")
        assert rows.fetchall() == [(f"site/{tag}",) for tag in tags]
