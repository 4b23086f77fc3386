"""`tail`, `query`, `trace`, `balance`, `alarms`, `quarantine`: look at what the plant has."""

import time
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from penstock.cli.options import Data, Json
from penstock.cli.show import client, show, show_one
from penstock.model.alarm import State

Prefix = Annotated[str, typer.Argument(help="Tags whose path begins so; all by default.")]
READING = ("tag", "ts", "value", "state", "quality")


def tail(
    prefix: Prefix = "",
    every_s: Annotated[float, typer.Option("--every", help="Seconds between looks; 0 looks once.")] = 1.0,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Print newest readings as they come."""
    seen: dict[str, str] = {}
    with client(data) as plant:
        while True:
            items = plant.get("/v1/latest", prefix=prefix)["items"]
            news = [item for item in items if seen.get(item["tag"]) != item["ts"]]
            seen |= {item["tag"]: item["ts"] for item in news}
            if news:
                show(news, as_json=as_json, columns=READING)
            if every_s <= 0:
                return
            time.sleep(every_s)


def query(  # noqa: PLR0913, PLR0917  # one option each
    tag: Annotated[str, typer.Argument(help="The tag's path.")],
    start: Annotated[str, typer.Option(help="RFC 3339; an hour ago by default.")] = "",
    end: Annotated[str, typer.Option(help="RFC 3339; now by default.")] = "",
    limit: Annotated[int, typer.Option(help="Readings at most.")] = 1000,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Print a tag's readings."""
    now = datetime.now(UTC)
    with client(data) as plant:
        found = plant.get(
            "/v1/readings",
            tag=tag,
            start=start or (now - timedelta(hours=1)).isoformat(),
            end=end or now.isoformat(),
            limit=limit,
        )
    if before := found.get("archived_before"):
        typer.echo(f"readings before {before} may be in the archive alone: {found['archived_in']}", err=True)
    if expired := found.get("expired_before"):
        typer.echo(f"readings before {expired} may be nowhere any more: archive.standard_days are over", err=True)
    show(found["items"], as_json=as_json, columns=READING)


def trace(
    batch_id: Annotated[str, typer.Argument(help="From the answer to the request that sent the readings.")],
    index: Annotated[int | None, typer.Option(help="Only the item at this place of the request.")] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Tell where each reading of a request went."""
    with client(data) as plant:
        show(_pages(plant, f"/v1/trace/{batch_id}", index=index), as_json=as_json)


def balance(
    start: Annotated[str | None, typer.Option(help="RFC 3339; since installation by default.")] = None,
    end: Annotated[str | None, typer.Option(help="RFC 3339.")] = None,
    tag: Annotated[str | None, typer.Option(help="Only this tag.")] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Account for every reading: received = stored + duplicate + conflict + quarantined + in flight."""
    with client(data) as plant:
        found = plant.get("/v1/balance", start=start, end=end, tag=tag)
    show_one(found, as_json=as_json)
    if found["unaccounted"]:
        raise typer.Exit(1)


def alarms(
    state: Annotated[State | None, typer.Option(help="Only those that stand so.")] = None,
    tag: Annotated[str | None, typer.Option(help="Only this tag.")] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """List alarms, the newest first."""
    with client(data) as plant:
        found = plant.get("/v1/alarms", state=state, tag=tag)["items"]
    show(found, as_json=as_json, columns=("id", "priority", "state", "tag", "raised_at", "because"))


def quarantine(data: Data = None, as_json: Json = False) -> None:
    """List readings that broke their tag's contract, each with its reason."""
    with client(data) as plant:
        found = plant.get("/v1/quarantine")["items"]
    show(found, as_json=as_json, columns=("id", "tag", "ts", "reason", "detail", "at"))


def _pages(plant: Any, path: str, **query: object) -> list[dict[str, Any]]:
    """All items of a list, page by page."""
    items: list[dict[str, Any]] = []
    cursor = None
    while True:
        page = plant.get(path, cursor=cursor, **query)
        items += page["items"]
        cursor = page.get("next")
        if not cursor:
            return items
