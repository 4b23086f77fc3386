"""Bytes and CPU a reading of a record in Kinesis, beside the local log's and JSON with gzip. `python bench/wire.py`

The readings are the simulated plant's: of 10,000 tags those of one slice, each once, with their units.
"""

import gzip
import json
import time
from collections.abc import Callable
from uuid import UUID

import numpy as np

from penstock.model.batch import COLUMNS, NO_TEXT, ReadingBatch, batch_of
from penstock.simulate import Plant
from penstock.simulate.faults import FaultTable
from penstock.simulate.feed import columns_at
from penstock.stream.record import decode_batch, encode_batch
from penstock.stream.wire import Part, Stamp, decode_record, encode_record

TAGS = 10_000
SIZES = (1, 10, 60, 300, 1_000, 2_000)
RECORDS = 12
SECONDS = 0.15
START_US = 1_795_000_000_000_000
STAMP = Stamp(UUID(int=0x8F3A_1C55_77B0_4E11_9D02_6A4B_33C8_E7F1), 311, 48_113_402)


def tick(plant: Plant) -> ReadingBatch:
    """Everything that the plant reports at one moment, as the front door decodes it."""
    said = columns_at(plant, FaultTable(plant, (), START_US), START_US)
    states = [s for s in dict.fromkeys(said["states"]) if s is not None]
    unit_of = {sensor.path: sensor.channel and sensor.channel.unit for sensor in plant.sensors}
    units = [unit_of[path] for path in said["tags"]]
    known = [u for u in dict.fromkeys(units) if u is not None]
    return batch_of(
        said["tags"],
        np.arange(len(units)),
        said["ts"],
        [np.nan if value is None else value for value in said["values"]],
        states=states,
        state=[NO_TEXT if s is None else states.index(s) for s in said["states"]],
        units=known,
        unit=[NO_TEXT if u is None else known.index(u) for u in units],
    )


def parts_of(whole: ReadingBatch, n: int, requests: int, seed: int) -> list[Part]:
    """*n* readings of different tags: what so many requests, of a thousand readings each, have for one slice."""
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(whole))
    sizes = [len(some) for some in np.array_split(np.arange(n), requests)]
    starts = np.linspace(0, len(whole) - max(1_000, sizes[0]), requests).astype(int)
    parts = []
    for number, (start, size) in enumerate(zip(starts.tolist(), sizes, strict=True)):
        request = own_texts(whole.pick(np.sort(shuffled[start : start + max(1_000, size)])))
        chosen = np.sort(rng.choice(len(request), size, replace=False))
        parts.append(Part(7_000_000 + seed * requests + number, request.pick(chosen)))
    return parts


def as_json(batch: ReadingBatch) -> bytes:
    rows = [
        {
            "tag": batch.paths[batch.tag[i]],
            "ts": int(batch.ts[i]),
            **({"value": batch.value[i]} if batch.state[i] < 0 else {"state": batch.states[batch.state[i]]}),
            **({"unit": batch.units[batch.unit[i]]} if batch.unit[i] >= 0 else {}),
        }
        for i in range(len(batch))
    ]
    return gzip.compress(json.dumps(rows).encode())


def own_texts(batch: ReadingBatch) -> ReadingBatch:
    """With no more paths than readings, as a request of its own would have."""
    used = tuple(batch.paths[i] for i in batch.tag)
    places = np.arange(len(used), dtype=np.int32)
    columns = {name: getattr(batch, name) for name in COLUMNS} | {"tag": places, "index": places}
    return ReadingBatch(used, batch.states, batch.units, **columns)


def us(act: Callable[[int], object], readings: int) -> float:
    """CPU microseconds a reading, the best of a few rounds."""
    best, until = float("inf"), time.perf_counter() + SECONDS
    while time.perf_counter() < until:
        started = time.process_time()
        for i in range(RECORDS):
            act(i)
        best = min(best, time.process_time() - started)
    return best * 1e6 / RECORDS / readings


def line(whole: ReadingBatch, n: int, requests: int) -> str:
    given = [parts_of(whole, n, requests, seed) for seed in range(RECORDS)]
    records = [encode_record(STAMP, START_US, parts) for parts in given]
    joined = [own_texts(decode_record(record).batch) for record in records]
    logged = [encode_batch(batch) for batch in joined]
    sizes = [sum(map(len, of)) / RECORDS / n for of in (records, logged, list(map(as_json, joined)))]
    times = [
        us(lambda i: encode_record(STAMP, START_US, given[i]), n),
        us(lambda i: decode_record(records[i]), n),
        us(lambda i: encode_batch(joined[i]), n),
        us(lambda i: decode_batch(logged[i]), n),
    ]
    ours, log = (f"{sizes[i]:7.1f} {times[2 * i]:8.2f} {times[2 * i + 1]:8.2f}" for i in (0, 1))
    return f"{n:8,} {requests:8} | {ours} | {log} | {sizes[2]:7.1f}"


def main() -> None:
    whole = tick(Plant(TAGS))
    print(f"{TAGS:,} tags of the simulated plant; bytes a reading, CPU us a reading to encode and to decode")
    print("readings requests |  wire B   encode   decode |   log B   encode   decode | JSON+gzip B")
    for requests in (1, 4, 60):
        for n in SIZES:
            if requests <= n:
                print(line(whole, n, requests))


if __name__ == "__main__":
    main()
