"""`plan`: how big a deployment must be, and what it costs a month."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from penstock.cli.options import Json
from penstock.cli.show import PIPE_WIDTH

if TYPE_CHECKING:
    from penstock.capacity.check import Shortfall
    from penstock.capacity.plan import Plan

GIVEN = "What you have settled on: exit 1 where it does not hold"
NOT_IN_IT = "Not in it: tax, support, traffic to the internet, key requests, reserved capacity's discounts."


def plan(  # noqa: PLR0913, PLR0917  # one option each
    peak: Annotated[float, typer.Option(help="Readings a second, in the busiest minute.")],
    profile: Annotated[str | None, typer.Option(help="tokyo, london, montreal, virginia or frankfurt.")] = None,
    average: Annotated[float, typer.Option(help="The month's mean, as a share of the peak.")] = 0.3,
    tags: Annotated[int, typer.Option(help="Measured points.")] = 10_000,
    critical: Annotated[float, typer.Option(help="Share of the readings in the critical lane.")] = 0.02,
    readers: Annotated[int, typer.Option(help="People and systems that look at the same time.")] = 10,
    retention_years: Annotated[
        float | None, typer.Option(help="How long critical readings are kept; as the profile does by default.")
    ] = None,
    latency_ms: Annotated[float, typer.Option(help="What a critical reading may take to its commit, p99.")] = 500.0,
    readings_a_request: Annotated[int, typer.Option(help="Of senders that batch.")] = 500,
    alone: Annotated[float, typer.Option(help="Share of the readings that come one a request.")] = 0.0,
    foreign: Annotated[float, typer.Option(help="Share that others put on Kinesis, one a record.")] = 0.0,
    bytes_a_reading: Annotated[float | None, typer.Option(help="On Kinesis, as measured at your plant.")] = None,
    shards: Annotated[int | None, typer.Option(help="Of the main stream.", rich_help_panel=GIVEN)] = None,
    critical_shards: Annotated[int | None, typer.Option(help="Of the other.", rich_help_panel=GIVEN)] = None,
    tasks: Annotated[int | None, typer.Option(help="Most of each role.", rich_help_panel=GIVEN)] = None,
    acus: Annotated[float | None, typer.Option(help="Most Aurora may use.", rich_help_panel=GIVEN)] = None,
    retention_days: Annotated[float | None, typer.Option(help="Of the archive.", rich_help_panel=GIVEN)] = None,
    prices: Annotated[Path | None, typer.Option(help="Prices of your own, in the shape of prices.toml.")] = None,
    as_json: Json = False,
) -> None:
    """Size a deployment for a load and print its monthly bill, line by line, beside that of a naive design."""
    from penstock.capacity.check import Given, check
    from penstock.capacity.demand import Demand
    from penstock.capacity.design import kept_as_in
    from penstock.capacity.plan import plan_for
    from penstock.capacity.prices import read_prices
    from penstock.capacity.report import as_values

    demand = Demand(
        peak=peak, average=average, tags=tags, critical=critical, readers=readers, latency_ms=latency_ms,
        readings_a_request=readings_a_request, alone=alone, foreign=foreign, bytes_a_reading=bytes_a_reading,
        **({} if retention_years is None else {"retention_years": retention_years}),
    )  # fmt: skip
    if retention_years is None:
        demand = kept_as_in(profile, demand)
    given = Given(shards=shards, critical_shards=critical_shards, tasks=tasks, acus=acus, retention_days=retention_days)
    made = plan_for(demand, read_prices(prices), profile)
    short = check(demand, given, made.ours.design)
    if as_json:
        typer.echo(json.dumps(as_values(made, short), indent=2))
    else:
        _print(made, short)
    if short:
        raise typer.Exit(1)


def _print(made: "Plan", short: "Sequence[Shortfall]") -> None:
    console = Console(width=None if sys.stdout.isatty() else PIPE_WIDTH, highlight=False)
    demand, design = made.demand, made.ours.design
    console.print(
        f"[bold]{demand.peak:,.0f} readings/s at peak, {demand.average:.0%} of it on average, "
        f"{demand.tags:,} tags, {demand.critical:.0%} critical: {made.profile} ({design.region})[/]\n"
    )
    for table in (_sizes(made), _latency(made), _years(made), _bill(made), _beside(made), _movers(made)):
        title, table.title = table.title, None  # a title of the table's would wrap at its width
        console.print(f"[italic]{title}[/]", table, "", sep="\n")
    for line in _notes(made):
        console.print(line)
    for one in short:
        console.print(f"[red]does not hold:[/] {one}", soft_wrap=True)


def _table(title: str, *columns: str, right: Sequence[str] = ()) -> Table:
    table = Table(title=title, header_style="bold", box=None, pad_edge=False)
    for name in columns:
        table.add_column(name, justify="right" if name in right else "left", overflow="fold")
    return table


def _sizes(made: "Plan") -> Table:
    from penstock.capacity.report import needs

    table = _table("What it takes", "what", "needed", "because")
    for need in needs(made):
        table.add_row(*need)
    return table


def _latency(made: "Plan") -> Table:
    found = made.ours.sizes.latency
    table = _table("Latency, p99 of each stage in ms", "stage", "critical", "others", right=("critical", "others"))
    for stage in found.stages:
        table.add_row(stage.name, f"{stage.critical_ms:.0f}", f"{stage.bulk_ms:.0f}")
    budget = f"sum, of {made.demand.latency_ms:.0f} allowed"
    table.add_row(budget, f"{found.critical_ms:.0f}", f"{found.bulk_ms:.0f}", style="bold")
    return table


def _years(made: "Plan") -> Table:
    years = made.ours.sizes.archive
    names = (*(str(one.year) for one in years[:-1]), f"{years[-1].year}, full")
    table = _table("Archive in S3, TB at the end of year", *names)
    table.add_row(*(f"{one.tb:,.2f}" for one in years))
    return table


def _bill(made: "Plan") -> Table:
    bill = made.ours.bill
    columns = ("for", "what", "quantity", "unit", "price", "$ a month", "")
    table = _table("The bill, when the retention is full", *columns, right=("quantity", "price", "$ a month"))
    for line in bill.lines:
        quantity, price = f"{line.quantity:,.2f}", f"{line.price.usd:g}"
        doubt = "" if line.price.verified else "unverified"
        table.add_row(line.station, line.price.what, quantity, line.price.unit, price, f"{line.usd:,.2f}", doubt)
    table.add_row("", "total", "", "", "", f"{bill.usd:,.2f}", style="bold")
    return table


def _beside(made: "Plan") -> Table:
    from penstock.capacity.report import usd_a_million

    title = "Beside a naive design: a request, record, commit, row and log line for every reading"
    table = _table(title, "for", "this, $", "naive, $", right=("this, $", "naive, $"))
    ours, naive = made.ours.bill, made.naive.bill
    for station, usd in ours.by_station().items():
        table.add_row(station, f"{usd:,.0f}", f"{naive.by_station().get(station, 0):,.0f}")
    table.add_row("total", f"{ours.usd:,.0f}", f"{naive.usd:,.0f}", style="bold")
    table.add_row("a million readings", *(f"{usd_a_million(made, bill):.4f}" for bill in (ours, naive)))
    return table


def _movers(made: "Plan") -> Table:
    right = ("$ a month", "times")
    table = _table("What would move the bill most, each tried alone", "choice", *right, right=right)
    for mover in made.movers:
        table.add_row(mover.choice, f"{mover.usd:+,.0f}", f"{mover.times:,.1f}")
    return table


def _notes(made: "Plan") -> list[str]:
    notes = [f"advice: {said}" for said in made.advice]
    if made.unverified:
        doubted = sum(line.usd for line in made.ours.bill.unverified())
        keys = ", ".join(price.key for price in made.unverified)
        notes.append(
            f"[yellow]unverified:[/] ${doubted:,.2f} of the bill rest on prices nobody has checked in "
            f"{made.ours.design.region}: {keys}. Correct them with --prices FILE."
        )
    return [*notes, NOT_IN_IT]
