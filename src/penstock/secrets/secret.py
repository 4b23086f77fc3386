"""A secret in our hands: it shows itself to who asks for its text, and to nobody else."""

import json
from dataclasses import dataclass, field
from typing import Any, Final

from penstock.secrets.reference import Reference

_JSON_MEND: Final = 'store a JSON object such as {"username": …, "password": …}, or leave the #FIELD out'


@dataclass(frozen=True, slots=True)
class Login:
    """Who we are somewhere. `user` may be empty, where a service has a default user."""

    user: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Secret:
    """What a reference led to, once."""

    reference: Reference
    _text: str = field(repr=False)

    def text(self) -> str:
        """The field that the reference names, else the whole. Raises Misconfigured."""
        wanted = self.reference.field
        return self._field(self._fields(), wanted) if wanted else self._text.rstrip("\n")

    def login(self, user: str = "") -> Login:
        """User and password: of a JSON object as RDS makes them, or a bare password of *user*. Raises Misconfigured."""
        if not self.reference.field and not self._text.lstrip().startswith("{"):
            return Login(user, self.text())
        fields = self._fields()
        return Login(str(fields.get("username", user)), self._field(fields, self.reference.field or "password"))

    def _fields(self) -> dict[str, Any]:
        try:
            fields = json.loads(self._text)
        except ValueError:  # its text would show a part of the secret
            fields = None
        if not isinstance(fields, dict):
            raise self.reference.wrong("is no JSON object", _JSON_MEND)
        return fields

    def _field(self, fields: dict[str, Any], name: str) -> str:
        text = fields.get(name)
        if not isinstance(text, str) or not text:
            raise self.reference.wrong(
                f"has no text in the field {name!r}", f"it has {_listed(fields)}; name one by #FIELD"
            )
        return text


def _listed(fields: dict[str, Any]) -> str:
    return ", ".join(sorted(str(name) for name in fields)) or "none"
