"""P8: a database that fails over needs no operator.

    python3 run.py prove p8 [SECONDS [CASE…]]

Two doors and two workers on a fake Kinesis, a real Redis, and a real PostgreSQL that, under load, is killed, becomes
unreachable (half-open sockets: the kernel drops every packet; then a proxy that takes bytes and answers nothing),
read-only, and refuses connections, for SECONDS each. Doors must go on answering 202 to a key they know, one that is
started meanwhile too; `/readyz/ingest` stays 200 and `/readyz` says what fails. After the return every shard must be
committed to again within 5 s, and in the end nothing be lost, stored twice or unaccounted for.

The control has no time-outs on its sockets; on a half-open one its worker must still hang 15 s after the cut.
"""

import json
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from fleet import Fleet
from gate import Way
from load import FAULTS, Paced, Sender, answers, judged
from whole import HOLDS_TO_TIMES, Plant

SENDERS = 4
RESUME_S = 5.0
LEASE_S = 6
CONTROL_S = 15.0
PATIENT = [str(Path(__file__).parent / "patient_service.py")]
ONLY = sys.argv[2:]
SECRET = "only for a proof: thirty-two bytes or more"


class Watch(threading.Thread):
    """What the doors say of themselves, four times a second."""

    def __init__(self, doors: list[Plant]) -> None:
        super().__init__(daemon=True)
        self.doors, self.ends = doors, threading.Event()
        self.take, self.store = Counter[int](), Counter[str]()

    def run(self) -> None:
        while not self.ends.wait(0.25):
            for door in self.doors:
                self.take[door.get("/readyz/ingest")[0]] += 1
                status, body = door.get("/readyz")
                self.store[f"{status} {','.join(json.loads(body or b'{}').get('failing', {}))}".strip()] += 1


class Case:
    """One way to be away: `begin`, wait, `end`; what is measured meanwhile and afterwards."""

    def __init__(self, name: str, away_s: float, begin: Callable[[], object], end: Callable[[], object]) -> None:
        self.name, self.away_s, self.begin, self.end = name, away_s, begin, end

    def run(self, fleet: Fleet, doors: list[Plant], senders: list[Paced], meanwhile: Callable[[], object]) -> dict:
        watch = Watch(doors)
        begun_s = time.monotonic()
        self.begin()
        watch.start()
        meanwhile()
        time.sleep(max(0.0, begun_s + self.away_s - time.monotonic()))
        watch.ends.set()
        watch.join()
        self.end()
        back_s = time.monotonic()
        resumed = resuming(fleet, back_s)
        time.sleep(3)
        told = answers(senders, begun_s, back_s)
        return {"case": self.name, "away_s": round(back_s - begun_s, 1), **resumed, **told} | {
            "readyz_ingest": dict(watch.take), "readyz": dict(watch.store)
        }  # fmt: skip


def resuming(fleet: Fleet, back_s: float, give_up_s: float = 60) -> dict[str, float]:
    """Seconds until the first commit after the database was back, and until every shard has had one."""
    before, first_s = fleet.positions(), -1.0
    while (now_s := time.monotonic() - back_s) < give_up_s:
        now = fleet.positions()
        moved = {shard for shard in now if now[shard] > before.get(shard, 0)}
        if moved and first_s < 0:
            first_s = now_s
        if moved == now.keys():
            return {"first_commit_s": round(first_s, 2), "all_shards_s": round(now_s, 2)}
        time.sleep(0.02)
    return {"first_commit_s": first_s, "all_shards_s": give_up_s}


def cases(fleet: Fleet, away_s: float) -> list[Case]:
    gate = fleet.gate
    assert gate is not None

    def turned(way: Way) -> Callable[[], None]:
        return lambda: gate.turn(way)

    opened = turned(Way.OPEN)
    return [
        Case("killed", 0, lambda: fleet.kill_database(2), lambda: None),
        Case("half-open", away_s, turned(Way.DEAF), opened),
        Case("mute", away_s, turned(Way.MUTE), opened),
        Case("read-only", away_s, lambda: read_only(fleet, "on"), lambda: read_only(fleet, "off")),
        Case("refused", away_s, turned(Way.REFUSED), opened),
    ]


