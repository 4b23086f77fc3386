"""A plant is backed up while it works; what comes back is checked reading by reading."""

import asyncio
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import psycopg
import pytest

from make import T0_US, R, batch
from penstock.errors import Misconfigured, Tampered, Unavailable
from penstock.model.batch import Lane
from penstock.store import backup
from penstock.store.backup import back_up, restore
from penstock.store.embedded import EmbeddedPostgres
from penstock.stream.log import LogStream
from penstock.stream.log_writer import Limits

LANE = Lane.BULK
FORGETFUL = Limits(bytes_max=2**30, keep_bytes=0, keep_days=0.0, disk_free_min_bytes=0)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    data = tmp_path / "data"
    (data / "tls").mkdir(parents=True)
    (data / "tls" / "key.pem").write_text("a key")
    (data / "tls" / "key.pem").chmod(0o600)
    (data / "run.json").write_text("{}")
    (data / "run.lock").write_text("1")
    return data


class Plant:
    """The real log, and a worker that stores its entries as fast as it can and lets the log forget them at once."""

    def __init__(self, data: Path, url: str) -> None:
        self.log = LogStream(data / "stream", FORGETFUL, writable=True)
        self.url = url
        self.acknowledged = 0

    async def write(self) -> None:
        while True:
            receipt = await self.log.append({LANE: batch(R("lyon/press/t", T0_US, 1.0))}, T0_US)
            self.acknowledged = receipt.places[0].position

    async def work(self) -> None:
        stored = 0
        async with await psycopg.AsyncConnection.connect(self.url, autocommit=True) as connection:
            await connection.execute(
                "insert into shard (stream, shard) values (%s, %s) on conflict do nothing", (self.log.identity, LANE)
            )
            while True:
                entries = await self.log.take(LANE, stored, 50)
                if not entries:
                    await asyncio.sleep(0.001)
                    continue
                async with connection.transaction():
                    await connection.execute(
                        "update shard set position = %s, counted = %s where shard = %s",
                        (entries[-1].position, entries[-1].counted, LANE),
                    )
                    for entry in entries:
                        await connection.execute(
                            "insert into tag (path, version) values (%s, 1)", (f"lyon/press/entry-{entry.position}",)
                        )
                stored = entries[-1].position
                await self.log.forget(LANE, stored)


@asynccontextmanager
async def running(data: Path, url: str) -> AsyncIterator[Plant]:
    plant = Plant(data, url)
    tasks = [asyncio.create_task(plant.write()), asyncio.create_task(plant.work())]
    try:
        while plant.acknowledged < 100:
            await asyncio.sleep(0.01)
            for task in tasks:
                assert not task.done(), task.exception()
        yield plant
    finally:
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await plant.log.close()


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def stored_in(url: str) -> tuple[int, list[int]]:
    with psycopg.connect(url) as connection:
        paths = connection.execute("select path from tag").fetchall()
        [position] = connection.execute("select position from shard").fetchone() or [0]
    return int(position), sorted(int(path.rpartition("-")[2]) for (path,) in paths)


async def waiting_in(data: Path, after: int) -> list[int]:
    log = LogStream(data / "stream", FORGETFUL, writable=False)
    try:
        return [entry.position for entry in await log.take(LANE, after, 10**9)]
    finally:
        await log.close()


async def head_of(data: Path) -> int:
    log = LogStream(data / "stream", FORGETFUL, writable=True)
    try:
        return (await log.totals())[LANE].position
    finally:
        await log.close()


async def copies_and_checks(data: Path, url: str, target: Path, empty_url: str) -> None:
    async with running(data, url) as plant:
        before = plant.acknowledged
        await back_up(data, url, target)
        assert plant.acknowledged > before, "ingest went on meanwhile"
    await restore(target, target.parent / "again", url=empty_url)
    checkpoint, stored = stored_in(empty_url)
    waiting = await waiting_in(target.parent / "again", checkpoint)
    assert stored + waiting == list(range(1, len(stored) + len(waiting) + 1)), "each entry is in one of them, once"
    assert len(stored) == checkpoint
    assert before <= len(stored) + len(waiting)
    assert checkpoint <= await head_of(target.parent / "again")


