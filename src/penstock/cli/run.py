"""`up`, `ingest`, `work`, `serve`, `simulate`: start the plant, or one part of it."""

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from penstock.children import end_with_parent
from penstock.cli.loop import run_loop
from penstock.cli.options import Data, Json, given
from penstock.cli.show import instance
from penstock.datadir import Instance
from penstock.residency import check_residency
from penstock.settings import Settings, read_settings

if TYPE_CHECKING:
    from penstock.simulate import PlantOptions


Host = Annotated[str | None, typer.Option(help="Address to listen on.")]
Port = Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one.")]
Store = Annotated[str | None, typer.Option(help="A postgresql:// URL.")]
Shared = Annotated[str | None, typer.Option(help="kinesis://NAME")]
Cache = Annotated[str | None, typer.Option(help="memory: or a redis:// URL.")]
Tls = Annotated[str | None, typer.Option(help="`self`, or CERT.pem:KEY.pem")]


def up(  # noqa: PLR0913, PLR0917  # one option each
    host: Host = None,
    port: Port = None,
    data: Data = None,
    store: Annotated[str | None, typer.Option(help="embedded: or a postgresql:// URL.")] = None,
    stream: Annotated[str | None, typer.Option(help="log:, memory: or kinesis://NAME")] = None,
    cache: Cache = None,
    tls: Tls = None,
    rate: Annotated[float | None, typer.Option(help="Requests a second of the first key; 0 lifts the limit.")] = None,
    simulate: Annotated[bool, typer.Option(help="Run a simulated plant beside it.")] = True,
    browser: Annotated[bool, typer.Option(help="Open the page in a browser, where there is one.")] = True,
    as_json: Json = False,
) -> None:
    """Run everything on this machine: database, ingest, worker, page, and a simulated plant."""
    wanted = _wanted(data=data, host=host, port=port, tls=tls, store=store, stream=stream, cache=cache)
    start(wanted, rate=rate, simulate=simulate, browser=browser, as_json=as_json)


def start(wanted: dict[str, Any], **options: Any) -> None:
    """Read the settings and run until told to stop."""
    from penstock.up import Options, run_up

    run_loop(run_up(_settings(**wanted), Options(**options)))


def ingest(  # noqa: PLR0913, PLR0917  # one option each
    host: Host = None,
    port: Port = None,
    data: Data = None,
    store: Store = None,
    stream: Shared = None,
    cache: Cache = None,
    tls: Tls = None,
) -> None:
    """Run only the writing door: take readings, and answer when the shared stream has them."""
    _run_half("INGEST", data=data, host=host, port=port, tls=tls, store=store, stream=stream, cache=cache)


def serve(  # noqa: PLR0913, PLR0917  # one option each
    host: Host = None,
    port: Port = None,
    data: Data = None,
    store: Store = None,
    stream: Shared = None,
    cache: Cache = None,
    tls: Tls = None,
) -> None:
    """Run only what is read: the page, live values, history, alarms, keys."""
    _run_half("SERVE", data=data, host=host, port=port, tls=tls, store=store, stream=stream, cache=cache)


def _run_half(half: str, **options: Any) -> None:
    from penstock.compose.front import Half
    from penstock.compose.roles import run_half

    run_loop(run_half(_settings(**_wanted(**options)), Half[half]))


def _settings(**wanted: Any) -> Settings:
    """As they are wanted, and in the place that they must stay in."""
    settings = read_settings(**wanted)
    check_residency(settings)
    return settings


def _wanted(
    *, data: Path | None, store: str | None, stream: str | None, cache: str | None, **door: Any
) -> dict[str, Any]:
    """The options of everything that has a door, as settings."""
    of_door = {f"door_{name}": value for name, value in door.items()}
    return given(data=data, store_url=store, stream_url=stream, cache_url=cache, **of_door)


def work(
    data: Data = None,
    store: Store = None,
    stream: Annotated[str | None, typer.Option(help="log: or kinesis://NAME")] = None,
    port: Annotated[int | None, typer.Option(help="Health and metrics; none by default.")] = None,
    handed: Annotated[bool, typer.Option(hidden=True, help="Settings come as JSON on standard input.")] = False,
) -> None:
    """Run only the worker: take readings from the stream, judge them, store them."""
    from penstock.compose.worker import work as run_worker

    if handed:
        told = json.load(sys.stdin)
        settings = Settings.model_validate_json(json.dumps(told["settings"]))
        run_loop(run_worker(settings, store_url=told["store_url"], parent=told["parent"]))
    else:
        wanted = given(data=data, store_url=store, stream_url=stream, work_port=port)
        run_loop(run_worker(_settings(**wanted)))


def simulate(  # noqa: PLR0913, PLR0917  # one option each
    sensors: Annotated[int, typer.Option(help="Sensors of the plant.")] = 200,
    rate: Annotated[float, typer.Option(help="Readings a second of each.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Another seed is another plant.")] = 7,
    faults: Annotated[Path | None, typer.Option(help="A CSV of faults; some happen by themselves otherwise.")] = None,
    truth: Annotated[Path | None, typer.Option(help="Where to write when what is at fault.")] = None,
    data: Data = None,
    parent: Annotated[int | None, typer.Option(hidden=True, help="End when this process does.")] = None,
) -> None:
    """Send the readings of a simulated plant to the one that runs here: daily rhythm, shifts, maintenance, faults."""
    from penstock.simulate import PlantOptions, read_faults

    if parent is not None:
        end_with_parent(parent)
    options = PlantOptions(
        sensors=sensors, rate_hz=rate, seed=seed, faults=read_faults(faults) if faults else None, truth=truth
    )
    run_loop(_simulate(instance(data), options))


async def _simulate(found: Instance, options: "PlantOptions") -> None:
    from penstock.client import Client
    from penstock.simulate import run_plant

    stop = asyncio.Event()
    for sign in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(sign, stop.set)
    async with Client(found.url, found.api_key, ca=found.ca) as client:
        await run_plant(client, options, stop)
