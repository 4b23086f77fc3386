"""A plant that is not there: the routes the page asks for, answered from arithmetic. Page tests need no worker."""

import json
import math
import queue
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from penstock.serve.page import CONTENT_SECURITY_POLICY, static_files

TOKEN = "token-of-the-link"
KEY = "a-key-that-was-typed"
TYPES = {"html": "text/html", "js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
STATES = ("RUNNING", "IDLE", "SETUP")
QUIET_S = 1_300
HOUR_S = 3_600
Query = dict[str, list[str]]


def iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def seconds_of(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


@dataclass(frozen=True)
class Sensor:
    """A tag and the curve it follows."""

    tag: str
    unit: str
    middle: float
    swing: float
    period_s: float
    limits: dict[str, float] = field(default_factory=dict)
    description: str = ""
    fault: str = ""

    def at(self, moment: float) -> float | None:
        phase = zlib.crc32(self.tag.encode()) % 1_000
        turn = math.sin(2 * math.pi * (moment + phase * 7) / self.period_s)
        noise = (zlib.crc32(f"{self.tag}{int(moment * 2)}".encode()) % 1_000 / 500 - 1) * 0.18
        drift = max(0.0, 1 - (self.now() - moment) / 1_500) if self.fault == "drift" else 0.0
        return self.middle + self.swing * (0.6 * turn * (1 - drift) + noise + 2.8 * drift)

    def state(self, moment: float) -> str:
        return STATES[(0, 0, 0, 2, 0, 0, 1)[int(moment / 400) % 7]]

    def reading(self, moment: float) -> dict[str, Any]:
        ts = moment - QUIET_S if self.fault == "silent" else math.floor(moment * 2) / 2
        states = self.unit == "state"
        return {
            "tag": self.tag, "ts": iso(ts), "received_ts": iso(moment), "stored_ts": iso(moment), "seq": None,
            "value": None if states else self.at(ts), "state": self.state(ts) if states else None,
            "quality": "uncertain" if self.fault == "doubt" else "good", "unit": None if states else self.unit,
        }  # fmt: skip

    @staticmethod
    def now() -> float:
        return time.time()

    def listed(self) -> dict[str, Any]:
        return {
            "tag": self.tag, "unit": None if self.unit == "state" else self.unit, "kind": None,
            "description": self.description or None, "criticality": "standard", "expected_interval_s": 1.0,
            "limits": {"ll": None, "l": None, "h": None, "hh": None, **self.limits}, "holds": "value",
        }  # fmt: skip


def press(line: int, number: int, faults: dict[str, str]) -> Iterator[Sensor]:
    asset = f"lyon/stamping/line-{line}/press-{number}"
    make = lambda name, *rest: Sensor(f"{asset}/{name}", *rest, fault=faults.get(name, ""))  # noqa: E731
    yield make("bearing-temperature", "Cel", 64, 3, 1_900, {"h": 70, "hh": 78, "l": 20}, "Drive end bearing")
    yield make("hydraulic-pressure", "bar", 182, 5, 700, {"l": 165, "ll": 150, "h": 195, "hh": 205}, "Main ram circuit")
    yield make("motor-current", "A", 41.5, 3.2, 320, {"h": 52}, "Main drive, phase L1")
    yield make("vibration", "mm/s", 1.9, 0.35, 140, {"h": 3.5, "hh": 4.5}, "RMS velocity, ISO 20816")
    yield make("mode", "state", 0, 0, 1)


def lively_plant() -> list[Sensor]:
    """60 tags: one bearing runs hot, one sensor fell silent, one cannot be trusted."""
    faults = {(3, 7): {"bearing-temperature": "drift"}, (3, 8): {"motor-current": "silent", "vibration": "doubt"}}
    sensors = [one for line in (1, 2, 3) for n in (7, 8, 9) for one in press(line, n, faults.get((line, n), {}))]
    for tank in range(1, 4):
        asset = f"lyon/coolant/tank-{tank}"
        sensors += [
            Sensor(f"{asset}/level", "%", 71, 9, 5_400, {"l": 30, "ll": 15, "h": 92}, "Radar gauge"),
            Sensor(f"{asset}/temperature", "Cel", 19.4, 0.6, 4_000, {"h": 26}),
            Sensor(f"{asset}/flow", "L/min", 118, 9, 260, {"l": 80}, "To the presses"),
        ]
    return sensors


def alarm(alarm_id: int, tag: str, **given: Any) -> dict[str, Any]:
    base = {
        "id": alarm_id, "tag": tag, "test": "limit_h", "priority": "high", "state": "unacknowledged", "active": True,
        "raised_at": iso(time.time() - 400), "returned_at": None, "closed_at": None, "acknowledged_at": None,
        "acknowledged_by": None, "note": None, "shelved_until": None, "shelved_by": None, "shelve_reason": None,
        "occurrences": 1, "unit": "Cel", "value": 71.2, "score": 0.9, "low": None, "high": 70.0, "because": "above it",
    }  # fmt: skip
    return base | given


def open_alarms() -> list[dict[str, Any]]:
    base, ago = "lyon/stamping/line-3", lambda seconds: iso(time.time() - seconds)
    return [
        alarm(1, f"{base}/press-7/bearing-temperature", raised_at=ago(380), value=70.4,
              because="70.4 °C is above the high limit of 70 °C, and has risen by 0.3 °C a minute for 20 minutes."),
        alarm(2, f"{base}/press-8/motor-current", test="silence", priority="medium", raised_at=ago(1_240), value=None,
              because="No reading for 5 expected intervals of 1 s; the last one said 41.9 A."),
        alarm(3, "lyon/stamping/line-2/press-9/vibration", test="record", priority="low", state="acknowledged",
              acknowledged_by="m.durand", raised_at=ago(5_300), value=2.6, unit="mm/s", active=False,
              because="2.6 mm/s is the highest in 14 days; usually between 1.6 and 2.3 mm/s."),
        alarm(4, "lyon/coolant/tank-2/flow", test="stuck", priority="low", state="shelved", raised_at=ago(9_000),
              shelved_until=iso(time.time() + 7_000), shelve_reason="Pump out for service", value=118.0,
              because="118.0 L/min without the smallest change for 10 minutes."),
    ]  # fmt: skip


def shard(name: str, **given: Any) -> dict[str, Any]:
    """One that is held and well."""
    base = {
        "stream": "log:1", "shard": name, "lane": name, "owner": "gateway-7 4711", "held": True, "epoch": 3,
        "position": "118", "committed": 4_000, "lag": 0, "behind_s": None, "last_commit": iso(time.time() - 1),
    }  # fmt: skip
    return base | given


def kinesis_shards(n: int) -> list[dict[str, Any]]:
    """Of a stream that three workers share."""
    owner = "ip-10-0-{}-17.internal 7 1a2b3c"
    return [
        shard(f"shardId-{i:012}", lane="bulk", owner=owner.format(i % 3), behind_s=0.0, lag=40 + i, epoch=2 + i % 3,
              stream="kinesis:plant")
        for i in range(n)
    ]  # fmt: skip


def condition(name: str, severity: str = "high", **given: Any) -> dict[str, Any]:
    base = {"name": name, "severity": severity, "shard": None, "since": iso(time.time() - 60), "why": "", "mend": ""}
    return base | given


class FakePlant:
    """Serves the page and `/v1` on a free port. `asked` records what was posted."""

    def __init__(self, sensors: list[Sensor] | None = None, alarms: list[dict[str, Any]] | None = None) -> None:
        self.sensors = {one.tag: one for one in (lively_plant() if sensors is None else sensors)}
        self.alarms = {one["id"]: one for one in (open_alarms() if alarms is None else alarms)}
        self.asked: list[tuple[str, Any]] = []
        self.feeds: list[queue.SimpleQueue[tuple[str, Any]]] = []
        self.unaccounted = 0
        self.failing: dict[str, str] = {}
        self.shards: list[dict[str, Any]] = [shard(name) for name in ("critical", "bulk")]
        self.conditions: list[dict[str, Any]] = []
        self.frozen = False
        self.minutes_begin = 0.0
        self.archived_before = self.expired_before = 0.0
        self.archived_in = "s3://lyon-penstock-archive/plant/"
        self.started = time.time()
        self._server = Server(("127.0.0.1", 0), partial(Door, self))
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def raise_alarm(self, one: dict[str, Any]) -> None:
        self.alarms[one["id"]] = one
        for feed in list(self.feeds):
            feed.put(("alarm", one))

    def balance(self) -> dict[str, int]:
        stored = 4_183_220 + int((time.time() - self.started) * 120)
        parts = {"stored": stored, "duplicate": 1_204, "conflict": 3, "quarantined": 2, "in_flight": 96}
        return {
            "received": sum(parts.values()) + self.unaccounted,
            **parts,
            "unaccounted": self.unaccounted,
            "late": 77,
        }

    def health(self) -> dict[str, Any]:
        return {
            "received_per_s": 120.4,
            "stored_per_s": 119.8,
            "lag_s": 0.084,
            "failing": self.failing,
            "balance": self.balance(),
        }


class Server(ThreadingHTTPServer):
    """A browser that closes in the middle of an answer is no news."""

    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        pass


class Door(BaseHTTPRequestHandler):
    """One request: a file of the page, or a route of `/v1`."""

    protocol_version = "HTTP/1.1"

    def __init__(self, plant: FakePlant, *args: Any) -> None:
        self.plant = plant
        super().__init__(*args)

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.split = urlsplit(self.path)
        if not self.split.path.startswith("/v1/"):
            return self.file(self.split.path.removeprefix("/assets/").strip("/") or "index.html")
        if "session=1" not in self.headers.get("Cookie", ""):
            return self.say(401, {"code": "unauthorized", "detail": "no key and no session"})
        query = parse_qs(self.split.query)
        if self.split.path == "/v1/live":
            return self.live(query)
        return self.say(200, ROUTES[self.split.path](self.plant, query))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
        self.plant.asked.append((self.path, body))
        if self.path == "/v1/login":
            good = body.get("token") == TOKEN or body.get("key") == KEY
            return self.say(200, {}, "session=1; Path=/; HttpOnly") if good else self.say(401, {"code": "unauthorized"})
        return self.say(200, self.decide(self.path.split("/"), body))

    def do_DELETE(self) -> None:
        self.say(200, {}, "session=; Path=/; Max-Age=0")

    def decide(self, words: list[str], body: dict[str, Any]) -> dict[str, Any]:
        if words[2] != "alarms":
            return {"batch_id": "b"}
        one, what = self.plant.alarms[int(words[3])], words[4]
        one["state"] = {"ack": "acknowledged", "shelve": "shelved", "unshelve": "unacknowledged"}[what]
        one |= {"ack": {"acknowledged_by": "shift-a"}, "shelve": {"shelved_until": body.get("until")}}.get(what, {})
        return one

    def file(self, name: str) -> None:
        found = static_files() / name
        if ".." in name or not found.is_file():
            return self.say(404, {"code": "unknown", "detail": "no such page"})
        return self.bytes(200, found.read_bytes(), TYPES[name.rpartition(".")[2]])

    def say(self, status: int, answer: Any, cookie: str = "") -> None:
        self.bytes(status, json.dumps(answer).encode(), "application/json", cookie)

    def bytes(self, status: int, content: bytes, kind: str, cookie: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Security-Policy", CONTENT_SECURITY_POLICY)
        if cookie:
            self.send_header("Set-Cookie", cookie)
        self.end_headers()
        self.wfile.write(content)

    def live(self, query: Query) -> None:
        feed: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self.plant.feeds.append(feed)
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.close_connection = True
        self.end_headers()
        try:
            while True:
                self.pulse(feed, query)
        except OSError:
            self.plant.feeds.remove(feed)

    def pulse(self, feed: "queue.SimpleQueue[tuple[str, Any]]", query: Query) -> None:
        if not self.plant.frozen:
            self.event("reading", latest(self.plant, query)["items"])
            self.event("health", self.plant.health())
        try:
            self.event(*feed.get(timeout=0.5))
        except queue.Empty:
            return

    def event(self, kind: str, data: Any) -> None:
        self.wfile.write(f"id: {time.time_ns()}\nevent: {kind}\ndata: {json.dumps(data)}\n\n".encode())
        self.wfile.flush()


def chosen(plant: FakePlant, query: Query) -> list[Sensor]:
    return [plant.sensors[tag] for tag in query.get("tag", plant.sensors) if tag in plant.sensors]


def latest(plant: FakePlant, query: Query) -> dict[str, Any]:
    moment = time.time()
    return {"items": [one.reading(moment) for one in chosen(plant, query)]}


def tags(plant: FakePlant, query: Query) -> dict[str, Any]:
    listed = [one.listed() for one in plant.sensors.values()]
    first, size = int(query.get("cursor", ["0"])[0]), int(query["limit"][0])
    return {"items": listed[first : first + size], "next": str(first + size) if first + size < len(listed) else None}


def series(plant: FakePlant, query: Query) -> dict[str, Any]:
    sensor, points = plant.sensors[query["tag"][0]], int(query["points"][0])
    start, end = seconds_of(query["start"][0]), seconds_of(query["end"][0])
    step = max(1.0, (end - start) / points)
    floor = plant.minutes_begin
    hours = [max(start, hour) for hour in range(int(start // HOUR_S * HOUR_S), int(min(end, floor)), HOUR_S)]
    moments = [start + step * n for n in range(int((end - start) / step)) if start + step * n >= floor]
    items = [binned(sensor, hour, HOUR_S) for hour in hours]
    items += [binned(sensor, moment, step) for moment in moments if there(sensor, moment)]
    return {"items": items, "bin_s": step, "minutes_before": iso(floor) if start < floor else None} | archived(
        plant, start
    )


def archived(plant: FakePlant, start: float) -> dict[str, Any]:
    floors = {"archived_before": plant.archived_before, "expired_before": plant.expired_before}
    return {name: iso(floor) if start < floor else None for name, floor in floors.items()}


def there(sensor: Sensor, moment: float) -> bool:
    """A silent sensor stops; the coolant was switched off for a while, which makes a gap."""
    age = time.time() - moment
    return not (sensor.fault == "silent" and age < QUIET_S) and not ("pressure" in sensor.tag and 1_500 < age < 2_000)


def binned(sensor: Sensor, moment: float, step: float) -> dict[str, Any]:
    if sensor.unit == "state":
        return {"ts": iso(moment), "count": 1, "min": None, "max": None, "last": None, "state": sensor.state(moment)}
    seen = [sensor.at(moment + step * k / 4) or 0.0 for k in range(4)]
    return {"ts": iso(moment), "count": 4, "min": min(seen), "max": max(seen), "last": seen[-1], "state": None}


def alarms(plant: FakePlant, query: Query) -> dict[str, Any]:
    return {"items": [one for one in plant.alarms.values() if one["state"] in query["state"]], "next": None}


def anomalies(plant: FakePlant, query: Query) -> dict[str, Any]:
    return {"items": [
        {"id": one["id"], "tag": one["tag"], "ts": one["raised_at"], "test": one["test"], "active": True, "score": 0.9,
         "priority": one["priority"], "value": one["value"], "low": None, "high": None, "because": one["because"]}
        for one in plant.alarms.values() if one["tag"] in query["tag"]
    ], "next": None}  # fmt: skip


def quarantined(plant: FakePlant, query: Query) -> dict[str, Any]:
    held = [("lyon/stamping/line-1/press-8/vibration", "unit_mismatch", "unit `in/s`, the tag holds `mm/s`"),
            ("lyon/coolant/tank-1/level", "too_far_ahead", "ts is 14 min ahead of the plant's clock")]  # fmt: skip
    at = [iso(time.time() - 600 * n) for n in (1, 2)]
    return {"items": [
        {"id": n, "tag": tag, "reason": reason, "detail": detail, "at": at[n - 1], "ts": None, "redriven_at": None}
        for n, (tag, reason, detail) in enumerate(held, 1)
    ], "next": None}  # fmt: skip


ROUTES: dict[str, Callable[[FakePlant, Query], Any]] = {
    "/v1/plant": lambda plant, _: {
        "name": "Lyon works",
        "zone": "Europe/Paris",
        "shards": plant.shards,
        "conditions": plant.conditions,
        "archived_before": iso(plant.archived_before) if plant.archived_before else None,
        "archived_in": plant.archived_in if plant.archived_before else None,
    },
    "/v1/login": lambda *_: {"key_id": "k1", "name": "shift-a", "role": "operator", "sites": ["lyon"]},
    "/v1/tags": tags,
    "/v1/latest": latest,
    "/v1/series": series,
    "/v1/anomalies": anomalies,
    "/v1/alarms": alarms,
    "/v1/balance": lambda plant, _: plant.balance(),
    "/v1/quarantine": quarantined,
}
