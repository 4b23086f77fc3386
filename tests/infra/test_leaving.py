"""What a deployment says before it goes, and when it may not."""

import json
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest

from infra.snapshot import kept
from penstock.errors import Misconfigured, Unavailable
from penstock.infra.account import Account, app_spec
from penstock.infra.console import Console
from penstock.infra.leaving import (
    Held,
    archive_bucket,
    check_leave,
    empty_archive,
    farewell,
    held_by,
    lifter,
    pause_commands,
    stop_writers,
)
from penstock.infra.reading import read_deployment
from penstock.infra.rotation import AUTHORITIES, packed, with_authorities
from simaws import SimulatedAws
from simaws.server import ACCOUNT

VIRGINIA = read_deployment("virginia")
BUCKET, VAULT = archive_bucket(VIRGINIA, ACCOUNT), VIRGINIA.names("record", "backup")
ROLE = VIRGINIA.names("archive-lifter", "role")
CALLED = (("aws_s3_bucket", "bucket"), ("aws_backup_vault", "name"), ("aws_iam_role", "name"))
WORK = ("work", "service")
NEWEST = datetime(2026, 11, 20, tzinfo=UTC)


def test_an_ephemeral_deployment_takes_the_archive_with_it() -> None:
    assert "and the archive with all that was stored" in farewell(read_deployment("tokyo", environment="dev"))


def test_a_governed_one_says_how_long_what_stays_is_locked() -> None:
    said = farewell(read_deployment("virginia"))
    assert "locked for 2557 days (readings that are not critical: 92) after it was written" in said
    assert "locked for 2557 days after" in farewell(read_deployment("london"))
    assert "--with-archive" in said


def test_a_sealed_one_refuses_and_says_what_stays_until_when() -> None:
    sealed = read_deployment("virginia", settings=["archive.retention=sealed"])
    held = Held("bucket", "vault", 1_234, 5_000_000_000, NEWEST, 3, NEWEST + timedelta(days=9))
    with pytest.raises(Misconfigured) as refused:
        check_leave(sealed, held, with_archive=True)
    assert "nobody, Amazon included" in str(refused.value)
    assert "1,234 versions of objects (5.000 GB) in bucket and 3 backups in vault" in str(refused.value)
    assert "until 2033-11-20" in str(refused.value)


def test_its_mend_stops_services_that_there_are() -> None:
    """The words name cluster and services as the stack does."""
    stack = kept("virginia")["resource"]
    services = {one["name"] for one in stack["aws_ecs_service"].values()}
    (cluster,) = (one["name"] for one in stack["aws_ecs_cluster"].values())
    lines = [shlex.split(line) for line in pause_commands(read_deployment("virginia"))]
    stopped = {words[words.index("--service") + 1] for words in lines if words[1] == "ecs"}
    assert stopped == services
    assert all(cluster in " ".join(words) for words in lines)
    held = {words[words.index("--resource-id") + 1] for words in lines if words[1] == "application-autoscaling"}
    assert held == {f"service/{cluster}/{service}" for service in services}


def test_a_governed_one_refuses_while_something_is_locked() -> None:
    governed = read_deployment("virginia")
    check_leave(governed, Held("bucket", "vault"), with_archive=False)
    check_leave(governed, Held("bucket", "vault", 1), with_archive=True)
    for held in (Held("bucket", "vault", versions=1), Held("bucket", "vault", points=1)):
        with pytest.raises(Misconfigured, match="under a lock"):
            check_leave(governed, held, with_archive=False)


def test_bucket_vault_and_role_are_called_as_in_the_stack() -> None:
    """They are looked for by name, since a destroy that was cut off has no outputs."""
    stack = kept("virginia")["resource"]
    names = {one.get(key) for kind, key in CALLED for one in stack[kind].values()}
    assert {archive_bucket(VIRGINIA, "${data.aws_caller_identity.keys_me.account_id}"), VAULT, ROLE} <= names


def test_code_deploy_is_told_which_container_takes_the_traffic() -> None:
    told = json.loads(app_spec("ingest", "arn:aws:ecs:task"))
    properties = told["Resources"][0]["TargetService"]["Properties"]
    assert properties["TaskDefinition"] == "arn:aws:ecs:task"
    assert properties["LoadBalancerInfo"] == {"ContainerName": "ingest", "ContainerPort": 8080}


