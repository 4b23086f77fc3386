"""Whatever fails, and wherever: each accepted reading is stored once, the first wins, and nothing else is learned."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from make import R
from penstock.errors import Unavailable
from penstock.model.batch import Lane
from penstock.process.holding import Holding
from penstock.process.worker import Worker
from penstock.store.memory import MemoryFlush, MemoryHistory
from penstock.store.port import Lease, Span
from process.plant import Disturbed, Plant, complaints, reading, survive

Requests = Sequence[tuple[Lane, Sequence[R]]]

REQUESTS: Requests = (
    (Lane.BULK, [reading("a/x", 0, 1.0), reading("a/y", 0, 1.0)]),
    (Lane.CRITICAL, [reading("c/x", 0, 1.0), reading("c/x", 1, 2.0)]),
    (Lane.BULK, [reading("a/x", 10, 2.0), reading("a/x", 5, 3.0), reading("a/x", 10, 9.0)]),
    (Lane.BULK, [reading("a/x", 10, 2.0), reading("b/new", 1, 1.0, seq=4), reading("a/x", 7, 7.0)]),
    (Lane.CRITICAL, [reading("c/x", 1, 2.0), reading("c/x", 1, 3.0)]),
)
STEPS = 60
"""More steps than an undisturbed run of REQUESTS takes, so that a fault at each is tried."""

FAULTS = {"away": Unavailable, "bug": RuntimeError, "cancelled": asyncio.CancelledError}


class Trouble:
    """A plan of what goes wrong: after so many steps, this."""

    def __init__(self, plant: Plant, *faults: tuple[int, str]) -> None:
        self.plant, self.faults = plant, list(faults)
        self.steps = 0

    async def __call__(self, point: str) -> None:
        self.steps += 1
        if not self.faults or self.steps < self.faults[0][0]:
            return
        self.steps, (_, fault) = 0, self.faults.pop(0)
        if fault == "another":
            other = self.plant.worker(owner="another")
            await other.turn(await other.start(), self.plant.never)
        else:
            raise FAULTS[fault]


async def run(
    requests: Requests,
    *faults: tuple[int, str],
    history: Callable[[], MemoryHistory] = MemoryHistory,
    kind: type[Worker] = Worker,
    hasty: bool = False,
) -> list[str]:
    plant = Plant(history(), flush_readings_max=4)
    plant.hasty = hasty
    worker = plant.worker(Disturbed(plant.history, Trouble(plant, *faults)), kind=kind)
    holding = await survive(plant, worker, requests)
    wrong = await complaints(plant, holding)
    later = await plant.worker(owner="later").start()
    return wrong + [f"after a restart: {one}" for one in await complaints(plant, later)]


async def test_undisturbed_all_is_well_and_there_are_fewer_steps_than_tried() -> None:
    plant = Plant(flush_readings_max=4)
    trouble = Trouble(plant)
    holding = await survive(plant, plant.worker(Disturbed(plant.history, trouble)), REQUESTS)
    assert await complaints(plant, holding) == []
    assert 30 < trouble.steps < STEPS
    assert plant.history.fates == {"stored": 8, "duplicate": 2, "conflict": 2, "quarantined": 0, "late": 1, "moved": 0}


@pytest.mark.parametrize("fault", [*FAULTS, "another"])
async def test_one_fault_at_any_step_changes_nothing(fault: str) -> None:
    for step in range(1, STEPS):
        assert await run(REQUESTS, (step, fault)) == [], f"{fault} at step {step}"


FAULT = st.tuples(st.integers(1, 25), st.sampled_from([*FAULTS, "another"]))
REQUEST = st.one_of(
    st.tuples(
        st.just(lane),
        st.lists(
            st.builds(
                reading,
                st.sampled_from(paths),
                st.integers(0, 6),
                st.sampled_from([1.0, 2.0, -0.0, 0.0]),
                st.sampled_from([None, 1]),
            ),
            min_size=1,
            max_size=5,
        ),
    )
    for lane, paths in ((Lane.CRITICAL, ["c/x", "c/y"]), (Lane.BULK, ["a/x", "a/y", "b/z"]))
)


@settings(max_examples=100, deadline=None)
@given(st.lists(REQUEST, max_size=8), st.lists(FAULT, max_size=8))
def test_any_schedule_of_faults_changes_nothing(requests: Requests, faults: list[tuple[int, str]]) -> None:
    assert asyncio.run(run(requests, *faults)) == []


# Negative controls: the same checks must catch workers and stores that break the laws.


class GoesOn(Worker):
    """After a failure this one claims the lease anew, but goes on with what it holds in memory."""

    held: Holding | None = None

    async def start(self) -> Holding:
        fresh = await super().start()
        if self.held is None:
            self.held = fresh
        self.held.lease, self.held.positions, self.held.counted = fresh.lease, fresh.positions, fresh.counted
        self.held.tags = self.held.detector.table = fresh.tags  # type: ignore[attr-defined]
        self.held.watermarks = fresh.watermarks
        return self.held


class Unfenced(MemoryHistory):
    """Lets anybody commit."""

    def _fence(self, lease: Lease, span: Span) -> None:
        pass


class RowsFirst(MemoryHistory):
    """Rows are visible as soon as they are written; the checkpoint follows with the commit."""

    @asynccontextmanager
    async def flush(self, lease: Lease, span: Span) -> AsyncIterator[MemoryFlush]:
        async with super().flush(lease, span) as flush:
            flush.written.rows = self._contents.chunks
            yield flush
            flush.enrol()
            flush.written.rows = []


async def caught(words: str, fault: str, **broken: object) -> set[int]:
    """The steps at which *fault* leads to a complaint with these *words*."""
    wrong = {step: await run(REQUESTS, (step, fault), **broken) for step in range(1, STEPS)}  # type: ignore[arg-type]
    return {step for step, complaint in wrong.items() if any(words in one for one in complaint)}


async def test_a_worker_that_learns_before_the_commit_is_caught() -> None:
    early = await caught("learned", "away", kind=GoesOn, hasty=True)
    due = await caught("learned", "away", kind=GoesOn)
    assert early - due, "where the commit did not come about, it is learning early that does the harm"


async def test_a_store_without_a_fence_is_caught() -> None:
    assert await caught("twice", "another", history=Unfenced)


async def test_rows_before_their_checkpoint_are_caught() -> None:
    assert await caught("counted", "away", history=RowsFirst)
