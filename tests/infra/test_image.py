"""The container image, without a container engine: what its recipe says, and the same words on the same layout."""

import hashlib
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from infra.snapshot import kept
from penstock.door.tls import certificate
from penstock.errors import Tampered
from penstock.infra.files import USER
from penstock.infra.image.probe import alive, main
from penstock.infra.rotation import AUTHORITIES_URL, check_pinned
from penstock.infra.rules.template import Template
from penstock.infra.store import CA_FILE

ROOT = Path(__file__).parents[2]
RECIPE = (ROOT / "Dockerfile").read_text()
INSTRUCTIONS = re.findall(r"^([A-Z]+) +((?:[^\\\n]|\\\n)*)", RECIPE, re.MULTILINE)
FINAL = INSTRUCTIONS[max(n for n, (word, _) in enumerate(INSTRUCTIONS) if word == "FROM") :]


def pins(lock: Path) -> set[str]:
    return set(re.findall(r"^([a-z0-9-]+==\S+)", lock.read_text(), re.MULTILINE))


def said(word: str) -> list[str]:
    return [rest for name, rest in FINAL if name == word]


def test_the_base_is_pinned_and_what_is_installed_is_hashed() -> None:
    version = next(rest for word, rest in INSTRUCTIONS if word == "ARG").partition("=")[2]
    assert re.fullmatch(r"3\.\d+\.\d+-slim-\w+", version)
    assert all(rest.startswith("python:${PYTHON}") for word, rest in INSTRUCTIONS if word == "FROM")
    assert "--require-hashes -r requirements-image.lock" in RECIPE
    image, bare = (pins(ROOT / name) for name in ("requirements-image.lock", "requirements.lock"))
    assert bare <= image, "pinned at different times: just lock"
    assert any(pin.startswith("opentelemetry-sdk==") for pin in image - bare)


def test_it_runs_as_nobody_in_particular() -> None:
    user = said("USER")
    assert user == ["10001:10001"]
    assert str(USER) in user[0]
    tasks = [one for _, one in Template(kept("virginia")).containers()]
    assert {one["user"] for one in tasks} == {"10001"}


def test_only_volumes_are_written_to() -> None:
    volumes = set(re.findall(r'"([^"]+)"', said("VOLUME")[0]))
    for _, container in Template(kept("tokyo")).containers():
        assert container["readonlyRootFilesystem"] is True
        assert {one["containerPath"] for one in container["mountPoints"]} == volumes
    assert "PYTHONDONTWRITEBYTECODE=1" in said("ENV")[0]


def test_its_entry_point_is_the_command_line() -> None:
    assert said("ENTRYPOINT") == ['["penstock"]']
    assert all(one["entryPoint"] == ["penstock"] for _, one in Template(kept("tokyo")).containers())


def test_its_health_is_asked_by_the_probe() -> None:
    assert "penstock-probe" in said("HEALTHCHECK")[0]
    assert "/healthz" in said("HEALTHCHECK")[0]
    assert "probe.py /opt/penstock/bin/penstock-probe" in RECIPE
    assert said("STOPSIGNAL") == ["SIGTERM"]


def test_the_database_authorities_are_where_the_tasks_look() -> None:
    fetched = next(rest for word, rest in INSTRUCTIONS if word == "ADD").split()
    assert fetched[-2] == AUTHORITIES_URL
    assert f"--from=build {fetched[-1]} {CA_FILE}" in said("COPY")


def test_the_database_authorities_are_checked_against_what_was_recorded() -> None:
    check_pinned(b"PEM", "RDS_CA_SHA256=\n")
    check_pinned(b"PEM", f"PYTHON=3\nRDS_CA_SHA256={hashlib.sha256(b'PEM').hexdigest()}\n")
    with pytest.raises(Tampered, match="--pin"):
        check_pinned(b"other", f"RDS_CA_SHA256={hashlib.sha256(b'PEM').hexdigest()}\n")
    assert 'echo "$RDS_CA_SHA256  /build/rds.pem" | sha256sum --check' in RECIPE


def test_nothing_goes_to_the_builder_but_what_it_needs() -> None:
    told = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in told
    sent = {line[1:] for line in told if line.startswith("!")}
    copied = re.findall(r"^COPY (?!--from)(?:--\S+ )?(.+) \S+$", RECIPE, re.MULTILINE)
    assert all(name.split("/")[0] in sent for names in copied for name in names.split())
    assert not any(word in RECIPE for word in ("PASSWORD", "SECRET", "AWS_ACCESS"))


def test_the_script_that_pushes_is_a_script() -> None:
    script = ROOT / "src/penstock/infra/image/push"
    assert os.access(script, os.X_OK)
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0
    assert "set -euo pipefail" in script.read_text()


class Stage:
    """A copy of the script, with stand-ins for docker, aws and curl that write down what they are told."""

    def __init__(self, folder: Path, pins: str) -> None:
        self.log, self._bin = folder / "log", folder / "bin"
        image = folder / "src/penstock/infra/image"
        image.mkdir(parents=True)
        self._bin.mkdir()
        self.script, self.pins = image / "push", image / "pins"
        shutil.copy(ROOT / "src/penstock/infra/image/push", self.script)
        shutil.copy(ROOT / "Dockerfile", folder)
        shutil.copy(ROOT / "pyproject.toml", folder)
        self.pins.write_text(pins)
        docker = f"""
echo "docker $*" >> {self.log}
[ "$2" = imagetools ] && echo sha256:{"ab" * 32}
while [ $# -gt 0 ]; do
  [ "$1" = --metadata-file ] && echo '{{"containerimage.digest": "sha256:00ff"}}' > "$2"
  shift
done
"""
        for name, text in {"docker": docker, "aws": f'echo "aws $*" >> {self.log}\n', "curl": "echo PEM\n"}.items():
            (self._bin / name).write_text(f"#!/bin/bash\n{text}")
            (self._bin / name).chmod(0o755)

    def push(self, *words: str) -> "subprocess.CompletedProcess[str]":
        environment = {"PATH": f"{self._bin}:{os.environ['PATH']}"}
        return subprocess.run([str(self.script), *words], env=environment, capture_output=True, text=True, check=False)


