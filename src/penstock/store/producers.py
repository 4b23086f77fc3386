"""What producers of a shared stream say that they put on it, and the long tail of those that are gone."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Final
from uuid import UUID

from penstock.store.port import FOREIGN
from penstock.store.postgres import Database
from penstock.store.sql import statements

SQL: Final = statements("producers")
PAST: Final = UUID(int=1)
"""Stands for all producers that ended long ago."""
FOLD_AFTER: Final = timedelta(days=8)
"""Longer than anyone should keep readings in a stream, or a process its counts from a database that is away."""


class Producers:
    """Counts by producer. A producer is one start of one process, under a UUID of its own."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def publish(
        self, stream: str, producer: UUID, by_belt: Mapping[int, int], by_minute: Mapping[int, int]
    ) -> None:
        """Say how many readings the stream has acknowledged, ever: by belt, and by received minute.

        *by_minute* goes by the minute that the records carry (microseconds since 1970). Counts that did not change
        may be left out, minutes older than FOLD_AFTER must be; saying something twice is harmless. Call it once a
        second, with nothing new too: whoever is silent for FOLD_AFTER counts as ended. Raises Unavailable; then the
        counts are said later.
        """
        given = {
            "stream": stream,
            "producer": producer,
            "belts": [*by_belt],
            "belts_put": [*by_belt.values()],
            "minutes": [*by_minute],
            "minutes_put": [*by_minute.values()],
        }
        async with self._database.connection() as connection:
            await connection.execute(SQL["publish"], given)

    async def alive(self, stream: str) -> int:
        """Producers that said something within the last half minute."""
        async with self._database.connection() as connection:
            ((count,),) = await (await connection.execute(SQL["alive"], {"stream": stream})).fetchall()
        return int(count)

    async def fold(self, stream: str, older_than: timedelta = FOLD_AFTER) -> None:
        """Add up what is settled: old minutes over their producers, and the belts of producers that ended.

        No sum changes. Of what was put and never seen everything stays: it is the proof. Which flushes had a request's
        readings is forgotten. Once an hour is enough; several at a time take turns.
        """
        given = {"stream": stream, "older_than": older_than, "past": PAST, "foreign": FOREIGN}
        async with self._database.transaction() as connection:
            for statement in ("hold_fold", "fold_minutes", "fold_producers", "forget_requests"):
                await connection.execute(SQL[statement], given)
