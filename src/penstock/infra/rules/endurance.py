"""What stays, what goes, and for how long."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from penstock.capacity.archive import LEAST_DAYS
from penstock.infra.description import LOCK_MODES, Deployment
from penstock.infra.rules.template import Finding, Template

Findings = Iterable[Finding]
ARCHIVE_LIFE: Final = "archive_archive_life"
AWS_BACKUP_DAYS: Final = 35
"""Automated backups of RDS and Aurora end here."""


def long_retention(template: Template, deployment: Deployment) -> Findings:
    """D3: years are kept by AWS Backup and the archive; RDS forgets after 35 days."""
    days = deployment.archive.days
    for database in template.every("aws_db_instance", "aws_rds_cluster"):
        if not database.get("backup_retention_period"):
            yield Finding("D3", database.where, "has no automated backups", "set database.backup_days")
    if days <= AWS_BACKUP_DAYS:
        return
    kept = [plan.get("rule", "lifecycle", "delete_after") or 0 for plan in template.every("aws_backup_plan")]
    if max(kept, default=0) < days:
        mend = "give the backup plan delete_after = archive.days"
        yield Finding("D3", "aws_backup_plan", f"backups are not kept for {days} days", mend)
    if not any(template.every("aws_backup_selection")):
        yield Finding("D3", "aws_backup_selection", "nothing is backed up", "name the database in Backups")


def lock_and_class_agree(template: Template, deployment: Deployment) -> Findings:
    """D4: a class that locks never destroys by force; one that does not lock leaves nothing behind."""
    retention = deployment.archive.retention
    for bucket in template.every("aws_s3_bucket"):
        forced, locked = bucket.get("force_destroy") is True, bucket.get("object_lock_enabled") is True
        if locked and forced:
            yield Finding("D4", bucket.where, "is locked, and destroyed by force", "drop force_destroy")
        if deployment.is_ephemeral and not forced:
            yield Finding("D4", bucket.where, "would outlive an ephemeral deployment", "set force_destroy=True")
    modes = [
        (lock.get("rule", "default_retention", "mode"), lock.get("rule", "default_retention", "days"))
        for lock in template.every("aws_s3_bucket_object_lock_configuration")
    ]
    wanted = [] if deployment.is_ephemeral else [(LOCK_MODES[retention], deployment.archive.days)]
    if modes != wanted:
        mend = "let archive.py set the lock by archive.retention"
        yield Finding("D4", "aws_s3_bucket_object_lock_configuration", f"{retention} wants {wanted}, not {modes}", mend)
    for vault in template.every("aws_backup_vault"):
        if (vault.get("force_destroy") is True) != deployment.is_ephemeral:
            yield Finding("D4", vault.where, f"force_destroy contradicts {retention}", "only ephemeral vaults have it")


def locked_for_life(template: Template, deployment: Deployment) -> Findings:
    """D4: no file expires, or is moved where it must stay longer, before its lock ends; and all do expire."""
    lives = [one for one in template.every("aws_s3_bucket_lifecycle_configuration") if one.name == ARCHIVE_LIFE]
    rules = [(life.where, rule) for life in lives for rule in life.get("rule") if rule.get("expiration")]
    for prefix, locked_days in _locked(deployment).items():
        reached = [(where, rule) for where, rule in rules if _reaches(rule, prefix)]
        if not reached:
            yield Finding("D4", ARCHIVE_LIFE, f"{prefix}… never expires", "give it a rule in archive.py")
        for where, rule in reached:
            days = rule["expiration"][0]["days"]
            if days < locked_days:
                mend = "let archive.py expire objects after archive.days, or archive.standard_days"
                yield Finding("D4", where, f"removes {prefix}… after {days} of {locked_days} days", mend)
            for step in rule.get("transition") or ():
                if step["days"] + LEAST_DAYS[step["storage_class"]] > locked_days:
                    why = f"moves {prefix}… to {step['storage_class']} after {step['days']} of {locked_days} days"
                    yield Finding("D4", where, why, "let capacity.archive.moves say where it pays")


def _locked(deployment: Deployment) -> dict[str, int]:
    """How long what lies below a prefix is locked."""
    archive = deployment.archive
    return {"readings/day=": archive.days, "readings/standard/": archive.standard_days or archive.days}


def _reaches(rule: Mapping[str, Any], prefix: str) -> bool:
    """Whether it is for what lies below *prefix*, all of it or a part."""
    ours = rule["filter"][0]["prefix"]
    return prefix.startswith(ours) or str(ours).startswith(prefix)


def destroyable(template: Template, _: Deployment) -> Findings:
    """Everything but what is locked goes with the stack."""
    for resource in template.every():
        for guard in ("deletion_protection", "enable_deletion_protection", "skip_destroy", "prevent_destroy"):
            if resource.get(guard) is True or resource.get("lifecycle", guard) is True:
                yield Finding("destroy", resource.where, f"{guard} is on", "turn it off")
    for database in template.every("aws_db_instance", "aws_rds_cluster"):
        if database.get("skip_final_snapshot") is not True:
            mend = "set skip_final_snapshot=True: AWS Backup keeps what must stay"
            yield Finding("destroy", database.where, "leaves a snapshot behind", mend)
    for repository in template.every("aws_ecr_repository"):
        if repository.get("force_delete") is not True:
            yield Finding("destroy", repository.where, "stays while it holds images", "set force_delete=True")


def raw_history_in_parquet(template: Template, _: Deployment) -> Findings:
    """D11: 8.6 billion readings a day belong in files; there is an archive, and the worker may write to it."""
    if not any(bucket.name == "archive_archive" for bucket in template.every("aws_s3_bucket")):
        yield Finding("D11", "aws_s3_bucket", "there is no archive", "make Buckets in stack.py")
    writers = {
        policy.name for policy, one in template.statements("aws_iam_role_policy") if "s3:PutObject" in one["Action"]
    }
    if "work_task_policy" not in writers:
        yield Finding("D11", "work", "may not write the archive", "grant buckets.writes() to it in stack.py")


def logs_are_not_the_audit_trail(template: Template, _: Deployment) -> Findings:
    """D13: logs expire; the audit trail is in the database and the archive."""
    for group in template.every("aws_cloudwatch_log_group"):
        if not group.get("retention_in_days"):
            yield Finding("D13", group.where, "keeps logs for ever", "set retention_in_days = watch.log_days")
        if "audit" in str(group.get("name")):
            yield Finding("D13", group.where, "a log is no audit trail", "keep audit records in the archive")


def native_partitions(template: Template, _: Deployment) -> Findings:
    """D14: TimescaleDB is neither on RDS nor on Aurora."""
    for group in template.every("aws_db_parameter_group", "aws_rds_cluster_parameter_group"):
        if "timescaledb" in str(group.get("parameter")).lower():
            yield Finding("D14", group.where, "asks for TimescaleDB, which RDS has not", "use plain tables")


RULES: Final[tuple[Callable[[Template, Deployment], Findings], ...]] = (
    long_retention,
    lock_and_class_agree,
    locked_for_life,
    destroyable,
    raw_history_in_parquet,
    logs_are_not_the_audit_trail,
    native_partitions,
)
