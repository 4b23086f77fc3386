"""PostgreSQL's own programs at work on a database: the password is in no environment and no list of processes."""

import os
import tempfile
from collections.abc import Mapping
from typing import IO, NamedTuple

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from penstock.secrets.reference import address
from penstock.secrets.vault import VAULT
from penstock.store.postgres import SETTING


class ToolLogin(NamedTuple):
    """How a program is told where to go and who we are: as its `--dbname`, its environment, and an open file."""

    dbname: str
    environment: Mapping[str, str]
    file: IO[str]
    """Has no name any more; must be inherited by the program (`pass_fds`), and may then be closed."""


def tool_login(url: str) -> ToolLogin:
    """Of the database at *url*. Blocks while a secret is read; raises as `Vault.get` does."""
    place, credentials = address(url, SETTING)
    words = conninfo_to_dict(place)
    password = str(words.pop("password", None) or "")
    if credentials is not None:
        login = VAULT.get_now(credentials).login(str(words.get("user", "")))
        words["user"], password = login.user, login.password
    file = tempfile.TemporaryFile("w+")  # noqa: SIM115  # whoever starts the program closes it
    escaped = password.replace("\\", r"\\").replace(":", r"\:")
    file.write(f"*:*:*:*:{escaped}\n" if password else "")
    file.seek(0)
    environment = {name: text for name, text in os.environ.items() if name != "PGPASSWORD"}
    if password:
        environment["PGPASSFILE"] = f"/dev/fd/{file.fileno()}"
    return ToolLogin(make_conninfo("", **words), environment, file)
