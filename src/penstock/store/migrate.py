"""Brings a database to the state this code expects, by numbered files that are never changed once applied."""

import hashlib
import re
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import cache
from importlib.resources import files
from typing import Final, LiteralString, NamedTuple

import psycopg
from psycopg import AsyncConnection, sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from penstock.errors import Misconfigured
from penstock.secrets.reference import address
from penstock.store.postgres import SETTING, connect, translated
from penstock.store.sql import statements
from penstock.telemetry import log

SERVER_MIN: Final = 15
SECRET_TABLES: Final = ("api_key", "login_link", "session")
"""What a reader of the database must not see."""
_NAME: Final = re.compile(r"(\d{4})_(\w+)\.sql")
_NEEDS: Final = re.compile(r"^-- needs: (\d+)$", re.MULTILINE)
_SQL: Final = statements("migrate")


class Migration(NamedTuple):
    """One file of `sql/migrations`."""

    number: int
    name: str
    text: LiteralString

    @property
    def sha256(self) -> bytes:
        return hashlib.sha256(self.text.encode()).digest()

    @property
    def needs(self) -> int | None:
        """Code that knows the migration of this number goes on after this one: so `-- needs: N` in it says.

        None: only code that knows this one does.
        """
        said = _NEEDS.search(self.text)
        return int(said[1]) if said else None


class Applied(NamedTuple):
    """What a database remembers of a migration."""

    sha256: bytes
    needs: int | None = None


@cache
def migrations() -> tuple[Migration, ...]:
    """All that ship with this code, in order."""
    folder = files("penstock.store.sql").joinpath("migrations")
    found = [(_NAME.fullmatch(file.name), file) for file in folder.iterdir()]
    return tuple(sorted(Migration(int(m[1]), m[2], file.read_text("utf-8")) for m, file in found if m))


async def migrate(url: str, *, upto: int | None = None) -> list[int]:
    """Apply what is missing (through number *upto*, if given) and return its numbers. Two at once are safe.

    Raises Misconfigured when the server is too old, the database newer than this code or an applied file
    was changed; Unavailable when the server does not answer.
    """
    async with _connected(url) as connection:
        require_server(connection.info.server_version)
        await connection.execute(_SQL["lock"])
        await connection.execute(_SQL["make_table"])
        missing = pending(migrations(), await applied(connection))
        missing = [it for it in missing if upto is None or it.number <= upto]
        for migration in missing:
            await _apply(connection, migration)
        await _refresh_reader(connection)
    return [it.number for it in missing]


async def _apply(connection: AsyncConnection, migration: Migration) -> None:
    async with connection.transaction():
        await connection.execute(migration.text)
        known = (migration.number, migration.name, migration.sha256, migration.needs)
        await connection.execute(_SQL["record"], known)
    log.info("database migrated", number=migration.number, name=migration.name)


async def applied(connection: AsyncConnection) -> Mapping[int, Applied]:
    """Each applied migration, by number; none for an empty database."""
    there = await (await connection.execute(_SQL["exists"])).fetchone()
    if not there or not there[0]:
        return {}
    rows = await (await connection.execute(_SQL["applied"])).fetchall()
    return {number: Applied(sha256, needs) for number, sha256, needs in rows}


def pending(known: Sequence[Migration], done: Mapping[int, Applied]) -> list[Migration]:
    """What of *known* is yet to be applied. Raises Misconfigured when what is done is not ours to continue.

    What a newer version did and we can live with is none of our business: in a release, and after one was taken
    back, the version before starts too.
    """
    newest = known[-1].number if known else 0
    for number, it in done.items():
        if number > newest and (it.needs is None or it.needs > newest):
            why = f"the database is at migration {max(done)}, this version of penstock knows {newest}"
            raise Misconfigured("store.url", why, "install the version that made it, or a newer one")
    for migration in known:
        if migration.number in done and done[migration.number].sha256 != migration.sha256:
            why = f"migration {migration.number} was applied from a file that differs from this version's"
            raise Misconfigured("store.url", why, "install the version that applied it; applied files must not change")
    return [migration for migration in known if migration.number not in done]


def require_server(server_version: int) -> None:
    """Raises Misconfigured for a server older than we support; *server_version* as libpq gives it, 150004."""
    major = server_version // 10_000
    if major < SERVER_MIN:
        why = f"the server is PostgreSQL {major}, {SERVER_MIN} is the oldest supported"
        raise Misconfigured("store.url", why, "upgrade the server, or name another")


async def reader_url(url: str, name: str = "sql") -> str:
    """A URL for reading with other tools, as login `penstock_<name>`, with a fresh random password.

    The password of an earlier call with the same name stops working: give each tool a name of its own.
    """
    login = f"penstock_{name}"
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,40}", name) or login == "penstock_reader":
        raise Misconfigured("name", f"{name!r} cannot be a login's name", "use small letters, digits and _")
    password = secrets.token_urlsafe(24)
    async with _connected(url) as connection:
        # hashed on this side, so that no log of statements can hold it
        hashed = connection.pgconn.encrypt_password(password.encode(), login.encode(), b"scram-sha-256").decode()
        for statement in ("make_login", "set_login"):
            text = sql.SQL(_SQL[statement]).format(login=sql.Identifier(login), password=sql.Literal(hashed))
            await connection.execute(text)
    return _with_login(url, login, password)


def _with_login(url: str, login: str, password: str) -> str:
    url = address(url, SETTING).url
    kept = conninfo_to_dict(url)
    if "://" not in url:
        return make_conninfo(url, user=login, password=password)
    place = f"{kept.get('host', '')}:{kept.get('port', 5432)}"
    return f"postgresql://{login}:{password}@{place}/{kept.get('dbname', '')}"


async def _refresh_reader(connection: AsyncConnection) -> None:
    """The group `penstock_reader` reads every table of today and tomorrow, but no secrets."""
    try:
        async with connection.transaction():
            await connection.execute(_SQL["make_reader"])
            await connection.execute(_SQL["grant_reader"])
            hidden = await connection.execute(_SQL["hide_from_reader"], (list(SECRET_TABLES),))
            for (statement,) in await hidden.fetchall():
                await connection.execute(statement)
    except psycopg.errors.InsufficientPrivilege:
        log.warning("no read-only role: the database's user may not create roles; `penstock sql` will not work")


@asynccontextmanager
async def _connected(url: str) -> AsyncIterator[AsyncConnection]:
    with translated():
        async with await connect(url, application="migrate") as connection:
            yield connection
