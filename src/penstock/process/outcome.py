"""What became of a flush's readings: every one that went in is named here exactly once."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from penstock.errors import PenstockError
from penstock.process.columns import Columns
from penstock.store.port import Fates
from penstock.stream.port import Entry

MINUTE_US: Final = 60_000_000
_ODD: Final = np.uint64(0x9E37_79B9_7F4A_7C15)


class Unaccounted(PenstockError):
    """A step lost or invented readings; nothing of this flush may be committed."""

    code = "unaccounted"


@dataclass(slots=True, eq=False)
class Outcome:
    """Fates gathered along the steps. `quarantined` pairs a reason with the readings it holds back."""

    came: Columns
    stored: Columns | None = None
    late: Columns | None = None
    """Those of the stored that were older than their tag's watermark."""
    duplicates: list[Columns] = field(default_factory=list)
    conflicts: list[Columns] = field(default_factory=list)
    quarantined: list[tuple[str, Columns]] = field(default_factory=list)
    moved: list[Columns] = field(default_factory=list)
    """Sent on to the unit that owns their tag."""

    @property
    def readings(self) -> int:
        return len(self.came)

    def hold(self, reason: str, readings: Columns) -> None:
        if len(readings):
            self.quarantined.append((reason, readings))

    def check(self) -> None:
        """Raise Unaccounted unless each reading has one fate."""
        parts = [*self.moved, *self.duplicates, *self.conflicts, *(columns for _, columns in self.quarantined)]
        parts += [self.stored] if self.stored is not None else []
        named = sum(map(len, parts))
        if named != self.readings:
            raise Unaccounted(f"{self.readings} readings went in, {named} came out")
        if sum(map(_fingerprint, parts)) % 2**64 != _fingerprint(self.came):
            raise Unaccounted("the readings that came out are not those that went in")


def _fingerprint(columns: Columns) -> int:
    """A sum over scrambled places (entry, index), the same in any order: a lost and a repeated reading show."""
    places = (columns.entry.astype(np.uint64) << np.uint64(32)) | columns.index.astype(np.uint64)
    places *= _ODD
    places ^= places >> np.uint64(29)
    places *= _ODD
    return int(places.sum())


def fates_of(outcome: Outcome, entries: Sequence[Entry]) -> dict[int, Fates]:
    """Counts by the minute in which the readings were received (its start, microseconds since 1970)."""
    assert outcome.stored is not None
    parts = {
        "stored": [outcome.stored],
        "duplicate": outcome.duplicates,
        "conflict": outcome.conflicts,
        "quarantined": [columns for _, columns in outcome.quarantined],
        "late": [outcome.late] if outcome.late is not None else [],
        "moved": outcome.moved,
    }
    per_entry = {fate: _per_entry(columns, len(entries)) for fate, columns in parts.items()}
    per_entry["quarantined"] += [len(entry.poison) for entry in entries]
    minute = np.array([entry.received_us // MINUTE_US * MINUTE_US for entry in entries])
    return {
        at: Fates(**{fate: int(count[minute == at].sum()) for fate, count in per_entry.items()})
        for at in dict.fromkeys(minute.tolist())
    }


def _per_entry(parts: Sequence[Columns], entries: int) -> NDArray[np.intp]:
    """How many readings of *parts* each entry brought."""
    count = np.zeros(entries, np.intp)
    for part in parts:
        count += np.bincount(part.entry, minlength=entries)
    return count
