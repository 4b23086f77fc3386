"""What leaves the database while the archive keeps two classes: by the files it needs, and by none that may expire."""

import asyncio
import contextlib
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.errors import Tampered
from penstock.store.archive import Retention
from penstock.store.archive_files import FilesArchive
from penstock.store.forget_books import ForgetBooks, Keeping
from penstock.store.forgetter import Forgetter, Forgotten
from penstock.store.postgres import Database
from store import test_archive, test_forget
from store.test_archive import folder, in_files, manifests, seal_all
from store.test_archive_classes import by_class, turn, turns
from store.test_forget import (
    DAY_0,
    DAYS,
    SHORT,
    World,
    all_in_database,
    forgetter,
    full_batches,
    touch,
    two_days,
    union_is,
)
from store.test_history import ask, good
from store.test_history_machine import DAY, Writer

database, writer, files = test_archive.database, test_archive.writer, test_archive.files
BOTH = Keeping(timedelta(days=7), timedelta(days=7))
STANDARD_ONLY, CRITICAL_ONLY = Keeping(timedelta(days=7), None), Keeping(None, timedelta(days=7))
OVER = timedelta(seconds=-1)


class Watched:
    """Notes which objects are asked for."""

    def __init__(self, files: FilesArchive) -> None:
        self.url, self.retention, self._files = files.url, files.retention, files
        self.shown: list[str] = []

    async def read(self, key: str) -> bytes:
        return await self._files.read(key)

    async def show(self, key: str, *given: Any) -> None:
        self.shown.append(key)
        await self._files.show(key, *given)


@pytest.fixture
async def archived(database: Database, writer: Writer, files: FilesArchive) -> list[tuple[Any, ...]]:
    """Three days of a critical tag, 1, and another, 2."""
    turn(database.url, [1])
    await two_days(writer)
    await seal_all(database)
    await by_class(database, files).run()
    return all_in_database(database.url)


