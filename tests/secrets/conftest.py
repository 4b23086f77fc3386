"""A Secrets Manager for every test that asks, and names that no other test uses."""

import itertools
import os
from collections.abc import Iterator

import pytest

from penstock.secrets import secrets_manager
from secrets_fake.http import FakeSecretsManager

_numbers = itertools.count(1)


@pytest.fixture
def manager(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSecretsManager]:
    """Where this process's AWS clients find their secrets."""
    with FakeSecretsManager() as fake:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", fake.url)
        monkeypatch.setenv("AWS_REGION", "eu-central-1")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        secrets_manager.client.cache_clear()
        yield fake
        secrets_manager.client.cache_clear()


@pytest.fixture
def name() -> str:
    """Of a secret, or a role: this test's own."""
    return f"test_{os.getpid()}_{next(_numbers)}"
