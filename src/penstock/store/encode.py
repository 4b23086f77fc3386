"""Readings on their way into PostgreSQL: rows of `hot` and `segment` as binary COPY, built by numpy."""

import struct
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from psycopg.abc import AdaptContext, Buffer
from psycopg.adapt import Dumper, PyFormat
from psycopg.pq import Format

from penstock.model.batch import NO_SEQ, NO_TEXT, Floats, Int32s, Ints, Mask
from penstock.model.decimals import scale
from penstock.store.pack import (
    ARRAY_HEAD_BYTES,
    DAY_US,
    DTYPES,
    FLOAT8,
    INT4,
    INT8,
    POSTGRES_EPOCH_US,
    POWERS,
    TIMESTAMPTZ,
    Points,
)  # fmt: skip
from penstock.store.port import GROUP_TAGS, Rows

READINGS_MAX: Final = 4_096
"""Readings of one pack."""
READINGS_FULL: Final = READINGS_MAX // 2
"""A pack of this many is left as it is."""
LEVEL_DONE: Final = 2
"""Level of a pack that is merged no more."""

Levels = NDArray[np.int16]

COPY_HOT: Final = "copy hot (grp, flush, n, ts_lo, ts_hi, tag, ts, v, q, seq, state) from stdin (format binary)"
COPY_SEGMENT: Final = (
    "copy segment (tag_id, t0, t1, n, unit, level, dt, v, k, d, q, seq, state, flush_lo, flush_hi, flush, runs)"
    " from stdin (format binary)"
)

_COPY_HEAD: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_COPY_TAIL: Final = b"\xff\xff"
_NULL: Final = b"\xff\xff\xff\xff"
_ARRAY: Final = struct.Struct(">iiiiii")
_HOT_HEAD: Final = struct.Struct(">hihiqiiiqiq")
_PACK_HEAD: Final = struct.Struct(">hiiiqiqiiiiih")
_SMALL: Final = struct.Struct(">ih")
_FLUSHES: Final = struct.Struct(">iqiq")

_COUNT_BYTES: Final = 4
_ELEMENT_OIDS: Final = {"<i4": INT4, "<i8": INT8, "<f8": FLOAT8}
_ARRAY_OIDS: Final = {"<i4": 1007, "<i8": 1016, "<f8": 1022}

_NOT_SCALED: Final = POWERS.size
_INT4_MAX: Final = 2**31 - 1
_WINDOW_BITS: Final = 31
_UNITS: Final = (1_000_000, 1_000)


class _ArrayDumper(Dumper):
    """A numpy column as a parameter, without a Python object for each element."""

    format = Format.BINARY

    def get_key(self, obj: NDArray[Any], format: PyFormat) -> Any:  # noqa: A002, ARG002  # psycopg's signature
        return (self.cls, obj.dtype.str)

    def upgrade(self, obj: NDArray[Any], format: PyFormat) -> "_ArrayDumper":  # noqa: A002, ARG002
        dumper = type(self)(self.cls)
        dumper.oid = _ARRAY_OIDS[obj.dtype.str]
        return dumper

    def dump(self, obj: NDArray[Any]) -> bytes:
        head, data = _Column.all(obj, _ELEMENT_OIDS[obj.dtype.str]).field(0, 0, obj.size)
        return bytes(head[_COUNT_BYTES:]) + bytes(data)


def array_parameters(context: AdaptContext) -> None:
    """From now on numpy arrays of int32, int64 and float64 may be given as parameters. They must not be empty."""
    context.adapters.register_dumper(np.ndarray, _ArrayDumper)


def starts_of(*columns: NDArray[Any]) -> Ints:
    """Where a new stretch of equal neighbours begins; the first is 0. Columns must not be empty."""
    changes = np.zeros(columns[0].size, np.bool_)
    changes[0] = True
    for column in columns:
        changes[1:] |= column[1:] != column[:-1]
    return np.flatnonzero(changes)


