"""Each rule finds what was planted, says how to mend it, and finds nothing in the five stacks."""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from infra.snapshot import kept
from penstock.errors import Misconfigured
from penstock.infra.reading import PROFILES, read_deployment
from penstock.infra.rules import RULES, check, find
from penstock.infra.rules.template import Template

Stack = dict[str, Any]
Plant = Callable[[dict[str, Any]], None]


def only(stack: Stack, kind: str, name: str = "") -> dict[str, Any]:
    """The arguments of one resource."""
    named: dict[str, Any] = stack["resource"][kind]
    return named[name] if name else next(iter(named.values()))


def container(stack: Stack, role: str, change: Callable[[dict[str, Any]], None]) -> None:
    task = only(stack, "aws_ecs_task_definition", f"{role}_definition")
    containers = json.loads(task["container_definitions"])
    change(containers[0])
    task["container_definitions"] = json.dumps(containers)


def tell(stack: Stack, role: str, name: str, value: str) -> None:
    def change(one: dict[str, Any]) -> None:
        one["environment"] = [
            *(each for each in one["environment"] if each["name"] != name),
            {"name": name, "value": value},
        ]

    container(stack, role, change)


def allow(stack: Stack, name: str, action: str, resource: str) -> None:
    policy = only(stack, "aws_iam_role_policy", name)
    document = json.loads(policy["policy"])
    document["Statement"].append({"Effect": "Allow", "Action": [action], "Resource": [resource]})
    policy["policy"] = json.dumps(document)


def forbid(stack: Stack, name: str, action: str) -> None:
    policy = only(stack, "aws_iam_role_policy", name)
    policy["policy"] = policy["policy"].replace(f'"{action}"', '"none:None"')


def put(kind: str, name: str, /, **arguments: Any) -> Plant:
    """Plant by setting arguments of one resource."""
    return lambda stack: only(stack, kind, name).update(arguments)


def drop(kind: str) -> Plant:
    """Plant by leaving out every resource of a kind."""
    return lambda stack: stack["resource"].pop(kind)


def output(stack: Stack) -> None:
    stack["output"]["redis"] = {"value": "${aws_elasticache_replication_group.r.configuration_endpoint_address}"}


def password(stack: Stack) -> None:
    stack["resource"]["random_password"] = {"db": {"length": 20}}


def timescale(stack: Stack) -> None:
    only(stack, "aws_rds_cluster_parameter_group")["parameter"].append(
        {"name": "shared_preload_libraries", "value": "timescaledb"}
    )


def audit(stack: Stack) -> None:
    only(stack, "aws_cloudwatch_log_group", "logs_api")["name"] = "/penstock/virginia-audit-logs-prod-main"


def backup_days(stack: Stack) -> None:
    only(stack, "aws_backup_plan")["rule"][0]["lifecycle"]["delete_after"] = 35


def compliance(stack: Stack) -> None:
    only(stack, "aws_s3_bucket_object_lock_configuration")["rule"]["default_retention"]["mode"] = "COMPLIANCE"


def short_lock(stack: Stack) -> None:
    only(stack, "aws_s3_bucket_object_lock_configuration")["rule"]["default_retention"]["days"] = 30


def lives(stack: Stack) -> list[dict[str, Any]]:
    """Rules of the archive's files: critical ones, others."""
    found: list[dict[str, Any]] = only(stack, "aws_s3_bucket_lifecycle_configuration", "archive_archive_life")["rule"]
    return found


def short_life(stack: Stack) -> None:
    lives(stack)[0]["expiration"] = [{"days": 365}]


def short_standard_life(stack: Stack) -> None:
    lives(stack)[1]["expiration"] = [{"days": 91}]


def one_short_life_for_all(stack: Stack) -> None:
    lives(stack)[1]["filter"] = [{"prefix": ""}]


def early_move(stack: Stack) -> None:
    lives(stack)[1]["transition"] = [{"days": 63, "storage_class": "STANDARD_IA"}]


def no_standard_life(stack: Stack) -> None:
    del lives(stack)[1]


def tagless(stack: Stack) -> None:
    del stack["provider"]["aws"][0]["default_tags"][0]["tags"]["Environment"]


def one_role(stack: Stack) -> None:
    role = only(stack, "aws_ecs_task_definition", "work_definition")["task_role_arn"]
    only(stack, "aws_ecs_task_definition", "serve_definition")["task_role_arn"] = role


def stranger(stack: Stack) -> None:
    policy = only(stack, "aws_sns_topic_policy", "watch_topic_policy")
    policy["policy"] = policy["policy"].replace("aws:SourceAccount", "aws:PrincipalTag/any")


def anybody(stack: Stack) -> None:
    role = only(stack, "aws_iam_role", "work_task_role")
    role["assume_role_policy"] = role["assume_role_policy"].replace("aws:SourceAccount", "aws:PrincipalTag/any")


