"""What became of a flush's readings: every one that went in is named here exactly once."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from penstock.errors import PenstockError
from penstock.process.columns import Columns


class Unaccounted(PenstockError):
    """A step lost or invented readings; nothing of this flush may be committed."""

    code = "unaccounted"


@dataclass(slots=True, eq=False)
class Outcome:
    """Fates gathered along the steps. `quarantined` pairs a reason with the readings it holds back."""

    readings: int
    stored: Columns | None = None
    late: int = 0
    duplicates: list[Columns] = field(default_factory=list)
    conflicts: list[Columns] = field(default_factory=list)
    quarantined: list[tuple[str, Columns]] = field(default_factory=list)

    def hold(self, reason: str, readings: Columns) -> None:
        if len(readings):
            self.quarantined.append((reason, readings))

    def check(self) -> None:
        """Raise Unaccounted unless each reading has one fate."""
        held = [columns for _, columns in self.quarantined]
        named = sum(map(len, [*self.duplicates, *self.conflicts, *held])) + (len(self.stored) if self.stored else 0)
        if named != self.readings:
            raise Unaccounted(f"{self.readings} readings went in, {named} came out")

    def per_entry(self, parts: Sequence[Columns], entries: int) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
        """How many readings of *parts* each entry brought."""
        count = np.zeros(entries, np.intp)
        for part in parts:
            count += np.bincount(part.entry, minlength=entries)
        return count
