"""Tags as a sheet, there and back."""

from pathlib import Path
from typing import Any

import pytest

from penstock.client import Client
from penstock.errors import Rejected
from penstock.tagsheet import HEADER, export_tags, import_tags
from scripted_door import scripted_door

FULL = {
    "unit": "Cel", "kind": "temperature", "description": 'Bearing, "drive" end', "criticality": "critical",
    "expected_interval_s": 1.0, "limits": {"ll": None, "l": -1.5, "h": 80.0, "hh": 90.1}, "deadband": 0.5,
    "on_delay_s": 2.0, "off_delay_s": 0.0, "rate_max_per_s": 3.0, "slow": True, "window_days": 30.0,
}  # fmt: skip


async def test_a_sheet_gives_back_what_was_exported(tmp_path: Path):
    held: dict[str, Any] = {f"lyon/a/{i}": dict(FULL, unit=f"u{i}") for i in range(3)} | {"lyon/b/plain": {}}
    put: dict[str, Any] = {}

    def rule(method: str, path: str, query: dict[str, list[str]], body: Any) -> tuple[int, Any]:
        if method == "PUT":
            put[path.removeprefix("/v1/tags/")] = body
            return 200, {}
        start = int(query.get("cursor", ["0"])[0])
        items = [{"tag": tag, "tag_id": 1, **config} for tag, config in list(held.items())[start : start + 2]]
        return 200, {"items": items, "next": str(start + 2) if start + 2 < len(held) else None}

    sheet = tmp_path / "tags.csv"
    async with scripted_door(rule) as url, Client(url) as client:
        assert await export_tags(client, sheet) == 4
        assert await import_tags(client, sheet) == 4
    assert sheet.read_text().splitlines()[0] == ",".join(HEADER)
    assert {tag: put[tag] for tag in held if "plain" not in tag} == {t: c for t, c in held.items() if "plain" not in t}
    assert put["lyon/b/plain"]["limits"] == {"ll": None, "l": None, "h": None, "hh": None}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("path,h\na/b,1\na/c,warm\n", "line 3, column h: .*warm"),
        ("path,h\n/b,1\n", "line 2, column path"),
        ("path,h\n,1\n", "line 2, column path: it is empty"),
        ("path,slow\na/b,perhaps\n", "line 2, column slow"),
        ("path,criticality\na/b,vital\n", "line 2, column criticality"),
        ("path,colour\na/b,red\n", "line 1: columns"),
        ("", "line 1"),
    ],
)
async def test_a_mistake_is_named_by_line_and_column_and_nothing_is_sent(tmp_path: Path, content: str, message: str):
    sheet = tmp_path / "tags.csv"
    sheet.write_text(content)
    async with Client("http://127.0.0.1:9", patience_s=0) as client:
        with pytest.raises(Rejected, match=message):
            await import_tags(client, sheet)
