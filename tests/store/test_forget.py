"""What leaves the database is in the archive, to the bit and once: whatever crashes, comes late or is tampered with."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.errors import Tampered
from penstock.model.batch import NO_SEQ
from penstock.store.archive import Retention
from penstock.store.archive_files import FilesArchive
from penstock.store.follow import Tail
from penstock.store.forget_books import ForgetBooks, Gone, Keeping
from penstock.store.forgetter import Forgetter, Forgotten
from penstock.store.port import Known, Span
from penstock.store.postgres import Database
from penstock.store.read import Reader
from penstock.store.seal import Sealer
from store import test_archive
from store.test_archive import LONG_AGO, archiver, exact, folder, in_files, prepared, seal_all
from store.test_history import ask, good
from store.test_history_machine import DAY, NOW, Torn, Writer, contents, rows_of
from store.test_history_machine import batches as any_batches

database, writer, files = test_archive.database, test_archive.writer, test_archive.files
SHORT = Keeping(timedelta(days=7), timedelta(days=7))
DAY_0 = LONG_AGO // DAY * DAY
NOW_0 = datetime(1970, 1, 1, tzinfo=UTC)
DAYS, KILLS_MIN = 40, 3


def forgetter(database: Database, archive: Any, keeping: Keeping = SHORT, packs_max: int = 500) -> Forgetter:
    return Forgetter(database, archive, keeping, packs_max=packs_max)


def all_in_database(url: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        connection.execute("set TimeZone = 'UTC'")
        rows = connection.execute(
            "select path, ts, value, state, quality, seq, received_at, stored_at from readings"
        ).fetchall()
    return sorted(map(exact, rows), key=repr)


async def two_days(writer: Writer) -> None:
    """Of two tags, in each of three days, the last of which has the tags' newest readings."""
    for day in range(3):
        await writer.flush([good(tag, DAY_0 + day * DAY + i, i / 7 + day) for tag in (1, 2) for i in range(50)])


@pytest.fixture
async def archived(database: Database, writer: Writer, files: FilesArchive) -> list[tuple[Any, ...]]:
    await two_days(writer)
    await seal_all(database)
    await archiver(database, files).run()
    return all_in_database(database.url)


async def test_days_that_are_archived_and_old_leave_and_the_newest_reading_stays(
    database: Database, archived: list[Any], files: FilesArchive
) -> None:
    assert await forgetter(database, files).run() == Forgotten(2, 4, 200)
    assert len(all_in_database(database.url)) == 100
    assert in_files(files) == archived
    assert ask(database, "select tag_id, readings, (extract(epoch from before) * 1000000)::bigint from forgotten") == [
        (1, 100, DAY_0 + 2 * DAY), (2, 100, DAY_0 + 2 * DAY),
    ]  # fmt: skip
    assert await forgetter(database, files).run() == Forgotten()


async def test_nothing_leaves_by_default_nor_before_its_time(
    database: Database, archived: list[Any], files: FilesArchive
) -> None:
    for keeping in (Keeping(None, None), Keeping(None, timedelta(days=7)), Keeping(timedelta(days=3_000), None)):
        assert await forgetter(database, files, keeping).run() == Forgotten()
    assert all_in_database(database.url) == archived


async def test_each_class_leaves_by_its_own_time(database: Database, archived: list[Any], files: FilesArchive) -> None:
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute("""update tag set config = '{"criticality": "critical"}' where tag_id = 1""")
    assert (await forgetter(database, files, Keeping(timedelta(days=7), None)).run()).readings == 100
    assert ask(database, "select tag_id from forgotten") == [(2,)]
    assert (await forgetter(database, files, Keeping(None, timedelta(days=7))).run()).readings == 100
    assert ask(database, "select tag_id from forgotten order by 1") == [(1,), (2,)]


async def test_a_tag_to_which_old_readings_may_still_come_is_kept_longer(
    database: Database, archived: list[Any], files: FilesArchive
) -> None:
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute("""update tag set config = '{"window_days": 3000}' where tag_id = 1""")
    assert (await forgetter(database, files).run()).readings == 100
    assert ask(database, "select tag_id from forgotten") == [(2,)]


async def test_what_is_not_archived_stays_and_so_do_the_days_after_it(
    database: Database, writer: Writer, archived: list[Any], files: FilesArchive
) -> None:
    """A late reading, merged into a pack with archived ones, or beside them."""
    await writer.flush([good(1, DAY_0 + 100, 9.0)])
    await seal_all(database)
    await archiver(database, files, late=timedelta(days=1)).run()
    assert await forgetter(database, files).run() == Forgotten()
    await Sealer(database, 1.0).compact(0)
    assert await forgetter(database, files).run() == Forgotten()
    before = all_in_database(database.url)
    await archiver(database, files).run()
    assert (await forgetter(database, files).run()).readings == 201
    assert in_files(files) == before


