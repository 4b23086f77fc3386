"""The archive holds what history holds, to the bit and once, whatever comes late, crashes or is begun twice."""

import asyncio
import json
import resource
import struct
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.errors import Misconfigured, Tampered, Unavailable
from penstock.model.batch import NO_SEQ
from penstock.store import archiver as archiver_module
from penstock.store.archive import COLUMNS, Kept, Retention
from penstock.store.archive_books import ArchiveBooks, DayReadings, TagOfDay, batches
from penstock.store.archive_files import FilesArchive
from penstock.store.archiver import Archived, ArchiveLimits, Archiver, only_archiver
from penstock.store.history import PostgresHistory
from penstock.store.parquet import ParquetFile
from penstock.store.postgres import Database
from penstock.store.seal import Sealer
from penstock.telemetry import ARCHIVE_WAITING
from store.test_history import ask, good, make_tags
from store.test_history_machine import DAY, NOW, Writer, micros
from store.test_history_machine import batches as any_batches

LONG_AGO = NOW - 400 * DAY
NO_WAIT = timedelta(0)


@pytest.fixture
async def database(postgres_url: str) -> AsyncIterator[Database]:
    database = Database(postgres_url, application="test", connections_max=6)
    await database.open()
    yield database
    await database.close()


@pytest.fixture
async def writer(database: Database) -> AsyncIterator[Writer]:
    writer = await prepared(database)
    yield writer
    await writer.history.close()


async def prepared(database: Database) -> Writer:
    """250 tags and three states, and a history that ends with its database."""
    history = PostgresHistory(database)
    await make_tags(history, 250)
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute("insert into state_text (text) values ('RUNNING'), ('it''s \"idle\"'), ('Ω')")
    return await Writer.start(history)


@pytest.fixture
def files(tmp_path: Path) -> FilesArchive:
    return FilesArchive(tmp_path / "archive", Retention.EPHEMERAL)


def begin_anew(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "truncate tag, hot, segment, flush, mark, rollup_1m, rollup_1h, shard, state_text, balance_minute,"
            " archive_day, archive_segment restart identity cascade"
        )
        connection.execute("update archive_mark set flush = 0")


def folder(archive: FilesArchive) -> Path:
    return Path(archive.url.removeprefix("files:"))


def archiver(database: Database, archive: Any, **limits: Any) -> Archiver:
    return Archiver(database, archive, ArchiveLimits(**{"late": NO_WAIT} | limits))


async def seal_all(database: Database) -> None:
    for grp in range(3):
        await Sealer(database, 1.0).seal(grp)


def in_files(archive: FilesArchive) -> list[tuple[Any, ...]]:
    """Every reading of every Parquet file, values as bits."""
    if not list(folder(archive).rglob("*.parquet")):
        return []
    with duckdb.connect() as connection:
        files = f"read_parquet('{folder(archive)}/**/*.parquet', hive_partitioning = false)"
        columns = [f"epoch_us({name})" if name.endswith("ts") else name for name in COLUMNS[:-1]]
        rows = connection.execute(f"select {', '.join(columns)} from {files}").fetchall()
    return sorted(map(exact, rows), key=repr)


def in_database(url: str) -> list[tuple[Any, ...]]:
    """The same of PostgreSQL's view, of days that are closed."""
    with psycopg.connect(url) as connection:
        connection.execute("set TimeZone = 'UTC'")
        rows = connection.execute(
            "select path, ts, value, state, quality, seq, received_at, stored_at from readings"
            " where ts < date_trunc('day', now() - interval '1 hour')"
        ).fetchall()
    return sorted(map(exact, rows), key=repr)


def exact(row: tuple[Any, ...]) -> tuple[Any, ...]:
    path, ts, value, state, quality, seq, received, stored = row
    bits = None if value is None else struct.pack(">d", value)
    return path, us(ts), bits, state, quality, seq, us(received), us(stored)


def us(at: int | datetime) -> int:
    return at if isinstance(at, int) else micros(at)


