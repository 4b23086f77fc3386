"""The record that travels through Kinesis: the parts of several requests as one, squeezed, and back bit for bit.

In its envelope: header length 2 | header, msgpack | texts | planes of the columns | planes of the raw values
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Final, NamedTuple
from uuid import UUID

import msgspec
import numpy as np

from penstock.errors import TooLarge, Undecodable
from penstock.model.batch import Int32s, Ints, ReadingBatch
from penstock.stream.envelope import BODY_BYTES_MAX, is_record, seal, unseal
from penstock.stream.figures import DECIMALS_MAX, Figures, figures_of, floats_of
from penstock.stream.rows import (
    IS_RAW,
    ITEM,
    REQUEST,
    ROWS,
    WHOLE,
    batch_of_rows,
    or_usual,
    restore,
    rows_of,
    unless_usual,
)
from penstock.stream.spelling import Spelling, join_texts, respell, split_texts
from penstock.stream.squeeze import Shape, squeeze, unsqueeze

__all__ = ["Part", "Record", "Stamp", "decode_record", "encode_joined", "encode_record", "is_record", "take_apart"]

READINGS_MAX: Final = 1_000_000

_LENGTH_BYTES: Final = 2


class Stamp(NamedTuple):
    """Who put a record, and its place among all that this producer ever put into the slice."""

    producer: UUID
    slice: int
    """0 <= slice < 2**16"""
    counted: int
    """Readings that the producer put into this slice, up to and including this record."""


class Part(NamedTuple):
    """What one request has in a record."""

    request: int
    """The producer's number of the request; grows."""
    batch: ReadingBatch
    """Its `index` is the reading's place in that request."""


class Record(NamedTuple):
    """A record as it was put."""

    stamp: Stamp
    received_us: int
    """When the first part was accepted."""
    batch: ReadingBatch
    """All parts joined in order; its `index` is 0..n-1."""
    request: Ints
    """By reading: the producer's number of its request."""
    item: Int32s
    """By reading: its place in that request."""


_Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_Size = Annotated[int, msgspec.Meta(ge=0, le=READINGS_MAX)]


class _Header(msgspec.Struct, frozen=True, array_like=True):
    """Everything but texts and planes."""

    producer: Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]
    slice: Annotated[int, msgspec.Meta(ge=0, lt=2**16)]
    counted: _Int64
    received_us: _Int64
    readings: Annotated[int, msgspec.Meta(ge=1, le=READINGS_MAX)]
    texts: tuple[_Size, _Size, _Size]
    """How many paths, states and units."""
    text_bytes: Annotated[int, msgspec.Meta(ge=0, le=BODY_BYTES_MAX)]
    separator: Annotated[str, msgspec.Meta(min_length=1, max_length=1)]
    decimals: Annotated[int, msgspec.Meta(ge=0, le=DECIMALS_MAX)]
    shapes: Annotated[tuple[Shape | None, ...], msgspec.Meta(min_length=ROWS, max_length=ROWS)]
    """None for the usual one."""
    raw_shapes: Annotated[tuple[Shape, ...], msgspec.Meta(max_length=1)]
    """Of the values that are no decimals, if there are any."""


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(_Header)


def encode_record(stamp: Stamp, received_us: int, parts: Sequence[Part]) -> bytes:
    """*parts*, none of them empty, as one record. Raises TooLarge for more than `decode_record` takes."""
    batches = [part.batch for part in parts]
    request = np.repeat(np.array([part.request for part in parts], np.int64), [len(batch) for batch in batches])
    return _encoded(stamp, received_us, batches, request)


def encode_joined(stamp: Stamp, received_us: int, batch: ReadingBatch, request: Ints) -> bytes:
    """As `encode_record`, of parts that are joined already. *request*: by reading, the number of its request."""
    return _encoded(stamp, received_us, [batch], request)


