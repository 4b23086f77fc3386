"""Terraform in one folder: each word it knows, bounded in time, with progress told while it runs."""

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

PARALLELISM: Final = 20
TOLD_EVERY_S: Final = 20.0
NO_CHANGES: Final = 0
WHAT_STOPS_A_DOWNLOAD: Final = (
    "Failed to query available provider packages",
    "Failed to install provider",
    "could not connect to registry",
)
Say = Callable[[str], None]


class NotHere(Exception):
    """Something that this machine lacks; the message says what."""


class Failed(AssertionError):
    """Terraform said no; the message is what it said."""


class Terraform:
    """`Terraform(folder, environment)`; *environment* is laid over this process's own."""

    def __init__(self, folder: Path, environment: Mapping[str, str], say: Say = print) -> None:
        program = shutil.which("terraform")
        if program is None:
            raise NotHere("terraform is not on this machine")
        self.program, self.folder, self.say = program, folder, say
        self.environment = os.environ | dict(environment) | {"TF_IN_AUTOMATION": "1", "CHECKPOINT_DISABLE": "1"}
        if "TF_CLI_CONFIG_FILE" not in self.environment:
            self.environment.setdefault("TF_PLUGIN_CACHE_DIR", str(_downloads()))

    def init(self) -> None:
        """Fetch the provider. Raises NotHere where it can neither be found nor downloaded."""
        code, said = self._run("init", "-input=false", timeout_s=300)
        if code and any(sign in said for sign in WHAT_STOPS_A_DOWNLOAD):
            raise NotHere(f"the AWS provider of Terraform cannot be had on this machine: {_errors(said)[:300]}")
        self._check("init", code, said)

    def validate(self) -> None:
        self._check("validate", *self._run("validate", timeout_s=120))

    def apply(self, timeout_s: float = 420) -> int:
        """How many resources were made."""
        given = ("-auto-approve", "-input=false", f"-parallelism={PARALLELISM}")
        return self._counted("apply", r"(\d+) added", self._run("apply", *given, timeout_s=timeout_s))

    def destroy(self, timeout_s: float = 420) -> int:
        """How many resources were taken down; that they are there was seen by the plan before."""
        given = ("-auto-approve", "-input=false", "-refresh=false", f"-parallelism={PARALLELISM}")
        return self._counted("destroy", r"(\d+) destroyed", self._run("destroy", *given, timeout_s=timeout_s))

    def changes(self) -> list[str]:
        """What a second plan would change: address, action, attributes. Nothing, when what stands is what was meant."""
        given = ("-detailed-exitcode", "-input=false", f"-parallelism={PARALLELISM}", "-out=plan.bin")
        code, said = self._run("plan", *given, timeout_s=240)
        if code == NO_CHANGES:
            return []
        self._check("plan", code - 2, said)
        plan = json.loads(self._quickly("show", "-json", "plan.bin"))
        return [change for one in plan["resource_changes"] for change in _changes(one)]

    def outputs(self) -> dict[str, Any]:
        return {name: one["value"] for name, one in json.loads(self._quickly("output", "-json")).items()}

    @property
    def state(self) -> str:
        """Everything that Terraform wrote down."""
        return "".join(path.read_text() for path in self.folder.glob("terraform.tfstate*"))

    def _quickly(self, *words: str) -> str:
        done = subprocess.run(
            [self.program, *words],
            cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        self._check(words[0], done.returncode, done.stderr)
        return done.stdout

    def _run(self, word: str, *given: str, timeout_s: float) -> tuple[int, str]:
        """Exit code and all that was said; killed with its children when it takes too long."""
        log = self.folder / f"{word}.log"
        with log.open("wb") as said:
            process = subprocess.Popen(
                [self.program, word, "-no-color", *given],
                cwd=self.folder, env=self.environment, stdout=said, stderr=said, start_new_session=True,
            )  # fmt: skip
        began_s, told_s = time.monotonic(), time.monotonic()
        while process.poll() is None:
            time.sleep(0.1)
            if time.monotonic() - told_s > TOLD_EVERY_S:
                told_s = time.monotonic()
                self.say(f"  {word}: {log.read_text().count('complete after')} so far, {told_s - began_s:.0f} s")
            if time.monotonic() - began_s > timeout_s:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                raise Failed(f"terraform {word} took longer than {timeout_s:.0f} s; see {log}")
        return process.returncode, log.read_text()

    def _counted(self, word: str, pattern: str, ended: tuple[int, str]) -> int:
        self._check(word, *ended)
        found = re.search(pattern, ended[1])
        return int(found[1]) if found else 0

    def _check(self, word: str, code: int, said: str) -> None:
        if code:
            raise Failed(f"terraform {word} ended with {code}:\n{_errors(said)}")


def _errors(said: str) -> str:
    """Only what went wrong."""
    parts = said.split("\nError: ")[1:]
    return "\n".join("Error: " + part.strip()[:1500] for part in parts) or said[-1500:]


def _changes(resource: Mapping[str, Any]) -> list[str]:
    change = resource["change"]
    if change["actions"] in (["no-op"], ["read"]):
        return []
    before, after, unknown = (change[key] or {} for key in ("before", "after", "after_unknown"))
    differs = {
        name: (before.get(name), "(known later)" if unknown.get(name) else after.get(name))
        for name in sorted({*before, *after, *unknown})
        if before.get(name) != after.get(name) and not (unknown.get(name) and change["actions"] == ["update"])
    }
    return [f"{resource['address']} {'+'.join(change['actions'])} {differs}"]


def _downloads() -> Path:
    """Half a gigabyte of provider is fetched once, not once a stack."""
    folder = Path(tempfile.gettempdir()) / f"penstock-terraform-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder
