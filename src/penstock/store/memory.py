"""The history that lives as long as its process: the twin of PostgreSQL's, for tests and for plants that may forget."""

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, Literal
from uuid import UUID

import msgspec
import numpy as np
from numpy.typing import NDArray

from penstock.errors import Fenced, Unavailable
from penstock.model.anomaly import Finding
from penstock.model.batch import Int32s, Ints
from penstock.model.tag import Tag, TagConfig
from penstock.store.port import (
    FOREIGN,
    GROUP_TAGS,
    NO_ARRIVALS,
    ROW_COLUMNS,
    Arrivals,
    Checkpoint,
    Committed,
    Contested,
    Fates,
    Held,
    Known,
    Lease,
    Repeats,
    Rows,
    Span,
)

NOTHING: Final = Checkpoint(0, 0)
_DTYPES: Final = dict(zip(ROW_COLUMNS, (np.int32, np.int64, np.float64, np.int32, np.int64, np.int64), strict=True))

Key = tuple[int, int, int]
Content = tuple[int, int, int]


@dataclass(slots=True, eq=False)
class Written:
    """What one transaction writes; visible once it is settled and left."""

    flush_id: int
    stream: str
    span: Span
    rows: list[Rows] = field(default_factory=list)
    held: list[Held] = field(default_factory=list)
    contested: list[Contested] = field(default_factory=list)
    repeats: list[Repeats] = field(default_factory=list)
    findings: list[tuple[int, Finding]] = field(default_factory=list)
    fates: dict[int, Fates] | None = None
    """By received minute; None until settled."""
    arrivals: Arrivals = NO_ARRIVALS


class _Registry:
    """Tags and state texts, as committed."""

    def __init__(self) -> None:
        self.version = 0
        self.tags: dict[str, Tag] = {}
        self.states: dict[str, int] = {}
        self._last_tag_id = 0
        self._last_state_id = 0

    def new_tag(self, path: str) -> Tag:
        """A tag of the next number; numbers of transactions that fail are not used again."""
        self._last_tag_id += 1
        grp = (self._last_tag_id - 1) // GROUP_TAGS
        return Tag(self._last_tag_id, path, grp, None, TagConfig(), self.version + 1)

    def new_state_id(self) -> int:
        self._last_state_id += 1
        return self._last_state_id

    def put(self, tag: Tag) -> None:
        """Make *tag*, as it is now, the newest change."""
        self.version += 1
        self.tags[tag.path] = msgspec.structs.replace(tag, version=self.version)


class _Contents:
    """Everything stored, found by its key. Chunks are indexed only when someone asks."""

    def __init__(self) -> None:
        self.chunks: list[Rows] = []
        self._indexed = 0
        self._first: dict[Key, Content] = {}

    def __call__(self, key: Key) -> Content | None:
        for chunk in self.chunks[self._indexed :]:
            for stored, content in _pairs(chunk):
                self._first.setdefault(stored, content)
        self._indexed = len(self.chunks)
        return self._first.get(key)


