"""All workers of one process: which units of a shared stream they work on, kept fair among all crews."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from penstock.clock import within
from penstock.errors import Fenced, PenstockError, Unavailable
from penstock.model.shard import Unit
from penstock.process.job import Claim, Job, UnitWorker
from penstock.process.worker import Ending, Left
from penstock.store.port import Beat, Lease, Leases, Terms
from penstock.stream.port import Stream
from penstock.telemetry import BEHIND, LEASE_EVENTS, LEASES_HELD, RETENTION_LEFT, log

T = TypeVar("T")
AGAIN_S: Final = 60.0
"""A warning that still holds is repeated this often."""


@dataclass(frozen=True, slots=True)
class CrewLimits:
    """How long things may take, in seconds unless named otherwise."""

    ttl_s: float = 10.0
    """A dead worker's units are free after this. Six heartbeats fit in."""
    meet_s: float = 5.0
    """How often the stream is asked for its shards."""
    stop_s: float = 22.0
    """A worker that was asked to stop, and has not, is cancelled; nothing is lost by that but what it learned."""
    stuck_s: float = 30.0
    """A worker that is behind and makes no progress for so long gives its unit up."""
    avoid_s: float = 60.0
    """A unit that was given up for no good reason is left to others for so long."""
    retention_h: float = 24.0
    """How long the stream keeps entries."""


