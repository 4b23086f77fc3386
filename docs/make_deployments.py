"""Writes docs/deployments/ from the stacks as they were last looked at: a page and a picture of each profile.

.venv/bin/python docs/make_deployments.py
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from draw_deployment import draw

HERE = Path(__file__).parent
FOLDER = HERE / "deployments"
STACKS = HERE.parent / "tests" / "infra" / "snapshots"
ROOMS = {
    "Network": "vpc subnet route route_table route_table_association internet_gateway eip nat_gateway vpc_endpoint "
    "network_acl network_acl_rule flow_log",
    "Who may speak to whom": "security_group default_security_group vpc_security_group_ingress_rule "
    "vpc_security_group_egress_rule iam_role iam_role_policy iam_role_policy_attachment",
    "Doors": "lb lb_listener lb_listener_rule lb_target_group lb_target_group_attachment acm_certificate wafv2_web_acl "
    "wafv2_web_acl_association wafv2_web_acl_logging_configuration route53_record acm_certificate_validation",
    "API Gateway": "api_gateway_*",
    "Stream": "kinesis_stream",
    "Tasks": "ecs_* ecr_* appautoscaling_* codedeploy_*",
    "Database": "db_* rds_*",
    "Redis": "elasticache_*",
    "Shared files": "efs_*",
    "Secrets": "secretsmanager_* lambda_function lambda_permission sqs_queue kms_key kms_alias",
    "Archive and backups": "s3_* backup_*",
    "Watch": "cloudwatch_* sns_*",
}
"""Kinds of resources by where a reader looks for them; `*` stands for the rest of a name."""
ABOUT = {
    "tokyo": "REST ingestion in Japan: a public load balancer, and API Gateway beside it for metered writers.",
    "london": "A European manufacturer's pipeline. London is not in the EU: its data stays in the UK; "
    "[frankfurt](frankfurt.md) is its twin inside the EU. Endpoints lead to all that its tasks speak to, so there is "
    "no NAT gateway and no way out.",
    "montreal": "API first and small: nothing of ours faces the internet but API Gateway; the database is sized by "
    "use. It opens `POST /sensor-data` and all of `/v1/…`, so alarms are acknowledged and keys are made through it. "
    "It hands on whole answers only: `/v1/live` does not stream through it, and the page is not reachable from "
    "outside. One task of each role is the least; `--set ingest.tasks_min=2` for two.",
    "virginia": "Sized for 100,000 readings a second, critical ones stored within half a second, kept for seven years; "
    "doors change versions blue/green; one batch is followed in X-Ray from the door over Kinesis to its commit. "
    "Nothing of this was measured on AWS.",
    "frankfurt": "[London](london.md)'s twin inside the EU, with seven years of record.",
}


def pages() -> Iterator[tuple[Path, str]]:
    """Every file that is made, and what it should hold."""
    for profile, about in ABOUT.items():
        stack = json.loads((STACKS / f"{profile}.json").read_text())
        yield FOLDER / f"{profile}.svg", draw(profile, stack)
        yield FOLDER / f"{profile}.md", page(profile, about, stack)


def page(profile: str, about: str, stack: dict[str, Any]) -> str:
    resources = {kind.removeprefix("aws_"): len(made) for kind, made in stack["resource"].items()}
    parts = [
        f"# {profile.capitalize()}",
        "Made by `docs/make_deployments.py` from the stack that tests compare with.",
        about,
        f"![What stands in {stack['provider']['aws'][0]['region']}, and how readings flow]({profile}.svg)",
        "Solid lines carry readings, dashed ones what serves them. Every line is TLS, everything at rest is under KMS.",
        f"```\npenstock synth {profile}\npenstock deploy {profile} --set door.domain=…\n"
        f"penstock destroy {profile} --set door.domain=…\n```",
        "What they do, and what was never verified: [deploy](../deploy.md). What it costs: [costs](../costs.md), "
        f"`penstock plan --profile {profile}`. Every value, with its default: "
        f"`src/penstock/infra/profiles/{profile}.toml` over `src/penstock/infra/description.py`.",
        "## Resources",
        f"{sum(resources.values())} resources of {len(resources)} kinds, as `prod`.",
        table(("of", "how many", "kinds"), inventory(resources)),
        "## Outputs",
        "`terraform output` in the stack's folder, and the last words of `penstock deploy`.",
        table(("output", "what it is"), ((f"`{name}`", why) for name, why in outputs(stack))),
    ]
    return "\n\n".join(parts) + "\n"


def inventory(resources: dict[str, int]) -> Iterator[tuple[str, str, str]]:
    """(room, how many, kinds) of every room that holds something. Raises LookupError for a kind without a room."""
    homes = {kind: room_of(kind) for kind in sorted(resources)}
    for room in ROOMS:
        held = {kind: resources[kind] for kind, home in homes.items() if home == room}
        if held:
            kinds = ", ".join(f"{kind} {count}" if count > 1 else kind for kind, count in held.items())
            yield room, str(sum(held.values())), kinds


def room_of(kind: str) -> str:
    for room, patterns in ROOMS.items():
        if any(kind == one or (one.endswith("*") and kind.startswith(one[:-1])) for one in patterns.split()):
            return room
    raise LookupError(f"aws_{kind} has no room in docs/make_deployments.py")


def outputs(stack: dict[str, Any]) -> list[tuple[str, str]]:
    return [(name, one["description"]) for name, one in stack["output"].items()]


def table(head: tuple[str, ...], rows: Any) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for path, text in pages():
        path.write_text(text)
