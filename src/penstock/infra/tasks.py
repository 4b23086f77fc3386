"""Where containers run: the cluster, the image's repository, and one Fargate service for each role."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from constructs import Construct

from penstock import __version__
from penstock.infra.description import Deployment, TaskPart
from penstock.infra.files import USER
from penstock.infra.keys import Keys
from penstock.infra.network import Network
from penstock.infra.policy import Statement, allow, document, trust
from penstock.infra.station import Station
from penstock.infra.telemetry import Logs, collector, traced
from penstock.infra.terraform import aws

DATA: Final = "/data"
SHARED: Final = "/shared"
STOP_S: Final = 30
GRACE_S: Final = 60
CPU_PERCENT: Final = 60
IMAGES_KEPT: Final = 20
WRITABLE: Final = {"data": DATA, "tmp": "/tmp"}  # noqa: S108  # all that a container may write to
PULL: Final = (
    "ecr:BatchCheckLayerAvailability",
    "ecr:BatchGetImage",
    "ecr:GetDownloadUrlForLayer",
)


class Role(NamedTuple):
    """What tells one role's container from another's."""

    name: str
    command: Sequence[str]
    """The CLI's own words."""
    part: TaskPart
    port: int
    health: str
    """What the container itself is asked."""
    environment: Mapping[str, str]
    targets: Sequence[Any] = ()
    """Target groups of the door, the first of them live at first."""
    volumes: Sequence[Mapping[str, Any]] = ()
    """What it mounts at `/shared`."""


