"""Crews in virtual time over one set of leases: shares are fair, hand-overs quick, and nobody works on in vain."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from psycopg import AsyncConnection
from structlog.testing import capture_logs
from virtual_time import VirtualLoop, run

from penstock.errors import Fenced, Unavailable
from penstock.model.batch import Lane
from penstock.model.shard import Shard, Unit
from penstock.process.crew import Crew, CrewLimits
from penstock.process.worker import Ending, Left
from penstock.store.leases import PostgresLeases
from penstock.store.memory import MemoryHistory
from penstock.store.memory_leases import MemoryLeases
from penstock.store.port import Fates, Lease, Span
from penstock.store.postgres import Database
from penstock.telemetry import BEHIND, LEASE_EVENTS, RETENTION_LEFT

TTL_S = 10.0
LIMITS = CrewLimits(ttl_s=TTL_S)
EIGHT = [Shard(f"c{i}", Lane.CRITICAL) for i in range(2)] + [Shard(f"b{i}", Lane.BULK) for i in range(6)]


def now_s() -> float:
    return asyncio.get_running_loop().time()


class Belt:
    """As much of a shared stream as a crew looks at."""

    identity = "plant"

    def __init__(self, shards: Sequence[Shard]) -> None:
        self.shards = list(shards)
        self.ended: set[str] = set()
        self.behind: dict[str, int] = {}
        self.mute: set[str] = set()

    async def units(self) -> Sequence[Unit]:
        return [Unit(shard.name, (shard,)) for shard in self.shards]

    def behind_ms(self, shard: str) -> int:
        return self.behind.get(shard, 0)

    def unheard(self, shard: str) -> bool:
        return shard in self.mute


class Between:
    """What lies between a crew and its leases: it may be away, hang, or lose answers."""

    def __init__(self, inner: object) -> None:
        self.inner, self.state = inner, "well"

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.inner, name)

        async def call(*given: object) -> object:
            if self.state == "away":
                raise Unavailable
            if self.state == "hangs":
                await asyncio.sleep(1e6)
            answer = await method(*given)
            if self.state == "mute":
                raise Unavailable
            return answer

        return call


@dataclass
class Worker:
    """Commits every second, whatever it may hold."""

    plant: "Plant"
    unit: Unit
    claim: Callable[[], Awaitable[Lease]]
    crew: str
    progress: int = 0

    @property
    def held_ms(self) -> int:
        return self.plant.in_hand.get(self.unit.name, 0)

    async def run(self, stop: asyncio.Event) -> Left:
        name = self.unit.name
        lease = await self.claim()
        self.plant.begin(self, lease)
        position = lease.checkpoints[name].position
        try:
            while not stop.is_set():
                await asyncio.sleep(0.5)
                if name in self.plant.stubborn:
                    await asyncio.sleep(1e6)
                if name in self.plant.belt.ended:
                    return Left(Ending.ENDED, lease, position)
                async with self.plant.history.flush(lease, Span(name, position, position + 1, 0, 0)) as flush:
                    await asyncio.sleep(0.1)
                    await flush.settle({0: Fates(stored=1)})
                position += 1
                self.progress += 1
            await asyncio.sleep(0.3)
        except Fenced:
            return Left(Ending.FENCED, lease, position)
        finally:
            self.plant.at_work.remove((self.crew, name))
        return Left(Ending.STOPPED, lease, position)


class Plant:
    def __init__(self, shards: Sequence[Shard] = EIGHT, limits: CrewLimits = LIMITS) -> None:
        self.belt, self.limits = Belt(shards), limits
        self.history = MemoryHistory()
        self.leases = MemoryLeases(self.history, now_s)
        self.between: dict[str, Between] = {}
        self.crews: dict[str, Crew] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self.stops: dict[str, asyncio.Event] = {}
        self.at_work: list[tuple[str, str]] = []
        self.began: list[tuple[float, str, str]] = []
        self.epochs: set[tuple[str, int]] = set()
        self.stubborn: set[str] = set()
        self.in_hand: dict[str, int] = {}
        self.failing: set[str] = set()

    def begin(self, worker: Worker, lease: Lease) -> None:
        name, epoch = worker.unit.name, lease.epochs[worker.unit.name]
        assert (name, epoch) not in self.epochs, "two holders at the same epoch"
        assert set(worker.unit.parents) <= self.belt.ended, "a child before its parents"
        self.epochs.add((name, epoch))
        self.began.append((now_s(), worker.crew, name))
        if name in self.failing:
            raise ZeroDivisionError
        self.at_work.append((worker.crew, name))

    async def join(self, *names: str) -> None:
        for name in names:
            between = self.between[name] = Between(self.leases)
            stop = self.stops[name] = asyncio.Event()

            def worker(unit: Unit, claim: Callable[[], Awaitable[Lease]], name: str = name) -> Worker:
                return Worker(self, unit, claim, name)

            crew = self.crews[name] = Crew(
                stream=self.belt, leases=between, worker=worker, owner=name, limits=self.limits  # type: ignore[arg-type]
            )  # fmt: skip
            self.tasks[name] = asyncio.create_task(crew.run(stop))

    async def leave(self, name: str) -> float:
        """How long it takes."""
        began_s = now_s()
        self.stops[name].set()
        await self.tasks.pop(name)
        del self.crews[name]
        return now_s() - began_s

    async def crash(self, name: str) -> None:
        """As kill -9 does: nothing is told, to nobody."""
        self.between[name].state = "hangs"
        task = self.tasks.pop(name)
        task.cancel()
        await asyncio.wait([task])
        del self.crews[name]

    async def end(self) -> None:
        for name in list(self.tasks):
            await self.leave(name)

    def held(self, crew: str) -> set[str]:
        return {unit for who, unit in self.at_work if who == crew}

    def unfair(self) -> list[str]:
        """What is wrong when all has been quiet for a while."""
        shares = {name: self.held(name) for name in self.crews}
        everyone = Counter(unit for units in shares.values() for unit in units)
        open_units = {shard.name for shard in self.belt.shards} - self.belt.ended
        wrong = [] if everyone == Counter(open_units) else [f"worked on {dict(everyone)}"]
        for what, sizes in (
            ("units", [len(units) for units in shares.values()]),
            ("critical units", [sum(unit.startswith("c") for unit in units) for units in shares.values()]),
        ):
            if max(sizes) - min(sizes) > 1:
                wrong.append(f"{what}: {sizes}")
        return wrong


def in_virtual_time(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    def wrapped(**given: object) -> None:
        run(test(**given))

    wrapped.__name__, wrapped.__signature__ = test.__name__, __import__("inspect").signature(test)  # type: ignore[attr-defined]
    return wrapped


def events() -> Counter[str]:
    samples = next(iter(LEASE_EVENTS.collect())).samples
    return Counter({one.labels["event"]: int(one.value) for one in samples if one.name.endswith("_total")})


@pytest.mark.parametrize("crews", [1, 2, 3, 5])
@in_virtual_time
async def test_crews_that_come_one_after_another_share_fairly(crews: int) -> None:
    plant = Plant()
    for number in range(crews):
        await plant.join(f"w{number}")
        await asyncio.sleep(2 * TTL_S)
        assert plant.unfair() == [], "within two lives of a lease"
    before = len(plant.began)
    await asyncio.sleep(10 * TTL_S)
    assert len(plant.began) == before, "and then all is quiet"
    await plant.end()


@pytest.mark.parametrize("crews", [2, 3, 5])
@in_virtual_time
async def test_crews_that_come_together_share_fairly(crews: int) -> None:
    plant = Plant()
    await plant.join(*(f"w{number}" for number in range(crews)))
    await asyncio.sleep(2 * TTL_S)
    assert plant.unfair() == []
    await plant.end()


@in_virtual_time
async def test_a_share_of_many_units_is_handed_over_in_time() -> None:
    plant = Plant([Shard(f"b{i:02}") for i in range(40)])
    await plant.join("a")
    await asyncio.sleep(TTL_S)
    await plant.join("b")
    await asyncio.sleep(2 * TTL_S)
    assert plant.unfair() == []
    await plant.end()


@in_virtual_time
async def test_who_leaves_hands_over_at_once() -> None:
    plant = Plant()
    await plant.join("a", "b")
    await asyncio.sleep(2 * TTL_S)
    assert await plant.leave("a") < 5
    await asyncio.sleep(TTL_S / 2)
    assert plant.unfair() == []
    states = await plant.leases.states("plant")
    assert {state.owner for state in states} == {"b"}
    assert await plant.leave("b") < 5
    assert {state.owner for state in await plant.leases.states("plant")} == {None}


@in_virtual_time
async def test_a_dead_crews_units_are_free_when_its_leases_run_out() -> None:
    plant = Plant()
    await plant.join("a", "b")
    await asyncio.sleep(2 * TTL_S)
    await plant.crash("a")
    await asyncio.sleep(TTL_S * 0.7)
    assert len(plant.held("b")) == 4
    await asyncio.sleep(TTL_S * 0.8)
    assert plant.unfair() == []
    await plant.end()


@in_virtual_time
async def test_children_are_taken_up_as_soon_as_their_parent_ended() -> None:
    plant = Plant([Shard("1"), Shard("2", parents=("1",)), Shard("3", parents=("1",))])
    await plant.join("a", "b")
    await asyncio.sleep(2 * TTL_S)
    assert {unit for _, unit in plant.at_work} == {"1"}
    plant.belt.ended.add("1")
    ended_s = now_s()
    await asyncio.sleep(TTL_S)
    assert {unit: at_s - ended_s < 3 for at_s, _, unit in plant.began[1:]} == {"2": True, "3": True}
    assert plant.unfair() == []
    await plant.end()


@in_virtual_time
async def test_a_split_that_happens_meanwhile_is_met() -> None:
    plant = Plant([Shard("1")])
    await plant.join("a", "b")
    await asyncio.sleep(2 * TTL_S)
    plant.belt.shards += [Shard("2", parents=("1",)), Shard("3", parents=("1",))]
    plant.belt.ended.add("1")
    await asyncio.sleep(TTL_S)
    assert plant.unfair() == []
    plant.belt.shards.append(Shard("4", parents=("2", "3")))
    plant.belt.ended |= {"2"}
    await asyncio.sleep(TTL_S)
    assert {unit for _, unit in plant.at_work} == {"3"}, "a merge waits for both"
    plant.belt.ended |= {"3"}
    await asyncio.sleep(TTL_S)
    assert {unit for _, unit in plant.at_work} == {"4"}
    await plant.end()


@pytest.mark.parametrize("state", ["away", "hangs", "mute"])
@in_virtual_time
async def test_leases_are_not_dropped_while_they_may_be_ours(state: str) -> None:
    plant = Plant()
    await plant.join("a")
    await asyncio.sleep(TTL_S)
    plant.between["a"].state = state
    await asyncio.sleep(TTL_S * 0.7)
    plant.between["a"].state = "well"
    await asyncio.sleep(TTL_S * 2)
    assert len(plant.began) == 8, "nobody started again"
    assert plant.unfair() == []
    await plant.end()


@pytest.mark.parametrize("state", ["away", "hangs", "mute"])
@in_virtual_time
async def test_nobody_works_on_when_the_leases_may_be_anothers(state: str) -> None:
    plant = Plant()
    await plant.join("a")
    await asyncio.sleep(TTL_S)
    plant.between["a"].state = state
    await asyncio.sleep(TTL_S * 1.2)
    assert plant.at_work == []
    plant.between["a"].state = "well"
    await asyncio.sleep(TTL_S * 2)
    assert plant.unfair() == []
    await plant.end()


@in_virtual_time
async def test_whose_database_is_away_is_replaced_by_others() -> None:
    plant = Plant()
    await plant.join("a", "b")
    await asyncio.sleep(2 * TTL_S)
    plant.between["a"].state = "away"
    await asyncio.sleep(TTL_S * 1.6)
    assert len(plant.held("b")) == 8
    plant.between["a"].state = "well"
    await asyncio.sleep(2 * TTL_S)
    assert plant.unfair() == []
    await plant.end()


@in_virtual_time
async def test_after_standing_still_a_crew_first_asks_what_it_still_has() -> None:
    plant, loop = Plant(), asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    await plant.join("a")
    await asyncio.sleep(TTL_S)
    loop.stall(3 * TTL_S)
    (taken, stolen_at_s) = (await plant.leases.acquire("plant", "thief", 1e6), now_s())
    assert taken is not None
    await asyncio.sleep(1.0)
    assert {unit for _, unit in plant.at_work} == {shard.name for shard in EIGHT} - {taken.unit}
    assert all(at_s < stolen_at_s for at_s, *_ in plant.began), "the others never stopped"
    await plant.end()


@pytest.mark.parametrize("where", ["stream", "hands"])
@in_virtual_time
async def test_a_worker_without_progress_gives_its_unit_to_another(where: str) -> None:
    plant = Plant([Shard("1"), Shard("2")])
    await plant.join("a", "b")
    await asyncio.sleep(2 * TTL_S)
    first = next(crew for crew, unit in plant.at_work if unit == "1")
    plant.stubborn.add("1")
    before = events()
    await asyncio.sleep(100)
    assert events()["stuck"] == before["stuck"], "it is at the tip: there is nothing to do"
    (plant.belt.behind if where == "stream" else plant.in_hand)["1"] = 5_000
    with capture_logs() as logs:
        await asyncio.sleep(31 + 2 * TTL_S)
    assert events()["stuck"] > before["stuck"]
    assert [line["shard"] for line in logs if line["log_level"] == "error"] == ["1"]
    assert {crew for _, crew, unit in plant.began if unit == "1"} == {"a", "b"}
    assert [crew for crew, unit in plant.at_work if unit == "1"] != [first]
    await plant.crash("a")
    await plant.crash("b")


@in_virtual_time
async def test_a_worker_is_not_blamed_for_a_stream_that_does_not_answer_unless_it_holds_something() -> None:
    plant = Plant([Shard("1")])
    await plant.join("a")
    await asyncio.sleep(TTL_S)
    plant.stubborn.add("1")
    plant.belt.mute.add("1")
    plant.belt.behind["1"] = 5_000
    before = events()["stuck"]
    await asyncio.sleep(100)
    assert events()["stuck"] == before
    plant.in_hand["1"] = 5_000
    await asyncio.sleep(31 + 2 * TTL_S)
    assert events()["stuck"] > before
    await plant.crash("a")


@in_virtual_time
async def test_who_has_not_looked_yet_does_not_say_that_there_is_nothing() -> None:
    plant, told = Plant([Shard("1")]), []

    async def beat(*given: Any, inner: Any = plant.leases.beat) -> object:
        told.extend(behind.progressed for _, behind in given[3].values())
        return await inner(*given)

    plant.leases.beat = beat  # type: ignore[method-assign]
    plant.stubborn.add("1")
    await plant.join("a")
    await asyncio.sleep(TTL_S)
    assert set(told) == {False}
    plant.stubborn.clear()
    await plant.crash("a")
    await plant.join("b")
    await asyncio.sleep(2 * TTL_S)
    assert told[-2:] == [True, True]
    await plant.end()


@in_virtual_time
async def test_a_worker_is_not_blamed_for_the_database() -> None:
    plant = Plant([Shard("1")])
    await plant.join("a")
    await asyncio.sleep(TTL_S)
    plant.belt.behind["1"] = 5_000
    before = events()["stuck"]
    for _ in range(12):
        plant.stubborn.add("1")
        plant.between["a"].state = "away"
        await asyncio.sleep(TTL_S * 0.6)
        plant.between["a"].state = "well"
        await asyncio.sleep(TTL_S * 0.4)
    assert events()["stuck"] == before
    await plant.crash("a")


@in_virtual_time
async def test_a_worker_that_is_fenced_is_counted_and_its_unit_goes_on_elsewhere() -> None:
    plant = Plant([Shard("1")])
    await plant.join("a")
    await asyncio.sleep(TTL_S)
    before = events()["fenced"]
    await plant.history.claim("plant", ["1"], "thief")
    with capture_logs():
        await asyncio.sleep(2.5 * TTL_S)
    assert events()["fenced"] == before + 1
    assert plant.unfair() == []
    await plant.end()


@in_virtual_time
async def test_a_worker_that_will_not_stop_is_cancelled_in_time() -> None:
    plant = Plant()
    await plant.join("a")
    await asyncio.sleep(TTL_S)
    plant.stubborn.add("b3")
    await asyncio.sleep(1)
    assert LIMITS.stop_s < await plant.leave("a") < 30
    assert {state.owner for state in await plant.leases.states("plant")} == {None}


@pytest.mark.parametrize("state", ["away", "hangs"])
@in_virtual_time
async def test_a_crew_can_leave_while_the_database_is_away(state: str) -> None:
    plant = Plant()
    await plant.join("a")
    await asyncio.sleep(TTL_S)
    plant.between["a"].state = state
    plant.stubborn.add("b3")
    plant.belt.ended.add("b2")
    assert await plant.leave("a") < 30


@in_virtual_time
async def test_a_worker_that_fails_harms_no_other() -> None:
    plant = Plant()
    plant.failing.add("b1")
    before = events()["failed"]
    with capture_logs():
        await plant.join("a")
        await asyncio.sleep(2.5 * LIMITS.avoid_s)
    assert 2 <= events()["failed"] - before <= 3, "it is tried again now and then"
    assert {unit for _, unit in plant.at_work} == {shard.name for shard in EIGHT} - {"b1"}
    await plant.end()


@in_virtual_time
async def test_retention_that_runs_out_is_told_by_name() -> None:
    plant = Plant([Shard("1"), Shard("2")], replace(LIMITS, retention_h=2.0))
    plant.belt.behind = {"1": 3_590_000, "2": 3_610_000}
    with capture_logs() as logs:
        await plant.join("a")
        await asyncio.sleep(90)
    warnings = [line["shard"] for line in logs if line["event"] == "retention_running_out"]
    assert warnings == ["2", "2"]
    assert RETENTION_LEFT.labels("2")._value.get() == 3_590
    assert BEHIND.labels("1")._value.get() == 3_590
    await plant.end()


@in_virtual_time
async def test_what_was_lost_to_retention_is_told_by_name() -> None:
    plant = Plant([Shard("1"), Shard("2", parents=("1",))])
    before = events()["lost_to_retention"]
    await plant.join("a")
    await asyncio.sleep(TTL_S)
    await plant.crash("a")
    del plant.belt.shards[0]
    plant.belt.ended.add("1")
    with capture_logs() as logs:
        await plant.join("b")
        await asyncio.sleep(100)
    lost = [line["shard"] for line in logs if line["event"] == "readings_lost_to_retention"]
    assert lost == ["1"]
    assert events()["lost_to_retention"] == before + 1
    assert plant.held("b") == {"2"}
    await plant.end()


@pytest.mark.parametrize("seed", range(25))
@in_virtual_time
async def test_after_any_turmoil_shares_are_fair_again(seed: int) -> None:
    rng, plant, number = random.Random(seed), Plant(), 0
    with capture_logs():
        for _ in range(15):
            await asyncio.sleep(rng.uniform(0, 15))
            what = rng.choice(["join", "join", "leave", "crash", "away", "hangs", "mute"])
            if what == "join" and len(plant.crews) < 5:
                await plant.join(f"w{number}")
                number += 1
            elif plant.crews:
                name = rng.choice(list(plant.crews))
                if what == "leave" and plant.between[name].state == "well":
                    await plant.leave(name)
                elif what == "crash":
                    await plant.crash(name)
                else:
                    plant.between[name].state = what
                    await asyncio.sleep(rng.uniform(0, 20))
                    plant.between[name].state = "well"
        if not plant.crews:
            await plant.join("last")
        await asyncio.sleep(6 * TTL_S)
        assert plant.unfair() == []
        await plant.end()


async def test_two_crews_share_over_a_real_database(postgres_url: str) -> None:
    database = Database(postgres_url, application="leases", connections_max=2)
    await database.open()
    plant = Plant(EIGHT[:4], CrewLimits(ttl_s=1.2, meet_s=0.5))
    plant.leases = PostgresLeases(database)  # type: ignore[assignment]
    plant.history.flush = lambda *_: _Nothing()  # type: ignore[method-assign]
    await plant.join("a")
    await plant.join("b")
    await asyncio.sleep(2.4)
    assert plant.unfair() == []
    await plant.crash("a")
    await asyncio.sleep(2.0)
    assert plant.held("b") == {shard.name for shard in EIGHT[:4]}
    await plant.leave("b")
    assert {state.owner for state in await plant.leases.states("plant")} == {None}
    await database.close()


async def test_a_database_that_hangs_stops_the_workers_in_time_and_they_come_again(postgres_url: str) -> None:
    database = Database(postgres_url, application="leases", connections_max=2)
    await database.open()
    plant = Plant(EIGHT[:3], CrewLimits(ttl_s=1.5, meet_s=0.5))
    plant.leases = PostgresLeases(database)  # type: ignore[assignment]
    plant.history.flush = lambda *_: _Nothing()  # type: ignore[method-assign]
    await plant.join("a")
    await asyncio.sleep(1.5)
    assert len(plant.at_work) == 3
    other = await AsyncConnection.connect(postgres_url)
    async with other:
        await other.execute("lock table lease")
        await asyncio.sleep(2.5)
        assert plant.at_work == []
    async with asyncio.timeout(10):
        while len(plant.at_work) < 3:  # noqa: ASYNC110  # a worker tells nobody
            await asyncio.sleep(0.1)
    await plant.leave("a")
    await database.close()


class _Nothing:
    async def __aenter__(self) -> "_Nothing":
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    async def settle(self, *_: object) -> None:
        return None
