"""What PostgreSQL knows of readings that leave it, and the leaving itself, a short transaction at a time."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final, NamedTuple

from penstock.store.postgres import Database
from penstock.store.sql import statements

SQL: Final = statements("forget")
PACKS_MAX: Final = 500
"""Packs deleted in one transaction: two million readings at most."""


class Keeping(NamedTuple):
    """How long readings stay in the database once the archive holds them; None: for ever."""

    standard: timedelta | None
    critical: timedelta | None


class Gone(NamedTuple):
    """What one transaction deleted."""

    packs: int
    readings: int


class SegmentRow(NamedTuple):
    """A segment of the archive, as it was written down when the archive showed it."""

    number: int
    url: str
    flush_lo: int
    flush_hi: int
    readings: int
    manifest: str
    manifest_sha256: bytes
    locked_until: datetime | None


class ObjectRow(NamedTuple):
    """A file of a segment, likewise."""

    key: str
    sha256: bytes
    bytes: int
    readings: int
    locked_until: datetime | None
    class_: str | None


class HeldTag(NamedTuple):
    """How many sealed readings of a day the database has of a tag; *begun*: some may have been deleted before."""

    path: str
    readings: int
    flush_hi: int
    begun: bool


class DueTag(NamedTuple):
    """A tag whose readings of a day are old enough to leave."""

    tag_id: int
    path: str


class Floor(NamedTuple):
    """Before when readings may be in the archive alone, where that is, and before when they may be in nothing."""

    before: datetime
    url: str | None
    expired_before: datetime | None = None


class ForgetStatus(NamedTuple):
    """The newest and the oldest floor of any tag, readings deleted so far, tags, and where the readings are."""

    newest: datetime | None
    oldest: datetime | None
    readings: int
    tags: int
    url: str | None


class ForgetBooks:
    """The table `forgotten`, and the packs that it speaks of."""

    def __init__(self, database: Database, *, packs_max: int = PACKS_MAX) -> None:
        self._database = database
        self._packs_max = packs_max

    async def first_due(self, keeping: Keeping, shown: timedelta) -> date | None:
        """The first day that has packs which may go, as far as age and the archive's books tell.

        Files that need not be kept for longer than *shown* do not count: what they hold stays, and is no day's delay.
        """
        ((day,),) = await self._rows("first_due", **keeping._asdict(), shown=shown)
        return None if day is None else date.fromisoformat(str(day))

    async def archived(self, day: date) -> int | None:
        """Up to which flush the day is archived; None while something of it waits to be."""
        rows = await self._rows("day", day=day)
        return rows[0][0] if rows else None

    async def segments(self, day: date) -> Sequence[SegmentRow]:
        return [SegmentRow(*row) for row in await self._rows("segments", day=day)]

    async def objects(self, day: date, number: int) -> Sequence[ObjectRow]:
        return [ObjectRow(*row) for row in await self._rows("objects", day=day, number=number)]

    async def held(self, day: date) -> Sequence[HeldTag]:
        return [HeldTag(*row) for row in await self._rows("held", **_bounds(day))]

    async def tags_due(self, day: date, keeping: Keeping, shown: timedelta) -> Sequence[DueTag]:
        """Tags whose readings of the day are old enough, in order; *shown* as of `first_due`."""
        rows = await self._rows("tags_due", day=day, shown=shown, **_bounds(day), **keeping._asdict())
        return [DueTag(*row) for row in rows]

    async def tell(self, day: date, tag_ids: Sequence[int]) -> None:
        """Write down that these tags' readings may be gone up to the end of *day*."""
        async with self._database.transaction() as connection:
            await connection.execute(SQL["tell"], {"tag_ids": [*tag_ids], "end": _bounds(day)["end"]})

    async def delete(self, day: date, archived: int, grp: int, tag_ids: Sequence[int]) -> Gone:
        """Delete some of the packs of one group's tags, in one transaction; nothing is left when there are none."""
        given = {"day": day, "archived": archived, "grp": grp, "tag_ids": [*tag_ids], "packs_max": self._packs_max}
        async with self._database.transaction() as connection:
            await connection.execute(SQL["lock"], {"grp": grp})
            row = await (await connection.execute(SQL["delete"], given | _bounds(day))).fetchone()
        assert row is not None
        return Gone(*row)

    async def status(self) -> ForgetStatus:
        return ForgetStatus(*(await self._rows("status"))[0])

    async def floor(self, tag_id: int) -> Floor | None:
        """None: all readings that the tag ever had are here. To be asked after reading: then nothing slips between."""
        rows = await self._rows("before", tag_id=tag_id)
        return Floor(*rows[0]) if rows else None

    async def floors(self, paths: Sequence[str]) -> Mapping[str, Floor]:
        """By path; tags that have all their readings here are left out. Where the others are is not told."""
        rows = await self._rows("before_of", paths=[*paths])
        return {path: Floor(before, None, expired_before) for path, before, expired_before in rows}

    async def expired(self) -> datetime | None:
        """Before then readings of some tag may be in nothing any more."""
        moment: datetime | None = (await self._rows("expired"))[0][0]
        return moment

    async def _rows(self, statement: str, **given: Any) -> list[tuple[Any, ...]]:
        async with self._database.connection() as connection:
            return await (await connection.execute(SQL[statement], given)).fetchall()


def _bounds(day: date) -> dict[str, datetime]:
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return {"start": start, "end": start + timedelta(days=1)}
