"""What it costs to put readings into Kinesis, and how many shards that takes. `python bench/put.py [SECONDS A ROW]`

The simulated plant's tags, in requests of 1,000 readings, against a Kinesis of our own in another process. A row runs
one ingest process of a fleet, with its share of the rate; the fleet's figures are so many times its own.
"""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from penstock.clock import SystemClock
from penstock.model.batch import NO_TEXT, Lane, ReadingBatch, batch_of
from penstock.simulate.faults import FaultTable
from penstock.simulate.feed import columns_at
from penstock.simulate.plant import Plant
from penstock.stream.kinesis.client import Kinesis, KinesisSettings, open_client
from penstock.stream.kinesis.put import Producer, PutLimits
from penstock.telemetry import PUT_BYTES, PUT_READINGS, PUT_RECORDS

TESTS = Path(__file__).parents[1] / "tests"
TAGS = 10_000
REQUEST_READINGS = 1_000
TICKS = 10
START_US = 1_790_000_000_000_000
PUT_UNIT_BYTES = 25 * 2**10
SHARD_RECORDS_PER_S, SHARD_BYTES_PER_S = 1_000, 2**20
HEADROOM = 1.3
FLEETS = ((1_000, 1), (10_000, 1), (50_000, 2), (100_000, 2), (100_000, 4), (100_000, 8))
"""Readings a second in all, and ingest processes."""


class Count(NamedTuple):
    records: float
    readings: float
    size_bytes: float

    def since(self, before: "Count") -> "Count":
        return Count(*(now - then for now, then in zip(self, before, strict=True)))


def counted() -> Count:
    return Count(*(c.labels(Lane.BULK)._value.get() for c in (PUT_RECORDS, PUT_READINGS, PUT_BYTES)))  # noqa: SLF001


def plant_requests() -> list[ReadingBatch]:
    """A second of the plant at 10 Hz, tick by tick, in requests; every one holds other tags than its neighbours."""
    plant = Plant(TAGS)
    faults = FaultTable(plant, (), START_US)
    ticks = [columns_at(plant, faults, START_US + tick * 100_000) for tick in range(TICKS)]
    return [one_request(tick, lo) for tick in ticks for lo in range(0, TAGS, REQUEST_READINGS)]


def one_request(columns: dict, lo: int) -> ReadingBatch:
    tags, ts, values, states = (
        columns[name][lo : lo + REQUEST_READINGS] for name in ("tags", "ts", "values", "states")
    )
    known = tuple(dict.fromkeys(state for state in states if state))
    return batch_of(
        tags,
        range(len(tags)),
        ts,
        [np.nan if value is None else value for value in values],
        states=known,
        state=[known.index(state) if state else NO_TEXT for state in states],
    )


def endless(requests: list[ReadingBatch]) -> Iterator[ReadingBatch]:
    second = 0
    while True:
        shift_us = second * 1_000_000
        yield from (replace(batch, ts=batch.ts + shift_us) for batch in requests)
        second += 1


async def feed(producer: Producer, requests: Iterator[ReadingBatch], rate: float, seconds: float) -> list[float]:
    """Requests on schedule, whatever becomes of them; their times from the scheduled moment, in ms."""
    begun_s, sent, under_way, times = time.perf_counter(), 0, set(), []

    async def append(batch: ReadingBatch, due_s: float) -> None:
        await producer.append({Lane.BULK: batch}, time.time_ns() // 1_000)
        times.append((time.perf_counter() - due_s) * 1e3)

    while (due_s := begun_s + sent * REQUEST_READINGS / rate) < begun_s + seconds:
        await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
        under_way.add(asyncio.create_task(append(next(requests), due_s)))
        sent += 1
    await asyncio.gather(*under_way)
    return times


async def one_row(client: Kinesis, requests: list[ReadingBatch], total: int, processes: int, seconds: float) -> None:
    producer = Producer(client, client.settings.streams, "bench", PutLimits(), SystemClock())
    source = endless(requests)
    await feed(producer, source, total / processes, 0.3)
    before, cpu_s, begun_s = counted(), time.process_time(), time.perf_counter()
    times = np.array(await feed(producer, source, total / processes, seconds))
    cpu_s, put = time.process_time() - cpu_s, counted().since(before)
    took_s = max(seconds, time.perf_counter() - begun_s)
    await producer.close()
    records_s, bytes_s = put.records / seconds * processes, put.size_bytes / seconds * processes
    shards = HEADROOM * max(records_s / SHARD_RECORDS_PER_S, bytes_s / SHARD_BYTES_PER_S)
    units = put.records * np.ceil(put.size_bytes / put.records / PUT_UNIT_BYTES)
    print(
        f"{total:>8,}/s by {processes}: {put.readings / took_s * processes:>9,.0f}/s put"
        f" | cpu {cpu_s / put.readings * 1e6:.2f} us a reading | {put.readings / put.records:6.1f} readings a record"
        f" | {put.size_bytes / put.readings:5.1f} B a reading | {put.readings / units:6.1f} readings a PUT unit"
        f" | {records_s:6,.0f} records/s | shards {int(np.ceil(shards))} ({shards:.1f})"
        f" | durable p50 {np.percentile(times, 50):.0f} p99 {np.percentile(times, 99):.0f} ms"
    )


async def bench(port: int, seconds: float) -> None:
    os.environ |= {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench"}
    requests = plant_requests()
    settings = KinesisSettings("bench", region="us-east-1", endpoint=f"http://127.0.0.1:{port}")
    async with await open_client(settings) as client:
        await client.api.create_stream(StreamName="bench", ShardCount=16)
        await client.api.get_waiter("stream_exists").wait(StreamName="bench", WaiterConfig={"Delay": 1})
        for total, processes in FLEETS:
            await one_row(client, requests, total, processes, seconds)


def main(seconds: float) -> None:
    fake = subprocess.Popen(
        [sys.executable, "-m", "kinesis_fake", "--port", "0"],
        env=os.environ | {"PYTHONPATH": str(TESTS)}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert fake.stdout is not None
        port = int(fake.stdout.readline().strip().rpartition(":")[2].rstrip("/"))
        asyncio.run(bench(port, seconds))
    finally:
        fake.terminate()
        fake.wait()


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 2.0)