def manifests(archive: FilesArchive) -> list[dict[str, Any]]:
    return [json.loads(file.read_text()) for file in sorted(folder(archive).rglob("*.json"))]


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(any_batches, min_size=1, max_size=3), st.sampled_from([1, 5, 1_000]))
def test_files_hold_what_the_view_holds_to_the_bit(
    postgres_url: str, tmp_path_factory: pytest.TempPathFactory, flushes: Any, part: int
) -> None:
    """Through late readings, packs cut at any place, and files of any size; with several passes on the way."""

    async def check() -> None:
        begin_anew(postgres_url)
        database = Database(postgres_url, application="test", connections_max=6)
        await database.open()
        writer = await prepared(database)
        files = FilesArchive(tmp_path_factory.mktemp("archive"), Retention.EPHEMERAL)
        passes = archiver(database, files, part_readings=part)
        for batch in flushes:
            await writer.flush([((tag, ts - 400 * DAY, seq), content) for (tag, ts, seq), content in batch])
            await seal_all(database)
            await passes.run()
        await Sealer(database, 1.0).compact(0)
        assert (await passes.run()).segments == 0
        assert in_files(files) == in_database(postgres_url)
        assert sum(told["readings"] for told in manifests(files)) == len(in_database(postgres_url))
        await writer.history.close()
        await database.close()

    asyncio.run(check())


async def test_a_day_is_one_file_sorted_by_path_and_time_and_one_manifest(
    database: Database, writer: Writer, files: FilesArchive
) -> None:
    await writer.flush([good(tag, LONG_AGO + i, i / 7) for tag in (2, 10, 100, 1) for i in range(50)])
    await seal_all(database)
    done = await archiver(database, files).run()
    (told,) = manifests(files)
    (file,) = told["objects"]
    content = (folder(files) / file["key"]).read_bytes()
    assert (done.segments, done.objects, done.readings, done.bytes) == (1, 1, 200, len(content))
    assert (file["sha256"], file["size_bytes"]) == (sha256(content).hexdigest(), len(content))
    assert file["key"].endswith(f"0001-0001-{file['sha256'][:16]}.parquet")
    assert list(file["tags"].items()) == [("site/1", 50), ("site/10", 50), ("site/100", 50), ("site/2", 50)]
    assert (told["number"], told["previous"], told["replaces"]) == (1, None, [])
    rows = duckdb.sql(f"select tag, epoch_us(ts) from '{folder(files) / file['key']}'").fetchall()
    assert rows == sorted(rows)
    assert ask(database, "select readings, bytes, sha256, key from archive_object") == [
        (200, len(content), bytes.fromhex(file["sha256"]), file["key"])
    ]
    assert ask(database, "select manifest_sha256 from archive_segment") == [
        (sha256(next(folder(files).rglob("*.json")).read_bytes()).digest(),)
    ]


async def test_an_open_day_waits_and_so_does_what_is_not_sealed(
    database: Database, writer: Writer, files: FilesArchive
) -> None:
    today = ask(database, "select (extract(epoch from now()) * 1000000)::bigint")[0][0]
    assert isinstance(today, int)
    await writer.flush([good(1, today - 60_000_000, 1.0)])
    await seal_all(database)
    await writer.flush([good(1, LONG_AGO, 1.0)])
    assert await archiver(database, files).run() == Archived()
    await seal_all(database)
    assert (await archiver(database, files).run()).readings == 1
    assert (await archiver(database, files, after=timedelta(days=-2)).run()).readings == 1


