"""How doors change versions: blue beside green, a tenth of the traffic first, and back when an alarm rings."""

from collections.abc import Sequence
from typing import Any, Final

from constructs import Construct

from penstock.infra.description import Deployment
from penstock.infra.door import Door
from penstock.infra.policy import Statement, allow, document, trust
from penstock.infra.station import Station
from penstock.infra.tasks import Cluster, Service
from penstock.infra.terraform import aws

CANARY: Final = "CodeDeployDefault.ECSCanary10Percent5Minutes"
BLUE_STAYS_MINUTES: Final = 15
"""How long the old colour stands by after the new one has all traffic."""


class Release(Station):
    """CodeDeploy for the doors. Workers roll: leases make their hand-over safe."""

    def __init__(  # noqa: PLR0913, PLR0917  # it stands between all of them
        self,
        scope: Construct,
        deployment: Deployment,
        cluster: Cluster,
        door: Door,
        services: Sequence[Service],
        alarms: Sequence[Any],
    ) -> None:
        super().__init__(scope, "release", deployment)
        self._cluster, self._door = cluster, door
        self._alarms = list(alarms)
        self.role = aws.iam_role(
            self,
            "role",
            name=self.names("release", "role"),
            assume_role_policy=trust("codedeploy", cluster.account, *self._deployments(services)),
        )
        rights = aws.iam_role_policy(
            self, "policy", name="release", role=self.role.id, policy=document(*self._rights(services))
        )
        self.groups = {service.role.name: self._group(service, rights) for service in services}

    def _rights(self, services: Sequence[Service]) -> list[Statement]:
        """What shifting traffic takes; some of it knows no narrower resource."""
        ours, sets = self._of_cluster("service", services), self._of_cluster("task-set", services)
        places = {"ecs:cluster": self._cluster.cluster.arn, "ecs:service": ours}
        listeners, rules = self._door.shifted
        see = [
            "elasticloadbalancing:DescribeTargetGroups",
            "elasticloadbalancing:DescribeListeners",
            "elasticloadbalancing:DescribeRules",
        ]
        roles = [role.arn for service in services for role in (service.start, service.task)]
        return [
            allow(["ecs:DescribeServices", "ecs:UpdateServicePrimaryTaskSet"], *ours),
            allow(["ecs:CreateTaskSet"], "*", ArnEquals=places),
            allow(["ecs:DeleteTaskSet"], *(f"{one}/*" for one in sets)),
            allow(["cloudwatch:DescribeAlarms"], *(alarm.arn for alarm in self._alarms)),
            allow(["elasticloadbalancing:ModifyListener"], *listeners),
            allow(["elasticloadbalancing:ModifyRule"], *rules),
            allow(see, "*"),
            allow(["iam:PassRole"], *roles, StringEquals={"iam:PassedToService": "ecs-tasks.amazonaws.com"}),
        ]

    def _of_cluster(self, kind: str, services: Sequence[Service]) -> list[str]:
        prefix = f"arn:aws:ecs:{self.deployment.region}:{self._cluster.account}:{kind}"
        return [f"{prefix}/{self._cluster.cluster.name}/{service.service.name}" for service in services]

    def _deployments(self, services: Sequence[Service]) -> list[str]:
        """For which CodeDeploy may take the role on."""
        prefix = f"arn:aws:codedeploy:{self.deployment.region}:{self._cluster.account}:deploymentgroup"
        names = [self.names(service.role.name, "release") for service in services]
        return [f"{prefix}:{name}/{name}" for name in names]

    def _group(self, service: Service, rights: Any) -> Any:
        name = service.role.name
        app = aws.codedeploy_app(
            self,
            f"{name}-app",
            name=self.names(name, "release"),
            compute_platform="ECS",
            tags=self.called(name, "release"),
        )
        return aws.codedeploy_deployment_group(
            self,
            f"{name}-group",
            app_name=app.name,
            deployment_group_name=self.names(name, "release"),
            service_role_arn=self.role.arn,
            deployment_config_name=CANARY,
            auto_rollback_configuration={
                "enabled": True,
                "events": ["DEPLOYMENT_FAILURE", "DEPLOYMENT_STOP_ON_ALARM"],
            },
            alarm_configuration={"enabled": True, "alarms": [alarm.alarm_name for alarm in self._alarms]},
            deployment_style={"deployment_option": "WITH_TRAFFIC_CONTROL", "deployment_type": "BLUE_GREEN"},
            blue_green_deployment_config={
                "deployment_ready_option": {"action_on_timeout": "CONTINUE_DEPLOYMENT"},
                "terminate_blue_instances_on_deployment_success": {
                    "action": "TERMINATE",
                    "termination_wait_time_in_minutes": BLUE_STAYS_MINUTES,
                },
            },
            ecs_service={"cluster_name": self._cluster.cluster.name, "service_name": service.service.name},
            load_balancer_info={"target_group_pair_info": self._pair(name)},
            tags=self.called(name, "release"),
            depends_on=[rights],
        )

    def _pair(self, role: str) -> dict[str, Any]:
        return {
            "prod_traffic_route": {"listener_arns": [self._door.listener.arn]},
            "test_traffic_route": {"listener_arns": [test.arn for test in self._door.tests]},
            "target_group": [{"name": target.name} for target in self._door.targets[role]],
        }
