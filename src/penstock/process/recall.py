"""Begin where the last holder stopped: claim the lease, load what is known, let the detectors catch up."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from penstock.model.batch import Mask
from penstock.process.columns import Columns
from penstock.process.dedupe import Watermarks
from penstock.process.detect.port import Detector
from penstock.process.holding import Holding, Snapshots
from penstock.process.intake import join
from penstock.process.order import by_slot, order_of
from penstock.process.tags import TagTable
from penstock.store.port import History
from penstock.stream.port import Entry, Stream
from penstock.telemetry import log


@dataclass(frozen=True, slots=True)
class Recall:
    """Detectors see again, flush by flush as they were committed, what came after their snapshot."""

    stream: Stream
    history: History
    snapshots: Snapshots
    detector: Callable[[TagTable], Detector[Any]]
    readings_max: int

    async def __call__(self, owner: str) -> Holding:
        """Whoever held the lease before is fenced from here on."""
        lease = await self.history.claim(self.stream.identity, self.stream.shards, owner)
        version, tags = await self.history.tags()
        table = TagTable(sorted(tags, key=lambda tag: tag.tag_id))
        table.version = version
        holding = Holding(
            lease=lease,
            tags=table,
            states=dict(await self.history.state_texts()),
            watermarks=await self._watermarks(table),
            detector=self.detector(table),
            positions={shard: at.position for shard, at in lease.checkpoints.items()},
            counted={shard: at.counted for shard, at in lease.checkpoints.items()},
        )
        await self._catch_up(holding)
        return holding

    async def _watermarks(self, tags: TagTable) -> Watermarks:
        tag_ids, ts = await self.history.watermarks()
        own = tags.tag_id[: len(tags)]  # sorted: the table was made so
        watermarks = Watermarks()
        watermarks.remember(np.searchsorted(own, tag_ids).astype(np.int32), ts)
        return watermarks

    async def _catch_up(self, holding: Holding) -> None:
        positions, state = await self.snapshots.load(holding.lease.stream) or ({}, b"")
        if positions:
            holding.detector.restore(state)
        for shard, checkpoint in holding.positions.items():
            lo = positions.get(shard, 0)
            if lo < checkpoint:
                await self._replay(holding, shard, lo, checkpoint)

    async def _replay(self, holding: Holding, shard: str, lo: int, hi: int) -> None:
        stream, missing = holding.lease.stream, 0
        unstored = await self.snapshots.unstored(stream, shard, lo, hi)
        for end, readings in await self.snapshots.committed(stream, shard, lo, hi):
            entries = await self._entries(shard, lo, end)
            missing += readings - sum(len(entry.batch) for entry in entries)
            if entries:
                self._relearn(holding, entries, unstored)
                holding.received_us[shard] = entries[-1].received_us
            lo = end
        if missing:
            log.warning(
                "detectors go on without readings that the stream no longer keeps", shard=shard, missing=missing
            )

    async def _entries(self, shard: str, lo: int, hi: int) -> list[Entry]:
        """What the stream still keeps of lo < position <= hi."""
        entries: list[Entry] = []
        while lo < hi:
            taken = [entry for entry in await self.stream.take(shard, lo, self.readings_max) if entry.position <= hi]
            if not taken:
                break
            entries += taken
            lo = taken[-1].position
        return entries

    def _relearn(self, holding: Holding, entries: Sequence[Entry], unstored: Mapping[int, Sequence[int]]) -> None:
        columns = join(entries, holding.tags, holding.states).columns
        columns = columns.pick(_was_stored(columns, entries, unstored))
        columns = columns.pick(order_of(holding.tags.tag_id[columns.slot], columns.ts, columns.seq))
        verdict = holding.detector.run(by_slot(columns), entries[-1].received_us)
        holding.detector.remember(verdict.next)


def _was_stored(columns: Columns, entries: Sequence[Entry], unstored: Mapping[int, Sequence[int]]) -> Mask:
    stored = columns.slot >= 0
    for number, entry in enumerate(entries):
        if entry.position in unstored:
            stored &= ~((columns.entry == number) & np.isin(columns.index, unstored[entry.position]))
    return stored
