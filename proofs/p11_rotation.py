"""P11: the database's password changes under load, and no write fails.

    python3 run.py prove p11 [ROTATIONS]

Eight writers through `Database`, each logging in anew at every 20th write; a door and two workers on a fake Kinesis,
whose connections are ended after each rotation. The secret is in a Secrets Manager of our own, the database asks for
SCRAM, the rotation is the Lambda's own function, run by an administrator who is no superuser; between the new password
and its becoming the current one pass 0.1 to 5 s. No write may fail or take more than 250 ms (on a machine too busy for
that: 2.5 times as long as those of eight others beside them, whose password stays), no request be refused, no reading
be lost or stored twice.

The control keeps the secret that it read first. It must fail.
"""

import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))

from fleet import Fleet  # noqa: E402
from load import FAULTS, Paced, judged  # noqa: E402
from whole import HOLDS_TO_TIMES  # noqa: E402

from penstock.errors import PenstockError  # noqa: E402
from penstock.secrets.rotation.handler import rotate  # noqa: E402
from penstock.secrets.vault import VAULT, Secret  # noqa: E402
from penstock.store.postgres import Database  # noqa: E402
from penstock.telemetry import start_logging  # noqa: E402
from secrets_fake.http import FakeSecretsManager  # noqa: E402
from secrets_fake.rotating import Rotating  # noqa: E402

WRITERS = 8
LOGIN_EVERY = 20
PAUSE_S = 0.02
GAPS_S = 0.1, 5.0
REST_S = 0.8
WRITE_MS_MAX = 250.0
SLOW_MACHINE = 2.5
"""Where a write takes as long with a password that does not change, so many times that: who is refused reads the secret
and logs in again."""
FLEET = ["penstock front", "penstock work", "penstock flush"]


class SecretFleet(Fleet):
    """Knows its database's password by reference alone."""

    def __init__(self, folder: Path, manager: FakeSecretsManager, **how: Any) -> None:
        super().__init__(folder, **how)
        self.manager = manager
        self.rotating: Rotating | None = None

    def prepare(self) -> None:
        os.environ |= {
            "AWS_ENDPOINT_URL_SECRETS_MANAGER": self.manager.url,
            "AWS_REGION": "eu-central-1",
            "AWS_DEFAULT_REGION": "eu-central-1",
            "AWS_ACCESS_KEY_ID": "proof",
            "AWS_SECRET_ACCESS_KEY": "proof",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        self.rotating = Rotating(self.store_url, self.manager, "penstock", {}, admin="master")
        os.environ |= self.rotating.environment
        self.rotating.rotate()

    @property
    def store_url_told(self) -> str:
        assert self.rotating is not None
        return self.rotating.url

    def rotate(self, gap_s: float) -> None:
        assert self.rotating is not None
        *before, finish = self.rotating.events()
        for event in before:
            rotate(event, None)
        time.sleep(gap_s)
        rotate(finish, None)

    def steady(self) -> str:
        """The same database, by a secret that does not change."""
        assert self.rotating is not None
        with self.connected() as connection:
            connection.execute("create role steady login password 'steady'")
        self.manager.put("steady", {"username": "steady", "password": "steady"})
        return f"{self.rotating.place}?credentials=secret://steady"

    def end_sessions(self) -> int:
        """So that whoever they were of logs in anew."""
        return len(
            self.ask("select pg_terminate_backend(pid) from pg_stat_activity where application_name = any(%s)", FLEET)
        )

    def writers(self, url: str, *words: str) -> "subprocess.Popen[bytes]":
        command = [sys.executable, __file__, "writers", url, *words]
        writers = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=self.environment)
        assert writers.stdout is not None
        assert writers.stdout.readline() == b"writing\n"
        return writers


class Writer:
    """Writes one row after the other, and counts."""

    def __init__(self, url: str, number: int) -> None:
        self.number, self.took_ms, self.failed = number, list[float](), 0
        self.database = Database(url, application="writer", connections_max=2)

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            begun_s = time.monotonic()
            try:
                await self.write(len(self.took_ms))
                self.took_ms.append((time.monotonic() - begun_s) * 1_000)
            except PenstockError:
                self.failed += 1
            await asyncio.sleep(PAUSE_S)
        await self.database.close()

    async def write(self, number: int) -> None:
        async with self.database.connection() as connection:
            async with connection.transaction():
                await connection.execute("insert into p11 (writer, number) values (%s, %s)", (self.number, number))
            if number % LOGIN_EVERY == LOGIN_EVERY - 1:
                await connection.close()


