"""The record that travels through Kinesis: every bit comes back, or none does; small; and harmless whoever wrote it."""

import tracemalloc
import zlib
from pathlib import Path
from uuid import UUID

import msgspec
import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import TooLarge, Undecodable
from penstock.model.batch import NO_TEXT, ReadingBatch, batch_of
from penstock.simulate import Plant
from penstock.simulate.faults import FaultTable
from penstock.simulate.feed import columns_at
from penstock.stream.envelope import BODY_BYTES_MAX, MAGIC, seal, unseal
from penstock.stream.record import encode_batch
from penstock.stream.rows import IS_RAW, ITEM, STATE, TAG, UNIT
from penstock.stream.squeeze import CONSTANT
from penstock.stream.wire import (
    READINGS_MAX,
    Part,
    Stamp,
    decode_record,
    encode_joined,
    encode_record,
    is_record,
    take_apart,
)
from stream.readings import any_batch, plain

STAMP = Stamp(UUID(int=0x8F3A_1C55_77B0_4E11_9D02_6A4B_33C8_E7F1), 311, 48_113_402)
NOW_US = 1_795_000_000_000_000
INT64 = st.integers(-(2**63), 2**63 - 1)

stamps = st.builds(Stamp, st.uuids(), st.integers(0, 2**16 - 1), st.integers(0, 2**63 - 1))


@st.composite
def any_parts(draw: st.DrawFn) -> list[Part]:
    requests = draw(st.lists(INT64, min_size=1, max_size=5, unique=True).map(sorted))
    shared = draw(any_batch())
    some = st.lists(st.integers(0, len(shared) - 1), min_size=1, max_size=6)
    batches = st.one_of(any_batch(), some.map(lambda places: shared.pick(np.array(places))))
    return [Part(request, draw(batches)) for request in requests]


def said(batch: ReadingBatch) -> list[tuple[object, ...]]:
    """By reading, to the bit, with texts spelled out."""
    return [
        (
            batch.paths[batch.tag[i]],
            int(batch.ts[i]),
            int(batch.value.view(np.int64)[i]),
            None if batch.state[i] == NO_TEXT else batch.states[batch.state[i]],
            int(batch.quality[i]),
            int(batch.seq[i]),
            None if batch.unit[i] == NO_TEXT else batch.units[batch.unit[i]],
            int(batch.index[i]),
        )
        for i in range(len(batch))
    ]


def valued(*values: float) -> ReadingBatch:
    return batch_of(("a/b",), [0] * len(values), range(len(values)), values)


def record_of(*batches: ReadingBatch) -> bytes:
    return encode_record(STAMP, NOW_US, [Part(7 + i, batch) for i, batch in enumerate(batches)])


def simulated(n: int, seed: int = 1) -> ReadingBatch:
    """Readings of *n* tags out of ten thousand, as the simulated plant reports them."""
    plant = Plant(10_000)
    all_of = columns_at(plant, FaultTable(plant, (), NOW_US), NOW_US)
    chosen = np.sort(np.random.default_rng(seed).choice(10_000, n, replace=False)).tolist()
    states = ("RUNNING", "IDLE", "FAULT", "MAINTENANCE")
    return batch_of(
        [all_of["tags"][i] for i in chosen],
        range(n),
        [all_of["ts"][i] for i in chosen],
        [np.nan if all_of["values"][i] is None else all_of["values"][i] for i in chosen],
        states=states,
        state=[NO_TEXT if all_of["states"][i] is None else states.index(all_of["states"][i]) for i in chosen],
        index=chosen,
    )


@given(stamps, INT64, any_parts())
def test_what_was_put_comes_back_to_the_bit(stamp: Stamp, received_us: int, parts: list[Part]):
    record = decode_record(encode_record(stamp, received_us, parts))
    assert (record.stamp, record.received_us) == (stamp, received_us)
    assert [(part.request, said(part.batch)) for part in take_apart(record)] == [
        (part.request, said(part.batch)) for part in parts
    ]


@given(any_parts())
def test_the_joined_batch_counts_its_readings_and_says_where_each_came_from(parts: list[Part]):
    record = decode_record(encode_record(STAMP, NOW_US, parts))
    assert record.batch.index.tolist() == list(range(len(record.batch)))
    assert record.request.tolist() == [part.request for part in parts for _ in range(len(part.batch))]
    assert record.item.tolist() == [int(place) for part in parts for place in part.batch.index]
    assert [column.dtype for column in (record.request, record.item, record.batch.tag, record.batch.ts)] == [
        np.int64, np.int32, np.int32, np.int64,
    ]  # fmt: skip


