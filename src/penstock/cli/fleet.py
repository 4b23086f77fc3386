"""`shards`: who works on what, and how far behind they are."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from penstock.cli.loop import run_loop
from penstock.cli.manage import store_url
from penstock.cli.options import Data, Json
from penstock.cli.show import show

if TYPE_CHECKING:
    from penstock.store.accounts import ShardBooks
    from penstock.store.port import LeaseState

COLUMNS = ("shard", "lane", "slices", "state", "owner", "behind_s", "lease_s", "epoch", "stored", "quarantined")


def shards(
    every: Annotated[bool, typer.Option("--all", help="Also those that were worked to their end.")] = False,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """List the stream's shards: who holds each, for how long, and how old what they take next is."""
    with store_url(data) as url:
        found = run_loop(_found(url))
    rows = [row for row in found if every or row["state"] != "ended"]
    show(rows, as_json=as_json, columns=COLUMNS if not as_json else ())


async def _found(url: str) -> list[dict[str, Any]]:
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
    finally:
        await database.close()
    return _rows(books, held)


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
