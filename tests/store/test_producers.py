"""What producers say is kept once, and what is settled takes little room."""

import time
from collections.abc import AsyncIterator

import pytest

from make import MINUTE_US
from penstock.errors import Unavailable
from penstock.store.port import FOREIGN
from penstock.store.postgres import Database
from penstock.store.producers import PAST, Producers
from store.shared_books import MINUTE, STREAM, SharedBooks, foreign, shared_books
from store.test_tally import both

LONG_S = 9 * 86_400


@pytest.fixture
async def books(postgres_url: str) -> AsyncIterator[SharedBooks]:
    async with shared_books(postgres_url) as books:
        yield books


async def rows(books: SharedBooks, table: str) -> int:
    ((count,),) = await books.ask(f"select count(*) from {table}")
    return int(str(count))


async def test_only_what_grew_moves_the_time_at_which_it_was_put(books: SharedBooks) -> None:
    producer = books.producer()
    producer.put(5)
    await producer.publish()
    (first,) = await books.ask("select put, put_at from produced")
    await producer.publish()
    assert await books.ask("select put, put_at from produced") == [first]
    producer.put(1)
    await producer.publish()
    (second,) = await books.ask("select put, put_at from produced")
    assert second[0] == 6
    assert str(second[1]) > str(first[1])


async def test_who_has_nothing_to_say_is_alive_too(books: SharedBooks) -> None:
    assert await books.producers.alive(STREAM) == 0
    for _ in range(2):
        await books.producer().publish()
    await books.producers.publish("kinesis:other", books.producer().name, {}, {})
    assert await books.producers.alive(STREAM) == 2
    assert await rows(books, "produced") == 0
    await books.age(31)
    assert await books.producers.alive(STREAM) == 0


async def test_folding_changes_no_sum_and_leaves_one_row_a_belt_and_minute(books: SharedBooks) -> None:
    for number in range(4):
        producer = books.producer()
        puts = [producer.put(10 + number, belt=belt) for belt in (0, 65)]
        if number:  # the first of them died before it said anything
            await producer.publish()
        await books.take(*puts)
    await books.take(foreign(7))
    before = await both(books)
    await books.age(LONG_S)
    for _ in range(2):
        await books.producers.fold(STREAM)
        assert await both(books) == before
        assert await books.ask("select producer, belt, put, seen from produced order by producer, belt") == [
            (FOREIGN, 0, 0, 7), (PAST, 0, 46, 46), (PAST, 65, 46, 46),
        ]  # fmt: skip
        assert await rows(books, "produced_minute") == 2
        assert await rows(books, "producer") == 0
    again = books.producer()
    await books.take(again.put(1))
    await again.publish()
    await books.age(LONG_S)
    await books.producers.fold(STREAM)
    assert await books.ask("select sum(put) from produced where producer = %(past)s", past=PAST) == [(93,)]
    assert (await both(books))[:2] == (before.received + 1, 0)


async def test_what_is_owed_or_lives_is_not_folded(books: SharedBooks) -> None:
    lossy, alive = books.producer(), books.producer()
    lossy.put(3)
    await lossy.publish()
    await books.take(lossy.put(1), alive.put(2))
    lossy.put(8, belt=1)
    await lossy.publish()
    before = await both(books)
    assert (before.unaccounted, before.in_flight) == (3, 8)
    await books.age(LONG_S)
    await alive.publish()
    await books.producers.fold(STREAM)
    assert await rows(books, "produced") == 3
    assert (await books.tally.whole()) == before
    left = await books.producers.alive(STREAM)
    assert left == 1


async def test_a_producer_that_goes_on_after_its_old_minutes_were_folded_counts_on(books: SharedBooks) -> None:
    producer = books.producer()
    await books.take(producer.put(5))
    await producer.publish()
    await books.age(LONG_S)
    producer.by_minute.clear()
    await producer.publish()
    await books.producers.fold(STREAM)
    assert await books.ask("select producer from produced_minute") == [(PAST,)]
    await books.take(producer.put(4, minute=MINUTE))
    await producer.publish()
    assert (await both(books))[:2] == (9, 0)
    assert (await both(books)).unaccounted == 0


async def test_a_producer_that_is_seen_but_silent_has_not_ended(books: SharedBooks) -> None:
    producer = books.producer()
    await books.take(producer.put(5))
    await producer.publish()
    await books.age(LONG_S)
    this_minute = time.time_ns() // 60_000_000_000 * MINUTE_US
    await books.take(producer.put(4, minute=this_minute))  # it cannot reach the database
    await books.producers.fold(STREAM)
    assert await books.ask("select seen from produced where producer = %(name)s", name=producer.name) == [(9,)]


async def test_a_belt_that_owes_stays_whatever_its_minutes_say(books: SharedBooks) -> None:
    producer = books.producer()
    await books.producers.publish(STREAM, producer.name, {0: 5}, {})
    await books.age(LONG_S)
    await books.producers.fold(STREAM)
    assert await books.ask("select producer, put, seen from produced") == [(producer.name, 5, 0)]


async def test_which_flushes_had_a_request_is_forgotten_in_time(books: SharedBooks) -> None:
    producer = books.producer()
    await books.take(producer.put(1, requests=(1, 4)))
    await books.ask("update flush set committed_at = committed_at - interval '9 days'")
    await books.take(producer.put(1, requests=(4, 9)))
    await books.producers.fold(STREAM)
    assert await books.ask("select lo, hi from flush_request") == [(4, 9)]


async def test_without_the_database_it_is_said_later() -> None:
    nothing = Producers(Database("postgresql://127.0.0.1:1/nothing", application="test", connections_max=1))
    with pytest.raises(Unavailable):
        await nothing.publish(STREAM, PAST, {0: 1}, {MINUTE: 1})
