"""CodeDeploy: what was created can be deleted."""

from typing import Any

from moto.codedeploy.responses import CodeDeployResponse
from moto.core.responses import ActionResult, EmptyResult

from simaws.patch import add


def correct() -> None:
    add(CodeDeployResponse, delete_application, delete_deployment_group)


def delete_application(response: Any) -> EmptyResult:
    name = response._get_param("applicationName")
    response.codedeploy_backend.applications.pop(name, None)
    response.codedeploy_backend.deployment_groups.pop(name, None)
    return EmptyResult()


def delete_deployment_group(response: Any) -> ActionResult:
    groups = response.codedeploy_backend.deployment_groups.get(response._get_param("applicationName"), {})
    groups.pop(response._get_param("deploymentGroupName"), None)
    return ActionResult({"hooksNotCleanedUp": []})
