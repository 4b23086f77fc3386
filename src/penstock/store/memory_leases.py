"""The leases that live as long as their process: the twin of PostgreSQL's, over the epochs of `MemoryHistory`."""

import math
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from penstock.errors import Fenced
from penstock.model.batch import Lane
from penstock.model.shard import Shard
from penstock.store.memory import MemoryHistory
from penstock.store.port import Beat, Behind, Lease, LeaseState, Span, Terms

LOST_AFTER_S: Final = 60.0


@dataclass(slots=True, eq=False)
class _Unit:
    """What a row of `lease` and its row of `shard` say."""

    shard: Shard
    named_at_s: float
    owner: str | None = None
    epoch: int = 0
    expires_at_s: float = -math.inf
    wanted_by: str | None = None
    behind_ms: int | None = None
    ended: bool = False
    lost: bool = False

    @property
    def name(self) -> str:
        return self.shard.name

    @property
    def critical(self) -> bool:
        return self.shard.lane == Lane.CRITICAL

    @property
    def holder(self) -> str | None:
        """Who is to have it: units that are asked for count as the asker's."""
        return self.wanted_by or self.owner

    def is_of(self, lease: Lease) -> bool:
        """Whether the lease, or a newer one of its owner, holds."""
        return self.owner == lease.owner and self.epoch >= lease.epochs[lease.unit]