def touch(file: Path, how: str) -> None:
    file.chmod(0o644)
    content = file.read_bytes()
    match how:
        case "gone":
            file.unlink()
        case "cut":
            file.write_bytes(content[:-1])
        case "bit":
            file.write_bytes(content[:50] + bytes([content[50] ^ 1]) + content[51:])


@pytest.mark.parametrize("suffix", ["parquet", "json"])
@pytest.mark.parametrize("how", ["gone", "cut", "bit"])
async def test_a_day_whose_objects_are_not_as_they_were_deletes_nothing(
    database: Database, archived: list[Any], files: FilesArchive, how: str, suffix: str
) -> None:
    (first, *_) = sorted(folder(files).rglob(f"*.{suffix}"))
    touch(first, how)
    with pytest.raises(Tampered):
        await forgetter(database, files).run()
    assert all_in_database(database.url) == archived
    assert ask(database, "select * from forgotten") == []


async def test_a_later_day_that_is_tampered_with_stays(
    database: Database, archived: list[Any], files: FilesArchive
) -> None:
    (_, second, _) = sorted(folder(files).rglob("*.parquet"))
    touch(second, "bit")
    with pytest.raises(Tampered):
        await forgetter(database, files).run()
    assert len(all_in_database(database.url)) == 200


async def test_an_archive_that_has_fewer_readings_than_the_database_deletes_nothing(
    database: Database, archived: list[Any], files: FilesArchive
) -> None:
    """Whatever the books say: tag by tag it is counted what the manifests name."""
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute("""
            insert into segment (tag_id, t0, t1, n, unit, level, dt, k, d, flush_lo, flush_hi)
            select tag_id, t0, t1, n, unit, level, dt, k, d, flush_lo, flush_hi from segment where tag_id = 2
            limit 1""")
    with pytest.raises(Tampered, match="site/2"):
        await forgetter(database, files).run()
    assert ask(database, "select * from forgotten") == []


async def test_an_archive_at_another_place_is_not_that_which_holds_them(
    database: Database, archived: list[Any], tmp_path: Path
) -> None:
    with pytest.raises(Tampered, match="not the archive of now"):
        await forgetter(database, FilesArchive(tmp_path / "other", Retention.EPHEMERAL)).run()
    assert all_in_database(database.url) == archived


async def test_a_late_or_repeated_reading_of_a_day_that_left_is_told_apart(
    database: Database, writer: Writer, archived: list[Any], files: FilesArchive
) -> None:
    """What is still here is compared as ever; of what is not, nobody can tell whether it came before."""
    await forgetter(database, files).run()
    asked = [good(1, DAY_0, 0.0), good(1, DAY_0 + 777_777, 1.0), good(1, DAY_0 + 2 * DAY, 2.0), good(3, DAY_0, 1.0)]
    async with writer.history.flush(writer.lease, writer_span(writer)) as flush:
        known = await flush.compare(rows_of(asked))
    assert [Known(it) for it in known] == [Known.ARCHIVED, Known.ARCHIVED, Known.DUPLICATE, Known.NEW]


def writer_span(writer: Writer) -> Any:
    return Span("bulk", writer.at, writer.at, writer.counted, NOW)


class Dying(ForgetBooks):
    """Dies at its nth step."""

    def __init__(self, database: Database, at: int, packs_max: int) -> None:
        super().__init__(database, packs_max=packs_max)
        self._left = at

    async def tell(self, *given: Any) -> None:
        await super().tell(*given)
        self._step()

    async def delete(self, *given: Any) -> Any:
        gone = await super().delete(*given)
        self._step()
        return gone

    def _step(self) -> None:
        self._left -= 1
        if self._left <= 0:
            raise ConnectionResetError


def union_is(url: str, files: FilesArchive, stored: list[tuple[Any, ...]]) -> None:
    here, there = all_in_database(url), in_files(files)
    assert sorted({*here, *there}, key=repr) == stored, "nothing is lost, nothing invented"
    assert len({*here}) == len(here), "nothing twice in the database"
    assert len({*there}) == len(there), "nothing twice in the archive"
    assert len({(path, ts, seq) for path, ts, *_, seq, _, _ in stored}) == len(stored), "none was taken for new again"
    with psycopg.connect(url) as connection:
        ((forgotten,),) = connection.execute("select coalesce(sum(readings), 0) from forgotten").fetchall()
    assert len(here) + forgotten == len(stored), "each that left is counted once"


REMAINS = """
    select count(*) from forgotten f join segment s using (tag_id) join tag t using (tag_id) join mark m using (grp)
    where s.t1 < f.before and s.t1 < m.ts[array_position(m.tag, tag_id)]"""
STEPS = st.sampled_from(["store", "seal", "compact", "archive", "forget", "die", "torn"])


