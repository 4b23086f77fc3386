"""What all leases promise: one holder a unit at an epoch, parents first, and a fair way to hand over."""

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import NamedTuple

import pytest

from penstock.errors import Fenced
from penstock.model.batch import Lane
from penstock.model.shard import Shard
from penstock.store.history import PostgresHistory
from penstock.store.leases import PostgresLeases
from penstock.store.memory import MemoryHistory
from penstock.store.memory_leases import MemoryLeases
from penstock.store.port import Behind, Checkpoint, Fates, History, Lease, Leases, Span, Terms
from penstock.store.postgres import Database

STREAM = "plant"
TTL_S = 0.3
LOST_S = 0.2
IDLE = Behind(0, progressed=True)


class Store(NamedTuple):
    leases: Leases
    history: History
    sleep: Callable[[float], Awaitable[None]]

    async def meet(self, *shards: Shard) -> list[str]:
        return list(await self.leases.meet(STREAM, shards))

    async def acquire(self, owner: str = "a", ttl_s: float = 60.0, avoid: tuple[str, ...] = ()) -> Lease | None:
        return await self.leases.acquire(STREAM, owner, ttl_s, avoid)

    async def take(self, owner: str = "a", ttl_s: float = 60.0) -> Lease:
        lease = await self.acquire(owner, ttl_s)
        assert lease is not None
        return lease

    async def beat(self, owner: str, *held: Lease, ttl_s: float = 60.0) -> tuple[set[str], set[str], int, int]:
        given = {lease.unit: (lease.epochs[lease.unit], IDLE) for lease in held}
        kept, wanted, workers, open_units = await self.leases.beat(STREAM, owner, ttl_s, given)
        return set(kept), set(wanted), workers, open_units

    async def commit(self, lease: Lease, lo: int, hi: int) -> None:
        async with self.history.flush(lease, Span(lease.unit, lo, hi, 0, 0)) as flush:
            await flush.settle({0: Fates(stored=1)})

    async def hold(self, owner: str, units: int) -> list[Lease]:
        await self.beat(owner)
        return [await self.take(owner) for _ in range(units)]

    async def owners(self) -> dict[str, str | None]:
        return {state.unit: state.owner for state in await self.leases.states(STREAM)}


