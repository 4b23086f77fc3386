"""Terraform, run in the folder of a stack: what it says is read, so that we can say it in our words."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from penstock.errors import Misconfigured, Unavailable
from penstock.infra.complaints import complaint

QUIET: Final = {"TF_IN_AUTOMATION": "1", "TF_INPUT": "0", "CHECKPOINT_DISABLE": "1"}
PARALLEL: Final = "20"
"""Most of the time Terraform waits for AWS."""
OLDEST: Final = (1, 11)
"""Write-only arguments and ephemeral passwords need it."""
INSTALL: Final = "install 1.11 or newer (https://developer.hashicorp.com/terraform/install)"
NO_STATE: Final = "No state file was found"
"""What Terraform says of a stack that nobody applied yet; that is no failure."""
LISTEN_S: Final = 0.1
SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
Event = Mapping[str, Any]
Hear = Callable[[Event], None]


class Change(NamedTuple):
    """One resource that a plan would touch."""

    action: str
    """`create`, `update`, `replace` or `delete`."""
    address: str
    """`aws_vpc.network_vpc`"""

    @property
    def room(self) -> str:
        """The part of the stack that it belongs to: `network`."""
        return self.address.partition(".")[2].partition("_")[0]


class Plan(NamedTuple):
    """What an apply would do, and the file that makes it do just this."""

    file: Path
    changes: tuple[Change, ...]

    def count(self, action: str) -> int:
        """How many resources meet *action*."""
        return sum(change.action == action for change in self.changes)

    @property
    def steps(self) -> int:
        """How many times Terraform will say that something is done; replacing is two."""
        return len(self.changes) + self.count("replace")


def _deaf(_: Event) -> None:
    """Nobody listens."""


class Terraform:
    """One stack's folder, and what Terraform does there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        found = shutil.which("terraform") or shutil.which("tofu")
        if found is None:
            raise Misconfigured("terraform", "there is no Terraform on this machine", INSTALL)
        self._program = found
        self._plans = Path(tempfile.mkdtemp(prefix="penstock-plan-"))  # ours alone: a plan tells what state tells
        weakref.finalize(self, shutil.rmtree, self._plans, ignore_errors=True)
        self._check_age()

    def init(self, *words: str) -> None:
        """Fetch the provider, open the state; *words* say more of where it is."""
        self._run("init", "-input=false", "-upgrade=false", *words)

    def plan(self, variables: Mapping[str, str], *, destroy: bool = False, only: str = "") -> Plan:
        """What an apply would change; *only* one address and what it needs."""
        changes: list[Change] = []

        def hear(event: Event) -> None:
            if event.get("type") == "planned_change":
                change = event["change"]
                changes.append(Change(change["action"], change["resource"]["addr"]))

        file = self._plans / "plan"
        words = [f"-var={name}={value}" for name, value in sorted(variables.items())]
        words += ["-destroy"] if destroy else []
        words += [f"-target={only}"] if only else []
        self._run("plan", "-input=false", f"-parallelism={PARALLEL}", f"-out={file}", *words, hear=hear)
        return Plan(file, tuple(changes))

    def apply(self, plan: Plan, hear: Hear = _deaf) -> None:
        """Do what *plan*, the newest one, says; *hear* is told of each step."""
        self._run("apply", "-input=false", f"-parallelism={PARALLEL}", str(plan.file), hear=hear)

    def outputs(self) -> dict[str, Any]:
        """What the stack says of itself; nothing before it stands."""
        told = json.loads(self._told("output", "-json") or "{}")
        return {name: one["value"] for name, one in told.items()}

    def holds(self) -> int:
        """How many resources the state knows."""
        listed = self._told("state", "list").splitlines()
        return sum(not line.startswith(("data.", "ephemeral.")) for line in listed if line)

    def _check_age(self) -> None:
        told = self._told("version", "-json", anywhere=True)
        with contextlib.suppress(ValueError, KeyError):
            version = str(json.loads(told[told.index("{") :])["terraform_version"])
            if tuple(int(part) for part in version.split(".")[:2]) >= OLDEST:
                return
            raise Misconfigured("terraform", f"{version} ({self._program}) is too old", INSTALL)
        raise Misconfigured("terraform", f"{self._program} does not say its version", INSTALL)

    def _run(self, word: str, *words: str, hear: Hear = _deaf) -> None:
        """Listen until it ends. Raises what it complained of, and Unavailable when somebody interrupted it."""
        complaints: list[str] = []
        log = self.folder / f"{word}.log"
        with log.open("wb") as said:  # a file: Terraform writes its state down even if we are killed
            process = subprocess.Popen(  # noqa: S603  # our own words
                [self._program, word, "-json", *words],
                cwd=self.folder,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,  # an interrupt is passed on once, below
            )
        with _passing_on(process) as interrupted:
            for event in _events(log, process):
                complaints += _complaint(event)
                hear(event)
        if interrupted:
            why = f"terraform {word} was interrupted; what it had done is written down"
            raise Unavailable(f"{why}. Mend: the same command goes on from there")
        if process.returncode:
            raise complaint(word, complaints or [log.read_text("utf-8", "replace")[-2000:]], self.folder)

    def _told(self, *words: str, anywhere: bool = False) -> str:
        done = subprocess.run(  # noqa: S603  # our own words
            [self._program, *words],
            cwd=None if anywhere else self.folder,
            env=self._environment(),
            check=False,
            capture_output=True,
            text=True,
        )
        if done.returncode and NO_STATE not in done.stderr:
            raise complaint(words[0], [done.stderr.strip()], self.folder)
        return done.stdout if not done.returncode else ""

    def _environment(self) -> dict[str, str]:
        return dict(os.environ) | QUIET


@contextlib.contextmanager
def _passing_on(process: "subprocess.Popen[bytes]") -> Iterator[list[int]]:
    """Interrupts go to *process*, which ends what it has begun; the second one makes it stop at once."""
    came: list[int] = []

    def pass_on(number: int, _: Any) -> None:
        came.append(number)
        if process.poll() is None:
            process.send_signal(signal.SIGINT)

    minded = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]  # `nohup` is respected
    before = {number: signal.signal(number, pass_on) for number in minded}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _events(log: Path, process: "subprocess.Popen[bytes]") -> Iterator[Event]:
    """What Terraform says, as it says it."""
    begun = ""
    with log.open(encoding="utf-8", errors="replace") as heard:
        lives = True
        while lives:
            lives = process.poll() is None
            *lines, begun = (begun + heard.read()).split("\n")
            yield from map(_event, lines)
            if lives:
                time.sleep(LISTEN_S)


def _event(line: str) -> Event:
    """A line of Terraform's; what is not JSON, a crash perhaps, as a message."""
    with contextlib.suppress(ValueError):
        event = json.loads(line)
        if isinstance(event, dict):
            return event
    return {"type": "text", "@message": line}


def _complaint(event: Event) -> list[str]:
    told = event.get("diagnostic")
    if not told or told.get("severity") != "error":
        return []
    where = f" ({told['address']})" if told.get("address") else ""
    return [f"{told['summary']}{where}{': ' if told.get('detail') else ''}{told.get('detail', '')}".strip()]
