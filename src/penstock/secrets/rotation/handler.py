"""The rotation of the database's password, as AWS Secrets Manager calls it: `rotate`, in four steps.

Two logins take turns, `penstock_a` and `penstock_b`. The one that is not in use gets a new password, is tried, and
becomes the current one; the other stays good until the next rotation, so that no connection is ever refused. Every
step may be run again, after a crash anywhere in it.

Environment of the function:

    PENSTOCK_ROTATION_DATABASE  postgresql://HOST:PORT/DATABASE?sslmode=verify-full&sslrootcert=/var/task/rds-ca.pem
                                without user and password; all else that libpq knows is allowed
    PENSTOCK_ROTATION_ADMIN     ARN of the secret {"username", "password"} of a login that may create roles and grant
                                rights on the database: RDS' own master secret. Once the roles are there, it is enough
                                that it may alter penstock_a and penstock_b (on PostgreSQL 16 or newer: CREATEROLE, and
                                ADMIN on these two)

The secret that rotates is a JSON object; its `username` and `password` change, its other fields stay. Its first value
may be anything of that kind, `{}` too: the first rotation makes the roles.

The function's role needs, on the rotating secret, secretsmanager:DescribeSecret, GetSecretValue, PutSecretValue and
UpdateSecretVersionStage; on the admin's secret, GetSecretValue; on their KMS keys, kms:Decrypt and GenerateDataKey.
The package: `penstock/__init__.py`, `penstock/errors.py`, `penstock/secrets/`, psycopg with its binary. No other file
of penstock is imported. Half a minute is enough time; one at a time is enough.
"""

import logging
import os
import secrets
import string
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final, NamedTuple

import psycopg
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.session import get_session

from penstock.errors import PenstockError
from penstock.secrets.rotation import database
from penstock.secrets.rotation.versions import PENDING, Versions

PLACE: Final = "PENSTOCK_ROTATION_DATABASE"
ADMIN: Final = "PENSTOCK_ROTATION_ADMIN"
PASSWORD_LENGTH: Final = 40
"""Of 62 letters and digits: 238 bits."""
_LETTERS: Final = string.ascii_letters + string.digits
_log: Final = logging.getLogger("penstock.rotation")


class RotationFailed(PenstockError):
    """A step of the rotation could not be done; the secret is as it was, and the step may be run again."""

    code = "rotation_failed"


class Rotation(NamedTuple):
    """One rotation of one secret: its versions, and the database that it is for."""

    versions: Versions
    place: str
    admin_secret: str


def rotate(event: Mapping[str, str], context: object) -> None:  # noqa: ARG001  # Lambda's signature
    """Do `event["Step"]` for `event["SecretId"]` and the version `event["ClientRequestToken"]`.

    Raises RotationFailed with the step, the secret's name and the mend; never with what is secret.
    """
    step, secret = event["Step"], event["SecretId"]
    try:
        do = STEPS[step]
        rotation = Rotation(
            Versions(client(), secret, event["ClientRequestToken"]), os.environ[PLACE], os.environ[ADMIN]
        )
        if rotation.versions.is_done():
            _log.info("%s of %s: was done before", step, secret)
            return
        do(rotation)
    except KeyError as error:
        raise RotationFailed(
            f"{step} of {secret}: {error} is missing. Mend: see the docstring of {__name__}"
        ) from error
    except psycopg.Error as error:
        said = _first_line(error)
        raise RotationFailed(f"{step} of {secret}: the database says {said}. Mend: {_mend(said)}") from error
    except (BotoCoreError, ClientError) as error:
        mend = f"give the function's role and network what {__name__} names"
        raise RotationFailed(f"{step} of {secret}: {_first_line(error)}. Mend: {mend}") from error
    _log.info("%s of %s: done", step, secret)


def create_secret(rotation: Rotation) -> None:
    """A new password for the login that is not in use, kept as the pending version."""
    versions = rotation.versions
    if versions.pending() is not None:
        return
    current = versions.current()
    user = _other(current.get("username", ""))
    versions.put_pending({**current, "username": user, "password": new_password()})


def set_secret(rotation: Rotation) -> None:
    """Give the login that password. On the first run make the roles, and let the current login in too."""
    current, pending = rotation.versions.current(), _pending(rotation)
    user, password = pending["username"], pending["password"]
    if database.logs_in(rotation.place, user, password):
        return
    admin = rotation.versions.of_another(rotation.admin_secret)
    with database.connect(rotation.place, admin["username"], admin["password"]) as connection:  # one transaction
        known = {login for login in database.LOGINS if database.exists(connection, login)}
        database.prepare_roles(connection)
        database.set_password(connection, user, password)
        if current.get("username") in set(database.LOGINS) - known - {user} and current.get("password"):
            database.set_password(connection, current["username"], current["password"])


def test_secret(rotation: Rotation) -> None:
    """Log in with it, as the application does."""
    pending = _pending(rotation)
    if not database.works(rotation.place, pending["username"], pending["password"]):
        raise RotationFailed(
            f"{pending['username']} is let in, but may not work as {database.OWNER}. "
            "Mend: run setSecret again with an admin who may grant, or grant it by hand"
        )


def finish_secret(rotation: Rotation) -> None:
    """From now on it is the current one."""
    _pending(rotation)
    rotation.versions.finish()


STEPS: Final[Mapping[str, Callable[[Rotation], None]]] = {
    "createSecret": create_secret,
    "setSecret": set_secret,
    "testSecret": test_secret,
    "finishSecret": finish_secret,
}


@cache
def client() -> Any:
    """Of Secrets Manager, where the function runs."""
    config = Config(connect_timeout=3, read_timeout=5, retries={"total_max_attempts": 3, "mode": "standard"})
    return get_session().create_client("secretsmanager", config=config)


def new_password() -> str:
    return "".join(secrets.choice(_LETTERS) for _ in range(PASSWORD_LENGTH))


def _other(user: str) -> str:
    a, b = database.LOGINS
    return b if user == a else a


def _pending(rotation: Rotation) -> dict[str, Any]:
    pending = rotation.versions.pending()
    if pending is None or pending.get("username") not in database.LOGINS:
        raise RotationFailed("there is no pending version of one of our logins. Mend: run createSecret first")
    if pending["username"] == rotation.versions.current().get("username"):
        raise RotationFailed(
            f"the pending version is of {pending['username']}, which is in use. Mend: remove {PENDING} from it "
            "(aws secretsmanager update-secret-version-stage), then rotate again"
        )
    return pending


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _mend(said: str) -> str:
    if "password authentication failed" in said:
        return f"the secret in {ADMIN} must be of a login that the database knows"
    if "permission denied" in said or "must be" in said:
        return f"the login in {ADMIN} needs the rights that {__name__} names"
    if "certificate" in said or "SSL" in said:
        return (
            f"name the authority that signed the server's certificate as sslrootcert in {PLACE}, and the server's name"
        )
    return "let the function reach the database (subnets, security groups), and rotate again"
