"""`doctor`, `backup`, `restore`, `bench`: is the plant well, is it safe, how fast is it?"""

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from penstock.cli.loop import run_loop
from penstock.cli.options import Data, Json, given
from penstock.cli.show import instance, show
from penstock.settings import read_settings


def doctor(data: Data = None, as_json: Json = False) -> None:
    """Say what is wrong with the set-up, and how to mend it."""
    from penstock.doctor import all_well, as_table, run_doctor

    checks = run_doctor(read_settings(**given(data=data)))
    if as_json:
        show([asdict(one) for one in checks], as_json=True)
    else:
        Console().print(as_table(checks))
    if not all_well(checks):
        raise typer.Exit(1)


def backup(target: Annotated[Path, typer.Argument(help="A directory, or FILE.tar.zst.")], data: Data = None) -> None:
    """Copy a running plant's data directory, consistently, without stopping it."""
    from penstock.compose.adapters import log_folder
    from penstock.store.backup import back_up

    settings = read_settings(**given(data=data))
    with _Told("backup") as told:
        store_url = instance(settings.data).store_url
        run_loop(back_up(settings.data, store_url, target, told, log=log_folder(settings) / "log.db"))
    typer.echo(f"written to {target}; restore with: penstock restore {target} --data EMPTY-DIRECTORY")


def restore(
    source: Annotated[Path, typer.Argument(help="What `backup` wrote.")],
    data: Annotated[Path, typer.Option(help="An empty directory.")],
) -> None:
    """Make a data directory from a backup."""
    from penstock.store.backup import restore as restore_from

    with _Told("restore") as told:
        run_loop(restore_from(source, data, told))
    typer.echo(f"restored; start it with: penstock up --data {data}")


class _Told:
    """A progress line on standard error that the store's functions can call."""

    def __init__(self, what: str) -> None:
        self._progress = Progress(console=Console(stderr=True), transient=True)
        self._task = self._progress.add_task(what, total=None)

    def __enter__(self) -> "_Told":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def __call__(self, what: str, done: int) -> None:
        self._progress.update(self._task, description=f"{what} {done:,}")


def bench(  # noqa: PLR0913, PLR0917  # one option each
    rate: Annotated[float, typer.Option(help="Readings a second.")] = 100_000,
    seconds: Annotated[float, typer.Option(help="How long.")] = 60,
    batch: Annotated[int, typer.Option(help="Readings in a request.")] = 1_000,
    tags: Annotated[int, typer.Option(help="Tags the readings are of.")] = 10_000,
    gate_ms: Annotated[float | None, typer.Option(help="Exit 1 if p99 to commit is above it, or any is lost.")] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Send an open-loop load to the running plant: latency from the scheduled send to the committed row, and CPU."""
    from penstock.bench import Load, measure

    found = instance(data)
    note = {"pid": found.pid, "url": found.url, "store_url": found.store_url, "api_key": found.api_key}
    load = Load(rate=rate, seconds=seconds, batch=batch, tags=tags, run=f"{time.time():.0f}")
    with Console(stderr=True).status(f"{rate:,.0f} readings/s for {seconds:.0f} s"):
        report = run_loop(measure(note, load))
    if as_json:
        typer.echo(json.dumps(report, indent=2))
    else:
        _print(report)
    if gate_ms is not None and not _holds(report, gate_ms):
        raise typer.Exit(1)


def _holds(report: dict[str, Any], gate_ms: float) -> bool:
    all_there = report["acknowledged"] == report["committed"]
    return bool(all_there and report["scheduled_to_commit_ms"]["p99"] <= gate_ms)


def _print(report: dict[str, Any]) -> None:
    table = Table("figure", "value", box=None, header_style="bold", pad_edge=False)
    for name, value in report.items():
        text = ", ".join(f"{key} {one}" for key, one in value.items()) if isinstance(value, dict) else str(value)
        table.add_row(name.replace("_", " "), text)
    Console().print(table)