def public_task(stack: Stack) -> None:
    only(stack, "aws_ecs_service", "work_service")["network_configuration"]["assign_public_ip"] = True


def public_cache(stack: Stack) -> None:
    only(stack, "aws_elasticache_subnet_group")["subnet_ids"] = ["${aws_subnet.network_public_a.id}"]


def plain_files(stack: Stack) -> None:
    volume = only(stack, "aws_ecs_task_definition", "work_definition")["volume"][-1]
    volume["efs_volume_configuration"]["transit_encryption"] = "DISABLED"


def wrong_health(stack: Stack) -> None:
    only(stack, "aws_lb_target_group", "door_ingest_blue")["health_check"]["path"] = "/"


def elsewhere(stack: Stack) -> None:
    stack["provider"]["aws"][0]["region"] = "eu-central-1"


def logless(stack: Stack) -> None:
    only(stack, "aws_lb", "door_balancer")["access_logs"]["enabled"] = False


def world(stack: Stack) -> None:
    stack["resource"]["aws_vpc_security_group_ingress_rule"]["oops"] = {
        "security_group_id": "${aws_security_group.network_group_cache.id}",
        "cidr_ipv4": "10.0.0.0/16",
        "from_port": 6379,
    }


def wide_egress(stack: Stack) -> None:
    only(stack, "aws_vpc_security_group_egress_rule", "network_work_to_aws")["from_port"] = 0


def unhealthy(stack: Stack) -> None:
    container(stack, "work", lambda one: one.pop("healthCheck"))


PLANTED: list[tuple[str, str, Plant]] = [
    ("D1", "primary_endpoint_address", output),
    ("D2", "api_key_required", put("aws_api_gateway_method", "api_read_method", api_key_required=False)),
    ("D2", "VPC_LINK", put("aws_api_gateway_integration", "api_read_integration", type="MOCK")),
    ("D3", "delete_after", backup_days),
    ("D3", "backup_days", put("aws_rds_cluster", "store_aurora", backup_retention_period=0)),
    ("D3", "database in Backups", drop("aws_backup_selection")),
    ("D4", "force_destroy", put("aws_s3_bucket", "archive_archive", force_destroy=True)),
    ("D4", "archive.retention", compliance),
    ("D4", "archive.retention", short_lock),
    ("D4", "expire objects", short_life),
    ("D4", "expire objects", short_standard_life),
    ("D4", "expire objects", one_short_life_for_all),
    ("D4", "capacity.archive.moves", early_move),
    ("D4", "give it a rule", no_standard_life),
    ("D4", "ephemeral", put("aws_backup_vault", "backups_vault", force_destroy=True)),
    ("D5", "--set stream.shards=", put("aws_kinesis_stream", "stream_bulk", shard_count=2)),
    (
        "D6",
        "POST /v1/readings",
        put("aws_api_gateway_integration", "api_read_integration", integration_http_method="POST"),
    ),
    ("D7", "choose a region", elsewhere),
    ("D8", "ephemeral", password),
    ("D8", "secret_string_wo", put("aws_rds_cluster", "store_aurora", master_password="hunter2hunter2")),
    (
        "D8",
        "secret_string_wo",
        put("aws_secretsmanager_secret_version", "secrets_login_first", secret_string='{"a": 1}'),
    ),
    (
        "D8",
        "secret://",
        lambda stack: tell(stack, "work", "PENSTOCK_STORE__URL", "postgresql://u:p@h/d?sslmode=verify-full"),
    ),
    ("D8", "secret://", lambda stack: tell(stack, "work", "DB_PASSWORD", "hunter2")),
    (
        "D8",
        "secret://",
        lambda stack: container(stack, "work", lambda one: one.update(secrets=[{"name": "A", "valueFrom": "arn"}])),
    ),
    ("D9", "assign_public_ip", public_task),
    ("D9", "private_ids", public_cache),
    ("D9", "Network.allow", world),
    ("D9", "Network.allow", wide_egress),
    ("D9", "publicly_accessible", put("aws_rds_cluster_instance", "store_aurora_0", publicly_accessible=True)),
    ("D9", "Network.allow", put("aws_security_group", "network_group_work", ingress=[{"from_port": 0}])),
    ("D10", "name the actions", lambda stack: allow(stack, "work_task_policy", "kinesis:*", "arn")),
    ("D10", "name the resource", lambda stack: allow(stack, "work_task_policy", "s3:GetObject", "*")),
    (
        "D10",
        "name the resource",
        lambda stack: allow(stack, "work_task_policy", "sqs:SendMessage", "arn:aws:sqs:r:a:*"),
    ),
    ("D10", "PassedToService", lambda stack: allow(stack, "work_task_policy", "iam:PassRole", "arn")),
    ("D10", "stack.py", lambda stack: forbid(stack, "ingest_task_policy", "kms:GenerateDataKey")),
    ("D10", "SourceAccount", stranger),
    ("D11", "buckets.writes()", lambda stack: forbid(stack, "work_task_policy", "s3:PutObject")),
    (
        "D12",
        "own image",
        lambda stack: container(stack, "work", lambda one: one.update(image="public.ecr.aws/nginx/nginx")),
    ),
    ("D12", "healthCheck", unhealthy),
    ("D12", "/readyz/ingest", wrong_health),
    ("D13", "retention_in_days", put("aws_cloudwatch_log_group", "logs_api", retention_in_days=0)),
    ("D13", "archive", audit),
    ("D14", "plain tables", timescale),
    ("stream", "kinesis://", lambda stack: tell(stack, "ingest", "PENSTOCK_STREAM__URL", "log:/data/stream")),
    ("stream", "/data", lambda stack: tell(stack, "work", "PENSTOCK_DATA", "/shared/data")),
    ("destroy", "turn it off", put("aws_rds_cluster", "store_aurora", deletion_protection=True)),
    ("destroy", "skip_final_snapshot", put("aws_rds_cluster", "store_aurora", skip_final_snapshot=False)),
    ("destroy", "force_delete", put("aws_ecr_repository", "tasks_repository", force_delete=False)),
    ("names", "names(", put("aws_iam_role", "work_task_role", name="worker")),
    ("tags", "stack.py", tagless),
    ("roles", "one for each", one_role),
    ("roles", "policy.trust", anybody),
    (
        "roles",
        "our own",
        put(
            "aws_iam_role_policy_attachment",
            "backups_role_policy",
            policy_arn="arn:aws:iam::aws:policy/AdministratorAccess",
        ),
    ),
    ("encryption", "keys.data", put("aws_cloudwatch_log_group", "logs_api", kms_key_id=None)),
    ("encryption", "storage_encrypted", put("aws_rds_cluster", "store_aurora", storage_encrypted=False)),
    ("encryption", "encryption configuration", drop("aws_s3_bucket_server_side_encryption_configuration")),
    ("tls", "protocol=HTTPS", put("aws_lb_target_group", "door_ingest_blue", protocol="HTTP")),
    ("tls", "certificate", put("aws_lb_listener", "door_main", protocol="HTTP")),
    ("tls", "force_ssl", put("aws_rds_cluster_parameter_group", "store_parameters", parameter=[])),
    ("tls", "transit_encryption", plain_files),
    ("tls", "rediss://", lambda stack: tell(stack, "work", "PENSTOCK_CACHE__URL", "redis://cache")),
    ("tls", "verify-full", lambda stack: tell(stack, "work", "PENSTOCK_STORE__URL", "postgresql://h/d")),
    ("containers", "user", lambda stack: container(stack, "work", lambda one: one.update(user="root"))),
    (
        "containers",
        "readonlyRoot",
        lambda stack: container(stack, "work", lambda one: one.pop("readonlyRootFilesystem")),
    ),
    ("containers", "stopTimeout=30", lambda stack: container(stack, "work", lambda one: one.update(stopTimeout=2))),
    ("containers", "logConf", lambda stack: container(stack, "work", lambda one: one.pop("logConfiguration"))),
    ("doors", "Wall", drop("aws_wafv2_web_acl_association")),
    ("doors", "access_logs", logless),
]


