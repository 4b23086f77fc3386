"""P20: no credential in any environment, process title, log, file, answer or metric.

    python3 run.py prove p20

A fleet whose secrets are all references, in a Secrets Manager of our own: the database's logins, Redis' user, the
secret that signs remembered keys; and besides them its API key and the secret key of its AWS credentials. Under load
the password rotates, secrets are denied, refused and malformed, the database and Redis are killed, requests are wrong
in every way, `doctor` and a worker are run on secrets of no use. Then everything is searched for all these values,
plain, in Base64 and in hexadecimal: each process' environment (but for the variables that are AWS' own) and arguments,
every log and file, PostgreSQL's too, every answer, `/metrics`, every span that is traced, and what commands printed.

The controls leak on purpose: into a log, an environment, the arguments, a file and a span. Each must be found.
"""

import base64
import json
import os
import secrets
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from load import Paced
from p11_rotation import FakeSecretsManager, SecretFleet
from redis import Redis
from whole import Plant

from penstock.traces.ids import random_ids
from penstock.traces.otlp import OtlpTraces
from penstock.traces.port import Kind, Span
from traces.collector import Collector

AWS_OWN = (b"AWS_ACCESS_KEY_ID=", b"AWS_SECRET_ACCESS_KEY=", b"AWS_SESSION_TOKEN=")
OWN_FILES = {"postgres/password"}
"""Of the embedded server that plays RDS here: its superuser's password is none of the application's."""
LEAK = "import sys, time; from penstock.telemetry import log, start_logging; start_logging(); {leak}; time.sleep(60)"
Place = str
Text = bytes


class CanaryFleet(SecretFleet):
    """Each of its secrets is a word that occurs nowhere else."""

    def __init__(self, folder: Path, manager: FakeSecretsManager, collector: Collector) -> None:
        told = {"door__cache_secret": "secret://cache#key", "traces__url": collector.url, "traces__share": "1"}
        super().__init__(folder, manager, shards=2, redis=True, **told)
        self.collector = collector
        self.canaries = {name: secrets.token_hex(20) for name in ("redis", "cache", "aws", "wrong")}
        self.printed: list[tuple[Place, Text]] = []

    def prepare(self) -> None:
        os.environ["AWS_SECRET_ACCESS_KEY"] = self.canaries["aws"]
        super().prepare()
        self.manager.put("redis", {"username": "penstock", "password": self.canaries["redis"]})
        self.manager.put("cache", {"key": self.canaries["cache"]})
        self.manager.put("wrong", {"username": "penstock_a", "password": self.canaries["wrong"]})
        self.manager.put("malformed", self.canaries["wrong"])

    @property
    def environment(self) -> dict[str, str]:
        cache = f"redis://127.0.0.1:{self.redis_port}/0?credentials=secret://redis"
        return super().environment | {
            "PENSTOCK_CACHE__URL": cache, "PENSTOCK_WORK__PORT": "0", "AWS_SECRET_ACCESS_KEY": self.canaries["aws"],
        }  # fmt: skip

    def let_redis_in(self) -> None:
        with Redis.from_url(f"redis://127.0.0.1:{self.redis_port}/0") as redis:
            for _ in range(100):
                with suppress(OSError, Exception):
                    words = ("on", "resetpass", f">{self.canaries['redis']}", "~{penstock}:*", "+@all")
                    redis.execute_command("ACL", "SETUSER", "penstock", *words)
                    return
                time.sleep(0.1)

    def all_canaries(self) -> dict[str, str]:
        """Every password that there ever was, too."""
        found = dict(self.canaries) | {"api key": self.key}
        for secret in ("penstock-app", "penstock-admin"):
            for version, text in self.manager.secrets.secrets[secret].versions.items():
                if password := json.loads(text).get("password"):
                    found[f"{secret} {version[:8]}"] = password
        return found

    def command(self, *words: str, **environment: str) -> None:
        """What it prints is searched; how it ends is its own affair."""
        done = subprocess.run(
            [sys.executable, "-m", "penstock", *words], env=self.environment | environment, capture_output=True,
            check=False, timeout=120,
        )  # fmt: skip
        self.printed.append((f"penstock {' '.join(words)} ({done.returncode})", done.stdout + done.stderr))


