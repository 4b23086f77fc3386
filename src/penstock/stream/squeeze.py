"""Columns of integers in as few bits as their range asks for: base + step * offset, the offsets cut into planes.

    of b-bit offsets b // 8 planes of bytes and, above them, b % 8 planes of bits; first all planes of bytes

What is of one rank lies together, because high ranks repeat and low ones do not: a compressor then finds the former.
The step is the greatest common divisor, so times in whole seconds and values in steps of 0.25 shrink by themselves.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated, Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from penstock.errors import Undecodable
from penstock.model.batch import Ints

CONSTANT: Final = 0
"""Bits of a column that is its base alone."""
COUNTING: Final = -1
"""Bits of a column that is base + step * place."""
BITS_MAX: Final = 64

_BYTE: Final = 8
_WORD: Final = np.dtype("<u8")
_RANKS: Final = np.arange(_BYTE, dtype=np.uint8)[:, None]
_BITS: Final = np.uint8(1) << _RANKS

Words = NDArray[np.uint64]
Bytes = NDArray[np.uint8]


class Shape(NamedTuple):
    """How a column was squeezed. *bits*: of an offset (1-64), or CONSTANT, or COUNTING."""

    base: Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
    step: Annotated[int, msgspec.Meta(ge=0)]
    bits: Annotated[int, msgspec.Meta(ge=COUNTING, le=BITS_MAX)]


class _Cut(NamedTuple):
    """Where planes lie: those of bytes by row and rank; those of bits by 8 * row + rank above the row's bytes."""

    byte_rows: Ints
    byte_ranks: Ints
    bit_places: Ints
    below: Words
    """By row (rows x 1): how many bits stand in planes of bytes."""


def squeeze(columns: Ints) -> tuple[list[Shape], bytes]:
    """The shape of every row of *columns* (rows x n, neither 0), and all planes."""
    low = np.minimum.reduce(columns, axis=1)
    # int64 wraps around in the difference, and as uint64 it is right again
    offsets = np.subtract(columns, low[:, None]).view(_WORD)
    steps = np.gcd.reduce(offsets, axis=1)
    offsets //= np.maximum(steps, 1)[:, None]
    tops = np.maximum.reduce(offsets, axis=1).tolist()
    bits = tuple(_bits_of(row, top) for row, top in zip(offsets, tops, strict=True))
    shapes = [Shape(*shape) for shape in zip(low.tolist(), steps.tolist(), bits, strict=True)]
    return shapes, _planes(offsets, bits)


def unsqueeze(shapes: Sequence[Shape], data: memoryview, n: int) -> tuple[Ints, memoryview]:
    """The rows (rows x n) again, and what stands behind their planes. Raises Undecodable when *data* is too short."""
    bases, steps, bits = zip(*shapes, strict=True)
    offsets, rest = _offsets(bits, data, n)
    offsets *= np.array(steps, _WORD)[:, None]
    columns: Ints = offsets.view(np.int64)
    columns += np.array(bases, np.int64)[:, None]
    return columns, rest


def _bits_of(row: Words, top: int) -> int:
    n = row.size
    if top == n - 1 > 0 and row[-1] == top and (row == np.arange(n)).all():
        return COUNTING
    return top.bit_length()


def _planes(offsets: Words, bits: tuple[int, ...]) -> bytes:
    if max(bits) <= CONSTANT:
        return b""
    cut, (rows, n) = _cut(bits), offsets.shape
    octets = offsets.view(np.uint8).reshape(rows, n, _BYTE)[cut.byte_rows, :, cut.byte_ranks]
    if not cut.bit_places.size:
        return octets.tobytes()
    above = (offsets >> cut.below).astype(np.uint8)
    packed = np.packbits(above[:, None, :] & _BITS, axis=2).reshape(rows * _BYTE, -1)
    return octets.tobytes() + packed[cut.bit_places].tobytes()


def _offsets(bits: tuple[int, ...], data: memoryview, n: int) -> tuple[Words, memoryview]:
    cut, rows, packed = _cut(bits), len(bits), (n + _BYTE - 1) // _BYTE
    bits_at = cut.byte_rows.size * n
    end = bits_at + cut.bit_places.size * packed
    if len(data) < end:
        raise Undecodable("a record is shorter than it says")
    octets = np.zeros((rows, n, _BYTE), np.uint8)
    octets[cut.byte_rows, :, cut.byte_ranks] = np.frombuffer(data[:bits_at], np.uint8).reshape(-1, n)
    offsets: Words = octets.view(_WORD)[:, :, 0]
    if cut.bit_places.size:
        above = np.zeros((rows * _BYTE, packed), np.uint8)
        above[cut.bit_places] = np.frombuffer(data[bits_at:end], np.uint8).reshape(-1, packed)
        offsets |= _bytes_of(above.reshape(rows, _BYTE, packed), n).astype(_WORD) << cut.below
    for row, width in enumerate(bits):
        if width == COUNTING:
            offsets[row] = np.arange(n)
    return offsets, data[end:]


def _bytes_of(planes: Bytes, n: int) -> Bytes:
    """Of rows x 8 planes of n bits: rows x n bytes."""
    whole: Bytes = np.bitwise_or.reduce(np.unpackbits(planes, axis=2, count=n) << _RANKS, axis=1)
    return whole


@lru_cache(1_024)  # the records of a stream are much alike
def _cut(bits: tuple[int, ...]) -> _Cut:
    whole = [max(width, 0) // _BYTE for width in bits]
    octets = [(row, rank) for row, octets in enumerate(whole) for rank in range(octets)]
    places = [row * _BYTE + rank for row, width in enumerate(bits) for rank in range(max(width, 0) % _BYTE)]
    byte_rows, byte_ranks = np.array(octets, np.int64).reshape(-1, 2).T
    return _Cut(byte_rows, byte_ranks, np.array(places, np.int64), np.array(whole, _WORD)[:, None] * np.uint64(_BYTE))
