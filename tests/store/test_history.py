"""The flush transaction: fenced, all or nothing, and everything it was given kept."""

import asyncio
import contextlib
import math
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import psycopg
import pytest

from penstock.errors import Fenced, Unavailable
from penstock.model.batch import NO_SEQ, NO_TEXT
from penstock.store.history import PostgresHistory
from penstock.store.port import Contested, Fates, Held, Known, Lease, Repeats, Span
from penstock.store.postgres import Database
from store.test_history_machine import NOW, Content, Writer, bits, rows_of

KILLS = 5


class Unfenced(PostgresHistory):
    """Without the fence, to show what it prevents."""

    def may_commit(self, lease: Lease, span: Span, *, epoch: int, position: int) -> bool:
        return True


@pytest.fixture
async def database(postgres_url: str) -> AsyncIterator[Database]:
    database = Database(postgres_url, application="test", connections_max=4)
    await database.open()
    yield database
    await database.close()


@pytest.fixture
async def history(database: Database) -> AsyncIterator[PostgresHistory]:
    history = PostgresHistory(database)
    yield history
    await history.close()


def good(tag: int, ts: int, value: float, seq: int = NO_SEQ) -> tuple[tuple[int, int, int], Content]:
    return (tag, ts, seq), Content(bits(value), NO_TEXT, 0)


async def make_tags(history: PostgresHistory, n: int = 5) -> None:
    lease = await history.claim("setup", ["bulk"], "test")
    async with history.flush(lease, Span("bulk", 0, 0, 0, NOW)) as flush:
        await flush.register([f"site/{i}" for i in range(1, n + 1)])
        await flush.settle({})


