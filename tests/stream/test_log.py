"""What only the log promises: it outlives its process, has one writer and one taker, and knows when it is damaged."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.errors import Backpressure, Misconfigured, Tampered, Unavailable
from penstock.model.batch import Lane
from penstock.stream import log_writer
from penstock.stream.log import LogStream
from penstock.stream.log_writer import Limits
from stream.readings import content, plain

NOW_US = 1_700_000_000_000_000
LIMITS = Limits(bytes_max=2**24, keep_bytes=2**20, keep_days=7, disk_free_min_bytes=0)
BOTH = {Lane.CRITICAL: plain(3), Lane.BULK: plain(5)}


def open_log(folder: Path, *, writable: bool = True, limits: Limits = LIMITS) -> LogStream:
    return LogStream(folder, limits, writable=writable)


async def test_a_log_goes_on_where_it_was_closed(tmp_path: Path):
    before = open_log(tmp_path)
    receipt = await before.append(BOTH, NOW_US)
    await before.append(BOTH, NOW_US)
    await before.close()
    after = open_log(tmp_path)
    assert after.identity == before.identity
    assert after.places(receipt.batch_id) == receipt.places
    assert (await after.append(BOTH, NOW_US)).places[0].position == 3
    assert await after.totals() == {"critical": (3, 9), "bulk": (3, 15)}
    assert await after.received(0, 2**62) == 24
    await after.close()


async def test_what_was_full_stays_full_over_a_restart(tmp_path: Path):
    limits = Limits(bytes_max=3_000, keep_bytes=0, keep_days=7, disk_free_min_bytes=0)
    log = open_log(tmp_path, limits=limits)
    await log.append({Lane.BULK: plain(100)}, NOW_US)
    await log.close()
    log = open_log(tmp_path, limits=limits)
    with pytest.raises(Backpressure):
        await log.append({Lane.BULK: plain(100)}, NOW_US)
    await log.forget("bulk", 1)
    await log.append({Lane.BULK: plain(100)}, NOW_US)
    await log.close()
    log = open_log(tmp_path, limits=limits)
    with pytest.raises(Backpressure):
        await log.append({Lane.BULK: plain(100)}, NOW_US)
    await log.close()


async def test_marks_of_another_log_free_nothing(tmp_path: Path):
    limits = Limits(bytes_max=3_000, keep_bytes=0, keep_days=7, disk_free_min_bytes=0)
    old = open_log(tmp_path, limits=limits)
    await old.append({Lane.BULK: plain(100)}, NOW_US)
    await old.forget("bulk", 1)
    await old.close()
    for name in ("log.db", "log.db-wal", "log.db-shm"):
        (tmp_path / name).unlink(missing_ok=True)  # a test may block
    new = open_log(tmp_path, limits=limits)
    await new.append({Lane.BULK: plain(100)}, NOW_US)
    with pytest.raises(Backpressure):
        await new.append({Lane.BULK: plain(100)}, NOW_US)
    await new.close()


async def test_a_second_writer_is_refused_by_the_first_ones_pid(tmp_path: Path):
    log = open_log(tmp_path)
    with pytest.raises(Misconfigured, match=f"process {os.getpid()} already writes"):
        open_log(tmp_path)
    await log.close()
    await open_log(tmp_path).close()


async def test_a_second_taker_is_refused_by_the_first_ones_pid(tmp_path: Path):
    writer, taker, third = open_log(tmp_path), open_log(tmp_path, writable=False), open_log(tmp_path, writable=False)
    await taker.take("bulk", 0, 1)
    with pytest.raises(Misconfigured, match=f"process {os.getpid()} already takes"):
        await third.take("bulk", 0, 1)
    with pytest.raises(Misconfigured, match="already takes"):
        await writer.forget("bulk", 1)
    for log in (writer, taker, third):
        await log.close()


async def test_who_only_takes_may_not_append(tmp_path: Path):
    taker = open_log(tmp_path, writable=False)
    with pytest.raises(Misconfigured):
        await taker.append(BOTH, NOW_US)
    await taker.close()


async def test_a_taker_of_its_own_is_woken_takes_and_frees_room(tmp_path: Path):
    limits = Limits(bytes_max=3_000, keep_bytes=0, keep_days=7, disk_free_min_bytes=0)
    taker, writer = open_log(tmp_path, writable=False), open_log(tmp_path, limits=limits)
    assert taker.identity == writer.identity
    for position in range(1, 6):
        for shard in ("critical", "bulk"):
            await taker.take(shard, position - 1, 100)
        waiting = asyncio.create_task(taker.wait(10))
        await asyncio.sleep(0.005)
        await writer.append({Lane.BULK: plain(100)}, NOW_US)
        await asyncio.wait_for(waiting, 0.5)
        (entry,) = await taker.take("bulk", position - 1, 100)
        assert content(entry.batch) == content(plain(100))
        await taker.forget("bulk", position)
    for log in (writer, taker):
        await log.close()


async def test_one_append_is_in_both_lanes_or_in_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    log = open_log(tmp_path)
    monkeypatch.setitem(log_writer.SQL, "count_received", "INSERT INTO nowhere VALUES (?, ?)")
    with pytest.raises(Unavailable):
        await log.append(BOTH, NOW_US)
    assert await log.totals() == {"critical": (0, 0), "bulk": (0, 0)}
    monkeypatch.undo()
    assert (await log.append(BOTH, NOW_US)).places[1].position == 1
    await log.close()


async def test_a_full_file_is_unavailable_and_recovers_unaided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def small(folder: Path) -> sqlite3.Connection:
        connection = real(folder)
        connection.execute("PRAGMA max_page_count = 40")
        return connection

    real = log_writer.open_file
    monkeypatch.setattr(log_writer, "open_file", small)
    log = open_log(tmp_path, limits=Limits(2**24, 0, 7, 0))
    acknowledged = await _append_until_unavailable(log)
    assert await log.totals() == {"critical": (0, 0), "bulk": (acknowledged, acknowledged * 1_000)}
    await log.forget("bulk", acknowledged)
    with sqlite3.connect(tmp_path / "log.db") as other:  # what an operator, or trimming, would free
        other.execute("DELETE FROM entry WHERE id NOT IN (SELECT max(id) FROM entry)")
    other.close()
    receipt = await log.append({Lane.BULK: plain(1_000)}, NOW_US)
    assert receipt.places[0].position == acknowledged + 1
    await log.close()


async def _append_until_unavailable(log: LogStream) -> int:
    for acknowledged in range(100):
        try:
            await log.append({Lane.BULK: plain(1_000)}, NOW_US)
        except Unavailable:
            return acknowledged
    raise AssertionError("the file never filled")


async def test_a_disk_with_too_little_left_takes_nothing(tmp_path: Path):
    log = open_log(tmp_path, limits=Limits(2**24, 0, 7, disk_free_min_bytes=2**62))
    with pytest.raises(Backpressure, match="disk has only"):
        await log.append(BOTH, NOW_US)
    await log.close()


async def test_an_entry_that_was_altered_is_named(tmp_path: Path):
    log = open_log(tmp_path)
    await log.append(BOTH, NOW_US)
    await log.append({Lane.BULK: plain(9)}, NOW_US)
    with sqlite3.connect(tmp_path / "log.db") as other:
        altered = "CAST(substr(record, 1, length(record) - 1) || x'77' AS BLOB)"
        other.execute(f"UPDATE entry SET record = {altered} WHERE counted = 14")
    other.close()
    assert len(await log.take("bulk", 0, 5)) == 1
    with pytest.raises(Tampered, match="entry 2 of lane bulk"):
        await log.take("bulk", 1, 100)
    await log.close()


async def test_a_file_that_is_no_log_is_named(tmp_path: Path):
    (tmp_path / "log.db").write_bytes(b"not a database" * 1_000)
    for _ in range(2):  # the failure leaves no role behind
        with pytest.raises(Tampered):
            open_log(tmp_path)


class Unsure:
    """A connection whose first commit happens, and is reported as failed."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection, self.unsure = connection, True

    def __getattr__(self, name: str) -> object:
        return getattr(self._connection, name)

    def execute(self, sql: str, *terms: object) -> sqlite3.Cursor:
        done = self._connection.execute(sql, *terms)
        if sql == "COMMIT" and self.unsure:
            self.unsure = False
            raise sqlite3.OperationalError("disk I/O error")
        return done


