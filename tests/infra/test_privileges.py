"""Who may do what in the five deployments: nothing without a reason. Judged by our rules and by two tools of others."""

import copy
import json
import os
import subprocess
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

from infra.policies import ACCOUNT, Policy, filled, policies
from infra.snapshot import kept
from penstock.infra.reading import PROFILES, read_deployment
from penstock.infra.rules import privileges
from penstock.infra.rules.privileges import PRIVILEGES, is_everything, principals
from penstock.infra.rules.template import Template, listed

TOOLS = os.environ.get("PENSTOCK_POLICY_TOOLS")
SCRIPT = Path(__file__).with_name("policy_tools.py")
PLANTED: dict[str, tuple[list[str], str, set[str]]] = {
    "a star action": (["s3:*"], "*", {"service_wildcard", "RESOURCE_STAR"}),
    "an escalation": (
        ["iam:PassRole", "lambda:CreateFunction", "lambda:InvokeFunction"],
        "*",
        {"allows_privilege_escalation", "PRIVILEGE_ESCALATION"},
    ),
    "an exposure": (["s3:PutBucketPolicy", "s3:PutBucketAcl"], "*", {"permissions_management_without_constraints"}),
    "everybody's secrets": (["secretsmanager:GetSecretValue"], "*", {"allows_data_exfiltration_actions"}),
    "a slip of the pen": (["kinesis:PutRecrods"], f"arn:aws:kinesis:eu-west-2:{ACCOUNT}:stream/s", {"UNKNOWN_ACTION"}),
    "the wrong resource": (["kinesis:PutRecords"], "arn:aws:s3:::bucket", {"RESOURCE_MISMATCH"}),
}
"""Actions, resource, and what the tools must say of them together."""
ANY_REGION = "eu-west-2"

needs_tools = pytest.mark.skipif(
    TOOLS is None,
    reason="this machine has not parliament and cloudsplaining; they want a venv of their own: "
    "PENSTOCK_POLICY_TOOLS=/path/to/its/python",
)


def every() -> Iterator[tuple[str, Policy]]:
    """(profile, policy) of all five."""
    for profile in PROFILES:
        for policy in policies(kept(profile)):
            yield profile, policy


def role_policy(actions: list[str], resource: str) -> dict[str, Any]:
    statement = {"Effect": "Allow", "Action": actions, "Resource": [resource]}
    return {"Version": "2012-10-17", "Statement": [statement]}


def planted(actions: list[str], resource: str) -> dict[str, Any]:
    """Virginia, where workers may do more."""
    stack = copy.deepcopy(kept("virginia"))
    policy = stack["resource"]["aws_iam_role_policy"]["work_task_policy"]
    document = json.loads(policy["policy"])
    document["Statement"] += role_policy(actions, resource)["Statement"]
    policy["policy"] = json.dumps(document)
    return stack


def broken(stack: dict[str, Any], profile: str = "virginia") -> list[str]:
    """What our own rules say."""
    return [str(one) for rule in privileges.RULES for one in rule(Template(stack), read_deployment(profile))]


@pytest.mark.parametrize("profile", PROFILES)
def test_nobody_may_do_more_than_is_listed_with_its_reason(profile: str) -> None:
    assert broken(kept(profile), profile) == []


def test_every_document_of_every_profile_is_looked_at() -> None:
    seen = list(every())
    assert len(seen) >= 5 * 24
    for profile in PROFILES:
        documents = json.dumps(kept(profile)["resource"]).count('\\"Statement\\"')
        assert documents == sum(one == profile for one, _ in seen)


@pytest.mark.parametrize("actions", [one[:2] for one in PLANTED.values() if one[1] == "*"])
def test_a_planted_privilege_is_found(actions: tuple[list[str], str]) -> None:
    found = broken(planted(*actions))
    assert [one for one in found if f"allows {actions[0][0]}" in one], found


def test_everything_of_a_kind_is_everything() -> None:
    assert is_everything("*")
    assert is_everything(f"arn:aws:ec2:eu-west-2:{ACCOUNT}:*/*")
    assert not is_everything(f"arn:aws:ec2:eu-west-2:{ACCOUNT}:network-interface/*")
    assert not is_everything("${aws_s3_bucket.archive.arn}/*")


@pytest.mark.parametrize("profile", PROFILES)
def test_no_task_shares_a_role(profile: str) -> None:
    tasks = list(Template(kept(profile)).every("aws_ecs_task_definition"))
    roles = [str(task.get(which)) for task in tasks for which in ("task_role_arn", "execution_role_arn")]
    assert len(set(roles)) == len(roles) == 2 * len(tasks) == 6


@pytest.mark.parametrize("profile", PROFILES)
def test_a_role_is_taken_on_by_one_service_for_our_account(profile: str) -> None:
    for policy in policies(kept(profile)):
        if policy.kind != "trust":
            continue
        (statement,) = policy.statements
        (who,) = principals(statement)
        condition = statement["Condition"]
        if policy.name == "archive_lifter":
            assert (who, condition["Bool"]) == (f"arn:aws:iam::{ACCOUNT}:root", {"aws:MultiFactorAuthPresent": "true"})
            continue
        assert who.endswith(".amazonaws.com")
        assert condition["StringEquals"] == {"aws:SourceAccount": ACCOUNT}
        if who not in entries("account-only", "service") or policy.name.endswith("_task_role"):
            assert all(f":{ACCOUNT}:" in one for one in listed(condition["ArnLike"]["aws:SourceArn"]))