def lapse(url: str, files: FilesArchive, *, left: timedelta = OVER, days: int = 99) -> None:
    """Files of class standard need not be there any more, of the first *days*; those whose time is over are not."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "update archive_segment set standard_until = clock_timestamp() + %s where standard_until is not null"
            " and day in (select distinct day from archive_segment order by day limit %s)",
            (left, days),
        )
        gone = connection.execute(
            "select key from archive_object join archive_segment using (day, number)"
            " where class = 'standard' and standard_until <= now()"
        ).fetchall()
    for (key,) in gone:
        (folder(files) / key).unlink(missing_ok=True)


async def test_only_manifests_and_files_of_tags_that_are_due_are_looked_at(
    database: Database, archived: list[Any], files: FilesArchive
) -> None:
    days = [told["day"] for told in manifests(files)]
    for keeping, place in ((STANDARD_ONLY, "standard/day="), (CRITICAL_ONLY, "day=")):
        watched = Watched(files)
        assert await forgetter(database, watched, keeping).run() == Forgotten(2, 2, 100)
        assert [key.rpartition("-")[0] for key in watched.shown if key.endswith(".json")] == [
            f"day={day}/0001" for day in days[:2]
        ]
        assert [key.split("/0001")[0] for key in watched.shown if key.endswith("parquet")] == [
            f"{place}{day}" for day in days[:2]
        ]
    union_is(database.url, files, archived)


async def test_critical_readings_leave_also_when_the_others_have_expired(
    database: Database, archived: list[Any], files: FilesArchive
) -> None:
    assert (await forgetter(database, files, STANDARD_ONLY).run()).readings == 100
    lapse(database.url, files)
    assert (await forgetter(database, files, BOTH).run()).readings == 100
    assert ask(database, "select tag_id, readings from forgotten order by 1") == [(1, 100), (2, 100)]


@pytest.mark.parametrize("left", [OVER, timedelta(hours=23)])
@pytest.mark.parametrize("now_critical", [[1], [1, 2], []])
async def test_what_the_archive_need_not_hold_for_another_day_stays_and_holds_up_nothing(
    database: Database, archived: list[Any], files: FilesArchive, left: timedelta, now_critical: list[int]
) -> None:
    """Whatever the tag is by now: that it was standard when archived is what counts, and that another was critical."""
    turn(database.url, now_critical)
    lapse(database.url, files, left=left, days=1)
    assert await forgetter(database, files, BOTH).run() == Forgotten(2, 3, 150)
    assert ask(database, "select tag_id, readings from forgotten order by 1") == [(1, 100), (2, 50)]
    assert await forgetter(database, files, BOTH).run() == Forgotten()
    here, there = all_in_database(database.url), in_files(files)
    assert sorted({*here, *there}, key=repr) == archived
    assert [row for row in here if row[1] < DAY_0 + DAY] == [
        row for row in archived if row[0] == "site/2" and row[1] < DAY_0 + DAY
    ]


@pytest.mark.parametrize("column", ["kept_until", "locked_until"])
async def test_a_day_that_the_archive_need_not_hold_at_all_stays_and_holds_up_nothing(
    database: Database, archived: list[Any], files: FilesArchive, column: str
) -> None:
    """Of whatever class; of what an older version archived only the lock is known."""
    await run_in(database, "update archive_segment set kept_until = null")
    first = "select min(day) from archive_segment"
    await run_in(database, f"update archive_segment set {column} = now() + interval '23 hours' where day = ({first})")
    assert await forgetter(database, files, BOTH).run() == Forgotten(1, 2, 100)
    union_is(database.url, files, archived)
    assert (await ForgetBooks(database).floors(["site/1"]))["site/1"].expired_before is None
    await run_in(database, f"update archive_segment set {column} = now() where day = ({first})")
    floors = await ForgetBooks(database).floors(["site/1", "site/2"])
    assert {it.expired_before for it in floors.values()} == {day(1)}, "critical readings do not stay for ever either"


async def test_where_it_is_said_to_be_is_where_it_went_though_the_archive_is_another_by_now(
    database: Database, archived: list[Any], files: FilesArchive
) -> None:
    await forgetter(database, files, BOTH).run()
    await run_in(
        database,
        "update archive_segment set url = 'files:/elsewhere', archived_at = now() + interval '1 hour'"
        " where day = (select max(day) from archive_segment)",
    )
    books = ForgetBooks(database)
    floor = await books.floor(1)
    assert floor is not None
    assert (floor.url, (await books.status()).url) == (files.url, files.url)


async def run_in(database: Database, statement: str) -> None:
    async with database.transaction() as connection:
        await connection.execute(statement)  # type: ignore[arg-type]  # of our own


async def test_a_tag_leaves_by_the_class_it_is_and_is_shown_in_the_file_where_it_was(
    database: Database, archived: list[Any], files: FilesArchive
) -> None:
    turn(database.url, [2])
    watched = Watched(files)
    assert (await forgetter(database, watched, CRITICAL_ONLY).run()).readings == 100
    assert ask(database, "select tag_id from forgotten") == [(2,)]
    assert {key.split("day=")[0] for key in watched.shown if key.endswith("parquet")} == {"standard/"}
    lapse(database.url, files)
    assert (await forgetter(database, watched, STANDARD_ONLY).run()).readings == 100, "1 was critical: all is there"


@pytest.mark.parametrize("how", ["gone", "cut", "bit"])
async def test_a_damaged_file_holds_up_its_own_class_only(
    database: Database, archived: list[Any], files: FilesArchive, how: str
) -> None:
    (first, *_) = sorted(folder(files).glob("standard/*/*.parquet"))
    touch(first, how)
    with pytest.raises(Tampered):
        await forgetter(database, files, BOTH).run()
    assert all_in_database(database.url) == archived
    assert (await forgetter(database, files, CRITICAL_ONLY).run()).readings == 100
    with pytest.raises(Tampered):
        await forgetter(database, files, STANDARD_ONLY).run()


async def test_an_archive_with_fewer_readings_of_a_tag_that_is_due_deletes_nothing(
    database: Database, archived: list[Any], files: FilesArchive
) -> None:
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute("""
            insert into segment (tag_id, t0, t1, n, unit, level, dt, k, d, flush_lo, flush_hi)
            select tag_id, t0, t1, n, unit, level, dt, k, d, flush_lo, flush_hi from segment where tag_id = 2
            limit 1""")
    with pytest.raises(Tampered, match="site/2"):
        await forgetter(database, files, BOTH).run()
    assert ask(database, "select * from forgotten") == []
    assert (await forgetter(database, files, CRITICAL_ONLY).run()).readings == 100


async def test_a_file_whose_own_time_ends_within_a_day_is_no_reason_to_delete_whatever_the_books_say(
    database: Database, writer: Writer, files: FilesArchive
) -> None:
    await two_days(writer)
    await seal_all(database)
    await by_class(database, files, keep_standard=timedelta(hours=23)).run()
    assert await forgetter(database, files).run() == Forgotten()
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute("update archive_segment set standard_until = null")
    with pytest.raises(Tampered, match="not for another day"):
        await forgetter(database, files).run()
    assert ask(database, "select * from forgotten") == []


async def test_days_of_one_class_and_of_two_leave_alike(
    database: Database, writer: Writer, files: FilesArchive, archived: list[Any]
) -> None:
    """An archive that was begun with one class goes on with two, and back; late readings of either among them."""
    for hour, standard in ((1, None), (2, timedelta(days=90))):
        await writer.flush([good(tag, DAY_0 + hour * 3_600_000_000, 1.0) for tag in (1, 2)])
        await seal_all(database)
        await by_class(database, files, keep_standard=standard).run()
    before = all_in_database(database.url)
    assert (await forgetter(database, files, BOTH).run()).readings == 204
    union_is(database.url, files, before)


async def test_whoever_asks_learns_what_may_be_nowhere_any_more(
    database: Database, archived: list[Any], files: FilesArchive
) -> None:
    """Of the tags that were standard then, up to what left the database; not of those that were critical."""
    books = ForgetBooks(database)
    await forgetter(database, files, BOTH).run()
    turn(database.url, [2])
    assert [(await told(books, tag)) for tag in (1, 2)] == [(2, None), (2, None)]
    lapse(database.url, files, days=1)
    assert [(await told(books, tag)) for tag in (1, 2)] == [(2, None), (2, 1)]
    lapse(database.url, files)
    assert [(await told(books, tag)) for tag in (1, 2)] == [(2, None), (2, 2)], "the third day is in the database"
    assert await books.expired() == day(2)
    floors = await books.floors(["site/1", "site/2", "site/3"])
    assert {path: it.expired_before for path, it in floors.items()} == {"site/1": None, "site/2": day(2)}


async def told(books: ForgetBooks, tag: int) -> tuple[int | None, int | None]:
    """Days from the first: before, expired before."""
    floor = await books.floor(tag)
    assert floor is not None
    return tuple(None if it is None else (it - day(0)).days for it in (floor.before, floor.expired_before))  # type: ignore[return-value]


def day(number: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=DAY_0, days=number)


async def test_what_is_in_the_database_alone_is_not_told_to_be_gone_when_nothing_left(
    database: Database, archived: list[Any], files: FilesArchive
) -> None:
    lapse(database.url, files)
    assert await ForgetBooks(database).floor(2) is None
    assert await ForgetBooks(database).expired() is None


class ClassedWorld(World):
    """Also forgets what expired, as it may: what had left the database before."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.expired: set[tuple[Any, ...]] = set()

    async def do(self, step: str, batch: Any) -> None:
        match step:
            case "turn":
                turn(self.database.url, batch)
            case "archive":
                await by_class(self.database, self.files, part_readings=5).run()
            case "expire":
                before = {*in_files(self.files)}
                lapse(self.database.url, self.files)
                self.expired |= before - {*in_files(self.files)} - {*all_in_database(self.database.url)}
            case _:
                await super().do(step, batch)

    async def check(self) -> None:
        here, there = all_in_database(self.database.url), in_files(self.files)
        assert {*here, *there} | self.expired == {*self.stored}, "nothing is lost but what expired"
        assert (len({*here}), len({*there})) == (len(here), len(there)), "nothing twice"
        floors = await ForgetBooks(self.database).floors([f"site/{tag}" for tag in range(1, 251)])
        for path, ts, *_ in self.expired:
            expired_before = floors[path].expired_before
            assert expired_before is not None
            assert ts < expired_before.timestamp() * 1e6, "who asks is told"