def test_the_package_takes_the_authorities_and_stays_the_same_otherwise() -> None:
    package = packed({"b.py": b"2", "a.py": b"1"})
    assert package == packed({"a.py": b"1", "b.py": b"2"})
    assert with_authorities(package, b"PEM") == packed({"a.py": b"1", "b.py": b"2", AUTHORITIES: b"PEM"})


@pytest.fixture(scope="module")
def simulated() -> Iterator[SimulatedAws]:
    pytest.importorskip("moto", reason="moto is not on this machine")
    with SimulatedAws(region="us-east-1") as aws:
        yield aws


@pytest.fixture
def account(simulated: SimulatedAws, monkeypatch: pytest.MonkeyPatch) -> Account:
    for name, value in simulated.environment.items():
        monkeypatch.setenv(name, value)
    return Account(VIRGINIA)


@pytest.fixture
def stands(simulated: SimulatedAws) -> Iterator[None]:
    """A locked bucket with two objects, one of them deleted on top, and a role that may lift locks."""
    s3 = simulated.client("s3")
    s3.create_bucket(Bucket=BUCKET, ObjectLockEnabledForBucket=True)
    lock = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 5}}}
    s3.put_object_lock_configuration(Bucket=BUCKET, ObjectLockConfiguration=lock)
    s3.put_object(Bucket=BUCKET, Key="readings/1", Body=b"123")
    s3.put_object(Bucket=BUCKET, Key="readings/2", Body=b"45")
    s3.delete_object(Bucket=BUCKET, Key="readings/2")
    simulated.client("backup").create_backup_vault(BackupVaultName=VAULT)
    simulated.client("iam").create_role(RoleName=ROLE, AssumeRolePolicyDocument="{}")
    yield
    simulated.client("iam").delete_role(RoleName=ROLE)
    simulated.client("backup").delete_backup_vault(BackupVaultName=VAULT)
    found = s3.list_object_versions(Bucket=BUCKET)
    for one in [*found.get("Versions", []), *found.get("DeleteMarkers", [])]:
        s3.delete_object(Bucket=BUCKET, Key=one["Key"], VersionId=one["VersionId"], BypassGovernanceRetention=True)
    s3.delete_bucket(Bucket=BUCKET)


@pytest.mark.usefixtures("stands")
def test_what_is_held_is_counted_markers_included(account: Account) -> None:
    held = held_by(account, VIRGINIA)
    assert (held.bucket, held.versions, held.size_bytes, held.points) == (BUCKET, 3, 5, 0)
    assert held.newest is not None


@pytest.mark.usefixtures("stands")
def test_locks_are_lifted_in_the_name_of_the_role_that_may(
    account: Account, capsys: pytest.CaptureFixture[str]
) -> None:
    console = Console(ask=False)
    lifting = lifter(account, VIRGINIA, console, "")
    assert f"assumed-role/{ROLE}" in lifting.client("sts").get_caller_identity()["Arn"]
    assert empty_archive(account, lifting, held_by(account, VIRGINIA), console) == 3
    assert not held_by(account, VIRGINIA)
    assert "archive: 3 of 3" in capsys.readouterr().err


