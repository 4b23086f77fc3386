"""What a deployment leaves behind, or may not: said aloud before anything is destroyed."""

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from botocore.exceptions import ClientError

from penstock.errors import Misconfigured, Unavailable
from penstock.infra.account import Account
from penstock.infra.answers import DENIED, asking, code_of
from penstock.infra.console import Console
from penstock.infra.description import Deployment
from penstock.infra.names import ROLES

EMPTY_WAIT_S: Final = 300
"""Backups take a while to go."""
LOOK_S: Final = 2
PAGE: Final = 1_000
"""Of versions: as many as S3 removes at once."""
STOP_WAIT_S: Final = 90
"""Longer than a task is given to end."""
ENDED: Final = frozenset({"DEPROVISIONING", "STOPPED"})
"""What ECS says of a task whose containers run no more."""
NO_VAULT: Final = frozenset({"ResourceNotFoundException", *DENIED})
"""AWS Backup says so of a vault that there is not, and denies it just as one that we may not look into."""


class Held(NamedTuple):
    """What archive and backups of a deployment hold."""

    bucket: str = ""
    vault: str = ""
    versions: int = 0
    """Of objects, markers of deletion included."""
    size_bytes: int = 0
    newest: datetime | None = None
    points: int = 0
    """Recovery points in the vault."""
    until: datetime | None = None
    """When the last of them may go."""

    def __bool__(self) -> bool:
        return bool(self.versions or self.points)

    def __str__(self) -> str:
        objects = f"{self.versions:,} versions of objects ({self.size_bytes / 1e9:,.3f} GB) in {self.bucket}"
        return f"{objects} and {self.points:,} backups in {self.vault}"


def farewell(deployment: Deployment) -> str:
    """What `destroy` will remove, and what stays until when."""
    everything = f"everything of {deployment.names.stack} in {deployment.region}: tasks, streams, cache, database, logs"
    days, standard_days = deployment.archive.days, deployment.archive.standard_days
    others = f" (readings that are not critical: {standard_days})" if standard_days else ""
    match deployment.archive.retention:
        case "ephemeral":
            return f"removes {everything}, and the archive with all that was stored"
        case "governance":
            return (
                f"removes {everything}. What the archive and the backups hold is locked for {days} days{others} after "
                "it was written; with --with-archive it is removed too, in the name of a role that may lift locks"
            )
        case _:
            until = (datetime.now(UTC) + timedelta(days=days)).date()
            return (
                f"the archive is sealed: what was written last stays until {until}, and nobody, Amazon included, can "
                "remove it before; its bucket, its key and its backups stay, and cost, until then"
            )


@asking("look at what the archive holds")
def held_by(account: Account, deployment: Deployment) -> Held:
    """Everything that archive and backups hold. Raises Misconfigured or Unavailable.

    By the names that they have: a destroy that was cut off has no outputs any more.
    """
    bucket, vault = archive_bucket(deployment, account.check()), deployment.names("record", "backup")
    points = list(_points(account, vault))
    count, size, newest = 0, 0, None
    for one in _versions(account, bucket):
        count, size = count + 1, size + one.get("Size", 0)
        newest = max(newest or one["LastModified"], one["LastModified"])
    until = max((at for point in points if (at := point.get("CalculatedLifecycle", {}).get("DeleteAt"))), default=None)
    return Held(bucket, vault, count, size, newest, len(points), until)


def archive_bucket(deployment: Deployment, number: str) -> str:
    """What the archive's bucket is called in the account *number*."""
    return f"{deployment.names('archive', 'bucket')}-{number}"


def check_leave(deployment: Deployment, held: Held, *, with_archive: bool) -> None:
    """Raises Misconfigured where something stays that Terraform would stumble over."""
    match deployment.archive.retention:
        case "sealed":
            raise Misconfigured("archive.retention", _remains(deployment, held), _pause(deployment))
        case "governance" if held and not with_archive:
            mend = "keep the deployment, or add --with-archive, which removes that too"
            raise Misconfigured("archive", f"{held} are under a lock", mend)


def _remains(deployment: Deployment, held: Held) -> str:
    """What of a sealed archive stays until when."""
    if not held:
        return f"{farewell(deployment)}. It holds nothing yet"
    objects = held.newest + timedelta(days=deployment.archive.days) if held.newest else None
    last = max((at for at in (objects, held.until) if at), default=None)
    return f"{farewell(deployment)}. It holds {held}; the last of it until {last.date() if last else 'unknown'}"


def _pause(deployment: Deployment) -> str:
    """How to stop what runs in front of an archive that stays; a deploy begins again."""
    lines = "".join(f"\n  {line}" for line in pause_commands(deployment))
    return f"wait; or stop the tasks, while database, streams and archive stay:{lines}"


def pause_commands(deployment: Deployment) -> Iterator[str]:
    """Scaling would start tasks again, so that it must not want any either."""
    names, region = deployment.names, deployment.region
    cluster = names("tasks", "cluster")
    for role in ROLES:
        service = names(role, "service")
        yield (
            f"aws application-autoscaling register-scalable-target --region {region} --service-namespace ecs "
            f"--scalable-dimension ecs:service:DesiredCount --resource-id service/{cluster}/{service} "
            "--min-capacity 0 --max-capacity 0"
        )
        yield f"aws ecs update-service --region {region} --cluster {cluster} --service {service} --desired-count 0"