async def test_after_a_commit_of_unknown_outcome_the_file_has_the_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    real = log_writer.open_file
    monkeypatch.setattr(log_writer, "open_file", lambda folder: Unsure(real(folder)))
    log = open_log(tmp_path)
    with pytest.raises(Unavailable, match="disk I/O"):
        await log.append(BOTH, NOW_US)
    assert (await log.append(BOTH, NOW_US)).places[0].position == 2
    await log.close()


async def test_a_mark_beyond_the_head_frees_nothing(tmp_path: Path):
    log = open_log(tmp_path, limits=Limits(bytes_max=3_000, keep_bytes=0, keep_days=7, disk_free_min_bytes=0))
    await log.append({Lane.BULK: plain(100)}, NOW_US)
    await log.forget("bulk", 2)
    with pytest.raises(Backpressure):
        await log.append({Lane.BULK: plain(100)}, NOW_US)
    await log.close()


async def test_a_fault_nobody_thought_of_fails_one_append_and_not_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    log = open_log(tmp_path)
    monkeypatch.setattr(log_writer.LogWriter, "_commit", broken)
    with pytest.raises(Unavailable, match="ZeroDivisionError"):
        await log.append(BOTH, NOW_US)
    monkeypatch.undo()
    await log.append(BOTH, NOW_US)
    await log.close()


