"""A secret is read when it is used, kept a short while, and read anew when refused; what is wrong is named."""

import asyncio
import os
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from penstock.errors import Misconfigured, Unavailable
from penstock.secrets import vault as module
from penstock.secrets.reference import Reference, read_reference
from penstock.secrets.secret import Login, Secret
from penstock.secrets.vault import AGAIN_S, KEEP_S, Vault, logged_in, revealed
from penstock.stream.kinesis.trouble import Asked, at_start, later
from secrets_fake.http import FakeSecretsManager
from secrets_fake.store import Refusal

SETTING = "store.url"
CANARY = "c4n4ry-of-this-test"


@pytest.fixture
def vault() -> Vault:
    return Vault()


def secret_of(text: str, field: str = "") -> Secret:
    return Secret(Reference("secret", "n", field, SETTING), text)


async def test_a_secret_is_found_by_name_and_by_arn(manager: FakeSecretsManager, name: str, vault: Vault):
    arn = manager.put(name, {"username": "ada", "password": CANARY})
    for place in (name, arn):
        assert (await vault.get(read_reference(f"secret://{place}", SETTING))).login() == Login("ada", CANARY)


async def test_the_current_version_is_read_not_the_pending_one(manager: FakeSecretsManager, name: str, vault: Vault):
    manager.put(name, "old")
    manager.secrets.call("PutSecretValue", {"SecretId": name, "SecretString": "x", "VersionStages": ["AWSPENDING"]})
    manager.put(name, "new")
    manager.secrets.call("PutSecretValue", {"SecretId": name, "SecretString": "y", "VersionStages": ["AWSPENDING"]})
    assert (await vault.get(read_reference(f"secret://{name}", SETTING))).text() == "new"


async def test_a_file_is_a_secret_too(tmp_path: Path):
    (tmp_path / "s").write_text(f"{CANARY}\n")
    assert await revealed(f"file://{tmp_path}/s", SETTING) == CANARY
    (tmp_path / "j").write_text('{"key": "k"}')
    assert await revealed(f"file://{tmp_path}/j#key", SETTING) == "k"
    assert await revealed("plain", SETTING) == "plain"


def test_logins_are_read_from_json_fields_or_a_bare_password():
    assert secret_of('{"username": "a", "password": "p", "host": "h"}').login("b") == Login("a", "p")
    assert secret_of('{"password": "p"}').login("b") == Login("b", "p")
    assert secret_of("p\n").login("b") == Login("b", "p")
    assert secret_of('{"username": "a", "token": "t"}', "token").login() == Login("a", "t")


@pytest.mark.parametrize(
    ("secret", "why"),
    [
        (secret_of(f'{{"password": "{CANARY}"}}', "token"), "'token'"),
        (secret_of(f'{{"passwort": "{CANARY}"}}'), "'password'"),
        (secret_of(f'{{"password": "{CANARY}"'), "no JSON object"),
        (secret_of(CANARY, "password"), "no JSON object"),
    ],
)
def test_a_malformed_secret_is_named_not_shown(secret: Secret, why: str):
    with pytest.raises(Misconfigured, match=why) as refused:
        secret.login()
    shown = "".join(traceback.format_exception(refused.value))
    assert "secret://n" in shown
    assert CANARY not in shown


def test_nothing_secret_shows_itself():
    secret = secret_of(f'{{"username": "ada", "password": "{CANARY}"}}')
    for it in (secret, secret.login(), [secret], {"a": secret.login()}):
        assert CANARY not in f"{it!r} {it!s} {it}"


def denied(manager: FakeSecretsManager, name: str) -> None:
    manager.put(name, CANARY)
    manager.secrets.denied.add(name)


def deleted(manager: FakeSecretsManager, name: str) -> None:
    manager.put(name, CANARY)
    manager.secrets.call("DeleteSecret", {"SecretId": name})


@pytest.mark.parametrize(
    ("prepare", "why", "mend"),
    [
        (lambda manager, name: None, "no such secret", "AWS_REGION"),
        (lambda manager, name: manager.secrets.call("CreateSecret", {"Name": name}), "no current version", "create it"),
        (denied, "may not read", "secretsmanager:GetSecretValue"),
        (deleted, "being deleted", "restore"),
    ],
)
async def test_what_is_wrong_with_a_secret_is_named_with_its_mend(  # noqa: PLR0917  # fixtures, and three words
    manager: FakeSecretsManager, name: str, vault: Vault, prepare: Callable[..., object], why: str, mend: str
):
    prepare(manager, name)
    with pytest.raises(Misconfigured) as refused:
        await vault.get(read_reference(f"secret://{name}", SETTING))
    assert refused.value.setting == SETTING
    assert f"secret://{name}" in refused.value.why
    assert why in refused.value.why
    assert mend in refused.value.mend
    assert CANARY not in str(refused.value)


SIGNATURE = f"""The request signature we calculated does not match the signature you provided.

The Canonical String for this request should have been
'POST
/

x-amz-security-token:{CANARY}
"""


async def test_a_wrong_signature_is_named_without_the_session_token(
    manager: FakeSecretsManager, name: str, vault: Vault
):
    manager.secrets.refusal = Refusal("InvalidSignatureException", SIGNATURE)
    with pytest.raises(Misconfigured, match="sign wrongly") as refused:
        await vault.get(read_reference(f"secret://{name}", SETTING))
    assert CANARY not in str(refused.value)
    theirs = ClientError({"Error": {"Code": "InvalidSignatureException", "Message": SIGNATURE}}, "PutRecords")
    for told in (at_start, later):
        assert CANARY not in str(told(theirs, Asked("kinesis:PutRecords", "plant", "eu-central-1", "https://k")))


