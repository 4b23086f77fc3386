"""P6: what Kinesis did not take of a PutRecords call is put again, and nothing else is.

    python3 run.py prove p6 [SECONDS]

A fake Kinesis that refuses 30 % of all entries, throttles 20 % of all calls and loses 5 % of all replies, under HTTP
load from six senders over two doors. All that was acknowledged must be stored once and in order, the books balance,
and the records that the fake was offered must be those that the doors made, those that failed, and no others. The
control is a door that looks at a call's status alone: it must lose readings.
"""

import json
import re
import sys
import tempfile
import threading
import time
from pathlib import Path

from fleet import Fleet
from load import FAULTS, Sender, answers, judged
from whole import Plant

SENDERS = 6
TROUBLE = {"put_entries_failed": 0.3, "calls_throttled": 0.2, "lost_replies": 0.05}
BROKEN = [str(Path(__file__).parent / "broken_door.py"), "all-is-well"]
Figures = dict[str, object]


def scenario(folder: Path, seconds: float, script: list[str] | None = None) -> Figures:
    with Fleet(folder, shards=4) as fleet:
        doors = [fleet.door(f"ingest{i}", "ingest", script) for i in range(2)]
        for i in range(2):
            fleet.worker(f"work{i}")
        fleet.fake("PUT", "/_faults", TROUBLE)
        begun_s, stop = time.monotonic(), threading.Event()
        senders = [Sender(doors[i % 2], i, stop, pause_s=0.02, step_us=200) for i in range(SENDERS)]
        for sender in senders:
            sender.start()
        time.sleep(seconds)
        stop.set()
        for sender in senders:
            sender.join(60)
        told = answers(senders, begun_s, time.monotonic())
        if script is None:
            fleet.drained()
        else:
            fleet.until_still()
        return judged(fleet, senders) | offered(fleet, doors) | told


def offered(fleet: Fleet, doors: list[Plant]) -> Figures:
    """Records as the fake saw them, and as the doors counted them.

    Every entry that the fake looked at was appended or failed; every one that a door put was acknowledged, told to
    have failed, or went unanswered (and then may have been appended). The two must be the same number, and no more
    may have been appended without a door's knowing than went unanswered: `needless` is what is beyond.
    """
    state: dict = fleet.fake("GET", "/_state") or {}
    appended = sum(stream["appended"] for stream in state["streams"].values())
    failed = state["refusals"].get("entry:InternalFailure", 0)
    acked = counted(doors, "penstock_put_records_total", "")
    again = {
        reason: counted(doors, "penstock_put_retries_total", f'reason="{reason}"')
        for reason in ("failed", "throttled", "unanswered")
    }
    unexplained = appended + failed - acked - again["failed"] - again["unanswered"]
    return {
        "records": acked, "appended": appended, "entries_failed": failed, "put_again": again,
        "injected": state["injected"], "unexplained": unexplained,
        "needless": max(0, unexplained) + max(0, appended - acked - again["unanswered"]),
    }  # fmt: skip


def counted(doors: list[Plant], metric: str, label: str) -> int:
    """A counter, over all doors."""
    lines = [line for door in doors for line in door.get("/metrics")[1].decode().splitlines()]
    mine = [line for line in lines if re.match(rf"{metric}\{{[^}}]*{label}", line)]
    return round(sum(float(line.rsplit(" ", 1)[1]) for line in mine))


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 20
    with tempfile.TemporaryDirectory() as folder:
        result = scenario(Path(folder) / "plant", seconds)
        bound = {"rate_bound_95_percent": 3 / max(1, int(str(result["sent"])))}
        print(json.dumps(result | bound), flush=True)
        control = scenario(Path(folder) / "control", min(seconds, 10), BROKEN)
        print(json.dumps({"control": control}))
    if not control["lost"]:
        sys.exit("the negative control was not caught: this proof proves nothing")
    sys.exit(1 if any(result[fault] for fault in (*FAULTS, "needless")) else 0)


if __name__ == "__main__":
    main()
