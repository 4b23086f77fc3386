"""The tasks' login to Redis is a signature, made anew at each use."""

from urllib.parse import parse_qs, urlsplit

import pytest

from penstock.errors import Misconfigured
from penstock.secrets import elasticache
from penstock.secrets.reference import address, read_reference
from penstock.secrets.vault import Vault

URL = "rediss://london-tasks-user@redis.example:6379/0?credentials=iam://london-redis/london-tasks-user"


@pytest.fixture(autouse=True)
def role(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a task's role would hand it out."""
    for name, value in {"ACCESS_KEY_ID": "AKIA", "SECRET_ACCESS_KEY": "hidden", "SESSION_TOKEN": "token"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-2")


async def test_a_task_signs_itself_in() -> None:
    place = address(URL, "cache.url")
    assert place.credentials is not None
    login = (await Vault().get(place.credentials)).login("london-tasks-user")
    assert login.user == "london-tasks-user"
    signed = urlsplit(f"//{login.password}")
    said = parse_qs(signed.query)
    assert signed.netloc == "london-redis"
    assert said["Action"] == ["connect"]
    assert said["User"] == ["london-tasks-user"]
    assert said["X-Amz-Expires"] == ["900"]
    assert "eu-west-2/elasticache/aws4_request" in said["X-Amz-Credential"][0]
    assert said["X-Amz-Signature"]
    assert "hidden" not in login.password


@pytest.mark.parametrize("wrong", ["iam://cache", "iam://", "iam://cache/user#field", "iam://a b/c"])
def test_what_is_no_such_reference_is_refused(wrong: str) -> None:
    with pytest.raises(Misconfigured, match=r"cache\.url"):
        read_reference(wrong, "cache.url")


def test_without_a_role_the_mend_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", "/nonexistent")
    with pytest.raises(Misconfigured, match="task role"):
        elasticache.fetch(read_reference("iam://cache/user", "cache.url"))
