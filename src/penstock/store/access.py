"""Keys, login links and sessions in PostgreSQL."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from psycopg.rows import dict_row

from penstock.errors import Unknown
from penstock.model.access import Key, Role
from penstock.store.postgres import Database
from penstock.store.sql import statements

SQL: Final = statements("access")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Access:
    """The door's KeyStore. Everything is one statement; what is too old is swept out by whoever adds."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, key: Key) -> None:
        created_at = _EPOCH + timedelta(microseconds=key.created_us)
        scope = (str(key.role), sorted(key.sites), key.rate, key.burst)
        await self._do("add", key.key_id, key.name, key.sha256, *scope, created_at, key.created_by)

    async def keys(self) -> Sequence[Key]:
        return await self._find("keys")

    async def key(self, key_id: str) -> Key | None:
        return await self._one("key", key_id)

    async def revoke(self, key_id: str, by: str) -> None:
        if await self._do("revoke", by, key_id) == 0:
            raise Unknown("there is no such key")

    async def add_link(self, sha256: bytes, key_id: str, life_s: float) -> None:
        await self._do("add_link", sha256, key_id, life_s)

    async def use_link(self, sha256: bytes) -> Key | None:
        return await self._one("use_link", sha256)

    async def add_session(self, sha256: bytes, key_id: str, life_s: float) -> None:
        await self._do("add_session", sha256, key_id, life_s)

    async def session(self, sha256: bytes) -> Key | None:
        return await self._one("session", sha256)

    async def end_session(self, sha256: bytes) -> None:
        await self._do("end_session", sha256)

    async def _do(self, name: str, *given: object) -> int:
        """Rows that the statement touched."""
        async with self._database.connection() as connection:
            return (await connection.execute(SQL[name], given)).rowcount

    async def _find(self, name: str, *given: object) -> list[Key]:
        async with self._database.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(SQL[name], given)
            return [_key(row) for row in await cursor.fetchall()]

    async def _one(self, name: str, *given: object) -> Key | None:
        return next(iter(await self._find(name, *given)), None)


def _key(row: Mapping[str, Any]) -> Key:
    names = ("key_id", "name", "sha256", "rate", "burst", "created_by", "revoked_by")
    return Key(
        **{name: row[name] for name in names},
        role=Role(row["role"]),
        sites=frozenset(row["sites"]),
        created_us=_us(row["created_at"]),
        revoked_us=None if row["revoked_at"] is None else _us(row["revoked_at"]),
    )


def _us(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(microseconds=1)
