"""What a deployment says before it goes, and when it may not."""

import json
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from infra.snapshot import kept
from penstock.errors import Misconfigured, Unavailable
from penstock.infra.account import Account, app_spec
from penstock.infra.console import Console
from penstock.infra.description import Deployment
from penstock.infra.leaving import Held, check_leave, empty_archive, farewell, held_by, lifter, pause_commands
from penstock.infra.reading import read_deployment
from penstock.infra.rotation import AUTHORITIES, packed, with_authorities
from simaws import SimulatedAws

BUCKET, VAULT, ROLE = "archive-of-a-trial", "record-of-a-trial", "lifter-of-a-trial"
NEWEST = datetime(2026, 11, 20, tzinfo=UTC)


def test_an_ephemeral_deployment_takes_the_archive_with_it() -> None:
    assert "and the archive with all that was stored" in farewell(read_deployment("tokyo", environment="dev"))


def test_a_governed_one_says_how_long_what_stays_is_locked() -> None:
    said = farewell(read_deployment("virginia"))
    assert "2557 days" in said
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
def deployment() -> Deployment:
    return read_deployment("virginia")


@pytest.fixture
def account(simulated: SimulatedAws, deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> Account:
    for name, value in simulated.environment.items():
        monkeypatch.setenv(name, value)
    return Account(deployment)


@pytest.fixture
def outputs(simulated: SimulatedAws) -> Iterator[dict[str, Any]]:
    """A locked bucket with two objects, one of them deleted on top, and a role that may lift locks."""
    s3 = simulated.client("s3")
    s3.create_bucket(Bucket=BUCKET, ObjectLockEnabledForBucket=True)
    lock = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 5}}}
    s3.put_object_lock_configuration(Bucket=BUCKET, ObjectLockConfiguration=lock)
    s3.put_object(Bucket=BUCKET, Key="readings/1", Body=b"123")
    s3.put_object(Bucket=BUCKET, Key="readings/2", Body=b"45")
    s3.delete_object(Bucket=BUCKET, Key="readings/2")
    simulated.client("backup").create_backup_vault(BackupVaultName=VAULT)
    role = simulated.client("iam").create_role(RoleName=ROLE, AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    yield {"archiveBucketName": BUCKET, "archive_lifter_role_arn": role, "backup_vault_name": VAULT}
    simulated.client("iam").delete_role(RoleName=ROLE)
    simulated.client("backup").delete_backup_vault(BackupVaultName=VAULT)
    found = s3.list_object_versions(Bucket=BUCKET)
    for one in [*found.get("Versions", []), *found.get("DeleteMarkers", [])]:
        s3.delete_object(Bucket=BUCKET, Key=one["Key"], VersionId=one["VersionId"], BypassGovernanceRetention=True)
    s3.delete_bucket(Bucket=BUCKET)


def test_what_is_held_is_counted_markers_included(account: Account, outputs: dict[str, Any]) -> None:
    held = held_by(account, outputs)
    assert (held.bucket, held.versions, held.size_bytes, held.points) == (BUCKET, 3, 5, 0)
    assert held.newest is not None


def test_locks_are_lifted_in_the_name_of_the_role_that_may(
    account: Account, outputs: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    console = Console(ask=False)
    lifting = lifter(account, outputs, console, "")
    assert f"assumed-role/{ROLE}" in lifting.client("sts").get_caller_identity()["Arn"]
    assert empty_archive(account, lifting, held_by(account, outputs), console) == 3
    assert not held_by(account, outputs)
    assert "archive: 3 of 3" in capsys.readouterr().err


def test_what_a_lock_keeps_is_said_and_not_counted_as_removed(
    account: Account, outputs: dict[str, Any], monkeypatch: pytest.MonkeyPatch
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
    with pytest.raises(Unavailable, match="2 versions of archive-of-a-trial could not be removed"):
        empty_archive(account, account, held_by(account, outputs), Console(ask=False))
    assert held_by(account, outputs).versions == 2


def test_a_role_that_refuses_wants_the_second_factor(
    account: Account, outputs: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(role: str, code: str = "", device: str = "") -> Account:
        if not code:
            raise Misconfigured("archive", "it does not let us", "--mfa CODE")
        return Account(
            read_deployment("virginia"), {"AccessKeyId": code, "SecretAccessKey": device, "SessionToken": ""}
        )

    monkeypatch.setattr(account, "lifting", refuse)
    with pytest.raises(Misconfigured, match="--mfa CODE"):
        lifter(account, outputs, Console(ask=False), "")
    with pytest.raises(Misconfigured, match="no second factor"):
        lifter(account, outputs, Console(ask=False), "123456")
