"""A whole plant as its users have it: `penstock up` in a directory of its own, to be killed, restarted and asked."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

HOLDS_TO_TIMES = "PENSTOCK_SHORT_PROOF" not in os.environ
"""Short forms run on any machine, however busy: they tell times, and are judged by what must never happen."""


class Plant:
    """Runs on one port for its whole life, so that senders can go on sending."""

    def __init__(self, data: Path, *options: str, **environment: str) -> None:
        self.data, self.options = data, options
        self.environment = os.environ | environment
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.key = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def note(self) -> dict[str, str]:
        return json.loads((self.data / "run.json").read_text())

    def start(self, timeout_s: float = 60) -> None:
        """Start, and wait until a reading could be accepted and stored."""
        command = ["up", "--data", str(self.data), "--port", str(self.port), "--no-simulate", "--no-browser", "--json"]
        log = self.data.parent / f"{self.data.name}.log"
        with log.open("ab") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "penstock", *command, *self.options],
                stdout=subprocess.PIPE,
                stderr=errors,
                env=self.environment,
            )
        assert self.process.stdout is not None
        with self.process.stdout as said:
            line = said.readline()
        if not line:
            raise RuntimeError(f"penstock up ended: {log.read_text()[-2000:]}")
        self.key = json.loads(line)["api_key"] or self.key
        self.wait_ready(timeout_s)

    def wait_ready(self, timeout_s: float = 60) -> None:
        deadline = time.monotonic() + timeout_s
        while self.get("/readyz")[0] != 200:
            if time.monotonic() > deadline:
                raise RuntimeError("the plant did not become ready")
            time.sleep(0.05)

    def get(self, path: str) -> tuple[int, bytes]:
        return self.request("GET", path)

    def post(self, path: str, body: object) -> tuple[int, bytes]:
        return self.request("POST", path, json.dumps(body).encode())

    def request(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """Status and body; 0 when there was no answer."""
        headers = {"x-api-key": self.key, "content-type": "application/json"}
        request = urllib.request.Request(self.url + path, body, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()
        except (OSError, http.client.HTTPException):  # killed in the middle of an answer: that is no answer
            return 0, b""

    def pids(self) -> dict[int, str]:
        """Every process of the plant and its command line, the first one last."""
        assert self.process is not None
        family = {self.process.pid: command_of(self.process.pid)}
        while True:
            more = {pid: command_of(pid) for pid, parent in parents().items() if parent in family and pid not in family}
            if not more:
                return dict(reversed(family.items()))
            family |= more

    def kill(self, which: str = "everything") -> None:
        """SIGKILL `everything` at once, or only the processes whose command line has *which* in it."""
        for pid, command in self.pids().items():
            if which == "everything" or which in command:
                end(pid)
        assert self.process is not None
        if which == "everything":
            self.process.wait()

    def stop(self) -> int:
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(20)


def end(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def parents() -> dict[int, int]:
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            found[int(stat.parent.name)] = int(stat.read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
    return found


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
    except OSError:
        return ""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
