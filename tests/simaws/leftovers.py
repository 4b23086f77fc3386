"""What is still in an account that was empty before: by service, with what AWS itself keeps for a while left out."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from simaws.server import SimulatedAws

Find = Callable[[SimulatedAws], Iterable[str]]


def _listing(service: str, operation: str, key: str, name: str = "", **asked: Any) -> Find:
    """Names under *key* of one operation's answer."""

    def find(aws: SimulatedAws) -> list[str]:
        answer = getattr(aws.client(service), operation)(**asked)
        return [one[name] if name else one for one in answer[key]]

    return find


def _keys(aws: SimulatedAws) -> Iterable[str]:
    """Keys wait a week or more before they are gone; Amazon's own do not count."""
    kms = aws.client("kms")
    for one in kms.list_keys()["Keys"]:
        told = kms.describe_key(KeyId=one["KeyId"])["KeyMetadata"]
        if told["KeyState"] != "PendingDeletion" and told["KeyManager"] == "CUSTOMER":
            yield told["KeyId"]


def _services(aws: SimulatedAws) -> Iterable[str]:
    """A cluster and a service that were deleted stay as INACTIVE."""
    ecs = aws.client("ecs")
    for cluster in ecs.describe_clusters(clusters=ecs.list_clusters()["clusterArns"])["clusters"]:
        if cluster["status"] != "INACTIVE":
            yield cluster["clusterName"]
            yield from ecs.list_services(cluster=cluster["clusterName"])["serviceArns"]


def _gateways(aws: SimulatedAws) -> Iterable[str]:
    """A NAT gateway is told of for an hour after it was deleted."""
    found = aws.client("ec2").describe_nat_gateways()["NatGateways"]
    return [one["NatGatewayId"] for one in found if one["State"] != "deleted"]


def _networks(aws: SimulatedAws) -> Iterable[str]:
    return [one["VpcId"] for one in aws.client("ec2").describe_vpcs()["Vpcs"] if not one["IsDefault"]]


def _interfaces(aws: SimulatedAws) -> Iterable[str]:
    """Those in networks that are gone belong to nobody: moto does not clear away what its own services made."""
    networks = set(_networks(aws))
    found = aws.client("ec2").describe_network_interfaces()["NetworkInterfaces"]
    return [one["NetworkInterfaceId"] for one in found if one.get("VpcId") in networks]


def _endpoints(aws: SimulatedAws) -> Iterable[str]:
    found = aws.client("ec2").describe_vpc_endpoints()["VpcEndpoints"]
    return [one["VpcEndpointId"] for one in found if one["State"].lower() not in {"deleted", "deleting"}]


def _plans(aws: SimulatedAws) -> Iterable[str]:
    found = aws.client("backup").list_backup_plans()["BackupPlansList"]
    return [one["BackupPlanName"] for one in found if not one.get("DeletionDate")]


def _parameters(aws: SimulatedAws) -> Iterable[str]:
    """Those that Amazon makes with the first database of an engine stay."""
    found = aws.client("rds").describe_db_parameter_groups()["DBParameterGroups"]
    return [one["DBParameterGroupName"] for one in found if not one["DBParameterGroupName"].startswith("default.")]


WHERE: Final[Mapping[str, Find]] = {
    "alarms": _listing("cloudwatch", "describe_alarms", "MetricAlarms", "AlarmName"),
    "API keys": _listing("apigateway", "get_api_keys", "items", "name"),
    "APIs": _listing("apigateway", "get_rest_apis", "items", "name"),
    "backup plans": _plans,
    "backup vaults": _listing("backup", "list_backup_vaults", "BackupVaultList", "BackupVaultName"),
    "balancers": _listing("elbv2", "describe_load_balancers", "LoadBalancers", "LoadBalancerName"),
    "buckets": _listing("s3", "list_buckets", "Buckets", "Name"),
    "cache parameters": _listing(
        "elasticache", "describe_cache_parameter_groups", "CacheParameterGroups", "CacheParameterGroupName"
    ),
    "cache subnets": _listing(
        "elasticache", "describe_cache_subnet_groups", "CacheSubnetGroups", "CacheSubnetGroupName"
    ),
    "caches": _listing("elasticache", "describe_replication_groups", "ReplicationGroups", "ReplicationGroupId"),
    "certificates": _listing("acm", "list_certificates", "CertificateSummaryList", "DomainName"),
    "clusters and services": _services,
    "dashboards": _listing("cloudwatch", "list_dashboards", "DashboardEntries", "DashboardName"),
    "database clusters": _listing("rds", "describe_db_clusters", "DBClusters", "DBClusterIdentifier"),
    "database instances": _listing("rds", "describe_db_instances", "DBInstances", "DBInstanceIdentifier"),
    "database parameters": _parameters,
    "database subnets": _listing("rds", "describe_db_subnet_groups", "DBSubnetGroups", "DBSubnetGroupName"),
    "deployments": _listing("codedeploy", "list_applications", "applications"),
    "endpoints": _endpoints,
    "file systems": _listing("efs", "describe_file_systems", "FileSystems", "FileSystemId"),
    "functions": _listing("lambda", "list_functions", "Functions", "FunctionName"),
    "images": _listing("ecr", "describe_repositories", "repositories", "repositoryName"),
    "interfaces": _interfaces,
    "keys": _keys,
    "log groups": _listing("logs", "describe_log_groups", "logGroups", "logGroupName"),
    "NAT gateways": _gateways,
    "networks": _networks,
    "policies": _listing("iam", "list_policies", "Policies", "PolicyName", Scope="Local"),
    "queues": lambda aws: aws.client("sqs").list_queues().get("QueueUrls", []),
    "roles": _listing("iam", "list_roles", "Roles", "RoleName"),
    "secrets": _listing("secretsmanager", "list_secrets", "SecretList", "Name"),
    "streams": _listing("kinesis", "list_streams", "StreamNames"),
    "target groups": _listing("elbv2", "describe_target_groups", "TargetGroups", "TargetGroupName"),
    "task definitions": _listing("ecs", "list_task_definitions", "taskDefinitionArns", status="ACTIVE"),
    "topics": _listing("sns", "list_topics", "Topics", "TopicArn"),
    "usage plans": _listing("apigateway", "get_usage_plans", "items", "name"),
    "users of caches": lambda aws: [
        one["UserId"] for one in aws.client("elasticache").describe_users()["Users"] if one["UserId"] != "default"
    ],
    "walls": _listing("wafv2", "list_web_acls", "WebACLs", "Name", Scope="REGIONAL"),
}


def leftovers(aws: SimulatedAws) -> dict[str, list[str]]:
    """What is there, by kind; empty kinds are left out."""
    found = {kind: sorted(find(aws)) for kind, find in WHERE.items()}
    return {kind: names for kind, names in found.items() if names}
