"""What a deployment needs in the account and not in Terraform's state: what has a secret half, or is shared by many."""

import json
import time
from collections.abc import Mapping
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError
from botocore.session import get_session

from penstock import __version__
from penstock.errors import Misconfigured, Unavailable
from penstock.infra.answers import DENIED, asking, code_of, translated
from penstock.infra.description import Deployment
from penstock.infra.policy import trust
from penstock.infra.ports import TASK

LOG_ROLE: Final = "penstock-apigateway-logs"
LOG_POLICY: Final = "arn:aws:iam::aws:policy/service-role/AmazonAPIGatewayPushToCloudWatchLogs"
UNKNOWN_ROLE: Final = "BadRequestException"
"""What API Gateway says of a role that IAM has not told it of."""
ROLE_WAIT_S: Final = 30
LOOK_S: Final = 2
NO_USER: Final = frozenset({"ValidationError", "NoSuchEntity"})
"""What IAM says when it is asked for the devices of somebody who is no user of it."""


class Account:
    """The AWS account that a deployment is made in."""

    def __init__(self, deployment: Deployment, credentials: Mapping[str, str] | None = None) -> None:
        """As whom the AWS CLI would be, or with the *credentials* of a role that was taken on."""
        self._deployment = deployment
        self._session = get_session()
        if credentials:
            self._session.set_credentials(
                credentials["AccessKeyId"], credentials["SecretAccessKey"], credentials["SessionToken"]
            )

    def client(self, service: str) -> Any:
        """A client in the deployment's region."""
        return self._session.create_client(service, region_name=self._deployment.region)

    @asking("learn from AWS who we are")
    def check(self) -> str:
        """The account's number. Raises Misconfigured when AWS does not know us, Unavailable when it does not answer."""
        number: str = self.client("sts").get_caller_identity()["Account"]
        return number

    @asking("look whether the plant stands")
    def stands(self) -> bool:
        """Whether something of this name runs here, whoever made it."""
        name = self._deployment.names("tasks", "cluster")
        found = self.client("ecs").describe_clusters(clusters=[name])["clusters"]
        return any(one["status"] == "ACTIVE" for one in found)

    @asking("look for the image's repository")
    def repository(self) -> str:
        """URL of the deployment's own repository; empty before it is made."""
        ecr, name = self.client("ecr"), self._deployment.names("penstock", "images")
        try:
            url: str = ecr.describe_repositories(repositoryNames=[name])["repositories"][0]["repositoryUri"]
        except ecr.exceptions.RepositoryNotFoundException:
            return ""
        return url

    @asking("look for the image")
    def has_image(self, reference: str) -> bool:
        """Whether *reference*, of the deployment's own repository, can be pulled. Raises Unavailable."""
        ecr, (url, wanted) = self.client("ecr"), image_id(reference)
        try:
            ecr.describe_images(repositoryName=url.partition("/")[2], imageIds=[wanted])
        except (ecr.exceptions.ImageNotFoundException, ecr.exceptions.RepositoryNotFoundException):
            return False
        return True

    def lifting(self, role: str, code: str = "", device: str = "") -> "Account":
        """The same account in the name of *role*; *code* is that of the second factor *device*.

        Raises Misconfigured when the role does not let us.
        """
        factor = {"SerialNumber": device, "TokenCode": code} if code else {}
        try:
            taken = self.client("sts").assume_role(RoleArn=role, RoleSessionName="penstock-destroy", **factor)
        except (BotoCoreError, ClientError) as error:
            if code_of(error) not in DENIED:
                raise translated(error, f"take on {role}") from error
            mend = (
                "--mfa CODE of your second factor, as an IAM user of this account who may take the role on; where a "
                "destroy was cut off and the role is gone, `penstock deploy` makes it again"
            )
            raise Misconfigured("archive", f"{role} does not let us ({error})", mend) from error
        return Account(self._deployment, taken["Credentials"])

    @asking("look for your second factor")
    def factor(self) -> str:
        """Serial of the second factor of who we are. Raises Misconfigured when there is none."""
        found: list[Any] = []
        try:
            found = self.client("iam").list_mfa_devices()["MFADevices"]
        except ClientError as error:
            if code_of(error) not in NO_USER:
                raise
        if not found:
            mend = "give your IAM user one; a login of a role or of SSO cannot show one to another role"
            raise Misconfigured("--mfa", "your login has no second factor that IAM knows", mend)
        serial: str = found[0]["SerialNumber"]
        return serial

    @asking("look for the metered clients' key")
    def known_key(self) -> str:
        """Id of the metered clients' key; empty before it is made."""
        return self._find_key(self._deployment.names("client", "key")) or ""

    @asking("make the metered clients' key")
    def api_key(self) -> str:
        """Id of the metered clients' key; made when there is none yet. Its value: `aws apigateway get-api-key`."""
        gateway, name = self.client("apigateway"), self._deployment.names("client", "key")
        found = self._find_key(name)
        made: str = found or gateway.create_api_key(name=name, enabled=True)["id"]
        return made

    @asking("meter the clients")
    def meter(self, key: str, plan: str) -> None:
        """Let the usage plan *plan* count what *key* sends."""
        gateway = self.client("apigateway")
        pages = gateway.get_paginator("get_usage_plan_keys").paginate(usagePlanId=plan)
        if all(one["id"] != key for page in pages for one in page["items"]):
            gateway.create_usage_plan_key(usagePlanId=plan, keyId=key, keyType="API_KEY")

    @asking("remove the metered clients' key")
    def drop_api_key(self) -> None:
        """The key goes with its deployment."""
        found = self._find_key(self._deployment.names("client", "key"))
        if found:
            self.client("apigateway").delete_api_key(apiKey=found)

    @asking("let API Gateway write logs")
    def let_gateways_log(self) -> None:
        """One setting for the whole account and region: made when nobody made it, and never taken away again."""
        gateway = self.client("apigateway")
        if gateway.get_account().get("cloudwatchRoleArn"):
            return
        operation = {"op": "replace", "path": "/cloudwatchRoleArn", "value": self._log_role()}
        until_s = time.monotonic() + ROLE_WAIT_S
        while not _is_taken(gateway, operation):
            if time.monotonic() > until_s:
                raise Unavailable(f"API Gateway does not take its log role {LOG_ROLE} yet. Mend: run it again")
            time.sleep(LOOK_S)

    def _log_role(self) -> str:
        iam = self.client("iam")
        try:
            arn: str = iam.get_role(RoleName=LOG_ROLE)["Role"]["Arn"]
        except iam.exceptions.NoSuchEntityException:
            trusted = trust("apigateway", self.check())
            arn = iam.create_role(RoleName=LOG_ROLE, AssumeRolePolicyDocument=trusted)["Role"]["Arn"]
        iam.attach_role_policy(RoleName=LOG_ROLE, PolicyArn=LOG_POLICY)  # also where a deploy was cut off before it
        return arn

    def _find_key(self, name: str) -> str | None:
        found = self.client("apigateway").get_api_keys(nameQuery=name)["items"]
        return next((one["id"] for one in found if one["name"] == name), None)


def _is_taken(gateway: Any, operation: Mapping[str, str]) -> bool:
    """Whether API Gateway does as it is told; a role made a moment ago is not known everywhere."""
    try:
        gateway.update_account(patchOperations=[operation])
    except ClientError as error:
        if code_of(error) != UNKNOWN_ROLE:
            raise
        return False
    return True


def image_of(deployment: Deployment, repository: str) -> str:
    """What the tasks run, when it is in *repository*; empty when it is somebody else's, of which we know nothing."""
    image = deployment.image or f"{repository}:{__version__}"
    return image if repository and image.startswith((f"{repository}:", f"{repository}@")) else ""


def image_id(reference: str) -> tuple[str, dict[str, str]]:
    """The repository's URL, and the image as ECR names it."""
    url, at, digest = reference.partition("@")
    if at:
        return url.rpartition(":")[0] or url, {"imageDigest": digest}
    url, _, tag = reference.rpartition(":")
    return url, {"imageTag": tag}


@asking("let the doors change colour")
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
