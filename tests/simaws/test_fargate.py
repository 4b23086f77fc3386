"""A task starts as its applied definition says, and with nothing that this machine's environment holds."""

import json
from pathlib import Path

import pytest

from simaws import SimulatedAws
from simaws.fargate import Definition, Elsewhere, Task, definitions

TRUST = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "ecs-tasks.amazonaws.com"}}


@pytest.fixture(scope="module")
def definition(accounts: dict[str, SimulatedAws]) -> Definition:
    """A service of two containers, one of them a side-car."""
    aws = accounts["corrected"]
    policy = json.dumps({"Version": "2012-10-17", "Statement": [TRUST]})
    role = aws.client("iam").create_role(RoleName="fargate-task", AssumeRolePolicyDocument=policy)["Role"]["Arn"]
    secret = aws.client("secretsmanager").create_secret(Name="fargate", SecretString="kept")["ARN"]
    ecs = aws.client("ecs")
    container = {
        "name": "ingest", "image": "i", "essential": True, "memory": 8, "entryPoint": ["penstock"], "stopTimeout": 7,
        "command": ["ingest", "--host", "0.0.0.0", "--port", "8080"],
        "environment": [{"name": "PENSTOCK_CACHE__URL", "value": "rediss://master.aws:6379/0"}],
        "secrets": [{"name": "SIGNING", "valueFrom": secret}],
        "portMappings": [{"containerPort": 8080}],
    }  # fmt: skip
    side = {"name": "collector", "image": "i", "essential": False, "memory": 8}
    ecs.create_cluster(clusterName="fargate")
    ecs.register_task_definition(family="ingest", taskRoleArn=role, containerDefinitions=[side, container])
    ecs.create_service(cluster="fargate", serviceName="ingest", taskDefinition="ingest", desiredCount=1)
    return definitions(aws, "fargate")["ingest"]


@pytest.fixture
def task(corrected: SimulatedAws, definition: Definition, tmp_path: Path) -> Task:
    elsewhere = Elsewhere([("master.aws:6379", "127.0.0.1:1"), ("rediss:", "redis:")], {"BESIDES": "told"})
    return Task(corrected, definition, tmp_path, elsewhere)


def test_the_essential_container_is_what_runs(definition: Definition) -> None:
    assert (definition.container["name"], definition.port, definition.stop_s) == ("ingest", 8080, 7)


def test_the_command_is_the_containers_on_a_port_of_this_machine(task: Task) -> None:
    assert task.command[3:] == ["ingest", "--host", "127.0.0.1", "--port", str(task.port)]


def test_the_environment_is_the_definitions_and_nothing_of_ours(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUR_OWN", "secret")
    told = task.environment
    assert "OUR_OWN" not in told
    assert told["PENSTOCK_CACHE__URL"] == "redis://127.0.0.1:1/0"
    assert (told["SIGNING"], told["BESIDES"]) == ("kept", "told")


def test_a_task_is_its_role(task: Task, corrected: SimulatedAws) -> None:
    told = task.environment
    sts = corrected.client(
        "sts",
        aws_access_key_id=told["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=told["AWS_SECRET_ACCESS_KEY"],
        aws_session_token=told["AWS_SESSION_TOKEN"],
    )
    assert "assumed-role/fargate-task" in sts.get_caller_identity()["Arn"]
