"""Bodies: collected within their caps, decompressed without trust."""

import gzip
import time

import pytest
import zstandard

from penstock.errors import Backpressure, Rejected, TooLarge, Undecodable
from penstock.ingest.body import Disconnected, Room, decompress, read_body

MIB = 2**20
TEXT = b'{"tag":"a/b"}' * 1000


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("zstd", zstd), ("GZIP", gzip.compress)])
def test_one_or_several_members_come_out_whole(encoding, compress):
    assert decompress(compress(TEXT), encoding, MIB) == TEXT
    assert decompress(compress(TEXT) * 3, encoding, MIB) == TEXT * 3
    assert decompress(compress(TEXT), encoding, len(TEXT)) == TEXT
    assert decompress(b"plain", "identity", MIB) == b"plain"


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("zstd", zstd)])
def test_what_is_cut_short_or_not_compressed_is_refused(encoding, compress):
    whole = compress(TEXT)
    for body in (whole[:-1], whole[: len(whole) // 2], b"", b"nonsense", whole + b"nonsense", compress(b"") * 100):
        with pytest.raises(Undecodable) as raised:
            decompress(body, encoding, MIB)
        assert raised.value.code == "not_compressed"


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("zstd", zstd)])
def test_bombs_are_refused_cheaply(encoding, compress):
    bomb = compress(bytes(256 * MIB))
    begun_s = time.process_time()
    with pytest.raises(TooLarge) as raised:
        decompress(bomb, encoding, 4 * MIB)
    assert raised.value.code == "decompressed_too_large"
    assert time.process_time() - begun_s < 0.1


def test_other_encodings_are_refused():
    with pytest.raises(Rejected) as raised:
        decompress(b"", "br", MIB)
    assert raised.value.code == "content_encoding"


def pieces(*given, end="http.request"):
    messages = [{"type": "http.request", "body": piece, "more_body": True} for piece in given] + [{"type": end}]

    async def receive():
        return messages.pop(0)

    return receive


async def test_a_body_is_bounded_alone_and_together_with_others():
    room = Room(10)
    assert await read_body(pieces(b"abc", b"def"), 8, room) == b"abcdef"
    assert room.taken == 6
    with pytest.raises(Backpressure):
        await read_body(pieces(b"abc", b"def"), 8, room)
    assert room.taken == 6
    with pytest.raises(TooLarge):
        await read_body(pieces(b"abc"), 2, room)
    with pytest.raises(Disconnected):
        await read_body(pieces(b"a", end="http.disconnect"), 8, room)
    assert room.taken == 6
    room.give_back(6)
    assert await read_body(pieces(b"abc", b"def"), 8, room) == b"abcdef"
