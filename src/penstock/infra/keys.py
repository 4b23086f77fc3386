"""The keys that everything at rest is locked with: one for what runs, one for the archive, which may outlive it."""

from collections.abc import Sequence
from typing import Any, Final

from constructs import Construct

from penstock.infra.description import Deployment
from penstock.infra.policy import Statement, allow, document, to
from penstock.infra.station import Station
from penstock.infra.terraform import aws

SEAL: Final = "kms:GenerateDataKey"
OPEN: Final = "kms:Decrypt"
USE: Final = (OPEN, SEAL)
LOGS: Final = (
    "kms:Encrypt",
    "kms:Decrypt",
    "kms:ReEncryptFrom",
    "kms:ReEncryptTo",
    "kms:GenerateDataKey",
    "kms:GenerateDataKeyWithoutPlaintext",
)
"""All that names what it encrypts; kms:DescribeKey names nothing, so that no such condition would ever hold for it."""


class Keys(Station):
    """Two KMS keys of our own, turned over every year."""

    def __init__(self, scope: Construct, deployment: Deployment) -> None:
        super().__init__(scope, "keys", deployment)
        self.account: str = aws.data_aws_caller_identity(self, "me").account_id
        self.data = self._key("data", self._logs(), self._alarms())
        self.archive = self._key("archive")

    def seals(self, *services: str) -> Statement:
        """May put what the running plant's key locks, through *services* only."""
        return allow([SEAL], self.data.arn, StringEquals=self._via(services))

    def opens(self, *services: str) -> Statement:
        """May get what the running plant's key locks, through *services* only."""
        return allow([OPEN], self.data.arn, StringEquals=self._via(services))

    def uses_archive(self) -> Statement:
        """May put and get what the archive's key locks, through S3 only."""
        return allow(USE, self.archive.arn, StringEquals=self._via(["s3"]))

    def _via(self, services: Sequence[str]) -> dict[str, list[str]]:
        return {"kms:ViaService": [f"{service}.{self.deployment.region}.amazonaws.com" for service in services]}

    def _key(self, name: str, *statements: Statement) -> Any:
        owner = allow(["kms:*"], "*") | {"Sid": "Account", "Principal": {"AWS": f"arn:aws:iam::{self.account}:root"}}
        key = aws.kms_key(
            self,
            name,
            description=self.names(name, "key"),
            enable_key_rotation=True,
            deletion_window_in_days=7 if self.deployment.is_ephemeral else 30,
            policy=document(owner, *statements),
            tags=self.called(name, "key"),
        )
        aws.kms_alias(self, f"{name}-alias", name=f"alias/{self.names(name, 'key')}", target_key_id=key.key_id)
        return key

    def _logs(self) -> Statement:
        """CloudWatch encrypts the log groups of this account."""
        region = self.deployment.region
        context = {"kms:EncryptionContext:aws:logs:arn": f"arn:aws:logs:{region}:{self.account}:*"}
        statement = allow(LOGS, "*", StringLike=context)
        return to(statement, f"logs.{region}.amazonaws.com") | {"Sid": "Logs"}

    def _alarms(self) -> Statement:
        """Alarms are told over an encrypted topic."""
        statement = allow(USE, "*", StringEquals={"aws:SourceAccount": self.account})
        return to(statement, "cloudwatch.amazonaws.com") | {"Sid": "Alarms"}
