"""What a deployment says of itself when it stands. Names are spelt as each profile's readers expect them."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from cdktn import TerraformOutput, TerraformVariable

from penstock.infra.spelling import KEY_ID, PLAN_ID, spellings

if TYPE_CHECKING:
    from penstock.infra.stack import Plant


class Output(NamedTuple):
    """One thing worth knowing."""

    why: str
    value: Callable[["Plant"], Any]


def _endpoint(service: str) -> Callable[["Plant"], Any]:
    return lambda plant: plant.network.endpoints[service].id if service in plant.network.endpoints else None


OUTPUTS: Final[Mapping[str, Output]] = {
    "vpc_id": Output("The network.", lambda plant: plant.network.vpc.id),
    "alb_dns_name": Output("The load balancer's own name.", lambda plant: plant.door.balancer.dns_name),
    "alb_arn": Output("The load balancer.", lambda plant: plant.door.balancer.arn),
    "target_group_arn": Output("Ingest's tasks, as it sees them.", lambda plant: plant.door.targets["ingest"][0].arn),
    "door_url": Output("Where people and senders begin.", lambda plant: f"{plant.door.scheme}://{plant.door.host}"),
    "s3_endpoint_id": Output("S3 inside the network.", _endpoint("s3")),
    "secrets_manager_endpoint_id": Output("Secrets Manager inside the network.", _endpoint("secretsmanager")),
    "ecr_api_endpoint_id": Output("ECR inside the network.", _endpoint("ecr.api")),
    "ecr_dkr_endpoint_id": Output("ECR's images inside the network.", _endpoint("ecr.dkr")),
    "logs_endpoint_id": Output("CloudWatch Logs inside the network.", _endpoint("logs")),
    "kinesis_endpoint_id": Output("Kinesis inside the network.", _endpoint("kinesis-streams")),
    "api_gateway_url": Output("Where metered clients begin.", lambda plant: plant.api.url if plant.api else None),
    KEY_ID: Output("The metered clients' key, made by `penstock deploy`.", lambda plant: plant.api and _key_id(plant)),
    PLAN_ID: Output("What meters them.", lambda plant: plant.api.plan.id if plant.api else None),
    "kinesis_stream_name": Output("The bulk lane.", lambda plant: plant.stream.bulk.name),
    "kinesis_critical_stream_name": Output(
        "The critical lane.", lambda plant: plant.stream.critical and plant.stream.critical.name
    ),
    "ecs_cluster_name": Output("Where the tasks run.", lambda plant: plant.cluster.cluster.name),
    "ecr_repository_url": Output(
        "Where the image is pushed to.", lambda plant: plant.cluster.repository.repository_url
    ),
    "redis_endpoint": Output("Redis' primary.", lambda plant: plant.cache.group.primary_endpoint_address),
    "redis_reader_endpoint": Output("Redis' replicas.", lambda plant: plant.cache.group.reader_endpoint_address),
    "rds_endpoint": Output("PostgreSQL.", lambda plant: None if plant.store.is_aurora else plant.store.host),
    "aurora_endpoint": Output("Aurora's writer.", lambda plant: plant.store.host if plant.store.is_aurora else None),
    "aurora_reader_endpoint": Output(
        "Aurora's readers.", lambda plant: plant.store.reader_host if plant.store.is_aurora else None
    ),
    "db_secret_arn": Output("The tasks' login.", lambda plant: plant.secrets.login.arn),
    "secrets_manager_secret_arn": Output("The tasks' login.", lambda plant: plant.secrets.login.arn),
    "db_master_secret_arn": Output("The master's, kept by RDS.", lambda plant: plant.store.master_secret),
    "archive_bucket_name": Output("The archive.", lambda plant: plant.buckets.archive.bucket),
    "archive_lifter_role_arn": Output(
        "Who may lift a lock of the archive.", lambda plant: plant.buckets.lifter and plant.buckets.lifter.arn
    ),
    "backup_vault_name": Output("Backups kept as long as the record.", lambda plant: plant.backups.vault.name),
    "efs_id": Output("The shared file system.", lambda plant: plant.files.system.id if plant.files else None),
    "dashboard_name": Output("Everything at a glance.", lambda plant: plant.deployment.names("plant", "dashboard")),
}


def say(plant: "Plant") -> None:
    """Write down every output that this deployment has something to say about."""
    for name, output in OUTPUTS.items():
        value = output.value(plant)
        if value is None:
            continue
        for spelt in spellings(name, plant.deployment.profile):
            made = TerraformOutput(plant, f"output-{spelt}", value=value, description=output.why)
            made.override_logical_id(spelt)


def _key_id(plant: "Plant") -> Any:
    """The key's secret half would lie in Terraform's state; so `penstock deploy` makes it, and tells us its name."""
    why = "Id of the metered clients' key; `penstock deploy` makes it and says."
    return TerraformVariable(plant, KEY_ID, type="string", default="", description=why).string_value