async def test_late_readings_gather_and_come_as_another_segment(
    database: Database, writer: Writer, files: FilesArchive
) -> None:
    await writer.flush([good(1, LONG_AGO, 1.0), good(2, LONG_AGO, 1.0)])
    await seal_all(database)
    await archiver(database, files).run()
    before = {file: file.read_bytes() for file in folder(files).rglob("*.*")}
    await writer.flush([good(1, LONG_AGO - 1, 2.0)])
    await seal_all(database)
    assert await Sealer(database, 1.0).compact(0) == 2  # the pack now holds both flushes
    assert await archiver(database, files, late=timedelta(days=1)).run() == Archived()
    assert (await ArchiveBooks(database).waiting(NO_WAIT)).late_days == 1
    assert (await archiver(database, files).run()).readings == 1
    first, second = sorted(manifests(files), key=lambda told: told["number"])
    assert (second["number"], second["flush_lo"], second["readings"]) == (2, first["flush_hi"], 1)
    assert second["previous"]["sha256"] == sha256((folder(files) / second["previous"]["key"]).read_bytes()).hexdigest()
    assert {file: file.read_bytes() for file in before} == before
    assert in_files(files) == in_database(database.url)


class Failing:
    """An archive that fails at its *nth* object, before or after it is kept."""

    def __init__(self, archive: FilesArchive, nth: int, *, kept: bool) -> None:
        self.url, self.retention = archive.url, archive.retention
        self._archive, self._left, self._kept = archive, nth, kept

    async def put(self, key: str, file: Path, digest: bytes, until: datetime | None) -> Kept:
        self._left -= 1
        if self._left == 0 and not self._kept:
            raise Unavailable("gone")
        kept = await self._archive.put(key, file, digest, until)
        if self._left == 0:
            raise Unavailable("gone")
        return kept


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("nth", [1, 2, 3])  # a file, another, the manifest
async def test_a_crash_anywhere_is_repeated_with_the_same_objects(
    database: Database, writer: Writer, files: FilesArchive, nth: int, kept: bool
) -> None:
    await writer.flush([good(tag, LONG_AGO + i, i / 3) for tag in (1, 2) for i in range(30)])
    await seal_all(database)
    with pytest.raises(Unavailable):
        await archiver(database, Failing(files, nth, kept=kept), part_readings=30).run()
    assert ask(database, "select count(*) from archive_segment") == [(0,)]
    await writer.flush([good(1, LONG_AGO + 5_000, 1.0)])  # must not get into what was begun
    await seal_all(database)
    assert (await archiver(database, files, part_readings=30).run()).readings == 60
    assert len(list(folder(files).rglob("*.parquet"))) == 2
    assert (await archiver(database, files, part_readings=30).run()).readings == 1
    assert in_files(files) == in_database(database.url)
    assert len(manifests(files)) == 2


async def test_two_archivers_at_once_archive_once(database: Database, writer: Writer, files: FilesArchive) -> None:
    await writer.flush([good(tag, LONG_AGO + i, i / 3) for tag in (1, 2) for i in range(30)])
    await seal_all(database)
    done = await asyncio.gather(*(archiver(database, files).run() for _ in range(3)))
    assert sum(each.readings for each in done) == 60
    assert in_files(files) == in_database(database.url)
    assert ask(database, "select count(*), sum(readings) from archive_object") == [(1, 60)]


async def test_one_process_at_a_time_is_the_archiver(database: Database) -> None:
    async with only_archiver(database) as first, only_archiver(database) as second:
        assert (first, second) == (True, False)
    async with only_archiver(database) as third:
        assert third


async def test_a_flush_under_way_is_waited_for(database: Database, writer: Writer) -> None:
    """Its number is lower than that of one already sealed; the horizon must not pass over it."""
    books = ArchiveBooks(database)
    with psycopg.connect(database.url) as slow:
        number = slow.execute("select nextval('flush_id')").fetchone()
        await writer.flush([good(1, LONG_AGO, 1.0)])
        await seal_all(database)
        waiting = asyncio.create_task(books.horizon())
        await asyncio.sleep(0.3)
        assert not waiting.done()
        slow.execute(
            "insert into hot select grp, %s, 1, t0, t1, '{2}', array[t0], '{1}' from segment join tag using (tag_id)",
            number,
        )
    assert number is not None
    assert await waiting == number[0] - 1
    await seal_all(database)
    assert await books.horizon() == number[0] + 1


