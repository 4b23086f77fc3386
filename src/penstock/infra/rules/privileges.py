"""Who may do what: a role what its work takes, a service what it does for us, and nobody everything."""

import json
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.resources import files
from typing import Any, Final

from penstock.infra.description import Deployment
from penstock.infra.rules.template import Finding, Resource, Template, listed

Findings = Iterable[Finding]
PRIVILEGES: Final = tomllib.loads(files("penstock.infra").joinpath("privileges.toml").read_text())
"""What is allowed beyond these rules, with reasons."""
STAR_ACTIONS: Final = frozenset(action for entry in PRIVILEGES["star"] for action in entry["actions"])
RESOURCE_ACTIONS: Final = frozenset(action for entry in PRIVILEGES["resource"] for action in entry["actions"])
MANAGED: Final = frozenset(entry["policy"] for entry in PRIVILEGES["managed"])
AWS: Final = ".amazonaws.com"
OF_ROLES: Final = frozenset({"aws_iam_role_policy", "aws_iam_policy"})
NEEDED: Final = {
    "ingest": ("kinesis:PutRecords", "kms:GenerateDataKey", "kms:Decrypt", "secretsmanager:GetSecretValue"),
    "work": ("kinesis:GetRecords", "kms:GenerateDataKey", "kms:Decrypt", "secretsmanager:GetSecretValue"),
    "serve": ("kinesis:PutRecords", "kms:GenerateDataKey", "kms:Decrypt", "secretsmanager:GetSecretValue"),
}


def least_privilege(template: Template, _: Deployment) -> Findings:
    """D10: what a role needs and nothing else; no star where AWS knows a narrower name."""
    for policy, statement in allowed(template, *OF_ROLES):
        if "NotAction" in statement or "NotResource" in statement:
            yield Finding("D10", policy.where, "allows all but what it names", "name what it may do, and to what")
        for action in listed(statement.get("Action", [])):
            if "*" in action:
                yield Finding("D10", policy.where, f"allows {action}", "name the actions")
            elif action not in STAR_ACTIONS and any(map(is_everything, listed(statement.get("Resource", "*")))):
                yield Finding("D10", policy.where, f"allows {action} on everything", "name the resource's ARN")
        yield from _passes(policy, statement)
    for role, needed in NEEDED.items():
        for action in sorted(set(needed) - granted(template, f"{role}_task_policy")):
            yield Finding("D10", f"aws_iam_role_policy.{role}_task_policy", f"misses {action}", "grant it in stack.py")


def no_stranger(template: Template, _: Deployment) -> Findings:
    """D10: what is shared by a policy of its own is shared with services, for our account's sake."""
    kinds = {one.kind for one in template.every() if '"Statement"' in str(one.get("policy"))} - OF_ROLES
    for policy, statement in allowed(template, *kinds):
        for action in listed(statement.get("Action", "*")):
            if "*" in action and action not in RESOURCE_ACTIONS:
                yield Finding("D10", policy.where, f"allows {action}", "name the actions")
        for principal in principals(statement):
            if principal == "*":
                yield Finding("D10", policy.where, "lets everybody in", "name the service, or the account")
            elif principal.endswith(AWS) and not _is_ours(statement):
                why = f"lets {principal} in for any account"
                yield Finding("D10", policy.where, why, 'add StringEquals={"aws:SourceAccount": …}')


def trusted(template: Template, _: Deployment) -> Findings:
    """Each role is taken on by one service, for our account; or by people of it with a second factor."""
    for role in template.every("aws_iam_role"):
        for statement in json.loads(role.get("assume_role_policy") or '{"Statement": []}')["Statement"]:
            takers = principals(statement)
            if listed(statement["Action"]) != ["sts:AssumeRole"] or len(takers) != 1:
                yield Finding("roles", role.where, f"is taken on by {', '.join(takers)}", "make it by policy.trust")
            elif not (_is_people(statement) or (takers[0].endswith(AWS) and _is_ours(statement))):
                mend = "make it by policy.trust; people need aws:MultiFactorAuthPresent"
                yield Finding("roles", role.where, f"is taken on by {takers[0]} for anybody", mend)


def no_foreign_policy(template: Template, _: Deployment) -> Findings:
    """Policies that AWS keeps grow without our knowing."""
    for attached in template.every("aws_iam_role_policy_attachment"):
        if attached.get("policy_arn") not in MANAGED:
            mend = "write our own; or say in privileges.toml why it must be"
            yield Finding("roles", attached.where, f"attaches {attached.get('policy_arn')}", mend)


def one_role_a_task(template: Template, _: Deployment) -> Findings:
    """Each task definition has roles of its own."""
    seen: dict[str, Any] = {}
    for task in template.every("aws_ecs_task_definition"):
        for role in (str(task.get("task_role_arn")), str(task.get("execution_role_arn"))):
            if role in seen:
                yield Finding("roles", task.where, f"shares its role with {seen[role]}", "make one for each")
            seen[role] = task.where


def allowed(template: Template, *kinds: str) -> Iterator[tuple[Resource, dict[str, Any]]]:
    """Every statement of *kinds* that allows something."""
    for policy, statement in template.statements(*sorted(kinds)):
        if statement["Effect"] == "Allow":
            yield policy, statement


def granted(template: Template, name: str) -> set[str]:
    """All actions that the role's policy called *name* allows."""
    return {
        action
        for policy, statement in allowed(template, "aws_iam_role_policy")
        if policy.name == name
        for action in listed(statement["Action"])
    }


def is_everything(resource: str) -> bool:
    """Whether an ARN, or `*`, names nothing within an account."""
    service = resource.split(":", 5)[-1] if resource.startswith("arn:") else resource
    return not service.strip("*/:")


def principals(statement: Mapping[str, Any]) -> list[str]:
    """Who a statement of a resource's or role's policy is about."""
    told = statement.get("Principal", "*")
    return [one for who in told.values() for one in listed(who)] if isinstance(told, Mapping) else listed(told)


def _passes(policy: Resource, statement: Mapping[str, Any]) -> Iterator[Finding]:
    passes = "iam:PassRole" in listed(statement.get("Action", []))
    if passes and "iam:PassedToService" not in _conditions(statement):
        why = "passes roles to whatever service there is"
        yield Finding("D10", policy.where, why, 'add StringEquals={"iam:PassedToService": …}')


def _is_ours(statement: Mapping[str, Any]) -> bool:
    """A condition names our account: by itself, or in the ARN of what is done."""
    conditions = _conditions(statement)
    return "aws:SourceAccount" in conditions or "kms:EncryptionContext:aws:logs:arn" in conditions


def _is_people(statement: Mapping[str, Any]) -> bool:
    (who,) = principals(statement)
    return who.endswith(":root") and _conditions(statement).get("aws:MultiFactorAuthPresent") == "true"


def _conditions(statement: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for test in statement.get("Condition", {}).values() for key, value in test.items()}


RULES: Final[tuple[Callable[[Template, Deployment], Findings], ...]] = (
    least_privilege,
    no_stranger,
    trusted,
    no_foreign_policy,
    one_role_a_task,
)
