"""What the store promises the worker: readings, their fates and the checkpoint are one fenced transaction."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Final, NamedTuple, Protocol, Self
from uuid import UUID

import msgspec
import numpy as np
from numpy.typing import NDArray

from penstock.model.anomaly import Finding
from penstock.model.batch import Floats, Int32s, Ints, Mask
from penstock.model.shard import ALL, Shard
from penstock.model.tag import Tag

GROUP_TAGS: Final = 100
"""Tags that share the rows of `hot`: grp = (tag_id - 1) // GROUP_TAGS, as the table says."""


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """n readings in the store's own terms, sorted by (tag_id, ts, seq); one array each column.

    =======  =======  =====================================================
    tag_id   int32
    ts       int64    microseconds since 1970 UTC
    value    float64  NaN where there is none
    state    int32    id in `state_text`, NO_TEXT where there is none
    quality  int64    OPC UA status code
    seq      int64    NO_SEQ where there is none
    =======  =======  =====================================================
    """

    tag_id: Int32s
    ts: Ints
    value: Floats
    state: Int32s
    quality: Ints
    seq: Ints

    def __len__(self) -> int:
        return self.ts.size

    def pick(self, where: Mask | Ints) -> Self:
        return replace(self, **{name: getattr(self, name)[where] for name in ROW_COLUMNS})


ROW_COLUMNS: Final = ("tag_id", "ts", "value", "state", "quality", "seq")


class Known(IntEnum):
    """What the store says of a suspect: a reading not newer than its tag's watermark."""

    NEW = 0
    DUPLICATE = 1
    CONFLICT = 2
    ARCHIVED = 3
    """Not here; but readings of its time have left for the archive, where it may be."""


class Checkpoint(NamedTuple):
    """How far a shard is committed."""

    position: int
    counted: int


class Lease(NamedTuple):
    """The right to commit for the shards of a stream's unit, until someone claims a higher epoch."""

    stream: str
    owner: str
    epochs: Mapping[str, int]
    checkpoints: Mapping[str, Checkpoint]
    unit: str = ALL


class Span(NamedTuple):
    """The entries a flush commits: lo < position <= hi, `counted` through hi. lo == hi: none, only findings."""

    shard: str
    lo: int
    hi: int
    counted: int
    received_us: int


class Committed(NamedTuple):
    """A flush of the past, for those who learn from it again."""

    position: int
    readings: int
    repeated: frozenset[int]


