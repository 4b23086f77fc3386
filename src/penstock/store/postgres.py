"""Connections to PostgreSQL: how they are opened, pooled, and how their errors become ours."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final, Self

import msgspec
import psycopg
from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.types.json import set_json_loads
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from penstock.errors import Misconfigured, Unavailable
from penstock.secrets.reference import Reference, address
from penstock.secrets.secret import Secret
from penstock.secrets.vault import PATIENCE_S, VAULT, logged_in

TCP: Final = {
    # A half-open socket hangs for minutes under keepalives alone; this ends it in five seconds.
    "tcp_user_timeout": "5000",
    "connect_timeout": "2",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
}
CHECKOUT_S: Final = 5.0
SETTING: Final = "store.url"
REFUSALS: Final = ("password authentication failed", "is not permitted to log in", "no password supplied")
"""What the server says when it does not take who we are; to strangers it gives no code. In English: elsewhere a new
password is noticed only when the one that is kept has become too old."""
CHECK_S: Final = 1.0
"""A server, or a proxy before it, that acknowledges everything and answers nothing is away, too."""
RECONNECT_S: Final = 2.0
"""The pool waits ever longer between its tries; after this whoever asks next begins anew, so that nobody waits long."""
OPTIONS: Final = "-c timezone=UTC -c client_connection_check_interval=2s"
"""The server ends statements whose client has hung up."""


def conninfo(url: str, *, application: str) -> str:
    """*url* with the time-outs that every connection of ours has, and our name for the server's logs.

    Without `credentials=…`, which is ours to read. Raises Misconfigured when it is no URL of PostgreSQL.
    """
    place = address(url, SETTING).url
    try:
        return make_conninfo(place, application_name=f"penstock {application}", options=OPTIONS, **TCP)
    except psycopg.ProgrammingError as error:
        raise Misconfigured(SETTING, "it is no PostgreSQL URL", "use embedded: or postgresql://…") from error


TOO_MUCH: Final = (psycopg.errors.ProgramLimitExceeded, psycopg.errors.StatementTooComplex)
"""What was asked can never be done, though psycopg calls it operational."""
PASSING: Final = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    PoolTimeout,
    psycopg.errors.ReadOnlySqlTransaction,
    psycopg.errors.InsufficientPrivilege,
)
"""What says nothing against what was asked: it may be tried again."""


@contextmanager
def translated() -> Iterator[None]:
    """No psycopg error crosses this door that a caller could do something about."""
    try:
        yield
    except TOO_MUCH:
        raise
    except PASSING as error:
        raise Unavailable(f"the database does not answer: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]


async def read_json_fast(connection: AsyncConnection) -> None:
    """Ten thousand tags come as ten thousand small JSON documents; the standard reader takes ten times as long."""
    set_json_loads(msgspec.json.decode, connection)


async def answers(connection: AsyncConnection) -> None:
    """Raises what the pool takes for a connection that is lost."""
    async with asyncio.timeout(CHECK_S):
        await AsyncConnectionPool.check_connection(connection)


class Connection(AsyncConnection):
    """Learns user and password when it opens, if they are in a secret, and keeps neither.

    Whoever stops waiting for a statement hangs up, at once. Otherwise the server is asked to end it: for ten seconds
    if it does not answer, however little time there was.
    """

    @classmethod
    async def connect(  # type: ignore[override]  # psycopg names each of its options
        cls,
        conninfo: str = "",
        *,
        credentials: Reference | None = None,
        patience_s: float = PATIENCE_S,
        **options: Any,
    ) -> Self:
        """*patience_s*: how long a login that is refused is tried again, with the secret as it is by then."""
        opening = super().connect
        if credentials is None:
            return await opening(conninfo, **options)
        user = str(conninfo_to_dict(conninfo).get("user", ""))

        async def attempt(secret: Secret) -> Self:
            login = secret.login(user)
            if not login.user:
                raise credentials.wrong("names no user", "add `username` to it, or the user to the URL")
            return await opening(conninfo, user=login.user, password=login.password, **options)

        try:
            return await logged_in(credentials, attempt, is_refusal, patience_s=patience_s)
        except psycopg.OperationalError as error:
            said = f"{_first_line(error)} (user and password of {credentials})"
        # out here, so that nothing leads from this error to psycopg's own, which holds the password
        raise psycopg.OperationalError(said)

    async def cancel_safe(self, *, timeout: float = 0.0) -> None:  # noqa: ARG002, ASYNC109  # psycopg's signature
        self.pgconn.finish()


def is_refusal(error: Exception) -> bool:
    """Whether the server does not take who we say we are."""
    return isinstance(error, psycopg.OperationalError) and any(words in str(error) for words in REFUSALS)


async def connect(url: str, *, application: str, patience_s: float = PATIENCE_S) -> Connection:
    """One autocommit connection. Raises psycopg's errors, for `translated`, and what `Vault.get` raises."""
    credentials, place = address(url, SETTING).credentials, conninfo(url, application=application)
    return await Connection.connect(place, credentials=credentials, patience_s=patience_s, autocommit=True)


class Database:
    """A pool of autocommit connections of one process."""

    def __init__(self, url: str, *, application: str, connections_max: int = 10) -> None:
        self.url = url
        self._credentials = address(url, SETTING).credentials
        self._pool = AsyncConnectionPool(
            conninfo(url, application=application),
            connection_class=Connection,
            min_size=1,
            max_size=connections_max,
            timeout=CHECKOUT_S,
            reconnect_timeout=RECONNECT_S,
            kwargs={"autocommit": True, "credentials": self._credentials},
            check=answers,
            configure=read_json_fast,
            open=False,
        )

    async def open(self) -> None:
        """Connect. Raises Unavailable when the server cannot be reached, Misconfigured when a secret cannot be had."""
        if self._credentials is not None:
            await VAULT.get(self._credentials)  # what is wrong with it would be lost in the pool
        await self._pool.open(wait=False)
        async with self.connection():
            pass

    async def close(self) -> None:
        await self._pool.close()

    async def connect(self, application: str) -> Connection:
        """A connection of one's own, beside the pool. Raises as the function `connect` does."""
        return await connect(self.url, application=application)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection]:
        """A connection to use and give back. Raises Unavailable when there is none, or it is lost meanwhile."""
        asked = _asked_to_end()
        with translated():
            async with self._pool.connection() as connection:
                if _asked_to_end() > asked:  # up to Python 3.11 a wait that ends at that very moment forgets it
                    raise asyncio.CancelledError
                yield connection

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """A connection inside a transaction, committed at the end."""
        async with self.connection() as connection, connection.transaction():
            yield connection


def _asked_to_end() -> int:
    """How often this task was cancelled."""
    task = asyncio.current_task()
    return task.cancelling() if task else 0
