"""The fake Secrets Manager answers as moto's does, where moto's is right: the same calls, the same answers."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.session import get_session

from penstock.secrets.rotation import handler
from secrets_fake.http import FakeSecretsManager
from secrets_fake.rotating import rotating

ONE, TWO, THREE = (f"{i}" * 32 for i in (1, 2, 3))
CALLS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("get_secret_value", {}),
    ("create_secret", {"SecretString": "one", "ClientRequestToken": ONE}),
    ("create_secret", {"SecretString": "again"}),
    ("get_secret_value", {"VersionStage": "AWSCURRENT"}),
    ("put_secret_value", {"SecretString": "two", "ClientRequestToken": TWO, "VersionStages": ["AWSPENDING"]}),
    ("get_secret_value", {"VersionStage": "AWSCURRENT"}),
    ("get_secret_value", {"VersionStage": "AWSPENDING"}),
    ("get_secret_value", {"VersionStage": "AWSPENDING", "VersionId": TWO}),
    ("get_secret_value", {"VersionId": THREE}),
    ("get_secret_value", {"VersionStage": "AWSPREVIOUS"}),
    ("describe_secret", {}),
    (
        "update_secret_version_stage",
        {"VersionStage": "AWSCURRENT", "MoveToVersionId": TWO, "RemoveFromVersionId": ONE},
    ),
    ("get_secret_value", {"VersionStage": "AWSCURRENT"}),
    ("get_secret_value", {"VersionStage": "AWSPREVIOUS"}),
    ("describe_secret", {}),
    ("put_secret_value", {"SecretString": "three", "ClientRequestToken": THREE}),
    ("get_secret_value", {"VersionStage": "AWSCURRENT"}),
    ("get_secret_value", {"VersionStage": "AWSPREVIOUS"}),
    ("delete_secret", {}),
    ("get_secret_value", {"VersionStage": "AWSCURRENT"}),
)
MOTO_IS_WRONG = {16, 17}
"""A version put without labels becomes AWSCURRENT; moto's does not, once the label was moved."""
TOLD = ("SecretString", "VersionId", "VersionIdsToStages")


def client(url: str) -> Any:
    return get_session().create_client(
        "secretsmanager", region_name="eu-central-1", endpoint_url=url,
        config=Config(retries={"total_max_attempts": 1}), aws_access_key_id="x", aws_secret_access_key="x",
    )  # fmt: skip


def answer(api: Any, call: str, words: dict[str, Any]) -> object:
    """What matters to us of it, or the error's code."""
    named = {"Name" if call == "create_secret" else "SecretId": "db", **words}
    try:
        told = getattr(api, call)(**named)
    except ClientError as error:
        return error.response["Error"]["Code"]
    found = {name: told[name] for name in TOLD if name in told}
    stages = found.get("VersionIdsToStages", {})
    return found | ({"VersionIdsToStages": {v: sorted(labels) for v, labels in stages.items()}} if stages else {})


@pytest.fixture(scope="module")
def moto_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A moto server in a process of its own: the one on the PATH, or in the folder that PENSTOCK_MOTO names."""
    folders = os.environ.get("PENSTOCK_MOTO", ""), str(Path(sys.executable).parent), os.environ["PATH"]
    program = shutil.which("moto_server", path=os.pathsep.join(filter(None, folders)))
    if program is None:
        pytest.skip("moto_server is not on this machine's PATH (pip install 'moto[server]')")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with (tmp_path_factory.mktemp("moto") / "log").open("wb") as said:
        server = subprocess.Popen([program, "-H", "127.0.0.1", "-p", str(port)], stdout=said, stderr=said)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.1)
    yield f"http://127.0.0.1:{port}"
    server.kill()
    server.wait()


def test_the_fake_and_moto_agree(moto_url: str):
    with FakeSecretsManager() as fake:
        ours, theirs = client(fake.url), client(moto_url)
        differ = {
            number: (call, words, mine, other)
            for number, (call, words) in enumerate(CALLS)
            if (mine := answer(ours, call, words)) != (other := answer(theirs, call, words))
        }
    assert differ.keys() == MOTO_IS_WRONG, differ


def test_without_a_stage_moto_tells_an_old_version(moto_url: str):
    """Why `VersionStage` is always given: if this fails, moto was mended."""
    api = client(moto_url)
    api.create_secret(Name="trap", SecretString="old", ClientRequestToken=ONE)
    api.put_secret_value(SecretId="trap", SecretString="new", ClientRequestToken=TWO, VersionStages=["AWSPENDING"])
    api.update_secret_version_stage(
        SecretId="trap", VersionStage="AWSCURRENT", MoveToVersionId=TWO, RemoveFromVersionId=ONE
    )
    assert api.get_secret_value(SecretId="trap")["SecretString"] == "old"
    assert api.get_secret_value(SecretId="trap", VersionStage="AWSCURRENT")["SecretString"] == "new"


class Moto:
    """Speaks to moto as `Rotating` speaks to the fake."""

    def __init__(self, url: str) -> None:
        self.url, self.api, self.secrets = url, client(url), self

    def put(self, name: str, value: object) -> str:
        return str(self.api.create_secret(Name=name, SecretString=json.dumps(value))["ARN"])

    def call(self, action: str, request: dict[str, str]) -> dict[str, Any]:
        assert action == "GetSecretValue"
        return dict(self.api.get_secret_value(**request, VersionStage="AWSCURRENT"))


def test_rotations_run_on_moto_too(
    moto_url: str, empty_database_url: str, manager: FakeSecretsManager, name: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", moto_url)
    handler.client.cache_clear()
    for plant in rotating(empty_database_url, Moto(moto_url), name, {}, f"{name}_master"):  # type: ignore[arg-type]
        for variable, value in plant.environment.items():
            monkeypatch.setenv(variable, value)
        logins = [plant.rotate() for _ in range(3)]
        assert [login["username"] for login in logins] == ["penstock_a", "penstock_b", "penstock_a"]
        for login in logins[1:]:
            plant.connect(login).close()
    handler.client.cache_clear()
