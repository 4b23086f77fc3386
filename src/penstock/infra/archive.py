"""What outlives the database: sealed segments in S3, locked for as long as they must be kept, and AWS Backup."""

from typing import Any, Final

from constructs import Construct

from penstock.capacity.archive import GRACE_DAYS, REMOVED_DAYS, STANDARD_REMOVED_DAYS, moves
from penstock.infra.description import LOCK_MODES, Deployment
from penstock.infra.keys import Keys
from penstock.infra.policy import Statement, allow, document, tls_only, trust
from penstock.infra.station import Station
from penstock.infra.terraform import aws

PREFIX: Final = "readings"
CRITICAL: Final = "day="
STANDARD: Final = "standard/"
"""What keys of the two classes begin with; where there is one class, all lies as critical readings do."""
COLD_AFTER_DAYS: Final = 30
UNFINISHED_DAYS: Final = 7
"""An upload that nobody ended by then is given up."""
COLD_DAYS_MIN: Final = 90
"""AWS Backup keeps what went cold for at least so long."""
SCHEDULES: Final = {
    1: "cron(0 3 1 1 ? *)",
    4: "cron(0 3 1 1,4,7,10 ? *)",
    12: "cron(0 3 1 * ? *)",
    52: "cron(0 3 ? * SUN *)",
}
"""When, by how often a year."""
BACKUP: Final = "arn:aws:iam::aws:policy/service-role/AWSBackupServiceRolePolicyForBackup"
LOG_DAYS: Final = 400


