"""CPU of the process station alone: `Worker.commit` over a history in memory and a detector that finds nothing.

Prints one JSON object, then a table. Two shapes: gateways send each of their tags once, series send a few tags often.
"""

import asyncio
import json
import platform
import sys
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from penstock.clock import FakeClock
from penstock.model.batch import NO_SEQ, batch_of
from penstock.process.columns import Columns
from penstock.process.commit import WorkerLimits
from penstock.process.detect.port import Verdict
from penstock.process.tags import TagTable
from penstock.process.validate import Validate
from penstock.process.worker import Worker
from penstock.store.memory import MemoryHistory
from penstock.stream.batch_id import LOCAL
from penstock.stream.memory import MemoryStream
from penstock.stream.port import Entry

TAGS = 10_000
ENTRIES, READINGS = 20, 1_000
FLUSHES, WARM = 24, 4
T0_US = 1_790_000_000_000_000
random = np.random.default_rng(7)


class Silent:
    """Finds nothing and learns nothing."""

    def __init__(self, table: TagTable) -> None:
        pass

    def run(self, readings: Columns, now_us: int) -> Verdict[None]:
        return Verdict((), None)

    def tick(self, now_us: int) -> Verdict[None]:
        return Verdict((), None)

    def remember(self, state: None) -> None:
        pass

    def snapshot(self) -> bytes:
        return b""

    def restore(self, snapshot: bytes) -> None:
        pass


class Shape(NamedTuple):
    name: str
    tags_of: Callable[[int], Sequence[int]]
    """The tags of an entry's readings, in order."""
    seq: bool = False


def gateway(number: int) -> Sequence[int]:
    first = number * READINGS % TAGS
    return random.permutation(np.arange(first, first + READINGS)).tolist()


def series(number: int) -> Sequence[int]:
    first = number * 100 % TAGS
    return np.tile(np.arange(first, first + 100), READINGS // 100).tolist()


SHAPES = (Shape("gateways", gateway), Shape("gateways, seq", gateway, seq=True), Shape("series", series))


def entry_of(shape: Shape, number: int) -> Entry:
    """As the stream would hand it over: every path a string of its own, hashed by nobody yet."""
    tags = shape.tags_of(number)
    own = list(dict.fromkeys(tags))
    at = {tag: i for i, tag in enumerate(own)}
    ts = T0_US + number * 1_000_000 + np.arange(READINGS) * 950 + random.integers(0, 900, READINGS)
    batch = batch_of(
        [f"lyon/press/line-{tag % 10}/press-{tag}/temperature" for tag in own],
        [at[tag] for tag in tags],
        ts,
        random.normal(80, 5, READINGS),
        seq=ts - T0_US if shape.seq else np.full(READINGS, NO_SEQ),
    )
    return Entry("bulk", number + 1, (number + 1) * READINGS, int(ts[-1]), batch)


async def measure(shape: Shape) -> float:
    """CPU microseconds a reading, registration of the tags not counted."""
    clock, history, stream = FakeClock(T0_US), MemoryHistory(), MemoryStream(2**30)
    worker = Worker(
        unit=LOCAL, claim=lambda: history.claim(stream.identity, LOCAL.names, "bench"),
        stream=stream, history=history, snapshots=history, detector=Silent, validate=Validate(300.0, 2_557.0),
        limits=WorkerLimits(), clock=clock,
    )  # fmt: skip
    holding = await worker.start()
    entries = [entry_of(shape, number) for number in range(FLUSHES * ENTRIES)]
    spent = []
    for first in range(0, len(entries), ENTRIES):
        flush = entries[first : first + ENTRIES]
        clock.advance(ENTRIES * 1_000_000)
        began = time.process_time()
        await worker.commit(holding, "bulk", flush)
        spent.append(time.process_time() - began)
    assert history.fates["stored"] == len(entries) * READINGS
    return 1e6 * float(np.median(spent[WARM:])) / (ENTRIES * READINGS)


def main() -> None:
    figures = {shape.name: asyncio.run(measure(shape)) for shape in SHAPES}
    machine = f"{platform.machine()}, Python {platform.python_version()}, numpy {np.__version__}"
    flush = {"entries": ENTRIES, "readings_each": READINGS, "tags": TAGS}
    print(json.dumps({"machine": machine, "flush": flush, "cpu_us_per_reading": figures}))
    print(f"\n{'shape':<16} CPU us a reading", file=sys.stderr)
    for name, figure in figures.items():
        print(f"{name:<16} {figure:.3f}", file=sys.stderr)


if __name__ == "__main__":
    main()
