"""What rotation asks of PostgreSQL: the roles, a login's new password, and whether a login works."""

from importlib.resources import files
from typing import Final

import psycopg
from psycopg import Connection, sql

LOGINS: Final = ("penstock_a", "penstock_b")
OWNER: Final = "penstock_owner"
CONNECT_S: Final = 5
_ROLES: Final = files(__package__).joinpath("roles.sql").read_text("utf-8")
_WORKS: Final = """
select current_user = %s and has_schema_privilege('public', 'usage') and has_schema_privilege('public', 'create')
   and not pg_is_in_recovery()
"""


def connect(place: str, user: str, password: str) -> Connection:
    """A connection to the database at the URL *place*. Raises OperationalError without the password in it."""
    try:
        return psycopg.connect(
            place,
            user=user,
            password=password,
            connect_timeout=CONNECT_S,
            tcp_user_timeout=5_000,
            application_name="penstock rotation",
        )
    except psycopg.OperationalError as error:
        said = (str(error).strip().splitlines() or ["no connection"])[0]
    # out here, so that nothing leads from this error to psycopg's own, which holds the password
    raise psycopg.OperationalError(said)


def logs_in(place: str, user: str, password: str) -> bool:
    """Whether they are let in, for whatever reason not."""
    try:
        connect(place, user, password).close()
    except psycopg.OperationalError:
        return False
    return True


def prepare_roles(admin: Connection) -> None:
    """Make what is missing of the roles."""
    admin.execute(_ROLES.encode())


def exists(admin: Connection, user: str) -> bool:
    """Whether there is such a login."""
    return admin.execute("select 1 from pg_roles where rolname = %s", (user,)).fetchone() is not None


def set_password(admin: Connection, user: str, password: str) -> None:
    """Hashed on this side: the server, and its log of statements, see no password."""
    hashed = admin.pgconn.encrypt_password(password.encode(), user.encode(), b"scram-sha-256").decode()
    statement = sql.SQL("alter role {} with login password {}").format(sql.Identifier(user), sql.Literal(hashed))
    admin.execute(statement)


def works(place: str, user: str, password: str) -> bool:
    """Whether that login is let in, acts as the owner, and may make tables."""
    with connect(place, user, password) as connection:
        row = connection.execute(_WORKS, (OWNER,)).fetchone()
    return bool(row and row[0])
