"""What no deployment may break. Each rule reads the stack as Terraform will, and says how to mend what it finds."""

from collections.abc import Callable, Iterable
from typing import Any, Final

from penstock.errors import Misconfigured
from penstock.infra.description import Deployment
from penstock.infra.rules import access, endurance, hygiene, privileges, streams
from penstock.infra.rules.template import Finding, Template

Rule = Callable[[Template, Deployment], Iterable[Finding]]
RULES: Final[tuple[Rule, ...]] = (
    *access.RULES,
    *endurance.RULES,
    *hygiene.RULES,
    *privileges.RULES,
    *streams.RULES,
)


def check(template: dict[str, Any], deployment: Deployment) -> None:
    """Raises Misconfigured with everything that the rules find, each with its mend."""
    findings = find(template, deployment)
    if findings:
        lines = "".join(f"\n  {finding}" for finding in findings)
        raise Misconfigured("stack", f"breaks {len(findings)} rule(s)", f"each as it says:{lines}")


def find(template: dict[str, Any], deployment: Deployment) -> list[Finding]:
    """What the rules find."""
    read = Template(template)
    return [finding for rule in RULES for finding in rule(read, deployment)]