def _encoded(stamp: Stamp, received_us: int, batches: Sequence[ReadingBatch], request: Ints) -> bytes:
    n = request.size
    if n > READINGS_MAX:
        raise TooLarge(f"a record holds {READINGS_MAX:,} readings at most")
    tables = _tables(batches)
    figures = figures_of(np.concatenate([batch.value for batch in batches]))
    shapes, planes = squeeze(rows_of(request, batches, tables, figures, received_us))
    raw_shapes, raw_planes = squeeze(figures.bits[None]) if figures.bits.size else ([], b"")
    separator, texts = join_texts([text for table in tables for text in table.texts])
    paths, states, units = (len(table.texts) for table in tables)
    header = _Header(
        stamp.producer.bytes, stamp.slice, stamp.counted, received_us, n, (paths, states, units),
        len(texts), separator, figures.decimals, unless_usual(shapes), tuple(raw_shapes),
    )  # fmt: skip
    head = _encoder.encode(header)
    return seal(b"".join((len(head).to_bytes(_LENGTH_BYTES, "little"), head, texts, planes, raw_planes)))


def decode_record(data: bytes) -> Record:
    """The record that *data* holds. Raises Undecodable, whatever *data* is, unless it is just as it was written."""
    header, body = _opened(data)
    at = header.text_bytes
    texts = split_texts(body[:at], header.separator, header.texts)
    rows, raw_planes = unsqueeze(or_usual(header.shapes), body[at:], header.readings)
    restore(rows, header.received_us, header.texts)
    value = floats_of(_figures(header, rows, raw_planes))
    stamp = Stamp(UUID(bytes=header.producer), header.slice, header.counted)
    item = rows[ITEM].astype(np.int32)
    return Record(stamp, header.received_us, batch_of_rows(rows, value, *texts), rows[REQUEST], item)


def take_apart(record: Record) -> list[Part]:
    """What the producer gave. Neighbours of one request are one part; all parts share the record's texts."""
    request, batch = record.request, record.batch
    ends = (1 + np.flatnonzero(request[1:] != request[:-1])).tolist()
    return [
        Part(
            int(request[lo]),
            ReadingBatch(
                batch.paths, batch.states, batch.units,
                batch.tag[lo:hi], batch.ts[lo:hi], batch.value[lo:hi], batch.state[lo:hi],
                batch.quality[lo:hi], batch.seq[lo:hi], batch.unit[lo:hi], record.item[lo:hi],
            ),
        )
        for lo, hi in pairwise([0, *ends, len(batch)])
    ]  # fmt: skip


def _tables(batches: Sequence[ReadingBatch]) -> tuple[Spelling, Spelling, Spelling]:
    """Paths, states and units of all readings."""
    return (
        respell([Spelling(batch.paths, batch.tag) for batch in batches]),
        respell([Spelling(batch.states, batch.state) for batch in batches]),
        respell([Spelling(batch.units, batch.unit) for batch in batches]),
    )


def _opened(data: bytes) -> tuple[_Header, memoryview]:
    """The header, and what stands behind it."""
    body = memoryview(unseal(data))
    at = _LENGTH_BYTES + int.from_bytes(body[:_LENGTH_BYTES], "little")
    try:
        return _decoder.decode(body[_LENGTH_BYTES:at]), body[at:]
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Undecodable("a record's header cannot be read") from error


def _figures(header: _Header, rows: Ints, planes: memoryview) -> Figures:
    is_raw = rows[IS_RAW].astype(np.bool_)
    count = int(np.count_nonzero(is_raw))
    if bool(count) != bool(header.raw_shapes):
        raise Undecodable("a record has raw values and needs none, or needs some and has none")
    bits = rows[:0]
    if count:
        bits, planes = unsqueeze(header.raw_shapes, planes, count)
    if planes:
        raise Undecodable("a record is longer than it says")
    return Figures(header.decimals, rows[WHOLE], is_raw, bits.ravel())
