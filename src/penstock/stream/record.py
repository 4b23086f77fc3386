"""A batch as bytes and back, bit for bit: what lies in a log, or travels in a stream's record.

    magic 4 | crc32 of the rest 4 | header length 4 | header, msgpack | columns, little-endian, one after the other

A column that is a ramp (first + i * step; constant when step is 0) stands in the header as (first, step) alone:
most batches have one quality, no seq, no state, and an index that counts up.
"""

import struct
import zlib
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from penstock.errors import Undecodable
from penstock.model.batch import COLUMNS, ReadingBatch

MAGIC: Final = b"PSR\x01"
_PREFIX: Final = struct.Struct("<4sII")
_CRC_FROM: Final = 8
_WIDE: Final = frozenset({"ts", "value", "quality", "seq"})

_INT64: Final = np.dtype("<i8")
_INT32: Final = np.dtype("<i4")

Ramp = tuple[int, int]


class _Header(msgspec.Struct, frozen=True, array_like=True):
    """Everything but the raw columns. `ramps` has one place a column; None says: it follows raw."""

    readings: int
    paths: tuple[str, ...]
    states: tuple[str, ...]
    units: tuple[str, ...]
    ramps: tuple[Ramp | None, ...]


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(_Header)


def encode_batch(batch: ReadingBatch) -> bytes:
    """*batch* as one self-contained record."""
    ramps: list[Ramp | None] = []
    raw: list[bytes] = []
    for name in COLUMNS:
        column = _as_ints(getattr(batch, name))
        ramp = _ramp_of(column)
        ramps.append(ramp)
        if ramp is None:
            raw.append(column.astype(_stored_type(name), copy=False).tobytes())
    header = _encoder.encode(_Header(len(batch), batch.paths, batch.states, batch.units, tuple(ramps)))
    body = b"".join((len(header).to_bytes(4, "little"), header, *raw))
    return b"".join((MAGIC, zlib.crc32(body).to_bytes(4, "little"), body))


def decode_batch(record: bytes) -> ReadingBatch:
    """The batch that *record* holds. Raises Undecodable when a single bit of it is not as it was written."""
    header, at = _open(record)
    columns: dict[str, NDArray[np.int32] | NDArray[np.int64] | NDArray[np.float64]] = {}
    for name, ramp in zip(COLUMNS, header.ramps, strict=True):
        kind = _stored_type(name)
        if ramp is not None:
            column = _ramp(ramp, header.readings, kind)
        else:
            column = np.frombuffer(record, kind, header.readings, at)
            at += column.nbytes
        columns[name] = column.view(np.float64) if name == "value" else column
    return ReadingBatch(header.paths, header.states, header.units, **columns)  # type: ignore[arg-type]  # by COLUMNS


def _open(record: bytes) -> tuple[_Header, int]:
    """The header, and where the columns begin."""
    if len(record) < _PREFIX.size:
        raise Undecodable("a record is shorter than its prefix")
    magic, crc, header_bytes = _PREFIX.unpack_from(record)
    if magic != MAGIC:
        raise Undecodable("not a record of a version we know")
    if zlib.crc32(memoryview(record)[_CRC_FROM:]) != crc:
        raise Undecodable("a record's checksum does not match its bytes")
    at = _PREFIX.size + header_bytes
    try:
        return _decoder.decode(memoryview(record)[_PREFIX.size : at]), at
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Undecodable("a record's header cannot be read") from error


def _stored_type(name: str) -> np.dtype[np.generic]:
    return _INT64 if name in _WIDE else _INT32


def _as_ints(
    column: NDArray[np.int32] | NDArray[np.int64] | NDArray[np.float64],
) -> NDArray[np.int32] | NDArray[np.int64]:
    """Floats as their bits, so that -0.0 and every NaN stay themselves."""
    if column.dtype == np.float64:
        return np.ascontiguousarray(column).view(np.int64)
    return column  # type: ignore[return-value]  # a column is float64 or one of these


def _ramp_of(column: NDArray[np.int32] | NDArray[np.int64]) -> Ramp | None:
    n = column.size
    if n == 0:
        return None
    first, last = int(column[0]), int(column[-1])
    step = int(column[1]) - first if n > 1 else 0
    if last != first + step * (n - 1) or not -(2**31) < step < 2**31:
        return None
    same = (column == first).all() if step == 0 else (column == _ramp((first, step), n, column.dtype)).all()
    return (first, step) if same else None


def _ramp(ramp: Ramp, n: int, kind: np.dtype[np.generic]) -> NDArray[np.int32] | NDArray[np.int64]:
    first, step = ramp
    if step == 0:
        return np.full(n, first, kind)
    ramped: NDArray[np.int32] | NDArray[np.int64] = np.arange(n, dtype=kind)
    ramped *= step
    ramped += first
    return ramped
