"""Each role's rights are what its code calls: no call of AWS is refused, and no right is unused.

Which calls the code makes is read from the code; that a role makes no others is tried on a Kinesis that refuses them.
"""

import ast
import asyncio
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import psycopg
import pytest
from botocore import xform_name
from botocore.session import get_session

import penstock
from infra.policies import policies
from infra.snapshot import kept
from kinesis_fake import QUICK, UNLIMITED, FakeKinesis, Limits, Timing
from kinesis_fake.api import OPERATIONS
from penstock.client import Client
from penstock.clock import SystemClock
from penstock.compose.adapters import opened_stream
from penstock.compose.front import Half, front
from penstock.compose.worker import work_on
from penstock.door.keys import create_key, make_key
from penstock.errors import Misconfigured
from penstock.infra.reading import PROFILES
from penstock.infra.rules.privileges import granted
from penstock.infra.rules.template import Template
from penstock.model.access import ALL_SITES, Role
from penstock.settings import Settings, read_settings
from penstock.store.access import Access
from penstock.store.postgres import Database
from stream.asking_kinesis import client_of

SOURCE = Path(penstock.__file__).parent
READINGS = 50
SERVICES = ("kinesis", "s3", "secretsmanager", "sqs", "sts")
CLIENT = re.compile(r"(api|client(\(.*\))?)$")
"""What our code calls a client of AWS."""
PUTS = {"stream/kinesis/client.py", "stream/kinesis/stream.py"}
READS = {"stream/kinesis/look.py", "stream/kinesis/poll.py", "stream/kinesis/shards.py"}
FAN_OUT = {"stream/kinesis/fan_out.py"}
SECRETS = {"secrets/secrets_manager.py"}
ARCHIVE = {"store/archive_s3.py"}
ROTATION = {"secrets/rotation/versions.py"}
RUNS = {"ingest": PUTS | SECRETS, "serve": PUTS | READS | SECRETS, "work": PUTS | READS | SECRETS | ARCHIVE}
"""The modules that call AWS in each role; with fan-out, workers run that too."""
RIGHT_OF = {
    "s3:CompleteMultipartUpload": "s3:PutObject",
    "s3:CreateMultipartUpload": "s3:PutObject",
    "s3:GetObjectLockConfiguration": "s3:GetBucketObjectLockConfiguration",
    "s3:HeadBucket": "s3:ListBucket",
    "s3:HeadObject": "s3:GetObject",
    "s3:UploadPart": "s3:PutObject",
}
"""Rights whose name is not the call's (S3's guide, "Required permissions for Amazon S3 API operations")."""
BESIDES = {"kms:Decrypt", "kms:GenerateDataKey", "elasticache:Connect"}
"""Of every role, and no call of ours: Kinesis, Secrets Manager and S3 ask for the key, Redis for a signature."""
LOCKS_ARE_SEEN = {"s3:GetObjectRetention"}
"""HeadObject tells of a lock only who may see it."""
FILES = {"elasticfilesystem:ClientMount", "elasticfilesystem:ClientWrite"}
COLLECTOR = {"awsxray": {"xray:PutTraceSegments"}, "awsemf": {"logs:CreateLogStream", "logs:PutLogEvents"}}
"""What each exporter of the collector beside a task calls."""
LAMBDA = {
    "ec2:AssignPrivateIpAddresses",
    "ec2:CreateNetworkInterface",
    "ec2:DeleteNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
    "ec2:UnassignPrivateIpAddresses",
    "kms:Decrypt",
    "kms:GenerateDataKey",
    "logs:CreateLogStream",
    "logs:PutLogEvents",
    "sqs:SendMessage",
    "xray:PutTelemetryRecords",
    "xray:PutTraceSegments",
}
"""What Lambda itself does as a function of a network, with traces, a log, a key and dead letters (its guide)."""


