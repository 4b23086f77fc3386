"""Readings as PostgreSQL's binary arrays: the rows of `segment` and `hot`, and how readers decode them."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Self

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg.abc import AdaptContext, Buffer
from psycopg.adapt import Loader
from psycopg.pq import Format

from penstock.model import decimals
from penstock.model.batch import NO_SEQ, NO_TEXT, Floats, Int32s, Ints, Mask

DAY_US: Final = 86_400_000_000
POSTGRES_EPOCH_US: Final = 946_684_800_000_000
"""PostgreSQL counts its microseconds from 2000."""
INT4: Final = 23
INT8: Final = 20
FLOAT8: Final = 701
TIMESTAMPTZ: Final = 1184
DTYPES: Final = {INT4: ">i4", INT8: ">i8", FLOAT8: ">f8", TIMESTAMPTZ: ">i8"}
ARRAY_HEAD_BYTES: Final = 20
POWERS: Final = decimals.POWERS[:7]
"""What a pack's scaled integer is divided by, by its decimals."""
_ARRAY_OIDS: Final = (1007, 1016, 1022, 1185)


@dataclass(frozen=True, slots=True, eq=False)
class Points:
    """n readings of one tag (or, beside an array of tag ids, of several); one array each column.

    =======  =======  =====================================================
    ts       int64    microseconds since 1970 UTC
    value    float64  NaN where there is none
    state    int32    id in `state_text`, NO_TEXT where there is none
    quality  int64    OPC UA status code
    seq      int64    NO_SEQ where there is none
    flush    int64    the flush that stored it
    =======  =======  =====================================================
    """

    ts: Ints
    value: Floats
    state: Int32s
    quality: Ints
    seq: Ints
    flush: Ints

    def __len__(self) -> int:
        return self.ts.size

    def pick(self, where: Mask | Ints | slice) -> Self:
        return type(self)(*(getattr(self, name)[where] for name in POINT_COLUMNS))


POINT_COLUMNS: Final = ("ts", "value", "state", "quality", "seq", "flush")


class Pack(NamedTuple):
    """A row of `segment`, as `select` of its field names gives it to a cursor with `raw_arrays`."""

    t0: int
    n: int
    unit: int
    dt: bytes
    v: bytes | None
    k: bytes | None
    d: int | None
    q: bytes | None
    seq: bytes | None
    state: bytes | None
    flush_lo: int
    flush: bytes | None
    runs: bytes | None


class Chunk(NamedTuple):
    """A row of `hot`, or the slice of it that holds one tag (each array sliced alike)."""

    flush: int
    tag: bytes
    ts: bytes
    v: bytes | None
    q: bytes | None
    seq: bytes | None
    state: bytes | None


class _RawLoader(Loader):
    """An array as its own bytes, for numpy."""

    format = Format.BINARY

    def load(self, data: Buffer) -> bytes:
        return bytes(data)


class _MicrosecondsLoader(Loader):
    """A time as microseconds since 1970."""

    format = Format.BINARY

    def load(self, data: Buffer) -> int:
        return int.from_bytes(data, "big", signed=True) + POSTGRES_EPOCH_US


def raw_arrays(context: AdaptContext) -> None:
    """From now on, in binary results: arrays come as bytes, timestamps as microseconds since 1970."""
    for oid in _ARRAY_OIDS:
        context.adapters.register_loader(oid, _RawLoader)
    context.adapters.register_loader(TIMESTAMPTZ, _MicrosecondsLoader)


def raw_cursor(connection: psycopg.AsyncConnection) -> psycopg.AsyncCursor[tuple[Any, ...]]:
    """A binary cursor whose rows fit `Pack` and `Chunk`."""
    cursor = connection.cursor(binary=True)
    raw_arrays(cursor)
    return cursor


def decode_array(field: bytes, oid: int) -> NDArray[Any]:
    """The elements of a one-dimensional binary array without nulls, in the machine's byte order."""
    dtype = np.dtype(DTYPES[oid])
    if len(field) < ARRAY_HEAD_BYTES:  # an empty array has no dimensions
        return np.empty(0, dtype.newbyteorder("="))
    element = np.dtype([("length", ">i4"), ("it", dtype)])
    return np.frombuffer(field, element, offset=ARRAY_HEAD_BYTES)["it"].astype(dtype.newbyteorder("="))


def decode_segment(pack: Pack) -> Points:
    """The readings of a pack, sorted by (ts, seq)."""
    n = pack.n
    return Points(
        ts=pack.t0 + decode_array(pack.dt, INT4).astype(np.int64) * pack.unit,
        value=_decode_values(pack),
        state=_decode_or(pack.state, INT4, n, NO_TEXT),
        quality=_decode_or(pack.q, INT8, n, 0),
        seq=_decode_or(pack.seq, INT8, n, NO_SEQ),
        flush=_decode_flushes(pack),
    )


def decode_hot(chunk: Chunk) -> tuple[Int32s, Points]:
    """Tag ids and readings of a chunk, sorted by (tag_id, ts, seq)."""
    tag = decode_array(chunk.tag, INT4)
    n = tag.size
    return tag, Points(
        ts=decode_array(chunk.ts, TIMESTAMPTZ) + POSTGRES_EPOCH_US,
        value=_decode_or(chunk.v, FLOAT8, n, np.nan),
        state=_decode_or(chunk.state, INT4, n, NO_TEXT),
        quality=_decode_or(chunk.q, INT8, n, 0),
        seq=_decode_or(chunk.seq, INT8, n, NO_SEQ),
        flush=np.full(n, chunk.flush, np.int64),
    )


def decode_marks(tag: bytes, ts: bytes) -> tuple[Int32s, Ints]:
    """Tag ids and times of a row of `mark` or `hot`."""
    return decode_array(tag, INT4), decode_array(ts, TIMESTAMPTZ) + POSTGRES_EPOCH_US


def chain(points: Iterable[Points]) -> Points:
    """One after the other, as they come."""
    parts = tuple(points) or (_NOTHING,)
    return Points(*(np.concatenate([getattr(part, name) for part in parts]) for name in POINT_COLUMNS))


def join(points: Iterable[Points]) -> Points:
    """All readings (of one tag), sorted by (ts, seq)."""
    joined = chain(points)
    ts, seq = joined.ts, joined.seq
    if np.all((ts[1:] > ts[:-1]) | ((ts[1:] == ts[:-1]) & (seq[1:] >= seq[:-1]))):
        return joined
    return joined.pick(np.lexsort((seq, ts)))


def _decode_or(field: bytes | None, oid: int, n: int, absent: float) -> NDArray[Any]:
    if field is None:
        return np.full(n, absent, np.dtype(DTYPES[oid]).newbyteorder("="))
    return decode_array(field, oid)


def _decode_values(pack: Pack) -> Floats:
    if pack.k is None or pack.d is None:
        return _decode_or(pack.v, FLOAT8, pack.n, np.nan)
    values: Floats = decode_array(pack.k, INT4) / POWERS[pack.d]
    return values


def _decode_flushes(pack: Pack) -> Ints:
    if pack.flush is None:
        return np.full(pack.n, pack.flush_lo, np.int64)
    flush = pack.flush_lo + np.cumsum(decode_array(pack.flush, INT4), dtype=np.int64)
    return flush if pack.runs is None else np.repeat(flush, decode_array(pack.runs, INT4))


_EMPTY_INTS: Final = np.empty(0, np.int64)
_NOTHING: Final = Points(
    _EMPTY_INTS, np.empty(0), np.empty(0, np.int32), _EMPTY_INTS, _EMPTY_INTS, _EMPTY_INTS
)  # fmt: skip
