"""What a caller may ask: every answer is cut to the caller's sites, and what lies outside is not there."""

from collections.abc import Sequence

from penstock.door.asgi import require
from penstock.errors import Undecodable, Unknown
from penstock.model.access import ALL_SITES, READERS, Caller, Role
from penstock.model.tag import Tag, is_path, site_of
from penstock.serve.parts import ServeParts
from penstock.store.accounts import Accounts
from penstock.store.alarms import Alarms
from penstock.store.exceptions import Exceptions
from penstock.store.forget_books import ForgetBooks
from penstock.store.read import Reader
from penstock.store.registry import Registry
from penstock.store.rollups import Rollups

OPERATORS = frozenset({Role.OPERATOR, Role.ADMIN})
AUDITORS = frozenset({Role.AUDITOR, Role.ADMIN})
ADMINS = frozenset({Role.ADMIN})


class Desk:
    """The store's rooms, behind the caller's scope."""

    def __init__(self, parts: ServeParts) -> None:
        self.parts = parts
        self.registry = Registry(parts.database)
        self.reader = Reader(parts.database)
        self.rollups = Rollups(parts.database)
        self.accounts = Accounts(parts.database)
        self.exceptions = Exceptions(parts.database)
        self.alarms = Alarms(parts.database)
        self.forgotten = ForgetBooks(parts.database)

    async def tag(self, caller: Caller, path: str) -> Tag:
        """Raises Unknown, for another site's tag too."""
        return await self.registry.get(seen_path(caller, path))


def seen_path(caller: Caller, path: str) -> str:
    """*path*, if it may be a tag of the caller's sites. Raises Unknown."""
    if not is_path(path) or not caller.may_read(site_of(path)):
        raise Unknown("there is no such tag")
    return path


def seen_paths(caller: Caller, paths: Sequence[str], most: int) -> list[str]:
    """Those of *paths* that the caller may see, once each."""
    if len(paths) > most:
        raise Undecodable(f"{most} tags at most", code="too_many_tags")
    return [path for path in dict.fromkeys(paths) if is_path(path) and caller.may_read(site_of(path))]


def sites_of(caller: Caller) -> list[str] | None:
    """The caller's sites, for the store; None is all."""
    return None if ALL_SITES in caller.sites else sorted(caller.sites)


def prefixes_of(caller: Caller, prefix: str) -> list[str]:
    """*prefix* cut to the caller's sites, in byte order: what begins with any of these may be seen."""
    if ALL_SITES in caller.sites:
        return [prefix]
    sites = sorted(f"{site}/" for site in caller.sites)
    return [max(prefix, site) for site in sites if prefix.startswith(site) or site.startswith(prefix)]


def reader(caller: Caller) -> Caller:
    """The caller, who may read. Raises Forbidden."""
    require(caller, READERS)
    return caller
