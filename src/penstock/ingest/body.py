"""A request's bytes: collected within the caps, and decompressed without trusting what they claim to become."""

import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any, Final

import zstandard

from penstock.errors import Backpressure, Rejected, TooLarge, Undecodable

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

_GZIP_WINDOW: Final = 31
_ZSTD_WINDOW_MAX_BYTES: Final = 8 * 2**20
_MEMBERS_MAX: Final = 64
"""Gzip members or zstd frames in a body; each costs a copy of what follows it."""


class Disconnected(Exception):
    """The client left before its body was complete: there is nobody to answer."""


class Room:
    """Memory for bodies under way, counted in bytes and shared by all requests of this process."""

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.taken = 0

    def take(self, count: int) -> None:
        """Raises Backpressure when *count* more bytes would not fit."""
        if self.taken + count > self.bytes_max:
            raise Backpressure("too many bodies are under way")
        self.taken += count

    def give_back(self, count: int) -> None:
        self.taken -= count


async def read_body(receive: Receive, bytes_max: int, room: Room) -> bytes:
    """The whole body; its bytes stay taken in *room*, and go back to it if this raises.

    Raises TooLarge beyond *bytes_max*, Backpressure when there is no room, Disconnected. Its deadline is the server's.
    """
    body = bytearray()
    try:
        async for piece in _pieces(receive):
            room.take(len(piece))
            body += piece
            check_size(len(body), bytes_max)
    except BaseException:
        room.give_back(len(body))
        raise
    return bytes(body)


async def _pieces(receive: Receive) -> AsyncIterator[bytes]:
    more = True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            raise Disconnected
        yield message.get("body", b"")
        more = message.get("more_body", False)


def check_size(size: int, bytes_max: int) -> None:
    """Raises TooLarge for a body of *size* bytes, or one that says it will have them."""
    if size > bytes_max:
        raise TooLarge(f"a body is {bytes_max} bytes at most", code="body_too_large")


def decompress(body: bytes, encoding: str, bytes_max: int) -> bytes:
    """The body without its `Content-Encoding`: identity, gzip or zstd, of one or several members.

    Raises Rejected `content_encoding`, Undecodable `not_compressed`, TooLarge `decompressed_too_large`.
    """
    match encoding.strip().lower():
        case "" | "identity":
            return body
        case "gzip" | "x-gzip":
            return _translated(_gunzip, body, bytes_max)
        case "zstd":
            return _translated(_unzstd, body, bytes_max)
        case _:
            raise Rejected("bodies may be compressed with gzip or zstd", code="content_encoding")


def _translated(inflate: Callable[[bytes, int], bytes], body: bytes, bytes_max: int) -> bytes:
    try:
        return inflate(body, bytes_max)
    except (zlib.error, zstandard.ZstdError) as error:
        raise Undecodable("the body is not what its Content-Encoding says", code="not_compressed") from error


def _gunzip(body: bytes, bytes_max: int) -> bytes:
    out, left = bytearray(), body
    for _ in range(_MEMBERS_MAX):
        member = zlib.decompressobj(_GZIP_WINDOW)
        _grow(out, member.decompress(left, bytes_max - len(out) + 1), bytes_max)
        if not member.eof:
            raise zlib.error
        left = member.unused_data
        if not left:
            return bytes(out)
    raise zlib.error


def _unzstd(body: bytes, bytes_max: int) -> bytes:
    """Fed little by little, for zstandard bounds nothing itself: a block of 128 KiB can be said in 4 bytes."""
    few = max(64, bytes_max // 2**15)
    out, context = bytearray(), zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_MAX_BYTES)
    members, member = 1, context.decompressobj()
    for start in range(0, len(body), few):
        piece = body[start : start + few]
        while piece:
            if member.eof:
                members, member = members + 1, context.decompressobj()
            _grow(out, member.decompress(piece), bytes_max)
            piece = member.unused_data if member.eof else b""
        if members > _MEMBERS_MAX:
            raise zstandard.ZstdError
    if not member.eof:
        raise zstandard.ZstdError
    return bytes(out)


def _grow(out: bytearray, more: bytes, bytes_max: int) -> None:
    out += more
    if len(out) > bytes_max:
        raise TooLarge(f"a body is {bytes_max} bytes decompressed at most", code="decompressed_too_large")