def ask(database: Database, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(database.url) as connection:
        return connection.execute(query).fetchall()  # type: ignore[arg-type]


async def race(history: PostgresHistory) -> list[str]:
    """A worker is taken over while it holds a batch; both then commit the same entry. Returns who was fenced."""
    first = await Writer.start(history)
    batch = [good(1, NOW, 1.5), good(1, NOW + 1, 2.5)]
    second = await Writer.start(history)
    fenced = []
    for name, writer in (("second", second), ("first", first)):
        try:
            await writer.flush(batch)
        except Fenced:
            fenced.append(name)
    return fenced


async def test_a_second_claim_fences_the_first(database: Database, history: PostgresHistory) -> None:
    await make_tags(history)
    assert await race(history) == ["first"]
    assert ask(database, "select count(*), count(distinct ts) from readings") == [(2, 2)]


async def test_without_the_fence_readings_are_stored_twice(database: Database) -> None:
    history = Unfenced(database)
    await make_tags(history)
    with contextlib.suppress(Fenced):  # `settle` looks at the epoch once more
        await race(history)
    async with database.connection() as connection:
        await connection.execute("update shard set epoch = 1 where shard = 'bulk'")
    stale = Writer(history, Lease("stream", "stale", {"bulk": 1}, {"bulk": (0, 0)}))  # type: ignore[dict-item]
    await stale.flush([good(1, NOW, 1.5), good(1, NOW + 1, 2.5)])
    await history.close()
    assert ask(database, "select count(*), count(distinct ts) from readings") == [(4, 2)]


async def test_a_span_that_does_not_follow_the_checkpoint_is_fenced(history: PostgresHistory) -> None:
    await make_tags(history)
    writer = await Writer.start(history)
    await writer.flush([good(1, NOW, 1.0)])
    writer.at = 0
    with pytest.raises(Fenced):
        await writer.flush([good(1, NOW + 1, 1.0)])


async def test_leaving_unsettled_rolls_back(database: Database, history: PostgresHistory) -> None:
    await make_tags(history)
    lease = await history.claim("stream", ["bulk"], "test")
    async with history.flush(lease, Span("bulk", 0, 1, 1, NOW)) as flush:
        await flush.write(rows_of([good(1, NOW, 1.0)]))
    assert ask(database, "select count(*) from hot") == [(0,)]


async def test_registering_is_idempotent_and_moves_the_version(history: PostgresHistory) -> None:
    lease = await history.claim("stream", ["bulk"], "test")
    async with history.flush(lease, Span("bulk", 0, 0, 0, NOW)) as flush:
        first = await flush.register(["a/b", "a/a"])
        again = await flush.register(["a/a", "a/c", "a/b"])
        assert await flush.register_states(["RUN", "STOP"]) == [1, 2]
        assert await flush.register_states(["STOP", "IDLE", "RUN"]) == [2, 3, 1]
        await flush.fix_kind([first[0].tag_id], [first[1].tag_id])
        await flush.fix_kind([first[1].tag_id], [])
        await flush.settle({})
        before = flush.registry_version
    assert [tag.path for tag in again] == ["a/a", "a/c", "a/b"]
    assert [again[2], again[0]] == list(first)
    version, tags = await history.tags()
    assert {tag.path: tag.holds for tag in tags} == {"a/b": "value", "a/a": "state", "a/c": None}
    assert await history.state_texts() == {"RUN": 1, "STOP": 2, "IDLE": 3}
    async with history.flush(lease, Span("bulk", 0, 0, 0, NOW)) as flush:
        assert flush.registry_version == version > before
        assert {tag.path for tag in await flush.changed_tags(before)} == {"a/a", "a/b", "a/c"}
        assert not await flush.changed_tags(version)


async def test_an_empty_registry_has_no_tags(history: PostgresHistory) -> None:
    assert await history.tags() == (0, [])
    assert [column.size for column in await history.watermarks()] == [0, 0]


async def test_everything_a_flush_keeps_is_there(database: Database, history: PostgresHistory) -> None:
    await make_tags(history)
    lease = await history.claim("stream", ["bulk"], "test")
    minutes = {NOW - NOW % 60_000_000: Fates(stored=2, late=1), 0: Fates(duplicate=1, conflict=1, quarantined=2)}
    for position in range(2):
        async with history.flush(lease, Span("bulk", position, position + 1, 6 * position + 6, NOW)) as flush:
            await flush.keep(
                [Held(1, 0, "x/y", None, "ts_ahead", "", b"{}"), Held(1, 1, "x/y", NOW, "odd", "why", b"{}")],
                [Contested(1, 2, 1, NOW, None, -0.0, None, 0), Contested(1, 3, 2, NOW, 7, None, "RUN", 0)],
                Repeats([1, 1], np.array([4, 5], np.int32), np.array([1, 2], np.int32)),
            )
            await flush.settle(minutes)
    assert ask(database, "select position, counted, stored, duplicate, conflict, quarantined, late from shard "
                         "where stream = 'stream'") == [(2, 12, 4, 2, 2, 4, 2)]  # fmt: skip
    assert ask(database, "select sum(stored), sum(duplicate), sum(late), count(*) from balance_minute") == [
        (4, 2, 2, 2)
    ]
    assert ask(database, "select readings, stored, position_lo, position_hi, received_at from flush order by 3") == [
        (6, 2, lo, lo + 1, datetime.fromtimestamp(NOW / 1e6, UTC)) for lo in range(2)
    ]
    assert ask(database, "select count(*), count(ts) from quarantine") == [(4, 2)]
    assert ask(database, "select seq, value, state from conflict order by 1 limit 1") == [(7, None, "RUN")]
    assert ask(database, "select count(*) from conflict where value = 0 and seq is null") == [(2,)]
    assert ask(database, "select index from repeat") == [([4, 5],)] * 2


async def test_content_is_compared_to_the_bit(history: PostgresHistory) -> None:
    await make_tags(history)
    writer = await Writer.start(history)
    await writer.flush([good(1, NOW, 0.0), good(2, NOW, math.nan), good(3, NOW, 0.1 + 0.2)])
    lease = writer.lease
    async with history.flush(lease, Span("bulk", 1, 1, 3, NOW)) as flush:
        suspects = [
            good(1, NOW, -0.0),
            good(1, NOW, 0.0),
            good(2, NOW, math.nan),
            good(3, NOW, 0.3),
            good(3, NOW, 1, 1),
        ]
        known = await flush.compare(rows_of(suspects))
    assert known.tolist() == [Known.CONFLICT, Known.DUPLICATE, Known.DUPLICATE, Known.CONFLICT, Known.NEW]


async def test_a_lost_connection_is_unavailable_and_then_mended(database: Database, history: PostgresHistory) -> None:
    await make_tags(history)
    writer = await Writer.start(history)
    with pytest.raises(Unavailable):  # noqa: PT012  # the loss shows while the transaction is open
        async with history.flush(writer.lease, Span("bulk", 0, 1, 1, NOW)) as flush:
            ask(database, "select pg_terminate_backend(pid) from pg_stat_activity where application_name like '%flush'")
            await flush.write(rows_of([good(1, NOW, 1.0)]))
    await writer.flush([good(1, NOW, 1.0)])
    assert ask(database, "select count(*) from readings") == [(1,)]


async def test_two_shards_take_turns(history: PostgresHistory) -> None:
    await make_tags(history)
    lease = await history.claim("stream", ["critical", "bulk"], "test")

    async def commit(shard: str, tag: int) -> None:
        for i in range(10):
            async with history.flush(lease, Span(shard, i, i + 1, i + 1, NOW)) as flush:
                await flush.write(rows_of([good(tag, NOW + i, 1.0)]))
                await flush.settle({0: Fates(stored=1)})

    await asyncio.gather(commit("critical", 1), commit("bulk", 2))
    assert dict(zip(*(it.tolist() for it in await history.watermarks()), strict=True)) == {1: NOW + 9, 2: NOW + 9}


@pytest.mark.slow
async def test_kill_9_of_writer_and_sealer_loses_nothing_and_stores_nothing_twice(
    database: Database, history: PostgresHistory
) -> None:
    await make_tags(history, 300)
    script = str(Path(__file__).with_name("crash.py"))

    def start(role: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, script, role, database.url])

    running = {role: start(role) for role in ("writer", "sealer")}
    for kill in range(KILLS):
        await asyncio.sleep(0.9)
        role = ("writer", "sealer")[kill % 2]
        running[role].send_signal(signal.SIGKILL)
        running[role].wait()
        running[role] = start(role)
    await asyncio.to_thread(running["writer"].wait, 60)
    running["sealer"].kill()
    running["sealer"].wait()
    assert running["writer"].returncode == 0
    await asyncio.to_thread(subprocess.run, [sys.executable, script, "verify", database.url], check=True)
