"""IAM in a few words."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

Statement = dict[str, Any]
VERSION: Final = "2012-10-17"


def allow(actions: Sequence[str], *resources: str, **conditions: Mapping[str, Any]) -> Statement:
    """*actions* on *resources*; conditions as `StringEquals={"aws:SourceAccount": …}`."""
    return _statement("Allow", actions, resources, conditions)


def deny(actions: Sequence[str], *resources: str, **conditions: Mapping[str, Any]) -> Statement:
    """For everybody."""
    return _statement("Deny", actions, resources, conditions) | {"Principal": {"AWS": "*"}}


def never(actions: Sequence[str], *resources: str, **conditions: Mapping[str, Any]) -> Statement:
    """In a role's policy: refused, whatever else allows it."""
    return _statement("Deny", actions, resources, conditions)


def trust(service: str, account: str, *sources: str) -> str:
    """A role that only *service* may take on, only for our own account, and where it says for what: for *sources*."""
    ours: dict[str, Any] = {"StringEquals": {"aws:SourceAccount": account}}
    statement = {
        "Effect": "Allow",
        "Action": "sts:AssumeRole",
        "Principal": {"Service": f"{service}.amazonaws.com"},
        "Condition": ours | ({"ArnLike": {"aws:SourceArn": list(sources)}} if sources else {}),
    }
    return document(statement)


def to(statement: Statement, service: str) -> Statement:
    """In a resource's own policy: what a service may do."""
    return statement | {"Principal": {"Service": service}}


def tls_only(*resources: str) -> Statement:
    """Nobody comes over a connection that can be read."""
    return deny(["*"], *resources, Bool={"aws:SecureTransport": "false"}) | {"Sid": "TlsOnly"}


def document(*statements: Statement) -> str:
    return json.dumps({"Version": VERSION, "Statement": list(statements)})


def _statement(
    effect: str, actions: Sequence[str], resources: Sequence[str], conditions: Mapping[str, Any]
) -> Statement:
    statement: Statement = {"Effect": effect, "Action": list(actions), "Resource": list(resources)}
    return statement | ({"Condition": dict(conditions)} if conditions else {})
