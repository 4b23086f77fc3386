"""Elastic Load Balancing: whether security groups judge what comes by a private link is read back."""

from typing import Any

from moto.elbv2.responses import ELBV2Response

from simaws.patch import around

ENFORCED = "EnforceSecurityGroupInboundRulesOnPrivateLinkTraffic"


def correct() -> None:
    @around(ELBV2Response, "set_security_groups")
    def set_groups(original: Any, response: Any) -> Any:
        answer = original(response)
        balancer = response.elbv2_backend.load_balancers[response._get_param("LoadBalancerArn")]
        balancer.enforce_security_group_inbound_rules_on_private_link_traffic = response._get_param(ENFORCED)
        return answer