@pytest.mark.parametrize("profile", PROFILES)
def test_the_rules_find_nothing_in_a_profile(profile: str) -> None:
    assert find(kept(profile), read_deployment(profile)) == []


@pytest.mark.parametrize(("rule", "mend", "plant"), PLANTED, ids=[f"{n}-{one[0]}" for n, one in enumerate(PLANTED)])
def test_a_rule_finds_what_was_planted_and_says_how_to_mend_it(rule: str, mend: str, plant: Plant) -> None:
    stack = copy.deepcopy(kept("virginia"))
    plant(stack)
    found = find(stack, read_deployment("virginia"))
    assert [one for one in found if one.rule == rule and mend in one.mend], found
    with pytest.raises(Misconfigured, match=rule):
        check(stack, read_deployment("virginia"))


def test_every_known_defect_has_a_planted_one() -> None:
    assert {f"D{number}" for number in range(1, 15)} <= {rule for rule, _, _ in PLANTED}


def test_every_rule_is_broken_by_something_planted() -> None:
    virginia = read_deployment("virginia")
    silent = set(RULES)
    for _, _, plant in PLANTED:
        stack = copy.deepcopy(kept("virginia"))
        plant(stack)
        silent = {rule for rule in silent if not list(rule(Template(stack), virginia))}
    assert silent == set()


def test_a_private_door_that_faces_the_internet_is_found() -> None:
    stack = copy.deepcopy(kept("montreal"))
    only(stack, "aws_lb", "door_balancer")["internal"] = False
    assert any("internal=True" in one.mend for one in find(stack, read_deployment("montreal")))


def test_what_an_ephemeral_deployment_would_leave_is_found() -> None:
    found = find(kept("montreal"), read_deployment("montreal", environment="dev"))
    assert {one.rule for one in found} >= {"D4", "names"}