@pytest.mark.parametrize("unset", ["AWS_REGION", "AWS_ACCESS_KEY_ID"])
async def test_a_missing_region_or_key_is_named(
    manager: FakeSecretsManager, name: str, vault: Vault, unset: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv(unset)
    monkeypatch.delenv("AWS_DEFAULT_REGION" if unset == "AWS_REGION" else "AWS_SECRET_ACCESS_KEY")
    with pytest.raises(Misconfigured) as refused:
        await vault.get(read_reference(f"secret://{name}", SETTING))
    assert ("AWS_REGION" if unset == "AWS_REGION" else "task role") in refused.value.mend


async def test_an_arn_says_its_region_itself(
    manager: FakeSecretsManager, name: str, vault: Vault, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("AWS_REGION")
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    arn = manager.put(name, CANARY)
    assert (await vault.get(read_reference(f"secret://{arn}", SETTING))).text() == CANARY


async def test_a_manager_that_is_away_is_only_unavailable(manager: FakeSecretsManager, name: str, vault: Vault):
    manager.is_away = True
    with pytest.raises(Unavailable, match=name):
        await vault.get(read_reference(f"secret://{name}", SETTING))


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe", b"x" * 70_000])
async def test_a_file_of_no_use_is_named(tmp_path: Path, vault: Vault, content: bytes | None):
    if content is not None:
        (tmp_path / "s").write_bytes(content)
    with pytest.raises(Misconfigured, match=str(tmp_path)):
        await vault.get(read_reference(f"file://{tmp_path}/s", SETTING))


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class Counted:
    """A source of one secret."""

    def __init__(self) -> None:
        self.text, self.reads, self.is_away = "one", 0, False

    def __call__(self, reference: Reference) -> str:
        self.reads += 1
        if self.is_away:
            raise Unavailable("away")
        return self.text


@pytest.fixture
def source() -> Counted:
    return Counted()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def kept(source: Counted, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Vault:
    vault = Vault({"secret": source}, now_s=clock)
    monkeypatch.setattr(module, "VAULT", vault)
    return vault


HERE = Reference("secret", "n", "", SETTING)


async def test_a_secret_is_read_once_in_a_while_however_many_ask(kept: Vault, source: Counted, clock: Clock):
    assert {(await each).text() for each in [kept.get(HERE) for _ in range(20)]} == {"one"}
    await asyncio.gather(*(kept.get(HERE) for _ in range(20)))
    assert source.reads == 1
    clock.now_s += KEEP_S
    source.text = "two"
    found = await asyncio.gather(*(kept.get(HERE) for _ in range(20)))
    assert {each.text() for each in found} == {"two"}
    assert source.reads == 2


async def test_a_refused_secret_is_read_anew_once_for_all_and_not_too_often(kept: Vault, source: Counted, clock: Clock):
    first = await kept.get(HERE)
    source.text = "two"
    assert await kept.get(HERE, refused=first) is first, "it was read just now"
    clock.now_s += AGAIN_S
    found = await asyncio.gather(*(kept.get(HERE, refused=first) for _ in range(20)))
    assert {each.text() for each in found} == {"two"}
    assert source.reads == 2


async def test_a_known_secret_outlives_its_keeper(kept: Vault, source: Counted, clock: Clock):
    first = await kept.get(HERE)
    source.is_away = True
    clock.now_s += KEEP_S
    assert await kept.get(HERE) is first
    await kept.get(HERE)
    assert source.reads == 2, "nor is it asked for all the time"


class Refused(Exception):
    pass


async def test_a_login_is_tried_with_the_new_secret_at_once(kept: Vault, source: Counted, clock: Clock):
    await kept.get(HERE)
    clock.now_s += 1
    source.text, tried = "two", []

    async def attempt(secret: Secret) -> str:
        tried.append(secret.text())
        if secret.text() == "one":
            raise Refused
        return "in"

    assert await logged_in(HERE, attempt, lambda error: isinstance(error, Refused)) == "in"
    assert tried == ["one", "two"]


async def test_a_login_is_tried_again_while_the_secret_lags_behind(kept: Vault, source: Counted, clock: Clock):
    tried = []

    async def attempt(secret: Secret) -> str:
        tried.append(secret.text())
        clock.now_s += 1
        source.text = "two" if len(tried) == 3 else "one"
        if secret.text() == "one":
            raise Refused
        return "in"

    assert await logged_in(HERE, attempt, lambda error: isinstance(error, Refused)) == "in"
    assert tried == ["one", "one", "one", "two"]


async def test_a_login_is_given_up_when_patience_ends_and_other_errors_at_once(kept: Vault):
    tried = []

    async def attempt(secret: Secret) -> str:
        tried.append(secret)
        raise Refused

    with pytest.raises(Refused):
        await logged_in(HERE, attempt, lambda error: True, patience_s=0.1)
    assert len(tried) > 2
    tried.clear()
    with pytest.raises(Refused):
        await logged_in(HERE, attempt, lambda error: False)
    assert len(tried) == 1


def test_one_vault_serves_several_event_loops(manager: FakeSecretsManager, name: str, vault: Vault):
    manager.put(name, CANARY)
    wanted = read_reference(f"secret://{name}", SETTING)

    async def both() -> set[str]:
        return {each.text() for each in await asyncio.gather(*(vault.get(wanted) for _ in range(5)))}

    assert asyncio.run(both()) == asyncio.run(both()) == {CANARY}
    assert os.environ["AWS_ENDPOINT_URL_SECRETS_MANAGER"] == manager.url
