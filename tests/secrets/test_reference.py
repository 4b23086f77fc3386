"""Where a secret is kept is said in a setting, and nothing else is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import Misconfigured
from penstock.secrets.reference import Address, Reference, address, is_reference, read_reference

ARN = "arn:aws:secretsmanager:eu-west-2:123456789012:secret:db/penstock-prod-x1-AbCdEf"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("secret://db", Reference("secret", "db", "", "s")),
        (f"secret://{ARN}", Reference("secret", ARN, "", "s")),
        (f"secret://{ARN}#password", Reference("secret", ARN, "password", "s")),
        ("secret://a/b_c+d=e.f@g-h", Reference("secret", "a/b_c+d=e.f@g-h", "", "s")),
        ("file:///run/secrets/db", Reference("file", "/run/secrets/db", "", "s")),
        ("file:///run/secrets/db#password", Reference("file", "/run/secrets/db", "password", "s")),
    ],
)
def test_a_reference_says_where_a_secret_is(text: str, found: Reference):
    assert is_reference(text)
    assert read_reference(text, "s") == found
    assert str(found) == text


@pytest.mark.parametrize(
    "text",
    ["hunter2", "secret://", "secret:hunter2", "secret://hunter 2", "secret://a#", "secret://a#b c", "file://hunter2"],
)
def test_what_is_no_reference_is_refused_and_not_repeated(text: str):
    with pytest.raises(Misconfigured) as refused:
        read_reference(text, "door.cache_secret")
    assert refused.value.setting == "door.cache_secret"
    assert "hunter" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "place", "name"),
    [
        ("postgresql://h/d", "postgresql://h/d", None),
        ("host=h dbname=d", "host=h dbname=d", None),
        ("postgresql://h/d?sslmode=verify-full", "postgresql://h/d?sslmode=verify-full", None),
        ("postgresql://h/d?credentials=secret://n", "postgresql://h/d", "secret://n"),
        (f"postgresql://h/d?credentials=secret://{ARN}", "postgresql://h/d", f"secret://{ARN}"),
        ("postgresql://u@h/d?a=b&credentials=secret://n#f&c=d", "postgresql://u@h/d?a=b&c=d", "secret://n#f"),
        ("rediss://h/0?credentials=secret%3A%2F%2Fn%23f", "rediss://h/0", "secret://n#f"),
        ("rediss://h/0?credentials=secret://a+b", "rediss://h/0", "secret://a+b"),
    ],
)
def test_a_url_is_read_apart_from_its_reference(url: str, place: str, name: str | None):
    found = address(url, "store.url")
    assert found.url == place
    assert (found.credentials and str(found.credentials)) == name


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:hunter2@h/d?credentials=secret://n",
        "postgresql://h/d?credentials=secret://n&credentials=secret://hunter2",
        "postgresql://h/d?credentials=hunter2",
    ],
)
def test_a_url_that_says_twice_who_we_are_is_refused(url: str):
    with pytest.raises(Misconfigured) as refused:
        address(url, "store.url")
    assert "hunter2" not in str(refused.value)


@given(st.text())
def test_any_text_is_an_address_or_misconfigured(text: str):
    try:
        found = address(text, "store.url")
    except Misconfigured:
        return
    assert isinstance(found, Address)
