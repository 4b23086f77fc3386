"""Accepted readings that were not stored, as people see them: quarantine and conflicts."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Final, NamedTuple

from penstock.errors import Unknown
from penstock.store.postgres import Database
from penstock.store.sql import statements

SQL: Final = statements("exceptions")
NEWEST: Final = 2**63 - 1
"""Where a list that goes down by id begins."""


class Quarantined(NamedTuple):
    """A reading that broke its contract, with its reason; `raw` is its JSON."""

    quarantine_id: int
    path: str
    ts: datetime | None
    reason: str
    detail: str
    raw: bytes
    at: datetime
    redriven_at: datetime | None
    redriven_by: str | None
    redriven_as: str | None


class Conflict(NamedTuple):
    """A reading whose identity is stored with other content."""

    conflict_id: int
    path: str
    ts: datetime
    seq: int | None
    value: float | None
    state: str | None
    quality: int
    at: datetime


MarkRedriven = Callable[[str, str], Awaitable[None]]
"""(who, batch_id): note under which batch the reading was sent again."""


class Exceptions:
    """Lists and redrives what was not stored."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def quarantine(
        self,
        sites: Sequence[str] | None,
        limit: int,
        *,
        path: str | None = None,
        reason: str | None = None,
        before: int = NEWEST,
    ) -> Sequence[Quarantined]:
        """Newest first, those with an id below *before*."""
        given = {"sites": _array(sites), "limit": limit, "path": path, "reason": reason, "before": before}
        return [Quarantined(*row) for row in await self._rows("quarantine", given)]

    async def conflicts(
        self,
        sites: Sequence[str] | None,
        limit: int,
        *,
        path: str | None = None,
        before: int = NEWEST,
    ) -> Sequence[Conflict]:
        """Newest first, those with an id below *before*."""
        given = {"sites": _array(sites), "limit": limit, "path": path, "before": before}
        return [Conflict(*row) for row in await self._rows("conflicts", given)]

    @asynccontextmanager
    async def redriving(
        self, quarantine_id: int, sites: Sequence[str] | None
    ) -> AsyncIterator[tuple[Quarantined, MarkRedriven]]:
        """Hold one quarantined reading, so that no other redrives it meanwhile. Raises Unknown.

        If the mark is lost to a crash, sending once more only makes a duplicate.
        """
        async with self._database.transaction() as connection:
            given = {"quarantine_id": quarantine_id, "sites": _array(sites)}
            row = await (await connection.execute(SQL["hold_quarantined"], given)).fetchone()
            if row is None:
                raise Unknown("there is no such quarantined reading")

            async def mark(who: str, batch_id: str) -> None:
                await connection.execute(
                    SQL["redriven"], {"quarantine_id": quarantine_id, "who": who, "batch_id": batch_id}
                )

            yield Quarantined(*row), mark

    async def _rows(self, statement: str, given: dict[str, Any]) -> Sequence[tuple[Any, ...]]:
        async with self._database.connection() as connection:
            return await (await connection.execute(SQL[statement], given)).fetchall()


def _array(sites: Sequence[str] | None) -> list[str] | None:
    return None if sites is None else [*sites]