def entries(kind: str, field: str) -> set[str]:
    """What *field* says in all exceptions of *kind*."""
    return {one for entry in PRIVILEGES[kind] for one in listed(entry[field])}


def test_every_exception_has_its_reason() -> None:
    every_one = [entry for kind in PRIVILEGES.values() for entry in kind]
    assert all(len(entry["reason"].split()) >= 12 for entry in every_one)
    assert len(every_one) <= 25


def test_every_star_on_the_list_is_still_needed() -> None:
    used = {
        (policy.kind, action)
        for _, policy in every()
        for statement in policy.statements
        if statement["Effect"] == "Allow" and any(map(is_everything, listed(statement.get("Resource", []))))
        for action in listed(statement["Action"])
    }
    assert {("role", action) for action in entries("star", "actions")} <= used
    assert {("key", action) for action in entries("resource", "actions")} <= used


def test_every_policy_of_aws_on_the_list_is_still_attached() -> None:
    attached = {
        one.get("policy_arn")
        for profile in PROFILES
        for one in Template(kept(profile)).every("aws_iam_role_policy_attachment")
    }
    assert entries("managed", "policy") == attached


def test_every_service_that_names_no_source_is_still_there() -> None:
    trusts = (policy.statements[0] for _, policy in every() if policy.kind == "trust")
    plain = {who for one in trusts if "ArnLike" not in one["Condition"] for who in principals(one)}
    assert entries("account-only", "service") <= plain


def test_a_public_bucket_is_found() -> None:
    stack = copy.deepcopy(kept("london"))
    everybody = role_policy(["s3:GetObject"], "${aws_s3_bucket.archive_archive.arn}/*")
    everybody["Statement"][0]["Principal"] = "*"
    stack["resource"]["aws_s3_bucket_policy"]["archive_archive_policy"]["policy"] = json.dumps(everybody)
    assert any("lets everybody in" in one for one in broken(stack, "london"))


@pytest.mark.parametrize(
    ("principal", "condition"),
    [
        ({"Service": "ecs-tasks.amazonaws.com"}, {}),
        ({"Service": ["ecs-tasks.amazonaws.com", "ec2.amazonaws.com"]}, {"StringEquals": {"aws:SourceAccount": "1"}}),
        ({"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, {}),
        ({"AWS": "*"}, {"StringEquals": {"aws:SourceAccount": "1"}}),
    ],
)
def test_a_role_for_anybody_is_found(principal: dict[str, Any], condition: dict[str, Any]) -> None:
    stack = copy.deepcopy(kept("london"))
    statement = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": principal, "Condition": condition}
    role = stack["resource"]["aws_iam_role"]["work_task_role"]
    role["assume_role_policy"] = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    assert any("work_task_role" in one for one in broken(stack, "london"))


@pytest.fixture(scope="session")
def said() -> list[dict[str, str]]:
    """What the tools say of each document, once of those that are alike but for their region; and of the planted."""
    asked = {
        name: {"kind": "role", "document": role_policy(actions, resource)}
        for name, (actions, resource, _) in PLANTED.items()
    }
    for profile, policy in every():
        region = Template(kept(profile)).region()
        alike = json.loads(json.dumps(policy.judged).replace(region, ANY_REGION).replace(f"{profile}-", "any-"))
        names = (f"{policy.name} #{number}" for number in range(len(PROFILES)))
        one = {"kind": policy.kind, "document": alike}
        name = next(name for name in names if asked.get(name, one) == one)
        asked[name] = one
    done = subprocess.run(
        [str(TOOLS), str(SCRIPT)], input=json.dumps(asked), capture_output=True, text=True, check=True
    )
    found: list[dict[str, str]] = json.loads(done.stdout)
    return found


def explains(entry: dict[str, str], one: dict[str, str]) -> bool:
    policy = one["policy"].partition(" #")[0]
    same = (entry["tool"], entry["issue"]) == (one["tool"], one["issue"])
    return same and fnmatch(policy, entry["policy"]) and entry["detail"].lower() in one["detail"].lower()


@needs_tools
@pytest.mark.slow
def test_the_tools_find_nothing_unexplained(said: list[dict[str, str]]) -> None:
    ours = [one for one in said if one["policy"] not in PLANTED]
    assert [one for one in ours if not any(explains(entry, one) for entry in PRIVILEGES["finding"])] == []
    unneeded = [entry for entry in PRIVILEGES["finding"] if not any(explains(entry, one) for one in ours)]
    assert unneeded == []


@needs_tools
@pytest.mark.slow
@pytest.mark.parametrize("name", PLANTED)
def test_the_tools_find_what_was_planted(said: list[dict[str, str]], name: str) -> None:
    assert PLANTED[name][2] <= {one["issue"] for one in said if one["policy"] == name}


def test_what_terraform_fills_in_is_known() -> None:
    assert filled("${aws_kms_key.keys_data.arn}", "eu-west-2") == f"arn:aws:kms:eu-west-2:{ACCOUNT}:key/keys-data"
    with pytest.raises(KeyError):
        filled("${aws_unheard_of.x.arn}", "eu-west-2")