def load(fleet: CanaryFleet, door: Plant) -> tuple[threading.Event, Paced]:
    stop = threading.Event()
    sender = Paced(door, 0, stop, every_s=0.2)
    sender.start()
    fleet.until_all_work()
    return stop, sender


def wrong_requests(fleet: CanaryFleet, doors: list[Plant]) -> None:
    """Answers to what should not have been asked; the key is right in half of them, and wrong in half."""
    for door in doors:
        for key in (fleet.key, fleet.key[:-4] + "xxxx"):
            door.key = key
            for path in (
                "/v1/readings?tag=a",
                "/v1/nothing",
                "/metrics",
                "/readyz",
                "/openapi.json",
                "/v1/keys",
                "/v1/balance",
            ):
                with suppress(OSError):
                    fleet.printed.append((f"GET {path}", repr(door.get(path)).encode()))
            for body in ([{"tag": key}], [], [{"tag": "a/b", "ts": 0, "value": key}], {"readings": key}):
                with suppress(OSError):
                    fleet.printed.append(("POST", repr(door.post("/v1/readings", body)).encode()))
        door.key = fleet.key


def provoke(fleet: CanaryFleet, doors: list[Plant]) -> None:
    """Everything that may go wrong with a secret does."""
    fleet.rotate(0.5)
    fleet.manager.secrets.denied.add("penstock-app")
    fleet.end_sessions()
    wrong_requests(fleet, doors)
    fleet.manager.secrets.denied.clear()
    fleet.rotate(0.1)
    fleet.rotate(0.1)
    fleet.end_sessions()
    fleet.manager.is_away = True
    with Redis.from_url(f"redis://127.0.0.1:{fleet.redis_port}/0") as redis:
        redis.execute_command("ACL", "SETUSER", "penstock", "resetpass", ">other")
        redis.execute_command("CLIENT", "KILL", "USER", "penstock")
    time.sleep(2)
    fleet.kill_database(1)
    wrong_requests(fleet, doors)
    fleet.manager.is_away = False
    fleet.services["redis"].kill()
    time.sleep(2)
    fleet.services["redis"].start()
    fleet.let_redis_in()
    bare = fleet.rotating.place if fleet.rotating else ""
    for secret in ("wrong", "malformed", "absent"):
        told = {"PENSTOCK_STORE__URL": f"{bare}?credentials=secret://{secret}"}
        told |= {"PENSTOCK_CACHE__URL": f"redis://127.0.0.1:{fleet.redis_port}/0?credentials=secret://{secret}"}
        fleet.command("doctor", **told)
        if secret != "wrong":
            fleet.command("work", **told)
            fleet.command("ingest", "--port", "0", **told)
    wrong_requests(fleet, doors)
    time.sleep(3)


def haystack(fleet: CanaryFleet) -> Iterator[tuple[Place, Text]]:
    yield from fleet.printed
    yield from (("a span", body) for body in tuple(fleet.collector.bodies))
    for service in fleet.services.values():
        if service.alive and service.process is not None:
            proc = Path("/proc") / str(service.process.pid)
            words = (proc / "environ").read_bytes().split(b"\0")
            yield f"environment of {service.name}", b"\n".join(word for word in words if not word.startswith(AWS_OWN))
            yield f"arguments of {service.name}", (proc / "cmdline").read_bytes()
    for backend in Path("/proc").glob("[0-9]*/cmdline"):  # the titles of PostgreSQL's processes
        with suppress(OSError):
            title = backend.read_bytes()
            if title.startswith(b"postgres"):
                yield f"title of process {backend.parent.name}", title
    for file in fleet.folder.rglob("*"):
        if file.is_file() and str(file.relative_to(fleet.folder)) not in OWN_FILES:
            with suppress(OSError):
                yield str(file.relative_to(fleet.folder)), file.read_bytes()


