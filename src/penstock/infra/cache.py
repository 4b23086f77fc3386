"""Redis: latest values, windows, the live feed, shared limits. Losing it loses nothing."""

from typing import Any, Final

from constructs import Construct

from penstock.infra.description import Deployment
from penstock.infra.keys import Keys
from penstock.infra.network import Network
from penstock.infra.policy import Statement, allow
from penstock.infra.ports import REDIS
from penstock.infra.station import Station
from penstock.infra.telemetry import Logs
from penstock.infra.terraform import aws

COMMANDS: Final = "on ~* &* +@all -@dangerous +info +client|setname +client|setinfo"


class Cache(Station):
    """A primary and its replicas. Tasks sign in with their own IAM role: there is no password."""

    def __init__(self, scope: Construct, deployment: Deployment, network: Network, keys: Keys, logs: Logs) -> None:
        super().__init__(scope, "cache", deployment)
        self.user = self._user("tasks", COMMANDS, {"type": "iam"})
        nobody = self._user("default", "off ~* -@all", {"type": "no-password-required"})
        users = aws.elasticache_user_group(
            self,
            "users",
            user_group_id=self.names("redis", "user"),
            engine="redis",
            user_ids=[nobody.user_id, self.user.user_id],
        )
        self.nodes = 1 if deployment.fast else deployment.cache.nodes
        self.group = self._group(network, keys, logs, users)

    def environment(self) -> dict[str, str]:
        """What a task is told."""
        user, host = self.user.user_id, self.group.primary_endpoint_address
        login = f"iam://{self.group.replication_group_id}/{user}"
        return {"PENSTOCK_CACHE__URL": f"rediss://{user}@{host}:{REDIS}/0?credentials={login}"}

    def connects(self) -> Statement:
        """May sign in."""
        return allow(["elasticache:Connect"], self.group.arn, self.user.arn)

    def _user(self, name: str, access: str, mode: dict[str, str]) -> Any:
        """IAM wants a user's name to be its id; the one called `default` only shuts a door that is open otherwise."""
        ident = self.names(name, "user")
        return aws.elasticache_user(
            self,
            f"user-{name}",
            user_id=ident,
            user_name="default" if name == "default" else ident,
            engine="redis",
            access_string=access,
            authentication_mode=mode,
        )

    def _group(self, network: Network, keys: Keys, logs: Logs, users: Any) -> Any:
        subnets = aws.elasticache_subnet_group(
            self, "subnets", name=self.names("redis", "subnets"), subnet_ids=network.private_ids
        )
        parameters = aws.elasticache_parameter_group(
            self,
            "parameters",
            name=self.names("redis", "parameters"),
            family="redis7",
            parameter=[{"name": "maxmemory-policy", "value": "volatile-lru"}],
        )
        return aws.elasticache_replication_group(
            self,
            "redis",
            replication_group_id=self.names("redis", "cache"),
            description="Latest readings, windows, limits",
            engine="redis",
            engine_version="7.1",
            node_type=self.deployment.cache.node,
            num_cache_clusters=self.nodes,
            port=REDIS,
            parameter_group_name=parameters.name,
            subnet_group_name=subnets.name,
            security_group_ids=[network.groups["cache"].id],
            automatic_failover_enabled=self.nodes > 1,
            multi_az_enabled=self.nodes > 1,
            at_rest_encryption_enabled="true",
            transit_encryption_enabled=True,
            kms_key_id=keys.data.arn,
            user_group_ids=[users.user_group_id],
            snapshot_retention_limit=1,
            apply_immediately=True,
            log_delivery_configuration=[
                {
                    "destination": logs.group("redis").name,
                    "destination_type": "cloudwatch-logs",
                    "log_format": "json",
                    "log_type": "slow-log",
                }
            ],
            tags=self.called("redis", "cache"),
        )
