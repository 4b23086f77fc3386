"""The newest reading of every tag, by (ts, seq): what a late reading can never replace."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, cast
from uuid import uuid4

import msgspec
import numpy as np

from penstock.model.batch import NO_SEQ, Floats, Ints


@dataclass(frozen=True, slots=True, eq=False)
class LatestRows:
    """n committed readings, one sequence each column; a tag may come several times.

    ===========  =================  =================================
    path         list of str
    ts           int64              microseconds since 1970 UTC
    value        float64            NaN where there is none
    state        list of str|None
    quality      int64              OPC UA status code
    seq          int64              NO_SEQ where there is none
    received_us  int64              microseconds since 1970 UTC
    stored_us    int64              microseconds since 1970 UTC
    ===========  =================  =================================
    """

    path: Sequence[str]
    ts: Ints
    value: Floats
    state: Sequence[str | None]
    quality: Ints
    seq: Ints
    received_us: Ints
    stored_us: Ints

    def __len__(self) -> int:
        return self.ts.size


LATEST_ARRAYS: Final = ("ts", "value", "quality", "seq", "received_us", "stored_us")


def chain_rows(parts: Sequence[LatestRows]) -> LatestRows:
    """One after the other."""
    arrays = {name: [getattr(part, name) for part in parts] for name in LATEST_ARRAYS}
    kinds = {name: np.float64 if name == "value" else np.int64 for name in LATEST_ARRAYS}
    return LatestRows(
        path=[path for part in parts for path in part.path],
        state=[state for part in parts for state in part.state],
        **{name: np.concatenate([np.empty(0, kinds[name]), *columns]) for name, columns in arrays.items()},
    )


class LatestReading(msgspec.Struct, frozen=True):
    """A tag's newest reading. `value` is None where there is none, `seq` where the sender gave none."""

    path: str
    ts_us: int
    value: float | None
    state: str | None
    quality: int
    seq: int | None
    received_us: int
    stored_us: int

    @property
    def order(self) -> tuple[int, int]:
        """What newer means: by time, then by seq; without seq comes before any seq."""
        return self.ts_us, NO_SEQ if self.seq is None else self.seq


class LatestCache(Protocol):
    """A cache: it may lose everything at any time, and then says so by another `generation`."""

    async def put(self, rows: LatestRows) -> None:
        """Keep of each tag what is newer than what is held. Raises Unavailable, then some rows may have been put."""
        ...

    async def get(self, paths: Sequence[str]) -> list[LatestReading | None]:
        """The newest reading of each of *paths*, None where none is held."""
        ...

    async def prefix(self, prefix: str, after: str, limit: int) -> list[LatestReading]:
        """Up to *limit* tags that begin with *prefix*, in the order of their paths (as bytes), those after *after*."""
        ...

    async def generation(self) -> str:
        """Stays the same as long as nothing was lost; when it changed, `reset` and put everything anew."""
        ...

    async def reset(self) -> str:
        """Empty the cache; the new generation."""
        ...

    async def alive(self) -> bool:
        """Whether the cache answers. Never raises."""
        ...

    async def close(self) -> None: ...


def newest(rows: LatestRows) -> list[LatestReading]:
    """One reading a tag: the newest of its *rows*, the first of those that are alike."""
    order = np.lexsort((-np.arange(len(rows)), rows.seq, rows.ts)).tolist()
    last = {rows.path[i]: i for i in order}
    columns = _plain(rows)
    return [_told(path, cast(_Held, tuple(column[i] for column in columns))) for path, i in last.items()]


_Held = tuple[int, int, float, str | None, int, int, int]
"""ts, seq, value, state, quality, received, stored: as plain values, made into a reading when somebody asks."""


class MemoryLatest:
    """In this process's memory: for one process that both stores and serves."""

    def __init__(self) -> None:
        self._held: dict[str, _Held] = {}
        self._sorted: list[str] = []
        self._generation = str(uuid4())

    async def put(self, rows: LatestRows) -> None:
        held = self._held
        for path, *row in zip(rows.path, *_plain(rows), strict=True):
            before = held.get(path)
            if before is None or (before[0], before[1]) < (row[0], row[1]):
                held[path] = cast(_Held, tuple(row))

    async def get(self, paths: Sequence[str]) -> list[LatestReading | None]:
        return [None if (held := self._held.get(path)) is None else _told(path, held) for path in paths]

    async def prefix(self, prefix: str, after: str, limit: int) -> list[LatestReading]:
        if len(self._sorted) != len(self._held):  # tags only ever come; `reset` empties both
            self._sorted = sorted(self._held)
        start = bisect_left(self._sorted, max(prefix, f"{after}\0") if after else prefix)
        page = (path for path in self._sorted[start : start + limit] if path.startswith(prefix))
        return [_told(path, self._held[path]) for path in page]

    def rows(self) -> LatestRows:
        """Everything."""
        ts, seq, value, state, quality, received, stored = list(zip(*self._held.values(), strict=True)) or [()] * 7
        return LatestRows(
            path=[*self._held],
            ts=np.array(ts, np.int64),
            value=np.array(value, np.float64),
            state=state,
            quality=np.array(quality, np.int64),
            seq=np.array(seq, np.int64),
            received_us=np.array(received, np.int64),
            stored_us=np.array(stored, np.int64),
        )

    async def generation(self) -> str:
        return self._generation

    async def reset(self) -> str:
        self._held, self._sorted = {}, []
        self._generation = str(uuid4())
        return self._generation

    async def alive(self) -> bool:
        return True

    async def close(self) -> None: ...


def _plain(rows: LatestRows) -> tuple[Sequence[Any], ...]:
    """The columns of `_Held`, as lists."""
    ts, seq, value, quality = rows.ts.tolist(), rows.seq.tolist(), rows.value.tolist(), rows.quality.tolist()
    return ts, seq, value, rows.state, quality, rows.received_us.tolist(), rows.stored_us.tolist()


def _told(path: str, held: _Held) -> LatestReading:
    ts_us, seq, value, state, quality, received_us, stored_us = held
    return LatestReading(
        path=path,
        ts_us=ts_us,
        value=None if value != value else value,  # noqa: PLR0124  # only NaN differs from itself
        state=state,
        quality=quality,
        seq=None if seq == NO_SEQ else seq,
        received_us=received_us,
        stored_us=stored_us,
    )
