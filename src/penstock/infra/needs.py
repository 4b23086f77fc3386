"""Which services of AWS are spoken to from inside the network, and which of them only a NAT gateway leads to."""

from collections.abc import Iterable
from typing import Final

from penstock.infra.description import Deployment

OF_TASKS: Final = ("s3", "ecr.api", "ecr.dkr", "logs", "secretsmanager", "kinesis-streams")
"""The image, the log, the login, the stream; the archive lies in S3, as images do."""
OF_TRACING: Final = ("xray", "ecr.public")
"""The collector, and the registry that its image comes from, which has no endpoint."""
OF_ROTATION: Final = ("secretsmanager",)
"""Lambda itself carries its logs, traces and dead letters."""
OWN_REGISTRY: Final = ".dkr.ecr."


def of_tasks(deployment: Deployment) -> tuple[str, ...]:
    """What a task speaks to, its start included."""
    elsewhere = deployment.image and OWN_REGISTRY not in deployment.image
    registry = (deployment.image.partition("/")[0],) if elsewhere else ()
    return OF_TASKS + registry + (OF_TRACING if deployment.watch.tracing else ())


def without_endpoint(deployment: Deployment, services: Iterable[str]) -> list[str]:
    """Those of *services* that are reached through a NAT gateway; S3 always has an endpoint."""
    return [one for one in services if one not in {"s3", *deployment.network.endpoints}]
