"""Join the entries of a flush into one set of columns, in the worker's own terms."""

from collections.abc import Mapping, Sequence
from itertools import repeat
from typing import Literal, NamedTuple

import numpy as np

from penstock.model.batch import NO_TEXT, Int32s
from penstock.process.columns import Columns
from penstock.process.tags import TagTable
from penstock.stream.port import Entry

NO_SLOT = -1
"""A path that has no tag: registering is forbidden, or there is no room."""
NO_ROOM = -2
"""A state text that cannot be registered any more."""

Texts = Literal["paths", "states", "units"]
Indices = Literal["tag", "state", "unit"]


class Intake(NamedTuple):
    """All readings of a flush, and beside them the unit each was sent with (an index into `units`)."""

    columns: Columns
    unit: Int32s
    units: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Every path and state text was known."""
        columns = self.columns
        return not len(columns) or bool(columns.slot.min() > NO_SLOT and columns.state.min() > NO_ROOM)


def join(entries: Sequence[Entry], tags: TagTable, states: Mapping[str, int]) -> Intake:
    """One Columns of all entries, in order of arrival. What is not known becomes NO_SLOT or NO_ROOM."""
    parts = [entry.batch for entry in entries]
    units = tuple(dict.fromkeys(unit for part in parts for unit in part.units))
    unit_numbers = {unit: number for number, unit in enumerate(units)}
    columns = Columns(
        slot=_numbers(entries, "paths", "tag", tags.slot_of, NO_SLOT),
        ts=np.concatenate([part.ts for part in parts]),
        value=np.concatenate([part.value for part in parts]),
        state=_numbers(entries, "states", "state", states, NO_ROOM),
        quality=np.concatenate([part.quality for part in parts]),
        seq=np.concatenate([part.seq for part in parts]),
        entry=np.repeat(np.arange(len(parts), dtype=np.int32), [len(part) for part in parts]),
        index=np.concatenate([part.index for part in parts]),
    )
    return Intake(columns, _numbers(entries, "units", "unit", unit_numbers, NO_TEXT), units)


def unknown_texts(entries: Sequence[Entry], texts: Texts, indices: Indices, known: Mapping[str, int]) -> list[str]:
    """Texts that readings use and *known* has no number for, in order of appearance, each once.

    A batch may name texts that none of its readings use (those went another way); they are none of our business.
    """
    unknown: dict[str, None] = {}
    for entry in entries:
        own: tuple[str, ...] = getattr(entry.batch, texts)
        if any(text not in known for text in own):
            column: Int32s = getattr(entry.batch, indices)
            used = np.unique(column[column != NO_TEXT])
            unknown.update((own[i], None) for i in used.tolist() if own[i] not in known)
    return list(unknown)


def _numbers(
    entries: Sequence[Entry], texts: Texts, indices: Indices, known: Mapping[str, int], otherwise: int
) -> Int32s:
    """The batches' own indices turned into numbers that hold for all of them; NO_TEXT stays."""
    out = []
    for entry in entries:
        own: tuple[str, ...] = getattr(entry.batch, texts)
        column: Int32s = getattr(entry.batch, indices)
        if own:
            # the last place is for NO_TEXT, which as an index means just that
            numbers = np.full(len(own) + 1, NO_TEXT, np.int32)
            numbers[:-1] = np.fromiter(map(known.get, own, repeat(otherwise)), np.int32, len(own))
            column = numbers[column]
        out.append(column)
    return np.concatenate(out)
