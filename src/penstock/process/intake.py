"""Join the entries of a flush into one set of columns, in the worker's own terms."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from penstock.model.batch import NO_TEXT, Int32s, ReadingBatch
from penstock.process.columns import Columns
from penstock.process.tags import TagTable
from penstock.stream.port import Entry

NO_SLOT = -1
"""A path that has no tag: registering is forbidden, or there is no room."""
NO_ROOM = -2
"""A state text that cannot be registered any more."""


class Intake(NamedTuple):
    """All readings of a flush, and beside them the unit each was sent with (an index into `units`)."""

    columns: Columns
    unit: Int32s
    units: tuple[str, ...]


def unknown_paths(entries: Sequence[Entry], tags: TagTable) -> list[str]:
    """Paths without a tag, in order of appearance, each once."""
    known = tags.slot_of
    seen = (path for entry in entries for path in entry.batch.paths if path not in known)
    return list(dict.fromkeys(seen))


def unknown_states(entries: Sequence[Entry], states: Mapping[str, int]) -> list[str]:
    """State texts without an id, in order of appearance, each once."""
    seen = (text for entry in entries for text in entry.batch.states if text not in states)
    return list(dict.fromkeys(seen))


def join(entries: Sequence[Entry], tags: TagTable, states: Mapping[str, int]) -> Intake:
    """One Columns of all entries, in order of arrival. What is not known becomes NO_SLOT or NO_ROOM."""
    units: dict[str, int] = {}
    parts = [entry.batch for entry in entries]
    columns = Columns(
        slot=_texts(parts, "paths", "tag", lambda path: tags.slot_of.get(path, NO_SLOT)),
        ts=np.concatenate([part.ts for part in parts]),
        value=np.concatenate([part.value for part in parts]),
        state=_texts(parts, "states", "state", lambda text: states.get(text, NO_ROOM)),
        quality=np.concatenate([part.quality for part in parts]),
        seq=np.concatenate([part.seq for part in parts]),
        entry=np.repeat(np.arange(len(parts), dtype=np.int32), [len(part) for part in parts]),
        index=np.concatenate([part.index for part in parts]),
    )
    unit = _texts(parts, "units", "unit", lambda text: units.setdefault(text, len(units)))
    return Intake(columns, unit, tuple(units))


def _texts(parts: Sequence[ReadingBatch], texts: str, column: str, number: Callable[[str], int]) -> Int32s:
    """The batches' own indices turned into numbers that hold for all of them; NO_TEXT stays."""
    out = []
    for part in parts:
        own: tuple[str, ...] = getattr(part, texts)
        indices: Int32s = getattr(part, column)
        if not own:
            out.append(indices)
            continue
        numbers = np.fromiter(map(number, own), np.int32, len(own))
        out.append(np.where(indices == NO_TEXT, np.int32(NO_TEXT), numbers[indices]))
    return np.concatenate(out)
