"""ElastiCache: parameter groups and user groups, the nodes of a replication group, and endings that end."""

from typing import Any

from moto.core.responses import ActionResult, EmptyResult
from moto.elasticache.exceptions import ElastiCacheException
from moto.elasticache.models import CacheCluster, ElastiCacheBackend, ReplicationGroup
from moto.elasticache.responses import ElastiCacheResponse

from simaws.patch import add, around

Group = dict[str, Any]
_parameter_groups: dict[str, Group] = {}
_user_groups: dict[str, Group] = {}
_values: dict[str, dict[str, str]] = {}
"""What a parameter group sets, by its ARN. All three by ARN: regions do not meet."""


def correct() -> None:
    add(
        ElastiCacheResponse,
        create_cache_parameter_group,
        describe_cache_parameter_groups,
        modify_cache_parameter_group,
        reset_cache_parameter_group,
        describe_cache_parameters,
        delete_cache_parameter_group,
        create_user_group,
        describe_user_groups,
        modify_user_group,
        delete_user_group,
        delete_cache_subnet_group,
    )
    _tags_of_groups()
    _nodes()
    _endings()


def _arn(response: Any, kind: str, name: str) -> str:
    return f"arn:aws:elasticache:{response.region}:{response.current_account}:{kind}:{name}"


def _found(groups: dict[str, Group], response: Any, kind: str, name: str, missing: str) -> list[Group]:
    """The group of this name, or all of the region when none is named."""
    if not name:
        here = _arn(response, kind, "")
        return [group for arn, group in groups.items() if arn.startswith(here)]
    arn = _arn(response, kind, name)
    if arn not in groups:
        raise ElastiCacheException(missing, f"{name} not found.")
    return [groups[arn]]


def _parameter_group(response: Any) -> list[Group]:
    name = response._get_params().get("CacheParameterGroupName", "")
    return _found(_parameter_groups, response, "parametergroup", name, "CacheParameterGroupNotFound")


def create_cache_parameter_group(response: Any) -> ActionResult:
    given = response._get_params()
    arn = _arn(response, "parametergroup", given["CacheParameterGroupName"])
    kept = {key: given.get(key, "") for key in ("CacheParameterGroupName", "CacheParameterGroupFamily", "Description")}
    _parameter_groups[arn], _values[arn] = {**kept, "IsGlobal": False, "ARN": arn}, {}
    return ActionResult({"CacheParameterGroup": _parameter_groups[arn]})


def describe_cache_parameter_groups(response: Any) -> ActionResult:
    return ActionResult({"CacheParameterGroups": _parameter_group(response)})


def modify_cache_parameter_group(response: Any) -> ActionResult:
    (group,) = _parameter_group(response)
    for pair in response._get_params().get("ParameterNameValues", []):
        _values[group["ARN"]][pair["ParameterName"]] = pair["ParameterValue"]
    return ActionResult({"CacheParameterGroupName": group["CacheParameterGroupName"]})


def reset_cache_parameter_group(response: Any) -> ActionResult:
    (group,) = _parameter_group(response)
    for pair in response._get_params().get("ParameterNameValues", []):
        _values[group["ARN"]].pop(pair["ParameterName"], None)
    return ActionResult({"CacheParameterGroupName": group["CacheParameterGroupName"]})


def describe_cache_parameters(response: Any) -> ActionResult:
    (group,) = _parameter_group(response)
    found = _values[group["ARN"]].items()
    return ActionResult(
        {"Parameters": [{"ParameterName": name, "ParameterValue": value, "Source": "user"} for name, value in found]}
    )


def delete_cache_parameter_group(response: Any) -> EmptyResult:
    (group,) = _parameter_group(response)
    del _parameter_groups[group["ARN"]]
    return EmptyResult()


def _user_group(response: Any) -> list[Group]:
    name = response._get_params().get("UserGroupId", "")
    return _found(_user_groups, response, "usergroup", name, "UserGroupNotFound")


def create_user_group(response: Any) -> ActionResult:
    given = response._get_params()
    arn = _arn(response, "usergroup", given["UserGroupId"])
    _user_groups[arn] = {
        "UserGroupId": given["UserGroupId"],
        "Status": "active",
        "Engine": given.get("Engine", "redis"),
        "UserIds": given.get("UserIds", []),
        "ReplicationGroups": [],
        "MinimumEngineVersion": "6.0",
        "ARN": arn,
    }
    return ActionResult(_user_groups[arn])


