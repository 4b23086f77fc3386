"""Names, tags, encryption, and containers that can change nothing but their own data."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from penstock.infra.description import Deployment
from penstock.infra.rules.template import Finding, Template

Findings = Iterable[Finding]
NAMED_BY: Final[Mapping[str, str]] = {
    "aws_api_gateway_rest_api": "name",
    "aws_api_gateway_usage_plan": "name",
    "aws_api_gateway_vpc_link": "name",
    "aws_backup_plan": "name",
    "aws_backup_vault": "name",
    "aws_cloudwatch_dashboard": "dashboard_name",
    "aws_cloudwatch_metric_alarm": "alarm_name",
    "aws_codedeploy_app": "name",
    "aws_db_instance": "identifier",
    "aws_db_subnet_group": "name",
    "aws_ecr_repository": "name",
    "aws_ecs_cluster": "name",
    "aws_ecs_service": "name",
    "aws_ecs_task_definition": "family",
    "aws_elasticache_replication_group": "replication_group_id",
    "aws_elasticache_user": "user_id",
    "aws_iam_role": "name",
    "aws_kinesis_stream": "name",
    "aws_kms_alias": "name",
    "aws_lambda_function": "function_name",
    "aws_lb": "name",
    "aws_lb_target_group": "name",
    "aws_rds_cluster": "cluster_identifier",
    "aws_rds_cluster_instance": "identifier",
    "aws_s3_bucket": "bucket",
    "aws_secretsmanager_secret": "name",
    "aws_security_group": "name",
    "aws_sns_topic": "name",
    "aws_sqs_queue": "name",
    "aws_wafv2_web_acl": "name",
}
CUT: Final = re.compile(r"-[0-9a-f]{8}$")
KEYED: Final[Mapping[str, str]] = {
    "aws_backup_vault": "kms_key_arn",
    "aws_cloudwatch_log_group": "kms_key_id",
    "aws_db_instance": "kms_key_id",
    "aws_efs_file_system": "kms_key_id",
    "aws_elasticache_replication_group": "kms_key_id",
    "aws_kinesis_stream": "kms_key_id",
    "aws_lambda_function": "kms_key_arn",
    "aws_rds_cluster": "kms_key_id",
    "aws_secretsmanager_secret": "kms_key_id",
    "aws_sns_topic": "kms_master_key_id",
    "aws_sqs_queue": "kms_master_key_id",
}
"""Encrypted with a key of ours."""
STOP_S: Final = 30
"""In which a worker hands its leases over."""
ON: Final[tuple[tuple[str, str, Any], ...]] = (
    ("aws_db_instance", "storage_encrypted", True),
    ("aws_rds_cluster", "storage_encrypted", True),
    ("aws_efs_file_system", "encrypted", True),
    ("aws_elasticache_replication_group", "at_rest_encryption_enabled", "true"),
    ("aws_elasticache_replication_group", "transit_encryption_enabled", True),
    ("aws_kms_key", "enable_key_rotation", True),
    ("aws_kinesis_stream", "encryption_type", "KMS"),
)
TAGS: Final = ("Environment", "ManagedBy", "Project")


def names(template: Template, deployment: Deployment) -> Findings:
    """`resource-type-environment-suffix`: else a deployment beside this one could not be made."""
    tail = deployment.names.tail
    for resource in template.every(*NAMED_BY):
        name = str(resource.get(NAMED_BY[resource.kind]))
        name = name.partition("-${")[0]
        if not name.endswith(tail) and not CUT.search(name):
            mend = f"call it by names(…), which ends in {tail}"
            yield Finding("names", resource.where, f"{name!r} could collide with another deployment's", mend)


def tags(template: Template, _: Deployment) -> Findings:
    """Everything says whose it is."""
    missing = [tag for tag in TAGS if not template.default_tags().get(tag)]
    if missing:
        yield Finding("tags", "provider.aws", f"default_tags lack {', '.join(missing)}", "name them in stack.py")


def encrypted_at_rest(template: Template, _: Deployment) -> Findings:
    """With a key of our own, wherever a service lets us."""
    for resource in template.every(*KEYED):
        if not resource.get(KEYED[resource.kind]):
            yield Finding(
                "encryption", resource.where, "has no key of ours", f"set {KEYED[resource.kind]} to keys.data"
            )
    for kind, argument, wanted in ON:
        for resource in template.every(kind):
            if resource.get(argument) != wanted:
                yield Finding("encryption", resource.where, f"{argument} is off", f"set {argument}={wanted}")
    encrypted = {one.get("bucket") for one in template.every("aws_s3_bucket_server_side_encryption_configuration")}
    for bucket in template.every("aws_s3_bucket"):
        if f"${{{bucket.where}.id}}" not in encrypted:
            yield Finding("encryption", bucket.where, "is not encrypted", "give it an encryption configuration")


def encrypted_in_transit(template: Template, deployment: Deployment) -> Findings:
    """TLS on every hop."""
    for group in template.every("aws_lb_target_group"):
        if group.get("target_type") == "ip" and group.get("protocol") != "HTTPS":
            yield Finding("tls", group.where, "speaks plainly to tasks", "set protocol=HTTPS")
    for listener in template.every("aws_lb_listener"):
        redirects = listener.get("default_action", "type") == "redirect"
        if listener.get("protocol") == "HTTP" and not redirects and not deployment.door.insecure_http:
            yield Finding("tls", listener.where, "is open to plain HTTP", "give it a certificate, or redirect")
    for group in template.every("aws_db_parameter_group", "aws_rds_cluster_parameter_group"):
        forced = any(one.get("name") == "rds.force_ssl" and one.get("value") == "1" for one in group.get("parameter"))
        if not forced:
            yield Finding("tls", group.where, "PostgreSQL may be reached plainly", "set rds.force_ssl=1")
    for task in template.every("aws_ecs_task_definition"):
        for volume in task.get("volume") or []:
            shared = volume.get("efs_volume_configuration")
            shared = shared[0] if isinstance(shared, list) and shared else shared
            if shared and shared.get("transit_encryption") != "ENABLED":
                yield Finding("tls", task.where, "mounts files plainly", "set transit_encryption=ENABLED")
    yield from _plain_urls(template)


def _plain_urls(template: Template) -> Findings:
    for task, container in template.containers():
        for variable in container.get("environment", []):
            value = str(variable["value"])
            if value.startswith("redis://"):
                yield Finding("tls", task.where, "speaks plainly to Redis", "use rediss://")
            if value.startswith("postgresql://") and "sslmode=verify-full" not in value:
                yield Finding("tls", task.where, "does not check PostgreSQL's certificate", "use sslmode=verify-full")


def confined_containers(template: Template, _: Deployment) -> Findings:
    """Not root, nothing to write to but their own data, 30 s to end in."""
    for task, container in template.containers():
        name = container["name"]
        if container.get("user") in {None, "", "0", "root"}:
            yield Finding("containers", task.where, f"{name} runs as root", "set user")
        if container.get("readonlyRootFilesystem") is not True:
            yield Finding("containers", task.where, f"{name} can change its own code", "set readonlyRootFilesystem")
        if container.get("essential") and container.get("stopTimeout", 0) < STOP_S:
            yield Finding("containers", task.where, f"{name} is killed while it ends", f"set stopTimeout={STOP_S}")
        if not container.get("logConfiguration"):
            yield Finding("containers", task.where, f"{name} logs nowhere", "set logConfiguration")


def guarded_doors(template: Template, deployment: Deployment) -> Findings:
    """WAF before what faces the internet; access logs of every balancer."""
    guarded = {str(one.get("resource_arn")) for one in template.every("aws_wafv2_web_acl_association")}
    public = [one for one in template.every("aws_lb") if not one.get("internal")]
    for resource in [*public, *template.every("aws_api_gateway_stage")]:
        if f"${{{resource.where}.arn}}" not in guarded:
            yield Finding("doors", resource.where, "has no WAF before it", "make a Wall")
    for balancer in template.every("aws_lb"):
        if balancer.get("access_logs", "enabled") is not True:
            yield Finding("doors", balancer.where, "writes no access log", "set access_logs")
    if deployment.door.kind == "private" and public:
        yield Finding("doors", public[0].where, "faces the internet", "set internal=True")


RULES: Final[tuple[Callable[[Template, Deployment], Findings], ...]] = (
    names,
    tags,
    encrypted_at_rest,
    encrypted_in_transit,
    confined_containers,
    guarded_doors,
)
