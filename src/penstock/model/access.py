"""Who may come in: a key, what it may do, and where."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

ALL_SITES: Final = "*"


class Role(StrEnum):
    """What a key is for."""

    WRITER = "writer"
    VIEWER = "viewer"
    OPERATOR = "operator"
    AUDITOR = "auditor"
    ADMIN = "admin"


WRITERS: Final = frozenset({Role.WRITER, Role.ADMIN})
READERS: Final = frozenset({Role.VIEWER, Role.OPERATOR, Role.AUDITOR, Role.ADMIN})


@dataclass(frozen=True, slots=True)
class Key:
    """A key as it is kept: never the secret, only its SHA-256. `rate` and `burst` None: as the settings say."""

    key_id: str
    name: str
    sha256: bytes
    role: Role
    sites: frozenset[str]
    rate: float | None
    burst: float | None
    created_us: int
    created_by: str
    revoked_us: int | None = None
    revoked_by: str | None = None


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request."""

    key_id: str
    name: str
    role: Role
    sites: frozenset[str]
    rate: float | None = None
    burst: float | None = None

    def sees(self, site: str) -> bool:
        """Whether the key's scope covers *site*, whatever its role."""
        return ALL_SITES in self.sites or site in self.sites

    def may_write(self, site: str) -> bool:
        return self.role in WRITERS and self.sees(site)

    def may_read(self, site: str) -> bool:
        return self.role in READERS and self.sees(site)
