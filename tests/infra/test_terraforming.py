"""Terraform is listened to, and interrupted gently; with a stand-in that says what Terraform says."""

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from penstock.errors import Misconfigured, Unavailable
from penstock.infra.console import Console, steps
from penstock.infra.terraforming import Change, Plan, Terraform

STAND_IN = """#!{python}
import json, pathlib, signal, sys, time
words = sys.argv[1:]
pathlib.Path({log!r}).open("a").write(json.dumps(words) + "\\n")
if words[0] == "version":
    print("a warning first"); print(json.dumps({{"terraform_version": {version!r}}})); sys.exit()
{acts}
"""
PLANNED = {
    "type": "planned_change",
    "change": {"action": "create", "resource": {"addr": "aws_vpc.network_vpc", "resource_type": "aws_vpc"}},
}
DONE = {"type": "apply_complete", "hook": {"resource": {"addr": "aws_vpc.network_vpc"}}}
FAILED = {
    "type": "diagnostic",
    "diagnostic": {
        "severity": "error",
        "summary": "creating VPC: VpcLimitExceeded",
        "detail": "no more",
        "address": "aws_vpc.network_vpc",
    },
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "stack").mkdir()
    return tmp_path / "stack"


def stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch, acts: str = "", version: str = "1.11.4") -> Path:
    """A `terraform` that does *acts*; returns where it writes its words down."""
    program, log = folder.parent / "terraform", folder.parent / "words"
    program.write_text(STAND_IN.format(python=sys.executable, log=str(log), version=version, acts=acts))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder.parent}:{os.environ['PATH']}")
    return log


def saying(*events: dict[str, Any], code: int = 0) -> str:
    return "".join(f"print({json.dumps(json.dumps(event))})\n" for event in events) + f"sys.exit({code})"


def test_a_machine_without_terraform_is_told_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Misconfigured, match="no Terraform"):
        Terraform(tmp_path)


@pytest.mark.parametrize("version", ["0.12.31", "1.5.7", "1.10.9"])
def test_one_that_is_too_old_is_refused(version: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(folder, monkeypatch, version=version)
    with pytest.raises(Misconfigured, match=f"{version} .* is too old"):
        Terraform(folder)


@pytest.mark.parametrize("version", ["1.11.0", "1.12.0-beta1", "2.0.0"])
def test_one_that_is_new_enough_is_taken(version: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(folder, monkeypatch, version=version)
    Terraform(folder)


def test_a_plan_says_what_it_would_change(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = stand_in(folder, monkeypatch, saying(PLANNED))
    plan = Terraform(folder).plan({"b": "2", "a": "1"}, only="aws_vpc.network_vpc")
    assert plan.changes == (Change("create", "aws_vpc.network_vpc"),)
    assert plan.changes[0].room == "network"
    words = json.loads(log.read_text().splitlines()[-1])
    assert words[:2] == ["plan", "-json"]
    assert words[-3:] == ["-var=a=1", "-var=b=2", "-target=aws_vpc.network_vpc"]


def test_an_apply_is_heard_step_by_step_and_writes_nothing_to_standard_output(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    stand_in(folder, monkeypatch, saying(DONE, DONE))
    with Console(ask=False).bar("deploy", 2) as step:
        Terraform(folder).apply(Plan(folder / "plan", ()), steps(step))
    said = capfd.readouterr()
    assert said.out == ""
    assert "deploy: 2 of 2" in said.err


def test_what_it_complains_of_is_ours_to_say(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(folder, monkeypatch, saying(FAILED, code=1))
    with pytest.raises(Misconfigured, match=r"(?s)quota is used up.*aws_vpc.network_vpc"):
        Terraform(folder).apply(Plan(folder / "plan", ()))


def test_a_crash_is_shown_as_it_is(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(folder, monkeypatch, "print('panic: nil pointer'); sys.exit(2)")
    with pytest.raises(Unavailable, match="panic: nil pointer"):
        Terraform(folder).init()


def test_a_state_that_cannot_be_read_is_not_an_empty_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(folder, monkeypatch, "print('Error: no access', file=sys.stderr); sys.exit(1)")
    with pytest.raises(Unavailable, match="no access"):
        Terraform(folder).holds()


def test_an_interrupt_waits_until_what_was_begun_is_written_down(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marker, ready = folder.parent / "written", folder.parent / "ready"
    acts = (
        "def end(*_):\n"
        f"    time.sleep(0.3); pathlib.Path({str(marker)!r}).write_text('state'); sys.exit(1)\n"
        "signal.signal(signal.SIGINT, end)\n"
        f"pathlib.Path({str(ready)!r}).touch()\n"
        "time.sleep(30)"
    )
    stand_in(folder, monkeypatch, acts)
    terraform, ours = Terraform(folder), signal.default_int_handler
    before = signal.signal(signal.SIGINT, ours)  # a shell's background ignores it, and what is ignored stays so
    threading.Thread(target=interrupt_once, args=(ready,)).start()
    with pytest.raises(Unavailable, match="interrupted"):
        terraform.init()
    assert marker.read_text() == "state"
    assert signal.signal(signal.SIGINT, before) is ours


def interrupt_once(ready: Path) -> None:
    until_s = time.monotonic() + 20
    while not ready.exists() and time.monotonic() < until_s:
        time.sleep(0.02)
    os.kill(os.getpid(), signal.SIGINT)
