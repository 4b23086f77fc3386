"""API Gateway for metered clients, with a private way of its own to the load balancer."""

import hashlib
import json
from typing import Any, Final, NamedTuple

from cdktn import Fn
from constructs import Construct

from penstock.infra.archive import Buckets
from penstock.infra.description import Deployment
from penstock.infra.door import Door
from penstock.infra.network import Network
from penstock.infra.station import Station
from penstock.infra.telemetry import Logs
from penstock.infra.terraform import aws
from penstock.infra.wall import Wall

STAGE: Final = "prod"
TIMEOUT_MS: Final = 29_000
ACCESS: Final = {
    "id": "$context.requestId",
    "at": "$context.requestTimeEpoch",
    "method": "$context.httpMethod",
    "path": "$context.resourcePath",
    "status": "$context.status",
    "latency_ms": "$context.responseLatency",
    "key": "$context.identity.apiKeyId",
    "from": "$context.identity.sourceIp",
    "error": "$context.error.message",
    "trace": "$context.xrayTraceId",
}


class Route(NamedTuple):
    """What the gateway opens."""

    name: str
    path: tuple[str, ...]
    method: str
    to: str
    parameters: tuple[str, ...] = ()


ROUTES: Final = {
    "write": Route("write", ("sensor-data",), "POST", "/v1/readings"),
    "read": Route("read", ("v1", "{proxy+}"), "GET", "/v1/{proxy}", ("proxy",)),
    "all": Route("all", ("v1", "{proxy+}"), "ANY", "/v1/{proxy}", ("proxy",)),
}


