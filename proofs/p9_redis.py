"""P9: Redis is only a cache.

    python3 run.py prove p9 [SECONDS]

Two doors, two that serve and a worker share a real Redis, which under load is killed for SECONDS, emptied, made a
replica of a host that is not there (READONLY), and stopped for 5 s. Every request is answered 202, or 429 where its
key's bucket says so; 5 s after the return `/v1/latest` of both equals PostgreSQL and `/v1/window` is right; the live
feed goes on, or says `reset`. Ingest's p99, from each request's scheduled send, stays within twice what it was before,
or within NOISE_MS of it: patience with a Redis that hangs is 50 ms, and this machine's own jitter is larger.

The control is a door that cannot take what Redis does not let pass: it must fail requests.
"""

import copy
import json
import math
import signal
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from fleet import Fleet
from load import FAULTS, Paced, Sender, answers, judged
from redis import Redis
from redis.exceptions import RedisError
from whole import HOLDS_TO_TIMES, Plant

BACK_S = 5.0
LIVE_S = 5.0
NOISE_MS = 150.0
WINDOW_S = 60
BROKEN = [str(Path(__file__).parent / "broken_door.py"), "needs-redis"]
SECRET = "only for a proof: thirty-two bytes or more"


class Listener(threading.Thread):
    """Listens to a live feed, again when it ends; when each event came."""

    def __init__(self, serve: Plant) -> None:
        super().__init__(daemon=True)
        self.serve, self.heard = serve, [(time.monotonic(), "begin")]

    def run(self) -> None:
        while True:
            request = urllib.request.Request(f"{self.serve.url}/v1/live", headers={"x-api-key": self.serve.key})
            try:
                with urllib.request.urlopen(request, timeout=30) as feed:
                    for line in feed:
                        if line.startswith(b"event:"):
                            self.heard.append((time.monotonic(), line[6:].strip().decode()))
            except OSError:
                time.sleep(0.2)
            self.heard.append((time.monotonic(), "ended"))

    def between(self, since_s: float, until_s: float) -> dict[str, object]:
        """The longest time without readings (or `reset`), and how often the feed was reset or ended."""
        told = [(at_s, event) for at_s, event in tuple(self.heard) if since_s <= at_s < until_s]
        alive = [since_s, *(at_s for at_s, event in told if event in {"reading", "reset"}), until_s]
        gap_s = max(later - sooner for sooner, later in pairwise(alive))
        counted = Counter(event for _, event in told)
        return {"gap_s": round(gap_s, 2), "resets": counted["reset"], "ended": counted["ended"]}


class Plants(NamedTuple):
    """Who is asked, and who sends."""

    fleet: Fleet
    serves: list[Plant]
    loud: list[Paced]
    quiet: list[Paced]
    """They pause when Redis is back, so that there is something to compare with, while the others go on."""
    limited: Sender
    """Sends more than its key may."""
    listeners: list[Listener]

    @property
    def honest(self) -> list[Paced]:
        return [*self.loud, *self.quiet]


class Case(NamedTuple):
    name: str
    away_s: float
    begin: Callable[[], object]
    end: Callable[[], object]

    def run(self, plants: Plants) -> dict[str, object]:
        before_s = time.monotonic()
        time.sleep(8)
        begun_s = time.monotonic()
        self.begin()
        time.sleep(self.away_s)
        self.end()
        back_s = time.monotonic()
        told = recovered(plants, back_s)
        before, during = (answers(plants.honest, *span) for span in ((before_s, begun_s), (begun_s, back_s + 2)))
        limited = answers([plants.limited], begun_s, back_s)["statuses"]
        live = [listener.between(begun_s, time.monotonic()) for listener in plants.listeners]
        figures = {"before": before, "during": during, "limited": limited, **told, "live": live}
        return {"case": self.name, "away_s": self.away_s, **figures}


def recovered(plants: Plants, back_s: float) -> dict[str, object]:
    """Seconds until latest values and windows are PostgreSQL's, in both that serve."""
    for sender in plants.quiet:
        sender.paused.set()
    time.sleep(0.3)
    latest_s = within(back_s, lambda: all(latest_right(plants, serve) for serve in plants.serves))
    window_s = within(back_s, lambda: all(window_right(plants, serve) for serve in plants.serves))
    for sender in plants.quiet:
        sender.resume()
    return {"latest_s": latest_s, "window_s": window_s}


def within(since_s: float, holds: Callable[[], bool], give_up_s: float = 30) -> float:
    while time.monotonic() - since_s < give_up_s:
        asked_s = time.monotonic()
        if holds():
            return round(asked_s - since_s, 2)
        time.sleep(0.05)
    return give_up_s


def latest_right(plants: Plants, serve: Plant) -> bool:
    """Of tags whose senders pause, all that was acknowledged is told; of the others, nothing older than was stored."""
    stored = newest(plants.fleet)
    told = {item["tag"]: item["value"] for item in json.loads(serve.get("/v1/latest?prefix=proof/line/")[1])["items"]}
    same = all(
        told.get(tag) == stored.get(tag) == last_of(sender, i)
        for sender in plants.quiet
        for i, tag in enumerate(f"proof/line/s{sender.number}/t{i}" for i in range(sender.tags))
    )
    return same and all(told.get(tag, -math.inf) >= value - SLACK for tag, value in stored.items())


def last_of(sender: Sender, tag: int) -> float:
    """The value of the newest reading of a tag that was acknowledged."""
    last = sender.acknowledged * sender.size - sender.tags + tag
    return last / 8


SLACK = 20 * 10 / 8
"""Loud tags get another value at each request; the cache may be ten behind what was just committed."""


def newest(fleet: Fleet) -> dict[str, float]:
    return dict(fleet.ask("select distinct on (tag_id) path, value from readings order by tag_id, ts desc, seq desc"))


