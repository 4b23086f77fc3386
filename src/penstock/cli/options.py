"""Options that several commands share, and how they become settings."""

from pathlib import Path
from typing import Annotated, Any

import typer

Data = Annotated[Path | None, typer.Option("--data", help="The data directory.  [default: ./penstock-data]")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def given(**options: Any) -> dict[str, Any]:
    """Nested settings of what was given: `door_port=1` is `{"door": {"port": 1}}`. None means not given."""
    settings: dict[str, Any] = {}
    for name, value in options.items():
        if value is None:
            continue
        room, _, key = name.partition("_")
        if key:
            settings.setdefault(room, {})[key] = value
        else:
            settings[room] = value
    return settings
