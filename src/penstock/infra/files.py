"""A file system that tasks of all zones share, for exports and restores. No database ever lies on it."""

from typing import Any, Final

from constructs import Construct

from penstock.infra.description import Deployment
from penstock.infra.keys import Keys
from penstock.infra.network import Network
from penstock.infra.policy import Statement, allow, document, tls_only
from penstock.infra.station import Station
from penstock.infra.terraform import aws

USER: Final = 10_001
"""The user that the image runs as."""


class Files(Station):
    """EFS, encrypted at rest and on the way."""

    def __init__(self, scope: Construct, deployment: Deployment, network: Network, keys: Keys) -> None:
        super().__init__(scope, "files", deployment)
        self.system = aws.efs_file_system(
            self,
            "system",
            creation_token=self.names("shared", "files"),
            encrypted=True,
            kms_key_id=keys.data.arn,
            performance_mode="generalPurpose",
            throughput_mode="elastic",
            lifecycle_policy=[{"transition_to_ia": "AFTER_30_DAYS"}],
            tags=self.called("shared", "files"),
        )
        for letter, subnet in zip(deployment.zones, network.private_ids, strict=True):
            aws.efs_mount_target(
                self,
                f"mount-{letter}",
                file_system_id=self.system.id,
                subnet_id=subnet,
                security_groups=[network.groups["files"].id],
            )
        self.point = self._point()
        aws.efs_file_system_policy(
            self, "policy", file_system_id=self.system.id, policy=document(tls_only(self.system.arn))
        )

    def volume(self) -> dict[str, Any]:
        """As a task definition mounts it."""
        return {
            "name": "shared",
            "efs_volume_configuration": {
                "file_system_id": self.system.id,
                "transit_encryption": "ENABLED",
                "authorization_config": {"access_point_id": self.point.id, "iam": "ENABLED"},
            },
        }

    def mounts(self) -> Statement:
        """May read and write, through the access point only."""
        point = {"elasticfilesystem:AccessPointArn": self.point.arn}
        actions = ["elasticfilesystem:ClientMount", "elasticfilesystem:ClientWrite"]
        return allow(actions, self.system.arn, ArnEquals=point)

    def _point(self) -> Any:
        owner = {"owner_uid": USER, "owner_gid": USER, "permissions": "750"}
        return aws.efs_access_point(
            self,
            "point",
            file_system_id=self.system.id,
            posix_user={"uid": USER, "gid": USER},
            root_directory={"path": "/penstock", "creation_info": owner},
            tags=self.called("shared", "point"),
        )