class MemoryLeases:
    """Keeps `Leases`, of one or several streams. No method gives way to another before it is done."""

    def __init__(
        self,
        history: MemoryHistory,
        now_s: Callable[[], float] = time.monotonic,
        *,
        lost_after_s: float = LOST_AFTER_S,
    ) -> None:
        self._history, self._now_s, self._lost_after_s = history, now_s, lost_after_s
        self._units: dict[tuple[str, str], _Unit] = {}
        self._seen_at_s: dict[tuple[str, str], float] = {}
        self._terms: dict[str, Terms] = {}

    async def meet(self, stream: str, shards: Sequence[Shard]) -> Sequence[str]:
        now_s = self._now_s()
        for shard in shards:
            self._units.setdefault((stream, shard.name), _Unit(shard, now_s)).named_at_s = now_s
        gone = [unit for unit in self._open(stream) if shards and unit.named_at_s <= now_s - self._lost_after_s]
        for unit in gone:
            unit.ended = unit.lost = True
            await self._history.claim(stream, [unit.name], "")
        return [unit.name for unit in gone]

    async def beat(self, stream: str, owner: str, ttl_s: float, held: Mapping[str, tuple[int, Behind]]) -> Beat:
        self._seen_at_s[stream, owner] = now_s = self._now_s()
        alive = {who for (of, who), at_s in self._seen_at_s.items() if of == stream and at_s > now_s - ttl_s}
        kept = [
            unit
            for unit in self._open(stream)
            if unit.name in held and unit.owner == owner and unit.epoch >= held[unit.name][0]
        ]
        for unit in kept:
            unit.expires_at_s, unit.behind_ms = now_s + ttl_s, held[unit.name][1].behind_ms
            unit.wanted_by = unit.wanted_by if unit.wanted_by in alive else None
        wanted = frozenset(unit.name for unit in kept if unit.wanted_by is not None)
        return Beat(frozenset(unit.name for unit in kept), wanted, len(alive), len(self._open(stream)))

    async def acquire(
        self, stream: str, owner: str, ttl_s: float, avoid: Collection[str] = (), idle_s: float = 0.0
    ) -> Lease | None:
        now_s = self._now_s()
        free = [
            unit
            for unit in self._open(stream)
            if unit.name not in avoid
            and _is_free(unit, owner, now_s, ttl_s, idle_s)
            and not self._has_open_parents(stream, unit)
        ]
        if not free:
            return None
        mine = Counter(unit.shard.lane for unit in self._held(stream) if unit.owner == owner)
        everyones = Counter(unit.shard.lane for unit in self._open(stream))

        def rank(unit: _Unit) -> tuple[bool, float, bool, str]:
            lane = unit.shard.lane
            return unit.wanted_by != owner, mine[lane] / everyones[lane], not unit.critical, unit.name

        unit = min(free, key=rank)
        unit.owner, unit.expires_at_s, unit.wanted_by, unit.behind_ms = owner, now_s + ttl_s, None, None
        return await self._lease(stream, unit)

    async def renew(self, lease: Lease) -> Lease:
        unit = self._units[lease.stream, lease.unit]
        if unit.ended or not unit.is_of(lease):
            raise Fenced
        return await self._lease(lease.stream, unit)

    async def want(self, stream: str, owner: str, share: int, avoid: Collection[str] = ()) -> bool:
        held = self._held(stream)
        units = Counter(unit.holder for unit in held)
        critical = Counter(unit.holder for unit in held if unit.critical)
        share = max(share, units[owner] + 1)

        def rank(unit: _Unit) -> tuple[bool, int, str, int, bool, str]:
            whose = unit.owner
            more = critical[whose] - critical[owner]
            more = more if unit.critical else units[whose] - units[owner] - more
            return units[whose] <= share, -units[whose], whose or "", -more, not unit.critical, unit.name

        others = (unit for unit in held if unit.wanted_by is None and unit.owner != owner and unit.name not in avoid)
        chosen = [
            unit
            for unit in others
            if units[unit.owner] > share or (unit.critical and critical[unit.owner] > critical[owner] + 1)
        ]
        if chosen:
            min(chosen, key=rank).wanted_by = owner
        return bool(chosen)

    async def release(self, lease: Lease) -> None:
        unit = self._units[lease.stream, lease.unit]
        if unit.is_of(lease):
            unit.owner, unit.expires_at_s = None, self._now_s()

    async def end(self, lease: Lease, position: int) -> None:
        counted = self._history.checkpoint(lease.stream, lease.unit).counted
        async with self._history.flush(lease, Span(lease.unit, position, position, counted, 0)):
            pass  # it has the fence that is needed
        unit = self._units[lease.stream, lease.unit]
        unit.ended, unit.owner, unit.wanted_by, unit.behind_ms = True, None, None, None

    async def leave(self, stream: str, owner: str) -> None:
        self._seen_at_s.pop((stream, owner), None)
        for unit in self._held(stream):
            unit.wanted_by = None if unit.wanted_by == owner else unit.wanted_by

    async def declare(self, stream: str, terms: Terms) -> None:
        self._terms[stream] = terms

    async def terms(self, stream: str) -> Terms | None:
        return self._terms.get(stream)

    async def states(self, stream: str) -> Sequence[LeaseState]:
        units = [unit for (of, _), unit in self._units.items() if of == stream]
        return [self._state(stream, unit) for unit in sorted(units, key=lambda unit: (not unit.critical, unit.name))]

    def _open(self, stream: str) -> list[_Unit]:
        return [unit for (of, _), unit in self._units.items() if of == stream and not unit.ended]

    def _held(self, stream: str) -> list[_Unit]:
        now_s = self._now_s()
        return [unit for unit in self._open(stream) if unit.owner is not None and unit.expires_at_s > now_s]

    def _has_open_parents(self, stream: str, unit: _Unit) -> bool:
        parents = (self._units.get((stream, parent)) for parent in unit.shard.parents)
        return any(parent is not None and not parent.ended for parent in parents)

    async def _lease(self, stream: str, unit: _Unit) -> Lease:
        lease = await self._history.claim(stream, [unit.name], unit.owner or "")
        unit.epoch = lease.epochs[unit.name]
        return lease._replace(unit=unit.name)

    def _state(self, stream: str, unit: _Unit) -> LeaseState:
        return LeaseState(
            unit.name, unit.shard.lane, unit.shard.slices, unit.shard.parents, unit.owner, unit.epoch,
            self._history.checkpoint(stream, unit.name).position, unit.behind_ms,
            None if unit.owner is None else unit.expires_at_s - self._now_s(), unit.wanted_by, unit.ended, unit.lost,
        )  # fmt: skip


def _is_free(unit: _Unit, owner: str, now_s: float, ttl_s: float, idle_s: float) -> bool:
    """What was given up for another is left to it for half the time that a lease lasts."""
    left_to_us = unit.wanted_by in {None, owner} or unit.expires_at_s <= now_s - ttl_s / 2
    return left_to_us and unit.expires_at_s <= now_s - idle_s and (not idle_s or unit.expires_at_s > -math.inf)
