"""A plant of many processes: doors, workers and pages over a fake Kinesis, a real PostgreSQL and perhaps a Redis.

Everything listens on 127.0.0.1 and lives in one folder.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import psycopg
from gate import Gate
from whole import Plant, free_port

from penstock.store.embedded import EmbeddedPostgres

REGION = "eu-central-1"
TESTS = Path(__file__).parent.parent / "tests"


class Service:
    """One process, started again as often as it is killed; what it says goes to a file beside it."""

    def __init__(self, name: str, command: list[str], folder: Path, environment: dict[str, str]) -> None:
        self.name, self.command, self.environment = name, command, environment
        self.log = folder / f"{name}.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as said:
            self.process = subprocess.Popen(self.command, stdout=said, stderr=said, env=self.environment)

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self, timeout_s: float = 40) -> int:
        """Ask it to end; its exit code."""
        assert self.process is not None
        if self.alive:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            return -9


class Fleet:
    """`with Fleet(folder) as fleet`: the database, the stream and a key are there; doors and workers are added."""

    def __init__(  # noqa: PLR0913  # what a plant is made of
        self, folder: Path, *, shards: int = 4, critical: int = 0, redis: bool = False, fake: list[str] | None = None,
        gated: bool = False, **settings: str,
    ) -> None:  # fmt: skip
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.postgres = EmbeddedPostgres(folder / "postgres")
        self.kinesis_port, self.redis_port = free_port(), free_port() if redis else 0
        self._streams = [f"plant:{shards}", *([f"plant-critical:{critical}"] if critical else [])]
        self._fake = fake or []
        self._settings = {"PENSTOCK_STREAM__CRITICAL": "plant-critical"} if critical else {}
        self._settings |= {f"PENSTOCK_{name.upper()}": value for name, value in settings.items()}
        self.services: dict[str, Service] = {}
        self.store_url = self.key = ""
        self._gated = gated
        self.gate: Gate | None = None
        """Between our processes and the database, if asked for; the proof's own questions go past it."""

    def __enter__(self) -> "Fleet":
        self.store_url = self.postgres.start()
        self.prepare()
        if self._gated:
            self.gate = Gate(int(psycopg.conninfo.conninfo_to_dict(self.store_url)["port"]))
            self.gate.open()
        streams = [word for stream in self._streams for word in ("--stream", stream)]
        command = [sys.executable, "-m", "kinesis_fake", "--port", str(self.kinesis_port), "--region", REGION]
        self.run("kinesis", [*command, *streams, *self._fake], PYTHONPATH=str(TESTS))
        if self.redis_port:
            self.run("redis", redis_command(self.redis_port))
        _until(lambda: self.fake("GET", "/_state") is not None, "the fake Kinesis does not answer")
        made = self.penstock("keys", "create", "--name", "proof", "--role", "admin", "--rate", "0", "--json")
        self.key = json.loads(made)["key"]
        return self

    def prepare(self) -> None:
        """The database is there, and nothing of ours runs yet."""

    def __exit__(self, *_: object) -> None:
        for service in reversed(self.services.values()):
            service.signal(signal.SIGCONT) if service.alive else None
            service.kill() if service.name == "kinesis" else service.stop(10)
        if self.gate is not None:
            self.gate.close()
        self.postgres.stop()

    @property
    def environment(self) -> dict[str, str]:
        """What every process of ours is told."""
        cache = f"redis://127.0.0.1:{self.redis_port}/0" if self.redis_port else "memory:"
        return os.environ | {
            "AWS_ACCESS_KEY_ID": "proof",
            "AWS_SECRET_ACCESS_KEY": "proof",
            "AWS_EC2_METADATA_DISABLED": "true",
            "PENSTOCK_DATA": str(self.folder / "data"),
            "PENSTOCK_STORE__URL": self.store_url_told,
            "PENSTOCK_STREAM__URL": "kinesis://plant",
            "PENSTOCK_STREAM__REGION": REGION,
            "PENSTOCK_STREAM__ENDPOINT": f"http://127.0.0.1:{self.kinesis_port}",
            "PENSTOCK_CACHE__URL": cache,
            "PENSTOCK_WORK__LEASE_S": "3",
            **self._settings,
        }

    @property
    def store_url_told(self) -> str:
        """Where our processes find the database."""
        if self.gate is None:
            return self.store_url
        return re.sub(r":\d+/", f":{self.gate.port}/", self.store_url)

    def run(self, name: str, command: list[str], **environment: str) -> Service:
        """A process of any kind."""
        service = self.services[name] = Service(name, command, self.folder, self.environment | environment)
        service.start()
        return service

    def door(self, name: str, role: str, script: list[str] | None = None, **environment: str) -> Plant:
        """`penstock ingest` or `penstock serve` on a port of its own, to be talked to; or a *script* like it."""
        plant = Plant(self.folder / name)
        plant.key = self.key
        command = [sys.executable, *(script or ["-m", "penstock"]), role, "--port", str(plant.port)]
        self.run(name, command, **environment)
        path = "/readyz/ingest" if role == "ingest" else "/healthz"
        _until(lambda: plant.get(path)[0] == 200, f"{name} does not become ready: {self.tail(name)}")
        return plant

    def worker(self, name: str, script: Path | None = None, *words: str, **environment: str) -> Service:
        """`penstock work`, or a *script* that does something like it."""
        how = [str(script), *words] if script else ["-m", "penstock", "work"]
        return self.run(name, [sys.executable, *how], **environment)

    def penstock(self, *words: str) -> str:
        """What a command prints."""
        done = subprocess.run(
            [sys.executable, "-m", "penstock", *words],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"penstock {words[0]} ended with {done.returncode}: {done.stderr[-1000:]}")
        return done.stdout

    def fake(self, method: str, path: str, body: object = None) -> dict[str, object] | None:
        """Ask or tell the fake Kinesis something that Amazon's does not know."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.kinesis_port}{path}", data, method=method)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return json.loads(answer.read() or b"{}")
        except OSError:
            return None

    def connected(self) -> psycopg.Connection:
        """A connection of the proof's own, each statement committed by itself."""
        return psycopg.connect(self.store_url, autocommit=True)

    def ask(self, question: str, *given: object) -> list[tuple]:
        """What the database answers."""
        with self.connected() as connection:
            return connection.execute(question, given).fetchall()

    def tail(self, name: str) -> str:
        return self.services[name].log.read_text("utf-8", "replace")[-1500:]

    def kill_database(self, away_s: float) -> None:
        """SIGKILL; started again after *away_s*, as a supervisor would. Returns when it answers."""
        assert self.postgres.pid is not None
        os.kill(self.postgres.pid, signal.SIGKILL)
        time.sleep(away_s)
        self.postgres.stop()
        self.postgres.start()

    def positions(self) -> dict[str, int]:
        """How far each shard is committed."""
        return {shard: int(position) for shard, position in self.ask("select shard, position from shard")}

    def until_ready(self, doors: list[Plant]) -> None:
        """Return when each could take readings, and see them stored."""
        for door in doors:
            _until(lambda door=door: door.get("/readyz")[0] == 200, "a door does not become ready")

    def until_all_work(self) -> None:
        """Return when every shard has had its first commit."""
        shards = sum(int(stream.rpartition(":")[2]) for stream in self._streams)
        _until(lambda: sum(at > 0 for at in self.positions().values()) >= shards, "a shard is not worked on")

    def in_flight(self) -> int:
        """Readings that the doors say they put and nobody has stored."""
        ((waiting,),) = self.ask("select coalesce(sum(greatest(0, put - seen)), 0) from produced")
        return int(waiting)

    def until_still(self, still_s: float = 4) -> None:
        """Return when nothing has been committed for so long: for controls, whose books will never balance."""
        since_s, before = time.monotonic(), self.positions()
        while time.monotonic() - since_s < still_s:
            time.sleep(0.2)
            if (now := self.positions()) != before:
                since_s, before = time.monotonic(), now

    def drained(self, timeout_s: float = 90) -> None:
        """Return when everything that was put is stored."""
        _until(lambda: self.in_flight() == 0, "readings stay in flight", timeout_s)
        time.sleep(1.5)  # the doors say what they put once a second
        _until(lambda: self.in_flight() == 0, "readings stay in flight", timeout_s)


def redis_command(port: int) -> list[str]:
    program = shutil.which("redis-server")
    if program is None:
        raise SystemExit("this proof needs redis-server (Debian: apt-get install redis-server)")
    return [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]


def kinesis_client(fleet: Fleet) -> object:
    """Amazon's own client, for whoever reshards."""
    import botocore.session  # noqa: PLC0415

    return botocore.session.get_session().create_client(
        "kinesis", region_name=REGION, endpoint_url=f"http://127.0.0.1:{fleet.kinesis_port}",
        aws_access_key_id="proof", aws_secret_access_key="proof",
    )  # fmt: skip


def _until(holds: object, otherwise: str, timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():  # type: ignore[operator]
        if time.monotonic() > deadline:
            raise RuntimeError(otherwise)
        time.sleep(0.05)
