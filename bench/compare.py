"""Penstock beside the service of `peer_fastapi.py`: one load, one machine, taking turns; CPU and committed readings.

    python bench/compare.py [--json] [--seconds 6] [--rounds 2] [--connections 16] [--batch 1000 --batch 100 --batch 1]

Both acknowledge with 202: the peer once PostgreSQL has committed, Penstock once its log is synced. So the clock and the
CPU are read only when all that was acknowledged is committed, and the CPU later, once all is in packs.
"""

import argparse
import asyncio
import json
import os
import platform
import secrets
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import mean
from typing import Any

import psycopg
from rich.console import Console
from rich.table import Table

from penstock.bench import Load, cpu_s, difference, percentiles, send
from penstock.store.embedded import EmbeddedPostgres
from penstock.store.sql import statements

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "proofs"))
from whole import Plant, free_port  # noqa: E402  # the folder of the proofs is not a package

SETTLE_S = 1.0
SEAL_S = "1"
"""Packs are made after this, not after 30 s as shipped: their cost must fall into the turn that caused it."""
WARM_S = 2.0
TAGS = 2_000
PENSTOCK = "penstock"
COUNT = {
    "peer": "select count(*) from reading where starts_with(tag, %(prefix)s)",
    PENSTOCK: statements("bench")["stored"],
}


@dataclass(frozen=True)
class Service:
    name: str
    url: str
    key: str
    pid: int
    store_url: str

    def committed(self, prefix: str) -> int:
        sql = COUNT[PENSTOCK if self.name == PENSTOCK else "peer"]
        with psycopg.connect(self.store_url) as connection:
            row = connection.execute(sql, {"prefix": prefix}).fetchone()
        return int(row[0]) if row else 0

    def wait_committed(self) -> None:
        """The peer commits before it answers. Nothing is sent meanwhile, so waiting may block."""
        while self.name == PENSTOCK and self._in_flight():
            time.sleep(0.05)

    def wait_sealed(self) -> None:
        """Until no reading waits to be put into a pack. The peer's rows are where they stay."""
        with psycopg.connect(self.store_url, autocommit=True) as connection:
            while self.name == PENSTOCK and connection.execute("select 1 from hot limit 1").fetchone():
                time.sleep(0.2)

    def _in_flight(self) -> int:
        request = urllib.request.Request(f"{self.url}/v1/balance", headers={"x-api-key": self.key})
        with urllib.request.urlopen(request, timeout=20) as answer:
            return int(json.load(answer)["in_flight"])


@contextmanager
def penstock(data: Path) -> Iterator[Service]:
    plant = Plant(data, "--rate", "0", PENSTOCK_STORE__SEAL_S=SEAL_S)
    plant.start()
    try:
        note = plant.note
        yield Service(PENSTOCK, note["url"], note["api_key"], int(note["pid"]), note["store_url"])
    finally:
        plant.stop()


@contextmanager
def peer(data: Path, how: str) -> Iterator[Service]:
    port, key = free_port(), secrets.token_urlsafe(24)
    command = [sys.executable, str(Path(__file__).with_name("peer_fastapi.py")), str(data), str(port), key, how]
    process = subprocess.Popen(command)
    try:
        _wait_ready(f"http://127.0.0.1:{port}/readyz", process)
        yield Service(f"peer, {how}", f"http://127.0.0.1:{port}", key, process.pid, EmbeddedPostgres(data).url)
    finally:
        process.terminate()
        process.wait(20)


def _wait_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except urllib.error.URLError:
            time.sleep(0.1)
    raise SystemExit("the peer ended")


async def turn(service: Service, load: Load) -> dict[str, Any]:
    """One measurement: a closed loop, until all is committed."""
    prefix = f"bench/{load.run}/"
    stored, before = service.committed(prefix), cpu_s(service.pid)
    run = await send(service.url, service.key, load)
    service.wait_committed()
    took_s = time.time() - run.began
    service.wait_sealed()
    await asyncio.sleep(SETTLE_S)
    used = difference(before, cpu_s(service.pid))
    committed = service.committed(prefix) - stored
    return {
        "service": service.name,
        "batch": load.batch,
        "status": {str(status): count for status, count in run.status.items()},
        "acknowledged": run.accepted,
        "committed": committed,
        "readings_per_s": round(committed / took_s),
        "answer_ms": percentiles([1e3 * one for one in run.answer_s]),
        "cpu_us_per_reading": {name: round(1e6 * one / max(1, committed), 2) for name, one in used.items()},
    }


