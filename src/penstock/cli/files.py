"""`replay` and `score`: data that lies in files."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from penstock.cli.loop import run_loop
from penstock.cli.options import Data, Json
from penstock.cli.show import instance, show_one
from penstock.datadir import Instance
from penstock.errors import Rejected
from penstock.settings import read_settings

if TYPE_CHECKING:
    from penstock.replay import ReplayOptions, Summary
    from penstock.replay.table import Key


def replay(  # noqa: PLR0913, PLR0917  # one option each
    files: Annotated[list[Path], typer.Argument(help="CSV or Parquet files.", exists=True, dir_okay=False)],
    zone: Annotated[str, typer.Option(help="Of times that name none, as Europe/Paris.")] = "",
    tag_prefix: Annotated[str, typer.Option(help="Goes before every tag.")] = "",
    wide: Annotated[bool, typer.Option(help="Every column beside the time is a tag, whatever it is called.")] = False,
    key: Annotated[str, typer.Option(help="`row`: line numbers are seqs, so that equal times stay apart.")] = "time",
    speed: Annotated[str, typer.Option(help="Times as fast as written, or `max`.")] = "max",
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Send files through the front door, in order, with progress; run again after a stop, it goes on.

    Long files have columns `ts,tag,value`; wide ones a column a tag. Tags of files that name none are
    `PREFIX/FOLDER/FILE[/COLUMN]`.
    """
    from penstock.replay import ReplayOptions
    from penstock.replay.table import Reads

    if key not in {"time", "row"}:
        raise typer.BadParameter("time or row", param_hint="--key")
    options = ReplayOptions(Reads(zone, tag_prefix, wide, cast("Key", key)), _speed(speed))
    found = instance(data)
    show = not as_json and sys.stderr.isatty()
    summary = run_loop(_replay(found, files, options, data or read_settings().data, show=show))
    show_one(
        {
            "sent": summary.sent,
            "accepted": summary.accepted,
            **{f"refused: {code}": count for code, count in summary.refused.items()},
            "rows skipped, sent before": summary.resumed_rows,
        },
        as_json=as_json,
    )
    if summary.refused:
        raise typer.Exit(1)


async def _replay(found: Instance, files: list[Path], options: "ReplayOptions", data: Path, *, show: bool) -> "Summary":
    from penstock.client import Client
    from penstock.replay import replay as send_files

    async with Client(found.url, found.api_key, ca=found.ca) as client:
        return await send_files(client, files, options, data, show=show)


def _speed(text: str) -> float | None:
    try:
        speed = None if text == "max" else float(text)
    except ValueError:
        speed = 0.0
    if speed is not None and speed <= 0:
        raise typer.BadParameter("a number above 0, or max", param_hint="--speed")
    return speed


def score(
    file: Annotated[Path, typer.Argument(help="CSV: source_ts,tag,value.", exists=True, dir_okay=False)],
    out: Annotated[Path, typer.Option(help="Where to write source_ts,tag,score,alarm,test.")],
    learn: Annotated[float | None, typer.Option(help="Seconds at the start that are normal.")] = None,
    tags: Annotated[Path | None, typer.Option(help="CSV: tag,kind,unit,interval_s.", exists=True)] = None,
) -> None:
    """Run the pipeline's own detectors over a file: no network, no database, the same result every time."""
    from penstock.score import score_file

    if learn is not None and learn < 0:
        raise Rejected("--learn is a number of seconds, 0 or more")
    score_file(file, out, learn, tags)
