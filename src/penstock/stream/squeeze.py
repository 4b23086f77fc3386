"""Columns of integers in as few bits as their range asks for: base + step * offset, the offsets cut into planes.

    a column of b-bit offsets: b // 8 planes of bytes, the lowest first, then b % 8 planes of bits, the lowest first

What is of one rank lies together, because high ranks repeat and low ones do not: a compressor then finds the former.
The step is the greatest common divisor, so times in whole seconds and values in steps of 0.25 shrink by themselves.
"""

from collections.abc import Sequence
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

_RANKS: Final = np.arange(_BYTE, dtype=np.uint8)
_BITS: Final = np.uint8(1) << _RANKS

Words = NDArray[np.uint64]
Bytes = NDArray[np.uint8]


class Shape(NamedTuple):
    """How a column was squeezed. *bits*: of an offset (1-64), or CONSTANT, or COUNTING."""

    base: Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
    step: Annotated[int, msgspec.Meta(ge=0)]
    bits: Annotated[int, msgspec.Meta(ge=COUNTING, le=BITS_MAX)]


def squeeze(columns: Ints) -> tuple[list[Shape], bytes]:
    """The shape of every row of *columns* (rows x n, neither 0), and the planes of those that have any."""
    low = np.minimum.reduce(columns, axis=1)
    shapes = [Shape(base, 0, CONSTANT) for base in low.tolist()]
    varied = np.flatnonzero(np.maximum.reduce(columns, axis=1) != low)
    if not varied.size:
        return shapes, b""
    # int64 wraps around in the difference, and as uint64 it is right again
    offsets = np.subtract(columns[varied], low[varied, None]).view(_WORD)
    steps = np.gcd.reduce(offsets, axis=1)
    offsets //= steps[:, None]
    bits = _bits_of(offsets)
    for at, step, width in zip(varied.tolist(), steps.tolist(), bits, strict=True):
        shapes[at] = Shape(shapes[at].base, step, width)
    return shapes, _planes(offsets, bits)


def bytes_of(shapes: Sequence[Shape], n: int) -> int:
    """What the planes of *n* readings take."""
    return sum((bits // _BYTE) * n + bits % _BYTE * _packed(n) for bits in _planed(shapes))


def unsqueeze(shapes: Sequence[Shape], planes: memoryview, n: int) -> Ints:
    """The rows (rows x n) again. Raises Undecodable when *planes* are not exactly `bytes_of` them."""
    if len(planes) != bytes_of(shapes, n):
        raise Undecodable("a column is shorter or longer than it says")
    columns = np.empty((len(shapes), n), np.int64)
    columns[:] = np.array([shape.base for shape in shapes], np.int64)[:, None]
    varied = [row for row, shape in enumerate(shapes) if shape.bits != CONSTANT]
    if varied:
        columns[varied] += _above_base([shapes[row] for row in varied], planes, n)
    return columns


def _above_base(shapes: Sequence[Shape], planes: memoryview, n: int) -> Ints:
    offsets = _offsets(_planed(shapes), planes, n)
    for row, shape in zip(offsets, shapes, strict=True):
        if shape.bits == COUNTING:
            row[:] = np.arange(n)
    offsets *= np.array([shape.step for shape in shapes], _WORD)[:, None]
    return offsets.view(np.int64)


def _bits_of(offsets: Words) -> list[int]:
    last = offsets.shape[1] - 1
    tops = np.maximum.reduce(offsets, axis=1).tolist()
    may_count = (offsets[:, -1] == last).tolist()
    return [
        COUNTING if ends and (row == np.arange(last + 1)).all() else top.bit_length()
        for row, top, ends in zip(offsets, tops, may_count, strict=True)
    ]


def _planes(offsets: Words, bits: Sequence[int]) -> bytes:
    rows, n = offsets.shape
    octets = offsets.view(np.uint8).reshape(rows, n, _BYTE)
    tops = _bit_planes((offsets >> _top_shifts(bits)).astype(np.uint8))
    planes: list[bytes] = []
    for row, width in enumerate(bits):
        whole, rest = divmod(max(width, 0), _BYTE)
        planes.append(octets[row, :, :whole].T.tobytes())
        planes.append(tops[row, :rest].tobytes())
    return b"".join(planes)


def _offsets(bits: Sequence[int], planes: memoryview, n: int) -> Words:
    octets = np.zeros((len(bits), n, _BYTE), np.uint8)
    tops = np.zeros((len(bits), _BYTE, _packed(n)), np.uint8)
    at = 0
    for row, width in enumerate(bits):
        whole, rest = divmod(width, _BYTE)
        if whole:
            octets[row, :, :whole] = np.frombuffer(planes, np.uint8, whole * n, at).reshape(whole, n).T
            at += whole * n
        if rest:
            tops[row, :rest] = np.frombuffer(planes, np.uint8, rest * _packed(n), at).reshape(rest, -1)
            at += rest * _packed(n)
    offsets = octets.view(_WORD)[:, :, 0]
    offsets |= _bytes_again(tops, n).astype(_WORD) << _top_shifts(bits)
    return offsets


def _top_shifts(bits: Sequence[int]) -> Words:
    """By row: how far up the bits begin that fill no byte."""
    return np.array([width // _BYTE * _BYTE if width > 0 else 0 for width in bits], _WORD)[:, None]


def _bit_planes(column: Bytes) -> Bytes:
    """Of rows x n bytes: rows x 8 planes of n bits."""
    return np.packbits(column[:, None, :] & _BITS[:, None], axis=2)


def _bytes_again(planes: Bytes, n: int) -> Bytes:
    whole: Bytes = np.bitwise_or.reduce(np.unpackbits(planes, axis=2, count=n) << _RANKS[:, None], axis=1)
    return whole


def _planed(shapes: Sequence[Shape]) -> list[int]:
    return [max(shape.bits, 0) for shape in shapes]


def _packed(n: int) -> int:
    """Bytes of n bits."""
    return (n + _BYTE - 1) // _BYTE
