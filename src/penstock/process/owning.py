"""Whose tags are whose: one tag is stored by one holder, so what reaches another is sent on to it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from penstock.errors import PenstockError
from penstock.model.batch import Lane, Mask, ReadingBatch
from penstock.model.shard import Unit
from penstock.model.tag import Criticality, Tag
from penstock.process.tags import TagTable
from penstock.stream.port import Entry


class Reassigned(PenstockError):
    """A tag came to this unit, or left it: what is held of it must be learned anew."""

    code = "reassigned"


def owns(unit: Unit, tag: Tag) -> bool:
    """Whether the tag is *unit*'s, as it is configured."""
    return unit.owns(tag.path, critical=tag.config.criticality is Criticality.CRITICAL)


def take_over(unit: Unit, table: TagTable, elsewhere: set[int], changed: Iterable[Tag]) -> None:
    """Put changes of the registry where they belong.

    Raises Reassigned when a tag that has readings changed its owner: its watermark and its detectors are not here.
    """
    ours = []
    for tag in changed:
        mine, known = owns(unit, tag), tag.path in table.slot_of
        if mine != known and (known or tag.holds is not None):
            raise Reassigned(f"a tag changed its lane, and with it its owner: {tag.path}")
        if mine:
            ours.append(tag)
        else:
            elsewhere.add(tag.tag_id)
    table.put(ours)


class Strays(NamedTuple):
    """Readings of other owners' tags: by entry where they are, and by lane where they belong."""

    masks: Sequence[Mask]
    batches: Sequence[Mapping[Lane, ReadingBatch]]


def strays_of(entries: Sequence[Entry], elsewhere: Mapping[str, Lane]) -> Strays:
    """Readings of the paths *elsewhere*."""
    batches = [entry.batch for entry in entries]
    masks = [np.array([path in elsewhere for path in batch.paths], np.bool_)[batch.tag] for batch in batches]
    return Strays(masks, [_by_lane(batch, elsewhere) for batch, mask in zip(batches, masks, strict=True) if mask.any()])


def _by_lane(batch: ReadingBatch, elsewhere: Mapping[str, Lane]) -> dict[Lane, ReadingBatch]:
    lanes = np.array([str(elsewhere.get(path, "")) for path in batch.paths])[batch.tag]
    return {lane: batch.pick(lanes == lane.value) for lane in Lane if (lanes == lane.value).any()}