@given(any_parts())
def test_a_record_holds_no_text_that_its_readings_do_not_use_and_none_twice_from_different_tables(parts: list[Part]):
    batch = decode_record(encode_record(STAMP, NOW_US, parts)).batch
    for texts, codes in ((batch.paths, batch.tag), (batch.states, batch.state), (batch.units, batch.unit)):
        assert set(range(len(texts))) == set(codes.tolist()) - {NO_TEXT}


@given(st.lists(st.decimals(-(10**9), 10**9, places=4).map(float) | st.floats(), min_size=1, max_size=30))
def test_every_float_comes_back_to_the_bit_among_others(values: list[float]):
    batch = valued(*values)
    assert decode_record(record_of(batch)).batch.value.tobytes() == batch.value.tobytes()


@given(any_batch(), st.data())
def test_what_is_joined_already_makes_the_same_record(batch: ReadingBatch, data: st.DataObject):
    request = np.array(sorted(data.draw(st.lists(INT64, min_size=len(batch), max_size=len(batch)))), np.int64)
    parts = [Part(int(number), batch.pick(request == number)) for number in np.unique(request)]
    assert encode_joined(STAMP, NOW_US, batch, request) == encode_record(STAMP, NOW_US, parts)


def test_neighbours_of_one_request_come_back_as_one_part():
    parts = [Part(7, plain(3)), Part(7, plain(2)), Part(8, plain(1))]
    again = take_apart(decode_record(encode_record(STAMP, NOW_US, parts)))
    assert [(part.request, len(part.batch)) for part in again] == [(7, 5), (8, 1)]


def test_a_reading_of_the_simulated_plant_takes_less_than_twenty_five_bytes():
    assert len(record_of(simulated(55))) / 55 < 20
    assert len(record_of(*(simulated(14, seed) for seed in range(4)))) / 56 < 23
    assert len(record_of(simulated(2_000))) / 2_000 < 12


def test_many_readings_of_few_tags_take_a_few_bytes_each():
    n = 2_000
    ts = NOW_US + np.arange(n) // 20 * 1_000_000
    value = np.round(80 + np.sin(np.arange(n) / 500), 2)
    steady = batch_of([f"lyon/hall-1/line-1/press-{i}/temperature" for i in range(20)], np.arange(n) % 20, ts, value)
    assert len(record_of(steady)) / n < 2


def test_one_value_that_is_no_decimal_does_not_make_the_others_large():
    values = [i / 10 for i in range(100)]
    assert len(record_of(valued(*values, np.pi))) < len(record_of(valued(*values, 10.0))) + 80


def test_every_bit_turned_is_noticed():
    record = bytearray(record_of(simulated(8), simulated(5)))
    for bit in range(8 * len(record)):
        record[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Undecodable):
            decode_record(bytes(record))
        record[bit // 8] ^= 1 << bit % 8
    decode_record(bytes(record))


def test_a_record_cut_short_or_lengthened_anywhere_is_refused():
    record = record_of(plain(9))
    for size in range(len(record)):
        with pytest.raises(Undecodable):
            decode_record(record[:size])
    with pytest.raises(Undecodable):
        decode_record(record + b"\0")


def test_a_record_of_a_later_version_says_so():
    record = bytearray(record_of(plain(2)))
    record[len(MAGIC)] += 1
    assert is_record(bytes(record))
    with pytest.raises(Undecodable, match="of a version we do not know"):
        decode_record(bytes(record))


def test_a_record_is_told_from_what_others_put():
    assert is_record(record_of(plain(1)))
    for other in (b"", b"{}", b'{"tag": "a/b"}\n', encode_batch(plain(1))):
        assert not is_record(other)
        with pytest.raises(Undecodable):
            decode_record(other)


def test_a_record_that_would_expand_without_bound_is_refused_before_it_does():
    with pytest.raises(TooLarge):
        seal(bytes(BODY_BYTES_MAX + 1))
    frame = zstandard.ZstdCompressor().compress(bytes(2**30))
    with pytest.raises(Undecodable, match="too large"):
        unseal(enveloped(frame))
    untold = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(2**20))
    with pytest.raises(Undecodable, match="does not say its size"):
        unseal(enveloped(untold))


def enveloped(frame: bytes) -> bytes:
    return MAGIC + b"\x01" + zlib.crc32(frame).to_bytes(4, "little") + frame


def body_of(record: bytes) -> tuple[list[object], bytes]:
    """The header's fields, and what stands behind it."""
    body = unseal(record)
    size = int.from_bytes(body[:2], "little")
    return msgspec.msgpack.decode(body[2 : 2 + size]), body[2 + size :]


READINGS, TEXTS, SHAPES = 4, 5, 9
"""Places in the header."""


def forged(header: list[object], rest: bytes) -> bytes:
    head = msgspec.msgpack.encode(header)
    return seal(len(head).to_bytes(2, "little") + head + rest)


