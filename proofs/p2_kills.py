"""P2: no reading is lost or stored twice by crashes. Everything is killed with SIGKILL in the middle of a load.

    python3 run.py prove p2 [KILLS]

Prints kills, readings acknowledged, lost, duplicated, extra. The control reads the same history with one acknowledged
reading taken out and one put in twice, and must find both.
"""

import json
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import psycopg
from whole import Plant

BATCH = 50
SENDERS = 4
RESENT = 0.08
Key = tuple[str, int, float]


class Sender(threading.Thread):
    """Sends for ever, again what was not acknowledged, and now and then what was."""

    def __init__(self, plant: Plant, number: int, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self.plant, self.number, self.stop = plant, number, stop
        self.acknowledged: set[Key] = set()
        self.sent: set[Key] = set()
        self.begin_us = time.time_ns() // 1000

    def run(self) -> None:
        batch_number, before = 0, None
        rng = random.Random(self.number)
        while not self.stop.is_set():
            batch = self.batch(batch_number)
            self.sent |= keys_of(batch)
            if self.plant.post("/v1/readings", batch)[0] == 202:
                self.acknowledged |= keys_of(batch)
                batch_number, before = batch_number + 1, batch
            else:
                time.sleep(0.05)
            if before and rng.random() < RESENT:
                self.plant.post("/v1/readings", before)

    def batch(self, number: int) -> list[dict[str, object]]:
        return [
            {
                "tag": f"proof/line/s{self.number}/t{i % 10}",
                "ts": self.begin_us + (number * BATCH + i) * 1000,
                "value": (number * BATCH + i) / 8,
            }
            for i in range(BATCH)
        ]


def keys_of(batch: list[dict[str, object]]) -> set[Key]:
    return {(r["tag"], r["ts"], r["value"]) for r in batch}  # type: ignore[misc]


def prove(kills: int, folder: Path) -> dict[str, int]:
    plant = Plant(folder / "plant", "--rate", "0")
    plant.start()
    stop = threading.Event()
    senders = [Sender(plant, number, stop) for number in range(SENDERS)]
    for sender in senders:
        sender.start()
    rng = random.Random(2)
    for kill in range(kills):
        time.sleep(rng.uniform(0.3, 1.5))
        which = ("everything", "everything", "penstock work", "postgres")[kill % 4] if kills > 20 else "everything"
        plant.kill(which)
        if which == "everything":
            plant.start()
        print(f"\r{kill + 1}/{kills} kills", end="", file=sys.stderr, flush=True)
    time.sleep(1)
    stop.set()
    for sender in senders:
        sender.join(30)
    acknowledged = set().union(*(sender.acknowledged for sender in senders))
    sent = set().union(*(sender.sent for sender in senders))
    plant.wait_ready()
    stored = history(plant)
    result = {"kills": kills, **judged(acknowledged, sent, stored)}
    result |= {"unaccounted": json.loads(plant.get("/v1/balance")[1])["unaccounted"]}
    plant.stop()
    control(acknowledged, sent, stored)
    return result


def history(plant: Plant) -> Counter[Key]:
    """Everything in the store, once nothing is in flight."""
    deadline = time.monotonic() + 60
    while json.loads(plant.get("/v1/balance")[1] or b'{"in_flight": 1}')["in_flight"]:
        if time.monotonic() > deadline:
            raise RuntimeError("readings stay in flight")
        time.sleep(0.1)
    with psycopg.connect(plant.note["store_url"]) as connection:
        rows = connection.execute("select path, (extract(epoch from ts) * 1000000)::bigint, value from readings")
        return Counter((path, ts, value) for path, ts, value in rows)


def judged(acknowledged: set[Key], sent: set[Key], stored: Counter[Key]) -> dict[str, int]:
    return {
        "acknowledged": len(acknowledged),
        "lost": len(acknowledged - stored.keys()),
        "duplicated": sum(count - 1 for count in stored.values()),
        "extra": len(stored.keys() - sent),
    }


def control(acknowledged: set[Key], sent: set[Key], stored: Counter[Key]) -> None:
    one, other = sorted(acknowledged)[:2]
    broken = stored.copy()
    del broken[one]
    broken[other] += 1
    found = judged(acknowledged, sent, broken)
    if (found["lost"], found["duplicated"]) != (1, 1):
        raise SystemExit("the negative control was not caught: this proof proves nothing")


def main() -> None:
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    with tempfile.TemporaryDirectory() as folder:
        result = prove(kills, Path(folder))
    print(json.dumps(result | {"rate_bound_95_percent": round(3 / kills, 4)}))
    sys.exit(1 if any(result[fault] for fault in ("lost", "duplicated", "extra", "unaccounted")) else 0)


if __name__ == "__main__":
    main()
