"""Shard iterators and page tokens: opaque to clients, checked on return, with the time of their making in them."""

import base64
import binascii
import zlib
from typing import TypeVar

import msgspec

from kinesis_fake.errors import ApiError, invalid
from kinesis_fake.wire import Filter


class Cursor(msgspec.Struct, array_like=True, gc=False):
    """Where a reader stands in a shard."""

    stream: str
    stream_created_ms: int
    shard_id: str
    position: str
    made_ms: int


class PageToken(msgspec.Struct, array_like=True, gc=False):
    """Which page of a list comes next."""

    stream: str
    after: str
    filter: tuple[Filter, str | None, float | None] | None
    made_ms: int


Content = TypeVar("Content", Cursor, PageToken)


def seal(content: Cursor | PageToken) -> str:
    packed = msgspec.msgpack.encode(content)
    return base64.b64encode(zlib.crc32(packed).to_bytes(4) + packed).decode()


def open_iterator(text: str, now_ms: int, life_s: float) -> Cursor:
    """Raises InvalidArgumentException for what never was an iterator, ExpiredIteratorException for an old one."""
    cursor = _opened(text, Cursor)
    if cursor is None:
        raise invalid("Invalid ShardIterator.")
    if now_ms - cursor.made_ms > life_s * 1000:
        raise ApiError(
            "ExpiredIteratorException",
            f"Iterator expired. The iterator was created at time {cursor.made_ms} while right now it is {now_ms} "
            f"which is further in the future than the tolerated delay of {life_s * 1000:.0f} milliseconds.",
        )
    return cursor


def open_page(text: str, now_ms: int, life_s: float) -> PageToken:
    """Raises InvalidArgumentException or ExpiredNextTokenException."""
    page = _opened(text, PageToken)
    if page is None:
        raise invalid("NextToken is invalid.")
    if now_ms - page.made_ms > life_s * 1000:
        raise ApiError("ExpiredNextTokenException", "The pagination token has expired.")
    return page


def _opened(text: str, kind: type[Content]) -> Content | None:
    try:
        sealed = base64.b64decode(text, validate=True)
        packed = sealed[4:]
        return msgspec.msgpack.decode(packed, type=kind) if zlib.crc32(packed).to_bytes(4) == sealed[:4] else None
    except (binascii.Error, ValueError, msgspec.MsgspecError):
        return None
