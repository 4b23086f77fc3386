"""From a plant that stands to its first reading: the very commands, with the names that it got."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from penstock.infra.account import Account
from penstock.infra.answers import asking
from penstock.infra.description import Deployment
from penstock.infra.spelling import KEY_ID, said


@asking("look how the tasks run")
def first_steps(account: Account, deployment: Deployment, outputs: Mapping[str, Any]) -> list[str]:
    """What to do now. Nothing outside reaches the database, so that a task makes the first key."""
    names, region = deployment.names, deployment.region
    cluster, service = names("tasks", "cluster"), names("serve", "service")
    (told,) = account.client("ecs").describe_services(cluster=cluster, services=[service])["services"]
    place = {"awsvpcConfiguration": _place(told)["awsvpcConfiguration"]}
    words = ["keys", "create", "--name", "first", "--role", "admin"]
    override = {"containerOverrides": [{"name": "serve", "command": words}]}
    return [
        "\nTasks start within some minutes. Then the first API key, which a task makes and writes to its log:",
        f"  aws ecs run-task --region {region} --cluster {cluster} --task-definition {names('serve', 'task')} "
        f"--launch-type FARGATE --network-configuration '{_plain(place)}' --overrides '{_plain(override)}'",
        f"  aws logs tail {_log_group(account, names('serve', 'task'))} --region {region} --since 10m --format short",
        "and the first reading:",
        f"  curl {_door(deployment, outputs)} -H 'Authorization: Bearer KEY' -H 'Content-Type: application/json' "
        f"-d '{_plain(_reading())}'",
    ]


def _door(deployment: Deployment, outputs: Mapping[str, Any]) -> str:
    """Where a reading goes in, as curl is told; a gateway meters first."""
    if deployment.door.kind == "public":
        return f"{said(outputs, 'door_url')}/v1/readings"
    key, region = said(outputs, KEY_ID), deployment.region
    read = f"aws apigateway get-api-key --region {region} --api-key {key} --include-value --query value --output text"
    return f'{said(outputs, "api_gateway_url").rstrip("/")}/sensor-data -H "x-api-key: $({read})"'


def _reading() -> list[dict[str, Any]]:
    return [{"tag": "site/line/press-1/temperature", "ts": datetime.now(UTC).isoformat(), "value": 21.5}]


def _place(service: Mapping[str, Any]) -> Any:
    """Subnets and groups of a service's tasks; those of blue/green lie in its task set."""
    return service.get("networkConfiguration") or service["taskSets"][0]["networkConfiguration"]


def _log_group(account: Account, family: str) -> str:
    told = account.client("ecs").describe_task_definition(taskDefinition=family)["taskDefinition"]
    (container,) = (one for one in told["containerDefinitions"] if one["essential"])
    group: str = container["logConfiguration"]["options"]["awslogs-group"]
    return group


def _plain(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))
