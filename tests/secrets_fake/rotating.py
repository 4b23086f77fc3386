"""A database, an administrator of it, a secret that rotates, and the rotation as Secrets Manager runs it."""

import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from penstock.secrets.rotation.handler import STEPS, rotate
from secrets_fake.http import FakeSecretsManager

LOGINS = ("penstock_a", "penstock_b")


class Rotating:
    """Of one empty database; *url* is its superuser's."""

    def __init__(self, url: str, manager: FakeSecretsManager, name: str, first: object, admin: str = "") -> None:
        self.superuser_url, self.manager = url, manager
        self.secret, self.admin_secret = f"{name}-app", f"{name}-admin"
        parts = conninfo_to_dict(url)
        self.place = f"postgresql://{parts['host']}:{parts['port']}/{parts['dbname']}"
        self.arn = manager.put(self.secret, first)
        user, password = (admin, uuid.uuid4().hex) if admin else (parts["user"], parts["password"])
        if admin:
            with self.superuser() as connection:
                make = sql.SQL("create role {} login createrole createdb password {}")
                connection.execute(make.format(sql.Identifier(admin), sql.Literal(password)))
                own = sql.SQL("alter database {} owner to {}")
                connection.execute(own.format(sql.Identifier(str(parts["dbname"])), sql.Identifier(admin)))
        manager.put(self.admin_secret, {"username": user, "password": password})
        self.admin = admin

    @property
    def environment(self) -> dict[str, str]:
        return {"PENSTOCK_ROTATION_DATABASE": self.place, "PENSTOCK_ROTATION_ADMIN": self.admin_secret}

    @property
    def url(self) -> str:
        """As the application has it."""
        return f"{self.place}?credentials=secret://{self.secret}"

    def superuser(self) -> psycopg.Connection:
        return psycopg.connect(self.superuser_url, autocommit=True)

    def current(self) -> dict[str, Any]:
        import json  # noqa: PLC0415

        return dict(json.loads(self.manager.secrets.call("GetSecretValue", {"SecretId": self.secret})["SecretString"]))

    def connect(self, login: dict[str, Any]) -> psycopg.Connection:
        return psycopg.connect(
            self.place, user=login["username"], password=login["password"], autocommit=True, connect_timeout=3
        )

    def events(self, token: str | None = None) -> list[dict[str, str]]:
        token = token or str(uuid.uuid4())
        return [{"SecretId": self.arn, "ClientRequestToken": token, "Step": step} for step in STEPS]

    def rotate(self, events: Sequence[dict[str, str]] = ()) -> dict[str, Any]:
        """The new current version."""
        for event in events or self.events():
            rotate(event, None)
        return self.current()

    def forget(self) -> None:
        """Roles belong to the server, not to the database."""
        with self.superuser() as connection:
            for role in (*LOGINS, "penstock_owner", self.admin):
                if role and connection.execute("select 1 from pg_roles where rolname = %s", (role,)).fetchone():
                    connection.execute(sql.SQL("alter database {} owner to current_user").format(
                        sql.Identifier(str(conninfo_to_dict(self.place)["dbname"]))
                    ))  # fmt: skip
                    for statement in (
                        "reassign owned by {} to current_user",
                        "drop owned by {} cascade",
                        "drop role {}",
                    ):
                        connection.execute(sql.SQL(statement).format(sql.Identifier(role)))  # type: ignore[arg-type]


def rotating(url: str, manager: FakeSecretsManager, name: str, first: object, admin: str = "") -> Iterator[Rotating]:
    """For a fixture."""
    made = Rotating(url, manager, name, first, admin)
    try:
        yield made
    finally:
        made.forget()
