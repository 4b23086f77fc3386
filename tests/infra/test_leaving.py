"""What a deployment says before it goes, and when it may not."""

import json
from pathlib import Path

import pytest

from penstock.errors import Misconfigured
from penstock.infra.account import Account, app_spec
from penstock.infra.deploying import check_ready
from penstock.infra.leaving import check_leave, farewell
from penstock.infra.reading import read_deployment
from penstock.infra.rotation import AUTHORITIES, packed, with_authorities
from penstock.infra.terraforming import Terraform


def test_an_ephemeral_deployment_takes_the_archive_with_it() -> None:
    assert "and the archive with all that was stored" in farewell(read_deployment("tokyo", environment="dev"))


def test_a_governed_one_says_how_long_what_stays_is_locked() -> None:
    said = farewell(read_deployment("virginia"))
    assert "2557 days" in said
    assert "--with-archive" in said


def test_a_sealed_one_says_until_when_and_refuses() -> None:
    sealed = read_deployment("virginia", settings=["archive.retention=sealed"])
    assert "nobody, Amazon included" in farewell(sealed)
    with pytest.raises(Misconfigured, match="sealed"):
        check_leave(sealed, Account(sealed), {}, with_archive=True)


def test_a_domain_that_nobody_owns_is_not_deployed() -> None:
    with pytest.raises(Misconfigured, match=r"tokyo\.penstock\.example"):
        check_ready(read_deployment("tokyo"))
    check_ready(read_deployment("tokyo", settings=["door.domain=plant.co.jp"]))
    check_ready(read_deployment("tokyo", environment="dev", settings=["door.insecure_http=true"]))


def test_code_deploy_is_told_which_container_takes_the_traffic() -> None:
    told = json.loads(app_spec("ingest", "arn:aws:ecs:task"))
    properties = told["Resources"][0]["TargetService"]["Properties"]
    assert properties["TaskDefinition"] == "arn:aws:ecs:task"
    assert properties["LoadBalancerInfo"] == {"ContainerName": "ingest", "ContainerPort": 8080}


def test_the_package_takes_the_authorities_and_stays_the_same_otherwise() -> None:
    package = packed({"b.py": b"2", "a.py": b"1"})
    assert package == packed({"a.py": b"1", "b.py": b"2"})
    assert with_authorities(package, b"PEM") == packed({"a.py": b"1", "b.py": b"2", AUTHORITIES: b"PEM"})


def test_a_machine_without_terraform_is_told_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Misconfigured, match="no Terraform"):
        Terraform(tmp_path)
