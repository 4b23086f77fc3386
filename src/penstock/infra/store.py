"""PostgreSQL: RDS or Aurora behind the same few words."""

from typing import Any, Final

from constructs import Construct

from penstock.infra.description import Deployment
from penstock.infra.keys import Keys
from penstock.infra.network import Network
from penstock.infra.policy import trust
from penstock.infra.ports import POSTGRESQL
from penstock.infra.station import Station
from penstock.infra.telemetry import Logs
from penstock.infra.terraform import aws

DATABASE: Final = "penstock"
MASTER: Final = "penstock_master"
SETTINGS: Final = (
    ("rds.force_ssl", "1", "immediate"),
    ("log_min_duration_statement", "500", "immediate"),
    ("log_statement", "ddl", "immediate"),
    ("log_connections", "1", "immediate"),
)
MONITORING: Final = "arn:aws:iam::aws:policy/service-role/AmazonRDSEnhancedMonitoringRole"
MONITORING_S: Final = 60
CA_FILE: Final = "/etc/ssl/certs/rds.pem"
"""Amazon's certificate authorities for RDS, in the container image."""


class Store(Station):
    """One PostgreSQL that no one outside the network reaches; its master's password is RDS's own secret."""

    def __init__(self, scope: Construct, deployment: Deployment, network: Network, keys: Keys, logs: Logs) -> None:
        super().__init__(scope, "store", deployment)
        self._keys, self._logs = keys, logs
        self._subnets = aws.db_subnet_group(
            self,
            "subnets",
            name=self.names("database", "subnets"),
            subnet_ids=network.private_ids,
            tags=self.called("database", "subnets"),
        )
        self._group = network.groups["database"].id
        self.is_aurora = deployment.database.engine == "aurora"
        count = 1 if deployment.fast else deployment.database.instances
        parts = [f"aurora-{index}" for index in range(count)] if self.is_aurora else ["postgres"]
        self._identifiers = [self.names(part, "db") for part in parts]
        self._watcher = self._monitoring(keys.account)
        self.database = self._aurora() if self.is_aurora else self._rds()
        self.instances = self._aurora_instances() if self.is_aurora else [self.database]

    @property
    def host(self) -> str:
        """Where the writer answers."""
        host: str = self.database.endpoint if self.is_aurora else self.database.address
        return host

    @property
    def reader_host(self) -> str:
        """Where readers answer; the writer's where there are none."""
        host: str = self.database.reader_endpoint if self.is_aurora else self.database.address
        return host

    @property
    def master_secret(self) -> str:
        """ARN of the master's secret, which RDS makes and rotates."""
        arn: str = self.database.master_user_secret.get(0).secret_arn
        return arn

    @property
    def url(self) -> str:
        """The database without a login; the certificate must be its own."""
        return f"postgresql://{self.host}:{POSTGRESQL}/{DATABASE}?sslmode=verify-full&sslrootcert={CA_FILE}"

    def _monitoring(self, account: str) -> Any:
        prefix = f"arn:aws:rds:{self.deployment.region}:{account}:db"
        ours = [f"{prefix}:{name}" for name in self._identifiers]
        role = aws.iam_role(
            self,
            "monitoring",
            name=self.names("monitoring", "role"),
            assume_role_policy=trust("monitoring.rds", account, *ours),
        )
        aws.iam_role_policy_attachment(self, "monitoring-policy", role=role.name, policy_arn=MONITORING)
        return role

    def _common(self) -> dict[str, Any]:
        """What RDS and Aurora have in common, under the same names."""
        part = self.deployment.database
        return {
            "engine_version": part.version,
            "manage_master_user_password": True,
            "master_user_secret_kms_key_id": self._keys.data.key_id,
            "db_subnet_group_name": self._subnets.name,
            "vpc_security_group_ids": [self._group],
            "storage_encrypted": True,
            "kms_key_id": self._keys.data.arn,
            "backup_retention_period": part.backup_days,
            "copy_tags_to_snapshot": True,
            "iam_database_authentication_enabled": True,
            "skip_final_snapshot": True,
            "deletion_protection": False,
            "apply_immediately": True,
        }

    def _rds(self) -> Any:
        part, (ident,) = self.deployment.database, self._identifiers
        parameters = aws.db_parameter_group(
            self,
            "parameters",
            name=self.names("postgres", "parameters"),
            family=f"postgres{part.version.partition('.')[0]}",
            parameter=_parameters(),
        )
        exported = ["postgresql", "upgrade"]
        groups = [self._logs.exported(f"/aws/rds/instance/{ident}/{one}", f"postgres-{one}") for one in exported]
        return aws.db_instance(
            self,
            "postgres",
            identifier=ident,
            engine="postgres",
            instance_class=part.instance,
            allocated_storage=part.storage_gb,
            max_allocated_storage=part.storage_max_gb,
            storage_type="gp3",
            db_name=DATABASE,
            username=MASTER,
            parameter_group_name=parameters.name,
            multi_az=part.multi_az and not self.deployment.fast,
            publicly_accessible=False,
            auto_minor_version_upgrade=True,
            performance_insights_enabled=True,
            performance_insights_kms_key_id=self._keys.data.arn,
            monitoring_interval=MONITORING_S,
            monitoring_role_arn=self._watcher.arn,
            enabled_cloudwatch_logs_exports=exported,
            tags=self.called("postgres", "db"),
            depends_on=groups,
            **self._common(),
        )

    def _aurora(self) -> Any:
        part, ident = self.deployment.database, self.names("aurora", "db")
        parameters = aws.rds_cluster_parameter_group(
            self,
            "parameters",
            name=self.names("aurora", "parameters"),
            family=f"aurora-postgresql{part.version.partition('.')[0]}",
            parameter=_parameters(),
        )
        group = self._logs.exported(f"/aws/rds/cluster/{ident}/postgresql", "aurora-postgresql")
        return aws.rds_cluster(
            self,
            "aurora",
            cluster_identifier=ident,
            engine="aurora-postgresql",
            engine_mode="provisioned",
            database_name=DATABASE,
            master_username=MASTER,
            db_cluster_parameter_group_name=parameters.name,
            enable_http_endpoint=part.data_api,
            enabled_cloudwatch_logs_exports=["postgresql"],
            serverlessv2_scaling_configuration={"min_capacity": part.acu_min, "max_capacity": part.acu_max},
            tags=self.called("aurora", "db"),
            depends_on=[group],
            **self._common(),
        )

    def _aurora_instances(self) -> list[Any]:
        return [
            aws.rds_cluster_instance(
                self,
                f"aurora-{index}",
                identifier=ident,
                cluster_identifier=self.database.id,
                instance_class="db.serverless",
                engine=self.database.engine,
                engine_version=self.database.engine_version,
                db_subnet_group_name=self._subnets.name,
                publicly_accessible=False,
                auto_minor_version_upgrade=True,
                performance_insights_enabled=True,
                performance_insights_kms_key_id=self._keys.data.arn,
                monitoring_interval=MONITORING_S,
                monitoring_role_arn=self._watcher.arn,
                promotion_tier=index,
                apply_immediately=True,
                tags={"Name": ident},
            )
            for index, ident in enumerate(self._identifiers)
        ]


def _parameters() -> list[dict[str, str]]:
    return [{"name": name, "value": value, "apply_method": method} for name, value, method in SETTINGS]
