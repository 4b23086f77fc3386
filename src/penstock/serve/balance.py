"""The books: received from the stream's own count, fates from committed flushes, and what neither can explain."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from penstock.errors import Unavailable
from penstock.model.tag import Tag
from penstock.serve.answers import BalanceAnswer
from penstock.store.accounts import Accounts, ShardBooks
from penstock.store.port import Fates
from penstock.store.read import Reader, at
from penstock.stream.port import Place, Stream, Total

ENTRIES_MAX: Final = 5_000
"""Entries in flight that are looked into one by one; beyond that the plant is too far behind to tell."""
TRIES_MAX: Final = 20
MINUTE_US: Final = 60_000_000


async def balance(accounts: Accounts, stream: Stream) -> BalanceAnswer:
    """Since installation: the stream of now, and those before it."""
    books = await accounts.shards()  # before the totals: what is committed was received
    totals = await stream.totals()
    received = sum(total.counted for total in totals.values())
    received += sum(book.counted for book in books if book.stream != stream.identity)
    lags = lag_of(books, stream.identity, totals)
    return _answer(received, _sum(book.fates for book in books), sum(lags.values()))


def lag_of(books: Sequence[ShardBooks], identity: str, totals: Mapping[str, Total]) -> dict[str, int]:
    """Readings in flight by shard: the stream's head less what is committed."""
    committed = {book.shard: book.counted for book in books if book.stream == identity}
    return {shard: max(0, total.counted - committed.get(shard, 0)) for shard, total in totals.items()}


async def balance_between(accounts: Accounts, stream: Stream, start_us: int, end_us: int) -> BalanceAnswer:
    """Of the readings with start <= received minute < end.

    The books and the stream are read one after the other; if either moved meanwhile they are read again.
    """
    start_us, end_us = start_us // MINUTE_US * MINUTE_US, -(-end_us // MINUTE_US) * MINUTE_US
    answer = await _once(accounts, stream, start_us, end_us)
    for _ in range(TRIES_MAX):
        if answer.unaccounted == 0:
            break
        before = await stream.totals(), await accounts.shards()
        answer = await _once(accounts, stream, start_us, end_us)
        if before == (await stream.totals(), await accounts.shards()):
            break
    return answer


async def _once(accounts: Accounts, stream: Stream, start_us: int, end_us: int) -> BalanceAnswer:
    books = await accounts.shards()
    fates = await accounts.minutes(at(start_us), at(end_us))
    in_flight = await _in_flight(stream, books, start_us, end_us)
    return _answer(await stream.received(start_us, end_us), fates, in_flight)


async def _in_flight(stream: Stream, books: Sequence[ShardBooks], start_us: int, end_us: int, path: str = "") -> int:
    """Readings not committed that were received in the range, of one tag or of all."""
    committed = {book.shard: book.position for book in books if book.stream == stream.identity}
    count = 0
    for shard, total in (await stream.totals()).items():
        first = committed.get(shard, 0) + 1
        if total.position - first >= ENTRIES_MAX:
            raise Unavailable("too much is in flight to be told by minute or tag; ask without times and tag")
        for position in range(first, total.position + 1):
            entry = await stream.read(Place(shard, position))
            if entry is not None and start_us <= entry.received_us // MINUTE_US * MINUTE_US < end_us:
                count += _of_tag(entry.batch.paths, entry.batch.tag.tolist(), path) if path else len(entry.batch)
    return count


def _of_tag(paths: tuple[str, ...], tags: list[int], path: str) -> int:
    return tags.count(paths.index(path)) if path in paths else 0


async def balance_of_tag(
    accounts: Accounts, reader: Reader, stream: Stream, tag: Tag, span_us: tuple[int, int] | None
) -> BalanceAnswer:
    """Of one tag; a range is by when each reading's flush was received.

    The stream counts no single tags, so that received is what was found of it: only the whole can be unaccounted.
    """
    books = await accounts.shards()
    if span_us is None:
        fates = await accounts.tag(tag.tag_id, tag.path)
        in_flight = await _in_flight(stream, books, -(2**63), 2**63 - 1, tag.path)
    else:
        start, end = at(span_us[0]), at(span_us[1])
        stored = await reader.stored_by(tag.tag_id, await accounts.flushes(start, end))
        fates = await accounts.tag_between(tag.tag_id, tag.path, start, end, stored)
        in_flight = await _in_flight(stream, books, *span_us, tag.path)
    answer = _answer(fates.readings + in_flight, fates, in_flight)
    answer.late = None
    return answer


def _sum(fates: Iterable[Fates]) -> Fates:
    fates = list(fates)
    return Fates(**{name: sum(getattr(each, name) for each in fates) for name in Fates.__struct_fields__})


def _answer(received: int, fates: Fates, in_flight: int) -> BalanceAnswer:
    return BalanceAnswer(
        received=received,
        stored=fates.stored,
        duplicate=fates.duplicate,
        conflict=fates.conflict,
        quarantined=fates.quarantined,
        in_flight=in_flight,
        unaccounted=received - fates.readings - in_flight,
        late=fates.late,
    )
