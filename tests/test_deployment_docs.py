"""The deployments' pages and pictures are those of the stacks that were last looked at, and what they say is so."""

import json
import os
import re
import subprocess
import sys
import tomllib
import xml.etree.ElementTree as ET
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
sys.path.insert(0, str(DOCS))

from make_deployments import ABOUT, FOLDER, STACKS, pages, room_of  # noqa: E402

from penstock.infra.description import Deployment  # noqa: E402
from penstock.infra.spelling import spellings  # noqa: E402

PROFILES = sorted(path.name.removesuffix(".toml") for path in files("penstock.infra").joinpath("profiles").iterdir())
WORKFLOW = ROOT / ".github" / "workflows" / "deliver.yml"


def test_pages_and_pictures_are_as_the_stacks_are() -> None:
    for path, text in pages():
        assert path.read_text() == text, f"{path.name} is old: .venv/bin/python docs/make_deployments.py"


def test_every_profile_has_its_page_and_no_page_is_left_over() -> None:
    assert sorted(ABOUT) == PROFILES
    assert {path.name for path in FOLDER.iterdir()} == {path.name for path, _ in pages()}


@pytest.mark.parametrize("profile", PROFILES)
def test_every_output_that_is_made_is_explained(profile: str) -> None:
    stack = json.loads((STACKS / f"{profile}.json").read_text())
    told = dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", (FOLDER / f"{profile}.md").read_text(), re.MULTILINE))
    assert told == {name: one["description"] for name, one in stack["output"].items()}
    assert told


@pytest.mark.parametrize("profile", PROFILES)
def test_no_output_is_forgotten(profile: str) -> None:
    """What `outputs.py` offers is in some profile's page, spelt as its readers expect."""
    outputs = pytest.importorskip("penstock.infra.outputs", reason="this machine has not the extra `deploy`").OUTPUTS
    told = set(json.loads((STACKS / f"{profile}.json").read_text())["output"])
    assert told <= {spelt for name in outputs for spelt in spellings(name, profile)}


def test_a_kind_of_resource_without_a_room_is_named() -> None:
    with pytest.raises(LookupError, match="aws_never_heard_of"):
        room_of("never_heard_of")


@pytest.mark.parametrize("profile", PROFILES)
def test_a_picture_is_well_formed_and_nothing_stands_outside(profile: str) -> None:
    picture = ET.fromstring((FOLDER / f"{profile}.svg").read_text())
    width, height = (float(one) for one in picture.attrib["viewBox"].split()[2:])
    boxes = [one for one in picture.iter() if one.attrib.get("class") == "box"]
    assert len(boxes) >= 14
    for box in boxes:
        x, y, wide, high = (float(box.attrib[name]) for name in ("x", "y", "width", "height"))
        assert min(x, y) >= 0
        assert x + wide <= width
        assert y + high <= height


def test_no_two_boxes_of_a_picture_overlap() -> None:
    for profile in PROFILES:
        picture = ET.fromstring((FOLDER / f"{profile}.svg").read_text())
        boxes = [
            tuple(float(one.attrib[name]) for name in ("x", "y", "width", "height"))
            for one in picture.iter()
            if one.attrib.get("class") == "box"
        ]
        for index, (x, y, wide, high) in enumerate(boxes):
            for left, top, across, down in boxes[index + 1 :]:
                apart = x + wide <= left or left + across <= x or y + high <= top or top + down <= y
                assert apart, f"{profile}: boxes at {x},{y} and {left},{top}"


def test_the_workflow_signs_in_by_role_and_holds_no_long_lived_secret() -> None:
    text = WORKFLOW.read_text()
    assert "id-token: write" in text
    assert "role-to-assume" in text
    assert not re.search(r"secrets\.|aws-access-key|aws-secret|AKIA", text, re.IGNORECASE)


def test_the_workflow_uses_actions_by_their_commit_or_major_version_and_knows_every_environment() -> None:
    text = WORKFLOW.read_text()
    used = re.findall(r"uses: *(\S+)", text)
    assert used
    assert all(re.search(r"@(v\d+|[0-9a-f]{40})$", one) for one in used if not one.startswith("./"))
    for path in files("penstock.infra").joinpath("environments").iterdir():
        name = tomllib.loads(path.read_text())["environment"]
        assert re.search(rf"\b{name}\b", text), name


@pytest.mark.parametrize(("runs", "code"), [("host/name@sha256:new", 0), ("host/name@sha256:old", 1)])
def test_the_workflow_fails_where_a_service_went_back_to_the_version_before(
    tmp_path: Path, runs: str, code: int
) -> None:
    """Its own words, with stand-ins for AWS, which calls such a service stable."""
    (step,) = (one for one in steps("deploy") if "new version has all traffic" in one.get("name", ""))
    aws = f'case "$*" in *describe-task-definition*) echo {runs} ;; *) echo told ;; esac'
    for name, words in {"aws": aws, "jq": "echo work"}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{words}\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "deploy.log").write_text('{"deployments": ["d-ABC1"]}')
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "IMAGE": "host/name@sha256:new"}
    command = ["bash", "-e", "-o", "pipefail", "-c", step["run"]]
    assert subprocess.run(command, cwd=tmp_path, env=environment, check=False).returncode == code


def steps(job: str) -> list[dict[str, Any]]:
    yaml = pytest.importorskip("yaml", reason="PyYAML, which moto brings, is not on this machine")
    found: list[dict[str, Any]] = yaml.safe_load(WORKFLOW.read_text())["jobs"][job]["steps"]
    return found


def test_every_setting_that_guides_and_workflow_name_exists() -> None:
    told = WORKFLOW.read_text() + (DOCS / "deploy.md").read_text() + (DOCS / "delivery.md").read_text()
    named = set(re.findall(r"--set ['\"]?([a-z_.]+)=", told))
    assert named
    for setting in named:
        room, _, key = setting.partition(".")
        field = Deployment.model_fields[room]
        assert not key or key in field.annotation.model_fields, setting