class Buckets(Station):
    """Two buckets: the archive, and the access logs of doors and archive."""

    def __init__(self, scope: Construct, deployment: Deployment, keys: Keys) -> None:
        super().__init__(scope, "archive", deployment)
        self._account, self._key = keys.account, keys.archive.arn
        self.logs = self._bucket("logs", versioned=True)
        self._encrypt("logs", self.logs, {"sse_algorithm": "AES256"})  # load balancers can write with no other key
        self._log_policy()
        self._expire_logs()
        self.archive = self._bucket("archive", versioned=True, locked=not deployment.is_ephemeral)
        self._encrypt("archive", self.archive, {"sse_algorithm": "aws:kms", "kms_master_key_id": keys.archive.arn})
        self._policy("archive", self.archive, tls_only(self.archive.arn, f"{self.archive.arn}/*"))
        self._tier()
        aws.s3_bucket_logging(
            self,
            "archive-logging",
            bucket=self.archive.id,
            target_bucket=self.logs.id,
            target_prefix="archive/",
            depends_on=[self.logs_policy],  # S3 looks whether it may write there
        )
        self.lifter = self._lifter() if deployment.archive.retention == "governance" else None

    def environment(self) -> dict[str, str]:
        """What a worker is told."""
        archive = self.deployment.archive
        return {
            "PENSTOCK_ARCHIVE__URL": f"s3://{self.archive.bucket}/{PREFIX}",
            "PENSTOCK_ARCHIVE__REGION": self.deployment.region,
            "PENSTOCK_ARCHIVE__RETENTION": archive.retention,
            "PENSTOCK_ARCHIVE__RETENTION_DAYS": str(archive.days),
            "PENSTOCK_ARCHIVE__STANDARD_DAYS": str(archive.standard_days),
            "PENSTOCK_ARCHIVE__KMS_KEY": self._key,
        }

    def writes(self) -> Statement:
        """May add segments and read them back; neither delete them nor lift a lock."""
        write = ["s3:PutObject", "s3:AbortMultipartUpload", "s3:PutObjectRetention"]
        return allow([*write, "s3:GetObject", "s3:GetObjectRetention"], f"{self.archive.arn}/{PREFIX}/*")

    def lists(self) -> Statement:
        """May see what is there."""
        return allow(["s3:ListBucket", "s3:GetBucketObjectLockConfiguration"], self.archive.arn)

    def _bucket(self, name: str, *, versioned: bool, locked: bool = False) -> Any:
        bucket = aws.s3_bucket(
            self,
            name,
            bucket=f"{self.names(name, 'bucket')}-{self._account}",
            object_lock_enabled=locked,
            force_destroy=self.deployment.is_ephemeral or name == "logs",
            tags=self.called(name, "bucket"),
        )
        aws.s3_bucket_public_access_block(
            self,
            f"{name}-private",
            bucket=bucket.id,
            block_public_acls=True,
            block_public_policy=True,
            ignore_public_acls=True,
            restrict_public_buckets=True,
        )
        aws.s3_bucket_ownership_controls(
            self, f"{name}-owner", bucket=bucket.id, rule={"object_ownership": "BucketOwnerEnforced"}
        )
        aws.s3_bucket_notification(self, f"{name}-events", bucket=bucket.id, eventbridge=True)
        if versioned:
            versioning = aws.s3_bucket_versioning(
                self, f"{name}-versions", bucket=bucket.id, versioning_configuration={"status": "Enabled"}
            )
            if locked:
                self._lock(bucket, versioning)
        return bucket

    def _lock(self, bucket: Any, versioning: Any) -> None:
        """Of what is put without its own: the archive gives each object one by its class, and S3 takes that, shorter or
        longer. What anybody else puts is rather kept too long than lost.
        """
        archive = self.deployment.archive
        retention = {"mode": LOCK_MODES[archive.retention], "days": archive.days}
        aws.s3_bucket_object_lock_configuration(
            self, "archive-lock", bucket=bucket.id, rule={"default_retention": retention}, depends_on=[versioning]
        )

    def _lifter(self) -> Any:
        """The named role that may lift a governance lock: for people of this account, with a second factor."""
        people = {
            "Effect": "Allow",
            "Action": "sts:AssumeRole",
            "Principal": {"AWS": f"arn:aws:iam::{self._account}:root"},
            "Condition": {"Bool": {"aws:MultiFactorAuthPresent": "true"}},
        }
        role = aws.iam_role(
            self,
            "lifter",
            name=self.names("archive-lifter", "role"),
            assume_role_policy=document(people),
            tags=self.called("archive-lifter", "role"),
        )
        lift = ["s3:BypassGovernanceRetention", "s3:DeleteObjectVersion", "s3:GetObjectRetention"]
        see = ["s3:ListBucket", "s3:ListBucketVersions"]
        aws.iam_role_policy(
            self,
            "lifter-policy",
            name="lift",
            role=role.id,
            policy=document(allow(lift, f"{self.archive.arn}/*"), allow(see, self.archive.arn)),
        )
        return role

    def _encrypt(self, name: str, bucket: Any, by: dict[str, str]) -> None:
        aws.s3_bucket_server_side_encryption_configuration(
            self,
            f"{name}-encryption",
            bucket=bucket.id,
            rule=[{"apply_server_side_encryption_by_default": by, "bucket_key_enabled": "kms_master_key_id" in by}],
        )

    def _policy(self, name: str, bucket: Any, *statements: Statement) -> Any:
        return aws.s3_bucket_policy(self, f"{name}-policy", bucket=bucket.id, policy=document(*statements))

    def _log_policy(self) -> None:
        """Load balancers and S3 itself write here, for this account only."""
        objects = f"{self.logs.arn}/*"
        ours = {"aws:SourceAccount": self._account}
        writers = [
            "logdelivery.elasticloadbalancing.amazonaws.com",
            "delivery.logs.amazonaws.com",
            "logging.s3.amazonaws.com",
        ]
        write = allow(["s3:PutObject"], objects, StringEquals=ours) | {"Principal": {"Service": writers}}
        see = allow(["s3:GetBucketAcl"], self.logs.arn, StringEquals=ours)
        self.logs_policy = self._policy(
            "logs",
            self.logs,
            write | {"Sid": "Write"},
            see | {"Sid": "See", "Principal": {"Service": "delivery.logs.amazonaws.com"}},
            tls_only(self.logs.arn, objects),
        )

    def _expire_logs(self) -> None:
        aws.s3_bucket_lifecycle_configuration(
            self,
            "logs-life",
            bucket=self.logs.id,
            rule=[
                {
                    "id": "expire",
                    "status": "Enabled",
                    "filter": [{"prefix": ""}],
                    "expiration": [{"days": LOG_DAYS}],
                    "noncurrent_version_expiration": [{"noncurrent_days": 1}],
                    "abort_incomplete_multipart_upload": [{"days_after_initiation": UNFINISHED_DAYS}],
                }
            ],
        )

    def _tier(self) -> None:
        archive = self.deployment.archive
        rules = [
            self._life("keep", f"{PREFIX}/{CRITICAL}" if archive.standard_days else "", archive.days, REMOVED_DAYS)
        ]
        if archive.standard_days:
            rules.append(self._life("standard", f"{PREFIX}/{STANDARD}", archive.standard_days, STANDARD_REMOVED_DAYS))
        rules.append(
            {
                "id": "unfinished",
                "status": "Enabled",
                "filter": [{"prefix": ""}],
                "abort_incomplete_multipart_upload": [{"days_after_initiation": UNFINISHED_DAYS}],
            }
        )
        aws.s3_bucket_lifecycle_configuration(self, "archive-life", bucket=self.archive.id, rule=rules)

    def _life(self, name: str, prefix: str, locked_days: int, removed_days: int) -> dict[str, Any]:
        """Of files that are locked for so long. No version goes while it is locked, whatever stands here."""
        steps = moves(self.deployment.archive.colder_days, locked_days)
        return {
            "id": name,
            "status": "Enabled",
            "filter": [{"prefix": prefix}],
            "transition": [{"days": int(step.days), "storage_class": step.storage} for step in steps],
            "expiration": [{"days": locked_days + GRACE_DAYS}],
            "noncurrent_version_expiration": [{"noncurrent_days": removed_days}],
        }


