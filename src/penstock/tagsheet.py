"""Tags as a sheet: what is configured for each, one line a tag, to be edited in any spreadsheet and given back."""

import csv
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from penstock.client import Client
from penstock.errors import Rejected
from penstock.model.tag import Criticality, Limits, TagConfig, is_path

LIMITS: Final = ("ll", "l", "h", "hh")
HEADER: Final = (
    "path", "unit", "kind", "description", "criticality", "expected_interval_s", *LIMITS, "deadband",
    "on_delay_s", "off_delay_s", "rate_max_per_s", "slow", "window_days",
)  # fmt: skip
TEXTS: Final = frozenset({"unit", "kind", "description"})
PAGE: Final = 1_000


async def export_tags(client: Client, file: Path, prefix: str = "") -> int:
    """Write the tags that begin with *prefix* to *file*; how many there are."""
    rows = [_row_of(item) async for item in _tags(client, prefix)]
    with file.open("w", newline="", encoding="utf-8") as lines:
        sheet = csv.DictWriter(lines, HEADER)
        sheet.writeheader()
        sheet.writerows(rows)
    return len(rows)


async def import_tags(client: Client, file: Path) -> int:
    """Set every tag of *file* as its line says; how many. An empty cell means: not set.

    The whole sheet is read before anything is sent: Rejected names the line and the column of the first mistake.
    """
    sheet = list(read_sheet(file))
    for line, path, config in sheet:
        try:
            await client.put(f"/v1/tags/{path}", msgspec.to_builtins(config))
        except Rejected as error:
            raise Rejected(f"{file}, line {line}, {path}: {error}", code=error.code) from error
    return len(sheet)


def read_sheet(file: Path) -> Iterator[tuple[int, str, TagConfig]]:
    """Line, path and configuration of each tag. Raises Rejected with line and column."""
    with file.open(newline="", encoding="utf-8-sig") as lines:
        rows = csv.DictReader(lines)
        unknown = set(rows.fieldnames or ()) - set(HEADER)
        if unknown or "path" not in (rows.fieldnames or ()):
            raise Rejected(f"{file}, line 1: columns must be of {', '.join(HEADER)}", code="sheet")
        for row in rows:
            cells = {str(name): text.strip() for name, text in row.items() if isinstance(text, str) and text.strip()}
            yield rows.line_num, *_config_of(cells, f"{file}, line {rows.line_num}")


def _config_of(cells: dict[str, str], where: str) -> tuple[str, TagConfig]:
    found: dict[str, Any] = {}
    for name, text in cells.items():
        try:
            found[name] = _READ.get(name, float)(text)
        except ValueError as error:
            raise Rejected(f"{where}, column {name}: {error}", code="sheet") from error
    if "path" not in found:
        raise Rejected(f"{where}, column path: it is empty", code="sheet")
    limits = Limits(**{name: found.pop(name) for name in LIMITS if name in found})
    return found.pop("path"), TagConfig(limits=limits, **found)


def _path(text: str) -> str:
    if not is_path(text):
        raise ValueError(f"{text!r} is no tag")
    return text


def _yes(text: str) -> bool:
    if text.lower() not in {"true", "false", "yes", "no", "1", "0"}:
        raise ValueError(f"{text!r} is neither true nor false")
    return text.lower() in {"true", "yes", "1"}


_READ: Final[dict[str, Callable[[str], Any]]] = {
    "path": _path,
    "slow": _yes,
    "criticality": lambda text: Criticality(text.lower()),
    **dict.fromkeys(TEXTS, str),
}


def _row_of(item: dict[str, Any]) -> dict[str, Any]:
    config = {**item, **(item.get("config") or {})}
    flat = {"path": item.get("tag") or item.get("path"), **config, **(config.get("limits") or {})}
    cells = {name: flat[name] for name in HEADER if flat.get(name) is not None}
    return cells | ({"slow": str(cells["slow"]).lower()} if "slow" in cells else {})


async def _tags(client: Client, prefix: str) -> AsyncIterator[dict[str, Any]]:
    cursor = None
    while True:
        page = await client.get("/v1/tags", prefix=prefix or None, limit=PAGE, cursor=cursor)
        for item in page["items"]:
            yield item
        cursor = page["next"]
        if cursor is None:
            return
