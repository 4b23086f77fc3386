"""Readings through an applied deployment: its own commands, over a real PostgreSQL, a real Redis and our own Kinesis.

Neither database nor cache speaks TLS here, since the PostgreSQL of the wheel cannot. Moto's Kinesis ends shards and
iterators where Amazon's does not, so that streams of the applied names and shard counts are played by `kinesis_fake`.
The login to the database is made by the very rotation that the applied function would run.
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple
from unittest import mock
from urllib.parse import urlsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict
from redis import Redis

from penstock.store.embedded import EmbeddedPostgres
from redis_server import RedisServer
from simaws.fargate import Definition, Elsewhere, Task, ask, definitions
from simaws.loop import Applied
from simaws.server import CREDENTIALS, TESTS

TAGS: Final = 10
READINGS: Final = 600
WAIT_S: Final = 60.0
TLS_OF_POSTGRES: Final = re.compile(r"sslmode=[^&]*&sslrootcert=[^&]*")
Tasks = Mapping[str, Definition]


class Here(NamedTuple):
    """What runs on this machine in place of what is AWS's own."""

    applied: Applied
    tasks: Tasks
    folder: Path
    postgres: EmbeddedPostgres
    redis: RedisServer
    kinesis: str

    @property
    def elsewhere(self) -> Elsewhere:
        told = self.tasks["work"].environment
        instead = [
            (_host(told["PENSTOCK_STORE__URL"]), _host(self.postgres.url)),
            (_host(told["PENSTOCK_CACHE__URL"]), f"127.0.0.1:{self.redis.port}"),
            ("rediss://", "redis://"),
            *((found, "sslmode=disable") for found in TLS_OF_POSTGRES.findall(told["PENSTOCK_STORE__URL"])),
        ]
        besides = {"PENSTOCK_STREAM__ENDPOINT": self.kinesis, "PENSTOCK_STORE__SEAL_S": "1"}
        account = {name: value for name, value in self.applied.aws.environment.items() if name not in CREDENTIALS}
        return Elsewhere(instead, account | besides)

    def task(self, name: str, *command: str) -> Task:
        """The service's task, or one like it that runs *command* and ends."""
        return Task(self.applied.aws, self.tasks[name], self.folder, self.elsewhere, command=command)

    def secret(self, arn: str) -> Any:
        found = self.applied.aws.client("secretsmanager").get_secret_value(SecretId=arn, VersionStage="AWSCURRENT")
        return json.loads(found["SecretString"])


def carry(applied: Applied) -> str:
    """Readings go in by HTTP and come out of PostgreSQL, Redis and the archive; returns what was seen."""
    tasks = definitions(applied.aws, applied.output("ecs_cluster_name"))
    assert sorted(tasks) == ["ingest", "serve", "work"]
    nothing_secret_is_written_down(applied, tasks.values())
    with here(applied, tasks) as place:
        let_in(place)
        return carried(place)


def nothing_secret_is_written_down(applied: Applied, tasks: Iterable[Definition]) -> None:
    """Neither in Terraform's state nor in a task's definition."""
    written = applied.terraform.state + json.dumps([task.container for task in tasks])
    secrets = applied.aws.client("secretsmanager")
    known = [
        secrets.get_secret_value(SecretId=one["ARN"])["SecretString"] for one in secrets.list_secrets()["SecretList"]
    ]
    assert len(known) >= 2, "the login and the master's, at least"
    for text in known:
        password = json.loads(text)["password"] if text.startswith("{") else text
        assert len(password) > 8, "too short to be looked for"
        assert password not in written


@contextmanager
def here(applied: Applied, tasks: Tasks) -> Iterator[Here]:
    with ExitStack() as undo:
        # not below a folder that only its owner may enter
        folder = Path(tempfile.mkdtemp(prefix="penstock-applied-"))
        undo.callback(shutil.rmtree, folder, ignore_errors=True)
        postgres = undo.enter_context(EmbeddedPostgres(folder / "postgres"))
        redis = RedisServer(folder)
        undo.callback(redis.kill)
        yield Here(applied, tasks, folder, postgres, redis, undo.enter_context(kinesis(applied, folder)))


@contextmanager
def kinesis(applied: Applied, folder: Path) -> Iterator[str]:
    """URL of streams with the names and shards that were applied."""
    theirs = applied.aws.client("kinesis")
    words = [f"--region={applied.aws.region}"]
    for name in theirs.list_streams()["StreamNames"]:
        shards = theirs.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]["OpenShardCount"]
        words += ["--stream", f"{name}:{shards}"]
    command = [sys.executable, "-m", "kinesis_fake", *words]
    with (folder / "kinesis.log").open("wb") as said:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, cwd=TESTS, text=True)
    try:
        assert process.stdout is not None
        with process.stdout as told:
            yield told.readline().strip()
    finally:
        process.kill()
        process.wait()


def let_in(place: Here) -> None:
    """The first rotation makes the logins to PostgreSQL, with the master's as RDS made it; Redis gets its user."""
    secrets, function = place.applied.aws.client("secretsmanager"), rotation(place.applied)
    told = place.elsewhere
    environment = {name: told(value) for name, value in function["Environment"]["Variables"].items()}
    database = TLS_OF_POSTGRES.sub("sslmode=disable", environment["PENSTOCK_ROTATION_DATABASE"])
    master = place.secret(environment["PENSTOCK_ROTATION_ADMIN"])
    with psycopg.connect(place.postgres.url, autocommit=True) as connection:
        make = psycopg.sql.SQL("create role {} superuser login password {}")
        connection.execute(make.format(psycopg.sql.Identifier(master["username"]), master["password"]))
    login = place.applied.output("db_secret_arn")
    before = place.secret(login)
    with mock.patch.dict(
        "os.environ", place.applied.aws.environment | environment, PENSTOCK_ROTATION_DATABASE=database
    ):
        rotate(secrets, login)
    assert place.secret(login)["password"] != before["password"]
    let_into_redis(place)


