"""What it costs that rollups by the minute leave: ms a million, the longest transaction, WAL. `minutes.py [HOURS]`.

10,000 tags; rows lie as seals write them: group after group, two minutes at a time. No pauses between transactions.
"""

import asyncio
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import psycopg

from penstock.store.embedded import EmbeddedPostgres
from penstock.store.migrate import migrate
from penstock.store.minutes import OldMinutes
from penstock.store.postgres import Database

GROUPS = 100
FILL = """
    insert into rollup_1m
    select tag_id, date_trunc('hour', now()) - %(hours)s * interval '1 hour' + (2 * pair + k) * interval '1 minute',
           60, 1, 2, 3, now(), 0, 1.5
    from generate_series(0, %(hours)s * 30 - 1) pair, generate_series(0, %(groups)s - 1) grp,
         generate_series(grp * 100 + 1, grp * 100 + 100) tag_id, generate_series(0, 1) k
    order by pair, grp, tag_id, k"""


class Timed(OldMinutes):
    """Remembers how long each transaction took, in ms."""

    def __init__(self, database: Database, kept: timedelta) -> None:
        super().__init__(database, kept)
        self.took: list[float] = []

    async def delete(self, grp: int) -> int:
        began = time.perf_counter()
        gone = await super().delete(grp)
        self.took.append((time.perf_counter() - began) * 1e3)
        return gone


def fill(connection: psycopg.Connection, hours: int) -> None:
    tags = "insert into tag (path, version) select 'bench/' || i, 1 from generate_series(1, %s) i"
    connection.execute(tags, [GROUPS * 100])
    connection.execute("insert into mark select grp, '{}', '{}' from generate_series(0, %s) grp", [GROUPS - 1])
    connection.execute(FILL, {"hours": hours, "groups": GROUPS})
    connection.execute("vacuum analyze rollup_1m")
    connection.execute("checkpoint")


def written(connection: psycopg.Connection) -> float:
    """Bytes of WAL so far."""
    row = connection.execute("select pg_current_wal_lsn() - '0/0'::pg_lsn").fetchone()
    assert row is not None
    return float(row[0])


async def measure(url: str, hours: int) -> None:
    await migrate(url)
    database = Database(url, application="bench", connections_max=2)
    await database.open()
    with psycopg.connect(url, autocommit=True) as connection:
        fill(connection, hours)
        for what, kept in (("an hour's", hours - 1), ("the next hour's", hours - 2), ("the rest", 1), ("nothing", 1)):
            leaving, before = Timed(database, timedelta(hours=kept)), written(connection)
            gone = await leaving.run()
            wal = written(connection) - before
            each = (
                f"{sum(leaving.took) * 1e6 / gone:,.0f} ms a million, {wal / gone:.0f} B of WAL each; " if gone else ""
            )
            print(f"{what}: {gone:,} in {sum(leaving.took):,.0f} ms; {each}longest {max(leaving.took):.0f} ms")
    await database.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder, EmbeddedPostgres(Path(folder)) as server:
        asyncio.run(measure(server.url, int(sys.argv[1]) if len(sys.argv) > 1 else 24))
