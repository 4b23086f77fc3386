"""EC2: a security group's rule keeps its description, whether it names addresses, a group or a prefix list."""

from typing import Any

from moto.ec2.models.security_groups import SecurityGroupRule

from simaws.patch import around


def correct() -> None:
    @around(SecurityGroupRule, "__init__")
    def initialise(original: Any, rule: Any, *given: Any, **named: Any) -> None:
        original(rule, *given, **named)
        other_side = [one for one in given if isinstance(one, dict)]
        rule.told = next((one["Description"] for one in other_side if one.get("Description")), None)

    SecurityGroupRule.description = property(lambda rule: rule.told)  # type: ignore[method-assign,assignment]