def dawdling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a second passes between the two snapshots, in which the plant works on."""
    original = backup._rows

    async def slow_rows(connection: psycopg.AsyncConnection, statement: str) -> list[tuple[object, ...]]:
        rows = await original(connection, statement)
        if statement == "export_snapshot":
            await asyncio.sleep(0.5)
        return rows

    monkeypatch.setattr(backup, "_rows", slow_rows)


async def test_every_acknowledged_reading_is_in_a_backup_of_a_working_plant(
    data: Path, tmp_path: Path, postgres_url: str, empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    dawdling(monkeypatch)
    await copies_and_checks(data, postgres_url, tmp_path / "plant.tar.zst", empty_database_url)


async def test_without_the_moment_of_standing_still_readings_are_lost(
    data: Path, tmp_path: Path, postgres_url: str, empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: the check above can fail."""

    @asynccontextmanager
    async def going_on(url: str) -> AsyncIterator[None]:
        yield

    dawdling(monkeypatch)
    monkeypatch.setattr(backup, "_standing_still", going_on)
    with pytest.raises(AssertionError, match="each entry is in one of them"):
        await copies_and_checks(data, postgres_url, tmp_path / "plant", empty_database_url)


async def test_a_restored_plant_starts_on_its_own_postgresql(data: Path, tmp_path: Path, postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        connection.execute("insert into tag (path, version, holds) values ('lyon/press/t', 1, 'value')")
        connection.execute("create table kept (v double precision[])")
        connection.execute("insert into kept values (%s)", ([-0.0, 0.1 + 0.2, float("nan")],))
    manifest = await back_up(data, postgres_url, tmp_path / "b.tar.zst")
    await restore(tmp_path / "b.tar.zst", tmp_path / "again")
    with EmbeddedPostgres(tmp_path / "again" / "postgres") as server, psycopg.connect(server.url) as connection:
        row = connection.execute("select v, (select path from tag) from kept").fetchone()
    assert row is not None
    assert [value.hex() for value in row[0]] == ["-0x0.0p+0", "0x1.3333333333334p-2", "nan"]
    assert row[1] == "lyon/press/t"
    assert (tmp_path / "again" / "tls" / "key.pem").read_text() == "a key"
    assert not {"run.json", "run.lock"} & names_in(tmp_path / "again")
    assert stat.S_IMODE((tmp_path / "again").stat().st_mode) == 0o700
    assert manifest.server_version >= 150_000


async def test_only_its_owner_can_read_a_backup_and_no_draft_stays(
    data: Path, tmp_path: Path, postgres_url: str
) -> None:
    await back_up(data, postgres_url, tmp_path / "b.tar.zst")
    await back_up(data, postgres_url, tmp_path / "b")
    assert stat.S_IMODE((tmp_path / "b.tar.zst").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "b").stat().st_mode) == 0o700
    assert names_in(tmp_path) == {"data", "b", "b.tar.zst"}


async def test_nothing_is_written_over(data: Path, tmp_path: Path, postgres_url: str) -> None:
    await back_up(data, postgres_url, tmp_path / "b")
    with pytest.raises(Misconfigured, match="target"):
        await back_up(data, postgres_url, tmp_path / "b")
    with pytest.raises(Misconfigured, match="data"):
        await restore(tmp_path / "b", data)
    with pytest.raises(Misconfigured, match="not empty"):
        await restore(tmp_path / "b", tmp_path / "again", url=postgres_url)
    assert not (tmp_path / "again").exists()


async def test_a_changed_backup_is_refused(
    data: Path, tmp_path: Path, postgres_url: str, empty_database_url: str
) -> None:
    await back_up(data, postgres_url, tmp_path / "b")
    key = tmp_path / "b" / "files" / "tls" / "key.pem"
    key.write_text("b key")
    with pytest.raises(Tampered, match=r"key\.pem"):
        await restore(tmp_path / "b", tmp_path / "again", url=empty_database_url)
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.9])
async def test_a_backup_cut_short_is_refused(
    data: Path, tmp_path: Path, postgres_url: str, empty_database_url: str, kept: float
) -> None:
    await back_up(data, postgres_url, tmp_path / "b.tar.zst")
    whole = (tmp_path / "b.tar.zst").read_bytes()
    (tmp_path / "b.tar.zst").write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises((Tampered, Misconfigured)):
        await restore(tmp_path / "b.tar.zst", tmp_path / "again", url=empty_database_url)
    assert not (tmp_path / "again").exists()


async def test_an_absent_database_or_backup_is_named(data: Path, tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        await back_up(data, "postgresql://penstock@127.0.0.1:1/penstock", tmp_path / "b")
    with pytest.raises(Misconfigured, match="source"):
        await restore(tmp_path / "nowhere.tar.zst", tmp_path / "again")
    assert names_in(tmp_path) == {"data"}


async def test_progress_is_told(data: Path, tmp_path: Path, postgres_url: str, empty_database_url: str) -> None:
    told: list[str] = []
    await back_up(data, postgres_url, tmp_path / "b.tar.zst", lambda what, _: told.append(what))
    await restore(tmp_path / "b.tar.zst", tmp_path / "again", lambda what, _: told.append(what), url=empty_database_url)
    assert {"database copied", "tls/key.pem copied", "database restored"} <= set(told)
