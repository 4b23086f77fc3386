"""A little Fargate: tasks run as processes of this machine, as their applied definitions say and with their own role.

What a definition calls by a name of AWS's is found here instead; each such substitution is made in `Elsewhere`, and no
other. Not the same as there: no container, no load balancer in front, no limit of CPU or memory, no permission checked.
"""

import os
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

from simaws.server import SimulatedAws

READY_S: Final = 90.0
INHERITED: Final = ("PATH", "LD_LIBRARY_PATH", "LANG")
PENSTOCK: Final = (sys.executable, "-m", "penstock")
"""What a container's entry point `penstock` is here."""


class Elsewhere(NamedTuple):
    """What stands here for what is there: texts in a task's environment, replaced in order."""

    instead: Sequence[tuple[str, str]]
    """(as it was applied, as it is here)"""
    besides: Mapping[str, str]
    """What every task is told that no definition says."""

    def __call__(self, text: str) -> str:
        for there, here in self.instead:
            text = text.replace(there, here)
        return text


class Definition(NamedTuple):
    """A task definition's essential container."""

    family: str
    role: str
    stop_s: int
    container: Mapping[str, Any]

    @property
    def port(self) -> int:
        return int(self.container["portMappings"][0]["containerPort"])

    @property
    def environment(self) -> dict[str, str]:
        return {one["name"]: one["value"] for one in self.container["environment"]}


def definitions(aws: SimulatedAws, cluster: str) -> dict[str, Definition]:
    """What each service of *cluster* runs, by the container's name."""
    ecs = aws.client("ecs")
    services = ecs.describe_services(cluster=cluster, services=ecs.list_services(cluster=cluster)["serviceArns"])
    found = (_definition(ecs, service["taskDefinition"]) for service in services["services"])
    return {one.container["name"]: one for one in found}


def _definition(ecs: Any, arn: str) -> Definition:
    task = ecs.describe_task_definition(taskDefinition=arn)["taskDefinition"]
    (container,) = (one for one in task["containerDefinitions"] if one["essential"])
    return Definition(task["family"], task["taskRoleArn"], int(container.get("stopTimeout", 30)), container)


class Task:
    """`with Task(…) as task`: one process, which is asked to end on leaving; *command* instead of the container's."""

    def __init__(
        self,
        aws: SimulatedAws,
        definition: Definition,
        folder: Path,
        elsewhere: Elsewhere,
        *,
        command: Sequence[str] = (),
    ) -> None:
        self.aws, self.definition, self._elsewhere = aws, definition, elsewhere
        self.port = free_port()
        self.folder = folder / definition.container["name"]
        self.folder.mkdir(parents=True, exist_ok=True)
        self._command = command or definition.container["command"]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        return self.folder / "log"

    @property
    def command(self) -> list[str]:
        """The container's own words; the port is one of this machine's, and only this machine may come."""
        assert self.definition.container["entryPoint"] == ["penstock"]
        here = {str(self.definition.port): str(self.port), "0.0.0.0": "127.0.0.1"}
        return [*PENSTOCK, *(here.get(word, word) for word in self._command)]

    @property
    def environment(self) -> dict[str, str]:
        """The definition's, and what the agent adds: secrets resolved, the task role's credentials."""
        inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
        told = {name: self._elsewhere(value) for name, value in self.definition.environment.items()}
        places = {"PENSTOCK_DATA": str(self.folder), "HOME": str(self.folder), "TMPDIR": str(self.folder)}
        return inherited | told | self._secrets() | places | dict(self._elsewhere.besides) | self._credentials()

    def _secrets(self) -> dict[str, str]:
        secrets = self.aws.client("secretsmanager")
        return {
            one["name"]: secrets.get_secret_value(SecretId=one["valueFrom"])["SecretString"]
            for one in self.definition.container.get("secrets", [])
        }

    def _credentials(self) -> dict[str, str]:
        assumed = self.aws.client("sts").assume_role(RoleArn=self.definition.role, RoleSessionName="task")
        credentials = assumed["Credentials"]
        return {
            "AWS_ACCESS_KEY_ID": credentials["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": credentials["SecretAccessKey"],
            "AWS_SESSION_TOKEN": credentials["SessionToken"],
        }

    def run(self) -> str:
        """Once, to its end; what it printed."""
        done = subprocess.run(
            self.command,
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{self._command} ended with {done.returncode}: {done.stderr[-2000:]}"
        return done.stdout

    def __enter__(self) -> Self:
        with self.log.open("wb") as said:
            self._process = subprocess.Popen(
                self.command, env=self.environment, cwd=self.folder, stdout=said, stderr=said
            )
        return self

    def until_healthy(self) -> None:
        """Return when the container's own health check passes."""
        program, url = self.definition.container["healthCheck"]["command"][1:]
        assert program == "penstock-probe"
        health = url.replace(f":{self.definition.port}/", f":{self.port}/")
        until_s = time.monotonic() + READY_S
        while status(health) != 200:
            assert self._process is not None
            assert self._process.poll() is None, f"{self.definition.family} ended: {self.said}"
            assert time.monotonic() < until_s, f"{self.definition.family} is not healthy: {self.said}"
            time.sleep(0.2)

    @property
    def said(self) -> str:
        return self.log.read_text("utf-8", "replace")[-2000:]

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        try:
            code = self._process.wait(self.definition.stop_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise AssertionError(f"{self.definition.family} did not end in {self.definition.stop_s} s") from None
        assert code == 0, f"{self.definition.family} ended with {code}: {self.said}"


def status(url: str) -> int:
    """What *url* answers; 0 for nothing."""
    return ask(url)[0]


def ask(url: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
    """Status and body; a task's own certificate is taken as it is, as a load balancer does."""
    request = urllib.request.Request(url, body, {name.replace("_", "-"): value for name, value in headers.items()})
    anyone = ssl.create_default_context()
    anyone.check_hostname, anyone.verify_mode = False, ssl.CERT_NONE
    try:
        with urllib.request.urlopen(request, timeout=20, context=anyone) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read()
    except OSError:
        return 0, b""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