def encode_hot(flush_id: int, rows: Rows) -> bytes:
    """*rows* (sorted by tag_id, ts, seq; not empty) for COPY_HOT: one row a group."""
    starts = starts_of((rows.tag_id - 1) // GROUP_TAGS)
    lo = (np.minimum.reduceat(rows.ts, starts) - POSTGRES_EPOCH_US).tolist()
    hi = (np.maximum.reduceat(rows.ts, starts) - POSTGRES_EPOCH_US).tolist()
    columns = (
        _Column.all(rows.tag_id, INT4),
        _Column.all(rows.ts - POSTGRES_EPOCH_US, TIMESTAMPTZ),
        _Column.where(~np.isnan(rows.value), starts, rows.value, FLOAT8),
        *_rare_columns(starts, rows.quality, rows.seq, rows.state),
    )
    out: list[Buffer] = [_COPY_HEAD]
    bounds = _bounds(starts, len(rows))
    for row, (begin, end) in enumerate(bounds):
        grp = int(rows.tag_id[begin] - 1) // GROUP_TAGS
        out.append(_HOT_HEAD.pack(11, 2, grp, 8, flush_id, 4, end - begin, 8, lo[row], 8, hi[row]))
        for column in columns:
            out += column.field(row, begin, end)
    out.append(_COPY_TAIL)
    return b"".join(out)


def encode_packs(tag_id: Int32s, points: Points, level: Levels) -> bytes:
    """*points* (sorted by tag_id, ts, seq; not empty) for COPY_SEGMENT, cut into packs of one tag each.

    *level* says how often each reading has been merged; a pack has the highest of its readings, or is done if full.
    """
    starts = pack_starts(tag_id, points.ts, points.flush)
    sizes = np.diff(starts, append=len(points))
    unit = _unit_of(points.ts, starts)
    ticks = (points.ts - np.repeat(points.ts[starts], sizes)) // np.repeat(unit, sizes)
    digits = _digits_of(points.value, starts)
    scaled = np.repeat(digits < _NOT_SCALED, sizes)
    flushes = _Flushes.of(points.flush, starts)
    before = (
        _Column.all(ticks, INT4),
        _Column.where(~np.isnan(points.value) & ~scaled, starts, points.value, FLOAT8),
        _Column.where(scaled, starts, _scale(points.value, np.repeat(digits, sizes)), INT4),
    )
    after = _rare_columns(starts, points.quality, points.seq, points.state)
    levels = np.where(sizes >= READINGS_FULL, LEVEL_DONE, np.maximum.reduceat(level, starts)).tolist()
    ids, units, scales = tag_id[starts].tolist(), unit.tolist(), digits.tolist()
    times = points.ts - POSTGRES_EPOCH_US
    t0, t1 = times[starts].tolist(), times[starts + sizes - 1].tolist()
    out: list[Buffer] = [_COPY_HEAD]
    for row, (lo, hi) in enumerate(_bounds(starts, len(points))):
        out.append(_PACK_HEAD.pack(17, 4, ids[row], 8, t0[row], 8, t1[row], 4, hi - lo, 4, units[row], 2, levels[row]))
        for column in before:
            out += column.field(row, lo, hi)
        out.append(_SMALL.pack(2, scales[row]) if scales[row] < _NOT_SCALED else _NULL)
        for column in after:
            out += column.field(row, lo, hi)
        out += flushes.fields(row)
    out.append(_COPY_TAIL)
    return b"".join(out)


def pack_starts(tag_id: Int32s, ts: Ints, flush: Ints) -> Ints:
    """Where packs begin: at another tag or UTC day, after READINGS_MAX, and where ticks or flushes outgrow an int4."""
    day = ts // DAY_US
    stretches = starts_of(tag_id, day)
    fine = np.repeat(_unit_of(ts, stretches) == 1, np.diff(stretches, append=ts.size))
    stretches = starts_of(tag_id, day, np.where(fine, ts >> _WINDOW_BITS, 0), flush >> _WINDOW_BITS)
    within = np.arange(ts.size) - np.repeat(stretches, np.diff(stretches, append=ts.size))
    return np.flatnonzero(within % READINGS_MAX == 0)


class _Column(NamedTuple):
    """A column encoded once, of which any stretch is an array field without another copy."""

    oid: int
    stride: int
    data: memoryview
    present: Sequence[bool] | None

    @classmethod
    def all(cls, column: NDArray[Any], oid: int) -> Self:
        """Present in every row."""
        element = np.dtype([("length", ">i4"), ("it", DTYPES[oid])])
        out = np.empty(column.size, element)
        out["length"] = element["it"].itemsize
        out["it"] = column
        return cls(oid, element.itemsize, memoryview(out.tobytes()), None)

    @classmethod
    def where(cls, said: Mask, starts: Ints, column: NDArray[Any], oid: int) -> Self:
        """Present in the rows where any reading has something to say; null in the others."""
        present = np.logical_or.reduceat(said, starts)
        if not present.any():
            return cls(oid, 0, memoryview(b""), present.tolist())
        return cls.all(column, oid)._replace(present=present.tolist())

    def field(self, row: int, lo: int, hi: int) -> tuple[Buffer, ...]:
        """The field of a row that holds readings lo..hi-1."""
        if self.present is not None and not self.present[row]:
            return (_NULL,)
        n, stride = hi - lo, self.stride
        return _ARRAY.pack(ARRAY_HEAD_BYTES + n * stride, 1, 0, self.oid, n, 1), self.data[lo * stride : hi * stride]


class _Flushes(NamedTuple):
    """Which flush brought which reading, run-length coded: each run its step from the flush of the run before."""

    lo: list[int]
    hi: list[int]
    runs: list[tuple[int, int]]
    steps: _Column
    lengths: _Column

    @classmethod
    def of(cls, flush: Ints, starts: Ints) -> Self:
        packs = np.zeros(flush.size, np.int64)
        packs[starts] = 1
        heads = starts_of(flush, np.cumsum(packs))
        first = np.searchsorted(heads, starts)
        lo = np.minimum.reduceat(flush, starts)
        steps = np.diff(flush[heads], prepend=0)
        steps[first] = flush[starts] - lo
        lengths = np.diff(heads, append=flush.size)
        return cls(
            lo.tolist(),
            np.maximum.reduceat(flush, starts).tolist(),
            _bounds(first, heads.size),
            _Column.where(np.ones(heads.size, np.bool_), first, steps, INT4),
            _Column.where(lengths > 1, first, lengths, INT4),
        )

    def fields(self, row: int) -> tuple[Buffer, ...]:
        lo, hi = self.runs[row]
        head = _FLUSHES.pack(8, self.lo[row], 8, self.hi[row])
        if hi - lo == 1:
            return head, _NULL, _NULL
        return head, *self.steps.field(row, lo, hi), *self.lengths.field(row, lo, hi)


def _bounds(starts: Ints, n: int) -> list[tuple[int, int]]:
    return list(pairwise([*starts.tolist(), n]))


def _rare_columns(starts: Ints, quality: Ints, seq: Ints, state: Int32s) -> tuple[_Column, _Column, _Column]:
    return (
        _Column.where(quality != 0, starts, quality, INT8),
        _Column.where(seq != NO_SEQ, starts, seq, INT8),
        _Column.where(state != NO_TEXT, starts, state, INT4),
    )


def _unit_of(ts: Ints, starts: Ints) -> Ints:
    """The coarsest of second, millisecond and microsecond that every stretch's times, as differences, are whole in."""
    unit = np.ones(starts.size, np.int64)
    dt = ts - np.repeat(ts[starts], np.diff(starts, append=ts.size))
    for candidate in reversed(_UNITS):
        unit[np.logical_and.reduceat(dt % candidate == 0, starts)] = candidate
    return unit


def _digits_of(value: Floats, starts: Ints) -> NDArray[np.int64]:
    """By pack: the fewest decimals that give every value back to the bit, _NOT_SCALED where none do."""
    digits = np.full(value.size, _NOT_SCALED)
    open_at = np.flatnonzero(np.abs(value) < _INT4_MAX)
    for d in range(_NOT_SCALED):
        exact = scale(value[open_at], d).exact
        digits[open_at[exact]] = d
        open_at = open_at[~exact]
    packs = np.maximum.reduceat(digits, starts)
    wide = ~_fits(value, np.repeat(packs, np.diff(starts, append=value.size)))
    packs[np.logical_or.reduceat(wide, starts)] = _NOT_SCALED
    return packs


def _fits(value: Floats, digits: NDArray[np.int64]) -> Mask:
    """At the pack's common scale the integer stays within int4."""
    fits: Mask = np.abs(value) * np.append(POWERS, 0.0)[digits] < _INT4_MAX
    return fits


def _scale(value: Floats, digits: NDArray[np.int64]) -> NDArray[np.int64]:
    """k where value = k / 10^digits; 0 where it is not scaled."""
    factors = np.append(POWERS, np.nan)[digits]
    scaled: Ints = np.nan_to_num(np.rint(value * factors)).astype(np.int64)
    return scaled
