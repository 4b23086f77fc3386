"""What a destroy forgot is found; what Amazon itself keeps for a while, or makes by itself, is not called forgotten."""

import pytest

from simaws import SimulatedAws
from simaws.leftovers import leftovers


@pytest.fixture
def empty(accounts: dict[str, SimulatedAws]) -> SimulatedAws:
    """A region that no other test uses; buckets and roles have none, so that this only looks for what it made."""
    return SimulatedAws(region="ap-southeast-2", url=accounts["corrected"].url)


def added(aws: SimulatedAws, before: dict[str, list[str]]) -> dict[str, list[str]]:
    return {kind: names for kind, names in leftovers(aws).items() if names != before.get(kind)}


def test_what_was_forgotten_is_named(empty: SimulatedAws) -> None:
    before = leftovers(empty)
    empty.client("kinesis").create_stream(StreamName="forgotten", ShardCount=1)
    empty.client("logs").create_log_group(logGroupName="forgotten")
    empty.client("rds").create_db_parameter_group(
        DBParameterGroupName="forgotten", DBParameterGroupFamily="postgres16", Description="d"
    )
    found = added(empty, before)
    assert found == {kind: ["forgotten"] for kind in ("database parameters", "log groups", "streams")}


def test_a_key_that_waits_for_its_end_is_not(empty: SimulatedAws) -> None:
    before = leftovers(empty)
    kms = empty.client("kms")
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    assert added(empty, before) == {"keys": [key]}
    kms.schedule_key_deletion(KeyId=key)
    assert added(empty, before) == {}


def test_a_deleted_cluster_leaves_amazons_parameters_behind(empty: SimulatedAws) -> None:
    before = leftovers(empty)
    rds = empty.client("rds")
    rds.create_db_cluster(
        DBClusterIdentifier="c", Engine="aurora-postgresql", MasterUsername="owner", MasterUserPassword="not-a-secret"
    )
    rds.create_db_instance(
        DBInstanceIdentifier="i", DBClusterIdentifier="c", DBInstanceClass="db.serverless", Engine="aurora-postgresql"
    )
    assert added(empty, before) == {"database clusters": ["c"], "database instances": ["i"]}
    rds.delete_db_instance(DBInstanceIdentifier="i", SkipFinalSnapshot=True)
    rds.delete_db_cluster(DBClusterIdentifier="c", SkipFinalSnapshot=True)
    assert added(empty, before) == {}
