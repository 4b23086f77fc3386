"""What is watched in the store: whether it can be written, whether places are committed, which tags are critical."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from penstock.errors import Unavailable
from penstock.store.postgres import Database
from penstock.store.sql import statements

COMMITTED_POLL_S: Final = 0.02
CRITICAL_POLL_S: Final = 1.0


async def check_writable(database: Database) -> None:
    """Raises Unavailable when nothing can be stored: the database is away, or for reading only, as a replica is."""
    async with database.connection() as connection:
        row = await (await connection.execute(statements("watch")["read_only"])).fetchone()
    if row != ("off",):
        raise Unavailable("the database is for reading only")


class Committed:
    """Waits for readings to be stored, for clients that ask for it."""

    def __init__(self, database: Database, stream: str) -> None:
        self._database, self._stream = database, stream
        self._sql = statements("watch")

    async def __call__(self, places: Sequence[tuple[str, int]], timeout_s: float) -> bool:
        """True once all places are committed; False when that takes longer than *timeout_s*, or cannot be told."""
        try:
            async with asyncio.timeout(timeout_s):
                while not await self._all(places):  # noqa: ASYNC110  # it is another process that commits
                    await asyncio.sleep(COMMITTED_POLL_S)
        except (TimeoutError, Unavailable):
            return False
        return True

    async def _all(self, places: Sequence[tuple[str, int]]) -> bool:
        async with self._database.connection() as connection:
            cursor = await connection.execute(self._sql["positions"], {"stream": self._stream})
            positions = {shard: int(position) for shard, position in await cursor.fetchall()}
        return all(positions.get(shard, 0) >= position for shard, position in places)


class CriticalPaths:
    """The paths of the critical tags as of a second ago; while the database is away, the last that were known."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._sql = statements("watch")
        self._version = -1
        self._paths: frozenset[str] = frozenset()

    def __call__(self) -> frozenset[str]:
        return self._paths

    async def refresh(self) -> None:
        """Look once. Raises Unavailable."""
        async with self._database.connection() as connection:
            row = await (await connection.execute(self._sql["version"])).fetchone()
            if row is None or row[0] == self._version:
                return
            paths = await (await connection.execute(self._sql["critical"])).fetchall()
        self._version, self._paths = row[0], frozenset(path for (path,) in paths)

    async def run(self, stop: asyncio.Event) -> None:
        """Look again every second, until *stop*."""
        while not stop.is_set():
            with suppress(Unavailable):  # readiness says so already; what was critical a moment ago still is
                await self.refresh()
            await asyncio.sleep(CRITICAL_POLL_S)
