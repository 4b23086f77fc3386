"""WAF on a public door: what is known to be bad does not come through."""

from typing import Any, Final

from constructs import Construct

from penstock.infra.description import Deployment
from penstock.infra.station import Station
from penstock.infra.telemetry import Logs
from penstock.infra.terraform import aws

MANAGED: Final = (
    "AWSManagedRulesAmazonIpReputationList",
    "AWSManagedRulesAnonymousIpList",
    "AWSManagedRulesCommonRuleSet",
    "AWSManagedRulesKnownBadInputsRuleSet",
)
COUNTED: Final = {
    "AWSManagedRulesAnonymousIpList": ("HostingProviderIPList",),  # gateways and services of plants live in clouds
    "AWSManagedRulesCommonRuleSet": (
        "NoUserAgent_HEADER",  # gateways of plants seldom name themselves
        "SizeRestrictions_BODY",  # batches have more than 8 KB; our doors know limits
    ),
}
"""Rules that only count, because they would stop the very senders that we are for."""


class Wall(Station):
    """One web ACL for one door."""

    def __init__(
        self, scope: Construct, deployment: Deployment, guarded_arn: str, logs: Logs, name: str = "wall"
    ) -> None:
        super().__init__(scope, name, deployment)
        self.acl = aws.wafv2_web_acl(
            self,
            "acl",
            name=self.names(name, "waf"),
            scope="REGIONAL",
            default_action={"allow": {}},
            rule=[*(_managed(index, rule) for index, rule in enumerate(MANAGED)), self._flood()],
            visibility_config=_visibility(self.names(name, "waf")),
            tags=self.called(name, "waf"),
        )
        aws.wafv2_web_acl_association(self, "guards", resource_arn=guarded_arn, web_acl_arn=self.acl.arn)
        group = logs.exported(f"aws-waf-logs-{self.names(name, 'waf')}", name)
        aws.wafv2_web_acl_logging_configuration(
            self,
            "log",
            resource_arn=self.acl.arn,
            log_destination_configs=[group.arn],
            redacted_fields=[
                {"single_header": {"name": header}} for header in ("authorization", "x-api-key", "cookie")
            ],
        )

    def _flood(self) -> dict[str, Any]:
        limit = {"limit": self.deployment.door.requests_per_address, "aggregate_key_type": "IP"}
        return {
            "name": "one-address-too-much",
            "priority": len(MANAGED),
            "action": {"block": {}},
            "statement": {"rate_based_statement": limit},
            "visibility_config": _visibility("one-address-too-much"),
        }


def _managed(priority: int, name: str) -> dict[str, Any]:
    group: dict[str, Any] = {"name": name, "vendor_name": "AWS"}
    counted = [{"name": rule, "action_to_use": {"count": {}}} for rule in COUNTED.get(name, ())]
    if counted:
        group["rule_action_override"] = counted
    return {
        "name": name,
        "priority": priority,
        "override_action": {"none": {}},
        "statement": {"managed_rule_group_statement": group},
        "visibility_config": _visibility(name),
    }


def _visibility(name: str) -> dict[str, Any]:
    return {"cloudwatch_metrics_enabled": True, "metric_name": name, "sampled_requests_enabled": True}