NUMBERS = st.sampled_from(
    [-(2**63), -2, -1, 0, 1, 2, 7, 9, 10, 64, 65, 255, 999_999, READINGS_MAX + 1, 2**31, 2**64 - 1]
)
ANYTHING = st.one_of(NUMBERS, st.none(), st.just(""), st.just("ab"), st.just([]), st.just([0, 1, -1]), st.binary())


@given(any_parts(), st.data())
def test_a_header_that_lies_is_refused_or_read_but_never_trips(parts: list[Part], data: st.DataObject):
    header, rest = body_of(encode_record(STAMP, NOW_US, parts))
    spot = header
    while isinstance(spot, list) and spot:
        holder, at = spot, data.draw(st.integers(0, len(spot) - 1))
        spot = spot[at]
    holder[at] = data.draw(ANYTHING)
    read_or_refused(forged(header, rest))


@pytest.mark.parametrize(
    ("row", "value"),
    [(TAG, -1), (TAG, 1), (STATE, -2), (STATE, 0), (UNIT, -2), (UNIT, 0), (IS_RAW, 1), (IS_RAW, -1), (ITEM, -1)],
)
def test_a_reading_that_points_outside_its_record_is_refused(row: int, value: int):
    header, rest = body_of(record_of(valued(1.5)))
    header[SHAPES][row] = [value, 0, CONSTANT]
    with pytest.raises(Undecodable):
        decode_record(forged(header, rest))


def test_as_many_readings_as_a_record_may_claim_are_read_from_a_few_bytes_and_no_more():
    header, rest = body_of(record_of(valued(1.5)))
    header[READINGS] = READINGS_MAX
    tracemalloc.start()
    record = decode_record(forged(header, rest))
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(record.batch) == READINGS_MAX
    assert peak_bytes < 400 * 2**20
    header[READINGS] += 1
    with pytest.raises(Undecodable):
        decode_record(forged(header, rest))


@pytest.mark.parametrize("texts", [[0, 0, 0], [2, 0, 0], [1, 1, 0], [1, 0, 1]])
def test_texts_too_few_or_too_many_are_refused(texts: list[int]):
    header, rest = body_of(record_of(valued(1.5)))
    header[TEXTS] = texts
    with pytest.raises(Undecodable):
        decode_record(forged(header, rest))


def test_planes_too_few_or_too_many_are_refused():
    header, rest = body_of(record_of(valued(1.5, 0.1, np.pi)))
    for lying in (rest[:-1], rest + b"\0", b""):
        with pytest.raises(Undecodable):
            decode_record(forged(header, lying))


def test_a_separator_that_is_no_text_is_refused():
    body = unseal(record_of(plain(1)))
    assert body.count(b"\xa1\0") == 1
    with pytest.raises(Undecodable):
        decode_record(seal(body.replace(b"\xa1\0", b"\xa1\x80")))


@given(any_parts(), st.data())
def test_a_body_that_lies_is_refused_or_read_but_never_trips(parts: list[Part], data: st.DataObject):
    body = bytearray(unseal(encode_record(STAMP, NOW_US, parts)))
    for _ in range(data.draw(st.integers(1, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    read_or_refused(seal(bytes(body[: data.draw(st.integers(len(body) // 2, len(body)))])))


@given(st.binary(max_size=200))
def test_bytes_of_any_kind_are_refused(data: bytes):
    for record in (data, MAGIC + data, enveloped(data), seal(data)):
        with pytest.raises(Undecodable):
            decode_record(record)


def read_or_refused(record: bytes) -> None:
    """What is read from a forged record points nowhere outside it."""
    try:
        batch = decode_record(record).batch
    except Undecodable:
        return
    said(batch)


def test_more_readings_or_longer_texts_than_a_decoder_takes_are_not_encoded():
    with pytest.raises(TooLarge):
        record_of(plain(READINGS_MAX), plain(1))
    with pytest.raises(TooLarge):
        record_of(batch_of(("a/" + "b" * 1_024,), [0], [0], [0.0]))


def test_real_series_come_back_to_the_bit(tmp_path: Path):
    rng = np.random.default_rng(3)
    kinds = [
        np.cumsum(rng.normal(0, 0.1, 500)).round(6),
        rng.normal(70, 3, 500),
        rng.normal(70, 3, 500).astype(np.float32).astype(float),
        np.r_[1e300, -1e-300, np.inf, -np.inf, np.nan, -0.0, 5e-324, rng.integers(0, 2**40, 493)],
    ]
    for value in kinds:
        batch = batch_of(("plant/pump/load",), np.zeros(500, int), NOW_US + np.arange(500) * 60_000_000, value)
        assert said(decode_record(record_of(batch)).batch) == said(batch)
