"""Blue and green: the version before the newest migration and this one write at once into one database."""

import asyncio
import io
import json
import os
import subprocess
import sys
import tarfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Self

import psycopg
import pytest

from penstock.store.migrate import migrations

ROOT = Path(__file__).parents[2]
COLOUR = Path(__file__).with_name("colour.py")
NEWEST = migrations()[-1].number
FLUSHES = 20
STEP_S = 20
POLL_S = 0.02


def git(*words: str) -> bytes:
    asking = {"GIT_TERMINAL_PROMPT": "0", "GIT_NO_LAZY_FETCH": "1"}  # a clone that lacks something is not completed
    command = ["git", "-C", str(ROOT), *words]
    done = subprocess.run(command, env=os.environ | asking, capture_output=True, timeout=STEP_S, check=False)
    if done.returncode:
        pytest.skip(f"this machine has not the history of the code: git {words[0]}: {done.stderr.decode()[:200]}")
    return done.stdout


def code_before(number: int, folder: Path) -> Path:
    """The code as it was before migration *number*, made from the repository's own history."""
    file = next((ROOT / "src/penstock/store/sql/migrations").glob(f"{number:04}_*.sql"))
    added = git("log", "--diff-filter=A", "--format=%H", "--", str(file)).decode().split()
    archive = git("archive", f"{added[-1]}^" if added else "HEAD", "src")
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(folder, filter="data")
    return folder / "src"


class Colour:
    """A process of one version that writes."""

    def __init__(self, process: asyncio.subprocess.Process, url: str, name: str) -> None:
        self.process, self.url, self.name = process, url, name
        self.told: dict[str, Any] = {}

    @classmethod
    async def start(cls, code: Path, url: str, name: str) -> Self:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(COLOUR), url, name),
            env=os.environ | {"PYTHONPATH": str(code)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        return cls(process, url, name)

    async def more(self) -> None:
        """Until it has committed FLUSHES more from now, or ended."""
        unprepared = {"autocommit": True, "prepare_threshold": None}  # what the tables are may change meanwhile
        async with await psycopg.AsyncConnection.connect(self.url, **unprepared) as connection:
            goal = await self.committed(connection) + FLUSHES
            async with asyncio.timeout(STEP_S):
                while self.process.returncode is None and await self.committed(connection) < goal:  # noqa: ASYNC110  # another process tells us nothing
                    await asyncio.sleep(POLL_S)

    async def committed(self, connection: psycopg.AsyncConnection) -> int:
        there = await (await connection.execute("select to_regclass('shard') is not null")).fetchone()
        if there != (True,):
            return 0
        cursor = await connection.execute("select max(position) from shard where stream = %s", (self.name,))
        return int((await cursor.fetchone() or (0,))[0] or 0)

    async def stop(self) -> None:
        """Let it end by itself, and hear what it did."""
        if self.told:
            return
        try:
            out, _ = await asyncio.wait_for(self.process.communicate(b"stop\n"), STEP_S)
        finally:
            if self.process.returncode is None:
                self.process.kill()
        self.told = json.loads(out.splitlines()[-1])


async def migration_waits(url: str) -> None:
    """Until a `create index` or the like stands in line for a lock."""
    query = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        async with asyncio.timeout(STEP_S):
            while await (await connection.execute(query)).fetchone() == (0,):  # noqa: ASYNC110
                await asyncio.sleep(POLL_S)


async def released(old_code: Path, url: str) -> tuple[Colour, Colour]:
    """The old version writes; this one comes, migrates as long as we hold it, and writes too."""
    async with AsyncExitStack() as stack:
        old = await Colour.start(old_code, url, "old")
        stack.push_async_callback(old.stop)
        await old.more()
        async with await psycopg.AsyncConnection.connect(url) as lock:
            # the migration has its record yet to write; those who write readings have no need of that table
            await lock.execute("lock table migration in share mode")
            new = await Colour.start(ROOT / "src", url, "new")
            stack.push_async_callback(new.stop)
            await migration_waits(url)
            await old.more()
        await new.more()
        await asyncio.gather(old.more(), new.more())
    return old, new


def stored(url: str, name: str) -> tuple[int, int]:
    query = (
        "select count(*), count(distinct (r.tag_id, r.ts))"
        " from readings r join tag using (tag_id) where tag.path like %s"
    )
    with psycopg.connect(url) as connection:
        row = connection.execute(query, (f"{name}/%",)).fetchone()
    assert row
    return row[0], row[1]


async def test_old_and_new_write_at_once_while_one_migrates(empty_database_url: str, tmp_path: Path) -> None:
    old, new = await released(code_before(NEWEST, tmp_path), empty_database_url)
    assert (old.told["knows"], new.told["knows"]) == (migrations()[-2].number, NEWEST)
    assert (old.told["failed"], new.told["failed"]) == ("", "")
    assert min(old.told["flushes"] / 3, new.told["flushes"] / 2) >= FLUSHES
    for colour, name in ((old, "old"), (new, "new")):
        assert stored(empty_database_url, name) == (colour.told["readings"], colour.told["readings"])