class MemoryHistory:
    """Keeps `History` and the worker's `Snapshots`. Transactions do not wait: one that was overtaken is refused."""

    def __init__(self) -> None:
        self.flushes: list[Written] = []
        self.fates: Counter[str] = Counter()
        self.seen: dict[tuple[str, UUID, int], int] = {}
        self._registry = _Registry()
        self._contents = _Contents()
        self._epochs: Counter[tuple[str, str]] = Counter()
        self._checkpoints: defaultdict[tuple[str, str], Checkpoint] = defaultdict(lambda: NOTHING)
        self._snapshots: dict[tuple[str, str], tuple[Mapping[str, int], bytes]] = {}
        self._last_flush_id = 0

    async def claim(self, stream: str, shards: Sequence[str], owner: str) -> Lease:
        for shard in shards:
            self._epochs[stream, shard] += 1
        return Lease(
            stream,
            owner,
            {shard: self._epochs[stream, shard] for shard in shards},
            {shard: self._checkpoints[stream, shard] for shard in shards},
        )

    async def tags(self) -> tuple[int, Sequence[Tag]]:
        return self._registry.version, list(self._registry.tags.values())

    async def watermarks(self) -> tuple[Int32s, Ints]:
        rows = self.rows()
        last = np.flatnonzero(np.diff(rows.tag_id, append=-1))
        return rows.tag_id[last], rows.ts[last]

    async def state_texts(self) -> Mapping[str, int]:
        return dict(self._registry.states)

    @asynccontextmanager
    async def flush(self, lease: Lease, span: Span) -> AsyncIterator["MemoryFlush"]:
        self._fence(lease, span)
        self._last_flush_id += 1
        flush = MemoryFlush(Written(self._last_flush_id, lease.stream, span), self._registry, self._contents)
        yield flush
        if flush.written.fates is not None:
            self._fence(lease, span)
            flush.enrol()
            self._commit(flush.written, flush.written.fates)

    async def counted(self, stream: str, belts: Collection[int]) -> Mapping[tuple[UUID, int], int]:
        return {
            (producer, number): seen
            for (of, producer, number), seen in self.seen.items()
            if of == stream and number in belts
        }

    async def load(self, stream: str, unit: str) -> tuple[Mapping[str, int], bytes] | None:
        return self._snapshots.get((stream, unit))

    async def save(self, lease: Lease, positions: Mapping[str, int], state: bytes) -> None:
        """Nothing happens when the lease has passed to another."""
        if all(self._epochs[lease.stream, shard] == epoch for shard, epoch in lease.epochs.items()):
            self._snapshots[lease.stream, lease.unit] = (dict(positions), state)

    async def unstored(self, stream: str, shard: str, lo: int, hi: int) -> Mapping[int, Sequence[int]]:
        items: defaultdict[int, list[int]] = defaultdict(list)
        for written in self._between(stream, shard, lo, hi):
            for held in written.held:
                items[held.position].append(held.item)
            for contested in written.contested:
                items[contested.position].append(contested.item)
            for repeats in written.repeats:
                for position, item in zip(repeats.position, repeats.index.tolist(), strict=True):
                    items[position].append(item)
        return items

    async def committed(self, stream: str, shard: str, lo: int, hi: int) -> Sequence[Committed]:
        """The flushes of entries lo < position <= hi, in order."""
        return [
            Committed(
                written.span.hi,
                sum(fates.readings for fates in (written.fates or {}).values()),
                frozenset(written.arrivals.repeated),
            )
            for written in self._between(stream, shard, lo, hi)
        ]

    def rows(self) -> Rows:
        """Everything stored, sorted by (tag_id, ts, seq); repeats, which must not be, would stand side by side."""
        parts = self._contents.chunks
        rows = Rows(
            **{
                name: np.concatenate([np.empty(0, dtype), *(getattr(part, name) for part in parts)])
                for name, dtype in _DTYPES.items()
            }
        )
        return rows.pick(np.lexsort((rows.seq, rows.ts, rows.tag_id)))

    def checkpoint(self, stream: str, shard: str) -> Checkpoint:
        """How far the shard is committed."""
        return self._checkpoints[stream, shard]

    def configure(self, path: str, config: TagConfig) -> Tag:
        """What a person sets for a tag, known or new, at once."""
        tag = self._registry.tags.get(path) or self._registry.new_tag(path)
        self._registry.put(msgspec.structs.replace(tag, config=config))
        return self._registry.tags[path]

    def _fence(self, lease: Lease, span: Span) -> None:
        at = (lease.stream, span.shard)
        if lease.epochs.get(span.shard) != self._epochs[at] or self._checkpoints[at].position != span.lo:
            raise Fenced

    def _commit(self, written: Written, fates: Mapping[int, Fates]) -> None:
        self._contents.chunks += written.rows
        self.flushes.append(written)
        self._checkpoints[written.stream, written.span.shard] = Checkpoint(written.span.hi, written.span.counted)
        self._arrive(written.stream, written.arrivals)
        for counts in fates.values():
            self.fates.update(msgspec.structs.asdict(counts))

    def _arrive(self, stream: str, arrivals: Arrivals) -> None:
        for (producer, number), counted in arrivals.counted.items():
            before = self.seen.get((stream, producer, number), 0) if producer == FOREIGN else 0
            self.seen[stream, producer, number] = before + counted

    def _between(self, stream: str, shard: str, lo: int, hi: int) -> Sequence[Written]:
        return [
            written
            for written in self.flushes
            if (written.stream, written.span.shard) == (stream, shard)
            and written.span.lo < written.span.hi
            and written.span.hi > lo
            and written.span.lo < hi
        ]


