"""Stacks as they were when they were last looked at. `PENSTOCK_UPDATE_SNAPSHOTS=1` writes them anew: read the diff."""

import json
import os
import re
from pathlib import Path
from typing import Any

from penstock import __version__

FOLDER = Path(__file__).parent / "snapshots"


def normalised(template: dict[str, Any]) -> str:
    """Without what differs from one machine or version of ours to the next."""
    told = json.loads(json.dumps(template))
    told["terraform"]["required_providers"]["aws"]["version"] = "PROVIDER"
    text = json.dumps(told, indent=1, sort_keys=True) + "\n"
    return re.sub(r'"python3\.\d+"', '"PYTHON"', text.replace(f":{__version__}\\", ":VERSION\\"))


def kept(profile: str) -> dict[str, Any]:
    """The stack of *profile* as it was last kept: for tests that look at it, and change copies of it."""
    stack: dict[str, Any] = json.loads(FOLDER.joinpath(f"{profile}.json").read_text())
    return stack


def compare(profile: str, template: dict[str, Any]) -> None:
    """Fails when the stack of *profile* is another than the one kept."""
    path, text = FOLDER / f"{profile}.json", normalised(template)
    if os.environ.get("PENSTOCK_UPDATE_SNAPSHOTS"):
        path.write_text(text)
    assert path.read_text() == text, f"{path.name} changed: PENSTOCK_UPDATE_SNAPSHOTS=1 writes it anew"
