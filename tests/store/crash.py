"""A writer, a sealer and a verifier as processes, to be killed: `crash.py writer|sealer|verify URL`."""

import asyncio
import sys
from pathlib import Path

import numpy as np
import psycopg

sys.path.insert(0, str(Path(__file__).parents[1]))

from penstock.model.batch import NO_SEQ, NO_TEXT
from penstock.store.history import PostgresHistory
from penstock.store.postgres import Database
from penstock.store.seal import Sealer
from store.test_history_machine import Content, Writer, bits

BATCHES = 250
START = 1_795_000_000_000_000
TAGS = 300


def batch(number: int) -> list[tuple[tuple[int, int, int], Content]]:
    """The stream's entry *number*; every eighth is an older one again, every ninth is days late."""
    if number % 8 == 7:
        return batch(number // 2 - number // 2 % 8)
    random = np.random.default_rng(number)
    late = 86_400_000_000 * int(random.integers(1, 900)) if number % 9 == 8 else 0
    tags = random.integers(1, TAGS + 1, 150).tolist()
    times = (START - late + number * 100_000 + random.integers(0, 200, 150) * 1_000).tolist()
    return [
        ((tag, ts, NO_SEQ), Content(bits(round(tag + i / 100, 2)), NO_TEXT, 0))
        for i, (tag, ts) in enumerate(zip(tags, times, strict=True))
    ]


async def write(database: Database) -> None:
    history = PostgresHistory(database)
    writer = await Writer.start(history)
    while writer.at < BATCHES:
        await writer.flush(batch(writer.at))
        await asyncio.sleep(0.01)
    await history.close()


async def seal(database: Database) -> None:
    sealer = Sealer(database, 0.1, packs_min=4)
    while True:
        for grp in range(TAGS // 100):
            await sealer.seal(grp)
            await sealer.compact(grp)


def verify(url: str) -> None:
    first: dict[tuple[int, int], float] = {}
    for number in range(BATCHES):
        for i, ((tag, ts, _), _) in enumerate(batch(number)):
            first.setdefault((tag, ts), round(tag + i / 100, 2))
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "select tag_id, (extract(epoch from ts) * 1000000)::bigint, value from readings"
        ).fetchall()
        counted = connection.execute(
            "select counted, stored, stored + duplicate + conflict from shard where stream = 'stream'"
        ).fetchall()
        packs = connection.execute("select count(*) from segment").fetchall()
    assert {(tag, ts): value for tag, ts, value in rows} == first
    assert len(rows) == len(first)
    assert counted == [(BATCHES * 150, len(first), BATCHES * 150)]
    assert packs[0][0] > 0


async def main(role: str, url: str) -> None:
    database = Database(url, application=role, connections_max=4)
    await database.open()
    await {"writer": write, "sealer": seal}[role](database)
    await database.close()


if __name__ == "__main__":
    if sys.argv[1] == "verify":
        verify(sys.argv[2])
    else:
        asyncio.run(main(*sys.argv[1:3]))
