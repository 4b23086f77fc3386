"""EC2: a security group's rule keeps its description when it names another group."""

from typing import Any

from moto.ec2.models.security_groups import SecurityGroupRule


def correct() -> None:
    SecurityGroupRule.description = property(_description)


def _description(rule: Any) -> str | None:
    for origin in (rule.ip_range, rule.source_group):
        if description := (origin or {}).get("Description"):
            return str(description)
    return None
