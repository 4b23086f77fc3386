"""Load on a running plant: latency from the scheduled send to the committed row, CPU by process."""

import asyncio
import json
import os
import platform
import time
from collections import Counter, defaultdict, deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import urlsplit

import msgspec
import numpy as np

from penstock.errors import Misconfigured, Unavailable
from penstock.store.postgres import connect
from penstock.store.sql import statements

TICKS: Final = os.sysconf("SC_CLK_TCK")
LATE_S: Final = 0.010
TIME: Final = b"1111111111111111"
"""Sixteen digits in every body, replaced by the scheduled time in microseconds."""
VARIANTS: Final = 4
CONNECTIONS: Final = 16
REFUSED_REST_S: Final = 0.1


class Load(msgspec.Struct, frozen=True):
    """What to send. One tag sends `rate / tags` readings a second; at rate 0 connections send as they are answered."""

    rate: float = 100_000
    seconds: float = 60
    batch: int = 1_000
    tags: int = 10_000
    run: str = "0"
    connections: int = CONNECTIONS

    @property
    def groups(self) -> int:
        """Tags part into groups of one batch each; groups take turns."""
        return max(1, self.tags // self.batch)

    def paths(self, group: int) -> list[str]:
        return [f"bench/{self.run}/g{group}/t{i}/value" for i in range(self.batch)]


def bodies(load: Load) -> list[bytes]:
    """Request bodies for each group, a few variants of each: arrays of readings, as most senders write them."""
    values = np.round(70 + np.random.default_rng(0).normal(0, 3, (VARIANTS, load.batch)), 2)
    return [
        b"["
        + b",".join(
            f'{{"tag":"{path}","ts":{TIME.decode()},"value":{value!r}}}'.encode()
            for path, value in zip(load.paths(group), values[variant].tolist(), strict=True)
        )
        + b"]"
        for variant in range(VARIANTS)
        for group in range(load.groups)
    ]


class _Sender(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self, run: "Run") -> None:
        self._run, self._due, self._answer = run, 0.0, b""
        self._closing = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's is one without saying so
        self._run.idle.append(self)

    def close(self) -> None:
        self._closing = True
        self._transport.abort()

    def send(self, due: float, request: bytes) -> None:
        self._due, self._answer = due, b""
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._answer += data
        head, found, body = self._answer.partition(b"\r\n\r\n")
        if found and len(body) >= _length(head):
            self._run.answered(self, head, body, time.time() - self._due)

    def connection_lost(self, _error: Exception | None) -> None:
        self._run.lost += not self._closing


class Run:
    """The open loop: requests fall due whether or not earlier ones were answered."""

    def __init__(self, load: Load, head: bytes) -> None:
        self.load = load
        self.idle: deque[_Sender] = deque()
        self.status: Counter[int] = Counter()
        self.accepted = self.late = self.lost = 0
        self.answer_s: list[float] = []
        self.began = 0.0
        self._waiting: deque[int] = deque()
        self._requests = [head % len(body) + body for body in bodies(load)]

    async def go(self) -> None:
        load = self.load
        per_s = load.rate / load.batch
        total = int(per_s * load.seconds)
        self.began = time.time() + 0.2
        sent = 0
        while sent < total:
            due = min(total, int((time.time() - self.began) * per_s) + 1)
            for number in range(sent, due):
                self._waiting.append(number)
            sent = max(sent, due)
            self._drain()
            await asyncio.sleep(max(0.0, self.began + sent / per_s - time.time()))
        await self._settle(total)

    async def _settle(self, total: int) -> None:
        deadline = time.time() + 30
        while sum(self.status.values()) < total and time.time() < deadline and not self.lost:
            self._drain()
            await asyncio.sleep(0.01)

    def _drain(self) -> None:
        per_s = self.load.rate / self.load.batch
        while self.idle and self._waiting:
            number = self._waiting.popleft()
            due = self.began + number / per_s
            self.late += time.time() - due > LATE_S
            self._send(number, due)

    def _send(self, number: int, due: float) -> None:
        request = self._requests[number % len(self._requests)]
        self.idle.popleft().send(due, request.replace(TIME, b"%d" % int(due * 1e6)))

    def answered(self, sender: _Sender, head: bytes, body: bytes, took_s: float) -> None:
        status = int(head[9:12])
        self.status[status] += 1
        self.answer_s.append(took_s)
        if status < 300:  # noqa: PLR2004  # the success range of HTTP
            self.accepted += int(json.loads(body)["accepted"])
        self._rest(sender, status)

    def _rest(self, sender: _Sender, _status: int) -> None:
        self.idle.append(sender)
        self._drain()


class ClosedRun(Run):
    """The closed loop: every connection sends again once it is answered, and soon after it is refused."""

    _ends = 0.0
    _number = 0

    async def go(self) -> None:
        self.began = time.time()
        self._ends = self.began + self.load.seconds
        self._drain()
        await asyncio.sleep(self.load.seconds)
        self._ends = 0.0  # whatever the wall clock did meanwhile
        await self._settle(self._number)

    def _drain(self) -> None:
        while self.idle and time.time() < self._ends:
            self._send(self._number, time.time())
            self._number += 1

    def _rest(self, sender: _Sender, status: int) -> None:
        if status < 300:  # noqa: PLR2004  # the success range of HTTP
            super()._rest(sender, status)
        else:
            asyncio.get_running_loop().call_later(REFUSED_REST_S, super()._rest, sender, status)


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


async def measure(note: dict[str, Any], load: Load) -> dict[str, Any]:
    """Send *load* to the plant of *note* and report what became of it. Raises Unavailable when it does not answer."""
    before, began = cpu_s(note["pid"]), time.process_time()
    run = await send(note["url"], note["api_key"], load)
    generator = time.process_time() - began
    committed = await _committed(note["store_url"], load, run.accepted)
    return report(load, run, committed, difference(before, cpu_s(note["pid"])), generator)


async def send(base_url: str, api_key: str, load: Load) -> Run:
    """Send *load* and return what was answered. Raises Unavailable when nothing listens there."""
    url = urlsplit(base_url)
    if url.scheme != "http":
        raise Misconfigured("door.tls", "the load is sent without TLS", "measure a plant that runs without --tls")
    head = (
        f"POST /v1/readings HTTP/1.1\r\nhost: {url.netloc}\r\nx-api-key: {api_key}\r\n"
        "content-type: application/json\r\ncontent-length: %d\r\n\r\n"
    ).encode()
    run = (Run if load.rate else ClosedRun)(load, head)
    loop = asyncio.get_running_loop()
    try:
        senders = [
            (await loop.create_connection(lambda: _Sender(run), url.hostname or "", url.port or 80))[1]
            for _ in range(load.connections)
        ]
    except OSError as error:
        raise Unavailable(f"nothing answers at {base_url}") from error
    await run.go()
    for sender in senders:
        sender.close()
    return run


async def _committed(store_url: str, load: Load, accepted: int) -> dict[str, Any]:
    """Wait until what was accepted is stored, then ask the store for the count and each batch's way there."""
    sql = statements("bench")
    probes = [load.paths(group)[0] for group in range(load.groups)]
    async with await connect(store_url, application="bench") as connection:
        stored, deadline = -1, time.time() + 30
        while stored < accepted and time.time() < deadline:
            await asyncio.sleep(0.5)
            cursor = await connection.execute(sql["stored"], {"prefix": f"bench/{load.run}/"})
            stored = int((await cursor.fetchone() or (0,))[0])
        cursor = await connection.execute(sql["latency_ms"], {"paths": probes})
        latency = [float(row[0]) for row in await cursor.fetchall()]
    return {"stored": stored, "latency_ms": latency}


def report(load: Load, run: Run, committed: dict[str, Any], cpu: dict[str, float], generator: float) -> dict[str, Any]:
    """One JSON object; latencies in milliseconds, CPU in microseconds a stored reading."""
    stored = max(1, committed["stored"])
    return {
        "load": msgspec.to_builtins(load),
        "machine": {"cpus": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()},
        "status": {str(status): count for status, count in sorted(run.status.items())},
        "acknowledged": run.accepted,
        "committed": committed["stored"],
        "requests_sent_late": run.late,
        "connections_lost": run.lost,
        "answer_ms": percentiles([1e3 * took for took in run.answer_s]),
        "scheduled_to_commit_ms": percentiles(committed["latency_ms"]),
        "cpu_us_per_reading": {
            **{name: round(1e6 * used / stored, 3) for name, used in cpu.items()},
            "all but generator": round(1e6 * sum(cpu.values()) / stored, 3),
            "generator": round(1e6 * generator / stored, 3),
        },
    }


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """p50, p99, p99.9 and the greatest."""
    if not values:
        return {}
    p50, p99, p999, top = np.percentile(values, [50, 99, 99.9, 100]).tolist()
    return {"p50": round(p50, 1), "p99": round(p99, 1), "p99.9": round(p999, 1), "max": round(top, 1)}


def cpu_s(pid: int) -> dict[str, float]:
    """CPU seconds of the plant's processes by name, with what their ended children used. Linux only; else empty."""
    used: defaultdict[str, float] = defaultdict(float)
    if not Path("/proc/self/stat").exists():
        return {}
    parent_of, stats = {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        child = int(stat.parent.name)
        parent_of[child], stats[child] = int(fields[1]), sum(map(int, fields[11:15]))
    for child, ticks in stats.items():
        if child == pid or _descends(child, pid, parent_of):
            used[_name(child, pid)] += ticks / TICKS
    return dict(used)


def _descends(child: int, pid: int, parent_of: dict[int, int]) -> bool:
    while child in parent_of:
        child = parent_of[child]
        if child == pid:
            return True
    return False


def _name(child: int, pid: int) -> str:
    if child == pid:
        return "front"
    try:
        words = Path(f"/proc/{child}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
    except OSError:
        return "postgres"
    return next((word for word in ("work", "simulate") if f" {word}" in words and "penstock" in words), "postgres")


def difference(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    return {name: used - before.get(name, 0.0) for name, used in after.items()}
