"""The books of a stream that counts by itself: one machine's."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from penstock.errors import Unavailable, Unknown
from penstock.serve.answers import FateAnswer
from penstock.serve.fates import archived_at, fate_of, in_flight, stored
from penstock.serve.tallies import ShardTally, Traced
from penstock.store.accounts import Accounts, ShardBooks
from penstock.store.forget_books import ForgetBooks
from penstock.store.port import Fates
from penstock.store.postgres import Database
from penstock.store.read import at
from penstock.store.standing import ShardStanding, Standing, Standings
from penstock.store.tally import Sums, Tally
from penstock.stream.port import CountedStream, Entry, Place, Total

ENTRIES_MAX: Final = 5_000
"""Entries in flight that are looked into one by one; beyond that the plant is too far behind to tell."""
TRIES_MAX: Final = 20
MINUTE_US: Final = 60_000_000


class CountedTallies:
    """Keeps the promises of `Tallies` from the stream's own cumulative positions."""

    def __init__(self, database: Database, stream: CountedStream) -> None:
        self._accounts, self._tally, self._stream = Accounts(database), Tally(database), stream
        self._standings, self._forgotten = Standings(database), ForgetBooks(database)

    async def whole(self) -> Sums:
        books = await self._accounts.shards()  # before the totals: what is committed was received
        received, waiting = await self._tally.produced()
        totals = await self._stream.totals()
        fates = _sum([book.fates for book in books])
        received += sum(book.counted for book in books if book.stream != self._stream.identity) - fates.moved
        here = sum(total.counted for total in totals.values())
        return Sums(received, waiting, fates).plus(here, sum(self._lags(books, totals).values()))

    async def between(self, start_us: int, end_us: int) -> Sums:
        """The books and the stream are read one after the other; if either moved meanwhile they are read again."""
        sums = await self._between(start_us, end_us)
        for _ in range(TRIES_MAX):
            if sums.unaccounted == 0:
                break
            before = await self._stream.totals(), await self._accounts.shards()
            sums = await self._between(start_us, end_us)
            if before == (await self._stream.totals(), await self._accounts.shards()):
                break
        return sums

    async def in_flight_of(self, path: str, start_us: int, end_us: int) -> int:
        return await self._waiting(await self._accounts.shards(), start_us, end_us, path)

    async def shards(self) -> Sequence[ShardTally]:
        books = await self._accounts.shards()
        lags = self._lags(books, await self._stream.totals())
        claimed = {book.shard: book for book in books if book.stream == self._stream.identity}
        return [
            ShardTally(claimed.get(shard) or ShardBooks(self._stream.identity, shard), lag)
            for shard, lag in lags.items()
        ]

    async def standing(self) -> Standing:
        """What waits is as old as its first entry; what was taken is kept until it is stored."""
        tallies = await self.shards()
        now, commits = await self._standings.commits(self._stream.identity)
        shards = [await self._shard_standing(tally, now, commits.get(tally.books.shard)) for tally in tallies]
        return Standing(now, in_flight=sum(tally.in_flight for tally in tallies), shards=shards)

    async def traced(self, batch_id: str, index: int | None) -> Traced:
        places = self._stream.places(batch_id)
        heads = await self._stream.totals()
        if any(place.shard not in heads or place.position > heads[place.shard].position for place in places):
            raise Unknown("there is no such batch")
        parts = [await self._part(place, index) for place in places]
        return Traced([item for part, _ in parts for item in part], all(complete for _, complete in parts))

    async def producers(self) -> int | None:
        return None

    async def _shard_standing(self, tally: ShardTally, now: datetime, committed_at: datetime | None) -> ShardStanding:
        books = tally.books
        entry = await self._stream.read(Place(books.shard, books.position + 1)) if tally.in_flight else None
        if entry is None:
            return ShardStanding(books.shard, committed_at=committed_at, behind_s=0.0)
        came_at = min(now, at(entry.received_us))
        moved_at = came_at if committed_at is None else max(came_at, committed_at)
        return ShardStanding(books.shard, False, committed_at, (now - came_at).total_seconds(), moved_at)

    def _lags(self, books: Sequence[ShardBooks], totals: Mapping[str, Total]) -> dict[str, int]:
        """Readings in flight by shard: the stream's head less what is committed."""
        committed = {book.shard: book.counted for book in books if book.stream == self._stream.identity}
        return {shard: max(0, total.counted - committed.get(shard, 0)) for shard, total in totals.items()}

    async def _between(self, start_us: int, end_us: int) -> Sums:
        books = await self._accounts.shards()
        sums = await self._tally.between(at(start_us), at(end_us), counting=self._stream.identity)
        waiting = await self._waiting(books, start_us, end_us)
        return sums.plus(await self._stream.received(start_us, end_us), waiting)

    async def _waiting(self, books: Sequence[ShardBooks], start_us: int, end_us: int, path: str = "") -> int:
        """Readings not committed that were received in the range, of one tag or of all."""
        committed = {book.shard: book.position for book in books if book.stream == self._stream.identity}
        count = 0
        for shard, total in (await self._stream.totals()).items():
            first = committed.get(shard, 0) + 1
            if total.position - first >= ENTRIES_MAX:
                raise Unavailable("too much is in flight to be told by minute or tag; ask without times and tag")
            for position in range(first, total.position + 1):
                entry = await self._stream.read(Place(shard, position))
                if entry is not None and start_us <= entry.received_us // MINUTE_US * MINUTE_US < end_us:
                    count += _readings(entry, path)
        return count

    async def _part(self, place: Place, index: int | None) -> tuple[list[FateAnswer], bool]:
        """The readings of one lane, and whether those are all."""
        entry = await self._stream.read(place)
        flush = await self._accounts.committed(self._stream.identity, place.shard, place.position)
        if flush is None:
            return ([] if entry is None else in_flight(entry)), entry is not None
        exceptions = await self._accounts.exceptions(flush.flush_id, [place.position])
        paths = await self._accounts.paths([each.tag_id for each in exceptions if each.tag_id is not None])
        by_index = {each.item: fate_of(each, each.item, flush, paths) for each in exceptions}
        if entry is not None:
            floors = await self._forgotten.floors(entry.batch.paths)
            return [
                by_index.get(number) or stored(number, path, flush, archived_at(floors, path, ts_us))
                for number, path, ts_us in _items(entry)
            ], True
        if index is not None and index not in by_index:
            by_index[index] = stored(index, None, flush)
        return [*by_index.values()], False


def _readings(entry: Entry, path: str) -> int:
    if not path:
        return len(entry.batch)
    paths = entry.batch.paths
    return entry.batch.tag.tolist().count(paths.index(path)) if path in paths else 0


def _items(entry: Entry) -> Sequence[tuple[int, str, int]]:
    """Index, path and source time of each reading."""
    batch = entry.batch
    columns = zip(batch.index.tolist(), batch.tag.tolist(), batch.ts.tolist(), strict=True)
    return [(index, batch.paths[tag], ts_us) for index, tag, ts_us in columns]


def _sum(fates: Sequence[Fates]) -> Fates:
    return Fates(**{name: sum(getattr(each, name) for each in fates) for name in Fates.__struct_fields__})
