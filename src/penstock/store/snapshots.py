"""Where detector state rests between runs of the worker."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from psycopg.types.json import Jsonb

from penstock.store.port import Committed, Lease
from penstock.store.postgres import Database
from penstock.store.sql import statements


class PostgresSnapshots:
    """One snapshot a unit of a stream, replaced in place."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._sql = statements("snapshots")

    async def load(self, stream: str, unit: str) -> tuple[Mapping[str, int], bytes] | None:
        async with self._database.connection() as connection:
            cursor = await connection.execute(self._sql["load"], {"stream": stream, "unit": unit})
            row = await cursor.fetchone()
        return None if row is None else (row[0], bytes(row[1]))

    async def save(self, lease: Lease, positions: Mapping[str, int], state: bytes) -> None:
        """Nothing happens when the lease has passed to another."""
        values = {
            "stream": lease.stream,
            "unit": lease.unit,
            "positions": Jsonb(dict(positions)),
            "epochs": Jsonb(dict(lease.epochs)),
            "state": state,
        }
        async with self._database.connection() as connection:
            await connection.execute(self._sql["save"], values)

    async def committed(self, stream: str, shard: str, lo: int, hi: int) -> Sequence[Committed]:
        values = {"stream": stream, "shard": shard, "lo": lo, "hi": hi}
        async with self._database.connection() as connection:
            cursor = await connection.execute(self._sql["committed"], values)
            return [
                Committed(int(position), readings, frozenset(map(int, repeated or ())))
                for position, readings, repeated in await cursor.fetchall()
            ]

    async def unstored(self, stream: str, shard: str, lo: int, hi: int) -> Mapping[int, Sequence[int]]:
        values = {"stream": stream, "shard": shard, "lo": lo, "hi": hi}
        items: defaultdict[int, list[int]] = defaultdict(list)
        async with self._database.connection() as connection:
            async for position, index in await connection.execute(self._sql["unstored"], values):
                items[int(position)].append(index)
        return items