class MemoryFlush:
    """One open transaction. `written` and what it registers become visible only when the history takes them over."""

    def __init__(self, written: Written, registry: _Registry, contents: _Contents) -> None:
        self.written = written
        self._registry, self._contents = registry, contents
        self._version = registry.version
        self._tags: dict[str, Tag] = {}
        self._states: dict[str, int] = {}
        self._holds: dict[int, Literal["value", "state"]] = {}

    @property
    def flush_id(self) -> int:
        return self.written.flush_id

    @property
    def registry_version(self) -> int:
        return self._version

    async def changed_tags(self, since: int) -> Sequence[Tag]:
        return [tag for tag in self._registry.tags.values() if tag.version > since]

    async def register(self, paths: Sequence[str]) -> Sequence[Tag]:
        for path in paths:
            if path not in self._registry.tags and path not in self._tags:
                self._tags[path] = self._registry.new_tag(path)
        return [self._tags.get(path) or self._registry.tags[path] for path in paths]

    async def register_states(self, texts: Sequence[str]) -> Sequence[int]:
        for text in texts:
            if text not in self._registry.states and text not in self._states:
                self._states[text] = self._registry.new_state_id()
        return [self._states.get(text) or self._registry.states[text] for text in texts]

    async def fix_kind(self, values: Sequence[int], states: Sequence[int]) -> None:
        self._holds.update(dict.fromkeys(values, "value"))
        self._holds.update(dict.fromkeys(states, "state"))

    async def compare(self, suspects: Rows) -> NDArray[np.int8]:
        return np.array([self._known(*pair) for pair in _pairs(suspects)], np.int8)

    async def write(self, rows: Rows) -> None:
        self.written.rows.append(rows)

    async def keep(self, held: Sequence[Held], contested: Sequence[Contested], repeats: Repeats) -> None:
        self.written.held += held
        self.written.contested += contested
        self.written.repeats.append(repeats)

    async def find(self, findings: Sequence[tuple[int, Finding]]) -> None:
        self.written.findings += findings

    async def settle(self, fates: Mapping[int, Fates], arrivals: Arrivals = NO_ARRIVALS) -> None:
        self.written.fates, self.written.arrivals = dict(fates), arrivals

    def enrol(self) -> None:
        """Take over what was registered. Raises Unavailable when another transaction did the same meanwhile."""
        if self._tags.keys() & self._registry.tags.keys() or self._states.keys() & self._registry.states.keys():
            raise Unavailable("another transaction registered the same")
        for tag in self._tags.values():
            self._registry.put(tag)
        self._registry.states.update(self._states)
        for tag in list(self._registry.tags.values()) if self._holds else []:
            if tag.tag_id in self._holds and tag.holds is None:
                self._registry.put(msgspec.structs.replace(tag, holds=self._holds[tag.tag_id]))

    def _known(self, key: Key, content: Content) -> Known:
        stored = self._contents(key)
        if stored is None:
            return Known.NEW
        return Known.DUPLICATE if stored == content else Known.CONFLICT


def _pairs(rows: Rows) -> Sequence[tuple[Key, Content]]:
    """Key (tag_id, ts, seq) and content (value bits, state, quality) of each reading."""
    keys = zip(rows.tag_id.tolist(), rows.ts.tolist(), rows.seq.tolist(), strict=True)
    bits = np.where(np.isnan(rows.value), np.nan, rows.value).view(np.int64)  # no value is no value, whatever its bits
    contents = zip(bits.tolist(), rows.state.tolist(), rows.quality.tolist(), strict=True)
    return list(zip(keys, contents, strict=True))
