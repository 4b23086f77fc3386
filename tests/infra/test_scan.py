"""What a scanner of others finds in the five stacks: nothing that is not explained. A planted bad stack fails."""

import copy
import json
import os
import shutil
import subprocess
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from infra.snapshot import kept
from penstock.infra.reading import PROFILES

CHECKOV = os.environ.get("PENSTOCK_CHECKOV") or shutil.which("checkov")
SKIPS = tomllib.loads(files("penstock.infra").joinpath("checkov-skips.toml").read_text())["skip"]
PASSED_AT_LEAST = 400
"""checkov reports no failure, and exit code 0, of a file that it could not read."""

needs_checkov = pytest.mark.skipif(
    CHECKOV is None,
    reason="this machine has not checkov; it wants a venv of its own: PENSTOCK_CHECKOV=/path/to/checkov",
)


def scan(stack: dict[str, Any], folder: Path) -> dict[str, Any]:
    (folder / "cdk.tf.json").write_text(json.dumps(stack))
    words = ["--framework", "terraform_json", "--skip-download", "--output", "json", "--compact", "--quiet"]
    done = subprocess.run([str(CHECKOV), "-d", str(folder), *words], capture_output=True, text=True, check=False)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def unexplained(found: dict[str, Any]) -> set[tuple[str, str]]:
    skipped = {one["check"] for one in SKIPS}
    return {
        (one["check_id"], one["resource"])
        for one in found["results"]["failed_checks"]
        if one["check_id"] not in skipped
    }


@needs_checkov
@pytest.mark.slow
@pytest.mark.parametrize("profile", PROFILES)
def test_a_scanner_finds_nothing_unexplained(profile: str, tmp_path: Path) -> None:
    found = scan(kept(profile), tmp_path)
    assert found["summary"]["parsing_errors"] == 0
    assert found["summary"]["passed"] >= PASSED_AT_LEAST
    assert unexplained(found) == set()


@needs_checkov
@pytest.mark.slow
def test_a_planted_bad_stack_is_found(tmp_path: Path) -> None:
    stack = copy.deepcopy(kept("london"))
    stack["resource"]["aws_db_instance"]["store_postgres"]["storage_encrypted"] = False
    del stack["resource"]["aws_s3_bucket_public_access_block"]
    assert {check for check, _ in unexplained(scan(stack, tmp_path))} >= {"CKV_AWS_16", "CKV2_AWS_6"}


def test_what_is_left_alone_is_short_and_explained() -> None:
    assert len(SKIPS) <= 12
    assert len({one["check"] for one in SKIPS}) == len(SKIPS)
    assert all(len(one["reason"].split()) >= 8 for one in SKIPS)
