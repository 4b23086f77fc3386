"""The five reference deployments, row by row: what each of them must hold, read from the stacks that were looked at.

`test_stack` holds those to what is made; here stands what nobody may change without meaning it.
"""

import functools
import json
from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any, NamedTuple

import pytest

from infra.snapshot import kept
from penstock.infra.ports import HTTPS, POSTGRESQL, REDIS
from penstock.infra.reading import PROFILES, read_deployment
from penstock.infra.rules.template import Resource, Template
from penstock.store.archive import ArchiveClass, manifest_key, object_key

STANDARD = {"s3", "secretsmanager", "ecr.api", "ecr.dkr", "logs"}
KINESIS = STANDARD | {"kinesis-streams"}
WRITE, READ, ALL = ("POST", "sensor-data"), ("GET", "{proxy+}"), ("ANY", "{proxy+}")
SMALL = ("256", "512")


class Row(NamedTuple):
    """One column of the table."""

    region: str
    zones: str
    residency: str
    public: tuple[str, ...]
    private: tuple[str, ...]
    gateways: int
    endpoints: set[str]
    faces_internet: bool
    routes: set[tuple[str, str]]
    shards: tuple[int, ...]
    work: tuple[str, str]
    """CPU units and MB of a worker."""
    tasks: int
    """Of each role, at least."""
    log_days: int
    record_days: int
    backups: str
    """When they are made."""
    history_days: tuple[int, ...] = (14, 30, 90, 90)
    """In PostgreSQL: how late readings may be, how long they stay, critical ones, rollups by the minute."""
    standard_days: int = 0
    """In the archive, of readings that are not critical; 0: as long as others."""


def nets(first: int, count: int) -> tuple[str, ...]:
    return tuple(f"10.0.{index}.0/24" for index in range(first, first + count))


YEARLY, QUARTERLY = "cron(0 3 1 1 ? *)", "cron(0 3 1 1,4,7,10 ? *)"
LONDON = Row(
    "eu-west-2", "ab", "UK", nets(1, 2), nets(11, 2), 0, KINESIS, True, set(), (2, 1), SMALL, 2, 7, 2_557, YEARLY
)  # fmt: skip
ROWS = {
    "tokyo": Row(
        "ap-northeast-1", "ac", "JP", nets(0, 2), nets(10, 2), 1, STANDARD, True, {WRITE}, (2, 1), SMALL, 2, 30, 365,
        YEARLY,
    ),
    "london": LONDON,
    "montreal": Row(
        "ca-central-1", "ab", "CA", nets(0, 2), nets(10, 2), 1, {"s3"}, False, {WRITE, ALL}, (2,), SMALL, 1, 30, 365,
        YEARLY,
    ),
    "virginia": Row(
        "us-east-1", "abc", "US", nets(0, 3), nets(10, 3), 3, KINESIS | {"kms", "sts", "monitoring", "xray"}, True,
        {READ}, (5, 3), ("1024", "2048"), 2, 90, 2_557, QUARTERLY, (5, 7, 90, 30), 92,
    ),
    "frankfurt": LONDON._replace(region="eu-central-1", residency="EU", backups=QUARTERLY),
}  # fmt: skip
each = pytest.mark.parametrize("profile", PROFILES)
AURORA = pytest.mark.parametrize("profile", ["montreal", "virginia"])
RDS = pytest.mark.parametrize("profile", ["tokyo", "london", "frankfurt"])
GATEWAYS = pytest.mark.parametrize("profile", ["tokyo", "montreal", "virginia"])


@functools.cache
def stack(profile: str) -> Template:
    """For looking at only."""
    return Template(kept(profile))


def every(profile: str, *kinds: str) -> list[Resource]:
    return list(stack(profile).every(*kinds))


def one(profile: str, kind: str, name: str = "") -> Resource:
    (found,) = (each for each in every(profile, kind) if not name or each.name == name)
    return found