def read_only(fleet: Fleet, value: str) -> None:
    """For all sessions, old ones too, from their next transaction on."""
    with fleet.connected() as connection:
        connection.execute("set default_transaction_read_only = off")
        connection.execute(f"alter system set default_transaction_read_only = {value}")
        connection.execute("select pg_reload_conf()")
    while fleet.ask("show default_transaction_read_only") != [(value,)]:
        time.sleep(0.01)


def started_meanwhile(fleet: Fleet, late: list[Sender]) -> None:
    """A door that never saw the database takes readings, with a key that others used lately."""
    begun_s = time.monotonic()
    door = fleet.door("late", "ingest")
    sender = Sender(door, 9, threading.Event(), batch=20, tags=20)
    late.append(sender)
    for _ in range(20):
        sender.acknowledged += sender.send(sender.acknowledged)
    print(json.dumps({"door_started_meanwhile_s": round(time.monotonic() - begun_s, 1), "answers": sender.answers}))


def prove(folder: Path, away_s: float) -> dict[str, object]:
    settings = {"door__cache_secret": SECRET, "door__processes": "2", "work__lease_s": str(LEASE_S)}
    with Fleet(folder, shards=4, redis=True, gated=True, **settings) as fleet:
        doors = [fleet.door(f"ingest{i}", "ingest") for i in range(2)]
        for i in range(2):
            fleet.worker(f"work{i}")
        stop, late = threading.Event(), []
        senders = [Paced(doors[i % 2], i, stop, every_s=0.25) for i in range(SENDERS)]
        for sender in senders:
            sender.start()
        fleet.until_all_work()
        time.sleep(5)
        print(json.dumps({"before": answers(senders, time.monotonic() - 5, time.monotonic())}), flush=True)
        told = []
        for case in [case for case in cases(fleet, away_s) if case.name in (ONLY or case.name)]:
            meanwhile = (lambda: started_meanwhile(fleet, late)) if case.name == "refused" else (lambda: None)
            told.append(case.run(fleet, doors, senders, meanwhile))
            print(json.dumps(told[-1]), flush=True)
        stop.set()
        for sender in senders:
            sender.join(60)
        fleet.drained()
        books = judged(fleet, [*senders, *late])
        return books | failed(told, late) | {"resumed_within_s": max(each["all_shards_s"] for each in told)}


def failed(told: list[dict], late: list[Sender]) -> dict[str, int]:
    """Answers that were not 202, and what doors said wrongly of themselves."""
    statuses = sum((Counter(each["statuses"]) for each in told), Counter())
    statuses += sum((sender.answers for sender in late), Counter())
    unready = sum(n for each in told for status, n in each["readyz_ingest"].items() if status != 200)
    silent = sum(1 for each in told if each["readyz"] and "503 store" not in each["readyz"])
    return {
        "answers": statuses.total(),
        "not_202": statuses.total() - statuses[202],
        "unready": unready,
        "unsaid": silent,
    }


def control(folder: Path) -> dict[str, object]:
    """How long workers without time-outs stay on a half-open socket, though the database is back at once."""
    with Fleet(folder, shards=2, gated=True) as fleet:
        assert fleet.gate is not None
        door = fleet.door("ingest", "ingest", PATIENT)
        fleet.worker("work", Path(PATIENT[0]), "work")
        stop = threading.Event()
        sender = Paced(door, 0, stop, every_s=0.1)
        sender.start()
        fleet.until_all_work()
        fleet.gate.turn(Way.DEAF)
        time.sleep(1)
        fleet.gate.turn(Way.OPEN)
        resumed = resuming(fleet, time.monotonic(), CONTROL_S + 5)
        stop.set()
        return resumed


def main() -> None:
    away_s = float(sys.argv[1]) if len(sys.argv) > 1 else 20
    with tempfile.TemporaryDirectory() as folder:
        result = prove(Path(folder) / "plant", away_s)
        print(json.dumps(result | {"rate_bound_95_percent": round(3 / result["answers"], 6)}), flush=True)
        caught = control(Path(folder) / "control")
        print(json.dumps({"control": caught}))
    if HOLDS_TO_TIMES and caught["all_shards_s"] < CONTROL_S:
        sys.exit("the negative control was not caught: this proof proves nothing")
    wrong = [fault for fault in (*FAULTS, "not_202", "unready", "unsaid") if result[fault]]
    slow = HOLDS_TO_TIMES and result["resumed_within_s"] > RESUME_S
    sys.exit(1 if wrong or slow else 0)


if __name__ == "__main__":
    main()
