"""P7: a poison record delays nobody, and can be found and sent again.

    python3 run.py prove p7 [WINDOWS]

A door, two workers and a fake Kinesis under load; beside it one record in a hundred is one of the kinds below, put
straight into the stream. By turns a window without poison and one with it: the median of the windows' p99 from
reception to commit must not be more than a fifth longer (and 20 ms, below which this machine is noise). Every poison
must be in quarantine with its reason and bytes, or stored where it is fit after all; what is a reading can be sent
again; the books balance. The control has a worker that stumbles over what it cannot read: its shards must stand still.
"""

import gzip
import hashlib
import json
import random
import statistics
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import zstandard
from fleet import Fleet, kinesis_client
from load import FAULTS, Paced, judged
from whole import HOLDS_TO_TIMES

from penstock.model.batch import batch_of
from penstock.stream.wire import Part, Stamp, encode_record

WINDOW_S = 3.0
SENDERS = 4
EVERY_S = 0.04
POISON_EVERY_S = 1 / (SENDERS / EVERY_S * 2) * 100 / SENDERS
WORSE_BY = 1.2
NOISE_MS = 20.0
BROKEN = Path(__file__).parent / "poison_worker.py"
NUMBERS = random.Random(7)


def reading(**given: Any) -> dict[str, Any]:
    """A reading that is fit, but for what is *given*."""
    return {"tag": "proof/foreign/t1", "ts": time.time_ns() // 1_000, "value": 1.5} | given


def ours() -> bytes:
    """A record as a door puts it, of a producer that nobody knows."""
    batch = batch_of(["proof/foreign/t2"], [0, 0], [time.time_ns() // 1_000, time.time_ns() // 1_000 + 1], [1.0, 2.0])
    return encode_record(Stamp(uuid.uuid4(), 3, 2), time.time_ns() // 1_000, [Part(1, batch)])


def flipped(data: bytes) -> bytes:
    at = NUMBERS.randrange(len(data) // 2, len(data))
    return data[:at] + bytes([data[at] ^ 1 << NUMBERS.randrange(8)]) + data[at + 1 :]


def aggregated(*records: bytes, digest: bytes | None = None) -> bytes:
    """As Amazon's producer library puts several records into one."""
    body = b"".join(_field(3, _field(3, record)) for record in records)
    return b"\xf3\x89\x9a\xc2" + body + (digest or hashlib.md5(body, usedforsecurity=False).digest())


def _field(number: int, data: bytes) -> bytes:
    size, length = len(data), b""
    while size >= 128:
        length, size = length + bytes([size & 127 | 128]), size >> 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + data


def as_json(*readings: dict[str, Any]) -> bytes:
    return json.dumps(list(readings) if len(readings) != 1 else readings[0]).encode()


def noise(size: int) -> bytes:
    return NUMBERS.randbytes(size)


KINDS: dict[str, Callable[[], bytes]] = {
    "ours, truncated": lambda: ours()[:-7],
    "ours, a bit flipped": lambda: flipped(ours()),
    "ours, of another version": lambda: b"PSW\x09" + ours()[4:],
    "ours, nothing but the magic": lambda: b"PSW",
    "one byte": lambda: b"\0",
    "binary noise": lambda: noise(3_000),
    "invalid UTF-8": lambda: b'{"tag": "proof/\xff\xfe", "ts": 1, "value": 1}',
    "a value that is NaN": lambda: as_json(reading(value=float("nan"))),
    "a value as text": lambda: as_json(reading(value="1.5")),
    "JSON nested 100,000 deep": lambda: b"[" * 100_000,
    "gzip of 200 MB": lambda: gzip.compress(bytes(2**20), 9) * 200,
    "zstd of 200 MB": lambda: zstandard.compress(bytes(200 * 2**20)),
    "gzip cut short": lambda: gzip.compress(as_json(reading()))[:-9],
    "aggregated, a wrong MD5": lambda: aggregated(as_json(reading()), digest=bytes(16)),
    "aggregated, cut in a field": lambda: aggregated(as_json(reading()))[:-20] + noise(16),
    "aggregated zstd bombs": lambda: aggregated(*[zstandard.compress(b"[" + b"0," * 300 + b"0]")] * 3),
    "JSON of another shape": lambda: json.dumps({"temperature": {"celsius": 20}}).encode(),
    "a list of lists": lambda: b"[[1, 2], [3]]",
    "a lone surrogate": lambda: b'{"tag": "proof/\\ud800", "ts": 1, "value": 1}',
    "a time with 400 digits": lambda: b'{"tag": "proof/foreign/t1", "ts": 1%s, "value": 1}' % (b"0" * 400),
    "a field nobody knows": lambda: as_json(reading(colour="red")),
    "a tag too long": lambda: as_json(reading(tag="proof/" + "x" * 5_000)),
    "a tag with NUL": lambda: as_json(reading(tag="proof/\0")),
    "a MiB of spaces": lambda: b" " * (2**20 - 100),
    "half a line of NDJSON": lambda: as_json(reading(), reading(ts=1))[1:-1].replace(b"}, {", b"}\n{")[:-12],
    "columns of unequal length": lambda: b'{"tags": ["proof/a"], "ts": [], "values": [1, 2]}',
    "a time far ahead": lambda: as_json(reading(ts=time.time_ns() // 1_000 + 86_400_000_000)),
    "a time of the year 1": lambda: as_json(reading(ts=-62_135_596_800_000_000)),
    "many tags of other shards": lambda: as_json(*(reading(tag=f"proof/foreign/many{i}") for i in range(20))),
}  # fmt: skip
FIT = {"many tags of other shards"}
"""Nothing is wrong with these but the shard they land in."""


class Poisoner(threading.Thread):
    """Puts one kind after the other under keys of no meaning, while it is let."""

    def __init__(self, fleet: Fleet) -> None:
        super().__init__(daemon=True)
        self.client: Any = kinesis_client(fleet)
        self.on, self.stop = threading.Event(), threading.Event()
        self.put: list[tuple[str, bytes]] = []

    def run(self) -> None:
        kinds = list(KINDS)
        while not self.stop.wait(POISON_EVERY_S):
            if self.on.is_set():
                self.give(kinds[len(self.put) % len(kinds)])

    def give(self, kind: str) -> None:
        data = KINDS[kind]()
        self.client.put_record(StreamName="plant", Data=data, PartitionKey=str(uuid.uuid4()))
        self.put.append((kind, data))


def p99_ms(fleet: Fleet, since_s: float, until_s: float) -> float:
    """From a flush's first reception to its commit; of flushes that hold readings of ours."""
    rows = fleet.ask(
        "select extract(epoch from committed_at - received_at)::float8 * 1000 from flush"
        " where received_at >= to_timestamp(%s) and received_at < to_timestamp(%s) and stored > 5",
        since_s, until_s,
    )  # fmt: skip
    return float(np.quantile([ms for (ms,) in rows], 0.99)) if rows else float("nan")


def windows(poisoner: Poisoner, count: int) -> dict[str, list[tuple[float, float]]]:
    """By turns without and with poison."""
    spans: dict[str, list[tuple[float, float]]] = {"clean": [], "poisoned": []}
    for number in range(2 * count):
        kind = ("clean", "poisoned")[number % 2]
        (poisoner.on.set if kind == "poisoned" else poisoner.on.clear)()
        time.sleep(0.3)
        begun_s = time.time()
        time.sleep(WINDOW_S)
        spans[kind].append((begun_s, time.time()))
    poisoner.on.clear()
    return spans


def scenario(folder: Path, count: int, script: Path | None = None) -> dict[str, Any]:
    with Fleet(folder, shards=4) as fleet:
        door = fleet.door("ingest", "ingest")
        for i in range(2):
            fleet.worker(f"work{i}", script)
        stop = threading.Event()
        senders = [Paced(door, i, stop, every_s=EVERY_S, batch=50, tags=50) for i in range(SENDERS)]
        poisoner = Poisoner(fleet)
        for thread in (*senders, poisoner):
            thread.start()
        time.sleep(4)  # tags are new, leases are taken
        if script is not None:
            return stands_still(fleet, poisoner, stop)
        spans = windows(poisoner, count)
        poisoner.stop.set()
        for kind in list(KINDS)[len(poisoner.put) :]:
            poisoner.give(kind)
        stop.set()
        for thread in (*senders, poisoner):
            thread.join(30)
        fleet.drained()
        measured = {kind: [round(p99_ms(fleet, *span), 1) for span in each] for kind, each in spans.items()}
        return {"p99_ms": measured} | judged_poison(fleet, poisoner, senders) | redriven(fleet)


def judged_poison(fleet: Fleet, poisoner: Poisoner, senders: list[Paced]) -> dict[str, Any]:
    ours = judged(fleet, senders)
    held = fleet.ask("select reason, raw from quarantine")
    stored = {path for (path,) in fleet.ask("select path from tag")}
    raws = {bytes(raw) for _, raw in held}
    missing = {kind for kind, data in poisoner.put if not (kind in FIT or found(kind, data, raws))}
    missing |= {kind for kind in FIT if not any("many" in path for path in stored)}
    ((foreign,),) = fleet.ask("select count(*)::bigint from readings where path like 'proof/foreign/%%'")
    return {
        "poison": len(poisoner.put), "kinds": len(KINDS), "quarantined": len(held), "not found": sorted(missing),
        "without reason or bytes": sum(not (reason and raw) for reason, raw in held),
        "reasons": len({reason for reason, _ in held}),
        **ours, "lost": ours["lost"] + foreign, "foreign stored": foreign,
    }  # fmt: skip


def found(kind: str, data: bytes, raws: set[bytes]) -> bool:
    """The record's own bytes are there, or the bytes of an item in it."""
    head = data[: 64 * 2**10]
    if head in raws or data in raws:
        return True
    if kind.startswith("a time") and data.startswith(b"{"):
        wanted = json.loads(data).get("ts")
        return any(raw.startswith(b"{") and b"%d" % wanted in raw for raw in raws)
    return any(len(raw) > 0 and raw in data for raw in raws) or (kind == "aggregated zstd bombs" and b"0" in raws)


def redriven(fleet: Fleet) -> dict[str, Any]:
    """A reading that came too early comes through once it may; here it is quarantined anew, and both are told of."""
    door = fleet.door("serve", "serve")
    ((number,),) = fleet.ask("select min(quarantine_id) from quarantine where reason = 'ts_ahead'")
    ((bad,),) = fleet.ask("select min(quarantine_id) from quarantine where reason = 'undecodable'")
    status, body = door.request("POST", f"/v1/quarantine/{number}/redrive")
    again, _ = door.request("POST", f"/v1/quarantine/{bad}/redrive")
    fleet.drained()
    ((after,),) = fleet.ask("select count(*) from quarantine where reason = 'ts_ahead' and quarantine_id > %s", number)
    return {"redriven": status, "came back": bool(after), "no reading": again, "answer": json.loads(body or b"{}")}


def stands_still(fleet: Fleet, poisoner: Poisoner, stop: threading.Event) -> dict[str, Any]:
    """Whether shards stop at what the worker cannot read."""
    for kind in ("binary noise", "a field nobody knows", "a MiB of spaces", "one byte") * 3:
        poisoner.give(kind)
    time.sleep(2)
    before = dict(fleet.ask("select shard, position from shard"))
    time.sleep(5)
    after = dict(fleet.ask("select shard, position from shard"))
    stop.set()
    return {"blocked": sum(after[shard] == before[shard] for shard in before), "of": len(before)}


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    with tempfile.TemporaryDirectory() as folder:
        result = scenario(Path(folder) / "plant", count)
        clean, poisoned = (statistics.median(result["p99_ms"][kind]) for kind in ("clean", "poisoned"))
        result |= {"median p99_ms": {"clean": clean, "poisoned": poisoned}}
        print(json.dumps(result), flush=True)
        control = scenario(Path(folder) / "control", 0, BROKEN)
        print(json.dumps({"control": control}))
    if not control["blocked"]:
        sys.exit("the negative control was not caught: this proof proves nothing")
    slow = HOLDS_TO_TIMES and not poisoned <= max(WORSE_BY * clean, clean + NOISE_MS)
    faults = any(result[fault] for fault in (*FAULTS, "not found", "without reason or bytes"))
    sys.exit(1 if slow or faults or result["redriven"] != 200 or not result["came back"] else 0)


if __name__ == "__main__":
    main()
