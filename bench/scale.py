"""What many workers cost: readings per CPU-second of one, two and four of them. `python bench/scale.py [READINGS]`

The same readings lie in a fake Kinesis of eight shards; so many workers store them in a real PostgreSQL. Two cores do
not show how fast four workers are, but what a reading costs when they share the work: a bottleneck that they had in
common would make it dearer. Reading limits are Kinesis's own; the fake's CPU is not counted.
"""

import asyncio
import os
import signal
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

sys.path += [str(Path(__file__).parents[1] / name) for name in ("proofs", "tests")]

from fleet import REGION, Fleet, Service
from put import REQUEST_READINGS, endless, plant_requests

from penstock.bench import cpu_s
from penstock.clock import SystemClock
from penstock.model.batch import Lane
from penstock.store.postgres import Database
from penstock.store.producers import Producers
from penstock.stream.kinesis.client import KinesisSettings, open_client
from penstock.stream.kinesis.put import Producer, PutLimits
from penstock.stream.kinesis.shards import Lanes

SHARDS = 8
WORKERS = (1, 2, 4)


async def fill(fleet: Fleet, readings: int, *, after: int = 0) -> None:
    """Put *readings* of a plant of 10,000 tags at 10 Hz, *after* so many, in records as full as it makes them."""
    os.environ |= {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench"}
    settings = KinesisSettings("plant", region=REGION, endpoint=f"http://127.0.0.1:{fleet.kinesis_port}")
    async with await open_client(settings) as client:
        lanes = Lanes(await client.describe("plant"))
        producer = Producer(client, settings.streams, lanes.identity, PutLimits(linger_s=0.05), SystemClock())
        source = islice(endless(plant_requests()), after // REQUEST_READINGS, None)
        for _ in range(readings // REQUEST_READINGS // 10):
            now_us = time.time_ns() // 1_000
            await asyncio.gather(*(producer.append({Lane.BULK: next(source)}, now_us) for _ in range(10)))
        acked = producer.acked()
        database = Database(fleet.store_url, application="bench", connections_max=2)
        await database.open()
        await Producers(database).publish(lanes.identity, producer.producer, acked.belts, acked.minutes)
        await database.close()
        await producer.close()


def shares(fleet: Fleet) -> list[int]:
    return [
        held for (held,) in fleet.ask("select count(*) from lease where owner is not null group by owner order by 1")
    ]


def hire(fleet: Fleet, workers: int) -> list[Service]:
    """Workers that have divided the shards among them, and stand still."""
    services = [fleet.worker(f"work{i}") for i in range(workers)]
    while shares(fleet) != [SHARDS // workers] * workers:
        time.sleep(0.25)
    time.sleep(1)
    for service in services:
        service.signal(signal.SIGSTOP)
    return services


def drain(fleet: Fleet, services: list[Service], readings: int) -> dict[str, float]:
    """CPU microseconds a reading, of workers and of PostgreSQL."""
    pids = [service.process.pid for service in services if service.process]
    postgres = fleet.postgres.pid or 0
    work, base = sum(sum(cpu_s(pid).values()) for pid in pids), sum(cpu_s(postgres).values())
    ((stored,),) = fleet.ask("select coalesce(sum(stored + duplicate), 0)::bigint from shard")
    upto, began = stored + readings, time.monotonic()
    for service in services:
        service.signal(signal.SIGCONT)
    while stored < upto:
        time.sleep(0.2)
        ((stored,),) = fleet.ask("select coalesce(sum(stored + duplicate), 0)::bigint from shard")
    took = time.monotonic() - began
    work = sum(sum(cpu_s(pid).values()) for pid in pids) - work
    used = sum(cpu_s(postgres).values()) - base
    return {"seconds": took, "worker": 1e6 * work / readings, "postgres": 1e6 * used / readings}


def measured(folder: Path, workers: int, readings: int) -> dict[str, float]:
    fast = ["--write-records-per-s", "1e9", "--write-bytes-per-s", "1e12"]
    with Fleet(folder, shards=SHARDS, fake=fast, work__lease_s="120") as fleet:
        services = hire(fleet, workers)
        for service in services:
            service.signal(signal.SIGCONT)
        asyncio.run(fill(fleet, 20_000))  # registers the tags, which costs once
        fleet.drained()
        for service in services:
            service.signal(signal.SIGSTOP)
        asyncio.run(fill(fleet, readings, after=20_000))
        return drain(fleet, services, readings)


def main() -> None:
    readings = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    base = 0.0
    for workers in WORKERS:
        with tempfile.TemporaryDirectory() as folder:
            got = measured(Path(folder), workers, readings)
        each = got["worker"] + got["postgres"]
        base = base or each
        print(
            f"{workers} workers: {1e6 / each:>9,.0f} readings a CPU-second ({100 * base / each:5.1f} % of one worker's)"
            f" | CPU us a reading: work {got['worker']:.2f}, PostgreSQL {got['postgres']:.2f} | {got['seconds']:.1f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