class Backups(Station):
    """Snapshots for as long as the record is kept: RDS's own backups end at 35 days."""

    def __init__(self, scope: Construct, deployment: Deployment, keys: Keys, kept: list[str]) -> None:
        """*kept*: ARNs of the database, and of whatever else is to be kept."""
        super().__init__(scope, "backups", deployment)
        self.vault = aws.backup_vault(
            self,
            "vault",
            name=self.names("record", "backup"),
            kms_key_arn=keys.archive.arn,
            force_destroy=deployment.is_ephemeral,
            tags=self.called("record", "backup"),
        )
        if not deployment.is_ephemeral:
            self._lock()
        plan = aws.backup_plan(
            self, "plan", name=self.names("record", "plan"), rule=self._rules(), tags=self.called("record", "plan")
        )
        self._select(plan, self._role(keys.account), kept)

    def _lock(self) -> None:
        """Governance may be lifted by who may change the vault; sealed becomes final after three days."""
        sealed = {"changeable_for_days": 3} if self.deployment.archive.retention == "sealed" else {}
        aws.backup_vault_lock_configuration(
            self,
            "lock",
            backup_vault_name=self.vault.name,
            min_retention_days=min(self.deployment.archive.days, 7),
            max_retention_days=self.deployment.archive.days,
            **sealed,
        )

    def _rules(self) -> list[dict[str, Any]]:
        days = self.deployment.archive.days
        kept: dict[str, int] = {"delete_after": days}
        if days >= COLD_AFTER_DAYS + COLD_DAYS_MIN:
            kept["cold_storage_after"] = COLD_AFTER_DAYS
        rule = {
            "rule_name": "record",
            "target_vault_name": self.vault.name,
            "schedule": SCHEDULES[self.deployment.archive.backups_a_year],
            "lifecycle": kept,
        }
        return [rule]

    def _role(self, account: str) -> Any:
        role = aws.iam_role(
            self, "role", name=self.names("backup", "role"), assume_role_policy=trust("backup", account)
        )
        aws.iam_role_policy_attachment(self, "role-policy", role=role.name, policy_arn=BACKUP)
        return role

    def _select(self, plan: Any, role: Any, kept: list[str]) -> None:
        """What is named, and nothing of a deployment beside us."""
        aws.backup_selection(
            self,
            "selection",
            name=self.names("record", "selection"),
            plan_id=plan.id,
            iam_role_arn=role.arn,
            resources=kept,
        )
