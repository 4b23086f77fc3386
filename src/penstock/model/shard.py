"""A stream's parts, and what is worked on as one."""

from typing import Final, NamedTuple

from penstock.model.batch import Lane
from penstock.model.slices import SLICES, slice_of

ALL: Final = "all"
"""The unit of a stream whose shards all belong together."""


class Shard(NamedTuple):
    """A part of the stream with an order of its own."""

    name: str
    lane: Lane | None = None
    """All its entries travel in this lane; None: in both."""
    parents: tuple[str, ...] = ()
    """Shards that must be worked to their end first."""
    slices: range | None = None
    """The slices of tags that land here; None: all."""


class Unit(NamedTuple):
    """Shards that share their tags: whoever works on one works on all. The most urgent first."""

    name: str
    shards: tuple[Shard, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(shard.name for shard in self.shards)

    @property
    def parents(self) -> tuple[str, ...]:
        """The units that came before."""
        return tuple(parent for shard in self.shards for parent in shard.parents)

    @property
    def belts(self) -> tuple[int, ...]:
        """Where producers put what is ours: slices of the bulk lane, and SLICES further on those of the critical."""
        return tuple(
            first + number
            for shard in self.shards
            for lane, first in ((Lane.BULK, 0), (Lane.CRITICAL, SLICES))
            if shard.lane in {None, lane}
            for number in (range(SLICES) if shard.slices is None else shard.slices)
        )

    def owns(self, path: str, *, critical: bool) -> bool:
        """Whether the tag's readings are stored by who holds this unit, and by nobody else."""
        lane = Lane.CRITICAL if critical else Lane.BULK
        return self.name == ALL or any(
            shard.lane in {None, lane} and (shard.slices is None or slice_of(path) in shard.slices)
            for shard in self.shards
        )