def next_step() -> Any:
    usual = st.tuples(st.sampled_from(["store", "seal", "compact", "archive", "forget", "die", "torn"]), full_batches)
    return st.one_of(usual, usual, st.tuples(st.just("turn"), turns), st.tuples(st.just("expire"), st.none()))


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(next_step(), min_size=5, max_size=12), full_batches, st.tuples(turns, turns, st.integers(1, 3)))
def test_nothing_is_lost_but_what_expired_after_it_left(
    postgres_url: str, tmp_path_factory: pytest.TempPathFactory, steps: Any, batch: Any, turned: Any
) -> None:
    first, then, packs_max = turned

    async def check() -> None:
        test_archive.begin_anew(postgres_url)
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            connection.execute("truncate forgotten, archive_standard")
        async with test_forget.started(postgres_url) as (database, torn, writer):
            files = FilesArchive(tmp_path_factory.mktemp("archive"), Retention.EPHEMERAL)
            world = ClassedWorld(database, torn, writer, files, packs_max)
            leaving = [("seal", []), ("archive", []), ("forget", [])]
            begin = [("turn", first), ("store", batch), *leaving, ("turn", then), ("store", batch[::2])]
            for step, readings in [*begin, *steps, *leaving, ("expire", None)]:
                await world.do(step, readings)
                await world.check()

    asyncio.run(check())


