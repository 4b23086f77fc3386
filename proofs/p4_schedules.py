"""P4: whatever the schedule, every reading is stored once, in order, and accounted for.

    python3 run.py prove p4 [SEEDS]

Real crews and workers on virtual time, over a stream that splits, merges and repeats itself, and a store that fails,
answers late or not at all; crews are killed at any await, or believe in leases that ran out. A seed is a schedule, and
replays the same. Prints seeds, bad ones, and in how many seeds each planted mutant was caught: within a thousand, or
the proof fails.
"""

import logging
import multiprocessing
import random
import sys
import time
from asyncio import sleep
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from typing import Any
from unittest.mock import patch

import numpy as np
import structlog
from shared_world import World
from virtual_time import run

from penstock.errors import Unavailable
from penstock.process.arrivals import arrived
from penstock.process.holding import Holding
from penstock.process.worker import Worker
from penstock.store.memory import MemoryFlush, MemoryHistory
from penstock.store.memory_leases import MemoryLeases
from penstock.store.port import Arrivals, Checkpoint, Lease, Rows, Span
from penstock.stream.port import Entry

PROCESSES = 2
MUTANT_SEEDS = 1_000
CHUNK = 25
CREWS_MAX = 3
CALM_S = 180
"""In this (virtual) time after the last fault all must be stored."""
SETTLE_S = 3.0
"""Whose last commit had no answer starts again."""


async def play(seed: int, **parts: Any) -> list[str]:
    rng = random.Random(seed)
    world = World(rng, **parts)
    for _ in range(rng.randint(1, 3)):
        world.join()
    for _ in range(rng.randint(15, 25)):
        await sleep(rng.expovariate(2))
        await happen(world, rng.random())
    world.calm = True
    if not world.crews:
        world.join()
    for _ in range(CALM_S):
        await sleep(1.0)
        if not await world.waiting():
            break
    await sleep(SETTLE_S)
    await world.end()
    return await world.complaints()


async def happen(world: World, chance: float) -> None:
    if chance < 0.70:
        await world.send()
    elif chance < 0.80:
        world.reshard()
    elif chance < 0.90:
        await world.leave(killed=True)
        world.join()
    elif world.crews < CREWS_MAX:
        world.join()
    else:
        await world.leave(killed=False)


# Planted mutants: each breaks one law, and the same checks must see it.


class Unfenced(MemoryHistory):
    """Lets anybody commit."""

    def _fence(self, lease: Lease, span: Span) -> None:
        pass


class CheckpointFirst(MemoryHistory):
    """Moves the checkpoint when a transaction begins."""

    @asynccontextmanager
    async def flush(self, lease: Lease, span: Span) -> AsyncIterator[MemoryFlush]:
        async with super().flush(lease, span) as flush:
            self._checkpoints[lease.stream, span.shard] = Checkpoint(span.hi, span.counted)
            yield flush
            self._checkpoints[lease.stream, span.shard] = Checkpoint(span.lo, span.counted)


class Impatient(MemoryLeases):
    """Does not wait for the parents' end."""

    def _has_open_parents(self, stream: str, unit: Any) -> bool:
        return False


class Robber(MemoryLeases):
    """Takes what others hold."""

    async def acquire(self, stream: str, owner: str, *given: Any) -> Lease | None:
        for unit in self._held(stream):
            if unit.owner != owner:
                unit.expires_at_s = -1.0
                break
        return await super().acquire(stream, owner, *given)


class LearnsFirst(Worker):
    """What it saw it knows, whether or not it was committed, and keeps it when it starts again."""

    held: Holding | None = None

    async def start(self) -> Holding:
        holding = await super().start()
        if self.held is not None:
            holding.seen.update(self.held.seen)
        self.held = holding
        return holding

    async def commit(self, holding: Holding, shard: str, entries: Sequence[Entry]) -> None:
        try:
            await super().commit(holding, shard, entries)
        except Unavailable:
            holding.seen.update(arrived(entries, holding.seen).arrivals.counted)
            raise


class Trusting(MemoryHistory):
    """Takes every reading for new."""

    @asynccontextmanager
    async def flush(self, lease: Lease, span: Span) -> AsyncIterator[MemoryFlush]:
        async with super().flush(lease, span) as flush:
            with patch.object(flush, "compare", _all_new):
                yield flush


async def _all_new(suspects: Rows) -> Any:
    return np.zeros(len(suspects), np.int8)


def _takes_all(entries: Sequence[Entry], seen: object, own_belt: int = 0) -> tuple[list[Entry], Arrivals]:
    return list(entries), arrived(entries, {}).arrivals


MUTANTS: dict[str, dict[str, Any]] = {
    "no fence": {"history": Unfenced},
    "checkpoint before rows": {"history": CheckpointFirst},
    "child before its parents' end": {"leases": Impatient},
    "learned before the commit": {"worker": LearnsFirst},
    "repeated records not skipped": {"history": Trusting, "arrived": _takes_all},
    "taken without release or expiry": {"leases": Robber},
}


def one(seed: int, mutant: str = "") -> list[str]:
    parts = dict(MUTANTS.get(mutant, {}))
    with ExitStack() as stack:
        if "arrived" in parts:
            stack.enter_context(patch("penstock.process.worker.arrived", parts.pop("arrived")))
        try:
            return run(play(seed, **parts))
        except Exception as error:  # noqa: BLE001  # whatever a mutant does, and a finding where there is none
            return [f"{type(error).__name__}: {error}"]


def bad_of(given: tuple[str, int, int]) -> list[tuple[int, list[str]]]:
    """The bad seeds of a chunk, with what is wrong."""
    mutant, lo, hi = given
    return [(seed, wrong) for seed in range(lo, hi) if (wrong := one(seed, mutant))]


def chunks(mutant: str, seeds: int) -> Iterator[tuple[str, int, int]]:
    for lo in range(0, seeds, CHUNK):
        yield mutant, lo, min(lo + CHUNK, seeds)


def silence() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def prove(seeds: int, imap: Callable[..., Any]) -> bool:
    began = time.monotonic()
    bad = [found for part in imap(bad_of, chunks("", seeds)) for found in part]
    seconds = time.monotonic() - began
    print(f"seeds {seeds}, bad {len(bad)}, {seeds / seconds:.0f} seeds/s")
    for seed, wrong in bad[:5]:
        again = "the same again" if one(seed) == wrong else "NOT the same again"
        print(f"  seed {seed} ({again}): {'; '.join(wrong)}")
    escaped = [mutant for mutant in MUTANTS if not caught(mutant, imap)]
    return not bad and not escaped


def caught(mutant: str, imap: Callable[..., Any]) -> bool:
    """Looks no further than the chunk in which it is seen."""
    for chunk in chunks(mutant, MUTANT_SEEDS):  # one at a time: nobody waits for chunks that nobody needs
        (found,) = imap(bad_of, [chunk])
        if found:
            print(f"mutant caught: {mutant}: {len(found)} of {CHUNK} seeds, first {found[0][0]}: {found[0][1][0]}")
            return True
    print(f"MUTANT NOT CAUGHT in {MUTANT_SEEDS} seeds: {mutant}")
    return False


def main(words: list[str]) -> int:
    seeds = int(words[0]) if words else 10_000
    silence()
    with multiprocessing.get_context("spawn").Pool(PROCESSES, silence) as pool:
        return 0 if prove(seeds, pool.imap) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
