"""Connections to PostgreSQL: how they are opened, pooled, and how their errors become ours."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

import msgspec
import psycopg
from psycopg import AsyncConnection
from psycopg.conninfo import make_conninfo
from psycopg.types.json import set_json_loads
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from penstock.errors import Misconfigured, Unavailable

TCP: Final = {
    # A half-open socket hangs for minutes under keepalives alone; this ends it in five seconds.
    "tcp_user_timeout": "5000",
    "connect_timeout": "3",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
}
CHECKOUT_S: Final = 5.0
RECONNECT_S: Final = 2.0
"""The pool waits ever longer between its tries; after this whoever asks next begins anew, so that nobody waits long."""
OPTIONS: Final = "-c timezone=UTC -c client_connection_check_interval=2s"
"""The server ends statements whose client has hung up."""


def conninfo(url: str, *, application: str) -> str:
    """*url* with the time-outs that every connection of ours has, and our name for the server's logs.

    Raises Misconfigured when it is no URL of PostgreSQL.
    """
    try:
        return make_conninfo(url, application_name=f"penstock {application}", options=OPTIONS, **TCP)
    except psycopg.ProgrammingError as error:
        raise Misconfigured("store.url", "it is no PostgreSQL URL", "use embedded: or postgresql://…") from error


@contextmanager
def translated() -> Iterator[None]:
    """No psycopg error crosses this door that a caller could do something about."""
    try:
        yield
    except (
        psycopg.OperationalError,
        psycopg.InterfaceError,
        PoolTimeout,
        psycopg.errors.ReadOnlySqlTransaction,
    ) as error:
        raise Unavailable(f"the database does not answer: {str(error).strip().splitlines()[0]}") from error


async def read_json_fast(connection: AsyncConnection) -> None:
    """Ten thousand tags come as ten thousand small JSON documents; the standard reader takes ten times as long."""
    set_json_loads(msgspec.json.decode, connection)


class Connection(AsyncConnection):
    """Whoever stops waiting for a statement hangs up, at once.

    Otherwise the server is asked to end it: for ten seconds if it does not answer, however little time there was.
    """

    async def cancel_safe(self, *, timeout: float = 0.0) -> None:  # noqa: ARG002, ASYNC109  # psycopg's signature
        self.pgconn.finish()


class Database:
    """A pool of autocommit connections of one process."""

    def __init__(self, url: str, *, application: str, connections_max: int = 10) -> None:
        self.url = url
        self._pool = AsyncConnectionPool(
            conninfo(url, application=application),
            connection_class=Connection,
            min_size=1,
            max_size=connections_max,
            timeout=CHECKOUT_S,
            reconnect_timeout=RECONNECT_S,
            kwargs={"autocommit": True},
            check=AsyncConnectionPool.check_connection,
            configure=read_json_fast,
            open=False,
        )

    async def open(self) -> None:
        """Connect. Raises Unavailable when the server cannot be reached."""
        await self._pool.open(wait=False)
        async with self.connection():
            pass

    async def close(self) -> None:
        await self._pool.close()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection]:
        """A connection to use and give back. Raises Unavailable when there is none, or it is lost meanwhile."""
        with translated():
            async with self._pool.connection() as connection:
                yield connection

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """A connection inside a transaction, committed at the end."""
        async with self.connection() as connection, connection.transaction():
            yield connection
