"""`penstock work` as a task: takes readings from the stream, judges them, stores them."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from penstock.infra.description import Deployment
from penstock.infra.ports import WORKER
from penstock.infra.stream import Stream
from penstock.infra.tasks import Role, Service

HEALTH: Final = f"http://127.0.0.1:{WORKER}/healthz"
BEHIND_MS: Final = 1_000
"""More workers while what they take next is older than this."""


def work_role(deployment: Deployment, environment: Mapping[str, str], volumes: Sequence[Mapping[str, Any]]) -> Role:
    """Nothing reaches it from outside: its port is for the probe beside it."""
    return Role(
        name="work",
        command=["work", "--port", str(WORKER)],
        part=deployment.work,
        port=WORKER,
        health=HEALTH,
        environment=environment,
        volumes=volumes,
    )


def scale_on_age(service: Service, stream: Stream) -> None:
    """The oldest reading that waits in any shard says how many workers are needed."""
    for lane, one in zip(("bulk", "critical"), stream.every, strict=False):
        metric: dict[str, Any] = {
            "customized_metric_specification": {
                "namespace": "AWS/Kinesis",
                "metric_name": "GetRecords.IteratorAgeMilliseconds",
                "statistic": "Maximum",
                "dimensions": [{"name": "StreamName", "value": one.name}],
            }
        }
        service.scale_on(f"{lane}-age", metric, BEHIND_MS)