def containers(profile: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """(role, its container)."""
    for _, container in stack(profile).containers():
        if container["essential"]:
            yield container["name"], container


def told(container: Mapping[str, Any]) -> dict[str, str]:
    return {one["name"]: one["value"] for one in container["environment"]}


# --- region, network, endpoints -----------------------------------------------------------------------------------


@each
def test_it_lies_in_its_region_and_zones(profile: str) -> None:
    row = ROWS[profile]
    assert stack(profile).region() == row.region
    zones = {subnet.get("availability_zone") for subnet in every(profile, "aws_subnet")}
    assert zones == {f"{row.region}{letter}" for letter in row.zones}


@each
def test_its_network_has_a_public_and_a_private_subnet_a_zone(profile: str) -> None:
    row = ROWS[profile]
    assert one(profile, "aws_vpc").get("cidr_block") == "10.0.0.0/16"
    for tier, cidrs in (("public", row.public), ("private", row.private)):
        subnets = [each for each in every(profile, "aws_subnet") if each.get("tags", "Tier") == tier]
        assert tuple(each.get("cidr_block") for each in subnets) == cidrs
        assert not any(each.get("map_public_ip_on_launch") for each in subnets)


@each
def test_its_way_out(profile: str) -> None:
    row, nats = ROWS[profile], every(profile, "aws_nat_gateway")
    assert len(nats) == row.gateways
    ways = [route for route in every(profile, "aws_route") if route.get("nat_gateway_id")]
    assert len(ways) == (len(row.zones) if row.gateways else 0)
    assert len({way.get("nat_gateway_id") for way in ways}) == row.gateways


@each
def test_its_endpoints(profile: str) -> None:
    row, found = ROWS[profile], {}
    for endpoint in every(profile, "aws_vpc_endpoint"):
        found[endpoint.get("service_name").removeprefix(f"com.amazonaws.{row.region}.")] = endpoint
    assert set(found) == row.endpoints
    for service, endpoint in found.items():
        assert endpoint.get("vpc_endpoint_type") == ("Gateway" if service == "s3" else "Interface")
        assert service == "s3" or endpoint.get("private_dns_enabled") is True


def test_only_virginia_has_network_acls() -> None:
    assert [name for name in PROFILES if every(name, "aws_network_acl")] == ["virginia"]
    for acl in every("virginia", "aws_network_acl"):
        assert len(acl.get("subnet_ids")) == 3
    for rule in every("virginia", "aws_network_acl_rule"):
        assert rule.get("protocol") == "tcp"
        assert rule.get("from_port") > 0 or rule.get("rule_action") == "deny"


@each
def test_groups_name_each_other_and_the_world_knows_the_door_alone(profile: str) -> None:
    by_address = [
        rule
        for rule in every(profile, "aws_vpc_security_group_ingress_rule")
        if not rule.get("referenced_security_group_id")
    ]
    public = ROWS[profile].faces_internet
    assert {(rule.get("security_group_id"), rule.get("from_port")) for rule in by_address} == (
        {("${aws_security_group.network_group_door.id}", port) for port in (80, HTTPS)} if public else set()
    )


@pytest.mark.parametrize("profile", ["london", "frankfurt"])
def test_where_endpoints_lead_to_all_nobody_may_leave(profile: str) -> None:
    assert not any(rule.get("cidr_ipv4") for rule in every(profile, "aws_vpc_security_group_egress_rule"))


@each
def test_the_function_that_turns_logins_over_leaves_for_nothing_but_secrets_and_the_database(profile: str) -> None:
    mine = "${aws_security_group.network_group_rotation.id}"
    ways = [
        rule for rule in every(profile, "aws_vpc_security_group_egress_rule") if rule.get("security_group_id") == mine
    ]
    assert sorted(rule.get("to_port") for rule in ways) == [HTTPS, POSTGRESQL]


@each
def test_the_tasks_of_each_role_reach_redis_and_postgresql(profile: str) -> None:
    rules = every(profile, "aws_vpc_security_group_ingress_rule")
    for target, port in (("cache", REDIS), ("database", POSTGRESQL)):
        group = f"${{aws_security_group.network_group_{target}.id}}"
        sources = {
            rule.get("referenced_security_group_id").split("_")[-1].removesuffix(".id}")
            for rule in rules
            if rule.get("security_group_id") == group
        }
        assert sources == {"ingest", "work", "serve"} | ({"rotation"} if target == "database" else set())
        assert all(rule.get("from_port") == port for rule in rules if rule.get("security_group_id") == group)


# --- ingest -------------------------------------------------------------------------------------------------------


@each
def test_its_door(profile: str) -> None:
    door = one(profile, "aws_lb", "door_balancer")
    tier = "public" if ROWS[profile].faces_internet else "private"
    assert door.get("internal") is (tier == "private")
    assert all(f"aws_subnet.network_{tier}_" in subnet for subnet in door.get("subnets"))
    assert door.get("enable_cross_zone_load_balancing") is True
    main, plain = (one(profile, "aws_lb_listener", f"door_{name}") for name in ("main", "plain"))
    assert (main.get("port"), main.get("protocol")) == (HTTPS, "HTTPS")
    assert (plain.get("port"), plain.get("default_action", "redirect", "protocol")) == (80, "HTTPS")
    assert main.get("ssl_policy").startswith("ELBSecurityPolicy-TLS13")


@each
def test_what_a_balancer_and_a_container_are_asked(profile: str) -> None:
    paths = {
        group.name.split("_")[1]: group.get("health_check", "path")
        for group in every(profile, "aws_lb_target_group")
        if group.get("target_type") == "ip"
    }
    assert paths == {"ingest": "/readyz/ingest", "serve": "/healthz"}
    for _, container in containers(profile):
        assert container["healthCheck"]["command"][-1].endswith("/healthz")


@each
def test_its_gateway_opens_what_it_says_and_nothing_else(profile: str) -> None:
    paths = {f"${{{each.where}.id}}": each.get("path_part") for each in every(profile, "aws_api_gateway_resource")}
    methods = every(profile, "aws_api_gateway_method")
    routes = {(each.get("http_method"), paths[each.get("resource_id")]) for each in methods}
    assert routes == ROWS[profile].routes
    assert all(each.get("api_key_required") is True for each in methods)


@GATEWAYS
def test_a_gateway_is_regional_metered_logged_and_real(profile: str) -> None:
    assert one(profile, "aws_api_gateway_rest_api").get("endpoint_configuration", "types") == ["REGIONAL"]
    plan = one(profile, "aws_api_gateway_usage_plan")
    assert plan.get("throttle_settings") == {"rate_limit": 200, "burst_limit": 400}
    assert plan.get("quota_settings") is None
    stage = one(profile, "aws_api_gateway_stage")
    assert stage.get("stage_name") == "prod"
    group = stage.get("access_log_settings", "destination_arn").removeprefix("${").removesuffix(".arn}").split(".")
    assert one(profile, *group).get("kms_key_id") == "${aws_kms_key.keys_data.arn}"
    (released,) = every(profile, "aws_api_gateway_deployment")
    for integration in every(profile, "aws_api_gateway_integration"):
        assert f"{integration.where}.uri" in released.get("triggers", "leads"), "else the stage serves the old one"
        assert integration.get("type") == "HTTP_PROXY"
        assert integration.get("connection_id") == "${aws_api_gateway_vpc_link.api_link.id}"
    link = one(profile, "aws_lb", "api_link_balancer")
    assert (link.get("internal"), link.get("load_balancer_type")) == (True, "network")
    # its own failures would lie in a group that AWS makes, without our key and for ever
    assert any("API-Gateway-Execution-Logs_" in each.get("name") for each in every(profile, "aws_cloudwatch_log_group"))


@each
def test_a_wall_stands_before_every_public_door(profile: str) -> None:
    guarded = {wall.get("resource_arn") for wall in every(profile, "aws_wafv2_web_acl_association")}
    row = ROWS[profile]
    assert guarded == ({"${aws_lb.door_balancer.arn}"} if row.faces_internet else set()) | (
        {"${aws_api_gateway_stage.api_stage.arn}"} if row.routes else set()
    )
    assert len(every(profile, "aws_wafv2_web_acl_logging_configuration")) == len(guarded)


@each
def test_a_wall_lets_the_senders_in_that_it_is_for(profile: str) -> None:
    """Gateways of plants live in clouds, send batches of more than 8 KB, and seldom name themselves."""
    for wall in every(profile, "aws_wafv2_web_acl"):
        counted = {
            override["name"]
            for rule in wall.get("rule")
            for override in rule["statement"].get("managed_rule_group_statement", {}).get("rule_action_override", [])
        }
        assert counted == {"HostingProviderIPList", "NoUserAgent_HEADER", "SizeRestrictions_BODY"}


@each
def test_a_stream_lies_between_ingest_and_work(profile: str) -> None:
    streams = every(profile, "aws_kinesis_stream")
    assert tuple(stream.get("shard_count") for stream in streams) == ROWS[profile].shards
    for stream in streams:
        assert (stream.get("retention_period"), stream.get("encryption_type")) == (24, "KMS")
        assert "IteratorAgeMilliseconds" in stream.get("shard_level_metrics")
    for _, container in containers(profile):
        assert told(container)["PENSTOCK_STREAM__URL"] == "kinesis://${aws_kinesis_stream.stream_bulk.name}"


# --- compute ------------------------------------------------------------------------------------------------------


@each
def test_its_tasks(profile: str) -> None:
    row = ROWS[profile]
    work = one(profile, "aws_ecs_task_definition", "work_definition")
    assert (work.get("cpu"), work.get("memory")) == row.work
    for service in every(profile, "aws_ecs_service"):
        network = service.get("network_configuration")
        assert service.get("desired_count") == row.tasks
        assert network["assign_public_ip"] is False
        assert all("network_private_" in subnet for subnet in network["subnets"])
        assert service.get("launch_type") == "FARGATE"
    assert all(target.get("max_capacity") > row.tasks for target in every(profile, "aws_appautoscaling_target"))


@each
def test_a_container_writes_to_nothing_but_its_own_data(profile: str) -> None:
    for role, container in containers(profile):
        assert container["readonlyRootFilesystem"] is True
        mounted = {each["containerPath"] for each in container["mountPoints"]}
        assert {"/data", "/tmp"} <= mounted  # the archive's writer needs somewhere for a segment
        assert ("/shared" in mounted) is (profile == "virginia" and role != "ingest")


@each
def test_workers_know_the_archive_and_everybody_where_data_must_stay(profile: str) -> None:
    row, found = ROWS[profile], dict(containers(profile))
    for container in found.values():
        assert told(container)["PENSTOCK_RESIDENCY"] == row.residency
        assert told(container)["AWS_REGION"] == row.region
    archive = {name: value for name, value in told(found["work"]).items() if name.startswith("PENSTOCK_ARCHIVE__")}
    assert archive == {
        "PENSTOCK_ARCHIVE__URL": "s3://${aws_s3_bucket.archive_archive.bucket}/readings",
        "PENSTOCK_ARCHIVE__REGION": row.region,
        "PENSTOCK_ARCHIVE__RETENTION": "governance",
        "PENSTOCK_ARCHIVE__RETENTION_DAYS": str(row.record_days),
        "PENSTOCK_ARCHIVE__STANDARD_DAYS": str(row.standard_days),
        "PENSTOCK_ARCHIVE__KMS_KEY": "${aws_kms_key.keys_archive.arn}",
    }


@each
def test_workers_alone_let_readings_leave_and_know_when(profile: str) -> None:
    names = ("PROCESS__WINDOW_DAYS", "STORE__KEEP_DAYS", "STORE__KEEP_CRITICAL_DAYS", "STORE__KEEP_MINUTES_DAYS")
    found = {role: told(container) for role, container in containers(profile)}
    assert tuple(int(found["work"][f"PENSTOCK_{name}"]) for name in names) == ROWS[profile].history_days
    for role in ("ingest", "serve"):
        assert not [name for name in found[role] if "KEEP" in name or "ARCHIVE" in name]


@each
def test_doors_follow_requests_and_workers_the_stream(profile: str) -> None:
    policies = {each.name: each for each in every(profile, "aws_appautoscaling_policy")}
    lanes = ("bulk", "critical")[: len(ROWS[profile].shards)]
    doors = [] if profile == "virginia" else ["ingest_scale_requests", "serve_scale_requests"]
    ages = [f"work_scale_{lane}_age" for lane in lanes]
    cpus = [f"{role}_scale_cpu" for role in ("ingest", "work", "serve")]
    assert sorted(policies) == sorted([*doors, *ages, *cpus, "work_scale_arrivals"])
    told_by = policies["work_scale_arrivals"].get("target_tracking_scaling_policy_configuration")
    names = {
        metric["metric_stat"]["metric"]["metric_name"]
        for metric in told_by["customized_metric_specification"]["metrics"]
        if "metric_stat" in metric
    }
    assert names == {"IncomingBytes", "RunningTaskCount"}


@each
def test_lateness_is_the_figure_that_kinesis_tells_of_this_way_of_reading(profile: str) -> None:
    """Where shards are pushed there is no iterator, and its age would never be told."""
    pushed = "PENSTOCK_STREAM__FAN_OUT" in told(dict(containers(profile))["work"])
    assert pushed is (profile == "virginia")
    wanted = "SubscribeToShardEvent.MillisBehindLatest" if pushed else "GetRecords.IteratorAgeMilliseconds"
    scaled = {
        each.get("target_tracking_scaling_policy_configuration", "customized_metric_specification", "metric_name")
        for each in every(profile, "aws_appautoscaling_policy")
        if each.name.endswith("_age")
    }
    alarmed = {
        each.get("metric_name")
        for each in every(profile, "aws_cloudwatch_metric_alarm")
        if each.name.endswith(("_late", "_loss"))
    }
    assert scaled == alarmed == {wanted}


@each
def test_who_changes_colour(profile: str) -> None:
    groups = every(profile, "aws_codedeploy_deployment_group")
    assert sorted(group.name for group in groups) == (
        ["release_ingest_group", "release_serve_group"] if profile == "virginia" else []
    )
    for group in groups:
        assert set(group.get("auto_rollback_configuration", "events")) == {
            "DEPLOYMENT_FAILURE",
            "DEPLOYMENT_STOP_ON_ALARM",
        }
        assert len(group.get("alarm_configuration", "alarms")) >= 2
        pair = group.get("load_balancer_info", "target_group_pair_info")
        assert len(pair["target_group"]) == 2
        assert pair["test_traffic_route"]["listener_arns"]
    rolling = [each for each in every(profile, "aws_ecs_service") if each.get("deployment_controller", "type") == "ECS"]
    assert len(rolling) == (1 if profile == "virginia" else 3)
    assert all(each.get("deployment_circuit_breaker") == {"enable": True, "rollback": True} for each in rolling)


def test_only_virginia_shares_files() -> None:
    assert [name for name in PROFILES if every(name, "aws_efs_file_system")] == ["virginia"]
    assert one("virginia", "aws_efs_file_system").get("encrypted") is True
    assert len(every("virginia", "aws_efs_mount_target")) == 3
    for role in ("work", "serve"):
        (volume,) = (
            each["efs_volume_configuration"]
            for each in one("virginia", "aws_ecs_task_definition", f"{role}_definition").get("volume")
            if each["name"] == "shared"
        )
        assert volume["transit_encryption"] == "ENABLED"


@each
def test_an_image_repository_of_its_own(profile: str) -> None:
    repository = one(profile, "aws_ecr_repository")
    assert repository.get("image_tag_mutability") == "IMMUTABLE"
    assert all(
        "${aws_ecr_repository.tasks_repository.repository_url}" in one["image"] for _, one in containers(profile)
    )


# --- cache, database, secrets -------------------------------------------------------------------------------------


@each
def test_redis_fails_over_and_speaks_tls(profile: str) -> None:
    redis = one(profile, "aws_elasticache_replication_group")
    assert redis.get("engine_version") == "7.1"
    assert redis.get("num_cache_clusters") >= 2
    assert redis.get("automatic_failover_enabled") is redis.get("multi_az_enabled") is True
    assert redis.get("transit_encryption_enabled") is True
    assert all("network_private_" in one for one in one_subnets(profile, "aws_elasticache_subnet_group"))
    assert redis.get("user_group_ids")
    for _, container in containers(profile):
        assert told(container)["PENSTOCK_CACHE__URL"].startswith("rediss://")


def one_subnets(profile: str, kind: str) -> list[str]:
    found: list[str] = one(profile, kind).get("subnet_ids")
    return found


@RDS
def test_postgresql_at_rds(profile: str) -> None:
    database = one(profile, "aws_db_instance")
    assert (database.get("storage_type"), database.get("allocated_storage")) == ("gp3", 20)
    assert database.get("multi_az") is True
    assert database.get("backup_retention_period") == 7
    assert "postgresql" in database.get("enabled_cloudwatch_logs_exports")
    assert not every(profile, "aws_rds_cluster")


@AURORA
def test_postgresql_at_aurora(profile: str) -> None:
    cluster, instances = one(profile, "aws_rds_cluster"), every(profile, "aws_rds_cluster_instance")
    assert len(instances) == 2
    assert {each.get("instance_class") for each in instances} == {"db.serverless"}
    capacity = cluster.get("serverlessv2_scaling_configuration")
    assert capacity == ({"min_capacity": 0.5, "max_capacity": 1} if profile == "montreal" else capacity)
    assert cluster.get("enable_http_endpoint") is (profile == "montreal")
    assert not every(profile, "aws_db_instance")


@each
def test_no_database_is_public_and_its_master_is_kept_by_rds(profile: str) -> None:
    assert all("network_private_" in one for one in one_subnets(profile, "aws_db_subnet_group"))
    for database in every(profile, "aws_db_instance", "aws_rds_cluster_instance"):
        assert database.get("publicly_accessible") is False
    for database in every(profile, "aws_db_instance", "aws_rds_cluster"):
        assert database.get("manage_master_user_password") is True
        assert database.get("storage_encrypted") is True
        assert database.get("skip_final_snapshot") is True


@each
def test_the_login_is_long_turns_over_every_month_and_is_told_by_its_arn(profile: str) -> None:
    random = kept(profile)["ephemeral"]["aws_secretsmanager_random_password"]["login"]
    assert random["password_length"] >= 32
    schedule = one(profile, "aws_secretsmanager_secret_rotation")
    assert schedule.get("rotation_rules", "automatically_after_days") == 30
    function = one(profile, "aws_lambda_function")
    assert all("network_private_" in subnet for subnet in function.get("vpc_config", "subnet_ids"))
    assert function.get("dead_letter_config", "target_arn") == "${aws_sqs_queue.secrets_dead_letters.arn}"
    for _, container in containers(profile):
        url = told(container)["PENSTOCK_STORE__URL"]
        assert url.endswith("credentials=secret://${aws_secretsmanager_secret.secrets_login.arn}")
        assert "sslmode=verify-full" in url
        assert not container.get("secrets")


# --- retention ----------------------------------------------------------------------------------------------------


@each
def test_the_record_is_locked_and_backed_up_for_as_long_as_it_is_promised(profile: str) -> None:
    row = ROWS[profile]
    lock = one(profile, "aws_s3_bucket_object_lock_configuration").get("rule", "default_retention")
    assert lock == {"mode": "GOVERNANCE", "days": row.record_days}
    archive = one(profile, "aws_s3_bucket", "archive_archive")
    assert archive.get("object_lock_enabled") is True
    assert not archive.get("force_destroy")
    rule = one(profile, "aws_backup_plan").get("rule")[0]
    assert (rule["schedule"], rule["lifecycle"]["delete_after"]) == (row.backups, row.record_days)
    assert one(profile, "aws_backup_vault_lock_configuration").get("max_retention_days") == row.record_days
    kept_whole = one(profile, "aws_backup_selection").get("resources")
    assert len(kept_whole) == (2 if profile == "virginia" else 1)


@each
def test_files_of_the_archive_grow_colder_and_go_after_their_lock(profile: str) -> None:
    row = ROWS[profile]
    rules = one(profile, "aws_s3_bucket_lifecycle_configuration", "archive_archive_life").get("rule")
    *expiring, unfinished = rules
    found = {rule["filter"][0]["prefix"]: rule for rule in expiring}
    locked = {"readings/day=": row.record_days, "readings/standard/": row.standard_days}
    locked = locked if row.standard_days else {"": row.record_days}
    assert {prefix: rule["expiration"][0]["days"] - 30 for prefix, rule in found.items()} == locked
    cold = [(90, "STANDARD_IA"), (365, "GLACIER_IR")]
    moved = {2_557: cold, 365: cold[:1], 92: []}  # to no place that is paid for beyond the lock
    for prefix, rule in found.items():
        assert [(to["days"], to["storage_class"]) for to in rule["transition"]] == moved[locked[prefix]]
        assert rule["noncurrent_version_expiration"][0]["noncurrent_days"] == (1 if "standard" in prefix else 30)
        assert rule["status"] == "Enabled"
    assert (unfinished["status"], unfinished["filter"]) == ("Enabled", [{"prefix": ""}])
    assert unfinished["abort_incomplete_multipart_upload"] == [{"days_after_initiation": 7}]


def test_every_file_of_virginia_falls_under_the_rule_of_its_class() -> None:
    *rules, _ = one("virginia", "aws_s3_bucket_lifecycle_configuration", "archive_archive_life").get("rule")
    day, sha256 = date(2026, 11, 20), bytes(32)
    keys = {
        manifest_key(day, 1, sha256): "keep",
        object_key(day, 1, 1, sha256, ArchiveClass.CRITICAL): "keep",
        object_key(day, 1, 1, sha256): "keep",
        object_key(day, 1, 1, sha256, ArchiveClass.STANDARD): "standard",
    }
    for key, wanted in keys.items():
        assert [rule["id"] for rule in rules if f"readings/{key}".startswith(rule["filter"][0]["prefix"])] == [wanted]


@each
def test_a_named_role_may_lift_the_lock(profile: str) -> None:
    lifts = [
        policy.name
        for policy, statement in stack(profile).statements("aws_iam_role_policy")
        if "s3:BypassGovernanceRetention" in statement["Action"]
    ]
    assert lifts == ["archive_lifter_policy"]


# --- watch --------------------------------------------------------------------------------------------------------

WATCHED = {
    "AWS/ApplicationELB", "AWS/CertificateManager", "AWS/Kinesis", "AWS/ECS", "ECS/ContainerInsights",
    "AWS/ElastiCache", "AWS/RDS", "AWS/Lambda", "AWS/SQS", "AWS/Backup", "AWS/WAFV2", "Penstock",
}  # fmt: skip


@each
def test_an_alarm_watches_every_component(profile: str) -> None:
    row, alarms = ROWS[profile], every(profile, "aws_cloudwatch_metric_alarm")
    wanted = WATCHED | ({"AWS/ApiGateway", "AWS/NetworkELB"} if row.routes else set())
    wanted |= {"AWS/NATGateway"} if row.gateways else set()
    wanted |= {"AWS/EFS"} if profile == "virginia" else set()
    assert {alarm.get("namespace") for alarm in alarms} == wanted
    for alarm in alarms:
        assert alarm.get("alarm_actions") == ["${aws_sns_topic.watch_topic.arn}"]
        assert alarm.get("alarm_description")


@each
def test_every_service_target_lane_and_node_has_alarms_of_its_own(profile: str) -> None:
    names = {alarm.name for alarm in every(profile, "aws_cloudwatch_metric_alarm")}
    for role in ("ingest", "work", "serve"):
        assert {f"watch_alarm_{role}_{what}" for what in ("missing", "cpu", "memory", "errors")} <= names
    for lane in ("bulk", "critical")[: len(ROWS[profile].shards)]:
        assert {f"watch_alarm_{lane}_{what}" for what in ("late", "loss", "full", "crowded")} <= names
    for node in (1, 2):
        assert {f"watch_alarm_redis_{node}_{what}" for what in ("memory", "cpu", "evictions")} <= names
    watched = {
        alarm.get("dimensions", "TargetGroup")
        for alarm in every(profile, "aws_cloudwatch_metric_alarm")
        if alarm.get("metric_name") == "UnHealthyHostCount"
    }
    assert watched == {f"${{{group.where}.arn_suffix}}" for group in every(profile, "aws_lb_target_group")}


@each
def test_errors_that_a_role_logs_are_counted_and_told(profile: str) -> None:
    filters = every(profile, "aws_cloudwatch_log_metric_filter")
    counted = {each.get("metric_transformation", "name"): each.get("log_group_name") for each in filters}
    told_of = {
        alarm.get("metric_name")
        for alarm in every(profile, "aws_cloudwatch_metric_alarm")
        if alarm.get("namespace") == "Penstock"
    }
    assert set(counted) == told_of
    assert set(counted.values()) == {
        f"${{aws_cloudwatch_log_group.logs_{role}.name}}" for role in ("ingest", "work", "serve")
    }


@each
def test_everything_logs_under_a_key_and_not_for_ever(profile: str) -> None:
    groups = every(profile, "aws_cloudwatch_log_group")
    assert {group.get("retention_in_days") for group in groups} == {ROWS[profile].log_days}
    assert {group.get("kms_key_id") for group in groups} == {"${aws_kms_key.keys_data.arn}"}
    components = {group.get("tags", "Component") for group in groups}
    assert components >= {"ingest", "work", "serve", "flow", "redis", "rotation", "containers"}
    assert any(component.startswith(("postgres", "aurora")) for component in components)
    assert one(profile, "aws_flow_log").get("traffic_type") in {"REJECT", "ALL"}


@each
def test_a_dashboard_shows_what_the_alarms_watch(profile: str) -> None:
    body = json.loads(one(profile, "aws_cloudwatch_dashboard").get("dashboard_body"))
    assert len(body["widgets"]) == len(every(profile, "aws_cloudwatch_metric_alarm"))


def test_virginia_is_traced_end_to_end() -> None:
    """A collector stands beside every task; API Gateway and the function are traced by AWS."""
    beside = [one["name"] for _, one in stack("virginia").containers() if not one["essential"]]
    assert beside == ["collector"] * 3
    assert one("virginia", "aws_api_gateway_stage").get("xray_tracing_enabled") is True
    assert one("virginia", "aws_lambda_function").get("tracing_config", "mode") == "Active"


# --- everywhere ---------------------------------------------------------------------------------------------------


@each
def test_everything_says_whose_it_is(profile: str) -> None:
    tags = stack(profile).default_tags()
    assert (tags["Environment"], tags["Project"], tags["ManagedBy"]) == ("prod", "penstock", "penstock")


@each
def test_nothing_is_kept_from_being_destroyed(profile: str) -> None:
    text = json.dumps(kept(profile))
    for guard in ("prevent_destroy", '"deletion_protection": true', '"enable_deletion_protection": true'):
        assert guard not in text


@each
def test_every_task_has_a_role_of_its_own(profile: str) -> None:
    tasks = every(profile, "aws_ecs_task_definition")
    assert len({task.get("task_role_arn") for task in tasks}) == len(tasks) == 3


@each
def test_what_the_profile_says_is_what_the_row_says(profile: str) -> None:
    found, row = read_deployment(profile), ROWS[profile]
    assert (found.region, found.residency) == (row.region, row.residency)
    assert found.watch.tracing is (profile == "virginia")
    if profile == "virginia":
        assert (found.stream.peak_readings_per_s, found.watch.latency_ms) == (100_000, 500)
    if row.routes:
        assert found.api.requests_per_minute == 10_000