async def test_an_append_after_closing_is_unavailable(tmp_path: Path):
    log = open_log(tmp_path)
    await log.close()
    with pytest.raises(Unavailable):
        await log.append(BOTH, NOW_US)


APPENDER = """
import asyncio, sys
from pathlib import Path
from penstock.model.batch import Lane
from penstock.stream.log import LogStream
from penstock.stream.log_writer import Limits
from stream.readings import plain

async def client(log, number):
    while True:
        receipt = await log.append({Lane.CRITICAL: plain(2), Lane.BULK: plain(50)}, 1_700_000_000_000_000)
        print(*(place.position for place in receipt.places), flush=True)

async def main():
    log = LogStream(Path(sys.argv[1]), Limits(2**28, 0, 7, 0), writable=True)
    print("ready", flush=True)
    await asyncio.gather(*(client(log, number) for number in range(4)))

asyncio.run(main())
"""
KILLS = 6


@pytest.fixture
def appended(tmp_path: Path) -> Iterator[set[tuple[int, int]]]:
    """What a process that was killed again and again saw acknowledged."""
    acknowledged: set[tuple[int, int]] = set()
    for turn in range(KILLS):
        acknowledged |= _append_until_killed(tmp_path, 0.02 + 0.009 * turn)
    yield acknowledged  # noqa: PT022  # a generator keeps the fixture's shape


def _append_until_killed(folder: Path, after_s: float) -> set[tuple[int, int]]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-c", APPENDER, str(folder)], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(after_s)
    process.send_signal(signal.SIGKILL)
    lines, _ = process.communicate()
    return {(int(c), int(b)) for c, b in (line.split() for line in lines.splitlines(keepends=True) if "\n" in line)}


async def test_kill_9_at_any_moment_loses_nothing_that_was_acknowledged(tmp_path: Path, appended: set[tuple[int, int]]):
    log = open_log(tmp_path)
    critical = await log.take("critical", 0, 10**9)
    bulk = await log.take("bulk", 0, 10**9)
    assert len(appended) > KILLS
    assert [entry.position for entry in bulk] == list(range(1, len(bulk) + 1))
    assert len(critical) == len(bulk), "both lanes of an append, or none"
    assert appended <= {(c.position, b.position) for c, b in zip(critical, bulk, strict=True)}
    assert bulk[-1].counted == sum(len(entry.batch) for entry in bulk)
    assert await log.received(0, 2**62) == critical[-1].counted + bulk[-1].counted
    await log.close()
