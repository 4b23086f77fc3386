"""`keys`, `tags`, `login`, `sql`: who may come in, what is known of tags, and how other tools get at the history."""

import os
import shutil
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from penstock.cli.loop import run_loop
from penstock.cli.options import Data, Json
from penstock.cli.show import client, instance, show, show_one
from penstock.clock import SystemClock
from penstock.datadir import held, read_note
from penstock.errors import Misconfigured
from penstock.model.access import ALL_SITES, Key, Role
from penstock.settings import read_settings
from penstock.telemetry import start_logging

if TYPE_CHECKING:
    from penstock.client import Client
    from penstock.store.access import Access

keys = typer.Typer(help="Make, list and revoke API keys.", no_args_is_help=True)
tags = typer.Typer(help="List tags; import and export how they are configured.", no_args_is_help=True)
BY_COMMAND_LINE = "command line"
T = TypeVar("T")


@keys.command()
def create(  # noqa: PLR0913, PLR0917  # one option each
    name: Annotated[str, typer.Option(help="The person or system that will hold it.")],
    site: Annotated[list[str] | None, typer.Option(help="A site it may reach, repeatable; all by default.")] = None,
    role: Annotated[Role, typer.Option(help="What it is for.")] = Role.WRITER,
    rate: Annotated[float | None, typer.Option(help="Requests a second; 0 is no limit.")] = None,
    burst: Annotated[float | None, typer.Option(help="Requests at once.")] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Make a key and print it, this once."""
    from penstock.door.keys import create_key, make_key

    made = make_key(
        SystemClock(),
        name=name,
        role=role,
        sites=site or [ALL_SITES],
        created_by=BY_COMMAND_LINE,
        rate=rate,
        burst=burst,
    )
    with store_url(data) as url:
        secret = run_loop(_with_access(url, lambda access: create_key(access, made)))
    if as_json:
        show_one({"key_id": made.key.key_id, "key": secret}, as_json=True)
    else:
        typer.echo(secret)


@keys.command("list")
def list_(data: Data = None, as_json: Json = False) -> None:
    """List all keys; the keys themselves are not kept."""
    with store_url(data) as url:
        found = run_loop(_with_access(url, lambda access: access.keys()))
    show([_told(key) for key in found], as_json=as_json)


@keys.command()
def revoke(key_id: Annotated[str, typer.Argument(help="From `keys list`.")], data: Data = None) -> None:
    """Make a key useless, within five seconds."""
    with store_url(data) as url:
        run_loop(_with_access(url, lambda access: access.revoke(key_id, BY_COMMAND_LINE)))


def _told(key: Key) -> dict[str, Any]:
    return {
        "key_id": key.key_id,
        "name": key.name,
        "role": key.role.value,
        "sites": " ".join(sorted(key.sites)),
        "rate": key.rate,
        "created": datetime.fromtimestamp(key.created_us / 1e6, UTC).isoformat(timespec="seconds"),
        "created_by": key.created_by,
        "revoked": key.revoked_us and datetime.fromtimestamp(key.revoked_us / 1e6, UTC).isoformat(timespec="seconds"),
    }


@tags.command("list")
def list_tags(
    prefix: Annotated[str, typer.Argument(help="Tags whose path begins so.")] = "",
    data: Data = None,
    as_json: Json = False,
) -> None:
    """List tags."""
    with client(data) as plant:
        found = plant.get("/v1/tags", prefix=prefix, limit=1000)["items"]
    show(found, as_json=as_json, columns=("tag", "unit", "kind", "criticality", "description"))


@tags.command("export")
def export(file: Annotated[Path, typer.Argument(help="The CSV file to write.")], data: Data = None) -> None:
    """Write how every tag is configured to a CSV file, to be edited in a spreadsheet."""
    from penstock.tagsheet import export_tags

    typer.echo(f"{run_loop(_with_client(data, lambda plant: export_tags(plant, file)))} tags written to {file}")


@tags.command("import")
def import_(file: Annotated[Path, typer.Argument(help="The CSV file to read.")], data: Data = None) -> None:
    """Configure tags from a CSV file; what an empty cell leaves out is unset."""
    from penstock.tagsheet import import_tags

    typer.echo(f"{run_loop(_with_client(data, lambda plant: import_tags(plant, file)))} tags configured")


def login(data: Data = None) -> None:
    """Print a new link to the page, valid for ten minutes and one use."""
    from penstock.up import new_link

    found = instance(data)
    typer.echo(run_loop(new_link(found.url, found.store_url, found.api_key)))


def sql(
    psql: Annotated[bool, typer.Option("--psql", help="Open psql instead of printing the URL.")] = False,
    data: Data = None,
) -> None:
    """Print a URL by which BI tools read the history with SQL; it can change nothing."""
    from penstock.store.migrate import reader_url
    from penstock.store.tools import tool_login

    url = run_loop(reader_url(instance(data).store_url))
    if not psql:
        typer.echo(url)
        return
    program = shutil.which("psql")
    if program is None:
        raise Misconfigured("psql", "it is not on the PATH", "install PostgreSQL's client, or use the printed URL")
    login = tool_login(url)
    os.set_inheritable(login.file.fileno(), True)
    # psql takes our place, with the person's own terminal
    os.execve(program, [program, login.dbname], login.environment)  # noqa: S606


@contextmanager
def store_url(data: Path | None) -> Iterator[str]:
    """The database of the plant that runs, or, when none runs, started for as long as we need it."""
    from penstock.store.embedded import EmbeddedPostgres
    from penstock.store.migrate import migrate

    settings = read_settings(**({} if data is None else {"data": data}))
    start_logging("warning")  # standard output is for what was asked for
    note = read_note(settings.data)
    if note is not None:
        yield note.store_url
    elif not settings.store.url.startswith("embedded:"):
        run_loop(migrate(settings.store.url))
        yield settings.store.url
    else:
        with held(settings.data), EmbeddedPostgres(settings.data / "postgres") as server:
            run_loop(migrate(server.url))
            yield server.url


async def _with_client(data: Path | None, do: "Callable[[Client], Awaitable[T]]") -> T:
    from penstock.client import Client

    found = instance(data)
    async with Client(found.url, found.api_key, ca=found.ca) as plant:
        return await do(plant)


async def _with_access(url: str, ask: "Callable[[Access], Awaitable[T]]") -> T:
    from penstock.store.access import Access
    from penstock.store.postgres import Database

    database = Database(url, application="keys", connections_max=2)
    await database.open()
    try:
        return await ask(Access(database))
    finally:
        await database.close()