@pytest.mark.usefixtures("stands")
def test_what_a_lock_keeps_is_said_and_not_counted_as_removed(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the role might not bypass: S3 answers each version of its own."""
    client = account.client

    def strip(params: dict[str, Any], **_: object) -> None:
        params["headers"].pop("x-amz-bypass-governance-retention")

    def without_bypass(service: str) -> Any:
        made = client(service)
        made.meta.events.register("before-call.s3.DeleteObjects", strip)
        return made

    monkeypatch.setattr(account, "client", without_bypass)
    with pytest.raises(Unavailable, match=f"2 versions of {BUCKET} could not be removed"):
        empty_archive(account, account, held_by(account, VIRGINIA), Console(ask=False))
    assert held_by(account, VIRGINIA).versions == 2


@pytest.mark.usefixtures("stands")
def test_more_than_a_page_goes(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.infra.leaving.PAGE", 1)
    assert empty_archive(account, account, held_by(account, VIRGINIA), Console(ask=False)) == 3
    assert not held_by(account, VIRGINIA)


@pytest.mark.usefixtures("stands")
def test_who_writes_is_stopped_before(account: Account, simulated: SimulatedAws) -> None:
    stop_writers(account, VIRGINIA)
    ecs, cluster, service = (
        simulated.client("ecs"),
        VIRGINIA.names("tasks", "cluster"),
        VIRGINIA.names("work", "service"),
    )
    ecs.create_cluster(clusterName=cluster)
    stop_writers(account, VIRGINIA)
    container = {"name": "work", "image": "i", "memory": 8}
    ecs.register_task_definition(family="work", containerDefinitions=[container])
    ecs.create_service(cluster=cluster, serviceName=service, taskDefinition="work", desiredCount=2)
    stop_writers(account, VIRGINIA)
    assert ecs.describe_services(cluster=cluster, services=[service])["services"][0]["desiredCount"] == 0


def test_tasks_that_were_told_to_stop_are_waited_for(
    account: Account, simulated: SimulatedAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ECS lists such a task apart at once, while it writes for up to half a minute more."""
    deployment = read_deployment("virginia", suffix="ending")
    ecs, cluster, service = simulated.client("ecs"), *(deployment.names(*of) for of in (("tasks", "cluster"), WORK))
    ecs.create_cluster(clusterName=cluster)
    ecs.register_task_definition(family="work", containerDefinitions=[{"name": "work", "image": "i", "memory": 8}])
    ecs.create_service(cluster=cluster, serviceName=service, taskDefinition="work", desiredCount=1)
    client, states = account.client, ["RUNNING", "STOPPING", "DEPROVISIONING"]
    looks: list[str] = []

    def listed(params: dict[str, Any], **_: object) -> Any:
        wanted = json.loads(params["body"])["desiredStatus"]
        return _Answered(200), {"taskArns": ["arn:aws:ecs:task"] if wanted == "STOPPED" else []}

    def described(**_: object) -> Any:
        looks.append(states[len(looks)])
        return _Answered(200), {"tasks": [{"lastStatus": looks[-1]}]}

    def with_a_task(name: str) -> Any:
        made = client(name)
        made.meta.events.register("before-call.ecs.ListTasks", listed)
        made.meta.events.register("before-call.ecs.DescribeTasks", described)
        return made

    monkeypatch.setattr(account, "client", with_a_task)
    monkeypatch.setattr("penstock.infra.leaving.LOOK_S", 0)
    stop_writers(account, deployment)
    assert looks == states


class _Answered(NamedTuple):
    """What botocore looks at of an answer that never was on the wire."""

    status_code: int


@pytest.mark.usefixtures("stands")
def test_nothing_that_stands_holds_nothing(account: Account, simulated: SimulatedAws) -> None:
    assert not held_by(account, read_deployment("virginia", suffix="nobodys"))


@pytest.mark.usefixtures("stands")
def test_a_vault_that_we_may_not_look_into_is_not_taken_for_none(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = account.client

    def denied(**_: object) -> Any:
        return _Answered(403), {"Error": {"Code": "AccessDeniedException"}}

    def with_denial(service: str) -> Any:
        made = client(service)
        made.meta.events.register("before-call.backup.ListRecoveryPointsByBackupVault", denied)
        return made

    monkeypatch.setattr(account, "client", with_denial)
    with pytest.raises(Misconfigured, match="may not look at what the archive holds"):
        held_by(account, VIRGINIA)
    assert not held_by(account, read_deployment("virginia", suffix="nobodys"))


@pytest.mark.usefixtures("stands")
def test_a_role_that_refuses_wants_the_second_factor(
    account: Account, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(role: str, code: str = "", device: str = "") -> Account:
        if not code:
            raise Misconfigured("archive", "it does not let us", "--mfa CODE")
        return Account(VIRGINIA, {"AccessKeyId": code, "SecretAccessKey": device, "SessionToken": ""})

    monkeypatch.setattr(account, "lifting", refuse)
    with pytest.raises(Misconfigured, match="--mfa CODE"):
        lifter(account, VIRGINIA, Console(ask=False), "")
    with pytest.raises(Misconfigured, match="no second factor"):
        lifter(account, VIRGINIA, Console(ask=False), "123456")
