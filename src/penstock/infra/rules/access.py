"""Who gets in, and what everybody may see."""

import re
from collections.abc import Callable, Iterable
from typing import Final

from penstock.infra.description import Deployment
from penstock.infra.ports import HTTP, HTTPS, WORLD
from penstock.infra.rules.template import Finding, Template, texts
from penstock.residency import regions

Findings = Iterable[Finding]
SECRET_NAMES: Final = re.compile(r"(password|secret_string|auth_token|passwd|private_key)$")
LOGIN_IN_URL: Final = re.compile(r"://[^/\s:@$]+:[^/\s@]+@")
HARMLESS: Final = frozenset({"manage_master_user_password"})


def metered_and_real(template: Template, _: Deployment) -> Findings:
    """D2, D6: a usage plan meters only methods that want a key; a mock takes nothing; batches need the batch door."""
    if any(template.every("aws_api_gateway_usage_plan")):
        for method in template.every("aws_api_gateway_method"):
            if method.get("api_key_required") is not True:
                mend = "set api_key_required=True"
                yield Finding("D2", method.where, "a usage plan does nothing for a method without a key", mend)
    for integration in template.every("aws_api_gateway_integration"):
        if integration.get("type") == "MOCK":
            yield Finding("D2", integration.where, "a mock ingests nothing", "integrate by VPC_LINK with the door")
        writes = integration.get("integration_http_method") == "POST"
        if writes and not str(integration.get("uri")).endswith("/v1/readings"):
            yield Finding("D6", integration.where, "200 requests a second need batches", "lead to POST /v1/readings")


def closed(template: Template, deployment: Deployment) -> Findings:
    """D9: nothing of ours in a public subnet, nobody comes in but by the door, groups name each other."""
    for service in template.every("aws_ecs_service"):
        if service.get("network_configuration", "assign_public_ip"):
            yield Finding("D9", service.where, "tasks have public addresses", "set assign_public_ip=False")
    for kind in ("aws_ecs_service", "aws_elasticache_subnet_group", "aws_db_subnet_group", "aws_lambda_function"):
        for resource in template.every(kind):
            if any("aws_subnet.network_public" in text for _, text in texts(dict(resource.arguments))):
                yield Finding("D9", resource.where, "lies in a public subnet", "use network.private_ids")
    for database in template.every("aws_db_instance", "aws_rds_cluster_instance"):
        if database.get("publicly_accessible") is not False:
            yield Finding("D9", database.where, "the database faces the internet", "set publicly_accessible=False")
    yield from _open_groups(template, deployment)


def _open_groups(template: Template, deployment: Deployment) -> Findings:
    for group in template.every("aws_security_group"):
        if group.get("ingress") or group.get("egress"):
            yield Finding("D9", group.where, "has rules inside", "use Network.allow, which names both sides")
    for rule in template.every("aws_vpc_security_group_ingress_rule"):
        cidr = rule.get("cidr_ipv4") or rule.get("cidr_ipv6")
        at_door = "group_door" in str(rule.get("security_group_id")) and rule.get("from_port") in {HTTP, HTTPS}
        if cidr and not (cidr == WORLD and at_door and deployment.door.kind == "public"):
            yield Finding("D9", rule.where, f"admits {cidr}", "name a security group: Network.allow")
    for rule in template.every("aws_vpc_security_group_egress_rule"):
        if rule.get("cidr_ipv4") and rule.get("from_port") != HTTPS:
            yield Finding("D9", rule.where, "lets out more than HTTPS", "name a security group: Network.allow")


def residency(template: Template, deployment: Deployment) -> Findings:
    """D7: what must stay in one place is made there."""
    region = template.region()
    if regions()[region].residency != deployment.residency:
        yield Finding("D7", region, f"is not in {deployment.residency}", f"choose a region in {deployment.residency}")


def no_plaintext(template: Template, _: Deployment) -> Findings:
    """D8: no password in the stack, its state, or a container's environment."""
    if any(template.every("random_password", "random_string")):
        yield Finding("D8", "random_password", "lies in Terraform's state", "use the ephemeral random password")
    for resource in template.every():
        for path, text in texts(dict(resource.arguments)):
            if _is_plain(path, text):
                mend = "use secret_string_wo with an ephemeral password, or a secret:// reference"
                yield Finding("D8", resource.where, f"{path.lstrip('.')} holds a secret", mend)
    for task, container in template.containers():
        for variable in container.get("environment", []):
            if _is_plain(f".{variable['name'].lower()}", str(variable["value"])):
                yield Finding("D8", task.where, f"{variable['name']} holds a secret", "give a secret:// reference")
        for given in container.get("secrets", []):
            why = f"ECS would put {given['name']} into the environment"
            yield Finding("D8", task.where, why, "give a secret:// reference in `environment`")


def _is_plain(path: str, text: str) -> bool:
    name = path.rpartition(".")[2]
    if name in HARMLESS or "policy" in path:
        return False
    if LOGIN_IN_URL.search(text):
        return True
    reference = text.startswith(("${", "secret://", "arn:", "file://")) or text in {"", "true", "false"}
    return SECRET_NAMES.search(name) is not None and not reference


RULES: Final[tuple[Callable[[Template, Deployment], Findings], ...]] = (
    metered_and_real,
    closed,
    residency,
    no_plaintext,
)
