"""The one load balancer in front of `ingest` and `serve`: TLS, health, WAF, and two colours of every target."""

from typing import Any, Final

from constructs import Construct

from penstock.infra.archive import Buckets
from penstock.infra.description import Deployment
from penstock.infra.network import Network
from penstock.infra.ports import HTTP, HTTPS, TASK, TEST
from penstock.infra.station import Station
from penstock.infra.telemetry import Logs
from penstock.infra.terraform import aws
from penstock.infra.wall import Wall

TLS_POLICY: Final = "ELBSecurityPolicy-TLS13-1-2-Res-2021-06"
WRITING_PATHS: Final = ["/v1/readings", "/sensor-data"]
HEALTH: Final = {"ingest": "/readyz/ingest", "serve": "/healthz"}
"""`ingest` lives without the database, so that a fail-over closes no door; `serve` must not be killed by one either."""
COLOURS: Final = ("blue", "green")
DRAIN_S: Final = 30
IDLE_S: Final = 60
"""Less than our doors keep a silent connection (75 s): it is never they who hang up first."""


class Door(Station):
    """Everything HTTP comes in here."""

    def __init__(
        self, scope: Construct, deployment: Deployment, network: Network, buckets: Buckets, logs: Logs
    ) -> None:
        super().__init__(scope, "door", deployment)
        self._network = network
        self.is_secure = not deployment.door.insecure_http
        self.balancer = self._balancer(buckets)
        self.colours = COLOURS if deployment.release == "codedeploy" else COLOURS[:1]
        self.targets = {role: [self._targets(role, colour) for colour in self.colours] for role in HEALTH}
        self.certificate = self._certificate() if self.is_secure else None
        self._rules: list[Any] = []
        self.listener = self._listener("main", HTTPS if self.is_secure else HTTP, 0)
        self.tests = [self._listener("test", TEST, 1)] if len(self.colours) > 1 else []
        if self.is_secure:
            self._redirect()
        self._open()
        self.wall = Wall(self, deployment, self.balancer.arn, logs) if deployment.door.kind == "public" else None
        if deployment.door.kind == "public":
            self._point()

    @property
    def scheme(self) -> str:
        """How one speaks to it."""
        return "https" if self.is_secure else "http"

    @property
    def host(self) -> str:
        """What one calls it: the certificate's domain where there is one."""
        name: str = self.deployment.door.domain if self.is_secure else self.balancer.dns_name
        return name

    @property
    def port(self) -> int:
        """Where it listens."""
        return HTTPS if self.is_secure else HTTP

    @property
    def shifted(self) -> tuple[list[str], list[str]]:
        """ARNs of what a release turns from one colour to the other: listeners, and their rules."""
        return [one.arn for one in (self.listener, *self.tests)], [rule.arn for rule in self._rules]

    def _balancer(self, buckets: Buckets) -> Any:
        public = self.deployment.door.kind == "public"
        return aws.lb(
            self,
            "balancer",
            name=self.names("door", "alb"),
            load_balancer_type="application",
            internal=not public,
            security_groups=[self._network.groups["door"].id],
            subnets=self._network.public_ids if public else self._network.private_ids,
            drop_invalid_header_fields=True,
            desync_mitigation_mode="strictest",
            enable_cross_zone_load_balancing=True,
            enable_deletion_protection=False,
            idle_timeout=IDLE_S,
            access_logs={"bucket": buckets.logs.bucket, "prefix": "door", "enabled": True},
            tags=self.called("door", "alb"),
            depends_on=[buckets.logs_policy],
        )

    def _targets(self, role: str, colour: str) -> Any:
        return aws.lb_target_group(
            self,
            f"{role}-{colour}",
            name=self.names(f"{role}-{colour}", "target"),
            port=TASK,
            protocol="HTTPS",  # the tasks' own certificates, made at their start
            target_type="ip",
            vpc_id=self._network.vpc.id,
            deregistration_delay=str(DRAIN_S),
            load_balancing_algorithm_type="least_outstanding_requests",
            health_check={
                "path": HEALTH[role],
                "protocol": "HTTPS",
                "matcher": "200",
                "interval": 15,
                "timeout": 5,
                "healthy_threshold": 2,
                "unhealthy_threshold": 3,
            },
            tags=self.called(f"{role}-{colour}", "target"),
        )

    def _certificate(self) -> str:
        """The given one's ARN, or that of one we ask for; with the domain's zone at hand it proves itself."""
        door = self.deployment.door
        if door.certificate_arn:
            return door.certificate_arn
        certificate = aws.acm_certificate(
            self,
            "certificate",
            domain_name=door.domain,
            validation_method="DNS",
            lifecycle={"create_before_destroy": True},
            tags=self.called("door", "certificate"),
        )
        self.proof = certificate.domain_validation_options.get(0)
        if not door.zone_id:
            arn: str = certificate.arn
            return arn
        record = aws.route53_record(
            self,
            "certificate-proof",
            zone_id=door.zone_id,
            name=self.proof.resource_record_name,
            type=self.proof.resource_record_type,
            records=[self.proof.resource_record_value],
            ttl=60,
            allow_overwrite=True,
        )
        proven = aws.acm_certificate_validation(
            self, "certificate-proven", certificate_arn=certificate.arn, validation_record_fqdns=[record.fqdn]
        )
        proven_arn: str = proven.certificate_arn
        return proven_arn

    def _listener(self, name: str, port: int, colour: int) -> Any:
        """Writing goes to `ingest`, all else to `serve`. Which colour is live, releases say and not Terraform."""
        tls = {"protocol": "HTTPS", "ssl_policy": TLS_POLICY, "certificate_arn": self.certificate}
        listener = aws.lb_listener(
            self,
            name,
            load_balancer_arn=self.balancer.arn,
            port=port,
            default_action=[self._forward("serve", colour)],
            tags=self.called(name, "listener"),
            **(tls if self.is_secure else {"protocol": "HTTP"}),
            **self._colour_is_theirs("default_action"),
        )
        rule = aws.lb_listener_rule(
            self,
            f"{name}-writing",
            listener_arn=listener.arn,
            priority=10,
            condition=[
                {"http_request_method": {"values": ["POST"]}},
                {"path_pattern": {"values": WRITING_PATHS}},
            ],
            action=[self._forward("ingest", colour)],
            tags=self.called(f"{name}-writing", "rule"),
            **self._colour_is_theirs("action"),
        )
        self._rules.append(rule)
        return listener

    def _colour_is_theirs(self, attribute: str) -> dict[str, Any]:
        return {"lifecycle": {"ignore_changes": [attribute]}} if len(self.colours) > 1 else {}

    def _forward(self, role: str, colour: int) -> dict[str, str]:
        return {"type": "forward", "target_group_arn": self.targets[role][colour].arn}

    def _redirect(self) -> None:
        """Who comes by plain HTTP is sent to where it is safe."""
        aws.lb_listener(
            self,
            "plain",
            load_balancer_arn=self.balancer.arn,
            port=HTTP,
            protocol="HTTP",
            default_action=[
                {
                    "type": "redirect",
                    "redirect": {"port": str(HTTPS), "protocol": "HTTPS", "status_code": "HTTP_301"},
                }
            ],
            tags=self.called("plain", "listener"),
        )

    def _open(self) -> None:
        for role in HEALTH:
            self._network.allow("door", role, TASK)
        if self.deployment.door.kind == "public":
            for port in {HTTP, self.port}:
                self._network.admit_world("door", port)

    def _point(self) -> None:
        """The domain leads here, where its zone is ours to write."""
        door = self.deployment.door
        if self.is_secure and door.zone_id:
            alias = {"name": self.balancer.dns_name, "zone_id": self.balancer.zone_id, "evaluate_target_health": True}
            aws.route53_record(self, "domain", zone_id=door.zone_id, name=door.domain, type="A", alias=alias)