@cache
def calls() -> dict[str, set[str]]:
    """Rights that calls of AWS need, by the module that makes them."""
    session = get_session()
    rights = {
        xform_name(name): f"{service}:{name}"
        for service in SERVICES
        for name in session.get_service_model(service).operation_names
    }
    found: dict[str, set[str]] = {}
    for path in sorted(SOURCE.rglob("*.py")):
        if "infra" not in path.parts:
            for name in called(path.read_text()):
                if name in rights:
                    right = RIGHT_OF.get(rights[name], rights[name])
                    found.setdefault(path.relative_to(SOURCE).as_posix(), set()).add(right)
    return found


def called(source: str) -> Iterator[str]:
    """Methods that are called of something which goes by the name of a client."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(func=ast.Attribute(value=of, attr=name)) if CLIENT.search(ast.unparse(of)):
                yield name


def needed(role: str, stack: dict[str, Any]) -> set[str]:
    made = calls()
    template = Template(stack)
    (container,) = (one for _, one in template.containers() if one["name"] == role)
    told = {one["name"] for one in container["environment"]}
    modules = RUNS[role] | (FAN_OUT if "PENSTOCK_STREAM__FAN_OUT" in told else set())
    besides = BESIDES | (LOCKS_ARE_SEEN if modules >= ARCHIVE else set())
    besides |= FILES if any(mount["sourceVolume"] == "shared" for mount in container["mountPoints"]) else set()
    return besides | collected(template, role) | {right for module in modules for right in made[module]}


def collected(template: Template, role: str) -> set[str]:
    """What the collector beside *role* calls, by its own configuration."""
    family = {task.name: one for task, one in template.containers() if one["name"] == "collector"}
    config = str(family.get(f"{role}_definition", ""))
    return {right for exporter, rights in COLLECTOR.items() if exporter in config for right in rights}


@pytest.mark.parametrize("role", RUNS)
@pytest.mark.parametrize("profile", PROFILES)
def test_a_role_may_do_what_its_code_calls_and_no_more(profile: str, role: str) -> None:
    stack = kept(profile)
    assert granted(Template(stack), f"{role}_task_policy") == needed(role, stack)


@pytest.mark.parametrize("profile", PROFILES)
def test_the_rotation_may_do_what_its_code_and_lambda_call_and_no_more(profile: str) -> None:
    made = calls()
    rights = granted(Template(kept(profile)), "secrets_rotation_policy")
    assert rights == LAMBDA | {right for module in ROTATION for right in made[module]}


def test_every_call_of_aws_is_some_roles() -> None:
    assert set(calls()) == set().union(*RUNS.values()) | FAN_OUT | ROTATION


@pytest.mark.parametrize("profile", PROFILES)
def test_the_key_serves_a_role_through_what_it_uses_only(profile: str) -> None:
    through = {
        policy.name: {
            service.partition(".")[0]
            for statement in policy.statements
            if any(action.startswith("kms:") for action in statement["Action"])
            for service in statement["Condition"]["StringEquals"]["kms:ViaService"]
        }
        for policy in policies(kept(profile))
        if policy.name.endswith("_task_policy")
    }
    both = {"kinesis", "secretsmanager"}
    assert through == {"ingest_task_policy": both, "serve_task_policy": both, "work_task_policy": both | {"s3"}}


@pytest.mark.parametrize("profile", PROFILES)
def test_what_lambda_needs_is_denied_to_the_functions_code(profile: str) -> None:
    (rights,) = (policy for policy in policies(kept(profile)) if policy.name == "secrets_rotation_policy")
    (denied,) = (statement for statement in rights.statements if statement["Effect"] == "Deny")
    assert set(denied["Action"]) == {one for one in LAMBDA if one.startswith("ec2:")}
    (function,) = Template(kept(profile)).every("aws_lambda_function")
    assert denied["Condition"]["ArnEquals"]["lambda:SourceFunctionArn"].endswith(
        f":function:{function.get('function_name')}"
    )


class Plant:
    """A stream that grants a role's rights and no others, and counts what it was asked."""

    def __init__(self, kinesis: FakeKinesis, settings: Settings, url: str, key: str) -> None:
        self.kinesis, self.settings, self.url, self.key = kinesis, settings, url, key

    def only(self, role: str) -> set[str]:
        """From now on as *role* of virginia: its rights of Kinesis."""
        rights = granted(Template(kept("virginia")), f"{role}_task_policy")
        ours = {right.partition(":")[2] for right in rights if right.startswith("kinesis:")}
        self.kinesis.faults.access_denied = sorted(OPERATIONS.keys() - ours)
        self.kinesis.account.calls.clear()
        self.kinesis.account.refusals.clear()
        return ours

    @property
    def asked(self) -> set[str]:
        assert "AccessDeniedException" not in self.kinesis.account.refusals
        return set(self.kinesis.account.calls)


