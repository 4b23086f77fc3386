"""CPU time of the detectors a reading: many tags, few readings each; and bursts of one tag. `python bench/detect.py`"""

import platform
import time

import numpy as np

from penstock.model.tag import Limits, Tag, TagConfig
from penstock.process.columns import Columns
from penstock.process.detect.all import Detectors
from penstock.process.tags import TagTable

START_US = 1_780_000_000_000_000


def table_of(tags: int) -> TagTable:
    config = TagConfig(limits=Limits(ll=-50.0, l=-40.0, h=40.0, hh=50.0), deadband=1.0, rate_max_per_s=1e3)
    return TagTable(Tag(i + 1, f"bench/area/t{i}", 0, "value", config, 1) for i in range(tags))


def batch(tags: int, each: int, start_us: int, rng: np.random.Generator) -> Columns:
    n = tags * each
    slot = np.repeat(np.arange(tags, dtype=np.int32), each)
    ts = start_us + np.tile(np.arange(each, dtype=np.int64), tags) * 1_000_000
    zero = np.zeros(n, np.int64)
    return Columns(slot, ts, rng.normal(0, 5, n), zero.astype(np.int32) - 1, zero, zero, zero.astype(np.int32),
                   zero.astype(np.int32))  # fmt: skip


def measure(tags: int, each: int, batches: int) -> float:
    """CPU microseconds a reading, learned state, after a warm-up."""
    rng, detectors = np.random.default_rng(1), Detectors(table_of(tags), learn_s=1e6)
    rounds = [batch(tags, each, START_US + i * each * 1_000_000, rng) for i in range(batches + 1)]
    begun = 0.0
    for i, readings in enumerate(rounds):
        if i == 1:
            begun = time.process_time()
        verdict = detectors.run(readings, int(readings.ts[-1]))
        detectors.remember(verdict.next)
    return (time.process_time() - begun) / (batches * tags * each) * 1e6


if __name__ == "__main__":
    print(f"{platform.machine()}, Python {platform.python_version()}, numpy {np.__version__}")
    for tags, each, batches in (
        (10_000, 1, 20),
        (20_000, 1, 10),
        (1_000, 10, 20),
        (100, 100, 20),
        (10, 1_000, 10),
        (1, 20_000, 3),
    ):
        print(f"{tags:6d} tags x {each:6d} readings a batch: {measure(tags, each, batches):.3f} us a reading")
