"""Everything that was put on a shared stream is accounted for, and what was lost shows."""

import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from make import MINUTE_US
from penstock.model.batch import Lane
from penstock.model.shard import Shard
from penstock.store.accounts import Accounts
from penstock.store.port import Fates, Span
from penstock.store.tally import Sums
from store.shared_books import MINUTE, STREAM, Producer, Put, SharedBooks, foreign, shared_books

EVER = datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)


@pytest.fixture
async def books(postgres_url: str) -> AsyncIterator[SharedBooks]:
    async with shared_books(postgres_url) as books:
        yield books


def at(us: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)


async def both(books: SharedBooks) -> Sums:
    """The whole, which all minutes together must equal."""
    whole = await books.tally.whole()
    assert await books.tally.between(*EVER) == whole
    return whole


async def test_nothing_put_is_nothing_received(books: SharedBooks) -> None:
    assert await both(books) == Sums(0, 0, Fates())


async def test_what_is_put_is_in_flight_until_it_is_committed(books: SharedBooks) -> None:
    one, two = books.producer(), books.producer()
    first, second, third = one.put(100), one.put(20, belt=65), two.put(7)
    await one.publish()
    await two.publish()
    assert await both(books) == Sums(127, 127, Fates())
    await books.take(first, third, duplicate=3, conflict=1, quarantined=2)
    sums = await both(books)
    assert (sums.received, sums.in_flight, sums.unaccounted) == (127, 20, 0)
    assert sums.fates == Fates(stored=101, duplicate=3, conflict=1, quarantined=2)
    assert await books.tally.belts(STREAM) == {65: 20}
    await books.take(second)
    assert (await both(books))[:2] == (127, 0)


async def test_a_lost_record_is_unaccounted_for_as_soon_as_the_next_is_committed(books: SharedBooks) -> None:
    producer = books.producer()
    before, lost, after = producer.put(10), producer.put(5), producer.put(1)
    await producer.publish()
    await books.take(before)
    assert (await both(books)).unaccounted == 0
    await books.take(after)
    assert (await both(books))[:2] == (lost.readings + 11, 0)
    assert (await both(books)).unaccounted == lost.readings


async def test_a_record_stored_in_part_is_unaccounted_for(books: SharedBooks) -> None:
    producer = books.producer()
    put = producer.put(10)
    await books.take(put._replace(readings=9))
    assert (await books.tally.whole()).unaccounted == 1
    await producer.publish()
    assert (await both(books)).unaccounted == 1


async def test_a_reading_stored_twice_is_unaccounted_for(books: SharedBooks) -> None:
    producer = books.producer()
    put = producer.put(10)
    await producer.publish()
    await books.take(put)
    await books.take(put)
    assert (await books.tally.whole()).unaccounted == -10


async def test_a_lost_tail_is_in_flight_until_everything_later_was_taken(books: SharedBooks) -> None:
    await books.lease(Shard("s-0"), Shard("s-1"))
    producer = books.producer()
    producer.put(4)
    await producer.publish()
    await books.beat("s-0")
    await books.beat("s-1")
    assert (await both(books)).in_flight == 4  # it may have come since
    await books.age(61)
    assert (await both(books))[:2] == (4, 0)
    assert (await both(books)).unaccounted == 4
    assert await books.tally.belts(STREAM) == {}
    await books.beat("s-1", behind_ms=1)  # there it may still be
    assert (await both(books))[:2] == (4, 4)


async def test_nothing_is_lost_while_a_shard_has_no_holder_that_saw_its_tip(books: SharedBooks) -> None:
    await books.lease(Shard("s-0"))
    await books.beat("s-0")
    await books.leases.meet(STREAM, [Shard("s-1")])
    producer = books.producer()
    producer.put(4)
    await producer.publish()
    await books.age(3_600)
    assert (await both(books))[:2] == (4, 4)


async def test_a_producer_that_died_before_it_said_anything_is_accounted_for(books: SharedBooks) -> None:
    producer = books.producer()
    puts = [producer.put(10), producer.put(5)]
    await books.take(*puts)
    assert await both(books) == Sums(15, 0, Fates(stored=15))


async def test_counts_that_come_late_or_twice_change_nothing(books: SharedBooks) -> None:
    producer = books.producer()
    first = producer.put(10)
    await producer.publish()
    early = Producer(books, producer.name, producer.by_belt.copy(), producer.by_minute.copy())
    await books.take(first, producer.put(5))
    for late in (producer, producer, early):
        await late.publish()
        assert await both(books) == Sums(15, 0, Fates(stored=15))


async def test_what_is_sent_on_is_received_once(books: SharedBooks) -> None:
    await books.take(foreign(10), moved=4)
    taker = books.producer()  # whoever sends on counts as anybody does
    on = taker.put(4, belt=9)
    await taker.publish()
    sums = await both(books)
    assert (sums.received, sums.in_flight, sums.fates.stored, sums.unaccounted) == (10, 4, 6, 0)
    await books.take(on, shard="s-1")
    sums = await both(books)
    assert (sums.received, sums.in_flight, sums.fates.stored, sums.unaccounted) == (10, 0, 10, 0)


async def test_foreign_readings_are_received_when_they_are_taken(books: SharedBooks) -> None:
    await books.take(foreign(3), foreign(4))
    await books.take(foreign(5), quarantined=5)
    assert await both(books) == Sums(12, 0, Fates(stored=7, quarantined=5))


