"""What moto is corrected in for ElastiCache, the service of which it knows least."""

import uuid
from typing import Any

import pytest
from botocore.exceptions import ClientError

from simaws import SimulatedAws


def unique(word: str) -> str:
    return f"{word}-{uuid.uuid4().hex[:8]}"


def parameter_group(redis: Any, **asked: object) -> Any:
    return redis.create_cache_parameter_group(
        CacheParameterGroupName=unique("parameters"), CacheParameterGroupFamily="redis7", Description="d", **asked
    )["CacheParameterGroup"]


def test_parameters_are_set_and_set_back(aws: SimulatedAws) -> None:
    redis = aws.client("elasticache")
    name = {"CacheParameterGroupName": parameter_group(redis)["CacheParameterGroupName"]}
    pair = {"ParameterName": "maxmemory-policy", "ParameterValue": "volatile-lru"}
    redis.modify_cache_parameter_group(**name, ParameterNameValues=[pair])
    (found,) = redis.describe_cache_parameters(**name)["Parameters"]
    assert (found["ParameterName"], found["ParameterValue"]) == ("maxmemory-policy", "volatile-lru")
    redis.reset_cache_parameter_group(**name, ParameterNameValues=[pair])
    assert redis.describe_cache_parameters(**name)["Parameters"] == []


def test_a_parameter_group_is_there_until_it_is_deleted(aws: SimulatedAws) -> None:
    redis = aws.client("elasticache")
    name = {"CacheParameterGroupName": parameter_group(redis)["CacheParameterGroupName"]}
    (found,) = redis.describe_cache_parameter_groups(**name)["CacheParameterGroups"]
    assert found["CacheParameterGroupFamily"] == "redis7"
    redis.delete_cache_parameter_group(**name)
    with pytest.raises(ClientError, match="CacheParameterGroupNotFound"):
        redis.describe_cache_parameter_groups(**name)


def test_a_parameter_group_has_the_tags_it_was_given(aws: SimulatedAws) -> None:
    redis = aws.client("elasticache")
    arn = parameter_group(redis, Tags=[{"Key": "a", "Value": "1"}])["ARN"]
    assert redis.list_tags_for_resource(ResourceName=arn)["TagList"] == [{"Key": "a", "Value": "1"}]


def test_a_user_group_changes_its_users_and_ends(aws: SimulatedAws) -> None:
    redis = aws.client("elasticache")
    group = {"UserGroupId": unique("group")}
    made = redis.create_user_group(**group, Engine="redis", UserIds=["default"], Tags=[{"Key": "a", "Value": "1"}])
    assert made["Status"] == "active"
    redis.modify_user_group(**group, UserIdsToAdd=["writer"], UserIdsToRemove=["default"])
    (found,) = redis.describe_user_groups(**group)["UserGroups"]
    assert found["UserIds"] == ["writer"]
    assert redis.list_tags_for_resource(ResourceName=found["ARN"])["TagList"] == [{"Key": "a", "Value": "1"}]
    redis.delete_user_group(**group)
    with pytest.raises(ClientError, match="UserGroupNotFound"):
        redis.describe_user_groups(**group)


def test_groups_of_other_regions_are_not_seen(corrected: SimulatedAws) -> None:
    parameter_group(corrected.client("elasticache", region="eu-central-1"))
    found = corrected.client("elasticache", region="us-east-1").describe_cache_parameter_groups()
    assert found["CacheParameterGroups"] == []


def test_a_subnet_group_can_be_deleted(aws: SimulatedAws) -> None:
    ec2, redis = aws.client("ec2"), aws.client("elasticache")
    vpc = ec2.create_vpc(CidrBlock="10.8.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.8.0.0/24")["Subnet"]["SubnetId"]
    name = {"CacheSubnetGroupName": unique("subnets")}
    redis.create_cache_subnet_group(**name, CacheSubnetGroupDescription="d", SubnetIds=[subnet])
    redis.delete_cache_subnet_group(**name)
    with pytest.raises(ClientError, match="NotFound"):
        redis.describe_cache_subnet_groups(**name)


def replication_group(redis: Any, **asked: object) -> Any:
    return redis.create_replication_group(
        ReplicationGroupId=unique("redis"), ReplicationGroupDescription="d", Engine="redis",
        CacheNodeType="cache.t4g.small", NumCacheClusters=2, AutomaticFailoverEnabled=True, MultiAZEnabled=True,
        AtRestEncryptionEnabled=True, TransitEncryptionEnabled=True, SecurityGroupIds=["sg-1"], **asked,
    )["ReplicationGroup"]  # fmt: skip


def test_a_replication_group_has_the_nodes_that_were_asked_for(aws: SimulatedAws) -> None:
    made = replication_group(aws.client("elasticache"))
    assert len(made["MemberClusters"]) == 2
    assert len(made["NodeGroups"][0]["NodeGroupMembers"]) == 2


def test_a_node_of_a_replication_group_can_be_looked_up(aws: SimulatedAws) -> None:
    redis = aws.client("elasticache")
    made = replication_group(redis)
    (node,) = redis.describe_cache_clusters(CacheClusterId=made["MemberClusters"][0])["CacheClusters"]
    assert node["ReplicationGroupId"] == made["ReplicationGroupId"]
    assert node["SecurityGroups"] == [{"SecurityGroupId": "sg-1", "Status": "active"}]
    assert node["AtRestEncryptionEnabled"] is node["TransitEncryptionEnabled"] is True


def test_encryption_of_a_replication_group_is_read_back(aws: SimulatedAws) -> None:
    made = replication_group(aws.client("elasticache"))
    assert made["AtRestEncryptionEnabled"] is True
    assert made["TransitEncryptionMode"] == "required"


def test_a_replication_group_that_was_deleted_is_gone(aws: SimulatedAws) -> None:
    redis = aws.client("elasticache")
    name = {"ReplicationGroupId": replication_group(redis)["ReplicationGroupId"]}
    redis.delete_replication_group(**name)
    with pytest.raises(ClientError, match="NotFound"):
        redis.describe_replication_groups(**name)
