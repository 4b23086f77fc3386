"""The books of a stream that many machines share: its producers count what they put, its takers what they saw."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from penstock.model.batch import Lane
from penstock.model.shard import Shard, Unit
from penstock.serve.answers import FateAnswer
from penstock.serve.fates import archived_at, fate_of, stored
from penstock.serve.tallies import ShardTally, Traced
from penstock.store.accounts import Accounts, Exceptional, FlushOf, ShardBooks
from penstock.store.forget_books import ForgetBooks
from penstock.store.postgres import Database
from penstock.store.producers import Producers
from penstock.store.read import at
from penstock.store.standing import Standing, Standings
from penstock.store.tally import Sums, Tally
from penstock.stream.port import BatchRef, Entry, SharedStream


class SharedTallies:
    """Keeps the promises of `Tallies` from PostgreSQL alone; only `traced` looks into the stream."""

    def __init__(self, database: Database, stream: SharedStream) -> None:
        self._accounts, self._tally, self._producers = Accounts(database), Tally(database), Producers(database)
        self._standings, self._stream = Standings(database), stream
        self._forgotten = ForgetBooks(database)

    async def whole(self) -> Sums:
        return await self._tally.whole()

    async def between(self, start_us: int, end_us: int) -> Sums:
        return await self._tally.between(at(start_us), at(end_us))

    async def in_flight_of(self, path: str, start_us: int, end_us: int) -> int:  # noqa: ARG002  # it cannot be told
        """0: the stream holds records of many tags, and to open all that wait would cost more than to store them."""
        return 0

    async def shards(self) -> Sequence[ShardTally]:
        books = [book for book in await self._accounts.shards() if book.stream == self._stream.identity]
        open_books = [book for book in books if not book.ended]
        waiting = by_shard(open_books, await self._tally.belts(self._stream.identity))
        return [ShardTally(book, waiting.get(book.shard, 0)) for book in open_books]

    async def standing(self) -> Standing:
        return await self._standings.shared(self._stream.identity)

    async def producers(self) -> int | None:
        return await self._producers.alive(self._stream.identity)

    async def traced(self, batch_id: str, index: int | None) -> Traced:
        """What is committed, reading by reading; of what is in flight only how much it is.

        Which readings of a record were a request's is known from the record alone: once the stream keeps it no more,
        nothing can be listed. Readings that were sent on to another unit are listed as stored, and as incomplete.
        """
        batch = self._stream.batch(batch_id)
        items: dict[int, FateAnswer] = {}
        all_kept, none_moved = True, True
        for flush in await self._accounts.flushes_of(self._stream.identity, batch.producer, batch.request):
            entries = await self._stream.between(flush.shard, flush.lo, flush.hi)
            all_kept &= bool(entries) and entries[-1].position == flush.hi
            found = await self._found(entries, flush, batch)
            none_moved &= not (found and flush.moved)
            items = found | items
        missing = max(0, batch.readings - len(items))
        chosen = [item for item in items.values() if index is None or item.index == index]
        return Traced(chosen, not missing and none_moved, missing if all_kept else 0)

    async def _found(self, entries: Sequence[Entry], flush: FlushOf, batch: BatchRef) -> dict[int, FateAnswer]:
        """The batch's readings in a flush, by their place in the request."""
        ours = [entry for entry in entries if _is_of(entry, batch) and entry.position not in flush.repeated]
        exceptions = (
            await self._accounts.exceptions(flush.committed.flush_id, [entry.position for entry in ours])
            if ours
            else []
        )
        paths = await self._accounts.paths([each.tag_id for each in exceptions if each.tag_id is not None])
        by_place = {(each.position, each.item): each for each in exceptions}
        floors = await self._forgotten.floors([path for entry in ours for path in entry.batch.paths]) if ours else {}
        return {
            item: _fate(by_place.get((entry.position, index)), item, flush, paths)
            or stored(item, path, flush.committed, archived_at(floors, path, ts_us))
            for entry in ours
            for index, item, path, ts_us in _readings_of(entry, batch.request)
        }


def by_shard(books: Sequence[ShardBooks], belts: Mapping[int, int]) -> dict[str, int]:
    """What is in flight on each belt, by the shard in which it waits: after a split the parent, while it lasts."""
    names = {book.shard for book in books}
    oldest_last = sorted(books, key=lambda book: names.isdisjoint(book.parents))
    holder = {belt: book.shard for book in oldest_last for belt in _belts(book)}
    waiting: Counter[str] = Counter()
    for belt, readings in belts.items():
        if belt in holder:
            waiting[holder[belt]] += readings
    return waiting


def _belts(book: ShardBooks) -> tuple[int, ...]:
    lane = None if book.lane is None else Lane(book.lane)
    return Unit(book.shard, (Shard(book.shard, lane, slices=book.slices),)).belts


def _is_of(entry: Entry, batch: BatchRef) -> bool:
    return entry.origin is not None and entry.origin.producer == batch.producer


def _readings_of(entry: Entry, request: int) -> Iterator[tuple[int, int, str, int]]:
    """Of a request's readings in an entry: index in the entry, place in the request, path, source time."""
    assert entry.origin is not None
    body = entry.batch
    for place in np.flatnonzero(entry.origin.request == request).tolist():
        yield int(body.index[place]), int(entry.origin.item[place]), body.paths[body.tag[place]], int(body.ts[place])


def _fate(exception: Exceptional | None, item: int, flush: FlushOf, paths: Mapping[int, str]) -> FateAnswer | None:
    """None of a reading that was stored."""
    return None if exception is None else fate_of(exception, item, flush.committed, paths)