class Cluster(Station):
    """Shared by all roles."""

    def __init__(self, scope: Construct, deployment: Deployment, keys: Keys, logs: Logs) -> None:
        super().__init__(scope, "tasks", deployment)
        self.account = keys.account
        self.cluster = aws.ecs_cluster(
            self,
            "cluster",
            name=self.names("tasks", "cluster"),
            setting=[{"name": "containerInsights", "value": "enabled"}],
            tags=self.called("tasks", "cluster"),
            depends_on=[logs.of_containers()],
        )
        aws.ecs_cluster_capacity_providers(
            self,
            "capacity",
            cluster_name=self.cluster.name,
            capacity_providers=["FARGATE"],
            default_capacity_provider_strategy=[{"capacity_provider": "FARGATE", "weight": 1, "base": 1}],
        )
        self.repository = self._repository(keys)
        self.image = deployment.image or f"{self.repository.repository_url}:{__version__}"

    def _repository(self, keys: Keys) -> Any:
        repository = aws.ecr_repository(
            self,
            "repository",
            name=self.names("penstock", "images"),
            image_tag_mutability="IMMUTABLE",
            force_delete=True,
            image_scanning_configuration={"scan_on_push": True},
            encryption_configuration=[{"encryption_type": "KMS", "kms_key": keys.data.arn}],
            tags=self.called("penstock", "images"),
        )
        keep = {
            "rulePriority": 1,
            "description": "old images go",
            "selection": {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": IMAGES_KEPT},
            "action": {"type": "expire"},
        }
        aws.ecr_lifecycle_policy(self, "life", repository=repository.name, policy=json.dumps({"rules": [keep]}))
        return repository


class Service(Station):
    """One role: its definition, its rights, its tasks, and how many of them."""

    def __init__(  # noqa: PLR0913, PLR0917  # it stands between all of them
        self, scope: Construct, deployment: Deployment, network: Network, cluster: Cluster, logs: Logs, role: Role
    ) -> None:
        super().__init__(scope, role.name, deployment)
        self.role, self._cluster, self._network = role, cluster, network
        self.logs = logs.group(role.name)
        self.start = self._role("start")
        self.task = self._role("task", f"arn:aws:ecs:{deployment.region}:{cluster.account}:*")
        self._may("start", self.start, self._start_rights())
        self.definition = self._definition()
        self.blue_green = deployment.release == "codedeploy" and len(role.targets) > 1
        self.tasks_min = 1 if deployment.fast else role.part.tasks_min
        self.tasks_max = max(self.tasks_min, role.part.tasks_max)

    def grant(self, *statements: Statement) -> None:
        """What the role's code may do in AWS: all of it, said once."""
        self._may("task", self.task, statements)

    def run(self, *needs: Any) -> None:
        """Keep tasks running, once *needs* are there."""
        self.service = self._service(needs)
        self._target = aws.appautoscaling_target(
            self,
            "scale",
            service_namespace="ecs",
            scalable_dimension="ecs:service:DesiredCount",
            resource_id=f"service/{self._cluster.cluster.name}/{self.service.name}",
            min_capacity=self.tasks_min,
            max_capacity=self.tasks_max,
            tags=self.called(self.role.name, "scale"),
        )
        cpu = {"predefined_metric_specification": {"predefined_metric_type": "ECSServiceAverageCPUUtilization"}}
        self.scale_on("cpu", cpu, CPU_PERCENT)

    def scale_on(self, name: str, metric: Mapping[str, Any], target: float) -> None:
        """More tasks while *metric* is above *target*; fewer only slowly."""
        aws.appautoscaling_policy(
            self,
            f"scale-{name}",
            name=self.names(f"{self.role.name}-{name}", "scaling"),
            policy_type="TargetTrackingScaling",
            service_namespace=self._target.service_namespace,
            scalable_dimension=self._target.scalable_dimension,
            resource_id=self._target.resource_id,
            target_tracking_scaling_policy_configuration={
                "target_value": target,
                "scale_in_cooldown": 300,
                "scale_out_cooldown": 30,
                **metric,
            },
        )

    def _role(self, name: str, *sources: str) -> Any:
        ident = f"{self.role.name}-{name}"
        return aws.iam_role(
            self,
            f"{name}-role",
            name=self.names(ident, "role"),
            assume_role_policy=trust("ecs-tasks", self._cluster.account, *sources),
            tags=self.called(ident, "role"),
        )

    def _may(self, name: str, role: Any, statements: Sequence[Statement]) -> None:
        aws.iam_role_policy(self, f"{name}-policy", name=name, role=role.id, policy=document(*statements))

    def _start_rights(self) -> list[Statement]:
        """ECS pulls the image and writes the log in our name."""
        return [
            allow(["ecr:GetAuthorizationToken"], "*"),
            allow(PULL, self._cluster.repository.arn),
            allow(["logs:CreateLogStream", "logs:PutLogEvents"], f"{self.logs.arn}:log-stream:*"),
        ]

    def _definition(self) -> Any:
        part, deployment = self.role.part, self.deployment
        containers = [self._container()]
        if deployment.watch.tracing:
            metrics = self.role.health.replace("/healthz", "")
            containers.append(collector(self.role.name, metrics, self.logs, deployment))
        return aws.ecs_task_definition(
            self,
            "definition",
            family=self.names(self.role.name, "task"),
            network_mode="awsvpc",
            requires_compatibilities=["FARGATE"],
            cpu=str(part.cpu),
            memory=str(part.memory_mb),
            execution_role_arn=self.start.arn,
            task_role_arn=self.task.arn,
            runtime_platform={"cpu_architecture": deployment.architecture, "operating_system_family": "LINUX"},
            volume=[*({"name": name} for name in WRITABLE), *self.role.volumes],
            container_definitions=json.dumps(containers),
            skip_destroy=False,
            tags=self.called(self.role.name, "task"),
        )

    def _container(self) -> dict[str, Any]:
        role = self.role
        environment = {"AWS_REGION": self.deployment.region, "PENSTOCK_DATA": DATA}
        environment |= {**traced(self.deployment), **role.environment}
        shared = [SHARED] if role.volumes else []
        return {
            "name": role.name,
            "image": self._cluster.image,
            "essential": True,
            "entryPoint": ["penstock"],
            "command": list(role.command),
            "user": str(USER),
            "readonlyRootFilesystem": True,
            "linuxParameters": {"initProcessEnabled": True, "capabilities": {"drop": ["ALL"], "add": []}},
            "stopTimeout": STOP_S,
            "portMappings": [{"containerPort": role.port, "hostPort": role.port, "protocol": "tcp"}],
            "environment": [{"name": name, "value": value} for name, value in sorted(environment.items())],
            "mountPoints": [
                {"sourceVolume": name, "containerPath": path, "readOnly": False}
                for name, path in [*WRITABLE.items(), *(("shared", path) for path in shared)]
            ],
            "healthCheck": {
                "command": ["CMD", "penstock-probe", role.health],
                "interval": 15,
                "timeout": 5,
                "retries": 3,
                "startPeriod": GRACE_S,
            },
            "logConfiguration": {
                "logDriver": "awslogs",
                "options": {
                    "awslogs-group": self.logs.name,
                    "awslogs-region": self.deployment.region,
                    "awslogs-stream-prefix": role.name,
                },
            },
        }

    def _service(self, needs: Sequence[Any]) -> Any:
        role = self.role
        return aws.ecs_service(
            self,
            "service",
            name=self.names(role.name, "service"),
            cluster=self._cluster.cluster.id,
            task_definition=self.definition.arn,
            desired_count=self.tasks_min,
            launch_type="FARGATE",
            platform_version="LATEST",
            enable_execute_command=False,
            propagate_tags="SERVICE",
            wait_for_steady_state=False,
            network_configuration={
                "subnets": self._network.private_ids,
                "security_groups": [self._network.groups[role.name].id],
                "assign_public_ip": False,
            },
            tags=self.called(role.name, "service"),
            depends_on=list(needs),
            **self._load(),
            **self._release(),
        )

    def _load(self) -> dict[str, Any]:
        if not self.role.targets:
            return {}
        live = {
            "container_name": self.role.name,
            "container_port": self.role.port,
            "target_group_arn": self.role.targets[0].arn,
        }
        return {"load_balancer": [live], "health_check_grace_period_seconds": GRACE_S}

    def _release(self) -> dict[str, Any]:
        """Doors change colours by CodeDeploy; workers change one by one, and back if the new ones do not live."""
        if self.blue_green:
            return {
                "deployment_controller": {"type": "CODE_DEPLOY"},
                "lifecycle": {"ignore_changes": ["desired_count", "task_definition", "load_balancer"]},
            }
        return {
            "deployment_controller": {"type": "ECS"},
            "deployment_circuit_breaker": {"enable": True, "rollback": True},
            "deployment_minimum_healthy_percent": 100,
            "deployment_maximum_percent": 200,
            "lifecycle": {"ignore_changes": ["desired_count"]},
        }
