"""What a deployment leaves behind, or may not: said aloud before anything is destroyed."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from penstock.errors import Misconfigured
from penstock.infra.account import Account
from penstock.infra.description import Deployment


def farewell(deployment: Deployment) -> str:
    """What `destroy` will remove, and what stays until when."""
    everything = f"everything of {deployment.names.stack} in {deployment.region}: tasks, streams, cache, database, logs"
    days = deployment.archive.days
    match deployment.archive.retention:
        case "ephemeral":
            return f"removes {everything}, and the archive with all that was stored"
        case "governance":
            return (
                f"removes {everything}. What the archive and the backups hold is locked for {days} days after it was "
                "written; with --with-archive it is removed too, in the name of a role that may lift locks"
            )
        case _:
            until = (datetime.now(UTC) + timedelta(days=days)).date()
            return (
                f"the archive is sealed: what was written last stays until {until}, and nobody, Amazon included, can "
                "remove it before; its bucket, its key and its backups stay, and cost, until then"
            )


def check_leave(deployment: Deployment, account: Account, outputs: Mapping[str, Any], *, with_archive: bool) -> None:
    """Raises Misconfigured where something stays that Terraform would stumble over."""
    if deployment.archive.retention == "sealed":
        mend = "wait, or take down tasks only: --set ingest.tasks_min=1 and scale to none"
        raise Misconfigured("archive.retention", farewell(deployment), mend)
    if deployment.archive.retention == "governance" and not with_archive:
        held = sum(1 for _ in _versions(account, _bucket(outputs), most=1))
        if held:
            raise Misconfigured("archive", "holds readings under a lock", "keep the deployment, or add --with-archive")


def empty_archive(account: Account, outputs: Mapping[str, Any]) -> int:
    """Lift the locks, and remove all versions of all objects, and the backups. Returns how many objects there were."""
    bucket, removed, s3 = _bucket(outputs), 0, account.client("s3")
    if bucket:
        for key, version in _versions(account, bucket):
            s3.delete_object(Bucket=bucket, Key=key, VersionId=version, BypassGovernanceRetention=True)
            removed += 1
    _empty_vault(account, str(outputs.get("backup_vault_name") or outputs.get("backupVaultName") or ""))
    return removed


def _bucket(outputs: Mapping[str, Any]) -> str:
    return str(outputs.get("archive_bucket_name") or outputs.get("archiveBucketName") or "")


def _versions(account: Account, bucket: str, most: int | None = None) -> Iterator[tuple[str, str]]:
    """(key, version) of every object, markers of deletion included."""
    if not bucket:
        return
    limits = {"PaginationConfig": {"MaxItems": most}} if most else {}
    for page in account.client("s3").get_paginator("list_object_versions").paginate(Bucket=bucket, **limits):
        for one in [*page.get("Versions", []), *page.get("DeleteMarkers", [])]:
            yield one["Key"], one["VersionId"]


def _empty_vault(account: Account, vault: str) -> None:
    if not vault:
        return
    backup = account.client("backup")
    backup.delete_backup_vault_lock_configuration(BackupVaultName=vault)
    for page in backup.get_paginator("list_recovery_points_by_backup_vault").paginate(BackupVaultName=vault):
        for point in page["RecoveryPoints"]:
            backup.delete_recovery_point(BackupVaultName=vault, RecoveryPointArn=point["RecoveryPointArn"])