@pytest.fixture
async def plant(postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Plant]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "any")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")
    limits, timing = Limits(**vars(UNLIMITED)), Timing(**vars(QUICK))
    async with FakeKinesis(limits=limits, timing=timing, region="us-east-1") as kinesis:
        async with client_of(kinesis) as client:
            await client.create_stream(StreamName="plant", ShardCount=2)
        stream = {"url": "kinesis://plant", "region": "us-east-1", "endpoint": kinesis.url, "fan_out": "penstock"}
        settings = read_settings(data=tmp_path, store={"url": postgres_url}, stream=stream, door={"port": 0})
        yield Plant(kinesis, settings, postgres_url, await make(postgres_url))


async def make(url: str) -> str:
    """A key for everything."""
    database = Database(url, application="test", connections_max=2)
    await database.open()
    try:
        new = make_key(SystemClock(), name="t", role=Role.ADMIN, sites=[ALL_SITES], created_by="test", rate=0.0)
        return await create_key(Access(database), new)
    finally:
        await database.close()


async def test_no_role_is_refused_by_kinesis_and_each_uses_all_its_rights(plant: Plant) -> None:
    rights = plant.only("ingest")
    batch = await at_ingest(plant)
    assert plant.asked == rights
    rights = plant.only("work")
    for fan_out in ("penstock", "penstock", ""):  # registered, found again, and without
        await at_work(plant, fan_out)
    assert plant.asked == rights
    rights = plant.only("serve")
    await at_serve(plant, batch)
    assert plant.asked == rights


async def test_a_right_too_few_is_noticed(plant: Plant) -> None:
    plant.only("ingest")
    plant.kinesis.faults.access_denied.append("PutRecords")
    with pytest.raises(Misconfigured, match="kinesis:PutRecords"):
        await at_ingest(plant)


async def at_ingest(plant: Plant) -> str:
    """Readings are taken; the batch's id."""
    readings = [{"tag": f"a/b/t{i}", "ts": time.time_ns() // 1_000, "value": i / 8} for i in range(READINGS)]
    async with front(plant.settings, plant.url, Half.INGEST) as door, Client(door.url, plant.key) as client:
        await client.get("/readyz/ingest")
        told: dict[str, str] = await client.post("/v1/readings", readings)
        return told["batch_id"]


async def at_work(plant: Plant, fan_out: str) -> None:
    """What waits is stored, and more is taken up."""
    stream = plant.settings.stream.model_copy(update={"fan_out": fan_out})
    settings, stop = plant.settings.model_copy(update={"stream": stream}), asyncio.Event()
    async with opened_stream(settings, writable=True) as opened, asyncio.timeout(30):
        working = asyncio.create_task(work_on(settings, opened, plant.url, stop))
        before = plant.kinesis.account.calls.copy()
        while not (await is_stored(plant.url) and reads(plant.kinesis.account.calls - before)):  # noqa: ASYNC110  # another process's
            await asyncio.sleep(0.05)
        stop.set()
        await working


def reads(calls: Counter[str]) -> bool:
    return bool(calls["GetRecords"] or calls["SubscribeToShard"])


async def is_stored(url: str) -> bool:
    async with await psycopg.AsyncConnection.connect(url) as connection:
        rows = await connection.execute("select count(*) from readings")
        return await rows.fetchone() == (READINGS,)


async def at_serve(plant: Plant, batch: str) -> None:
    """Where the readings went is told from their records."""
    async with front(plant.settings, plant.url, Half.SERVE) as page, Client(page.url, plant.key) as client:
        await client.get("/readyz")
        traced = await client.get(f"/v1/trace/{batch}")
        assert (traced["complete"], len(traced["items"])) == (True, READINGS)
