"""A shared stream as the books see it: producers that count, takers that commit, and records that may be lost."""

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import UUID, uuid4

from make import MINUTE_US, T0_US
from penstock.model.shard import Shard
from penstock.store.history import PostgresHistory
from penstock.store.leases import PostgresLeases
from penstock.store.port import FOREIGN, Arrivals, Behind, Fates, Lease, Span
from penstock.store.postgres import Database
from penstock.store.producers import Producers
from penstock.store.tally import Tally

STREAM = "kinesis:press"
MINUTE = T0_US // MINUTE_US * MINUTE_US
FAR = 2**70
"""Positions of a shared stream are of any size."""


class Put(NamedTuple):
    """A record on the stream."""

    producer: UUID
    belt: int
    readings: int
    counted: int
    minute: int
    requests: tuple[int, int] = (1, 1)


@dataclass
class Producer:
    """One process that puts records, and what it knows of them."""

    books: "SharedBooks"
    name: UUID = field(default_factory=uuid4)
    by_belt: Counter[int] = field(default_factory=Counter)
    by_minute: Counter[int] = field(default_factory=Counter)

    def put(self, readings: int, belt: int = 0, minute: int = MINUTE, requests: tuple[int, int] = (1, 1)) -> Put:
        self.by_belt[belt] += readings
        self.by_minute[minute] += readings
        return Put(self.name, belt, readings, self.by_belt[belt], minute, requests)

    async def publish(self) -> None:
        await self.books.producers.publish(self.books.stream, self.name, self.by_belt, self.by_minute)


class SharedBooks:
    """Of one stream. Each taker holds one shard."""

    def __init__(self, database: Database, history: PostgresHistory, stream: str) -> None:
        self.database, self.history, self.stream = database, history, stream
        self.producers, self.tally, self.leases = Producers(database), Tally(database), PostgresLeases(database)
        self._held: dict[str, Lease] = {}
        self._at: defaultdict[str, int] = defaultdict(lambda: FAR)

    def producer(self) -> Producer:
        return Producer(self)

    async def lease(self, *shards: Shard) -> None:
        await self.leases.meet(self.stream, shards)
        for _ in shards:
            lease = await self.leases.acquire(self.stream, "taker", 60.0)
            assert lease is not None
            self._held[lease.unit] = lease

    async def beat(self, shard: str, behind_ms: int = 0) -> None:
        epoch = self._held[shard].epochs[shard]
        await self.leases.beat(self.stream, "taker", 60.0, {shard: (epoch, Behind(behind_ms, True))})

    async def take(self, *puts: Put, shard: str = "s-0", **fates: int) -> int:
        """Commit records; all their readings are stored but for *fates*. Returns the flush's id."""
        if shard not in self._held:
            self._held[shard] = await self.history.claim(self.stream, [shard], "taker")
        lo = self._at[shard] if self._at[shard] > FAR else self._held[shard].checkpoints[shard].position
        self._at[shard] = hi = max(lo, FAR) + len(puts)
        async with self.history.flush(self._held[shard], Span(shard, lo, hi, 0, puts[0].minute)) as flush:
            await flush.settle(_fates(puts, fates), arrivals_of(puts))
        return flush.flush_id

    async def age(self, seconds: float) -> None:
        """As if all that was said had been said that much earlier."""
        for statement in (
            "update produced set put_at = put_at - %(age)s * interval '1 second'",
            "update producer set alive_at = alive_at - %(age)s * interval '1 second'",
            "update produced_minute set received_minute = received_minute - %(age)s * interval '1 second'",
            "update balance_minute set received_minute = received_minute - %(age)s * interval '1 second'",
        ):
            await self.ask(statement, age=seconds)

    async def ask(self, statement: str, **given: object) -> list[tuple[object, ...]]:
        async with self.database.connection() as connection:
            cursor = await connection.execute(statement, given)
            return await cursor.fetchall() if cursor.description else []


def foreign(readings: int, minute: int = MINUTE) -> Put:
    """A record of somebody who does not count."""
    return Put(FOREIGN, 0, readings, readings, minute)


def arrivals_of(puts: Iterable[Put]) -> Arrivals:
    counted: dict[tuple[UUID, int], int] = {}
    by_minute: Counter[tuple[UUID, int]] = Counter()
    requests: dict[UUID, tuple[int, int]] = {}
    for put in puts:
        at = put.producer, put.belt
        counted[at] = put.counted + (counted.get(at, 0) if put.producer == FOREIGN else 0)
        by_minute[put.producer, put.minute] += put.readings
        if put.producer != FOREIGN:
            lo, hi = requests.get(put.producer, put.requests)
            requests[put.producer] = min(lo, put.requests[0]), max(hi, put.requests[1])
    return Arrivals(counted, by_minute, requests)


def _fates(puts: Iterable[Put], fates: dict[str, int]) -> dict[int, Fates]:
    """What is not stored belongs to the first minute."""
    puts = list(puts)
    readings: Counter[int] = Counter()
    for put in puts:
        readings[put.minute] += put.readings
    readings[puts[0].minute] -= sum(fates.values())
    return {
        minute: Fates(stored=stored, **(fates if minute == puts[0].minute else {}))
        for minute, stored in readings.items()
    }


@asynccontextmanager
async def shared_books(url: str, stream: str = STREAM) -> AsyncIterator[SharedBooks]:
    database = Database(url, application="test", connections_max=4)
    await database.open()
    history = PostgresHistory(database)
    try:
        yield SharedBooks(database, history, stream)
    finally:
        await history.close()
        await database.close()
