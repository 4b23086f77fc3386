"""A plant of many processes: doors, workers and pages over a fake Kinesis, a real PostgreSQL and, if asked, a real Redis.

Everything listens on 127.0.0.1 and lives in one folder.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import psycopg
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

    def __init__(
        self, folder: Path, *, shards: int = 4, critical: int = 0, redis: bool = False, fake: list[str] | None = None,
        **settings: str,
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

    def __enter__(self) -> "Fleet":
        self.store_url = self.postgres.start()
        streams = [word for stream in self._streams for word in ("--stream", stream)]
        command = [sys.executable, "-m", "kinesis_fake", "--port", str(self.kinesis_port), "--region", REGION]
        self.run("kinesis", [*command, *streams, *self._fake], PYTHONPATH=str(TESTS))
        if self.redis_port:
            self.run("redis", redis_command(self.redis_port))
        _until(lambda: self.fake("GET", "/_state") is not None, "the fake Kinesis does not answer")
        made = self.penstock("keys", "create", "--name", "proof", "--role", "admin", "--rate", "0", "--json")
        self.key = json.loads(made)["key"]
        return self

    def __exit__(self, *_: object) -> None:
        for service in reversed(self.services.values()):
            service.signal(signal.SIGCONT) if service.alive else None
            service.kill() if service.name == "kinesis" else service.stop(10)
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
            "PENSTOCK_STORE__URL": self.store_url,
            "PENSTOCK_STREAM__URL": "kinesis://plant",
            "PENSTOCK_STREAM__REGION": REGION,
            "PENSTOCK_STREAM__ENDPOINT": f"http://127.0.0.1:{self.kinesis_port}",
            "PENSTOCK_CACHE__URL": cache,
            "PENSTOCK_WORK__LEASE_S": "3",
            **self._settings,
        }

    def run(self, name: str, command: list[str], **environment: str) -> Service:
        """A process of any kind."""
        service = self.services[name] = Service(name, command, self.folder, self.environment | environment)
        service.start()
        return service

    def door(self, name: str, role: str, **environment: str) -> Plant:
        """`penstock ingest` or `penstock serve` on a port of its own, as something to talk to."""
        plant = Plant(self.folder / name)
        plant.key = self.key
        command = [sys.executable, "-m", "penstock", role, "--port", str(plant.port)]
        self.run(name, command, **environment)
        path = "/readyz/ingest" if role == "ingest" else "/healthz"
        _until(lambda: plant.get(path)[0] == 200, f"{name} does not become ready: {self.tail(name)}")
        return plant

    def worker(self, name: str, script: Path | None = None, **environment: str) -> Service:
        """`penstock work`, or a *script* that does something like it."""
        how = [str(script)] if script else ["-m", "penstock", "work"]
        return self.run(name, [sys.executable, *how], **environment)

    def penstock(self, *words: str) -> str:
        """What a command prints."""
        done = subprocess.run(
            [sys.executable, "-m", "penstock", *words], env=self.environment, capture_output=True, text=True, check=False
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

    def ask(self, question: str, *given: object) -> list[tuple]:
        """What the database answers."""
        with psycopg.connect(self.store_url, autocommit=True) as connection:
            return connection.execute(question, given).fetchall()

    def tail(self, name: str) -> str:
        return self.services[name].log.read_text("utf-8", "replace")[-1500:]

    def in_flight(self) -> int:
        """Readings that the doors say they put and nobody has stored."""
        ((waiting,),) = self.ask("select coalesce(sum(greatest(0, put - seen)), 0) from produced")
        return int(waiting)

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