def rotation(applied: Applied) -> Any:
    """The function that Secrets Manager calls for the login."""
    secrets, functions = applied.aws.client("secretsmanager"), applied.aws.client("lambda")
    login = secrets.describe_secret(SecretId=applied.output("db_secret_arn"))
    assert login["RotationEnabled"] is True
    return functions.get_function_configuration(FunctionName=login["RotationLambdaARN"])


def rotate(secrets: Any, login: str) -> None:
    """As Secrets Manager does it: a token for the version to come, then four steps."""
    from penstock.secrets.rotation import handler  # noqa: PLC0415  # reads its environment when called

    handler.client.cache_clear()  # it keeps its client, as a function of Lambda's may: that of another account here
    token = str(uuid.uuid4())
    for name in ("createSecret", "setSecret", "testSecret", "finishSecret"):
        handler.rotate({"Step": name, "SecretId": login, "ClientRequestToken": token}, None)


def let_into_redis(place: Here) -> None:
    """ElastiCache's user of the tasks: it lets in whom IAM vouches for, which nobody here can judge; or by password."""
    url = place.tasks["work"].environment["PENSTOCK_CACHE__URL"]
    found = re.search(r"credentials=secret://([^&]+)", url)
    password = f">{place.secret(found[1])['password']}" if found else "nopass"
    user = urlsplit(url).username
    assert user, "tasks come to Redis without a name"
    place.redis.command("ACL", "SETUSER", user, "on", password, "~*", "&*", "+@all")


def carried(place: Here) -> str:
    with place.task("work") as work:
        work.until_healthy()
        key = json.loads(
            place.task("serve", *["keys", "create", "--name", "trial", "--role", "admin", "--json"]).run()
        )["key"]
        with place.task("ingest") as ingest, place.task("serve") as serve:
            for task in (ingest, serve):
                task.until_healthy()
            sent = send(ingest, key)
            return "; ".join(seen(place, serve, key, sent))


def send(ingest: Task, key: str) -> list[dict[str, Any]]:
    """Readings of a day that has ended, so that they can be archived at once."""
    begin = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=2)
    sent = [
        {
            "tag": f"site/line/press-{n % TAGS}/temperature",
            "ts": (begin + timedelta(seconds=n)).isoformat(),
            "value": n / 7,
        }
        for n in range(READINGS)
    ]
    url = f"https://127.0.0.1:{ingest.port}/v1/readings"
    for first in range(0, READINGS, READINGS // 3):
        body = json.dumps(sent[first : first + READINGS // 3]).encode()
        status, answer = ask(url, body, authorization=f"Bearer {key}", content_type="application/json")
        assert (status, json.loads(answer)["refused"]) == (202, 0), answer
    return sent


def seen(place: Here, serve: Task, key: str, sent: list[dict[str, Any]]) -> Iterator[str]:
    """Where they came out; raises AssertionError where they did not."""
    with psycopg.connect(place.postgres.url) as connection:
        count = until(lambda: count_of(connection), lambda found: found == READINGS)
    yield f"{count} readings sent and in PostgreSQL"
    last = sent[-1]
    url = f"https://127.0.0.1:{serve.port}/v1/latest?tag={last['tag']}"
    answer = until(lambda: ask(url, authorization=f"Bearer {key}"), lambda found: last_of(found) == last["value"])
    assert answer[0] == 200
    with Redis(port=place.redis.port) as redis:
        keys = redis.dbsize()
    assert keys > 0
    yield f"latest served, {keys} keys in Redis"
    yield archived(place)


def count_of(connection: psycopg.Connection) -> int:
    row = connection.execute("select count(*) from readings").fetchone()
    connection.rollback()
    return int(row[0]) if row else 0


def last_of(found: tuple[int, bytes]) -> float | None:
    items = json.loads(found[1])["items"] if found[0] == 200 else []
    return items[0]["value"] if items else None


def archived(place: Here) -> str:
    """Parquet in the bucket, encrypted with the archive's key and locked as its class wants."""
    place.task("work", "archive", "--now").run()
    s3, bucket = place.applied.aws.client("s3"), place.applied.output("archive_bucket_name")
    found = [one["Key"] for one in s3.list_objects_v2(Bucket=bucket).get("Contents", [])]
    parquet = [key for key in found if key.endswith(".parquet")]
    assert parquet, f"no segment in {bucket}: {found}"
    head = s3.head_object(Bucket=bucket, Key=parquet[0])
    assert head["ServerSideEncryption"] == "aws:kms"
    locks = {"ephemeral": None, "governance": "GOVERNANCE", "sealed": "COMPLIANCE"}
    assert head.get("ObjectLockMode") == locks[place.applied.deployment.archive.retention]
    return f"{len(parquet)} segments in S3, KMS, lock {head.get('ObjectLockMode')}"


def until(look: Callable[[], Any], holds: Callable[[Any], bool]) -> Any:
    """What is seen once it holds."""
    until_s = time.monotonic() + WAIT_S
    while not holds(found := look()):
        assert time.monotonic() < until_s, f"after {WAIT_S:.0f} s: {found!r}"
        time.sleep(0.2)
    return found


def _host(url: str) -> str:
    """Host and port."""
    if "://" not in url:
        told = conninfo_to_dict(url)
        return f"{told['host']}:{told['port']}"
    return urlsplit(url).netloc.rpartition("@")[2]
