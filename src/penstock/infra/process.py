"""`penstock work` as a task: takes readings from the stream, judges them, stores them."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from penstock.capacity import measured
from penstock.infra import history
from penstock.infra.description import Deployment
from penstock.infra.ports import WORKER
from penstock.infra.stream import NAMESPACE, Stream
from penstock.infra.tasks import Cluster, Role, Service

HEALTH: Final = f"http://127.0.0.1:{WORKER}/healthz"
BEHIND_MS: Final = 1_000
"""More workers while what they take next is older than this."""
CPU_UNITS: Final = 1_024
"""Of a virtual CPU."""


def work_role(deployment: Deployment, environment: Mapping[str, str], volumes: Sequence[Mapping[str, Any]]) -> Role:
    """Nothing reaches it from outside: its port is for the probe beside it."""
    return Role(
        name="work",
        command=["work", "--port", str(WORKER)],
        part=deployment.work,
        port=WORKER,
        health=HEALTH,
        environment={**environment, **history.environment(deployment)},
        volumes=volumes,
    )


def scale_on_age(service: Service, stream: Stream) -> None:
    """The oldest reading that waits in any shard says how many workers are needed."""
    for lane, one in stream.lanes:
        age = stream.age(one)
        metric: dict[str, Any] = {
            "customized_metric_specification": {
                "namespace": NAMESPACE,
                "metric_name": age.name,
                "statistic": "Maximum",
                "dimensions": _dimensions(age.dimensions),
            }
        }
        service.scale_on(f"{lane}-age", metric, BEHIND_MS)


def scale_on_arrivals(service: Service, stream: Stream, cluster: Cluster) -> None:
    """What the shards take in, shared among the workers: more of them before anything has to wait."""
    lanes = [lane for lane, _ in stream.lanes]
    arrivals = [_stat(lane, NAMESPACE, "IncomingBytes", "Sum", {"StreamName": one.name}) for lane, one in stream.lanes]
    of_service = {"ClusterName": cluster.cluster.name, "ServiceName": service.service.name}
    workers = _stat("workers", "ECS/ContainerInsights", "RunningTaskCount", "Average", of_service)
    each = {"id": "each", "label": "Bytes a worker", "expression": f"({' + '.join(lanes)}) / workers"}
    metrics = [*arrivals, workers, each | {"return_data": True}]
    service.scale_on(
        "arrivals", {"customized_metric_specification": {"metrics": metrics}}, _bytes_a_minute(service.deployment)
    )


def _bytes_a_minute(deployment: Deployment) -> int:
    """What one worker judges and stores with the share of its CPU that the planner counts on."""
    vcpus = deployment.work.cpu / CPU_UNITS * measured.LOAD_MAX
    readings_per_s = vcpus * 1e6 / (measured.WORK_US * measured.FARGATE_FACTOR)
    return int(readings_per_s * deployment.stream.bytes_per_reading * 60)


def _stat(ident: str, namespace: str, name: str, stat: str, dimensions: Mapping[str, str]) -> dict[str, Any]:
    metric = {"namespace": namespace, "metric_name": name, "dimensions": _dimensions(dimensions)}
    return {"id": ident, "metric_stat": {"metric": metric, "stat": stat}, "return_data": False}


def _dimensions(of: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in of.items()]
