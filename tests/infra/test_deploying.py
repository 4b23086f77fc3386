"""`deploy` and `destroy` from nothing to nothing: real Terraform, simulated AWS, a stack of a few resources."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.test_readiness import pushed
from penstock import __version__
from penstock.__main__ import EXIT_CONFIGURATION, EXIT_NOT_SO, main
from penstock.infra import deploying
from penstock.infra.description import Deployment
from penstock.infra.reading import read_deployment
from penstock.infra.synth import Synthesised
from simaws import SimulatedAws
from simaws.loop import PROVIDER
from simaws.terraform import NotHere, Terraform

REGION, STATE = "eu-west-2", "state-of-trials"
WORDS = ("london", "--environment", "dev", "--set", "door.insecure_http=true", "--set", f"state=s3://{STATE}/trials")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def small(deployment: Deployment, url: str, provider: str, subnet: str) -> Synthesised:
    """What the flow looks at, and nothing else: repository, cluster, a service, the archive."""
    names = deployment.names
    container = {
        "name": "serve", "image": "i", "essential": True, "memory": 8,
        "logConfiguration": {"logDriver": "awslogs", "options": {"awslogs-group": "log-of-serve"}},
    }  # fmt: skip
    service = {
        "name": names("serve", "service"), "cluster": "${aws_ecs_cluster.tasks_cluster.id}",
        "task_definition": "${aws_ecs_task_definition.serve_definition.arn}", "desired_count": 1,
        "network_configuration": {"subnets": [subnet]},
    }  # fmt: skip
    template: dict[str, Any] = {
        "terraform": {
            "required_providers": {"aws": {"source": "aws", **({"version": provider} if provider else {})}},
            "backend": {"s3": {
                "bucket": STATE, "key": "trials/small.tfstate", "region": REGION, "encrypt": True, "use_lockfile": True,
            }},
        },
        "provider": {"aws": [{
            "region": REGION, "access_key": "test", "secret_key": "test", "skip_credentials_validation": True,
            "skip_metadata_api_check": "true", "s3_use_path_style": True,
            "endpoints": [dict.fromkeys(("ecr", "ecs", "s3", "sts", "iam"), url)],
        }]},
        "resource": {
            "aws_ecr_repository": {"tasks_repository": {"name": names("penstock", "images"), "force_delete": True}},
            "aws_ecs_cluster": {"tasks_cluster": {"name": names("tasks", "cluster")}},
            "aws_ecs_task_definition": {"serve_definition": {
                "family": names("serve", "task"), "network_mode": "awsvpc",
                "container_definitions": json.dumps([container]),
            }},
            "aws_ecs_service": {"serve_service": service},
        },
        "output": {
            "ecs_cluster_name": {"value": names("tasks", "cluster"), "description": "Where the tasks run."},
            "door_url": {"value": "http://door"},
        },
    }  # fmt: skip
    return Synthesised(template, b"")


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[SimulatedAws]:
    pytest.importorskip("moto", reason="moto is not on this machine")
    with SimulatedAws(region=REGION) as simulated:
        try:
            environment = Terraform(tmp_path, simulated.environment).environment
        except NotHere as missing:
            pytest.skip(str(missing))
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("PENSTOCK_TEST_AWS_ENDPOINT", simulated.url)
        subnet = simulated.client("ec2").describe_subnets()["Subnets"][0]["SubnetId"]
        deployment = read_deployment("london", environment="dev")
        made = small(deployment, simulated.url, environment.get(PROVIDER, ""), subnet)
        monkeypatch.setattr(deploying, "synthesise", lambda _: made)
        monkeypatch.setattr(deploying, "complete", lambda made, _: made)
        monkeypatch.setattr("penstock.__main__.share_metrics", lambda: None)
        simulated.client("s3").create_bucket(Bucket=STATE, CreateBucketConfiguration={"LocationConstraint": REGION})
        yield simulated


def test_from_nothing_to_nothing(
    aws: SimulatedAws, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(place: str, *words: str) -> tuple[int, str, str]:
        """Exit code, standard output and standard error of `penstock WORDS`, run in a folder of its own."""
        (tmp_path / place).mkdir(exist_ok=True)
        monkeypatch.chdir(tmp_path / place)
        monkeypatch.setattr(sys, "argv", ["penstock", words[0], *WORDS, *words[1:]])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), *capsys.readouterr()

    code, out, err = said("here", "deploy", "--yes")
    if "cannot be downloaded" in err:
        pytest.skip("the AWS provider of Terraform cannot be had on this machine")
    assert code == EXIT_CONFIGURATION
    assert "make 4: serve 2, tasks 2" in err
    assert "src/penstock/infra/image/push" in err, "the repository is made, and the image wanted"
    assert aws.client("ecs").list_clusters()["clusterArns"] == [], "and nothing that would start without it"

    ecr = aws.client("ecr")
    (repository,) = ecr.describe_repositories()["repositories"]
    pushed(ecr, repository["repositoryName"], __version__)
    code, out, err = said("here", "deploy", "--yes", "--json")
    assert code == 0, err
    assert json.loads(out) == {"ecs_cluster_name": "london-tasks-cluster-dev-main", "door_url": "http://door"}
    assert "deploy: 3 of 3" in err
    assert "log-of-serve" in err
    assert "curl http://door/v1/readings" in err

    lock = aws.client("s3")
    lock.put_object(Bucket=STATE, Key="trials/small.tfstate.tflock", Body=json.dumps({"ID": "1-2-3", "Who": "ana"}))
    code, _, err = said("elsewhere", "destroy", "--yes")
    assert code != 0
    assert "force-unlock" in err
    lock.delete_object(Bucket=STATE, Key="trials/small.tfstate.tflock")

    monkeypatch.setattr("sys.stdin", _Answer("no\n"))
    code, _, err = said("elsewhere", "destroy")
    assert (code, "nothing was done" in err) == (EXIT_NOT_SO, True)
    code, out, err = said("elsewhere", "destroy", "--yes")
    assert (code, "london-dev-main is gone" in out) == (0, True), err
    assert ecr.describe_repositories()["repositories"] == []
    code, out, _ = said("elsewhere", "destroy", "--yes")
    assert (code, "nothing to destroy: there is no london-dev-main in s3://" in out) == (0, True)


class _Answer:
    """Somebody at a terminal, who says one thing."""

    def __init__(self, line: str) -> None:
        self._line = line

    def isatty(self) -> bool:
        return True

    def readline(self) -> str:
        return self._line