def lifter(account: Account, deployment: Deployment, console: Console, code: str) -> Account:
    """The account in the name of the role that may lift locks. Raises Misconfigured when it does not let us."""
    role = f"arn:aws:iam::{account.check()}:role/{deployment.names('archive-lifter', 'role')}"
    if not code:
        try:
            return account.lifting(role)
        except Misconfigured as refused:
            code = console.ask("code of your second factor, for the role that may lift locks", refused)
    return account.lifting(role, code, account.factor())


@asking("stop who writes the archive")
def stop_writers(account: Account, deployment: Deployment) -> None:
    """So that nothing is added while it is emptied; returns when they have ended, or should have."""
    cluster, service = deployment.names("tasks", "cluster"), deployment.names("work", "service")
    ecs = account.client("ecs")
    with contextlib.suppress(ecs.exceptions.ClusterNotFoundException):
        found = ecs.describe_services(cluster=cluster, services=[service])["services"]
        if any(one["status"] == "ACTIVE" for one in found):
            _scale_to_none(account, cluster, service)
            _until_ended(ecs, cluster, service)


def _scale_to_none(account: Account, cluster: str, service: str) -> None:
    """Scaling must not want any either, or it would start them again."""
    account.client("application-autoscaling").register_scalable_target(
        ServiceNamespace="ecs",
        ScalableDimension="ecs:service:DesiredCount",
        ResourceId=f"service/{cluster}/{service}",
        MinCapacity=0,
        MaxCapacity=0,
    )
    account.client("ecs").update_service(cluster=cluster, service=service, desiredCount=0)


def _until_ended(ecs: Any, cluster: str, service: str) -> None:
    until_s = time.monotonic() + STOP_WAIT_S
    while time.monotonic() < until_s and any(one not in ENDED for one in _states(ecs, cluster, service)):
        time.sleep(LOOK_S)


def _states(ecs: Any, cluster: str, service: str) -> Iterator[str]:
    """Of the service's tasks. Those that were told to stop are listed apart, and may write until they have."""
    for wanted in ("RUNNING", "STOPPED"):
        pages = ecs.get_paginator("list_tasks").paginate(cluster=cluster, serviceName=service, desiredStatus=wanted)
        for found in (page["taskArns"] for page in pages):
            told = ecs.describe_tasks(cluster=cluster, tasks=found)["tasks"] if found else []
            yield from (one["lastStatus"] for one in told)


def empty_archive(account: Account, lifting: Account, held: Held, console: Console) -> int:
    """Remove all versions of all objects by *lifting*'s right, and the backups by ours. Returns how many versions."""
    with console.bar("archive", held.versions) as step:
        removed = 0
        for count in _emptied(lifting, held.bucket) if held.versions else ():
            removed += count
            step(count, f"{removed:,} versions removed")
    with console.bar("backups", held.points) as step:
        for point in _emptied_vault(account, held.vault) if held.points else ():
            step(1, point)
    return removed


def _emptied(lifting: Account, bucket: str) -> Iterator[int]:
    """A page after another: how many versions went."""
    s3 = lifting.client("s3")
    with asking(f"empty {bucket}"):
        while found := _entries(s3.list_object_versions(Bucket=bucket, MaxKeys=PAGE)):  # always the first that are left
            ids = [{"Key": one["Key"], "VersionId": one["VersionId"]} for one in found]
            whole = {"Objects": ids, "Quiet": True}
            told = s3.delete_objects(Bucket=bucket, Delete=whole, BypassGovernanceRetention=True)
            _check_removed(bucket, told.get("Errors", []))
            yield len(ids)


def _check_removed(bucket: str, errors: Sequence[Mapping[str, str]]) -> None:
    if errors:
        first = f"{errors[0].get('Key')}: {errors[0].get('Message') or errors[0].get('Code')}"
        why = f"{len(errors)} versions of {bucket} could not be removed ({first})"
        raise Unavailable(f"{why}. Mend: the same command goes on from there")


def _emptied_vault(account: Account, vault: str) -> Iterator[str]:
    """Names of the backups that went; returns when AWS, too, says that none is left."""
    backup = account.client("backup")
    with asking(f"empty {vault}"):
        backup.delete_backup_vault_lock_configuration(BackupVaultName=vault)
        for point in list(_points(account, vault)):
            backup.delete_recovery_point(BackupVaultName=vault, RecoveryPointArn=point["RecoveryPointArn"])
            yield point["RecoveryPointArn"]
        until_s = time.monotonic() + EMPTY_WAIT_S
        while any(_points(account, vault)):
            if time.monotonic() > until_s:
                raise Unavailable(f"backups of {vault} take long to go. Mend: the same command, in a while")
            time.sleep(LOOK_S)


def _versions(account: Account, bucket: str) -> Iterator[Mapping[str, Any]]:
    """Every version of every object, markers of deletion included; none, where there is no such bucket."""
    s3 = account.client("s3")
    with contextlib.suppress(s3.exceptions.NoSuchBucket):
        for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
            yield from _entries(page)


def _entries(page: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [*page.get("Versions", []), *page.get("DeleteMarkers", [])]


def _points(account: Account, vault: str) -> Iterator[Mapping[str, Any]]:
    """Every backup in the vault; none, where there is no such vault."""
    backup = account.client("backup")
    try:
        for page in backup.get_paginator("list_recovery_points_by_backup_vault").paginate(BackupVaultName=vault):
            yield from page["RecoveryPoints"]
    except ClientError as error:
        if code_of(error) not in NO_VAULT or _is_there(backup, vault):
            raise


def _is_there(backup: Any, vault: str) -> bool:
    pages = backup.get_paginator("list_backup_vaults").paginate()
    return any(one["BackupVaultName"] == vault for page in pages for one in page["BackupVaultList"])
