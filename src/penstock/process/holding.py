"""What the worker holds of the store's knowledge while its lease lasts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from penstock.model.shard import Unit
from penstock.process.arrivals import Seen
from penstock.process.dedupe import Watermarks
from penstock.process.detect.port import Detector
from penstock.process.owning import Elsewhere
from penstock.process.tags import TagTable
from penstock.store.port import Committed, Lease


class Snapshots(Protocol):
    """Where detector state rests between runs."""

    async def load(self, stream: str, unit: str) -> tuple[Mapping[str, int], bytes] | None:
        """Positions by shard and the state as of them, or None."""
        ...

    async def save(self, lease: Lease, positions: Mapping[str, int], state: bytes) -> None:
        """Replace what was kept, if the lease still holds."""
        ...

    async def committed(self, stream: str, shard: str, lo: int, hi: int) -> Sequence[Committed]:
        """The flushes of entries lo < position <= hi, in order."""
        ...

    async def unstored(self, stream: str, shard: str, lo: int, hi: int) -> Mapping[int, Sequence[int]]:
        """Items of entries lo < position <= hi that were not stored, by position."""
        ...


@dataclass(slots=True)
class Holding:
    """Made anew at each start, so that it is never in doubt."""

    unit: Unit
    lease: Lease
    tags: TagTable
    elsewhere: Elsewhere
    states: dict[str, int]
    watermarks: Watermarks
    detector: Detector[Any]
    positions: dict[str, int]
    counted: dict[str, int]
    seen: Seen
    received_us: dict[str, int] = field(default_factory=dict)
    """By shard: when the newest entry that the detectors have seen was received."""
    told_us: int = 0
    """The time that the detectors were told last; it does not go back."""
