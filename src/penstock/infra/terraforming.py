"""Terraform, run in the folder of a stack."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

from penstock.errors import Misconfigured, Unavailable

QUIET: Final = {"TF_IN_AUTOMATION": "1", "CHECKPOINT_DISABLE": "1"}
PARALLEL: Final = "20"
"""Most of the time Terraform waits for AWS."""


class Terraform:
    """One stack's folder, and what Terraform does there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._program = shutil.which("terraform") or shutil.which("tofu")
        if self._program is None:
            mend = "install it (https://developer.hashicorp.com/terraform/install), 1.11 or newer"
            raise Misconfigured("terraform", "there is no Terraform on this machine", mend)

    def init(self) -> None:
        """Fetch the provider, open the state."""
        self._run("init", "-input=false", "-upgrade=false")

    def apply(self, variables: dict[str, str], *, ask: bool) -> None:
        """Make what the stack says; *ask* first."""
        self._run("apply", *self._words(variables, ask=ask))

    def destroy(self, variables: dict[str, str], *, ask: bool) -> None:
        """Take it all down again."""
        self._run("destroy", *self._words(variables, ask=ask))

    def outputs(self) -> dict[str, Any]:
        """What the stack says of itself; nothing before it stands."""
        told = json.loads(self._told("output", "-json") or "{}")
        return {name: one["value"] for name, one in told.items()}

    def _words(self, variables: dict[str, str], *, ask: bool) -> list[str]:
        given = [f"-var={name}={value}" for name, value in sorted(variables.items())]
        return [f"-parallelism={PARALLEL}", *given, *([] if ask else ["-auto-approve", "-input=false"])]

    def _run(self, *words: str) -> None:
        """Terraform speaks to the terminal by itself. Raises Unavailable when it gives up."""
        done = subprocess.run([str(self._program), *words], cwd=self._folder, env=self._environment(), check=False)  # noqa: S603  # our own words
        if done.returncode:
            raise Unavailable(f"terraform {words[0]} failed; what it said stands above")

    def _told(self, *words: str) -> str:
        done = subprocess.run(  # noqa: S603  # our own words
            [str(self._program), *words],
            cwd=self._folder,
            env=self._environment(),
            check=False,
            capture_output=True,
            text=True,
        )
        return done.stdout if done.returncode == 0 else ""

    def _environment(self) -> dict[str, str]:
        return dict(os.environ) | QUIET
