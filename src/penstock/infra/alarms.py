"""Which figures of which component somebody is told of, and why."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from penstock.infra.api import STAGE, Api
from penstock.infra.cache import Cache
from penstock.infra.door import Door
from penstock.infra.sizing import connections_of
from penstock.infra.store import Store
from penstock.infra.stream import NAMESPACE as KINESIS
from penstock.infra.stream import Metric, Stream
from penstock.infra.tasks import Cluster, Service
from penstock.infra.telemetry import NAMESPACE as OURS
from penstock.infra.telemetry import Alarm
from penstock.infra.wall import Wall

GIB: Final = 2**30
DAY_S: Final = 86_400
CERTIFICATE_DAYS: Final = 30
"""ACM renews 60 days before the end; half of that has passed then."""
BLOCKED: Final = 1_000
"""Requests a minute that WAF stops: more than strangers' usual knocking."""
CONNECTIONS_FILL: Final = 0.8
ECS: Final = "AWS/ECS"


def answer_alarms(door: Door) -> list[Alarm]:
    """Clients are answered badly: after a release, by the new version."""
    of_door = {"LoadBalancer": door.balancer.arn_suffix}
    return [
        _door("door-errors", "HTTPCode_Target_5XX_Count", of_door, 5, "Doors answer 5xx: see their logs"),
        _door("door-refused", "HTTPCode_ELB_5XX_Count", of_door, 5, "No door is there to answer: see its tasks"),
    ]


def door_alarms(door: Door) -> list[Alarm]:
    """Of what stands behind the load balancer, and around it."""
    of_door = {"LoadBalancer": door.balancer.arn_suffix}
    return [
        *(
            _unhealthy(role if len(targets) == 1 else f"{role}-{colour}", role, of_door, target)
            for role, targets in door.targets.items()
            for colour, target in zip(door.colours, targets, strict=True)
        ),
        *([_expiring(door.certificate)] if door.certificate else []),
        *(wall_alarms(door.wall, "door") if door.wall else []),
    ]


def _door(name: str, metric: str, dimensions: dict[str, str], above: float, why: str) -> Alarm:
    return Alarm(name, "AWS/ApplicationELB", metric, dimensions, above=above, statistic="Sum", minutes=2, why=why)


def _expiring(certificate: str) -> Alarm:
    return Alarm(
        "certificate-expires",
        "AWS/CertificateManager",
        "DaysToExpiry",
        {"CertificateArn": certificate},
        below=CERTIFICATE_DAYS,
        statistic="Minimum",
        minutes=1,
        period_s=DAY_S,
        why="The door's certificate was not renewed: see that its domain still proves itself in ACM",
    )


def wall_alarms(wall: Wall, name: str) -> list[Alarm]:
    """Somebody knocks hard, or our own senders are taken for somebody else."""
    dimensions = {"WebACL": wall.acl.name, "Region": wall.deployment.region, "Rule": "ALL"}
    return [
        Alarm(
            f"{name}-wall",
            "AWS/WAFV2",
            "BlockedRequests",
            dimensions,
            above=BLOCKED,
            statistic="Sum",
            minutes=5,
            why="WAF stops many requests: see its log, whether they are senders of ours",
        )
    ]


def _unhealthy(name: str, role: str, of_door: dict[str, str], target: Any) -> Alarm:
    """Of each colour: which of them is live, releases say."""
    dimensions = of_door | {"TargetGroup": target.arn_suffix}
    return Alarm(
        f"{name}-unhealthy",
        "AWS/ApplicationELB",
        "UnHealthyHostCount",
        dimensions,
        above=0,
        why=f"A task of {role} fails its health check",
    )


def stream_alarms(stream: Stream, latency_ms: int) -> list[Alarm]:
    """Late, too full, or about to lose what waits."""
    return [
        alarm
        for lane, one in stream.lanes
        for alarm in _lane(lane, one.name, stream.age(one), latency_ms, stream.deployment.stream.retention_h)
    ]


def _lane(lane: str, name: str, age: Metric, latency_ms: int, retention_h: int) -> Iterable[Alarm]:
    of_stream = {"StreamName": name}
    lost_ms = retention_h * 3_600_000 // 2
    limit_ms = latency_ms if lane == "critical" else 60_000
    return (
        _kinesis(f"{lane}-late", *age, limit_ms, f"Workers are behind the {lane} lane: add workers or shards"),
        _kinesis(f"{lane}-loss", *age, lost_ms, f"Half of the {lane} lane's retention is gone: act now"),
        _kinesis(
            f"{lane}-crowded",
            "ReadProvisionedThroughputExceeded",
            of_stream,
            100,
            f"Somebody else reads the {lane} lane, too: use fan-out",
            statistic="Sum",
        ),
        _kinesis(
            f"{lane}-full",
            "WriteProvisionedThroughputExceeded",
            of_stream,
            10,
            f"The {lane} lane has too few shards",
            statistic="Sum",
        ),
    )


def _kinesis(  # noqa: PLR0913, PLR0917
    name: str, metric: str, of_stream: Mapping[str, str], above: float, why: str, statistic: str = "Maximum"
) -> Alarm:
    return Alarm(name, KINESIS, metric, of_stream, above=above, statistic=statistic, why=why)


