"""`penstock serve` as a task: the page, live values, history, alarms."""

from collections.abc import Mapping, Sequence
from typing import Any

from penstock.infra.description import Deployment
from penstock.infra.door import Door
from penstock.infra.ingest import HEALTH, door_environment
from penstock.infra.ports import TASK
from penstock.infra.tasks import Role


def serve_role(
    deployment: Deployment, door: Door, environment: Mapping[str, str], volumes: Sequence[Mapping[str, Any]]
) -> Role:
    """Answers people and systems."""
    return Role(
        name="serve",
        command=["serve", "--host", "0.0.0.0", "--port", str(TASK)],  # noqa: S104  # in a container
        part=deployment.serve,
        port=TASK,
        health=HEALTH,
        environment={**environment, **door_environment(deployment)},
        targets=door.targets["serve"],
        volumes=volumes,
    )
