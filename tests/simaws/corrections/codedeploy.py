"""CodeDeploy: what was created can be deleted, and the alarms that stop a deployment are read back."""

from typing import Any

from moto.codedeploy import responses
from moto.codedeploy.responses import CodeDeployResponse
from moto.core.responses import ActionResult, EmptyResult

from simaws.patch import add, around


def correct() -> None:
    add(CodeDeployResponse, delete_application, delete_deployment_group)

    @around(responses, "_deployment_group_info")
    def told(original: Any, group: Any) -> dict[str, Any]:
        info: dict[str, Any] = original(group)
        return info | {"alarmConfiguration": group.alarm_configuration or {}}


def delete_application(response: Any) -> EmptyResult:
    name = response._get_param("applicationName")
    response.codedeploy_backend.applications.pop(name, None)
    response.codedeploy_backend.deployment_groups.pop(name, None)
    return EmptyResult()


def delete_deployment_group(response: Any) -> ActionResult:
    groups = response.codedeploy_backend.deployment_groups.get(response._get_param("applicationName"), {})
    groups.pop(response._get_param("deploymentGroupName"), None)
    return ActionResult({"hooksNotCleanedUp": []})
