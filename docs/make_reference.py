"""Writes docs/reference.md from the code itself: settings, commands, codes, metrics.

.venv/bin/python docs/make_reference.py
"""

import inspect
from collections.abc import Iterator
from pathlib import Path

import typer.main
from prometheus_client.metrics import MetricWrapperBase

from penstock import errors, telemetry
from penstock.cli import app
from penstock.ingest.refusal import DETAIL
from penstock.process.keep import UNFIT
from penstock.process.validate import REASONS
from penstock.serve.conditions import CONDITIONS
from penstock.serve.metrics import BOOKED
from penstock.settings import Room, Settings

HERE = Path(__file__).parent


def reference() -> str:
    """The whole page."""
    parts = [
        "# Reference",
        "Made from the code by `docs/make_reference.py`.",
        "## Settings",
        "Arguments > environment (`PENSTOCK_STREAM__URL`) > `penstock.toml` > default.",
        *settings(),
        "## Commands",
        *commands(),
        "## Codes of refused items",
        *table(("code", "meaning"), DETAIL.items()),
        "## Reasons of quarantine",
        *table(("reason", "meaning"), (REASONS | UNFIT).items()),
        "## Conditions",
        "What ails the pipeline itself, in `GET /v1/plant`, on the page and in `penstock shards`, each with its mend.",
        *table(("name", "meaning"), CONDITIONS.items()),
        "## Errors",
        "Grouped by what the caller does next; `code` is the same in problem+json, logs and metrics.",
        *table(("code", "meaning"), error_codes()),
        "## Metrics",
        *table(("metric", "meaning"), metrics()),
    ]
    return "\n\n".join(parts) + "\n"


def settings() -> Iterator[str]:
    rows = []
    for room, field in Settings.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Room):
            rows += [
                (f"`{room}.{key}`", f"`{one.default!r}`", one.description or "")
                for key, one in kind.model_fields.items()
            ]
        else:
            rows.append((f"`{room}`", f"`{str(field.default)!r}`", field.description or ""))
    yield from table(("setting", "default", "meaning"), rows)


def commands() -> Iterator[str]:
    root = typer.main.get_command(app)
    rows = []
    for name, command in inner(root):
        for words, one in [(name, command), *((f"{name} {sub}", each) for sub, each in inner(command))]:
            rows.append((f"`penstock {words}`", (one.help or "").split("\n\n")[0].replace("\n", " ")))
    yield from table(("command", "what it does"), rows)


def inner(command: object) -> list[tuple[str, object]]:
    return sorted(getattr(command, "commands", {}).items())


def error_codes() -> Iterator[tuple[str, str]]:
    for _, kind in inspect.getmembers(errors, inspect.isclass):
        if issubclass(kind, errors.PenstockError):
            yield f"`{kind.code}`", inspect.cleandoc(kind.__doc__ or "").split("\n")[0]


def metrics() -> Iterator[tuple[str, str]]:
    for one in vars(telemetry).values():
        if isinstance(one, MetricWrapperBase):
            described = next(iter(one.describe()))
            yield f"`{described.name}`", described.documentation
    for name, meaning in BOOKED.items():
        yield f"`{name}`", f"{meaning} Of the whole plant; said by what serves."


def table(head: tuple[str, ...], rows: object) -> Iterator[str]:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in rows]  # type: ignore[attr-defined]
    yield "\n".join(lines)


if __name__ == "__main__":
    (HERE / "reference.md").write_text(reference())
