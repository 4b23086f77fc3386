"""The frames of application/vnd.amazon.eventstream: lengths, headers, payload, and a checksum over each part."""

import struct
from binascii import crc32
from collections.abc import Mapping

_STRING = 7


def event(kind: str, payload: bytes) -> bytes:
    headers = {":message-type": "event", ":event-type": kind, ":content-type": "application/json"}
    return frame(headers, payload)


def exception(code: str, payload: bytes) -> bytes:
    headers = {":message-type": "exception", ":exception-type": code, ":content-type": "application/json"}
    return frame(headers, payload)


def frame(headers: Mapping[str, str], payload: bytes) -> bytes:
    packed = b"".join(_header(name.encode(), value.encode()) for name, value in headers.items())
    prelude = struct.pack(">II", 16 + len(packed) + len(payload), len(packed))
    unsealed = prelude + struct.pack(">I", crc32(prelude)) + packed + payload
    return unsealed + struct.pack(">I", crc32(unsealed))


def _header(name: bytes, value: bytes) -> bytes:
    return struct.pack(">B", len(name)) + name + struct.pack(">BH", _STRING, len(value)) + value
