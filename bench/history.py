"""What storing costs: flush, seal and merge, in CPU and bytes a reading. `python bench/history.py [--flushes 100]`."""

import argparse
import asyncio
import json
import os
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psycopg

from penstock.store.embedded import EmbeddedPostgres
from penstock.store.history import PostgresHistory
from penstock.store.migrate import migrate
from penstock.store.port import Fates, Rows, Span
from penstock.store.postgres import Database
from penstock.store.seal import Sealer

START = 1_795_000_000_000_000
TICK = os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def server_cpu_s(url: str) -> float:
    """CPU of the backends that are ours, and of the server's own."""
    with psycopg.connect(url) as connection:
        pids = connection.execute("select pid from pg_stat_activity where pid <> pg_backend_pid()").fetchall()
    return sum(cpu_s(pid) for (pid,) in pids)


def batch_of(number: int, readings: int, tags: int, walk: np.ndarray, random: np.random.Generator) -> Rows:
    """Half walks of two decimals, a third of one, the rest raw doubles; times jitter by milliseconds."""
    tag = np.sort(random.integers(1, tags + 1, readings)).astype(np.int32)
    ts = START + number * 100_000 + random.integers(0, 100, readings) * 1_000
    order = np.lexsort((ts, tag))
    ts = ts[order]
    keep = np.append(True, (tag[1:] != tag[:-1]) | (ts[1:] != ts[:-1]))
    walk[tag] += random.normal(0, 0.05, readings)
    value, kind = walk[tag], tag % 10
    value = np.where(kind < 5, np.round(value, 2), np.where(kind < 8, np.round(value, 1), value))
    n = readings
    zeros = np.zeros(n, np.int64)
    return Rows(
        tag,
        ts,
        value,
        np.full(n, -1, np.int32),
        zeros,
        np.full(n, -(2**63)),
    ).pick(keep)


class Meter:
    """Client and server CPU, wall time and WAL between two readings of the meter."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.last = self.now()

    def now(self) -> np.ndarray:
        with psycopg.connect(self.url) as connection:
            row = connection.execute("select pg_current_wal_insert_lsn() - '0/0'::pg_lsn").fetchone()
        assert row is not None
        return np.array([time.process_time(), server_cpu_s(self.url), time.perf_counter(), float(row[0])])

    def lap(self, readings: int) -> dict[str, float]:
        now = self.now()
        client, server, wall, wal = now - self.last
        self.last = self.now()
        return {
            "client_us": round(client / readings * 1e6, 3),
            "postgres_us": round(server / readings * 1e6, 3),
            "wall_us": round(wall / readings * 1e6, 3),
            "wal_bytes": round(wal / readings, 1),
        }


async def run(url: str, tags: int, flushes: int, readings: int) -> dict[str, Any]:
    await migrate(url)
    database = Database(url, application="bench", connections_max=4)
    await database.open()
    history, sealer = PostgresHistory(database), Sealer(database, 30.0, packs_min=4)
    lease = await history.claim("bench", ["bulk"], "bench")
    async with history.flush(lease, Span("bulk", 0, 0, 0, START)) as flush:
        await flush.register([f"bench/{i}" for i in range(tags)])
        await flush.settle({})
    random = np.random.default_rng(1)
    walk = np.full(tags + 1, 70.0)
    result: dict[str, Any] = {"tags": tags, "flushes": flushes}
    laps: dict[str, list[dict[str, float]]] = {"flush": [], "seal": [], "merge": []}
    at = stored = 0
    took = []
    for _ in range(4):
        batches = [batch_of(at + i, readings, tags, walk, random) for i in range(flushes // 4)]
        n = sum(len(batch) for batch in batches)
        meter = Meter(url)
        for rows in batches:
            began = time.perf_counter()
            async with history.flush(lease, Span("bulk", at, at + 1, at + 1, START)) as flush:
                await flush.write(rows)
                await flush.settle({START: Fates(stored=len(rows))})
            took.append(time.perf_counter() - began)
            at += 1
        laps["flush"].append(meter.lap(n))
        for grp in range((tags + 99) // 100):
            await sealer.seal(grp)
        laps["seal"].append(meter.lap(n))
        stored += n
    with psycopg.connect(url, autocommit=True) as connection:
        size = "select pg_total_relation_size('segment'), count(*) from segment"
        connection.execute("vacuum (full) segment")
        sealed = connection.execute(size).fetchone()
        meter = Meter(url)
        for grp in range((tags + 99) // 100):
            await sealer.compact(grp)
        laps["merge"].append(meter.lap(stored))
        connection.execute("vacuum (full) segment")
        merged = connection.execute(size).fetchone()
    assert sealed is not None
    assert merged is not None
    for name, parts in laps.items():
        result[name] = {key: round(float(np.mean([part[key] for part in parts])), 3) for key in parts[0]}
    result["flush"] |= {"p50_ms": round(float(np.percentile(took, 50)) * 1e3, 1),
                        "p99_ms": round(float(np.percentile(took, 99)) * 1e3, 1)}  # fmt: skip
    result |= {"sealed_bytes": round(sealed[0] / stored, 1), "readings_a_pack": round(stored / sealed[1])}
    result |= {"merged_bytes": round(merged[0] / stored, 1), "readings_a_merged_pack": round(stored / merged[1])}
    await history.close()
    await database.close()
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flushes", type=int, default=100)
    parser.add_argument("--readings", type=int, default=10_000)
    parser.add_argument("--tags", type=int, nargs="+", default=[1_000, 10_000])
    given = parser.parse_args()
    results = []
    for tags in given.tags:
        with (
            tempfile.TemporaryDirectory(prefix="penstock-bench-", ignore_cleanup_errors=True) as folder,
            EmbeddedPostgres(Path(folder)) as server,
        ):
            results.append(asyncio.run(run(server.url, tags, given.flushes, given.readings)))
    print(json.dumps({"machine": platform.platform(), "cpus": os.cpu_count(), "readings_a_flush": given.readings,
                      "results": results}))  # fmt: skip
    print(f"{'tags':>6} {'step':>6} {'client us':>10} {'PG us':>7} {'WAL B':>7}")
    for result in results:
        for step in ("flush", "seal", "merge"):
            it = result[step]
            print(f"{result['tags']:>6} {step:>6} {it['client_us']:>10} {it['postgres_us']:>7} {it['wal_bytes']:>7}")
        print(f"{'':>6} flush p50 {result['flush']['p50_ms']} ms, p99 {result['flush']['p99_ms']} ms;"
              f" sealed {result['sealed_bytes']} B a reading ({result['readings_a_pack']} a pack),"
              f" merged {result['merged_bytes']} B ({result['readings_a_merged_pack']} a pack)")  # fmt: skip


if __name__ == "__main__":
    main()
