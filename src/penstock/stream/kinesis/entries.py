"""A record as an entry: ours, somebody else's, several in one by Amazon's producer library, or broken."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Final

import numpy as np

from penstock.errors import Undecodable
from penstock.model.batch import COLUMNS, ReadingBatch, batch_of
from penstock.stream.kinesis.feed import Raw
from penstock.stream.kinesis.kpl import is_aggregated, user_records
from penstock.stream.port import Entry, Foreign, Origin, Poison
from penstock.stream.spelling import Spelling, respell
from penstock.stream.wire import decode_record, is_record

RAW_BYTES_MAX: Final = 64 * 2**10
"""Of what cannot be decoded so much is kept."""
ITEMS_MAX: Final = 100_000
DECOMPRESSED_BYTES_MAX: Final = 16 * 2**20
"""Of all that an aggregated record holds; the user record that goes beyond is the last that is decoded."""
TOO_MUCH: Final = "too_large"
TOO_MUCH_WHY: Final = "the aggregated record holds more than one entry may; put fewer or smaller records into one"
NOTHING: Final = batch_of((), (), (), ())

DecodeForeign = Callable[[bytes], Foreign]


def entry_of(shard: str, raw: Raw, decode_foreign: DecodeForeign) -> Entry:
    """Whatever the record is, its place in the shard gets an entry, so that it never stands in anybody's way."""
    try:
        if is_record(raw.data):
            return _ours(shard, raw)
        records = user_records(raw.data) if is_aggregated(raw.data) else [raw.data]
    except Undecodable as error:
        poison = Poison(0, error.code, str(error), raw.data[:RAW_BYTES_MAX])
        return _entry(shard, raw, Foreign(NOTHING, (poison,)))
    return _entry(shard, raw, joined(_within_bounds(records, decode_foreign)))


def _within_bounds(records: Iterable[bytes], decode_foreign: DecodeForeign) -> Iterator[Foreign]:
    """One record may hold a thousand bombs: what goes beyond its bounds is kept as it came, for a person to see."""
    items = size = 0
    for record in records:
        if items > ITEMS_MAX or size > DECOMPRESSED_BYTES_MAX:
            yield Foreign(NOTHING, (Poison(0, TOO_MUCH, TOO_MUCH_WHY, record[:RAW_BYTES_MAX]),))
            continue
        part = decode_foreign(record)
        items += len(part.batch) + len(part.poison)
        size += part.size_bytes
        yield part


def joined(parts: Iterable[Foreign]) -> Foreign:
    """Several in a row as one: places count on."""
    batches, poison, first = [], [], 0
    for batch, bad, _ in parts:
        batches.append(replace(batch, index=batch.index + np.int32(first)))
        poison += [one._replace(item=one.item + first) for one in bad]
        first += max([-1, *(one.item for one in bad), *batch.index[-1:].tolist()]) + 1
    return Foreign(_one_batch([batch for batch in batches if len(batch)]), tuple(poison))


def _ours(shard: str, raw: Raw) -> Entry:
    record = decode_record(raw.data)
    stamp = record.stamp
    origin = Origin(stamp.producer, stamp.slice, stamp.counted, record.request, record.item)
    return Entry(shard, raw.position, 0, record.received_us, record.batch, origin)


def _entry(shard: str, raw: Raw, held: Foreign) -> Entry:
    return Entry(shard, raw.position, 0, raw.arrived_ms * 1_000, held.batch, None, held.poison)


def _one_batch(batches: list[ReadingBatch]) -> ReadingBatch:
    if len(batches) <= 1:
        return batches[0] if batches else NOTHING
    columns = {name: np.concatenate([getattr(batch, name) for batch in batches]) for name in COLUMNS}
    paths, columns["tag"] = respell([Spelling(batch.paths, batch.tag) for batch in batches])
    states, columns["state"] = respell([Spelling(batch.states, batch.state) for batch in batches])
    units, columns["unit"] = respell([Spelling(batch.units, batch.unit) for batch in batches])
    return ReadingBatch(paths, states, units, **columns)
