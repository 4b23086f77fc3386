"""How a shared stream stands: who is there to work on it, how long shards wait, and since when nothing came of them."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from penstock.store.postgres import Database
from penstock.store.sql import statements

SQL: Final = statements("standing")
LEASE_S: Final = 10.0
STUCK_S: Final = 30.0
"""What workers go by unless told otherwise; those from before this was asked of them say nothing."""


class ShardStanding(NamedTuple):
    """One shard. Times are the database's."""

    shard: str
    ended: bool = False
    """Worked to its end, or lost: nothing will come of it any more."""
    committed_at: datetime | None = None
    """When something of it was last stored."""
    behind_s: float | None = None
    """How old what comes next is; 0: nothing waits; None: nobody has told."""
    moved_at: datetime | None = None
    """When its holder last got on: stored something, or saw that there was nothing to store. Where none ever did,
    when what waits came; None: nothing waits, as far as anyone has told."""
    free_since: datetime | None = None
    """Since when anyone could have taken it and nobody has it; None: it is held, or its parents are not done."""
    lost_at: datetime | None = None
    """When the stream last had it, of one that it dropped before all of it was taken."""


class Standing(NamedTuple):
    """A stream at one moment, `now`."""

    now: datetime
    stuck_s: float = STUCK_S
    lease_s: float = LEASE_S
    retention_s: float | None = None
    """How long it keeps entries; None: until they are stored, or nobody has told."""
    workers: int | None = None
    """Those alive; None where they do not say so (a local stream has one)."""
    worker_seen_at: datetime | None = None
    """When the last of them was."""
    in_flight: int = 0
    """Readings that wait."""
    shards: Sequence[ShardStanding] = ()


class Standings:
    """Answers from what workers and producers have said of themselves."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def newest(self) -> str | None:
        """The stream of which anything was heard last, if it is a shared one; others are of before."""
        rows = await self._rows("streams")
        return str(rows[0][0]) if rows and rows[0][1] else None

    async def shared(self, stream: str) -> Standing:
        """Raises Unavailable."""
        ((now, retention_s, lease_s, stuck_s, workers, seen_at, in_flight),) = await self._rows(
            "stream", stream=stream, lease_s=LEASE_S, stuck_s=STUCK_S
        )
        shards = [ShardStanding(*row) for row in await self._rows("shards", stream=stream, lease_s=lease_s)]
        return Standing(now, stuck_s, lease_s, retention_s, workers, seen_at, in_flight, shards)

    async def commits(self, stream: str) -> tuple[datetime, Mapping[str, datetime]]:
        """The database's time, and when something of each shard was last stored. Raises Unavailable."""
        ((now,),) = await self._rows("now")
        return now, dict(await self._rows("commits", stream=stream))

    async def _rows(self, statement: str, **given: Any) -> list[tuple[Any, ...]]:
        async with self._database.connection() as connection:
            return await (await connection.execute(SQL[statement], given)).fetchall()