class Time:
    def __init__(self) -> None:
        self.now_s = 100.0

    async def sleep(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.fixture(params=["memory", "postgres"])
def url(request: pytest.FixtureRequest) -> str:
    return request.getfixturevalue("postgres_url") if request.param == "postgres" else ""


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    if not url:
        memory, time = MemoryHistory(), Time()
        yield Store(MemoryLeases(memory, lambda: time.now_s, lost_after_s=LOST_S), memory, time.sleep)
        return
    database = Database(url, application="test")
    await database.open()
    history = PostgresHistory(database)
    yield Store(PostgresLeases(database, lost_after_s=LOST_S), history, asyncio.sleep)
    await history.close()
    await database.close()


def shards(*names: str, lane: Lane | None = None) -> list[Shard]:
    return [Shard(name, lane) for name in names]


async def test_nothing_can_be_had_of_a_stream_that_nobody_met(store: Store) -> None:
    assert await store.acquire() is None
    assert await store.leases.states(STREAM) == []
    assert await store.beat("a") == (set(), set(), 1, 0)
    assert not await store.leases.want(STREAM, "a", 0)


async def test_a_unit_has_one_holder(store: Store) -> None:
    await store.meet(*shards("1", "2"))
    got = [await store.take("a"), await store.take("b")]
    assert {lease.unit for lease in got} == {"1", "2"}
    assert [lease.epochs for lease in got] == [{lease.unit: 1} for lease in got]
    assert got[0].checkpoints == {got[0].unit: Checkpoint(0, 0)}
    assert await store.acquire("c") is None


async def test_who_asks_at_once_gets_different_units(store: Store) -> None:
    await store.meet(*shards(*map(str, range(5))))
    got = await asyncio.gather(*(store.acquire(f"w{i}") for i in range(8)))
    assert sorted(lease.unit for lease in got if lease) == list(map(str, range(5)))


async def test_meeting_again_changes_nothing(store: Store) -> None:
    await store.meet(Shard("1", Lane.CRITICAL, ("0",), range(3, 9)))
    lease = await store.take()
    assert await store.meet(Shard("1", Lane.CRITICAL, ("0",), range(3, 9))) == []
    (state,) = await store.leases.states(STREAM)
    assert state[:7] == ("1", "critical", range(3, 9), ("0",), "a", 1, 0)
    assert state.expires_in_s is not None
    assert 50 < state.expires_in_s <= 60
    assert await store.beat("a", lease) == ({"1"}, set(), 1, 1)


async def test_a_lease_that_expired_is_taken_at_a_higher_epoch_and_its_holder_is_fenced(store: Store) -> None:
    await store.meet(*shards("1"))
    old = await store.take("a", TTL_S)
    await store.commit(old, 0, 2**100)
    assert await store.acquire("b") is None
    await store.sleep(TTL_S * 1.2)
    new = await store.take("b")
    assert new.epochs["1"] > old.epochs["1"]
    assert new.checkpoints["1"].position == 2**100
    assert await store.beat("a", old) == (set(), set(), 1, 1)
    for attempt in (store.commit(old, 2**100, 2**101), store.leases.renew(old), store.leases.end(old, 2**100)):
        with pytest.raises(Fenced):
            await attempt
    await store.leases.release(old)
    assert await store.owners() == {"1": "b"}
    await store.commit(new, 2**100, 2**101)


async def test_a_beat_prolongs_what_is_held(store: Store) -> None:
    await store.meet(*shards("1"))
    lease = await store.take("a", TTL_S)
    for _ in range(4):
        await store.sleep(TTL_S / 2)
        assert (await store.beat("a", lease, ttl_s=TTL_S))[0] == {"1"}
        assert await store.acquire("b") is None
    await store.sleep(TTL_S * 1.2)
    assert await store.acquire("b") is not None


async def test_who_does_not_beat_counts_no_more(store: Store) -> None:
    await store.meet(*shards("1", "2"))
    assert [(await store.beat(owner, ttl_s=TTL_S))[2] for owner in "aab"] == [1, 1, 2]
    await store.sleep(TTL_S * 1.2)
    assert (await store.beat("b", ttl_s=TTL_S))[2] == 1
    await store.beat("a", ttl_s=TTL_S)
    await store.leases.leave(STREAM, "a")
    assert (await store.beat("b", ttl_s=TTL_S))[2:] == (1, 2)


async def test_starting_again_takes_a_new_epoch_and_fences_the_last_attempt(store: Store) -> None:
    await store.meet(*shards("1"))
    first = await store.take()
    again = await store.leases.renew(first)
    assert (again.unit, again.owner, again.stream) == ("1", "a", STREAM)
    assert again.epochs["1"] > first.epochs["1"]
    with pytest.raises(Fenced):
        await store.commit(first, 0, 1)
    await store.commit(again, 0, 1)
    third = await store.leases.renew(first)
    assert third.checkpoints["1"].position == 1, "whose answer was lost may be asked for again"
    assert (await store.beat("a", first))[0] == {"1"}
    await store.leases.release(third)
    with pytest.raises(Fenced):
        await store.leases.renew(third)


async def test_children_come_after_their_parents_are_ended(store: Store) -> None:
    await store.meet(
        Shard("1"), Shard("2"), Shard("child", parents=("1", "2")), Shard("orphan", parents=("long gone",))
    )
    held = {lease.unit: lease for lease in [await store.take() for _ in range(3)]}
    assert held.keys() == {"1", "2", "orphan"}
    await store.commit(held["1"], 0, 7)
    with pytest.raises(Fenced):
        await store.leases.end(held["1"], 6)
    for _ in range(2):
        await store.leases.end(held["1"], 7)
    assert await store.acquire() is None
    assert await store.beat("a", *held.values()) == ({"2", "orphan"}, set(), 1, 3)
    await store.leases.end(held["2"], 0)
    assert (await store.take()).unit == "child"


async def test_a_released_lease_can_be_taken_at_once(store: Store) -> None:
    await store.meet(*shards("1"))
    lease = await store.take()
    await store.leases.release(lease)
    assert (await store.beat("a", lease))[0] == set()
    assert (await store.take("b")).epochs["1"] > lease.epochs["1"]


async def test_units_can_be_avoided(store: Store) -> None:
    await store.meet(*shards("1", "2"))
    assert (await store.acquire(avoid=("1",))) is not None
    assert await store.owners() == {"1": None, "2": "a"}
    assert await store.acquire(avoid=("1",)) is None


async def test_what_nobody_takes_can_be_told_from_what_is_new(store: Store) -> None:
    await store.meet(*shards("1", "2"))
    await store.leases.release(await store.take())
    assert await store.leases.acquire(STREAM, "b", 60.0, (), TTL_S) is None
    await store.sleep(TTL_S * 1.2)
    lease = await store.leases.acquire(STREAM, "b", 60.0, (), TTL_S)
    assert lease is not None
    assert lease.unit == "1"


async def test_everyone_gets_its_part_of_both_lanes(store: Store) -> None:
    await store.meet(*shards("c1", "c2", lane=Lane.CRITICAL), *shards("b1", "b2", "b3", "b4", lane=Lane.BULK))
    assert [(await store.take("a")).unit[0] for _ in range(3)] == ["c", "b", "b"]
    assert [(await store.take("b")).unit[0] for _ in range(3)] == ["c", "b", "b"]


async def test_who_holds_most_is_asked(store: Store) -> None:
    await store.meet(*shards(*map(str, range(6))))
    much, little = await store.hold("a", 4), await store.hold("b", 2)
    await store.beat("c")
    assert await store.leases.want(STREAM, "c", 2)
    (wanted,) = (await store.beat("a", *much))[1]
    assert (await store.beat("b", *little))[1] == set()
    assert await store.leases.want(STREAM, "c", 2) is True
    assert len((await store.beat("a", *much))[1]) == 2
    assert await store.leases.want(STREAM, "c", 2) is False, "what is asked for counts as the asker's"
    given = next(lease for lease in much if lease.unit == wanted)
    await store.leases.release(given)
    assert await store.acquire("b") is None, "it is left to who asked"
    assert (await store.take("c")).unit == wanted


async def test_nobody_is_asked_who_holds_but_one_more(store: Store) -> None:
    await store.meet(*shards("1", "2", "3"))
    await store.hold("a", 2), await store.hold("b", 1)
    assert not await store.leases.want(STREAM, "b", 0)
    assert await store.leases.want(STREAM, "c", 0)
    assert not await store.leases.want(STREAM, "c", 3)
    assert not await store.leases.want(STREAM, "d", 0, avoid=("1", "2", "3"))


async def test_two_critical_units_more_are_asked_for_too(store: Store) -> None:
    await store.meet(*shards("c1", "c2", lane=Lane.CRITICAL), *shards("b1", "b2", lane=Lane.BULK))
    await store.beat("a"), await store.beat("b")
    critical = [await store.acquire("a", avoid=("b1", "b2")) for _ in range(2)]
    bulk = [await store.take("b") for _ in range(2)]
    assert await store.leases.want(STREAM, "b", 2)
    assert len((await store.beat("a", *filter(None, critical)))[1]) == 1
    assert not await store.leases.want(STREAM, "b", 2)
    assert await store.leases.want(STREAM, "a", 2), "and a bulk one goes the other way"
    assert len((await store.beat("b", *bulk))[1]) == 1


async def test_who_asked_and_died_is_forgotten(store: Store) -> None:
    await store.meet(*shards("1", "2", "3"))
    held = await store.hold("a", 3)
    await store.beat("b", ttl_s=TTL_S)
    assert await store.leases.want(STREAM, "b", 1)
    await store.sleep(TTL_S * 1.2)
    assert (await store.beat("a", *held, ttl_s=TTL_S))[1] == set()
    assert {state.wanted_by for state in await store.leases.states(STREAM)} == {None}


async def test_what_was_given_up_for_one_who_does_not_come_goes_to_others(store: Store) -> None:
    await store.meet(*shards("1", "2"))
    held = await store.hold("a", 2)
    await store.beat("b")
    assert await store.leases.want(STREAM, "b", 0)
    (wanted,) = (await store.beat("a", *held))[1]
    await store.leases.release(next(lease for lease in held if lease.unit == wanted))
    assert await store.acquire("c", TTL_S) is None
    await store.sleep(TTL_S * 0.6)
    assert await store.acquire("c", TTL_S) is not None


async def test_who_leaves_asks_for_nothing(store: Store) -> None:
    await store.meet(*shards("1", "2"))
    held = await store.hold("a", 2)
    await store.beat("b")
    assert await store.leases.want(STREAM, "b", 0)
    await store.leases.leave(STREAM, "b")
    assert await store.beat("a", *held) == ({"1", "2"}, set(), 1, 2)


async def test_what_the_stream_names_no_more_is_lost_but_not_by_an_old_list(store: Store) -> None:
    await store.meet(Shard("1"), Shard("2", parents=("1",)), Shard("3"))
    held = await store.hold("a", 2)
    assert await store.meet(Shard("2", parents=("1",)), Shard("3")) == [], "another may know better"
    await store.sleep(LOST_S * 1.3)
    assert await store.meet() == []
    assert await store.meet(Shard("2", parents=("1",)), Shard("3")) == ["1"]
    assert await store.meet(Shard("2", parents=("1",)), Shard("3")) == []
    assert {state.unit: (state.ended, state.lost) for state in await store.leases.states(STREAM)} == {
        "1": (True, True), "2": (False, False), "3": (False, False),
    }  # fmt: skip
    assert (await store.beat("a", *held))[0] == {"3"}
    with pytest.raises(Fenced):
        await store.commit(held[0], 0, 1)
    assert (await store.take()).unit == "2"


async def test_what_was_worked_to_its_end_cannot_be_lost(store: Store) -> None:
    await store.meet(Shard("1"), Shard("2"))
    await store.leases.end(await store.take(), 0)
    await store.sleep(LOST_S * 1.3)
    assert await store.meet(Shard("2")) == []


async def test_streams_and_local_claims_are_apart(store: Store) -> None:
    local = await store.history.claim(STREAM, ["critical", "bulk"], "local")
    await store.meet(*shards("1"))
    await store.leases.meet("other", shards("1"))
    assert (await store.take()).unit == "1"
    assert await store.acquire() is None
    assert await store.beat("a") == (set(), set(), 1, 1)
    await store.sleep(LOST_S * 1.3)
    assert await store.meet(*shards("1")) == []
    await store.commit(local._replace(unit="critical"), 0, 1)


@pytest.mark.parametrize("url", ["postgres"], indirect=True)
async def test_neither_a_beat_nor_a_search_waits_for_a_flush(store: Store) -> None:
    await store.meet(*shards("1", "2"))
    lease = await store.take("a", TTL_S)
    async with asyncio.timeout(5), store.history.flush(lease, Span("1", 0, 1, 0, 0)) as flush:
        assert (await store.beat("a", lease, ttl_s=TTL_S))[0] == {"1"}
        assert (await store.take("b")).unit == "2"
        await store.sleep(TTL_S * 1.2)
        assert await store.acquire("b") is None, "not while the last holder commits"
        await flush.settle({})
    taken = await store.take("b")
    assert (taken.unit, taken.checkpoints["1"].position) == ("1", 1)
    assert math.isclose(taken.epochs["1"], 2)


async def test_what_was_declared_last_is_told_when_everybody_has_left(store: Store) -> None:
    assert await store.leases.terms(STREAM) is None
    for retention_s in (86_400.0, 172_800.0):
        await store.leases.declare(STREAM, Terms(retention_s, 10.0, 30.0))
    await store.leases.leave(STREAM, "a")
    assert await store.leases.terms(STREAM) == Terms(172_800.0, 10.0, 30.0)
    assert await store.leases.terms("elsewhere") is None