async def write_on(url: str, *, forgetful: bool) -> None:
    """The writers' process: until its standard input ends."""
    start_logging("error")
    if forgetful:
        first, get = dict[Any, Secret](), VAULT.get

        async def kept(reference: Any, *, refused: Secret | None = None) -> Secret:
            if reference not in first:
                first[reference] = await get(reference)
            return first[reference]

        VAULT.get = kept
    stop, writers = asyncio.Event(), [Writer(url, number) for number in range(WRITERS)]
    await asyncio.gather(*(writer.database.open() for writer in writers))
    print("writing", flush=True)
    running = [asyncio.create_task(writer.run(stop)) for writer in writers]
    await asyncio.to_thread(sys.stdin.read)
    stop.set()
    await asyncio.wait(running, timeout=15)
    took_ms = sorted(ms for writer in writers for ms in writer.took_ms)
    told = {"writes": len(took_ms), "failed": sum(writer.failed for writer in writers)}
    places = (("p50", 0.5), ("p99", 0.99), ("max", 1.0)) if took_ms else ()
    told |= {f"{name}_ms": round(took_ms[int(place * (len(took_ms) - 1))], 1) for name, place in places}
    print(json.dumps(told), flush=True)
    os._exit(0)


def ended(writers: "subprocess.Popen[bytes]") -> dict[str, Any]:
    said, _ = writers.communicate()
    return json.loads(said)


def gaps_s(rotations: int) -> list[float]:
    """Spread evenly by their logarithm, in any order."""
    low, high = GAPS_S
    spread = [low * (high / low) ** (i / max(1, rotations - 1)) for i in range(rotations)]
    random.Random(11).shuffle(spread)
    return spread


def prove(fleet: SecretFleet, rotations: int) -> dict[str, Any]:
    door = fleet.door("ingest", "ingest")
    for i in range(2):
        fleet.worker(f"work{i}")
    stop = threading.Event()
    senders = [Paced(door, i, stop, every_s=0.25) for i in range(2)]
    for sender in senders:
        sender.start()
    fleet.until_all_work()
    with fleet.connected() as connection:
        connection.execute("create table p11 (writer integer, number integer, by name default current_user)")
        connection.execute("alter table p11 owner to penstock_owner; grant insert on p11 to public")
    steady, writers = fleet.writers(fleet.steady()), fleet.writers(fleet.store_url_told)
    ended_sessions, gets = 0, fleet.manager.secrets.calls.count("GetSecretValue")
    time.sleep(REST_S)
    for gap_s in gaps_s(rotations):
        fleet.rotate(gap_s)
        ended_sessions += fleet.end_sessions()
        time.sleep(REST_S)
    told = ended(writers)
    told |= {f"steady_{name}": value for name, value in ended(steady).items()}
    stop.set()
    for sender in senders:
        sender.join(60)
    fleet.drained()
    ((rows, distinct),) = fleet.ask(
        "select count(*), count(distinct (writer, number)) from p11 where by = 'penstock_owner'"
    )
    answers = sum(sum(sender.answers.values()) for sender in senders)
    refused = answers - sum(sender.answers[202] for sender in senders)
    told |= {"rows_missing": told["writes"] - distinct, "rows_twice": rows - distinct}
    return {"cpus": os.cpu_count(), "load": round(os.getloadavg()[0], 1), "rotations": rotations, **told} | {
        "sessions_ended": ended_sessions, "answers": answers, "not_202": refused,
        "secret_reads": fleet.manager.secrets.calls.count("GetSecretValue") - gets, **judged(fleet, senders),
    }  # fmt: skip


def control(fleet: SecretFleet) -> dict[str, Any]:
    """Who never asks again is locked out by the second rotation."""
    writers = fleet.writers(fleet.store_url_told, "forgetful")
    time.sleep(2)
    for _ in range(2):
        fleet.rotate(0.1)
    time.sleep(15)
    return ended(writers)


def main() -> None:
    if sys.argv[1:2] == ["writers"]:
        asyncio.run(write_on(sys.argv[2], forgetful="forgetful" in sys.argv))
    rotations = int(sys.argv[1]) if len(sys.argv) > 1 else 6
    with (
        tempfile.TemporaryDirectory() as folder,
        FakeSecretsManager() as manager,
        SecretFleet(Path(folder) / "plant", manager, shards=2) as fleet,
    ):
        result = prove(fleet, rotations)
        print(json.dumps(result | {"rate_bound_95_percent": round(3 / result["writes"], 6)}), flush=True)
        caught = control(fleet)
        print(json.dumps({"control": caught}))
    if not caught["failed"]:
        sys.exit("the negative control was not caught: this proof proves nothing")
    wrong = [fault for fault in (*FAULTS, "failed", "rows_missing", "rows_twice", "not_202") if result[fault]]
    allowed_ms = max(WRITE_MS_MAX, SLOW_MACHINE * result["steady_max_ms"])
    slow = HOLDS_TO_TIMES and result["max_ms"] > allowed_ms
    sys.exit(1 if wrong or slow else 0)


if __name__ == "__main__":
    main()