class Fates(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a flush's readings. `late` is a part of `stored`.

    `moved` were sent on to the unit that owns their tag; there they are received once more.
    """

    stored: int = 0
    duplicate: int = 0
    conflict: int = 0
    quarantined: int = 0
    late: int = 0
    moved: int = 0

    @property
    def readings(self) -> int:
        return self.stored + self.duplicate + self.conflict + self.quarantined + self.moved


FOREIGN: Final = UUID(int=0)
"""Stands for all producers that do not count what they put."""


@dataclass(frozen=True, slots=True)
class Arrivals:
    """What a flush of a shared stream has seen of each producer's own count."""

    counted: Mapping[tuple[UUID, int], int] = field(default_factory=dict)
    """By producer and belt: readings put up to here. Of FOREIGN: readings of this flush."""
    by_minute: Mapping[tuple[UUID, int], int] = field(default_factory=dict)
    """By producer and received minute (microseconds since 1970): readings of this flush."""
    requests: Mapping[UUID, tuple[int, int]] = field(default_factory=dict)
    """By producer: the first and last request that has readings here."""
    repeated: Sequence[int] = ()
    """Positions of entries that were put twice; the second is passed over, and counts nowhere."""


NO_ARRIVALS: Final = Arrivals()


class Held(NamedTuple):
    """A reading for quarantine. `raw` is its JSON as the writing interface takes it."""

    position: int
    item: int
    path: str
    ts_us: int | None
    reason: str
    detail: str
    raw: bytes


class Contested(NamedTuple):
    """A reading whose key is stored with other content. `state` is its text."""

    position: int
    item: int
    tag_id: int
    ts_us: int
    seq: int | None
    value: float | None
    state: str | None
    quality: int


@dataclass(frozen=True, slots=True, eq=False)
class Repeats:
    """Duplicates of a flush, as columns."""

    position: Sequence[int] = ()
    index: Int32s = field(default_factory=lambda: np.empty(0, np.int32))
    tag_id: Int32s = field(default_factory=lambda: np.empty(0, np.int32))


NO_REPEATS: Final = Repeats()


class Flush(Protocol):
    """One open transaction of the worker. Leaving without `settle`, or by an exception, rolls everything back."""

    @property
    def flush_id(self) -> int: ...

    @property
    def registry_version(self) -> int:
        """As of this transaction: compare with what you hold, and ask for `changed_tags` if it moved."""
        ...

    async def changed_tags(self, since: int) -> Sequence[Tag]:
        """Tags whose version is above *since*."""
        ...

    async def register(self, paths: Sequence[str]) -> Sequence[Tag]:
        """Give unknown paths a tag, in this transaction; known ones come back as they are."""
        ...

    async def register_states(self, texts: Sequence[str]) -> Sequence[int]:
        """Ids of state texts, new ones made in this transaction."""
        ...

    async def fix_kind(self, values: Sequence[int], states: Sequence[int]) -> None:
        """These tag ids store their first value / state now."""
        ...

    async def compare(self, suspects: Rows) -> NDArray[np.int8]:
        """`Known` for each suspect, against everything stored; content is value bits, state and quality."""
        ...

    async def write(self, rows: Rows) -> None:
        """Put rows into history. They must be new (see `compare`), sorted, and without repeats among themselves."""
        ...

    async def keep(self, held: Sequence[Held], contested: Sequence[Contested], repeats: Repeats) -> None:
        """Keep what was not stored, each with its reason."""
        ...

    async def find(self, findings: Sequence[tuple[int, Finding]]) -> None:
        """Record findings (with their tag ids) as anomalies, and move the tags' alarms along their life cycle."""
        ...

    async def settle(self, fates: Mapping[int, Fates], arrivals: Arrivals = NO_ARRIVALS) -> None:
        """Count fates by received minute (microseconds since 1970), and move the checkpoint. Once, and last."""
        ...


class History(Protocol):
    """The worker's side of the store."""

    async def claim(self, stream: str, shards: Sequence[str], owner: str) -> Lease:
        """Take the lease of all *shards*, those of the unit ALL; whoever held it before is fenced."""
        ...

    async def counted(self, stream: str, belts: Collection[int]) -> Mapping[tuple[UUID, int], int]:
        """By producer and belt what was seen of the producer's count, where anything was."""
        ...

    async def tags(self) -> tuple[int, Sequence[Tag]]:
        """The registry's version and every tag."""
        ...

    async def watermarks(self) -> tuple[Int32s, Ints]:
        """tag_id and newest stored ts (microseconds since 1970) of every tag that has readings."""
        ...

    async def state_texts(self) -> Mapping[str, int]:
        """Every known state text and its id."""
        ...

    def flush(self, lease: Lease, span: Span) -> AbstractAsyncContextManager[Flush]:
        """Begin a transaction that commits *span*.

        Raises Fenced when the lease's epoch or position is not the store's, Unavailable when the store is away.
        """
        ...


class Behind(NamedTuple):
    """What a lease holder knows of a shard's tip."""

    behind_ms: int
    """Age of what comes next, by the stream's own clock; 0 at the tip."""
    progressed: bool
    """Whether anything was committed, or there was nothing to commit, since the last beat."""


class Terms(NamedTuple):
    """What those who work on a shared stream go by, in seconds."""

    retention_s: float
    """How long the stream keeps entries."""
    lease_s: float
    """A worker that is silent for so long loses its units."""
    stuck_s: float
    """A unit that is behind without progress for so long is given up."""


class Beat(NamedTuple):
    """What a heartbeat brings back."""

    held: frozenset[str]
    """Units whose lease is still ours."""
    wanted: frozenset[str]
    """Those of them that another worker asks for: finish the flush, save, release."""
    workers: int
    """Workers alive, we included."""
    open_units: int
    """Units that are not worked to their end."""


class LeaseState(NamedTuple):
    """One unit's lease as people see it."""

    unit: str
    lane: str | None
    slices: range | None
    parents: tuple[str, ...]
    owner: str | None
    epoch: int
    position: int
    behind_ms: int | None
    expires_in_s: float | None
    wanted_by: str | None
    ended: bool
    lost: bool
    """The stream no longer has what was not yet taken: its retention ran out."""


class Leases(Protocol):
    """Who works on which unit of a shared stream. Times are the database's."""

    async def meet(self, stream: str, shards: Sequence[Shard]) -> Sequence[str]:
        """Make shards known, each a unit of its own.

        Returns the units that the stream names no more though they were not worked to their end: what they
        still held is lost, and from now on they count as ended.
        """
        ...

    async def beat(self, stream: str, owner: str, ttl_s: float, held: Mapping[str, tuple[int, Behind]]) -> Beat:
        """We are alive: prolong what we *hold*, by unit the epoch and what is behind."""
        ...

    async def acquire(
        self, stream: str, owner: str, ttl_s: float, avoid: Collection[str] = (), idle_s: float = 0.0
    ) -> Lease | None:
        """A free or expired unit whose parents are worked to their end, at a new epoch; None when there is none.

        *idle_s*: only one that somebody had, and nobody has had for so long.
        """
        ...

    async def renew(self, lease: Lease) -> Lease:
        """The same unit at a new epoch, for who starts again and knows no more how its last commit went.

        Raises Fenced when another has it, or it was given up.
        """
        ...

    async def want(self, stream: str, owner: str, share: int, avoid: Collection[str] = ()) -> bool:
        """Ask whoever holds most, and more than *share* units and two more than *owner*, for one of them.

        Where none does, ask who holds two critical ones more. Units that are asked for count as the asker's.
        False when there is nobody to ask.
        """
        ...

    async def release(self, lease: Lease) -> None:
        """Give the lease up, so that another may take it at once."""
        ...

    async def end(self, lease: Lease, position: int) -> None:
        """The unit is worked to its end, at *position*. Raises Fenced."""
        ...

    async def leave(self, stream: str, owner: str) -> None:
        """This worker is gone: it counts no more."""
        ...

    async def declare(self, stream: str, terms: Terms) -> None:
        """What we go by, for people to see; who says so last is believed, and it stays when all are gone."""
        ...

    async def terms(self, stream: str) -> Terms | None:
        """What was declared last, if anything was."""
        ...

    async def states(self, stream: str) -> Sequence[LeaseState]:
        """Every unit's lease."""
        ...