class Crew:
    """Beats for all its leases at once, takes its fair share, and gives up what others ask for.

    Correctness does not rest on it: whoever commits is held to the epoch of its lease. The crew sees to it that
    all units are worked on, that none is worked on in vain, and that nobody goes on long after losing a lease.
    """

    def __init__(
        self,
        *,
        stream: Stream,
        leases: Leases,
        worker: Callable[[Unit, Callable[[], Awaitable[Lease]]], UnitWorker],
        owner: str,
        limits: CrewLimits,
    ) -> None:
        """*owner* names this process, and no other that ever was."""
        self._stream, self._leases, self._worker = stream, leases, worker
        self._owner, self._limits = owner, limits
        self._turn_s = limits.ttl_s / 6
        self._jobs: dict[str, Job] = {}
        self._units: dict[str, Unit] = {}
        self._avoided: dict[str, float] = {}
        self._beat: Beat | None = None
        self._asked_until_s = self._met_s = self._grace_s = -math.inf
        self._beat_now, self._look_now = asyncio.Event(), asyncio.Event()
        self._failing: set[str] = set()
        self._declared = False
        self._group = asyncio.TaskGroup()

    @property
    def units(self) -> frozenset[str]:
        """What is worked on now."""
        return frozenset(self._jobs)

    async def run(self, stop: asyncio.Event) -> None:
        """Work until *stop*; then let all workers come to an end, give their units up, and leave. Once."""
        async with self._group as group:
            keeping = [group.create_task(self._keep()), group.create_task(self._guard())]
            recruiting = group.create_task(self._recruit(stop))
            await stop.wait()
            self._look_now.set()
            self._dismiss()
            await recruiting
            self._dismiss()
            while self._jobs:  # noqa: ASYNC110  # it lasts seconds, once
                await asyncio.sleep(self._turn_s / 10)
            for task in keeping:
                task.cancel()
        await self._outlive("leave", lambda: self._in_time(self._leases.leave(self._stream.identity, self._owner)))

    # Keeping what we have

    async def _keep(self) -> None:
        while True:
            due_s = _now_s() + self._turn_s
            await self._outlive("beat", self._beat_once)
            await _pause(self._beat_now, max(due_s - _now_s(), self._turn_s / 10))

    async def _beat_once(self) -> None:
        sent_s, jobs = _now_s(), dict(self._jobs)
        stream = self._stream
        sent = {name: job.beat(stream.behind_ms(name), unheard=stream.unheard(name)) for name, job in jobs.items()}
        try:
            beat = await self._in_time(self._leases.beat(self._stream.identity, self._owner, self._limits.ttl_s, sent))
        except PenstockError:
            self._excuse()
            raise
        self._beat = beat
        for name, job in jobs.items():
            if name in beat.held:
                job.beaten(sent_s, self._limits.ttl_s)
                self._look_after(job, wanted=name in beat.wanted)
            elif job.at_work and job.claim.epoch == sent[name][0]:
                self._lose(job, "fenced")

    def _look_after(self, job: Job, *, wanted: bool) -> None:
        _report(job, self._limits.retention_h * 3_600)
        if job.stop.is_set():
            return
        if wanted:
            LEASE_EVENTS.labels("given_up").inc()
            job.ask_to_stop(_now_s() + self._limits.stop_s)
        elif _now_s() - job.moved_s > self._limits.stuck_s:
            log.error("a shard is behind and its worker makes no progress: given up", shard=job.name)
            LEASE_EVENTS.labels("stuck").inc()
            self._avoid(job.name)
            job.ask_to_stop(_now_s() + self._turn_s)

    async def _guard(self) -> None:
        """By our own clock, for the database may be away: nobody goes on when the lease may have passed to another."""
        tick_s = self._turn_s / 2
        while True:
            slept_s = _now_s()
            await asyncio.sleep(tick_s)
            if _now_s() - slept_s > tick_s + self._limits.ttl_s / 2:
                self._after_stall()
            for job in list(self._jobs.values()):
                if _now_s() >= max(job.deadline_s, self._grace_s):
                    self._lose(job, "expired")
                elif _now_s() >= job.stop_by_s:
                    job.cancel(lost=False)

    def _after_stall(self) -> None:
        """The process stood still. Before anything is given up, ask whether others took it meanwhile."""
        log.warning("the event loop stood still for longer than half a lease")
        self._grace_s = _now_s() + self._limits.ttl_s / 3
        self._excuse()
        self._beat_now.set()

    def _excuse(self) -> None:
        """No worker could make progress."""
        for job in self._jobs.values():
            job.moved_s = _now_s()

    def _lose(self, job: Job, why: str) -> None:
        if not job.lost:
            log.warning("a lease is lost", shard=job.name, why=why)
            LEASE_EVENTS.labels(why).inc()
        job.cancel(lost=True)

    def _dismiss(self) -> None:
        for job in self._jobs.values():
            job.ask_to_stop(_now_s() + self._limits.stop_s)

    # Taking more

    async def _recruit(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await self._outlive("share", lambda: self._take_share(stop))
            await _pause(self._look_now, self._turn_s)

    async def _take_share(self, stop: asyncio.Event) -> None:
        if _now_s() - self._met_s >= self._limits.meet_s:
            await self._meet()
        if self._beat is None:
            return  # without having said that we are here, we have no share
        share = math.ceil(self._beat.open_units / self._beat.workers)
        while len(self._jobs) < share + self._expects_one and not stop.is_set():
            if not await self._acquire():
                break
        if len(self._jobs) == share:  # what nobody takes who is below its share, those avoid who are
            await self._acquire(idle_s=self._limits.ttl_s)
        wanting = share - len(self._jobs) or 1  # at our share, there may be one to swap for the other lane's
        for _ in range(0 if stop.is_set() else wanting):
            if not await self._want(self._beat.open_units // self._beat.workers):
                break

    @property
    def _expects_one(self) -> bool:
        """Whether someone may have given up a unit for us."""
        return _now_s() < self._asked_until_s

    async def _declare(self) -> None:
        """Once: so that people are told of a stream that is not kept up with, even when nobody is left to warn them."""
        limits = self._limits
        terms = Terms(limits.retention_h * 3_600, limits.ttl_s, limits.stuck_s)
        await self._in_time(self._leases.declare(self._stream.identity, terms))
        self._declared = True

    async def _meet(self) -> None:
        if not self._declared:
            await self._declare()
        units = await self._stream.units()
        self._units = {unit.name: unit for unit in units}
        shards = [shard for unit in units for shard in unit.shards]
        lost = await self._in_time(self._leases.meet(self._stream.identity, shards))
        self._met_s = _now_s()
        for name in lost:
            log.error("readings_lost_to_retention", shard=name, mend="work faster, or keep entries longer")
            LEASE_EVENTS.labels("lost_to_retention").inc()

    async def _acquire(self, idle_s: float = 0.0) -> bool:
        asked_s, avoid = _now_s(), self._not_ours()
        asking = self._leases.acquire(self._stream.identity, self._owner, self._limits.ttl_s, avoid, idle_s)
        lease = await self._in_time(asking)
        if lease is None:
            return False
        if lease.unit not in self._units:
            await self._meet()
        if lease.unit in self._units:
            self._begin(lease, asked_s)
        else:  # our view of the stream is older than that of who made it known
            self._avoid(lease.unit)
            await self._in_time(self._leases.release(lease))
        return True

    async def _want(self, share: int) -> bool:
        asking = self._leases.want(self._stream.identity, self._owner, share, self._not_ours())
        if not await self._in_time(asking):
            return False
        LEASE_EVENTS.labels("asked_for").inc()
        self._asked_until_s = _now_s() + self._limits.ttl_s
        return True

    def _not_ours(self) -> frozenset[str]:
        """What we avoid, and what we have: a worker that comes to its end is still one."""
        self._avoided = {name: until_s for name, until_s in self._avoided.items() if until_s > _now_s()}
        return frozenset(self._avoided.keys() | self._jobs.keys())

    def _avoid(self, name: str) -> None:
        self._avoided[name] = _now_s() + self._limits.avoid_s

    # One worker, from its begin to its end

    def _begin(self, lease: Lease, asked_s: float) -> None:
        LEASE_EVENTS.labels("acquired").inc()
        unit, claim = self._units[lease.unit], Claim(self._leases, lease)
        worker = self._worker(unit, claim)
        job = self._jobs[lease.unit] = Job(unit, claim, worker, asked_s + self._limits.ttl_s, _now_s())
        job.task = self._group.create_task(self._work(job))
        self._group.create_task(self._see_off(job, job.task))
        LEASES_HELD.set(len(self._jobs))

    async def _work(self, job: Job) -> Left | None:
        try:
            return await job.worker.run(job.stop)
        except Exception:  # noqa: BLE001  # whatever it was, the other workers go on
            log.exception("a worker failed", shard=job.name)
            LEASE_EVENTS.labels("failed").inc()
            self._avoid(job.name)
            return None

    async def _see_off(self, job: Job, task: asyncio.Task[Left | None]) -> None:
        await asyncio.wait([task])
        left = None if task.cancelled() else task.result()
        if left is not None and left.ending is Ending.ENDED:
            await self._end(job, left)
        if left is not None and left.ending is Ending.FENCED:
            LEASE_EVENTS.labels("fenced").inc()
        if not job.lost:
            await self._outlive("release", lambda: self._in_time(self._leases.release(job.claim.lease)))
        del self._jobs[job.name]
        LEASES_HELD.set(len(self._jobs))
        _report_gone(job)

    async def _end(self, job: Job, left: Left) -> None:
        """Say so until it is heard, or the lease is lost; whoever has it then comes to the same end."""
        while not job.lost and _now_s() < job.stop_by_s:
            try:
                await self._in_time(self._leases.end(job.claim.lease, left.position))
            except Fenced:
                return
            except Unavailable:
                await asyncio.sleep(self._turn_s)
            else:
                self._make_room()
                return

    def _make_room(self) -> None:
        """A unit ended: there may be new ones behind it, and one less to be shared."""
        LEASE_EVENTS.labels("ended").inc()
        if self._beat is not None:
            self._beat = self._beat._replace(open_units=self._beat.open_units - 1)
        self._met_s = -math.inf
        self._look_now.set()

    async def _in_time(self, answer: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(self._limits.ttl_s / 4):
                return await answer
        except TimeoutError as error:
            raise Unavailable("the leases do not answer in time") from error

    async def _outlive(self, step: str, attempt: Callable[[], Awaitable[None]]) -> None:
        """The crew goes on, whatever fails; once is enough to say that it does."""
        try:
            await attempt()
        except PenstockError as error:
            if step not in self._failing:
                log.warning("the crew cannot do its part for now", step=step, code=error.code, detail=str(error))
            self._failing.add(step)
        except Exception:  # noqa: BLE001  # the crew's loops outlive everything, as the workers' do
            log.exception("the crew goes on after an unexpected error", step=step)
        else:
            self._failing.discard(step)


def _report(job: Job, retention_s: float) -> None:
    behind_s = job.behind_ms / 1_000
    BEHIND.labels(job.name).set(behind_s)
    RETENTION_LEFT.labels(job.name).set(retention_s - behind_s)
    if behind_s > retention_s / 2 and _now_s() - job.warned_s > AGAIN_S:
        job.warned_s = _now_s()
        log.warning("retention_running_out", shard=job.name, behind_s=behind_s, left_s=retention_s - behind_s)


def _report_gone(job: Job) -> None:
    """Someone else knows better from now on. Series of gauges shared by several processes cannot be taken back."""
    for gauge in (BEHIND, RETENTION_LEFT):
        gauge.labels(job.name).set(math.nan)


async def _pause(until: asyncio.Event, seconds: float) -> None:
    await within(seconds, until)
    until.clear()


def _now_s() -> float:
    """The event loop's own clock: it never jumps."""
    return asyncio.get_running_loop().time()