async def test_minutes_tell_when_it_was_received_and_when_it_was_lost(books: SharedBooks) -> None:
    producer = books.producer()
    minutes = [MINUTE + number * MINUTE_US for number in range(3)]
    puts = [producer.put(10 + number, minute=minute) for number, minute in enumerate(minutes)]
    waiting = producer.put(3, belt=5, minute=minutes[2])
    await producer.publish()
    await books.take(puts[0])
    await books.take(puts[2])
    told = [await books.tally.between(at(minute), at(minute + MINUTE_US)) for minute in minutes]
    assert [(sums.received, sums.in_flight, sums.unaccounted) for sums in told] == [(10, 0, 0), (11, 0, 11), (15, 3, 0)]
    assert (await both(books)).unaccounted == 11
    await books.take(waiting)
    assert (await both(books))[:2] == (36, 0)


async def test_a_loss_shows_in_a_minute_of_which_something_is_in_flight(books: SharedBooks) -> None:
    producer = books.producer()
    producer.put(2)
    after = producer.put(3)
    producer.put(4, belt=1)
    await producer.publish()
    await books.take(after)
    assert (await both(books))[:2] == (9, 4)
    assert (await both(books)).unaccounted == 2


async def test_streams_of_before_still_count(books: SharedBooks, postgres_url: str) -> None:
    local = await books.history.claim("3f0e0d6c-local", ["bulk"], "test")
    async with books.history.flush(local, Span("bulk", 0, 3, 50, MINUTE)) as flush:
        await flush.settle({MINUTE: Fates(stored=50)})
    async with shared_books(postgres_url, "kinesis:old") as old:
        producer = old.producer()
        await old.take(producer.put(5), producer.put(6))
        producer.put(2)  # left behind
        await producer.publish()
    now = books.producer()
    await books.take(now.put(100))
    await now.publish()
    assert await both(books) == Sums(163, 2, Fates(stored=161))
    assert await books.tally.belts(STREAM) == {}


async def test_a_local_stream_of_before_that_lost_something_still_shows_it(books: SharedBooks) -> None:
    local = await books.history.claim("3f0e0d6c-local", ["bulk"], "test")
    async with books.history.flush(local, Span("bulk", 0, 3, 51, MINUTE)) as flush:
        await flush.settle({MINUTE: Fates(stored=50)})
    assert (await books.tally.whole()).unaccounted == 1


async def test_shards_tell_positions_of_any_size(books: SharedBooks) -> None:
    await books.lease(Shard("s-0", Lane.BULK, slices=range(32)))
    await books.take(books.producer().put(1), foreign(1))
    await books.beat("s-0", behind_ms=2_500)
    (shard,) = await Accounts(books.database).shards()
    assert (shard.position, shard.lane, shard.slices) == (2**70 + 2, "bulk", range(32))
    assert (shard.held, shard.owner, shard.behind_ms, shard.ended) == (True, "taker", 2_500, False)
    await books.ask("update lease set expires_at = clock_timestamp() - interval '1 minute'")
    (shard,) = await Accounts(books.database).shards()
    assert (shard.held, 62_000 < (shard.behind_ms or 0) < 80_000) == (False, True)


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_happens_the_books_say_what_was_lost_and_nothing_else(books: SharedBooks, seed: int) -> None:
    """Lost is what was passed over; whoever says less than they put is behind, not wrong."""
    chance = random.Random(seed)
    producers = [books.producer() for _ in range(3)]
    belts: dict[tuple[int, int], list[Put]] = {}
    passed, committed = 0, 0
    for step in range(60):
        number, belt = chance.randrange(3), chance.randrange(4)
        waiting = belts.setdefault((number, belt), [])
        what = chance.choices(["put", "take", "lose", "publish", "die"], [40, 30, 4, 20, 3])[0]
        if what == "put":
            minute = MINUTE + step // 10 * MINUTE_US
            waiting.append(producers[number].put(chance.randint(1, 50), belt, minute))
        elif what == "lose" and len(waiting) > 1:
            await producers[number].publish()
            passed += waiting.pop(0).readings
            committed += await _take_first(books, waiting)
        elif what == "take" and waiting:
            committed += await _take_first(books, waiting)
        elif what == "publish":
            await producers[number].publish()
        elif what == "die":
            await producers[number].publish()
            producers[number] = books.producer()
            # what it left on the stream is taken by and by, or not
            belts.update({(step + 3, on): belts.pop((owner, on)) for owner, on in list(belts) if owner == number})
        whole, minutes = await books.tally.whole(), await books.tally.between(*EVER)
        assert (whole.unaccounted, whole.fates.readings) == (passed, committed)
        assert 0 <= minutes.unaccounted <= passed
    for producer in producers:
        await producer.publish()
    left = sum(put.readings for waiting in belts.values() for put in waiting)
    settled = await both(books)
    assert (settled.unaccounted, settled.in_flight) == (passed, left)
    await books.age(9 * 86_400)
    await books.producers.fold(STREAM)
    assert await both(books) == settled


async def _take_first(books: SharedBooks, waiting: list[Put]) -> int:
    put = waiting.pop(0)
    await books.take(put)
    return put.readings
