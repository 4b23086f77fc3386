"""P5: resharding loses nothing, and keeps the order of every tag; workers are killed and stalled meanwhile.

    python3 run.py prove p5 [SECONDS]

Three workers on a fake Kinesis and a real PostgreSQL; readings come over HTTP, some twice. Workers are killed with
SIGKILL, or stopped for longer than their leases last; shards are split and merged. At the end every reading that was
acknowledged must be stored once, none too late for its tag, and the books must balance. The control runs workers
that commit their rows first and the checkpoint afterwards, without looking for what is there: it must store twice.
"""

import asyncio
import json
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

from fleet import Fleet, Service, kinesis_client
from load import Sender

from penstock.store.postgres import Database
from penstock.store.tally import Tally

WORKERS = 3
SENDERS = 4
LEASE_S = 3
BROKEN = Path(__file__).parent / "broken_worker.py"


class Trouble(threading.Thread):
    """Kills and stalls workers at random, and keeps three of them running."""

    def __init__(self, fleet: Fleet, script: Path | None, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self.fleet, self.script, self.stop = fleet, script, stop
        self.done: Counter[str] = Counter()

    def run(self) -> None:
        rng = random.Random(5)
        while not self.stop.wait(rng.uniform(1.0, 3.0)):
            name = f"work{rng.randrange(WORKERS)}"
            service = self.fleet.services[name]
            if rng.random() < 0.7:
                service.kill()
                service.start()
                self.done["kills"] += 1
            else:
                self.stall(service)

    def stall(self, service: Service) -> None:
        """Longer than its lease: another takes over, and then it wakes up."""
        service.signal(19)
        self.stop.wait(1.6 * LEASE_S)
        service.signal(18)
        self.done["stalls"] += 1


def reshard(fleet: Fleet, seconds: float, rounds: int) -> Counter[str]:
    """Splits and merges, spread over the time there is."""
    client, done, rng = kinesis_client(fleet), Counter(), random.Random(7)
    until = time.monotonic() + seconds
    for number in range(rounds):
        time.sleep(max(0.0, until - seconds * (1 - (number + 1) / (rounds + 1)) - time.monotonic()))
        shards = open_shards(client)
        if number % 3 == 2 and len(shards) > 2:
            one, other = shards[0], shards[1]
            client.merge_shards(StreamName="plant", ShardToMerge=one[2], AdjacentShardToMerge=other[2])
            done["merges"] += 1
        else:
            lo, hi, name = rng.choice(shards)
            client.split_shard(StreamName="plant", ShardToSplit=name, NewStartingHashKey=str((lo + hi) // 2 + 1))
            done["splits"] += 1
    return done


def open_shards(client: object) -> list[tuple[int, int, str]]:
    """By hash key."""
    told = client.list_shards(StreamName="plant")["Shards"]  # type: ignore[attr-defined]
    return sorted(
        (int(shard["HashKeyRange"]["StartingHashKey"]), int(shard["HashKeyRange"]["EndingHashKey"]), shard["ShardId"])
        for shard in told
        if "EndingSequenceNumber" not in shard["SequenceNumberRange"]
    )


def scenario(folder: Path, seconds: float, rounds: int, script: Path | None = None) -> dict[str, object]:
    with Fleet(folder, shards=3, work__lease_s=str(LEASE_S)) as fleet:
        doors = [fleet.door(f"ingest{i}", "ingest") for i in range(2)]
        for i in range(WORKERS):
            fleet.worker(f"work{i}", script)
        stop, calm = threading.Event(), threading.Event()
        senders = [Sender(doors[i % 2], i, stop, pause_s=0.02) for i in range(SENDERS)]
        trouble = Trouble(fleet, script, calm)
        for thread in (*senders, trouble):
            thread.start()
        resharded = reshard(fleet, seconds, rounds)
        time.sleep(seconds / (rounds + 1))
        stop.set()
        calm.set()
        for thread in (*senders, trouble):
            thread.join(60)
        if script is None:
            fleet.drained()
        else:
            time.sleep(3 * LEASE_S + 5)
        return dict(trouble.done) | dict(resharded) | judged(fleet, senders)


def judged(fleet: Fleet, senders: list[Sender]) -> dict[str, object]:
    sent = sum(sender.readings for sender in senders)
    ((rows, distinct),) = fleet.ask("select count(*), count(distinct (tag_id, ts)) from readings")
    ((late, fenced),) = fleet.ask("select coalesce(sum(late), 0)::bigint, max(epoch) from shard")
    return {
        "sent": sent, "stored": rows, "lost": sent - distinct, "duplicated": rows - distinct, "late": late,
        "unaccounted": unaccounted(fleet), "epochs": fenced,
    }  # fmt: skip


def unaccounted(fleet: Fleet) -> int:
    """As `penstock balance` tells it."""
    return asyncio.run(_books(fleet.store_url))


async def _books(url: str) -> int:
    database = Database(url, application="proof", connections_max=2)
    await database.open()
    try:
        return (await Tally(database).whole()).unaccounted
    finally:
        await database.close()


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60
    rounds = max(3, round(seconds / 20) * 3)
    with tempfile.TemporaryDirectory() as folder:
        result = scenario(Path(folder) / "plant", seconds, rounds)
        print(json.dumps(result), flush=True)
        control = scenario(Path(folder) / "control", min(seconds, 20), 3, BROKEN)
        print(json.dumps({"control": control}))
    if not control["duplicated"]:
        sys.exit("the negative control was not caught: this proof proves nothing")
    sys.exit(1 if any(result[fault] for fault in ("lost", "duplicated", "late", "unaccounted")) else 0)


if __name__ == "__main__":
    main()