full_batches = st.tuples(
    any_batches,
    st.lists(
        st.tuples(st.tuples(st.sampled_from([1, 2, 101]), st.integers(0, 40), st.just(NO_SEQ)), contents),
        min_size=8,
        max_size=16,
    ),
).map(lambda both: both[0] + [((tag, NOW + quarter * DAY // 4, seq), it) for (tag, quarter, seq), it in both[1]])
"""Of few tags over ten days, so that most are old, some come again, and some come late."""


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(STEPS, full_batches), min_size=5, max_size=10), full_batches, st.integers(1, 3))
def test_database_and_archive_together_hold_all_that_was_stored(
    postgres_url: str, tmp_path_factory: pytest.TempPathFactory, steps: Any, batch: Any, packs_max: int
) -> None:
    """And after the floor the database answers as if nothing had left, to the bit."""

    async def check() -> None:
        test_archive.begin_anew(postgres_url)
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            connection.execute("truncate forgotten")
        async with started(postgres_url) as (database, torn, writer):
            files = FilesArchive(tmp_path_factory.mktemp("archive"), Retention.EPHEMERAL)
            world = World(database, torn, writer, files, packs_max)
            leaving = [("seal", []), ("archive", []), ("forget", [])]
            for step, readings in [("store", batch), *leaving, ("store", batch[::2]), *steps, *leaving]:
                await world.do(step, readings)
                await world.check()
            assert ask(database, REMAINS) == [(0,)], "all that was due has left"

    asyncio.run(check())


@contextlib.asynccontextmanager
async def started(url: str) -> AsyncIterator[tuple[Database, Database, Writer]]:
    database, torn = (
        Database(url, application="test", connections_max=6),
        Torn(url, application="test", connections_max=2),
    )
    await database.open()
    await torn.open()
    writer = await prepared(database)
    try:
        yield database, torn, writer
    finally:
        await writer.history.close()
        await database.close()
        await torn.close()


class World:
    """A plant's store in small, and the plain list of all that it took."""

    def __init__(self, database: Database, torn: Database, writer: Writer, files: FilesArchive, packs_max: int) -> None:
        self.database, self.torn, self.writer, self.files, self.packs_max = database, torn, writer, files, packs_max
        self.stored: list[tuple[Any, ...]] = []

    async def do(self, step: str, batch: Any) -> None:
        match step:
            case "store":
                before = {*all_in_database(self.database.url)}
                await self.writer.flush([((tag, ts - 400 * DAY, seq), content) for (tag, ts, seq), content in batch])
                self.stored += [row for row in all_in_database(self.database.url) if row not in before]
            case "seal":
                await seal_all(self.database)
            case "compact":
                for grp in range(3):
                    await Sealer(self.database, 1.0, packs_min=2).compact(grp)
            case "archive":
                await archiver(self.database, self.files, part_readings=5).run()
            case "forget":
                await forgetter(self.database, self.files, packs_max=self.packs_max).run()
            case "die" | "torn":
                await self.crash(step)

    async def crash(self, how: str) -> None:
        dying = forgetter(self.torn if how == "torn" else self.database, self.files)
        if how == "die":
            dying._books = Dying(self.database, self.packs_max + 1, 1)
        with contextlib.suppress(ConnectionResetError):
            await dying.run()

    async def check(self) -> None:
        self.stored.sort(key=repr)
        union_is(self.database.url, self.files, self.stored)
        here = all_in_database(self.database.url)
        floors = dict(ask(self.database, "select path, (extract(epoch from before) * 1000000)::bigint"
                          " from forgotten join tag using (tag_id)"))  # fmt: skip
        after = [row for row in self.stored if row[1] >= floors.get(row[0], -(2**63))]
        assert [row for row in here if row[1] >= floors.get(row[0], -(2**63))] == after


class Trusting(Forgetter):
    """Believes its books: looks at nothing that the archive has."""

    async def _shown(self, day: Any, archived: int, paths: Any) -> Any:
        return {tag.path: tag.readings for tag in await self._books.held(day)}


async def test_control_a_forgetter_that_does_not_look_loses_readings(
    database: Database, archived: list[Any], files: FilesArchive
) -> None:
    (first, *_) = sorted(folder(files).rglob("*.parquet"))
    touch(first, "gone")
    with pytest.raises(Tampered):
        await forgetter(database, files).run()
    await Trusting(database, files, SHORT).run()
    with pytest.raises(AssertionError, match="nothing is lost"):
        union_is(database.url, files, archived)


async def test_two_forgetters_and_a_sealer_at_once_count_each_reading_once(
    database: Database, archived: list[Any], files: FilesArchive
) -> None:
    await asyncio.gather(
        *(forgetter(database, files, packs_max=1).run() for _ in range(2)),
        *(Sealer(database, 1.0, packs_min=2).compact(0) for _ in range(3)),
    )
    await forgetter(database, files).run()
    union_is(database.url, files, archived)
    assert len(all_in_database(database.url)) == 100


@pytest.mark.slow
async def test_kill_9_while_readings_leave_loses_nothing_and_counts_nothing_twice(
    database: Database, writer: Writer, files: FilesArchive
) -> None:
    for day in range(DAYS):
        await writer.flush([good(tag, DAY_0 + day * DAY + i, i / 7 + day) for tag in range(1, 31) for i in range(20)])
    await seal_all(database)
    stored = all_in_database(database.url)
    command = [sys.executable, str(Path(__file__).with_name("crash_forget.py")), database.url, str(folder(files))]
    kills = 0
    while True:
        running = await asyncio.create_subprocess_exec(*command)
        try:
            await asyncio.wait_for(running.wait(), 1.0 + 0.13 * (kills % 7))
        except TimeoutError:
            running.kill()
            await running.wait()
            kills += 1
            union_is(database.url, files, stored)
            continue
        break
    assert running.returncode == 0
    assert kills >= KILLS_MIN
    union_is(database.url, files, stored)
    assert len(all_in_database(database.url)) == 30 * 20, "each tag's newest pack"


async def test_latest_values_are_rebuilt_as_before(
    database: Database, archived: list[Any], files: FilesArchive
) -> None:
    before = (await Tail(database).rebuild(NOW)).rows
    await forgetter(database, files).run()
    after = (await Tail(database).rebuild(NOW)).rows
    assert (after.path, after.ts.tolist(), after.value.tolist()) == (
        before.path, before.ts.tolist(), before.value.tolist(),
    )  # fmt: skip
    assert len(after.path) == 2


async def test_what_the_archive_showed_counts_for_a_day_only(
    database: Database, archived: list[Any], files: FilesArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock.store.forgetter.SHOWN_FOR_S", 0.0)
    assert (await forgetter(database, files).run()).readings == 0
    assert all_in_database(database.url) == archived
    monkeypatch.undo()
    assert (await forgetter(database, files).run()).readings == 200


class Locking:
    """An archive that says it locks; none of its locks is looked at."""

    def __init__(self, files: FilesArchive) -> None:
        self.url, self.retention, self._files = files.url, Retention.GOVERNANCE, files

    async def read(self, key: str) -> bytes:
        return await self._files.read(key)

    async def show(self, key: str, digest: bytes, size_bytes: int, until: datetime | None) -> None:
        assert until is not None
        await self._files.show(key, digest, size_bytes, None)


@pytest.mark.parametrize("days", [None, -1, 1, 2])
async def test_readings_under_a_lock_that_is_over_or_ends_within_a_day_stay(
    database: Database, archived: list[Any], files: FilesArchive, days: int | None
) -> None:
    until = None if days is None else datetime.now(UTC) + timedelta(days=days)
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute("update archive_segment set locked_until = %s", (until,))
        connection.execute("update archive_object set locked_until = %s", (until,))
    if days == 2:
        assert (await forgetter(database, Locking(files)).run()).readings == 200
    else:
        with pytest.raises(Tampered, match="not locked any more"):
            await forgetter(database, Locking(files)).run()
        assert all_in_database(database.url) == archived


async def test_of_the_day_of_the_newest_reading_the_packs_before_it_leave(
    database: Database, writer: Writer, files: FilesArchive
) -> None:
    for hour in range(2):
        await writer.flush([good(1, DAY_0 + hour * 3_600_000_000 + i, i / 7) for i in range(50)])
        await seal_all(database)
    await archiver(database, files).run()
    assert await forgetter(database, files).run() == Forgotten(1, 1, 50)
    rows = (await Tail(database).rebuild(NOW)).rows
    assert rows.ts.tolist() == [DAY_0 + 3_600_000_000 + 49]


async def test_a_deletion_by_itself_takes_only_what_was_told_of_and_is_archived(
    database: Database, writer: Writer, archived: list[Any]
) -> None:
    """Also of what was sealed after it was looked at."""
    books, day = ForgetBooks(database), (NOW_0 + timedelta(microseconds=DAY_0)).date()
    through = await books.archived(day)
    assert through is not None
    await writer.flush([good(1, DAY_0 + 100, 9.0)])
    await seal_all(database)
    assert await books.delete(day, through, 0, [1, 2]) == Gone(0, 0)
    await books.tell(day, [1])
    await books.tell(day - timedelta(days=1), [2])
    assert await books.delete(day, through, 0, [1, 2]) == Gone(1, 50)
    assert await books.delete(day, through, 0, [1, 2]) == Gone(0, 0)
    assert (await Reader(database).points(1, DAY_0, DAY_0 + DAY)).value.tolist() == [9.0]