def service_alarms(cluster: Cluster, service: Service, errors: str) -> list[Alarm]:
    """Too few tasks, or too busy ones, or such as report *errors*, which is a metric of ours."""
    role = service.role.name
    of_service = {"ClusterName": cluster.cluster.name, "ServiceName": service.service.name}
    return [
        Alarm(
            f"{role}-missing",
            "ECS/ContainerInsights",
            "RunningTaskCount",
            of_service,
            below=service.tasks_min,
            statistic="Minimum",
            minutes=5,
            silence="breaching",
            why=f"Fewer tasks of {role} run than should: see why they stopped",
        ),
        Alarm(
            f"{role}-cpu", ECS, "CPUUtilization", of_service, above=85, minutes=10, why=f"{role} is busy at its most"
        ),
        Alarm(f"{role}-memory", ECS, "MemoryUtilization", of_service, above=85, why=f"{role} runs out of memory"),
        Alarm(
            f"{role}-errors",
            OURS,
            errors,
            {},
            above=0,
            statistic="Sum",
            minutes=1,
            why=f"{role} logs errors: the archive, a shard or a request; its log says which, and the mend",
        ),
    ]


def cache_alarms(cache: Cache) -> list[Alarm]:
    """Of each node: names end in 001, 002, …"""
    return [alarm for node in range(1, cache.nodes + 1) for alarm in _node(cache, node)]


def _node(cache: Cache, node: int) -> list[Alarm]:
    of_node = {"CacheClusterId": f"{cache.group.replication_group_id}-{node:03d}"}
    return [
        Alarm(
            f"redis-{node}-memory",
            "AWS/ElastiCache",
            "DatabaseMemoryUsagePercentage",
            of_node,
            above=80,
            why="Redis fills up: choose a larger node",
        ),
        Alarm(f"redis-{node}-cpu", "AWS/ElastiCache", "EngineCPUUtilization", of_node, above=80, why="Redis is busy"),
        Alarm(
            f"redis-{node}-evictions",
            "AWS/ElastiCache",
            "Evictions",
            of_node,
            above=0,
            statistic="Sum",
            why="Redis forgets what is still wanted: choose a larger node",
        ),
    ]


def store_alarms(store: Store) -> list[Alarm]:
    """Of the database."""
    if store.is_aurora:
        of_database = {"DBClusterIdentifier": store.database.cluster_identifier}
        size = Alarm(
            "database-capacity",
            "AWS/RDS",
            "ACUUtilization",
            of_database,
            above=90,
            minutes=10,
            why="Aurora is at its most: raise database.acu_max",
        )
    else:
        of_database = {"DBInstanceIdentifier": store.database.identifier}
        size = Alarm(
            "database-space",
            "AWS/RDS",
            "FreeStorageSpace",
            of_database,
            below=2 * GIB,
            statistic="Minimum",
            why="The database's disk is nearly full: raise database.storage_max_gb",
        )
    return [
        size,
        Alarm("database-cpu", "AWS/RDS", "CPUUtilization", of_database, above=85, minutes=10, why="PostgreSQL is busy"),
        Alarm(
            "database-connections",
            "AWS/RDS",
            "DatabaseConnections",
            of_database,
            above=int(CONNECTIONS_FILL * connections_of(store.deployment.database)),
            why="Too many connections: lower store.connections_max",
        ),
    ]


def rotation_alarms(function_name: str, queue_name: str) -> list[Alarm]:
    """Credentials that do not change would be noticed by nobody else."""
    of_function, of_queue = {"FunctionName": function_name}, {"QueueName": queue_name}
    return [
        Alarm(
            "rotation-errors",
            "AWS/Lambda",
            "Errors",
            of_function,
            above=0,
            statistic="Sum",
            minutes=1,
            why="The login could not be turned over: see the function's log",
        ),
        Alarm(
            "rotation-dead",
            "AWS/SQS",
            "ApproximateNumberOfMessagesVisible",
            of_queue,
            above=0,
            minutes=1,
            why="A rotation was given up",
        ),
    ]


def api_alarms(api: Api) -> list[Alarm]:
    """Of the gateway, and of its private way to the door."""
    of_stage = {"ApiName": api.api.name, "Stage": STAGE}
    of_link = {"LoadBalancer": api.balancer.arn_suffix, "TargetGroup": api.targets.arn_suffix}
    return [
        *wall_alarms(api.wall, "api"),
        Alarm(
            "link-unhealthy",
            "AWS/NetworkELB",
            "UnHealthyHostCount",
            of_link,
            above=0,
            why="The gateway does not reach the door: see the door's listener and certificate",
        ),
        Alarm("api-errors", "AWS/ApiGateway", "5XXError", of_stage, above=5, statistic="Sum", why="The gateway fails"),
        Alarm("api-slow", "AWS/ApiGateway", "Latency", of_stage, above=5_000, statistic="Average", why="It is slow"),
    ]


def backup_alarms(vault_name: str) -> list[Alarm]:
    """A backup that fails is needed one day."""
    of_vault = {"BackupVaultName": vault_name}
    return [
        Alarm(
            "backup-failed",
            "AWS/Backup",
            "NumberOfBackupJobsFailed",
            of_vault,
            above=0,
            statistic="Sum",
            minutes=1,
            why="A backup failed: see AWS Backup's jobs",
        )
    ]


def files_alarms(system_id: str) -> list[Alarm]:
    """Of the shared file system."""
    of_system = {"FileSystemId": system_id}
    return [
        Alarm("files-io", "AWS/EFS", "PercentIOLimit", of_system, above=90, minutes=10, why="EFS is at its limit"),
    ]


def nat_alarms(gateways: Iterable[tuple[str, str]]) -> list[Alarm]:
    """The way out, one for each gateway: (letter, id)."""
    return [
        Alarm(
            f"nat-{letter}-full",
            "AWS/NATGateway",
            "ErrorPortAllocation",
            {"NatGatewayId": ident},
            above=0,
            statistic="Sum",
            why="The NAT gateway has no ports left: use one a zone",
        )
        for letter, ident in gateways
    ]
