"""What archiving costs, in bytes and CPU a reading, of a made plant or of files: `python bench/archive.py [FILE…]`."""

import argparse
import asyncio
import json
import os
import platform
import resource
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import psycopg

from penstock.model.batch import NO_SEQ, NO_TEXT
from penstock.store.archive import Retention
from penstock.store.archive_files import FilesArchive
from penstock.store.archiver import ArchiveLimits, Archiver
from penstock.store.embedded import EmbeddedPostgres
from penstock.store.history import PostgresHistory
from penstock.store.migrate import migrate
from penstock.store.port import Fates, Rows, Span
from penstock.store.postgres import Database
from penstock.store.seal import Sealer

DAY = 86_400_000_000
START = 1_794_960_000_000_000 // DAY * DAY - 30 * DAY
TICK = os.sysconf("SC_CLK_TCK")


def server_cpu_s(url: str) -> float:
    with psycopg.connect(url) as connection:
        pids = connection.execute("select pid from pg_stat_activity where pid <> pg_backend_pid()").fetchall()
    return sum(cpu_s(pid) for (pid,) in pids)


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def plant(tags: int, seconds: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Once a second with a jitter of milliseconds: half walks of two decimals, a third of one, the rest raw doubles."""
    random = np.random.default_rng(1)
    made = {}
    for i in range(tags):
        ts = START + np.arange(seconds) * 1_000_000 + random.integers(0, 100, seconds) * 1_000
        walk = 70 + np.cumsum(random.normal(0, 0.05, seconds))
        value = np.round(walk, 2) if i % 10 < 5 else np.round(walk, 1) if i % 10 < 8 else walk
        made[f"lyon/press/line-{i // 20}/press-{i}/temperature"] = (ts, value)
    return made


def real(files: list[Path]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Each column of numbers of each file as a tag."""
    made = {}
    for file in files:
        table = duckdb.sql(f"select * from read_csv('{file}')")
        time_column = next((name for name in table.columns if name.lower() in ("datetime", "timestamp", "ts")), None)
        if time_column is None:
            continue
        table = table.order(f'"{time_column}"')
        ts = table.select(f'epoch_us("{time_column}"::timestamp) as ts').fetchnumpy()["ts"]
        keep = np.append(True, np.diff(ts) > 0)
        for name, kind in zip(table.columns, table.types, strict=True):
            if str(kind) in ("DOUBLE", "BIGINT"):
                value = np.asarray(table.select(f'"{name}"::double as v').fetchnumpy()["v"], np.float64)
                made[f"real/{file.parent.name}/{file.stem}/{name}"] = (np.asarray(ts, np.int64)[keep], value[keep])
    return made


async def store(history: PostgresHistory, series: dict[str, tuple[np.ndarray, np.ndarray]], flush_s: int) -> int:
    """As a worker stores them: all tags together, some seconds a flush."""
    lease = await history.claim("bench", ["bulk"], "bench")
    async with history.flush(lease, Span("bulk", 0, 0, 0, START)) as flush:
        tags = await flush.register(list(series))
        await flush.settle({})
    number = {tag.path: tag.tag_id for tag in tags}
    tag = np.concatenate([np.full(ts.size, number[path], np.int32) for path, (ts, _) in series.items()])
    ts = np.concatenate([ts for ts, _ in series.values()])
    value = np.concatenate([value for _, value in series.values()])
    bins = ts // (flush_s * 1_000_000)
    order = np.lexsort((ts, tag, bins))
    tag, ts, value, bins = tag[order], ts[order], value[order], bins[order]
    starts = np.append(np.flatnonzero(np.append(True, np.diff(bins) > 0)), ts.size)
    for at, (lo, hi) in enumerate(pairwise(starts.tolist())):
        n = hi - lo
        rows = Rows(tag[lo:hi], ts[lo:hi], value[lo:hi], np.full(n, NO_TEXT, np.int32), np.zeros(n, np.int64),
                    np.full(n, NO_SEQ, np.int64))  # fmt: skip
        async with history.flush(lease, Span("bulk", at, at + 1, at + 1, int(ts[lo]))) as flush:
            await flush.write(rows)
            await flush.settle({int(ts[lo]) // 60_000_000 * 60_000_000: Fates(stored=int(n))})
    return ts.size


async def run(url: str, folder: Path, series: dict[str, tuple[np.ndarray, np.ndarray]], flush_s: int) -> dict[str, Any]:
    await migrate(url)
    database = Database(url, application="bench", connections_max=4)
    await database.open()
    history, sealer = PostgresHistory(database), Sealer(database, 30.0)
    stored = await store(history, series, flush_s)
    for grp in range((len(series) + 99) // 100):
        while await sealer.seal(grp):
            pass
        await sealer.compact(grp)
    archiver = Archiver(database, FilesArchive(folder / "archive", Retention.EPHEMERAL), ArchiveLimits())
    before = np.array([time.process_time(), server_cpu_s(url), time.perf_counter()])
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    done = await archiver.run()
    client, server, wall = np.array([time.process_time(), server_cpu_s(url), time.perf_counter()]) - before
    assert done.readings == stored, (done, stored)
    await history.close()
    await database.close()
    return {
        "readings": stored,
        "tags": len(series),
        "files": done.objects,
        "bytes_a_reading": round(done.bytes / stored, 2),
        "archiver_us": round(client / stored * 1e6, 3),
        "postgres_us": round(server / stored * 1e6, 3),
        "wall_us": round(wall / stored * 1e6, 3),
        "peak_mb": {"before": memory // 1024, "after": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--tags", type=int, default=200)
    parser.add_argument("--seconds", type=int, default=20_000)
    parser.add_argument("--flush-s", type=int, default=0, help="Seconds of readings a flush.")
    given = parser.parse_args()
    series = real(given.files) if given.files else plant(given.tags, given.seconds)
    flush_s = given.flush_s or (86_400 if given.files else 30)
    with (
        tempfile.TemporaryDirectory(prefix="penstock-bench-", ignore_cleanup_errors=True) as folder,
        EmbeddedPostgres(Path(folder) / "postgres") as server,
    ):
        Path(folder).chmod(0o755)
        result = asyncio.run(run(server.url, Path(folder), series, flush_s))
    machine = {"machine": platform.processor() or platform.machine(), "cpus": os.cpu_count()}
    print(json.dumps({**machine, **result}, indent=2))


if __name__ == "__main__":
    main()
