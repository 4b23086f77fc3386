"""Named states of the pipeline: each is told when it holds, with its mend, and none of a plant that is well."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from make import R
from penstock.model.batch import Lane
from penstock.model.shard import Shard
from penstock.serve.answers import ConditionAnswer
from penstock.serve.conditions import CONDITIONS, conditions_of
from penstock.serve.page import static_files
from penstock.store.port import Fates, Span, Terms
from penstock.store.standing import Standings
from serve.plant import NOW_US, Plant, T
from serve.test_readings import get
from store.shared_books import STREAM, SharedBooks, shared_books

HOUR_MS = 3_600_000
TERMS = Terms(retention_s=24 * 3_600.0, lease_s=10.0, stuck_s=30.0)
LO, HI = Shard("s-lo", Lane.BULK, slices=range(32)), Shard("s-hi", Lane.BULK, slices=range(32, 64))


@pytest.fixture
async def books(postgres_url: str) -> AsyncIterator[SharedBooks]:
    """Two shards that are held, and well."""
    async with shared_books(postgres_url) as books:
        await books.leases.declare(STREAM, TERMS)
        await books.lease(LO, HI)
        for shard in (LO, HI):
            await books.beat(shard.name)
        yield books


async def found(books: SharedBooks) -> list[ConditionAnswer]:
    told = conditions_of(await Standings(books.database).shared(STREAM))
    assert {it.name for it in told} <= CONDITIONS.keys()
    return told


async def named(books: SharedBooks) -> list[tuple[str, str, str | None]]:
    return [(it.name, it.severity, it.shard) for it in await found(books)]


async def ago(books: SharedBooks, column: str, seconds: float, shard: str = "s-lo") -> None:
    """As if that had been so long ago."""
    statement = f"update lease set {column} = clock_timestamp() - %(age)s * interval '1 second' where unit = %(shard)s"
    await books.ask(statement, age=seconds, shard=shard)


def age_s(condition: ConditionAnswer) -> float:
    assert condition.since is not None
    return (datetime.now(UTC) - datetime.fromisoformat(condition.since)).total_seconds()


async def test_a_plant_that_is_well_has_none(books: SharedBooks) -> None:
    await books.take(books.producer().put(3), shard="s-lo")
    await books.beat("s-lo", 4_000)
    assert await found(books) == []


@pytest.mark.parametrize(
    ("hours", "told"),
    [
        (11.9, []),
        (12.1, [("retention_running_out", "high", "s-lo")]),
        (17.9, [("retention_running_out", "high", "s-lo")]),
        (18.1, [("retention_running_out", "critical", "s-lo")]),
        (24.1, [("readings_lost_to_retention", "critical", "s-lo")]),
    ],
)
async def test_what_waits_for_more_than_half_the_retention_is_told_before_it_is_lost(
    books: SharedBooks, hours: float, told: list[tuple[str, str, str]]
) -> None:
    await books.beat("s-lo", round(hours * HOUR_MS))
    assert await named(books) == told


async def test_words_name_age_and_retention_and_stay_while_the_time_runs(books: SharedBooks) -> None:
    await books.beat("s-lo", 13 * HOUR_MS + 60_000)
    (told,) = await found(books)
    assert "up to 13 h ago" in told.why
    assert "for 24 h only" in told.why
    assert "penstock doctor" in told.mend
    assert age_s(told) == pytest.approx(13 * 3_600 + 60, abs=5)
    await books.beat("s-lo", 13 * HOUR_MS + 90_000)
    (again,) = await found(books)
    assert (again.why, again.mend) == (told.why, told.mend)


async def test_what_waits_grows_older_when_its_worker_is_gone(books: SharedBooks) -> None:
    await books.beat("s-lo", 1 * HOUR_MS)
    await ago(books, "expires_at", 12 * 3_600)
    assert ("retention_running_out", "high", "s-lo") in await named(books)


async def test_without_a_word_of_retention_nothing_is_said_of_it(books: SharedBooks) -> None:
    await books.ask("delete from stream_terms")
    await books.beat("s-lo", 100 * HOUR_MS)
    assert await found(books) == []


async def test_a_shard_that_the_stream_dropped_is_told_for_three_days(books: SharedBooks) -> None:
    await ago(books, "named_at", 3_600)
    assert await books.leases.meet(STREAM, [HI]) == ["s-lo"]
    (told,) = await found(books)
    assert (told.name, told.severity, told.shard) == ("readings_lost_to_retention", "critical", "s-lo")
    assert age_s(told) == pytest.approx(3_600, abs=5)
    await ago(books, "named_at", 73 * 3_600)
    assert await found(books) == []


async def test_a_shard_that_is_behind_and_does_not_move_is_stuck_and_one_that_moves_is_only_behind(
    books: SharedBooks,
) -> None:
    await books.beat("s-lo", 60_000)
    assert await found(books) == []
    await ago(books, "progress_at", 29)
    assert await found(books) == []
    await ago(books, "progress_at", 31)
    (told,) = await found(books)
    assert (told.name, told.severity, told.shard) == ("shard_stuck", "high", "s-lo")
    assert age_s(told) == pytest.approx(31, abs=5)
    await books.take(books.producer().put(3), shard="s-lo")
    assert await found(books) == []


async def test_a_worker_that_hangs_with_all_that_there_is_in_its_hands_is_stuck_too(books: SharedBooks) -> None:
    await books.beat("s-lo", 0)
    await ago(books, "progress_at", 31)  # one that has nothing to do looks, and says so
    assert await named(books) == [("shard_stuck", "high", "s-lo")]


async def test_a_shard_that_changed_hands_is_not_stuck_when_something_comes(books: SharedBooks) -> None:
    await books.ask("update lease set progress_at = null")
    assert await found(books) == []
    await books.beat("s-lo", 200)
    await books.ask("update lease set progress_at = null")
    assert await found(books) == []


async def test_a_stuck_shard_that_changes_hands_stays_stuck_but_its_new_worker_is_given_time(
    books: SharedBooks,
) -> None:
    await books.beat("s-lo", 120_000)
    await books.ask("update lease set progress_at = null where unit = 's-lo'")
    await ago(books, "taken_at", 9)
    assert await found(books) == []
    await ago(books, "taken_at", 11)
    assert await named(books) == [("shard_stuck", "high", "s-lo")]


async def test_a_shard_without_a_lease_for_two_leases_is_unowned(books: SharedBooks) -> None:
    await ago(books, "met_at", 3_600)
    await ago(books, "expires_at", 19)
    assert await found(books) == []
    await ago(books, "expires_at", 21)
    (told,) = await found(books)
    assert (told.name, told.severity, told.shard) == ("shard_unowned", "high", "s-lo")
    assert age_s(told) == pytest.approx(21, abs=5)


async def test_a_new_shard_that_nobody_takes_is_unowned_and_one_that_may_not_be_taken_yet_is_not(
    books: SharedBooks,
) -> None:
    await books.leases.meet(STREAM, [LO, HI, Shard("child", Lane.BULK, ("s-lo",)), Shard("new", Lane.BULK)])
    assert await found(books) == []
    await ago(books, "met_at", 25, "child")
    await ago(books, "met_at", 25, "new")
    assert await named(books) == [("shard_unowned", "high", "new")]
    await books.ask("update shard set ended = true where shard = 's-lo'")
    await ago(books, "expires_at", 5, "s-lo")
    assert await named(books) == [("shard_unowned", "high", "new")], "its parents ended only now"
    await ago(books, "expires_at", 21, "s-lo")
    assert await named(books) == [("shard_unowned", "high", "child"), ("shard_unowned", "high", "new")]


async def test_without_workers_that_is_said_once_and_not_of_every_shard(books: SharedBooks) -> None:
    await books.ask("update worker set seen_at = clock_timestamp() - interval '21 seconds'")
    for shard in ("s-lo", "s-hi"):
        await ago(books, "expires_at", 60, shard)
    (told,) = await found(books)
    assert (told.name, told.severity, told.shard) == ("no_workers", "high", None)
    assert age_s(told) == pytest.approx(21, abs=5)
    producer = books.producer()
    producer.put(4)
    await producer.publish()
    assert await named(books) == [("no_workers", "critical", None)]


async def test_workers_that_left_in_order_are_missed_since_they_left(books: SharedBooks) -> None:
    await books.leases.leave(STREAM, "taker")
    for shard in (LO, HI):
        await books.leases.release(books._held[shard.name])
    (told,) = await found(books)
    assert told.name == "no_workers"
    assert age_s(told) < 5


async def test_a_stream_that_nobody_ever_worked_on_says_so(postgres_url: str) -> None:
    async with shared_books(postgres_url) as books:
        producer = books.producer()
        producer.put(1)
        await producer.publish()
        (told,) = await found(books)
        assert (told.name, told.severity, told.since) == ("no_workers", "critical", None)
        assert await Standings(books.database).newest() == STREAM


async def test_the_stream_in_use_is_the_one_that_was_heard_of_last(books: SharedBooks) -> None:
    await books.leases.meet("kinesis:made-anew", [Shard("s-0")])
    await books.ask("update worker set seen_at = seen_at - interval '1 day'")
    await books.ask("update stream_terms set told_at = told_at - interval '1 day'")
    await books.ask("update lease set expires_at = clock_timestamp() - interval '1 day' where owner is not null")
    assert await Standings(books.database).newest() == STREAM
    await books.leases.beat("kinesis:made-anew", "another", 10.0, {})
    assert await Standings(books.database).newest() == "kinesis:made-anew"
    await books.ask("update worker set seen_at = seen_at - interval '1 day'")
    lease = await books.history.claim("log:local", ["bulk"], "alone")
    async with books.history.flush(lease, Span("bulk", 0, 1, 1, NOW_US)) as flush:
        await flush.settle({NOW_US: Fates(stored=1)})
    assert await Standings(books.database).newest() is None, "of a local stream only the plant itself can tell"


async def test_the_worst_is_told_first(books: SharedBooks) -> None:
    await books.beat("s-hi", 60_000)
    await ago(books, "progress_at", 31, "s-hi")
    await books.beat("s-lo", 20 * HOUR_MS)
    assert [severity for _, severity, _ in await named(books)] == ["critical", "high"]


async def test_a_local_plant_whose_worker_stores_nothing_says_so_until_it_does(plant: Plant) -> None:
    async with plant.client() as client:
        assert (await get(client, "/v1/plant"))["conditions"] == []
        await plant.send(R(T, NOW_US, 1.0))  # long ago by the database's clock
        (told,) = (await get(client, "/v1/plant"))["conditions"]
        assert (told["name"], told["shard"], told["since"]) == ("shard_stuck", "bulk", "2026-09-21T14:13:20.000000Z")
        assert "penstock up" in told["mend"]
        await plant.work()
        answer = await get(client, "/v1/plant")
        assert answer["conditions"] == []
        bulk = next(shard for shard in answer["shards"] if shard["shard"] == "bulk")
        assert bulk["last_commit"] is not None
        await plant.send(R(T, NOW_US + 1, 1.0))
        assert (await get(client, "/v1/plant"))["conditions"] == [], "it got on just now"


def test_the_page_has_a_title_for_each() -> None:
    page = (static_files() / "conditions.js").read_text()
    assert [name for name in CONDITIONS if f"  {name}: " not in page] == []
