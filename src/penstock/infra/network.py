"""Where everything lives: zones, subnets, the way out, and who may speak to whom."""

from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any, Final

from constructs import Construct

from penstock.infra.description import Deployment
from penstock.infra.needs import without_endpoint
from penstock.infra.policy import allow, document, trust
from penstock.infra.ports import HTTP, HTTPS, WORLD
from penstock.infra.station import Station
from penstock.infra.terraform import aws

GROUPS: Final[Mapping[str, str]] = {
    "door": "The load balancer",
    "link": "API Gateway's private way to the load balancer",
    "ingest": "Tasks that take readings",
    "work": "Tasks that judge and store them",
    "serve": "Tasks that answer people",
    "rotation": "The function that changes credentials",
    "cache": "Redis",
    "database": "PostgreSQL",
    "files": "The shared file system",
    "endpoints": "AWS services inside the network",
}
Span = tuple[int, int]
EPHEMERAL: Final = ((1_024, 3_388), (3_390, 65_535))
"""Answers come back to these ports; remote desktops, which live among them, have no business here."""
INSIDE: Final = ((HTTP, HTTP), (HTTPS, HTTPS), *EPHEMERAL)
"""Every port of ours, and answers; the names' server is not subject to ACLs."""


class Network(Station):
    """The VPC with one public and one private subnet a zone."""

    def __init__(self, scope: Construct, deployment: Deployment) -> None:
        super().__init__(scope, "network", deployment)
        self.vpc = aws.vpc(
            self,
            "vpc",
            cidr_block=str(deployment.network.cidr),
            enable_dns_hostnames=True,
            enable_dns_support=True,
            tags=self.called("network", "vpc"),
        )
        aws.default_security_group(self, "nobody", vpc_id=self.vpc.id, tags=self.called("nobody", "group"))
        self.gateways: list[tuple[str, str]] = []
        """NAT gateways: (zone's letter, id)."""
        self.public = [self._subnet("public", index) for index in range(len(deployment.zones))]
        self.private = [self._subnet("private", index) for index in range(len(deployment.zones))]
        self.tables = self._routes()
        self.groups = {name: self._group(name, why) for name, why in GROUPS.items() if self._is_needed(name)}
        self.endpoints = self._endpoints()
        if deployment.network.acls:
            self._acls()

    @property
    def private_ids(self) -> list[str]:
        """Subnets of tasks, cache and database."""
        return [subnet.id for subnet in self.private]

    @property
    def public_ids(self) -> list[str]:
        """Subnets of the load balancer."""
        return [subnet.id for subnet in self.public]

    def allow(self, source: str, target: str, port: int) -> None:
        """*source* may open connections to *target*; both sides say so, and name each other."""
        rule = {"ip_protocol": "tcp", "from_port": port, "to_port": port, "description": f"{source} to {target}"}
        one, other = self.groups[source].id, self.groups[target].id
        aws.vpc_security_group_egress_rule(
            self, f"{source}-to-{target}", security_group_id=one, referenced_security_group_id=other, **rule
        )
        aws.vpc_security_group_ingress_rule(
            self, f"{target}-from-{source}", security_group_id=other, referenced_security_group_id=one, **rule
        )

    def admit_world(self, target: str, port: int) -> None:
        """Anybody may open connections to *target*: the public door, and nothing else."""
        aws.vpc_security_group_ingress_rule(
            self,
            f"{target}-from-world-{port}",
            security_group_id=self.groups[target].id,
            cidr_ipv4=WORLD,
            ip_protocol="tcp",
            from_port=port,
            to_port=port,
            description="anybody",
        )

    def reach_aws(self, source: str, services: Sequence[str]) -> None:
        """*source* may speak HTTPS to *services*: by endpoints where there are some, else by the NAT gateway."""
        outside = without_endpoint(self.deployment, services)
        if {*services} - {"s3", *outside}:
            self.allow(source, "endpoints", HTTPS)
        if "s3" in services:
            s3 = {"prefix_list_id": self.endpoints["s3"].prefix_list_id}
            self._let_out(f"{source}-to-s3", source, s3, "S3 by its gateway endpoint")
        if outside:
            self._let_out(f"{source}-to-aws", source, {"cidr_ipv4": WORLD}, f"no endpoint here: {' '.join(outside)}")

    def _let_out(self, name: str, source: str, target: Mapping[str, str], why: str) -> None:
        aws.vpc_security_group_egress_rule(
            self,
            name,
            security_group_id=self.groups[source].id,
            ip_protocol="tcp",
            from_port=HTTPS,
            to_port=HTTPS,
            description=why,
            **target,
        )

    def log_to(self, group_arn: str, account: str) -> None:
        """Every refused connection is written down."""
        region = self.deployment.region
        role = aws.iam_role(
            self,
            "flow-role",
            name=self.names("flow", "role"),
            assume_role_policy=trust("vpc-flow-logs", account, f"arn:aws:ec2:{region}:{account}:vpc-flow-log/*"),
        )
        aws.iam_role_policy(
            self,
            "flow-policy",
            name="write",
            role=role.id,
            policy=document(
                allow(["logs:CreateLogStream", "logs:PutLogEvents", "logs:DescribeLogStreams"], f"{group_arn}:*")
            ),
        )
        aws.flow_log(
            self,
            "flow",
            vpc_id=self.vpc.id,
            traffic_type="REJECT",
            log_destination=group_arn,
            iam_role_arn=role.arn,
            tags=self.called("flow", "log"),
        )

    def _subnet(self, tier: str, index: int) -> Any:
        network, letter = self.deployment.network, self.deployment.zones[index]
        cidrs = network.public_cidrs if tier == "public" else network.private_cidrs
        return aws.subnet(
            self,
            f"{tier}-{letter}",
            vpc_id=self.vpc.id,
            cidr_block=str(cidrs[index]),
            availability_zone=self.deployment.zone_names[index],
            map_public_ip_on_launch=False,
            tags=self.called(f"{tier}-{letter}", "subnet") | {"Tier": tier},
        )

    def _routes(self) -> list[Any]:
        """Public subnets reach the internet; private ones only its other side, through NAT. Returns private tables."""
        gateway = aws.internet_gateway(self, "internet", vpc_id=self.vpc.id, tags=self.called("internet", "gateway"))
        public = self._table("public")
        aws.route(self, "out-public", route_table_id=public.id, destination_cidr_block=WORLD, gateway_id=gateway.id)
        tables, nat, wanted = [], None, self.deployment.network.nat
        for letter, open_subnet, closed_subnet in zip(self.deployment.zones, self.public, self.private, strict=True):
            aws.route_table_association(
                self, f"public-{letter}-table", subnet_id=open_subnet.id, route_table_id=public.id
            )
            if wanted == "per_zone" or (wanted == "one" and nat is None):
                nat = self._nat(letter, open_subnet, gateway)
            table = self._table(f"private-{letter}")
            if nat is not None:
                to_nat = {"destination_cidr_block": WORLD, "nat_gateway_id": nat.id}
                aws.route(self, f"out-{letter}", route_table_id=table.id, **to_nat)
            aws.route_table_association(
                self, f"private-{letter}-table", subnet_id=closed_subnet.id, route_table_id=table.id
            )
            tables.append(table)
        return tables

    def _table(self, name: str) -> Any:
        return aws.route_table(self, f"table-{name}", vpc_id=self.vpc.id, tags=self.called(name, "routes"))

    def _nat(self, letter: str, subnet: Any, gateway: Any) -> Any:
        address = aws.eip(self, f"nat-{letter}-address", domain="vpc", tags=self.called(f"nat-{letter}", "address"))
        nat = aws.nat_gateway(
            self,
            f"nat-{letter}",
            allocation_id=address.id,
            subnet_id=subnet.id,
            tags=self.called(letter, "nat"),
            depends_on=[gateway],
        )
        self.gateways.append((letter, nat.id))
        return nat

    def _group(self, name: str, why: str) -> Any:
        return aws.security_group(
            self,
            f"group-{name}",
            name=self.names(name, "group"),
            description=why,
            vpc_id=self.vpc.id,
            tags=self.called(name, "group"),
        )

    def _is_needed(self, group: str) -> bool:
        """A group that nothing is in would only be a hole for later."""
        has_endpoints = bool({*self.deployment.network.endpoints} - {"s3"})
        needed = {
            "link": bool(self.deployment.api.doors),
            "files": self.deployment.shared_files,
            "endpoints": has_endpoints,
        }
        return needed.get(group, True)

    def _endpoints(self) -> dict[str, Any]:
        return {
            service: self._endpoint(service) for service in {"s3": 0} | dict.fromkeys(self.deployment.network.endpoints)
        }

    def _endpoint(self, service: str) -> Any:
        region, name = self.deployment.region, service.replace(".", "-")
        common = {
            "vpc_id": self.vpc.id,
            "service_name": f"com.amazonaws.{region}.{service}",
            "tags": self.called(name, "endpoint"),
        }
        if service == "s3":
            tables = [table.id for table in self.tables]
            return aws.vpc_endpoint(self, "endpoint-s3", vpc_endpoint_type="Gateway", route_table_ids=tables, **common)
        return aws.vpc_endpoint(
            self,
            f"endpoint-{name}",
            vpc_endpoint_type="Interface",
            subnet_ids=self.private_ids,
            security_group_ids=[self.groups["endpoints"].id],
            private_dns_enabled=True,
            **common,
        )

    def _acls(self) -> None:
        """A second fence around the subnets, for the day a security group is wrong."""
        self._acl("public", self.public_ids, admitted=((HTTP, HTTP), (HTTPS, HTTPS)))
        self._acl("private", self.private_ids, admitted=())

    def _acl(self, tier: str, subnets: list[str], *, admitted: tuple[Span, ...]) -> None:
        """Within the network all that we use; from outside answers, and what is *admitted*; to outside HTTPS."""
        acl = aws.network_acl(
            self, f"acl-{tier}", vpc_id=self.vpc.id, subnet_ids=subnets, tags=self.called(tier, "acl")
        )
        inside = str(self.deployment.network.cidr)
        answers = EPHEMERAL if admitted else ()
        ways = [
            *((egress, inside, span) for egress in (False, True) for span in INSIDE),
            *((False, WORLD, span) for span in (*admitted, *EPHEMERAL)),
            *((True, WORLD, span) for span in ((HTTPS, HTTPS), *answers)),
        ]
        for number, (egress, cidr, (first, last)) in zip(count(100, 10), ways, strict=False):
            aws.network_acl_rule(
                self,
                f"acl-{tier}-{number}",
                network_acl_id=acl.id,
                rule_number=number,
                egress=egress,
                protocol="tcp",
                rule_action="allow",
                cidr_block=cidr,
                from_port=first,
                to_port=last,
            )