async def compare(services: list[Service], given: argparse.Namespace) -> list[dict[str, Any]]:
    """Every batch size: each service warmed, then rounds in which they take turns."""
    turns = []
    for batch in given.batch:
        load = Load(rate=0, batch=batch, tags=TAGS, run=f"b{batch}", connections=given.connections, seconds=WARM_S)
        for service in services:
            await turn(service, load)
        for _ in range(given.rounds):
            turns += [await turn(service, _longer(load, given.seconds)) for service in services]
    return turns


def _longer(load: Load, seconds: float) -> Load:
    return Load(0, seconds, load.batch, load.tags, load.run, load.connections)


def summary(turns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for a service and batch size: means over the rounds, sums of the counts."""
    groups: dict[tuple[int, str], list[dict[str, Any]]] = {}
    for one in turns:
        groups.setdefault((one["batch"], one["service"]), []).append(one)
    rows = {key: _row(*key, of) for key, of in groups.items()}
    for (batch, _), row in rows.items():
        row["penstock_times_per_cpu_s"] = round(row["cpu_us"] / rows[batch, PENSTOCK]["cpu_us"], 2)
    return list(rows.values())


def _row(batch: int, service: str, turns: list[dict[str, Any]]) -> dict[str, Any]:
    names = sorted({name for one in turns for name in one["cpu_us_per_reading"]})
    cpu = {name: round(mean(one["cpu_us_per_reading"].get(name, 0.0) for one in turns), 2) for name in names}
    return {
        "batch": batch,
        "service": service,
        "readings_per_s": round(mean(one["readings_per_s"] for one in turns)),
        "readings_per_s_by_round": [one["readings_per_s"] for one in turns],
        "answer_p99_ms": max(one["answer_ms"].get("p99", 0.0) for one in turns),
        "cpu_us": round(sum(cpu.values()), 2),
        "cpu_us_by_process": cpu,
        "acknowledged": sum(one["acknowledged"] for one in turns),
        "committed": sum(one["committed"] for one in turns),
    }


def as_table(report: dict[str, Any]) -> Table:
    names = ("batch", "service", "readings/s (rounds)", "answer p99 ms", "CPU us/reading", "by process")
    table = Table(*names, "per CPU-second", "acknowledged", "committed", box=None, header_style="bold")
    for row in report["summary"]:
        rounds = ", ".join(f"{one:,}" for one in row["readings_per_s_by_round"])
        table.add_row(
            f"{row['batch']:,}",
            row["service"],
            f"{row['readings_per_s']:,} ({rounds})",
            f"{row['answer_p99_ms']}",
            f"{row['cpu_us']}",
            ", ".join(f"{name} {used}" for name, used in row["cpu_us_by_process"].items()),
            "1" if row["service"] == PENSTOCK else f"penstock x {row['penstock_times_per_cpu_s']}",
            f"{row['acknowledged']:,}",
            f"{row['committed']:,}",
        )
    return table


def machine() -> dict[str, Any]:
    return {"cpus": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--batch", type=int, action="append")
    given = parser.parse_args()
    given.batch = given.batch or [1_000, 100, 1]
    return given


def measured(given: argparse.Namespace) -> dict[str, Any]:
    load_before = os.getloadavg()
    with tempfile.TemporaryDirectory(prefix="penstock-compare-") as folder, ExitStack() as running:
        Path(folder).chmod(0o755)  # the server may run as another user
        peers = [running.enter_context(peer(Path(folder) / how, how)) for how in ("executemany", "unnest")]
        services = [*peers, running.enter_context(penstock(Path(folder) / PENSTOCK))]
        turns = asyncio.run(compare(services, given))
    loads = {"before": load_before, "after": os.getloadavg()}
    return {"machine": machine(), "load_average": loads, "summary": summary(turns), "turns": turns}


def main() -> None:
    given = arguments()
    if find_spec("fastapi") is None:
        raise SystemExit("the peer needs FastAPI: .venv/bin/pip install -e '.[bench]'")
    report = measured(given)
    if given.json:
        print(json.dumps(report, indent=2))
        return
    console = Console(width=190)
    console.print(as_table(report))
    console.print(f"machine: {report['machine']}; load average {report['load_average']}")


if __name__ == "__main__":
    main()