def window_right(plants: Plants, serve: Plant) -> bool:
    """Counts lie between those of the window asked for, and of one that begins a second sooner and 2 s later."""
    tag = f"proof/line/s{plants.quiet[0].number}/t3"
    before_s = time.time()
    told = json.loads(serve.get(f"/v1/window?tag={quote(tag)}&seconds={WINDOW_S}")[1])
    after_s = time.time()
    ((least, most, top),) = plants.fleet.ask(
        "select count(*) filter (where ts >= to_timestamp(%s)), count(*) filter (where ts >= to_timestamp(%s)),"
        " max(value) from readings where path = %s",
        after_s - WINDOW_S + 2, before_s - WINDOW_S - 1, tag,
    )  # fmt: skip
    return least <= told["count"] <= most and told.get("last") == told.get("max") == top


def cases(fleet: Fleet, away_s: float) -> list[Case]:
    service = fleet.services["redis"]

    def command(*words: str) -> None:
        with Redis(port=fleet.redis_port) as redis:
            redis.execute_command(*words)

    def again() -> None:
        service.start()
        while not answering(fleet):
            time.sleep(0.01)

    return [
        Case("killed", away_s, service.kill, again),
        Case("flushed", 2, lambda: command("FLUSHALL"), lambda: None),
        Case("readonly", 5, lambda: command("REPLICAOF", "127.0.0.1", "1"), lambda: command("REPLICAOF", "NO", "ONE")),
        Case("stopped", 5, lambda: service.signal(signal.SIGSTOP), lambda: service.signal(signal.SIGCONT)),
    ]


def answering(fleet: Fleet) -> bool:
    try:
        with Redis(port=fleet.redis_port) as redis:
            return bool(redis.ping())
    except RedisError:
        return False


def with_key(door: Plant, fleet: Fleet, name: str, rate: int, burst: int) -> Plant:
    words = ["keys", "create", "--name", name, "--rate", str(rate), "--burst", str(burst), "--json"]
    other = copy.copy(door)
    other.key = json.loads(fleet.penstock(*words))["key"]
    return other


def begun(fleet: Fleet, stop: threading.Event, script: list[str] | None = None) -> Plants:
    doors = [fleet.door(f"ingest{i}", "ingest", script) for i in range(2)]
    serves = [fleet.door(f"serve{i}", "serve") for i in range(2)]
    fleet.worker("work")
    honest = [with_key(door, fleet, f"honest {door.port}", 200, 400) for door in doors]
    senders = [Paced(honest[i % 2], i, stop, every_s=0.2) for i in range(4)]
    limited = Sender(with_key(doors[0], fleet, "limited", 4, 4), 9, stop, batch=20, tags=20, pause_s=0.02)
    plants = Plants(fleet, serves, senders[:2], senders[2:], limited, [Listener(serve) for serve in serves])
    fleet.until_ready(serves)
    for thread in (*senders, limited, *plants.listeners):
        thread.start()
    fleet.until_all_work()
    time.sleep(3)
    return plants


def prove(folder: Path, away_s: float) -> dict[str, object]:
    stop = threading.Event()
    with Fleet(folder, shards=2, redis=True, door__cache_secret=SECRET, door__processes="2") as fleet:
        plants = begun(fleet, stop)
        told = []
        for case in cases(fleet, away_s):
            told.append(case.run(plants))
            print(json.dumps(told[-1]), flush=True)
        stop.set()
        for sender in (*plants.honest, plants.limited):
            sender.join(60)
        fleet.drained()
        asked = sum((sender.answers for sender in plants.honest), Counter())
        wrong = asked.total() - asked[202] + sum(n for s, n in plants.limited.answers.items() if s not in {202, 429})
        books = judged(fleet, [*plants.honest, plants.limited])
        return {"requests": asked.total(), "failed": wrong, "limited": dict(plants.limited.answers)} | books | {
            "latest_s": max(each["latest_s"] for each in told),
            "window_s": max(each["window_s"] for each in told),
            "live_gap_s": max(live["gap_s"] for each in told for live in each["live"]),
            "slow": [each["case"] for each in told if slow(each["before"], each["during"])],
        }  # fmt: skip


def slow(before: dict, during: dict) -> bool:
    return during["p99_ms"] > max(2 * before["p99_ms"], before["p99_ms"] + NOISE_MS)


def control(folder: Path) -> dict[str, object]:
    stop = threading.Event()
    with Fleet(folder, shards=2, redis=True) as fleet:
        plants = begun(fleet, stop, BROKEN)
        begun_s = time.monotonic()
        fleet.services["redis"].kill()
        time.sleep(5)
        told = answers(plants.honest, begun_s, time.monotonic())
        fleet.services["redis"].start()
        stop.set()
        return told


def main() -> None:
    away_s = float(sys.argv[1]) if len(sys.argv) > 1 else 10
    with tempfile.TemporaryDirectory() as folder:
        result = prove(Path(folder) / "plant", away_s)
        print(json.dumps(result | {"rate_bound_95_percent": round(3 / result["requests"], 6)}), flush=True)
        caught = control(Path(folder) / "control")
        print(json.dumps({"control": caught}))
    if set(caught["statuses"]) <= {202, 429}:
        sys.exit("the negative control was not caught: this proof proves nothing")
    limits = {"latest_s": BACK_S, "window_s": BACK_S, "live_gap_s": LIVE_S}
    late = result["slow"] or [name for name, limit_s in limits.items() if result[name] > limit_s]
    sys.exit(1 if (HOLDS_TO_TIMES and late) or any(result[fault] for fault in (*FAULTS, "failed")) else 0)


if __name__ == "__main__":
    main()