def spelled(canary: str) -> list[bytes]:
    """In Base64 as it is in the middle of a longer text, whatever stands before it."""
    plain = canary.encode()
    shifted = (base64.b64encode(b"\0" * shift + plain)[4 if shift else 0 : -4] for shift in range(3))
    return [plain, plain.hex().encode(), *shifted]


def hits(fleet: CanaryFleet) -> tuple[list[str], dict[str, int]]:
    """Where something secret was found; and how much was searched."""
    needles = [(name, form) for name, canary in fleet.all_canaries().items() for form in spelled(canary)]
    found, places, size = list[str](), 0, 0
    for place, text in haystack(fleet):
        places, size = places + 1, size + len(text)
        found += [f"{name} in {place}" for name, needle in needles if needle in text]
    return found, {"canaries": len(fleet.all_canaries()), "places": places, "bytes": size}


def control(fleet: CanaryFleet) -> dict[str, bool]:
    """Five leaks, and whether each is found."""
    canary = fleet.canaries["redis"]
    traces = OtlpTraces(fleet.collector.url, 1.0, "leak", "0")
    traces.tell(Span("leak", Kind.INTERNAL, *random_ids(), 0, 0, 1, {"db.url": f"redis://penstock:{canary}@cache/0"}))
    traces.close()
    line = LEAK.format(
        leak="log.warning('connected', dsn='postgresql://penstock:' + sys.stdin.readline().strip() + '@db/x')"
    )
    fleet.run("leak-env", [sys.executable, "-c", "import time; time.sleep(60)"], PGPASSWORD=canary)
    fleet.run("leak-arguments", [sys.executable, "-c", "import time; time.sleep(60)", canary])
    with (fleet.folder / "leak-log.log").open("wb") as said:
        logging = subprocess.Popen([sys.executable, "-c", line], stdin=subprocess.PIPE, stderr=said, stdout=said)
    assert logging.stdin is not None
    logging.stdin.write(canary.encode() + b"\n")
    logging.stdin.close()
    (fleet.folder / "leak-file.json").write_text(
        json.dumps({"token": base64.b64encode(f"a:{canary}".encode()).decode()})
    )
    deadline = time.monotonic() + 30
    while b"dsn" not in (fleet.folder / "leak-log.log").read_bytes() and time.monotonic() < deadline:
        time.sleep(0.1)
    found, _ = hits(fleet)
    logging.kill()
    logging.wait()
    places = ("a span", "leak-log.log", "environment of leak-env", "arguments of leak-arguments", "leak-file.json")
    return {place: any(place in hit for hit in found) for place in places}


def prove(folder: Path) -> tuple[dict[str, Any], dict[str, bool]]:
    with FakeSecretsManager() as manager, Collector() as collector, CanaryFleet(folder, manager, collector) as fleet:
        fleet.let_redis_in()
        doors = [fleet.door("ingest", "ingest"), fleet.door("serve", "serve")]
        fleet.worker("work0")
        fleet.worker("work1")
        stop, sender = load(fleet, doors[0])
        provoke(fleet, doors)
        stop.set()
        sender.join(60)
        found, searched = hits(fleet)
        spans = len(collector.spans())
        result = searched | {"answers": sum(sender.answers.values()), "spans": spans, "hits": len(found)}
        result["where"] = found[:20]
        print(json.dumps(result), flush=True)
        return result, control(fleet)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        result, caught = prove(Path(folder) / "plant")
    print(json.dumps({"control": caught}))
    if not all(caught.values()):
        sys.exit("a negative control was not caught: this proof proves nothing")
    sys.exit(1 if result["hits"] or not result["spans"] else 0)


if __name__ == "__main__":
    main()
