"""What a deployment needs in the account and not in Terraform's state: what has a secret half, or is shared by many."""

import json
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError
from botocore.session import get_session

from penstock.errors import Misconfigured, Unavailable
from penstock.infra.description import Deployment
from penstock.infra.policy import trust
from penstock.infra.ports import TASK

LOG_ROLE: Final = "penstock-apigateway-logs"
LOG_POLICY: Final = "arn:aws:iam::aws:policy/service-role/AmazonAPIGatewayPushToCloudWatchLogs"


class Account:
    """The AWS account that a deployment is made in."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._session = get_session()

    def client(self, service: str) -> Any:
        """A client in the deployment's region."""
        return self._session.create_client(service, region_name=self._deployment.region)

    def check(self) -> str:
        """The account's number. Raises Misconfigured when AWS does not know us."""
        try:
            number: str = self.client("sts").get_caller_identity()["Account"]
        except (BotoCoreError, ClientError) as error:
            raise Misconfigured("aws", f"AWS does not know us ({error})", "sign in, as for the AWS CLI") from error
        return number

    def api_key(self) -> str:
        """Id of the metered clients' key; made when there is none yet. Its value: `aws apigateway get-api-key`."""
        gateway, name = self.client("apigateway"), self._deployment.names("client", "key")
        found = self._find_key(name)
        made: str = found or gateway.create_api_key(name=name, enabled=True)["id"]
        return made

    def meter(self, key: str, plan: str) -> None:
        """Let the usage plan *plan* count what *key* sends."""
        gateway = self.client("apigateway")
        known = gateway.get_usage_plan_keys(usagePlanId=plan)["items"]
        if all(one["id"] != key for one in known):
            gateway.create_usage_plan_key(usagePlanId=plan, keyId=key, keyType="API_KEY")

    def drop_api_key(self) -> None:
        """The key goes with its deployment."""
        found = self._find_key(self._deployment.names("client", "key"))
        if found:
            self.client("apigateway").delete_api_key(apiKey=found)

    def let_gateways_log(self) -> None:
        """One setting for the whole account and region: made when nobody made it, and never taken away again."""
        gateway = self.client("apigateway")
        if gateway.get_account().get("cloudwatchRoleArn"):
            return
        role = self._log_role()
        try:
            operation = {"op": "replace", "path": "/cloudwatchRoleArn", "value": role}
            gateway.update_account(patchOperations=[operation])
        except ClientError as error:
            raise Unavailable(f"API Gateway does not take its log role yet ({error}). Mend: run it again") from error

    def _log_role(self) -> str:
        iam = self.client("iam")
        try:
            arn: str = iam.get_role(RoleName=LOG_ROLE)["Role"]["Arn"]
        except iam.exceptions.NoSuchEntityException:
            trusted = trust("apigateway", self.check())
            arn = iam.create_role(RoleName=LOG_ROLE, AssumeRolePolicyDocument=trusted)["Role"]["Arn"]
            iam.attach_role_policy(RoleName=LOG_ROLE, PolicyArn=LOG_POLICY)
        return arn

    def _find_key(self, name: str) -> str | None:
        found = self.client("apigateway").get_api_keys(nameQuery=name)["items"]
        return next((one["id"] for one in found if one["name"] == name), None)


def release(account: Account, deployment: Deployment) -> list[str]:
    """Let doors change colour where their task definition changed. Returns the ids of what was started."""
    if deployment.release != "codedeploy":
        return []
    return [started for role in ("ingest", "serve") if (started := _release(account, deployment, role))]


def _release(account: Account, deployment: Deployment, role: str) -> str | None:
    names, ecs = deployment.names, account.client("ecs")
    service = ecs.describe_services(cluster=names("tasks", "cluster"), services=[names(role, "service")])["services"][0]
    newest = ecs.describe_task_definition(taskDefinition=names(role, "task"))["taskDefinition"]["taskDefinitionArn"]
    running = [one["taskDefinition"] for one in service.get("taskSets", []) if one["status"] == "PRIMARY"]
    if newest in running or newest == service.get("taskDefinition"):
        return None
    asked = account.client("codedeploy").create_deployment(
        applicationName=names(role, "release"),
        deploymentGroupName=names(role, "release"),
        revision={"revisionType": "AppSpecContent", "appSpecContent": {"content": app_spec(role, newest)}},
    )
    started: str = asked["deploymentId"]
    return started


def app_spec(role: str, task_definition: str) -> str:
    """What CodeDeploy is told: which definition, and which container takes the traffic."""
    properties = {
        "TaskDefinition": task_definition,
        "LoadBalancerInfo": {"ContainerName": role, "ContainerPort": TASK},
    }
    target = {"TargetService": {"Type": "AWS::ECS::Service", "Properties": properties}}
    return json.dumps({"version": 0.0, "Resources": [target]})
