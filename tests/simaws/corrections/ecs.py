"""ECS: a service is read back as it was described."""

from typing import Any

from moto.ecs.models import EC2ContainerServiceBackend
from moto.ecs.responses import EC2ContainerServiceResponse

from simaws.patch import around

KEPT = {
    "healthCheckGracePeriodSeconds": "health_check_grace_period_seconds",
    "availabilityZoneRebalancing": "availability_zone_rebalancing",
    "enableExecuteCommand": "enable_execute_command",
    "enableECSManagedTags": "enable_ecs_managed_tags",
}
"""What a request says, and where the answer is taken from."""


def correct() -> None:
    @around(EC2ContainerServiceResponse, "create_service")
    def create(original: Any, response: Any) -> Any:
        answer = original(response)
        _keep(answer.result["service"], response._get_params())
        return answer

    @around(EC2ContainerServiceBackend, "update_service")
    def update(original: Any, backend: Any, given: dict[str, Any]) -> Any:
        service = original(backend, given)
        for name in KEPT.values():
            if name in given:
                setattr(service, name, given[name])
        return service


def _keep(service: Any, given: dict[str, Any]) -> None:
    service.availability_zone_rebalancing = "DISABLED"
    for asked, kept in KEPT.items():
        if asked in given:
            setattr(service, kept, given[asked])
