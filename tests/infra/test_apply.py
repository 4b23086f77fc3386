"""The deployments on simulated AWS: all validate, one is applied, used and destroyed, in CI two; `prove deployments` is
all of it, for all five."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from simaws import SimulatedAws
from simaws.loop import Trial, lay_down, live
from simaws.plant import carry
from simaws.terraform import NotHere

PROFILES = ("tokyo", "london", "montreal", "virginia", "frankfurt")
WHOLE = ("montreal", "london") if os.environ.get("PENSTOCK_NO_SKIPS") else ("montreal",)
"""An Aurora behind API Gateway; and, in CI, an RDS behind a public door."""
NAMES = ("name", "bucket", "identifier", "cluster_identifier", "function_name", "replication_group_id")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@contextmanager
def named_skip() -> Iterator[None]:
    """What this machine lacks is said."""
    try:
        yield
    except NotHere as missing:
        pytest.skip(str(missing))


@named_skip()
def test_terraform_takes_every_profile(tmp_path: Path) -> None:
    with SimulatedAws() as aws:
        for profile in PROFILES:
            terraform = lay_down(Trial(profile, tmp_path), aws)
            terraform.init()
            terraform.validate()


@pytest.mark.parametrize("profile", WHOLE)
@named_skip()
def test_a_profile_is_applied_used_and_destroyed(profile: str, tmp_path: Path) -> None:
    life = live(Trial(profile, tmp_path, settings=("fast=true",)), carry)
    assert life.resources > 100


@pytest.mark.parametrize("profile", ["montreal", "tokyo"])
@named_skip()
def test_two_suffixes_of_a_profile_share_no_name(profile: str) -> None:
    from penstock.infra.synth import build  # noqa: PLC0415  # not before the trial has said what is missing

    one, two = (
        set(names(build(Trial(profile, Path(), suffix).deployment).template["resource"])) for suffix in ("one", "two")
    )
    assert len(one) > 50
    inside_another = {"aws_iam_role_policy", "aws_api_gateway_request_validator"}
    assert {kind for kind, _ in one & two} <= inside_another, one & two


def names(resources: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(type, name) of all that has a name."""
    for kind, made in resources.items():
        for one in made.values():
            for key in NAMES:
                if isinstance(one.get(key), str) and "${" not in one[key]:
                    yield kind, one[key]
