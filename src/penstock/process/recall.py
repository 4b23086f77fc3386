"""Begin where the last holder stopped: load what is known, let the detectors catch up."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from penstock.model.batch import Mask
from penstock.model.shard import ALL, Unit
from penstock.process.arrivals import readings_of
from penstock.process.columns import Columns
from penstock.process.dedupe import Watermarks
from penstock.process.detect.port import Detector
from penstock.process.holding import Holding, Snapshots
from penstock.process.intake import join
from penstock.process.order import by_slot, order_of
from penstock.process.owning import Elsewhere, owns
from penstock.process.tags import TagTable
from penstock.store.port import Committed, History, Lease
from penstock.stream.port import Entry, Stream
from penstock.telemetry import log

PATIENCE: Final = 20
"""Waits of half a second for entries that a shared stream was asked to give again."""


@dataclass(frozen=True, slots=True)
class Recall:
    """Detectors see again, flush by flush as they were committed, what came after their snapshot."""

    unit: Unit
    stream: Stream
    history: History
    snapshots: Snapshots
    detector: Callable[[TagTable], Detector[Any]]
    readings_max: int
    progressed: Callable[[], None] = lambda: None
    """Told of every step: a long replay is not a worker that is stuck."""

    async def __call__(self, lease: Lease) -> Holding:
        """Whoever held the lease before is fenced already: what is read here does not change under us."""
        version, tags = await self.history.tags()
        ours = [tag for tag in tags if owns(self.unit, tag)]
        table = TagTable(sorted(ours, key=lambda tag: tag.tag_id))
        table.version = version
        holding = Holding(
            unit=self.unit,
            lease=lease,
            tags=table,
            elsewhere=Elsewhere(tag for tag in tags if not owns(self.unit, tag)),
            states=dict(await self.history.state_texts()),
            watermarks=await self._watermarks(table),
            detector=self.detector(table),
            positions={shard: at.position for shard, at in lease.checkpoints.items()},
            counted={shard: at.counted for shard, at in lease.checkpoints.items()},
            seen={} if self.unit.name == ALL else dict(await self.history.counted(lease.stream, self.unit.belts)),
        )
        await self._catch_up(holding)
        return holding

    async def _watermarks(self, tags: TagTable) -> Watermarks:
        tag_ids, ts = await self.history.watermarks()
        own = tags.tag_id[: len(tags)]  # sorted: the table was made so
        ours = np.isin(tag_ids, own)
        watermarks = Watermarks()
        watermarks.remember(np.searchsorted(own, tag_ids[ours]).astype(np.int32), ts[ours])
        return watermarks

    async def _catch_up(self, holding: Holding) -> None:
        positions = await self._restore(holding)
        for shard, checkpoint in holding.positions.items():
            lo = positions.get(shard, 0)
            if lo < checkpoint:
                await self._replay(holding, shard, lo, checkpoint)

    async def _restore(self, holding: Holding) -> Mapping[str, int]:
        """From the unit's own snapshot, or those that its parents left at their end; tags not ours are left out."""
        stream = holding.lease.stream
        own = await self.snapshots.load(stream, self.unit.name)
        if own is not None:
            holding.detector.restore(own[1])
            return own[0]
        for parent in self.unit.parents:
            left = await self.snapshots.load(stream, parent)
            if left is not None:
                holding.detector.restore(left[1])
        return {}

    async def _replay(self, holding: Holding, shard: str, lo: int, hi: int) -> None:
        stream, missing = holding.lease.stream, 0
        unstored = await self.snapshots.unstored(stream, shard, lo, hi)
        for flush in await self.snapshots.committed(stream, shard, lo, hi):
            entries = await self._entries(shard, lo, flush, 1 if missing else PATIENCE)
            missing += flush.readings - sum(map(readings_of, entries))
            if entries:
                await asyncio.sleep(0)  # hundreds of flushes may be at hand; heartbeats must not wait for all of them
                self._relearn(holding, entries, unstored)
                holding.received_us[shard] = entries[-1].received_us
            self.progressed()
            lo = flush.position
        if missing:
            log.warning(
                "detectors go on without readings that the stream no longer keeps", shard=shard, missing=missing
            )

    async def _entries(self, shard: str, lo: int, flush: Committed, patience: int) -> list[Entry]:
        """What the stream still keeps of the flush's entries after position *lo*, without those passed over."""
        entries: list[Entry] = []
        while lo < flush.position:
            room = flush.readings - sum(map(readings_of, entries))
            taken = await self._take(shard, lo, min(max(room, 1), self.readings_max), patience)
            kept = [entry for entry in taken if entry.position <= flush.position]
            entries += (entry for entry in kept if entry.position not in flush.repeated)
            if not kept:
                break
            lo = kept[-1].position
        return entries

    async def _take(self, shard: str, after: int, readings_max: int, patience: int) -> Sequence[Entry]:
        """A local stream has at once what it has; a shared one has to be waited for."""
        for _ in range(1 if self.unit.name == ALL else patience):
            taken = await self.stream.take(shard, after, readings_max)
            if taken or self.unit.name == ALL or self.stream.ended(shard):
                return taken
            await self.stream.wait(0.5, [shard])
        return ()

    def _relearn(self, holding: Holding, entries: Sequence[Entry], unstored: Mapping[int, Sequence[int]]) -> None:
        """As it was learned. What was given up as a whole is not looked at: looking may be what failed."""
        now_us = entries[-1].received_us
        entries = [entry for entry in entries if len(unstored.get(entry.position, ())) < readings_of(entry)]
        if not entries:
            return
        columns = join(entries, holding.tags, holding.states).columns
        columns = columns.pick(_was_stored(columns, entries, unstored))
        columns = columns.pick(order_of(holding.tags.tag_id[columns.slot], columns.ts, columns.seq))
        holding.detector.remember(holding.detector.run(by_slot(columns), now_us).next)


def _was_stored(columns: Columns, entries: Sequence[Entry], unstored: Mapping[int, Sequence[int]]) -> Mask:
    stored = columns.slot >= 0
    for number, entry in enumerate(entries):
        if entry.position in unstored:
            stored &= ~((columns.entry == number) & np.isin(columns.index, unstored[entry.position]))
    return stored
