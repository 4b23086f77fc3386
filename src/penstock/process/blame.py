"""Which entry it is that makes flushes fail: ever smaller ones, until one fails that holds nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from penstock.process.arrivals import readings_of
from penstock.stream.port import Entry

TOGETHER: Final = 3
"""Flushes of several entries that may fail, in a way nobody expects, before they are tried in halves."""
ALONE: Final = 5
"""So often an entry fails alone before it is given up; with the pauses between them that takes some seconds."""


@dataclass(slots=True)
class _Suspicion:
    upto: int
    """The last entry of the first flush that failed: nothing behind it is suspected."""
    together: int = 0
    room: int | None = None
    suspect: int = 0
    """Position of the entry that failed alone, and how often."""
    alone: int = 0


class Blame:
    """By shard, as no shard's success says anything of another's. Outlives the worker's starts."""

    def __init__(self) -> None:
        self._found: dict[str, _Suspicion] = {}

    def room(self, shard: str, usual: int) -> int:
        """Readings to be taken at most."""
        found = self._found.get(shard)
        return usual if found is None or found.room is None else found.room

    @property
    def narrowing(self) -> bool:
        """Halves are tried: there is no need to wait long between them."""
        return any(found.room is not None and not found.alone for found in self._found.values())

    def failed(self, shard: str, entries: Sequence[Entry]) -> None:
        """A flush of *entries* failed, and not because of the store."""
        found = self._found.setdefault(shard, _Suspicion(entries[-1].position))
        if len(entries) > 1:
            found.together += 1
            if found.together >= TOGETHER:
                found.room = max(1, sum(map(readings_of, entries)) // 2)
        elif found.suspect == entries[0].position:
            found.alone += 1
        else:
            found.suspect, found.alone = entries[0].position, 1

    def passed(self, shard: str, upto: int) -> None:
        """Everything up to position *upto* is committed."""
        found = self._found.get(shard)
        if found is not None:
            found.alone = 0
            if upto >= found.upto:
                del self._found[shard]

    def given_up(self, shard: str, entries: Sequence[Entry]) -> int:
        """How often *entries*, one alone, failed beyond patience; 0: it may be tried again."""
        found = self._found.get(shard)
        if found is None or len(entries) != 1 or found.suspect != entries[0].position:
            return 0
        return max(0, found.alone - ALONE + 1)
