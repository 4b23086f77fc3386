"""What the planner prices is what is made: `penstock plan --profile NAME` is the bill of the stack of that name."""

import pytest

from infra.snapshot import kept
from penstock.capacity.design import NEVER, PROFILES, Design
from penstock.infra.description import Deployment
from penstock.infra.reading import read_deployment
from penstock.infra.rules.template import Template

KINESIS = "kinesis-streams"
COUNTED = (
    "cloudwatch_dashboard",
    "cloudwatch_metric_alarm",
    "kinesis_stream",
    "kms_key",
    "nat_gateway",
    "rds_cluster_instance",
    "secretsmanager_secret",
)


def as_described(found: Deployment, stack: Template) -> dict[str, object]:
    """A stack in the planner's words."""
    count = {kind: len(list(stack.every(f"aws_{kind}"))) for kind in COUNTED}
    walls = list(stack.every("aws_wafv2_web_acl"))
    interfaces = {*found.network.endpoints} - {"s3"}
    is_aurora = found.database.engine == "aurora"
    return {
        "region": found.region,
        "zones": len(found.zones),
        "database": found.database.engine,
        "copies": count["rds_cluster_instance"] if is_aurora else 1 + found.database.multi_az,
        "public": not next(one.get("internal") for one in stack.every("aws_lb") if one.name == "door_balancer"),
        "critical_stream": count["kinesis_stream"] == 2,
        "fan_out": found.stream.fan_out,
        "redis_nodes": next(stack.every("aws_elasticache_replication_group")).get("num_cache_clusters"),
        "nat_gateways": count["nat_gateway"],
        "endpoints": len(interfaces - {KINESIS}),
        "kinesis_endpoint": KINESIS in interfaces,
        "alarms": count["cloudwatch_metric_alarm"],
        "dashboards": count["cloudwatch_dashboard"],
        "waf_rules": sum(len(one.get("rule")) for one in walls) / len(walls),
        "keys": count["kms_key"],
        "secrets": count["secretsmanager_secret"] + 1,  # and the master's, which RDS makes
        "traced": found.watch.tracing,
        "snapshots_a_year": found.archive.backups_a_year,
        "hot_days": found.history.keep_days or NEVER,
        "critical_days": found.history.keep_critical_days or NEVER,
        "minute_days": found.history.keep_minutes_days or NEVER,
        "archive_days": found.archive.days,
        "standard_days": found.archive.standard_days or NEVER,
        "colder_days": found.archive.colder_days,
        "shards_min": found.stream.shards,
        "tasks_min": min(found.ingest.tasks_min, found.work.tasks_min, found.serve.tasks_min),
    } | ({"acus_min": found.database.acu_min, "acus_max": found.database.acu_max} if is_aurora else {})


@pytest.mark.parametrize("profile", PROFILES)
def test_the_planner_prices_what_is_made(profile: str) -> None:
    priced: Design = PROFILES[profile]
    made = as_described(read_deployment(profile), Template(kept(profile)))
    assert {name: getattr(priced, name) for name in made} == made


@pytest.mark.parametrize("profile", PROFILES)
def test_a_gateway_and_shared_files_are_priced_where_there_are_some(profile: str) -> None:
    priced, found = PROFILES[profile], read_deployment(profile)
    assert (priced.gateway == "none") is (not found.api.doors)
    assert (priced.gateway == "readers") is (found.api.doors == ("read",))
    assert bool(priced.efs_gb) is found.shared_files
    assert found.stream.retention_h == 24, "Kinesis takes more for more, and nobody prices it"
    assert not found.stream.on_demand, "likewise"


def test_virginia_has_the_node_that_is_priced() -> None:
    assert read_deployment("virginia").cache.node == PROFILES["virginia"].redis_min
