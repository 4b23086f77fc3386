"""`penstock ingest` as a task: the writing door."""

from collections.abc import Mapping
from typing import Any, Final

from penstock.infra.description import Deployment
from penstock.infra.door import Door
from penstock.infra.ports import TASK
from penstock.infra.tasks import Role, Service

REQUESTS_PER_TASK: Final = 3_000
"""A minute; a task of a quarter CPU holds ten times as many small ones."""
HEALTH: Final = f"https://127.0.0.1:{TASK}/healthz"


def door_environment(deployment: Deployment) -> dict[str, str]:
    """What both doors are told: TLS of their own, and whose word about senders' addresses is good."""
    network = deployment.network
    subnets = network.public_cidrs if deployment.door.kind == "public" else network.private_cidrs
    return {"PENSTOCK_DOOR__TLS": "self", "PENSTOCK_DOOR__PROXIES": ",".join(map(str, subnets))}


def ingest_role(deployment: Deployment, door: Door, environment: Mapping[str, str]) -> Role:
    """Takes readings and answers when Kinesis has them."""
    return Role(
        name="ingest",
        command=["ingest", "--host", "0.0.0.0", "--port", str(TASK)],  # noqa: S104  # in a container
        part=deployment.ingest,
        port=TASK,
        health=HEALTH,
        environment={**environment, **door_environment(deployment), **_share(deployment)},
        targets=door.targets["ingest"],
    )


def scale_on_requests(service: Service, door: Door) -> None:
    """Blue/green changes the target group under way; there, tasks follow their CPU alone."""
    if service.blue_green:
        return
    label = f"{door.balancer.arn_suffix}/{service.role.targets[0].arn_suffix}"
    metric: dict[str, Any] = {
        "predefined_metric_specification": {
            "predefined_metric_type": "ALBRequestCountPerTarget",
            "resource_label": label,
        }
    }
    service.scale_on("requests", metric, REQUESTS_PER_TASK)


def _share(deployment: Deployment) -> dict[str, str]:
    """Without Redis, each door lets its part of the rate pass."""
    return {
        "PENSTOCK_DOOR__RATE": str(deployment.api.rate),
        "PENSTOCK_DOOR__BURST": str(deployment.api.burst),
        "PENSTOCK_DOOR__PROCESSES": str(deployment.ingest.tasks_min),
    }
