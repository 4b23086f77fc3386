"""What stands in a setting where a secret is meant: never the secret, but where it is kept.

    secret://NAME           a secret of AWS Secrets Manager, by name or ARN
    secret://NAME#FIELD     one field of it, where it is a JSON object
    file:///run/secrets/X   a file, as Docker, Kubernetes and systemd hand them to a service; with `#FIELD` likewise
    iam://CACHE/USER        no secret at all: ElastiCache's user USER lets our IAM role in, by a signature each time

An address says who we are there by `?credentials=REFERENCE`: `postgresql://HOST/DB?credentials=secret://NAME`.
"""

import re
from typing import Final, NamedTuple
from urllib.parse import unquote, urlsplit

from penstock.errors import Misconfigured

SHAPE: Final = "secret://NAME[#FIELD] or file:///PATH[#FIELD]"
_PARAMETER: Final = "credentials="
_FORM: Final = re.compile(
    r"(?P<scheme>secret(?=://[\w/+=.@:-]{1,2048}(#|$))|file(?=:///[^#])|iam(?=://[\w-]+/[\w-]+$))"
    r"://(?P<name>[^#\n]+)(#(?P<field>[^#\s]+))?",
    re.ASCII,
)


class Reference(NamedTuple):
    """Where a secret is kept. Saying it aloud is harmless."""

    scheme: str
    name: str
    field: str
    """Of the JSON object that the secret is; empty: all of it."""
    setting: str
    """Which setting holds the reference."""

    def __str__(self) -> str:
        return f"{self.scheme}://{self.name}" + (f"#{self.field}" if self.field else "")

    def wrong(self, why: str, mend: str) -> Misconfigured:
        """An error that names this reference."""
        return Misconfigured(self.setting, f"{self}: {why}", mend)


class Address(NamedTuple):
    """A URL, and who we are there: *credentials* is None where the URL says all."""

    url: str
    credentials: Reference | None


def is_reference(text: str) -> bool:
    """Whether *text* means to be one, well-formed or not."""
    return text.startswith(("secret:", "file:", "iam:"))


def read_reference(text: str, setting: str) -> Reference:
    """What *text* refers to. Raises Misconfigured, without repeating *text*: it may be the very secret."""
    form = _FORM.fullmatch(text)
    if form is None:
        raise Misconfigured(setting, "holds something that is no reference to a secret", f"write it as {SHAPE}")
    return Reference(form["scheme"], form["name"], form["field"] or "", setting)


def address(url: str, setting: str) -> Address:
    """*url* as its own library reads it, apart from the reference in it. Raises Misconfigured."""
    place, question, query = url.partition("?")
    words = query.split("&")
    given = [word for word in words if word.startswith(_PARAMETER)]
    if not question or not given:
        return Address(url, None)
    if len(given) > 1 or urlsplit(place).password is not None:
        why = "says more than once who we are"
        raise Misconfigured(setting, why, f"write no password, and one credentials={SHAPE}")
    rest = "&".join(word for word in words if word not in given)
    found = read_reference(unquote(given[0].removeprefix(_PARAMETER)), setting)
    return Address(f"{place}?{rest}" if rest else place, found)
