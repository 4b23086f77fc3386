"""What an append to the local log costs: 16 appenders at once, 1,000 readings each. `python bench/stream.py [PATH]`"""

import asyncio
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from penstock.model.batch import Lane, batch_of
from penstock.stream.log import LogStream
from penstock.stream.log_writer import Limits

APPENDERS = 16
READINGS = 1_000
TAGS = 200
SECONDS = 5.0


def one_batch(seed: int):
    random = np.random.default_rng(seed)
    paths = [f"lyon/press/line-{i // 20}/press-{i}/temperature" for i in range(TAGS)]
    ts = 1_700_000_000_000_000 + random.integers(0, 10**9, READINGS)
    return batch_of(paths, random.integers(0, TAGS, READINGS), ts, random.normal(80, 2, READINGS))


async def append_until(log: LogStream, until: float, seed: int) -> list[float]:
    batch = one_batch(seed)
    times = []
    while (started := time.perf_counter()) < until:
        await log.append({Lane.BULK: batch}, time.time_ns() // 1_000)
        times.append(time.perf_counter() - started)
    return times


async def take_until(log: LogStream, until: float) -> int:
    position = taken = 0
    while time.perf_counter() < until:
        for entry in await log.take("bulk", position, 20_000):
            position, taken = entry.position, entry.counted
        await log.forget("bulk", position)
        await log.wait(0.1)
    return taken


async def bench(folder: Path) -> None:
    log = LogStream(folder, Limits(2**31, 256 * 2**20, 7, 0), writable=True)
    cpu, started = time.process_time(), time.perf_counter()
    until = started + SECONDS
    *per_appender, taken = await asyncio.gather(
        *(append_until(log, until, seed) for seed in range(APPENDERS)), take_until(log, until)
    )
    elapsed, cpu = time.perf_counter() - started, time.process_time() - cpu
    await log.close()
    times = np.concatenate([np.array(times) for times in per_appender]) * 1e3
    readings = times.size * READINGS
    print(f"appended {readings / elapsed:,.0f}/s ({elapsed / readings * 1e6:.3f} us wall a reading), taken {taken:,}")
    print(
        f"append p50 {np.percentile(times, 50):.1f} ms, p99 {np.percentile(times, 99):.1f} ms, max {times.max():.1f} ms"
    )
    print(f"cpu {cpu / readings * 1e6:.3f} us a reading, appending and taking together")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as folder:
        asyncio.run(bench(Path(folder)))