class Careless(Forgetter):
    """The control: takes what was archived for what is there."""

    async def _shown(self, day: Any, archived: int, paths: Any) -> Any:
        return {tag.path: tag.readings for tag in await self._books.held(day)}


async def test_control_a_forgetter_that_counts_on_what_has_expired_loses_readings(
    database: Database, archived: list[Any], files: FilesArchive
) -> None:
    lapse(database.url, files)
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute("update archive_segment set standard_until = null")
    with pytest.raises(Tampered):
        await forgetter(database, files, BOTH).run()
    await Careless(database, files, SHORT).run()
    with pytest.raises(AssertionError, match="nothing is lost"):
        union_is(database.url, files, archived)


@pytest.mark.slow
async def test_kill_9_with_two_classes_loses_nothing_and_leaves_no_file_over(
    database: Database, writer: Writer, files: FilesArchive
) -> None:
    """With tags that turn between one life and the next."""
    for number in range(DAYS):
        await writer.flush([good(tag, DAY_0 + number * DAY + i, i / 7) for tag in range(1, 21) for i in range(20)])
    await seal_all(database)
    stored = all_in_database(database.url)
    script = str(Path(__file__).with_name("crash_forget.py"))
    command = [sys.executable, script, database.url, str(folder(files)), "90"]
    kills, running = 0, None
    while running is None or running.returncode != 0:
        turn(database.url, [*range(1 + kills % 5, 11)])
        running = await asyncio.create_subprocess_exec(*command)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(running.wait(), 1.0 + 0.13 * kills)
            continue
        running.kill()
        await running.wait()
        kills += 1
        union_is(database.url, files, stored)
    assert kills >= test_forget.KILLS_MIN
    union_is(database.url, files, stored)
    assert {file.name for file in folder(files).rglob("*.parquet")} == {
        key.split("/")[-1] for (key,) in ask(database, "select key from archive_object")
    }
