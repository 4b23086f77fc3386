"""Whose tags are whose: one tag is stored by one holder, so what reaches another is sent on to it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from penstock.errors import PenstockError
from penstock.model.batch import NO_TEXT, Int32s, Lane, Mask, ReadingBatch, batch_of
from penstock.model.shard import ALL, Unit
from penstock.model.tag import Criticality, Tag
from penstock.process.tags import TagTable
from penstock.stream.port import Entry


class Reassigned(PenstockError):
    """A tag came to this unit, or left it: what is held of it must be learned anew."""

    code = "reassigned"


def owns(unit: Unit, tag: Tag) -> bool:
    """Whether the tag is *unit*'s, as it is configured."""
    return unit.owns(tag.path, critical=_is_critical(tag))


class Elsewhere:
    """The tags that other units own."""

    def __init__(self, tags: Iterable[Tag] = ()) -> None:
        self.ids: set[int] = set()
        self.critical: set[str] = set()
        """Paths of those that travel in the critical lane."""
        for tag in tags:
            self.put(tag)

    def put(self, tag: Tag) -> None:
        """Add a tag, or take over what changed."""
        self.ids.add(tag.tag_id)
        (self.critical.add if _is_critical(tag) else self.critical.discard)(tag.path)

    def lane_of(self, path: str) -> Lane:
        """Where its owner takes it; whoever is not known to be critical is not."""
        return Lane.CRITICAL if path in self.critical else Lane.BULK


def take_over(unit: Unit, table: TagTable, elsewhere: Elsewhere, changed: Iterable[Tag]) -> None:
    """Put changes of the registry where they belong.

    Raises Reassigned when a tag changed its owner: its watermark and its detectors are not here. A tag that comes
    new from the registry had another owner too, for only owners register; that nothing is stored of it, nothing says.
    """
    ours = []
    for tag in changed:
        mine, known = owns(unit, tag), tag.path in table.slot_of
        if mine != known and unit.name != ALL:
            raise Reassigned(f"a tag changed its lane, and with it its owner: {tag.path}")
        if mine:
            ours.append(tag)
        else:
            elsewhere.put(tag)
    table.put(ours)


class Strays(NamedTuple):
    """Readings of other owners' tags: where they are among the flush's, and by lane all of them."""

    where: Mask
    lanes: Mapping[Lane, ReadingBatch]


def strays_of(entries: Sequence[Entry], elsewhere: Mapping[str, Lane]) -> Strays:
    """Readings of the paths *elsewhere*, in order of arrival."""
    batches = [entry.batch for entry in entries]
    lanes = [np.array([str(elsewhere.get(path, "")) for path in one.paths], np.str_)[one.tag] for one in batches]
    parts = {lane: [one.pick(of == lane.value) for one, of in zip(batches, lanes, strict=True)] for lane in Lane}
    return Strays(
        np.concatenate(lanes) != "",
        {lane: _as_one([part for part in each if len(part)]) for lane, each in parts.items() if any(map(len, each))},
    )


def _as_one(parts: Sequence[ReadingBatch]) -> ReadingBatch:
    """Readings of several batches in a row, with places and texts of their own."""
    paths, tag = _respelled([(part.paths, part.tag) for part in parts])
    states, state = _respelled([(part.states, part.state) for part in parts])
    units, unit = _respelled([(part.units, part.unit) for part in parts])
    ts, value, quality, seq = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("ts", "value", "quality", "seq")
    )
    return batch_of(paths, tag, ts, value, states=states, state=state, quality=quality, seq=seq, units=units, unit=unit)


def _respelled(spelled: Iterable[tuple[Sequence[str], Int32s]]) -> tuple[Sequence[str], Int32s]:
    """One table of texts for all, and the readings' places in it. Texts that no reading uses are left out."""
    numbers: dict[str, int] = {}
    codes = []
    for texts, column in spelled:
        used = dict.fromkeys(column[column != NO_TEXT].tolist())
        places = np.full(len(texts) + 1, NO_TEXT, np.int32)
        places[list(used)] = [numbers.setdefault(texts[place], len(numbers)) for place in used]
        codes.append(places[column])
    return tuple(numbers), np.concatenate(codes)


def _is_critical(tag: Tag) -> bool:
    return tag.config.criticality is Criticality.CRITICAL
