"""Records that Amazon's producer library put many into one: taken apart again.

    magic F3 89 9A C2 | protobuf AggregatedRecord | MD5 of the protobuf 16

    AggregatedRecord: 1 partition keys, 2 hash keys, 3 repeated Record;  Record: 1 and 2 key indices, 3 data, 4 tags

Only the data is of interest: which shard a record came to is known, and its keys are the producer's affair.
"""

import hashlib
from collections.abc import Iterator
from typing import Final

from penstock.errors import Undecodable

MAGIC: Final = b"\xf3\x89\x9a\xc2"
MD5_BYTES: Final = 16
_RECORDS: Final = 3
_DATA: Final = 3
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED_BYTES: Final = {_FIXED64: 8, _FIXED32: 4}
_VARINT_BITS: Final = 64


def is_aggregated(data: bytes) -> bool:
    """Whether *data* begins as an aggregated record does; no text in UTF-8 begins so."""
    return data[: len(MAGIC)] == MAGIC


def user_records(data: bytes) -> list[bytes]:
    """What the producer's users put, in order. Raises Undecodable when a bit is not as it was written."""
    body, digest = memoryview(data)[len(MAGIC) : -MD5_BYTES], data[-MD5_BYTES:]
    if len(data) < len(MAGIC) + MD5_BYTES or hashlib.md5(body, usedforsecurity=False).digest() != digest:
        raise Undecodable("an aggregated record's checksum does not match its bytes")
    return [_data_of(record) for field, record in _fields(body) if field == _RECORDS]


def _data_of(record: memoryview) -> bytes:
    """Of a field that is given twice the last counts: that is protobuf's rule."""
    found = [value for field, value in _fields(record) if field == _DATA]
    if not found:
        raise Undecodable("a record within an aggregated record has no data")
    return bytes(found[-1])


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Number and bytes of each field that has a length; the others are passed over. Raises Undecodable."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind == _VARINT:
            _, at = _varint(message, at)
            continue
        size, at = _varint(message, at) if kind == _BYTES else (_FIXED_BYTES.get(kind, len(message) + 1), at)
        if size > len(message) - at:
            raise Undecodable("an aggregated record ends within a field")
        if kind == _BYTES:
            yield key >> 3, message[at : at + size]
        at += size


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """The number at *at*, and where it ends."""
    value = 0
    for shift in range(0, _VARINT_BITS, 7):
        if at >= len(message):
            break
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004  # the top bit says that more follows
            return value, at
    raise Undecodable("an aggregated record holds a number without an end")
