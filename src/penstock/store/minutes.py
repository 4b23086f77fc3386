"""Rollups by the minute leave when they are old, a short transaction at a time; those by the hour stay."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final

from psycopg import AsyncConnection

from penstock.store.port import GROUP_TAGS
from penstock.store.postgres import Database, translated
from penstock.store.sql import statements
from penstock.telemetry import FORGOTTEN_MINUTES, MINUTES_BEGIN

SQL: Final = statements("minutes")
ROWS_MAX: Final = 10_000
"""Minutes deleted in one transaction."""


class OldMinutes:
    """Deletes rollups by the minute of whole UTC hours that are older than *kept*. Two at once do no harm.

    From when on all minutes are here is written down before the first of them is deleted, so that a crash anywhere
    leaves less deleted than told, never more. What comes late for a time of before makes part of a minute: it is shown
    to nobody, and goes with the next run.
    """

    def __init__(self, database: Database, kept: timedelta, *, rows_max: int = ROWS_MAX) -> None:
        self._database = database
        self._kept = kept
        self._each_max = max(1, rows_max // GROUP_TAGS)

    async def run(self) -> int:
        """Delete all that is old enough; how many minutes that were. Raises Unavailable."""
        await self.tell()
        gone, groups = 0, await self._groups()
        while groups:
            found = {grp: await self._gently(grp) for grp in groups}
            gone += sum(found.values())
            groups = [grp for grp in groups if found[grp]]
        return gone

    async def tell(self) -> None:
        """Write down from when on minutes are complete, if there are older ones; it never goes back."""
        async with self._database.transaction() as connection:
            await connection.execute(SQL["tell"], {"kept": self._kept})
        async with self._database.connection() as connection:
            floor_us = await minutes_floor(connection)
        if floor_us is not None:
            MINUTES_BEGIN.set(floor_us / 1e6)

    async def delete(self, grp: int) -> int:
        """Delete some of the old minutes of a group's tags, in one transaction; 0 when there are none."""
        tags = {"tag_lo": grp * GROUP_TAGS + 1, "tag_hi": (grp + 1) * GROUP_TAGS, "each_max": self._each_max}
        async with self._database.transaction() as connection:
            row = await (await connection.execute(SQL["delete"], tags)).fetchone()
        assert row is not None
        FORGOTTEN_MINUTES.inc(row[0])
        return int(row[0])

    async def _gently(self, grp: int) -> int:
        """Half of the time is left to others, however much there is to delete."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        gone = await self.delete(grp)
        await asyncio.sleep(loop.time() - began if gone else 0)
        return gone

    async def _groups(self) -> list[int]:
        async with self._database.connection() as connection:
            return [grp for (grp,) in await (await connection.execute(SQL["groups"])).fetchall()]


async def minutes_floor(connection: AsyncConnection) -> int | None:
    """Rollups by the minute are complete from here on, microseconds since 1970; None: all are here."""
    row = await (await connection.execute(SQL["floor"])).fetchone()
    return None if row is None else int(row[0])


@asynccontextmanager
async def only_one(database: Database) -> AsyncIterator[bool]:
    """Whether we are the one process that lets minutes leave, until the end."""
    with translated():
        async with await database.connect("minutes") as connection:
            row = await (await connection.execute(SQL["try_lock"])).fetchone()
            yield row is not None and bool(row[0])
