"""How long a reading takes through Kinesis, stage by stage: from its scheduled send to commit and to alarm.

    python bench/path.py [SECONDS] [--fan-out]

A door, two workers and a page as processes; a fake Kinesis with the true limits and delays (put 15 ms, get 10 ms);
real PostgreSQL. Loads are open: what is due is sent, answered or not. First the plant's capacity is found in a closed
loop; then bulk readings come at 70 % and at twice of it, beside critical ones, of which some raise alarms.
"""

import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path

sys.path += [str(Path(__file__).parents[1] / name) for name in ("proofs", "tests")]

from fleet import Fleet
from whole import Plant

from penstock.bench import Load, Run, percentiles, send

DELAYS = ["--put-latency-s", "0.015", "--get-latency-s", "0.010", "--push-latency-s", "0.030"]
CRITICAL_TAGS = 50
CRITICAL_PER_S = 100
BULK_TAGS = 5_000
STAGES = """
select (extract(epoch from f.received_at) - %(began)s) * 1000,
       extract(epoch from f.committed_at - f.received_at) * 1000
from flush f where f.shard like %(shard)s and f.stored > 0 and f.committed_at > to_timestamp(%(began)s)
"""
TO_COMMIT = """
select extract(epoch from r.stored_at - r.ts) * 1000
from tag t, readings_between(t.path, to_timestamp(%(began)s), 'infinity') r
where starts_with(t.path, %(prefix)s)
"""
TO_ALARM = """
select extract(epoch from f.committed_at - a.ts) * 1000
from anomaly a join flush f using (flush_id) join tag using (tag_id)
where starts_with(path, %(prefix)s) and a.active and a.test like 'limit%%' and a.ts > to_timestamp(%(began)s)
"""


def critical_load(seconds: float) -> Load:
    return Load(rate=CRITICAL_PER_S, seconds=seconds, batch=1, tags=CRITICAL_TAGS, run="critical", connections=16)


def make_critical(fleet: Fleet, door: Plant, page: Plant) -> None:
    """Register the tags, and say what they are: about every second reading is above its limit."""
    for path in (path for group in range(CRITICAL_TAGS) for path in critical_load(1).paths(group)):
        door.post("/v1/readings", [{"tag": path, "ts": time.time_ns() // 1_000, "value": 70.0}])
    fleet.drained()
    for path in (path for group in range(CRITICAL_TAGS) for path in critical_load(1).paths(group)):
        body = {"criticality": "critical", "limits": {"h": 70.0}, "deadband": 0.0}
        status, told = page.request("PUT", f"/v1/tags/{path}", json.dumps(body).encode())
        if status != 200:
            raise RuntimeError(f"a tag cannot be made critical: {status} {told[:200]!r}")
    time.sleep(2)  # doors look at the registry once a second


async def both(url: str, key: str, bulk: Load, seconds: float) -> tuple[Run, Run]:
    return await asyncio.gather(send(url, key, bulk), send(url, key, critical_load(seconds)))


def told(fleet: Fleet, bulk: Run, critical: Run, began: float) -> dict[str, object]:
    ask = {"began": began, "prefix": "bench/critical/"}
    with fleet.connected() as connection:
        commit = [float(row[0]) for row in connection.execute(TO_COMMIT, ask)]
        alarm = [float(row[0]) for row in connection.execute(TO_ALARM, ask)]
        stages = connection.execute(STAGES, {"began": began, "shard": "critical%"}).fetchall()
        bulk_stages = connection.execute(STAGES, {"began": began, "shard": "shard%"}).fetchall()
    return {
        "bulk_per_s": bulk.load.rate,
        "bulk_answers": dict(bulk.status),
        "critical_answers": dict(critical.status),
        "critical_accepted": critical.accepted,
        "critical_stored": len(commit),
        "critical_ms": {
            "scheduled to answered": percentiles([1e3 * s for s in critical.answer_s]),
            "received to committed, by flush": percentiles([float(row[1]) for row in stages]),
            "scheduled to committed": percentiles(commit),
            "scheduled to alarm": percentiles(alarm),
        },
        "alarms": len(alarm),
        "bulk_ms": {
            "scheduled to answered": percentiles([1e3 * s for s in bulk.answer_s]),
            "received to committed, by flush": percentiles([float(row[1]) for row in bulk_stages]),
        },
    }


def run(fleet: Fleet, door: Plant, rate: float, seconds: float) -> dict[str, object]:
    began = time.time()
    load = Load(rate=rate, seconds=seconds, batch=500, tags=BULK_TAGS, run="bulk", connections=128)
    bulk, critical = asyncio.run(both(door.url, fleet.key, load, seconds))
    fleet.drained(180)
    return told(fleet, bulk, critical, began)


def capacity(fleet: Fleet, door: Plant) -> float:
    """Bulk readings a second that are stored when connections send as fast as they are answered."""
    load = Load(rate=0, seconds=10, batch=500, tags=BULK_TAGS, run="bulk", connections=64)
    asyncio.run(send(door.url, fleet.key, Load(rate=2_000, seconds=5, batch=500, tags=BULK_TAGS, run="bulk")))
    fleet.drained()
    began = time.monotonic()
    done = asyncio.run(send(door.url, fleet.key, load))
    fleet.drained(180)
    return done.accepted / (time.monotonic() - began)


def main() -> None:
    words = [word for word in sys.argv[1:] if not word.startswith("--")]
    seconds = float(words[0]) if words else 30
    settings = {"stream__fan_out": "penstock"} if "--fan-out" in sys.argv else {}
    with tempfile.TemporaryDirectory() as folder, Fleet(
        Path(folder), shards=4, critical=1, fake=DELAYS, **settings
    ) as fleet:  # fmt: skip
        door, page = fleet.door("ingest", "ingest"), fleet.door("serve", "serve")
        for i in range(2):
            fleet.worker(f"work{i}")
        make_critical(fleet, door, page)
        asyncio.run(send(door.url, fleet.key, critical_load(5)))  # the change of owners is told once, and learned once
        top = capacity(fleet, door)
        print(json.dumps({"delivery": "fan-out" if settings else "polled", "capacity_per_s": round(top)}), flush=True)
        for share in (0.7, 2.0):
            print(json.dumps({"load": share} | run(fleet, door, round(share * top, -3), seconds)), flush=True)


if __name__ == "__main__":
    main()
