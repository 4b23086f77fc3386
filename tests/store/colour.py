"""One version's task in small: `python colour.py URL COLOUR` migrates, then writes until a line comes in, or it fails.

Runs with whatever `penstock` PYTHONPATH names, so it keeps to what old versions have too. Its last line is JSON:
`flushes` and `readings` that it committed, `knows` (the newest migration of that code), and `failed`, empty or why.
"""

import asyncio
import json
import sys
import time

import numpy as np

from penstock.model.batch import NO_SEQ, NO_TEXT
from penstock.store.history import PostgresHistory
from penstock.store.migrate import migrate, migrations
from penstock.store.port import Fates, Rows, Span
from penstock.store.postgres import Database

TAGS, EACH = 5, 20
PAUSE_S = 0.01
MINUTE_US = 60_000_000


def rows(tags: list[int], at: int) -> Rows:
    """EACH readings of each tag, in times that no other flush has."""
    n = len(tags) * EACH
    ts = np.tile(np.arange(EACH, dtype=np.int64) + 1_790_000_000_000_000 + at * EACH, len(tags))
    ids = np.repeat(np.array(sorted(tags), np.int32), EACH)
    none = np.full(n, NO_TEXT, np.int32), np.zeros(n, np.int64), np.full(n, NO_SEQ, np.int64)
    return Rows(ids, ts, ts.astype(np.float64), *none)


class Colour:
    """Writes on a stream of its own; counts what was committed."""

    def __init__(self, history: PostgresHistory, name: str) -> None:
        self.history, self.name = history, name
        self.flushes = self.readings = 0

    async def start(self) -> None:
        self.lease = await self.history.claim(self.name, ["bulk"], self.name)
        async with self.history.flush(self.lease, Span("bulk", 0, 0, 0, time.time_ns() // 1000)) as flush:
            tags = await flush.register([f"{self.name}/tag-{i}" for i in range(TAGS)])
            await flush.settle({})
        self.tags = [tag.tag_id for tag in tags]

    async def flush(self) -> None:
        body, now = rows(self.tags, self.flushes), time.time_ns() // 1000
        span = Span("bulk", self.flushes, self.flushes + 1, self.readings + len(body), now)
        async with self.history.flush(self.lease, span) as flush:
            await flush.write(body)
            await flush.settle({now - now % MINUTE_US: Fates(stored=len(body))})
        self.flushes, self.readings = self.flushes + 1, self.readings + len(body)

    def told(self, failed: str = "") -> None:
        known = {"flushes": self.flushes, "readings": self.readings, "knows": migrations()[-1].number}
        sys.stdout.write(json.dumps(known | {"failed": failed}) + "\n")


async def write(url: str, name: str) -> None:
    await migrate(url)
    database = Database(url, application=name, connections_max=2)
    await database.open()
    colour, stop = Colour(PostgresHistory(database), name), asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin, stop.set)
    try:
        await colour.start()
        while not stop.is_set():
            await colour.flush()
            await asyncio.sleep(PAUSE_S)
        colour.told()
    except Exception as error:  # noqa: BLE001  # whatever it is: a failed write is what is looked for
        colour.told(f"{type(error).__name__}: {error}"[:500])
    await colour.history.close()
    await database.close()


if __name__ == "__main__":
    asyncio.run(write(sys.argv[1], sys.argv[2]))