async def test_a_flush_that_never_ends_is_told_of(
    database: Database, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock.store.archive_books.FLUSH_ENDS_S", 0.2)
    with psycopg.connect(database.url) as slow:
        slow.execute("select nextval('flush_id')")
        with pytest.raises(Unavailable, match="has not ended"):
            await ArchiveBooks(database).horizon()


async def test_a_tag_with_very_many_readings_comes_in_stretches(database: Database, writer: Writer) -> None:
    random = np.random.default_rng(5)
    for _ in range(4):
        times = random.integers(0, 3_600_000_000, 40).tolist()
        await writer.flush([good(1, LONG_AGO + ts, 0.5, seq) for ts in times for seq in (NO_SEQ, 3)])
        await seal_all(database)
    books = ArchiveBooks(database)
    await books.discover(await books.horizon())
    (due,) = await books.due(NO_WAIT, NO_WAIT)
    span = await books.begin(due, await books.horizon())
    assert span is not None
    tags = await books.tags(span)
    found = [one async for one in DayReadings(database, span, batch_readings=64).stretches(tags)]
    ts = np.concatenate([one.points.ts for one in found])
    assert len(found) > 1
    assert (np.diff(ts) >= 0).all()
    assert [(ts.size,)] == ask(database, "select count(*) from readings")


def test_batches_hold_neighbours_until_they_are_full() -> None:
    tags = [TagOfDay(i, str(i), n) for i, n in enumerate([5, 5, 20, 1, 9, 1])]
    assert [[tag.readings for tag in batch] for batch in batches(tags, 10)] == [[5, 5], [20], [1, 9], [1]]


async def test_the_same_readings_make_the_same_bytes_however_they_are_read(
    database: Database, writer: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(3)
    values = random.normal(0, 1, 3_000).tolist()
    await writer.flush([good(1 + i % 7, LONG_AGO + i * 7_919, value) for i, value in enumerate(values)])
    await seal_all(database)
    made = []
    for size in (100, 10_000):
        monkeypatch.setattr(
            archiver_module, "DayReadings", lambda base, span, size=size: DayReadings(base, span, batch_readings=size)
        )
        files = FilesArchive(tmp_path / str(size), Retention.EPHEMERAL)
        await archiver(database, files, part_readings=1_000).run()
        made.append({str(file.relative_to(folder(files))) for file in folder(files).rglob("*.parquet")})
        with psycopg.connect(database.url, autocommit=True) as connection:
            connection.execute("truncate archive_segment cascade")
            connection.execute("update archive_day set archived = 0, archived_at = null")
    assert made[0] == made[1]
    assert len(made[0]) == 3


async def test_an_altered_file_is_not_taken_for_ours(database: Database, writer: Writer, files: FilesArchive) -> None:
    await writer.flush([good(1, LONG_AGO, 1.0)])
    await seal_all(database)
    with pytest.raises(Unavailable):
        await archiver(database, Failing(files, 2, kept=False)).run()
    (file,) = folder(files).rglob("*.parquet")
    file.chmod(0o644)
    file.write_bytes(b"something else")
    await writer.flush([good(1, LONG_AGO + DAY, 1.0)])
    await seal_all(database)
    with pytest.raises(Tampered):
        await archiver(database, files).run()
    assert ask(database, "select number, readings from archive_segment") == [(1, 1)], "only the day after it"
    assert waiting_days() == 1


async def test_days_that_wait_are_told_also_while_nothing_can_be_archived(
    database: Database, writer: Writer, files: FilesArchive
) -> None:
    ARCHIVE_WAITING.set(0)
    await writer.flush([good(1, LONG_AGO, 1.0)])
    await seal_all(database)
    with pytest.raises(Unavailable):
        await archiver(database, Failing(files, 1, kept=False)).run()
    assert waiting_days() == 1
    assert (await archiver(database, files).run()).readings == 1
    assert waiting_days() == 0


def waiting_days() -> float:
    (metric,) = ARCHIVE_WAITING.collect()
    return metric.samples[0].value


async def test_a_temporary_folder_without_room_is_unavailable(
    database: Database, writer: Writer, files: FilesArchive, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Else it would end the worker around it."""
    await writer.flush([good(1, LONG_AGO, 1.0)])
    await seal_all(database)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "away"))
    with pytest.raises(Unavailable, match="TMPDIR"):
        await archiver(database, files).run()
    with pytest.raises(Unavailable, match="TMPDIR"):
        ParquetFile(tmp_path / "away")


def test_files_cannot_be_locked(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="cannot be locked"):
        FilesArchive(tmp_path, Retention.GOVERNANCE)


async def test_a_folder_that_cannot_be_made_is_misconfigured(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Misconfigured, match="cannot be written"):
        await FilesArchive(tmp_path / "file" / "below", Retention.EPHEMERAL).check()


async def test_a_disk_that_is_full_is_left_as_it_was(files: FilesArchive, tmp_path: Path) -> None:
    """Every try again would leave another half file there."""
    content = tmp_path / "content"
    content.write_bytes(bytes(100_000))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        with pytest.raises(Unavailable, match="cannot be written"):
            await files.put("day/file", content, sha256(content.read_bytes()).digest(), None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path for path in folder(files).rglob("*") if path.is_file()] == []


class Locking(Failing):
    """Says that it locks."""

    def __init__(self, archive: FilesArchive, at: int) -> None:
        super().__init__(archive, at, kept=False)
        self.retention = Retention.GOVERNANCE
        self.asked: list[datetime | None] = []

    async def put(self, key: str, file: Path, digest: bytes, until: datetime | None) -> Kept:
        self.asked.append(until)
        await super().put(key, file, digest, None)
        return Kept("tag", "version", until)


async def test_locks_are_counted_from_the_beginning_so_that_a_repeat_asks_for_the_same(
    database: Database, writer: Writer, files: FilesArchive
) -> None:
    await writer.flush([good(1, LONG_AGO, 1.0)])
    await seal_all(database)
    locking = Locking(files, 2)
    asked = locking.asked
    with pytest.raises(Unavailable):
        await archiver(database, locking).run()
    await asyncio.sleep(1.1)
    await archiver(database, locking).run()
    assert len(set(asked)) == 1
    assert asked[0] is not None
    assert asked[0] - datetime.now(UTC) > timedelta(days=2_556)
    assert ask(database, "select version, locked_until from archive_object") == [("version", asked[0])]


async def test_a_day_that_waited_for_longer_than_it_is_kept_is_archived_all_the_same(
    database: Database, writer: Writer, files: FilesArchive
) -> None:
    """S3 takes no lock that is over."""
    await writer.flush([good(1, LONG_AGO, 1.0)])
    await seal_all(database)
    locking = Locking(files, 1)
    with pytest.raises(Unavailable):
        await archiver(database, locking).run()
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute("update archive_day set begun_at = begun_at - interval '3000 days'")
    assert (await archiver(database, locking).run()).readings == 1
    assert all(until is not None and until > datetime.now(UTC) for until in locking.asked)
    assert ask(database, "select kept_until < now(), locked_until > now() from archive_segment") == [(True, True)]


async def test_an_archiver_that_is_stopped_leaves_the_day_for_the_next(
    database: Database, writer: Writer, files: FilesArchive
) -> None:
    await writer.flush([good(1 + i % 50, LONG_AGO + i * 1_000, i / 7) for i in range(20_000)])
    await seal_all(database)
    for delay_s in (0.0, 0.02, 0.05, 0.1):
        running = asyncio.create_task(archiver(database, files).run())
        await asyncio.sleep(delay_s)
        running.cancel()
        await asyncio.wait([running])
    await archiver(database, files).run()
    assert ask(database, "select sum(readings) from archive_object") == [(20_000,)]
    assert in_files(files) == in_database(database.url)
