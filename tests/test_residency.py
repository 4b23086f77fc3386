"""What must stay in one place is neither taken nor kept in another: asked at every start."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from penstock.cli import app
from penstock.errors import Misconfigured
from penstock.residency import check_residency, regions
from penstock.settings import read_settings

KINESIS = {"url": "kinesis://plant", "region": "eu-west-2"}


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment names no region."""
    monkeypatch.delenv("AWS_REGION", raising=False)
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)


def test_nothing_is_asked_where_nothing_is_said() -> None:
    check_residency(read_settings(stream=KINESIS))


def test_london_is_in_the_united_kingdom_and_not_in_the_union() -> None:
    check_residency(read_settings(residency="UK", stream=KINESIS))
    with pytest.raises(Misconfigured, match=r"stream\.region: eu-west-2 is not known to lie in EU.*eu-central-1"):
        check_residency(read_settings(residency="EU", stream=KINESIS))


def test_an_archive_elsewhere_is_refused() -> None:
    archive = {"url": "s3://record/readings", "region": "us-east-1"}
    with pytest.raises(Misconfigured, match=r"archive\.region: us-east-1"):
        check_residency(read_settings(residency="UK", stream=KINESIS, archive=archive))


def test_a_region_of_the_environment_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    with pytest.raises(Misconfigured, match="AWS_REGION: us-east-1"):
        check_residency(read_settings(residency="UK", stream=KINESIS))


def test_a_region_that_nobody_names_is_no_answer() -> None:
    with pytest.raises(Misconfigured, match="no region is not known to lie in JP"):
        check_residency(read_settings(residency="JP", stream={"url": "kinesis://plant"}))


def test_where_nothing_is_at_amazon_nothing_is_elsewhere(tmp_path: Path) -> None:
    check_residency(read_settings(residency="CA", data=tmp_path))


@pytest.mark.parametrize("role", ["ingest", "work", "serve"])
def test_no_role_starts_elsewhere(role: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in (("PENSTOCK_RESIDENCY", "EU"), ("AWS_REGION", "us-east-1"), ("PENSTOCK_DATA", str(tmp_path))):
        monkeypatch.setenv(name, value)
    refused = CliRunner().invoke(app, [role, "--stream", "kinesis://plant", "--store", "postgresql://h/d"]).exception
    assert isinstance(refused, Misconfigured)
    assert refused.setting == "AWS_REGION"


def test_every_residency_that_may_be_asked_for_has_a_region() -> None:
    assert {region.residency for region in regions().values()} == {"EU", "UK", "CA", "JP", "US"}