class Api(Station):
    """Clients bring two keys: `x-api-key` meters them here, `Authorization` is Penstock's own."""

    def __init__(  # noqa: PLR0913, PLR0917  # it stands between all of them
        self,
        scope: Construct,
        deployment: Deployment,
        network: Network,
        door: Door,
        buckets: Buckets,
        logs: Logs,
    ) -> None:
        super().__init__(scope, "api", deployment)
        self._door = door
        self.link = self._private_way(network, buckets)
        self.api = aws.api_gateway_rest_api(
            self,
            "api",
            name=self.names("plant", "api"),
            description="Readings of metered clients",
            endpoint_configuration={"types": ["REGIONAL"]},
            binary_media_types=["application/zstd", "application/gzip", "application/octet-stream"],
            tags=self.called("plant", "api"),
            lifecycle={"create_before_destroy": True},
        )
        self._checked = aws.api_gateway_request_validator(
            self, "checked", rest_api_id=self.api.id, name="parameters", validate_request_parameters=True
        )
        made = [self._route(ROUTES[name]) for name in deployment.api.doors]
        self.stage = self._stage(made, logs)
        self.plan = self._plan()
        self.wall = Wall(self, deployment, self.stage.arn, logs, "api-wall")

    @property
    def url(self) -> str:
        """Where clients begin."""
        url: str = self.stage.invoke_url
        return url

    def _private_way(self, network: Network, buckets: Buckets) -> Any:
        """API Gateway -> private link -> network balancer -> the door; none of it leaves AWS."""
        self.balancer = aws.lb(
            self,
            "link-balancer",
            name=self.names("link", "nlb"),
            load_balancer_type="network",
            internal=True,
            subnets=network.private_ids,
            security_groups=[network.groups["link"].id],
            enforce_security_group_inbound_rules_on_private_link_traffic="off",  # its senders have no address of ours
            enable_cross_zone_load_balancing=True,
            enable_deletion_protection=False,
            access_logs={"bucket": buckets.logs.bucket, "prefix": "link", "enabled": True},
            tags=self.called("link", "nlb"),
            depends_on=[buckets.logs_policy],
        )
        self.targets = aws.lb_target_group(
            self,
            "link-targets",
            name=self.names("link", "target"),
            port=self._door.port,
            protocol="TCP",
            target_type="alb",
            vpc_id=network.vpc.id,
            health_check={"protocol": self._door.scheme.upper(), "path": "/healthz", "matcher": "200-399"},
            tags=self.called("link", "target"),
        )
        aws.lb_target_group_attachment(
            self,
            "link-door",
            target_group_arn=self.targets.arn,
            target_id=self._door.balancer.arn,
            port=self._door.port,
            depends_on=[self._door.listener],
        )
        aws.lb_listener(
            self,
            "link-listener",
            load_balancer_arn=self.balancer.arn,
            port=self._door.port,
            protocol="TCP",
            default_action=[{"type": "forward", "target_group_arn": self.targets.arn}],
            tags=self.called("link", "listener"),
        )
        network.allow("link", "door", self._door.port)
        return aws.api_gateway_vpc_link(
            self,
            "link",
            name=self.names("plant", "link"),
            target_arns=[self.balancer.arn],
            tags=self.called("plant", "link"),
        )

    def _route(self, route: Route) -> Any:
        parent = self.api.root_resource_id
        for depth, part in enumerate(route.path):
            resource = aws.api_gateway_resource(
                self, f"{route.name}-path-{depth}", rest_api_id=self.api.id, parent_id=parent, path_part=part
            )
            parent = resource.id
        wanted = {f"method.request.path.{name}": True for name in route.parameters}
        method = aws.api_gateway_method(
            self,
            f"{route.name}-method",
            rest_api_id=self.api.id,
            resource_id=parent,
            http_method=route.method,
            authorization="NONE",  # Penstock's own key, in Authorization, is checked by our door
            api_key_required=True,
            request_validator_id=self._checked.id,
            request_parameters={"method.request.header.Authorization": True} | wanted,
        )
        return aws.api_gateway_integration(
            self,
            f"{route.name}-integration",
            rest_api_id=self.api.id,
            resource_id=parent,
            http_method=method.http_method,
            type="HTTP_PROXY",
            integration_http_method=route.method,
            uri=f"{self._door.scheme}://{self._door.host}{route.to}",
            connection_type="VPC_LINK",
            connection_id=self.link.id,
            timeout_milliseconds=TIMEOUT_MS,
            request_parameters={
                f"integration.request.path.{name}": f"method.request.path.{name}" for name in route.parameters
            },
        )

    def _stage(self, made: list[Any], logs: Logs) -> Any:
        shape = json.dumps([[ROUTES[name] for name in self.deployment.api.doors], TIMEOUT_MS])
        released = aws.api_gateway_deployment(
            self,
            "release",
            rest_api_id=self.api.id,
            triggers={"shape": hashlib.sha256(shape.encode()).hexdigest(), "leads": _leads(made)},
            depends_on=made,
            lifecycle={"create_before_destroy": True},
        )
        trouble = logs.exported(f"API-Gateway-Execution-Logs_{self.api.id}/{STAGE}", "api-execution")
        stage = aws.api_gateway_stage(
            self,
            "stage",
            rest_api_id=self.api.id,
            deployment_id=released.id,
            stage_name=STAGE,
            xray_tracing_enabled=True,
            access_log_settings={"destination_arn": logs.group("api").arn, "format": json.dumps(ACCESS)},
            tags=self.called("plant", "stage"),
            depends_on=[trouble],
        )
        aws.api_gateway_method_settings(
            self,
            "settings",
            rest_api_id=self.api.id,
            stage_name=stage.stage_name,
            method_path="*/*",
            settings={"metrics_enabled": True, "logging_level": "ERROR", "data_trace_enabled": False},
        )
        return stage

    def _plan(self) -> Any:
        """Each client's rate. API Gateway keeps it loosely; our door keeps it exactly."""
        part = self.deployment.api
        return aws.api_gateway_usage_plan(
            self,
            "plan",
            name=self.names("client", "plan"),
            api_stages=[{"api_id": self.api.id, "stage": self.stage.stage_name}],
            throttle_settings={"rate_limit": part.rate, "burst_limit": part.burst},
            tags=self.called("client", "plan"),
        )


def _leads(integrations: list[Any]) -> str:
    """Where everything leads: a stage goes on serving what it was released with, until it is released anew."""
    return str(Fn.sha256(Fn.jsonencode([[one.uri, one.connection_id] for one in integrations])))