UNPINNED = "# about\nPYTHON=3.12.11-slim-bookworm\nRDS_CA_SHA256=\n"
REGISTRY = "111122223333.dkr.ecr.eu-west-2.amazonaws.com"


def test_what_is_recorded_is_of_the_version_in_the_recipe() -> None:
    pins = (ROOT / "src/penstock/infra/image/pins").read_text()
    base = re.search(r"^PYTHON=([^@\n]+)(@sha256:[0-9a-f]{64})?$", pins, re.MULTILINE)
    assert base is not None
    assert f"ARG PYTHON={base[1]}\n" in RECIPE
    assert re.search(r"^RDS_CA_SHA256=([0-9a-f]{64})?$", pins, re.MULTILINE)


def test_the_script_records_what_the_image_is_built_on(tmp_path: Path) -> None:
    stage = Stage(tmp_path, UNPINNED)
    done = stage.push("--pin")
    assert done.returncode == 0, done.stderr
    assert stage.pins.read_text().splitlines() == [
        "# about",
        f"PYTHON=3.12.11-slim-bookworm@sha256:{'ab' * 32}",
        f"RDS_CA_SHA256={hashlib.sha256(b'PEM' + bytes([10])).hexdigest()}",
    ]
    assert stage.push(f"{REGISTRY}/london-penstock-images-prod-main").returncode == 0


def test_productions_image_is_built_on_nothing_that_may_change(tmp_path: Path) -> None:
    stage = Stage(tmp_path, UNPINNED)
    done = stage.push(f"{REGISTRY}/london-penstock-images-prod-main")
    assert (done.returncode, "push --pin" in done.stderr) == (78, True)
    assert not stage.log.exists()
    done = stage.push(f"{REGISTRY}/london-penstock-images-dev-main")
    assert (done.returncode, "push --pin" in done.stderr) == (0, True)


def test_the_script_builds_tags_and_says_the_digest(tmp_path: Path) -> None:
    base, authorities = f"3.12.11-slim-bookworm@sha256:{'cd' * 32}", "ef" * 32
    stage = Stage(tmp_path, f"# about\nPYTHON={base}\nRDS_CA_SHA256={authorities}\n")
    repository = f"{REGISTRY}/london-penstock-images-prod-main"
    done = stage.push(repository, "1.2.3")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"{repository}@sha256:00ff"
    told = stage.log.read_text()
    assert "--region eu-west-2" in told
    assert f"--build-arg PYTHON={base} --build-arg RDS_CA_SHA256={authorities}" in told
    assert f"--tag {repository}:1.2.3 --push" in told


def test_a_script_without_its_programs_says_which(tmp_path: Path) -> None:
    stage = Stage(tmp_path, UNPINNED)
    (tmp_path / "bin/aws").unlink()
    few = tmp_path / "few"
    few.mkdir()
    for name in ("bash", "dirname", "sed", "head", "cut", "env"):
        (few / name).symlink_to(str(shutil.which(name)))
    done = subprocess.run(
        [str(stage.script), f"{REGISTRY}/x-dev-main"],
        env={"PATH": f"{tmp_path / 'bin'}:{few}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, "aws: it is not on this machine" in done.stderr) == (78, True), done.stderr


def test_the_words_of_every_task_start_from_a_file_system_that_cannot_be_changed(tmp_path: Path) -> None:
    """As in a task: the containers' own words, nothing to write to but /data; what is wrong is refused by name."""
    program = shutil.which("penstock", path=str(Path(sys.executable).parent)) or "penstock"
    data = tmp_path / "data"
    data.mkdir()
    for _, container in Template(kept("london")).containers():
        done = subprocess.run(
            [program, *container["command"]],
            cwd=data,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(data),
                "PENSTOCK_DATA": str(data),
                "PYTHONDONTWRITEBYTECODE": "1",
            }
            | {
                "PENSTOCK_STREAM__URL": "kinesis://",
                "PENSTOCK_STORE__URL": "postgresql://127.0.0.1:1/none?connect_timeout=1",
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode in {69, 78}, done.stderr
        assert "Traceback" not in done.stderr


def test_the_probe_finds_a_door_with_a_certificate_of_its_own(tmp_path: Path) -> None:
    with _Door(tmp_path) as port:
        assert main([f"https://127.0.0.1:{port}/healthz"]) == 0
        assert main(["http://127.0.0.1:1/healthz", f"https://127.0.0.1:{port}/healthz"]) == 0
        assert main([f"https://127.0.0.1:{port}/broken"]) == 1
    assert main([f"https://127.0.0.1:{port}/healthz"]) == 1


def test_the_probe_asks_nobody_else() -> None:
    with pytest.raises(ValueError, match="not on this machine"):
        alive("https://example.com/healthz")


class _Door:
    """An HTTPS server in a process of its own, as a task's door is."""

    def __init__(self, folder: Path) -> None:
        self._pair = certificate("self", "127.0.0.1", folder)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port: int = free.getsockname()[1]

    def __enter__(self) -> int:
        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200 if self.path == "/healthz" else 503)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", self._port), Answer)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        assert self._pair is not None
        context.load_cert_chain(self._pair[0], self._pair[1])
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        return self._port

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
