"""The bench tells what it sent, what was stored of it, and what that cost."""

from pathlib import Path

import pytest
from whole import Plant

from penstock.bench import Load, measure


@pytest.mark.slow
async def test_what_was_acknowledged_is_found_committed_and_cpu_is_told_by_process(tmp_path: Path) -> None:
    plant = Plant(tmp_path / "data")
    plant.start()
    try:
        note = {**plant.note}
        opened = await measure(note, Load(rate=200, seconds=2, batch=10, tags=10, run="open", connections=2))
        closed = await measure(note, Load(rate=0, seconds=0.5, batch=10, tags=10, run="closed", connections=2))
    finally:
        plant.stop()
    assert opened["acknowledged"] == opened["committed"] == 400
    assert opened["status"] == {"202": 40}
    assert closed["acknowledged"] == closed["committed"] == 10 * closed["status"]["202"]
    for report in (opened, closed):
        assert {"front", "work", "postgres", "generator"} <= report["cpu_us_per_reading"].keys()
        assert report["connections_lost"] == 0
