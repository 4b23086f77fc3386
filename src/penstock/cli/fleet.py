"""`shards`: who works on what, how far behind they are, and what ails the pipeline."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from penstock.cli.loop import run_loop
from penstock.cli.manage import store_url
from penstock.cli.options import Data, Json
from penstock.cli.show import client, show, show_one
from penstock.errors import Unavailable

if TYPE_CHECKING:
    from penstock.store.accounts import ShardBooks
    from penstock.store.port import LeaseState
    from penstock.store.postgres import Database

COLUMNS = ("shard", "lane", "slices", "state", "owner", "behind_s", "lease_s", "epoch", "stored", "quarantined")


def shards(
    every: Annotated[bool, typer.Option("--all", help="Also those that were worked to their end.")] = False,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """List the stream's shards: who holds each, how old what comes next is; and what ails the pipeline, if anything."""
    with store_url(data) as url:
        found, ails = run_loop(_found(url))
    ails = ails if ails is not None else _told_by_plant(data)
    rows = [row for row in found if every or row["state"] != "ended"]
    if as_json:
        return show_one({"shards": rows, "conditions": ails}, as_json=True)
    show(rows, as_json=False, columns=COLUMNS)
    return show_conditions(ails)


def show_conditions(ails: Sequence[Mapping[str, Any]] | None) -> None:
    """What ails the pipeline, in words; None: nobody could tell."""
    if ails is None:
        return typer.echo("\nconditions: not known, for no plant runs here")
    if not ails:
        return typer.echo("\nconditions: none")
    for it in ails:
        where = f" of {it['shard']}" if it["shard"] else ""
        since = f" since {it['since'][:19]}Z" if it["since"] else ""
        typer.echo(f"\n{it['severity']}: {it['name']}{where}{since}\n  {it['why']}\n  mend: {it['mend']}")
    return None


async def _found(url: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]] | None]:
    """Rows, and the conditions of the shared stream in use; None where there is no such stream."""
    from penstock.store.accounts import Accounts
    from penstock.store.leases import PostgresLeases
    from penstock.store.postgres import Database

    database = Database(url, application="shards", connections_max=2)
    await database.open()
    try:
        books = await Accounts(database).shards()
        leases = PostgresLeases(database)
        held = {
            (stream, state.unit): state
            for stream in {book.stream for book in books}
            for state in await leases.states(stream)
        }
        return _rows(books, held), await _conditions(database)
    finally:
        await database.close()


async def _conditions(database: "Database") -> list[dict[str, Any]] | None:
    import msgspec

    from penstock.serve.conditions import conditions_of
    from penstock.store.standing import Standings

    standings = Standings(database)
    stream = await standings.newest()
    return None if stream is None else [*map(msgspec.to_builtins, conditions_of(await standings.shared(stream)))]


def _told_by_plant(data: Path | None) -> list[dict[str, Any]] | None:
    """What waits in a local stream only the plant that runs can tell."""
    with suppress(Unavailable), client(data) as plant:
        return list(plant.get("/v1/plant")["conditions"])
    return None


def _rows(books: Sequence["ShardBooks"], held: dict[tuple[str, str], "LeaseState"]) -> list[dict[str, Any]]:
    return [_row(book, held.get((book.stream, book.shard))) for book in books]


def _row(book: "ShardBooks", lease: "LeaseState | None") -> dict[str, Any]:
    """A local stream has no leases: its one worker is named, and that is all there is to tell."""
    row: dict[str, Any] = {
        "stream": book.stream,
        "shard": book.shard,
        "state": "local",
        "owner": book.owner,
        "epoch": book.epoch,
        "position": str(book.position),
        "stored": book.fates.stored,
        "quarantined": book.fates.quarantined,
    }
    if lease is None:
        return row
    return row | {
        "lane": lease.lane,
        "slices": _span(lease.slices),
        "state": _state(lease),
        "owner": lease.owner,
        "behind_s": None if lease.behind_ms is None else lease.behind_ms / 1_000,
        "lease_s": None if lease.expires_in_s is None else round(lease.expires_in_s, 1),
        "parents": list(lease.parents),
    }


def _state(lease: "LeaseState") -> str:
    if lease.ended:
        return "lost" if lease.lost else "ended"
    if lease.owner is None or (lease.expires_in_s or 0) <= 0:
        return "free"
    return "handing over" if lease.wanted_by else "held"


def _span(slices: range | None) -> str | None:
    return None if slices is None else f"{slices.start}-{slices.stop - 1}"