def describe_user_groups(response: Any) -> ActionResult:
    return ActionResult({"UserGroups": _user_group(response)})


def modify_user_group(response: Any) -> ActionResult:
    (group,) = _user_group(response)
    given = response._get_params()
    kept = [user for user in group["UserIds"] if user not in given.get("UserIdsToRemove", [])]
    group["UserIds"] = kept + given.get("UserIdsToAdd", [])
    return ActionResult(group)


def delete_user_group(response: Any) -> ActionResult:
    (group,) = _user_group(response)
    return ActionResult(_user_groups.pop(group["ARN"]))


def delete_cache_subnet_group(response: Any) -> EmptyResult:
    response.elasticache_backend.cache_subnet_groups.pop(response._get_params()["CacheSubnetGroupName"], None)
    return EmptyResult()


def _tags_of_groups() -> None:
    @around(ElastiCacheBackend, "list_tags_for_resource")
    def tags(original: Any, backend: Any, arn: str) -> Any:
        """Moto takes the ARN of a group for a wrong one."""
        ours = arn in _parameter_groups or arn in _user_groups
        return backend.tagging_service.list_tags_for_resource(arn) if ours else original(backend, arn)

    for name, kind, key in (
        ("create_cache_parameter_group", "parametergroup", "CacheParameterGroupName"),
        ("create_user_group", "usergroup", "UserGroupId"),
    ):
        _tagged(name, kind, key)


def _tagged(operation: str, kind: str, key: str) -> None:
    @around(ElastiCacheResponse, operation)
    def create(original: Any, response: Any) -> Any:
        given = response._get_params()
        arn = _arn(response, kind, given[key])
        response.elasticache_backend.tagging_service.tag_resource(arn, given.get("Tags", []))
        return original(response)


def _nodes() -> None:
    """A group has as many nodes as were asked for, and each is a cluster that can be looked up."""

    @around(ReplicationGroup, "__init__")
    def initialise(original: Any, group: Any, *given: Any, **named: Any) -> None:
        if named.get("cluster_mode") != "enabled" and not named.get("replicas_per_node_group"):
            named["replicas_per_node_group"] = int(named.get("num_cache_clusters") or 1) - 1
        original(group, *given, **named)
        if group.transit_encryption_enabled:
            group.transit_encryption_mode = group.transit_encryption_mode or "required"

    @around(ElastiCacheBackend, "describe_cache_clusters")
    def describe(original: Any, backend: Any, cache_cluster_id: str | None = None) -> Any:
        for group in backend.replication_groups.values():
            if cache_cluster_id in group.member_clusters:
                return [_node(backend, group, cache_cluster_id)]
        return original(backend, cache_cluster_id)


def _node(backend: Any, group: Any, identifier: str) -> CacheCluster:
    nothing = dict.fromkeys(set(CacheCluster.__init__.__annotations__) - {"return"})
    node = CacheCluster(
        **nothing
        | {"account_id": backend.account_id, "region_name": backend.region_name, "cache_cluster_id": identifier}
        | {name: getattr(group, name) for name in OF_THE_GROUP}
    )
    node.at_rest_encryption_enabled = group.at_rest_encryption_enabled
    node.transit_encryption_mode = group.transit_encryption_mode
    node.security_groups = [{"SecurityGroupId": one, "Status": "active"} for one in group.security_group_ids or []]
    node.cache_parameter_group = {"CacheParameterGroupName": group.cache_parameter_group_name}
    node.cache_nodes = []
    return node


OF_THE_GROUP = frozenset({
    "auto_minor_version_upgrade", "cache_node_type", "cache_parameter_group_name", "cache_subnet_group_name", "engine",
    "engine_version", "ip_discovery", "network_type", "port", "replication_group_id", "security_group_ids",
    "snapshot_retention_limit", "transit_encryption_enabled",
})  # fmt: skip
"""What a node has from its group."""


def _endings() -> None:
    @around(ElastiCacheBackend, "delete_replication_group")
    def delete(original: Any, backend: Any, replication_group_id: str, retain_primary_cluster: bool | None) -> Any:
        """Moto leaves it "deleting" for ever."""
        group = original(backend, replication_group_id, retain_primary_cluster)
        del backend.replication_groups[replication_group_id]
        return group
