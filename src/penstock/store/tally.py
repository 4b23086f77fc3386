"""The books of shared streams: received from what producers counted, fates from committed flushes."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple, Self

from penstock.store.port import Fates
from penstock.store.postgres import Database
from penstock.store.sql import statements

SQL: Final = statements("tally")


class Sums(NamedTuple):
    """Readings received, those of them in flight, and what became of the others.

    Readings that were sent on to another unit are received once; `fates.moved` says how many those were.
    """

    received: int
    in_flight: int
    fates: Fates

    @property
    def unaccounted(self) -> int:
        """Received less everything that is known of them; anything but 0 is a defect."""
        return self.received - self.in_flight - (self.fates.readings - self.fates.moved)

    def plus(self, received: int, in_flight: int) -> Self:
        return self._replace(received=self.received + received, in_flight=self.in_flight + in_flight)


class Tally:
    """Each answer is one statement, and so of one moment.

    Readings are in flight when their producer put them and nobody has seen its count pass them. That ends in one of
    two ways: the count is seen, or the stream's tip is: what was put a minute earlier will not come any more. Either
    way what was lost is unaccounted for.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def whole(self) -> Sums:
        """Of all streams since installation. Of local ones: what was committed."""
        (row,) = await self._rows("whole")
        return _sums(*row)

    async def between(self, start: datetime, end: datetime, counting: str = "") -> Sums:
        """Of readings with start <= received minute < end; *counting* is a local stream whose receipts are not in."""
        (row,) = await self._rows("between", start=start, end=end, counting=counting)
        return _sums(*row)

    async def produced(self) -> tuple[int, int]:
        """What was received through shared streams, those sent on counted twice; and what of it is in flight."""
        ((received, in_flight),) = await self._rows("produced")
        return received, in_flight

    async def belts(self, stream: str) -> Mapping[int, int]:
        """In flight by belt, where anything is."""
        return dict(await self._rows("belts", stream=stream))

    async def _rows(self, statement: str, **given: Any) -> list[tuple[Any, ...]]:
        async with self._database.connection() as connection:
            return await (await connection.execute(SQL[statement], given)).fetchall()


def _sums(received: int, in_flight: int, *fates: int) -> Sums:
    names = ("stored", "duplicate", "conflict", "quarantined", "late", "moved")
    return Sums(received, in_flight, Fates(**dict(zip(names, fates, strict=True))))
