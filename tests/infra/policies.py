"""Every policy of a stack as AWS will read it: what Terraform fills in later stands there as a made-up ARN."""

import json
import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from penstock.infra.rules.template import Template

ACCOUNT: Final = "123456789012"
REFERENCE: Final = re.compile(r"\$\{([^}]+)\}")
MADE: Final = {
    "aws_cloudwatch_log_group": "logs:{}:log-group:/penstock/{}",
    "aws_cloudwatch_metric_alarm": "cloudwatch:{}:alarm:{}",
    "aws_db_instance": "secretsmanager:{}:secret:rds!db-{}",
    "aws_ecr_repository": "ecr:{}:repository/{}",
    "aws_ecs_cluster": "ecs:{}:cluster/{}",
    "aws_efs_access_point": "elasticfilesystem:{}:access-point/{}",
    "aws_efs_file_system": "elasticfilesystem:{}:file-system/{}",
    "aws_elasticache_replication_group": "elasticache:{}:replicationgroup:{}",
    "aws_elasticache_user": "elasticache:{}:user:{}",
    "aws_iam_role": f"iam::{ACCOUNT}:role/{{1}}",
    "aws_kinesis_stream": "kinesis:{}:stream/{}",
    "aws_kms_key": "kms:{}:key/{}",
    "aws_lb_listener": "elasticloadbalancing:{}:listener/app/door/1/{}",
    "aws_lb_listener_rule": "elasticloadbalancing:{}:listener-rule/app/door/1/2/{}",
    "aws_rds_cluster": "secretsmanager:{}:secret:rds!cluster-{}",
    "aws_s3_bucket": "s3:::{1}",
    "aws_secretsmanager_secret": "secretsmanager:{}:secret:{}",
    "aws_security_group": "ec2:{}:security-group/{}",
    "aws_sns_topic": "sns:{}:{}",
    "aws_sqs_queue": "sqs:{}:{}",
    "aws_subnet": "ec2:{}:subnet/{}",
}
"""ARNs by the kind of resource, without `arn:aws:`; of databases, their masters' secrets."""
TRUST: Final = "assume_role_policy"
KINDS: Final = {"aws_iam_role_policy": "role", "aws_iam_policy": "role", "aws_kms_key": "key"}


class Policy(NamedTuple):
    """One document."""

    name: str
    """Of the resource that it stands in; of a role that it lets be taken on."""
    kind: str
    """`role`: what a role may do; `trust`: who may take it on; `resource`, `key`: who may come to a resource."""
    document: dict[str, Any]

    @property
    def judged(self) -> dict[str, Any]:
        """As tools want it: what is said in a role's or key's own policy names that role or key."""
        own = {"trust": f"iam::{ACCOUNT}:role", "key": f"kms:eu-west-2:{ACCOUNT}:key"}.get(self.kind)
        named = {"Resource": [f"arn:aws:{own}/{self.name}"]} if own else {}
        return self.document | {"Statement": [one | named for one in self.statements]}

    @property
    def statements(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.document["Statement"]
        return found


def policies(stack: dict[str, Any]) -> Iterator[Policy]:
    """All of *stack*; fails for a document that stands where none was expected, and for an unknown reference."""
    template = Template(stack)
    for resource in template.every():
        for argument, text in resource.arguments.items():
            if not (isinstance(text, str) and '"Statement"' in text):
                continue
            kind = {TRUST: "trust", "policy": KINDS.get(resource.kind, "resource")}[argument]
            yield Policy(resource.name, kind, json.loads(filled(text, template.region())))


def filled(text: str, region: str) -> str:
    """With what Terraform would put in place of its references, or something like it."""
    return REFERENCE.sub(lambda found: _made(found[1], region), text)


def _made(reference: str, region: str) -> str:
    kind, name, *attribute = reference.split(".")
    if attribute[-1] == "account_id":
        return ACCOUNT
    name = name.replace("_", "-")
    if attribute[-1] in {"arn", "secret_arn"}:
        return f"arn:aws:{MADE[kind].format(f'{region}:{ACCOUNT}', name)}"
    return {"name": name}[attribute[-1]]
