"""How commands print: tables for people, JSON for machines; and how they find the plant that runs."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import typer
from rich.console import Console
from rich.table import Table

from penstock.datadir import Instance, find_instance
from penstock.settings import read_settings

if TYPE_CHECKING:
    from penstock.client import SyncClient

PIPE_WIDTH: Final = 2_000
"""What reads a pipe counts lines: an item stays on one."""


def instance(data: Path | None) -> Instance:
    """The plant that runs on the data directory. Raises Unavailable when none does."""
    return find_instance(data or read_settings().data)


def client(data: Path | None) -> "SyncClient":
    """A client of the running plant, with this machine's own key."""
    from penstock.client import Client, SyncClient

    found = instance(data)
    return SyncClient(Client(found.url, found.api_key, ca=found.ca))


def show(items: Sequence[Mapping[str, Any]], *, as_json: bool, columns: Iterable[str] = (), title: str = "") -> None:
    """Items as a table of *columns* (all by default), or as JSON."""
    if as_json:
        return typer.echo(json.dumps(list(items), indent=2, default=str))
    if not items:
        return typer.echo("none")
    names = list(columns) or list(items[0])
    table = Table(title=title or None, header_style="bold", box=None, pad_edge=False)
    for name in names:
        table.add_column(name, overflow="fold")  # half a tag or an id is of no use to anyone
    for item in items:
        table.add_row(*("" if item.get(name) is None else str(item[name]) for name in names))
    width = None if sys.stdout.isatty() else PIPE_WIDTH
    Console(width=width, markup=False, emoji=False, highlight=False).print(table)  # `:secret:` in a name is no picture
    return None


def show_one(item: Mapping[str, Any], *, as_json: bool) -> None:
    """One thing, a line a field, or as JSON."""
    if as_json:
        return typer.echo(json.dumps(item, indent=2, default=str))
    width = max(map(len, item), default=0)
    for name, value in item.items():
        typer.echo(f"{name:{width}}  {'' if value is None else value}")
    return None
