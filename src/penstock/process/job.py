"""One unit that a crew works on: its lease, its worker, and what the crew knows of both."""

import asyncio
import math
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Protocol

from penstock.model.shard import Unit
from penstock.process.worker import Left
from penstock.store.port import Behind, Lease, Leases


class UnitWorker(Protocol):
    """Works on one unit until it is asked to stop, loses the lease, or comes to the unit's end."""

    @property
    def progress(self) -> int:
        """Grows with every commit, and with every look that found nothing to commit."""
        ...

    @property
    def held_ms(self) -> int:
        """How old the oldest entry is that was taken and is not committed; 0 when there is none."""
        ...

    def run(self, stop: asyncio.Event) -> Awaitable[Left]: ...


class Claim:
    """The right to begin: first with the lease as it was acquired, then, after an error, with a new epoch of it."""

    def __init__(self, leases: Leases, lease: Lease) -> None:
        self._leases, self._used = leases, False
        self.lease = lease

    async def __call__(self) -> Lease:
        """Raises Fenced when the lease has passed to another, Unavailable when nobody can tell."""
        if self._used:
            self.lease = await self._leases.renew(self.lease)
        self._used = True
        return self.lease

    @property
    def epoch(self) -> int:
        return self.lease.epochs[self.lease.unit]


@dataclass(slots=True, eq=False)
class Job:
    """Times are the event loop's, in seconds: it knows no leap and no summer time."""

    unit: Unit
    claim: Claim
    worker: UnitWorker
    deadline_s: float
    """The lease may have passed to another from then on."""
    moved_s: float
    """When the worker last made progress, or had no chance to."""
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    stop_by_s: float = math.inf
    """When patience with a worker that was asked to stop is at its end."""
    lost: bool = False
    """The lease is not ours any more, as far as we know."""
    behind_ms: int = 0
    warned_s: float = -math.inf
    task: asyncio.Task[Left | None] | None = None
    """Runs the worker; None is how it ends when it fails."""
    _told: int = 0
    _seen: int = 0
    _idle: bool = True
    """When last asked, it had nothing to do, as far as anybody knew."""

    @property
    def name(self) -> str:
        return self.unit.name

    def beat(self, behind_ms: int, *, unheard: bool = False) -> tuple[int, Behind]:
        """What the next heartbeat says of it; *behind_ms*: of what the stream has and the worker has not.

        *unheard*: that is a guess, since the stream does not answer. Most likely it answers no other worker either.
        """
        held_ms = self.worker.held_ms
        self.behind_ms, self._seen = max(behind_ms, held_ms), self.worker.progress
        self._idle = not held_ms and (unheard or not behind_ms)
        return self.claim.epoch, Behind(self.behind_ms, progressed=self._seen != self._told)

    def beaten(self, sent_s: float, ttl_s: float) -> None:
        """The heartbeat sent at *sent_s* arrived."""
        self.deadline_s = sent_s + ttl_s
        if self._seen != self._told or self._idle:
            self._told, self.moved_s = self._seen, sent_s

    @property
    def at_work(self) -> bool:
        return self.task is not None and not self.task.done()

    def cancel(self, *, lost: bool) -> None:
        """The worker may not go on; *lost*: nor is the lease ours to give up."""
        self.lost = self.lost or lost
        if self.task is not None:
            self.task.cancel()

    def ask_to_stop(self, by_s: float) -> None:
        self.stop.set()
        self.stop_by_s = min(self.stop_by_s, by_s)
