"""The keys that everything at rest is locked with: one for what runs, one for the archive, which may outlive it."""

from typing import Any, Final

from constructs import Construct

from penstock.infra.description import Deployment
from penstock.infra.policy import Statement, allow, document, to
from penstock.infra.station import Station
from penstock.infra.terraform import aws

USE: Final = ("kms:Decrypt", "kms:GenerateDataKey")


class Keys(Station):
    """Two KMS keys of our own, turned over every year."""

    def __init__(self, scope: Construct, deployment: Deployment) -> None:
        super().__init__(scope, "keys", deployment)
        self.account: str = aws.data_aws_caller_identity(self, "me").account_id
        self.data = self._key("data", self._logs(), self._alarms())
        self.archive = self._key("archive")

    def uses_data(self) -> Statement:
        """May read and write what the key of the running plant locks."""
        return allow(USE, self.data.arn)

    def uses_archive(self) -> Statement:
        """May read and write what the archive's key locks."""
        return allow(USE, self.archive.arn)

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
        actions = ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"]
        context = {"kms:EncryptionContext:aws:logs:arn": f"arn:aws:logs:{region}:{self.account}:*"}
        statement = allow(actions, "*", ArnLike=context)
        return to(statement, f"logs.{region}.amazonaws.com") | {"Sid": "Logs"}

    def _alarms(self) -> Statement:
        """Alarms are told over an encrypted topic."""
        statement = allow(USE, "*", StringEquals={"aws:SourceAccount": self.account})
        return to(statement, "cloudwatch.amazonaws.com") | {"Sid": "Alarms"}
