"""A process beside ours is started again when it dies, and ends with us."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from penstock import children
from penstock.children import Child, end_with_parent


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands in for `penstock`: notes each start, then waits for SIGTERM."""
    starts = tmp_path / "starts"
    script = tmp_path / "program"
    script.write_text(
        f"#!{sys.executable}\nimport sys, time\n"
        f"open({str(starts)!r}, 'a').write(sys.stdin.read() + ' '.join(sys.argv[3:]) + '\\n')\ntime.sleep(60)\n"
    )
    script.chmod(0o755)
    monkeypatch.setattr(children.sys, "executable", str(script))
    return starts


async def until_started(starts: Path, times: int) -> list[str]:
    async with asyncio.timeout(10):
        while len(lines := lines_of(starts)) < times:  # noqa: ASYNC110  # another process writes it
            await asyncio.sleep(0.02)
    return lines


def lines_of(starts: Path) -> list[str]:
    return starts.read_text().splitlines() if starts.exists() else []


async def test_it_learns_what_it_needs_on_standard_input(program: Path) -> None:
    child = Child("worker", ["work", "--handed"], b"secret ")
    running = asyncio.create_task(child.keep_running())
    assert await until_started(program, 1) == ["secret work --handed"]
    await child.stop()
    await running


async def test_it_is_started_again_when_it_is_killed(program: Path) -> None:
    child = Child("worker", ["work"])
    running = asyncio.create_task(child.keep_running())
    await until_started(program, 1)
    first = child.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    await until_started(program, 2)
    assert child.pid != first
    await child.stop()
    await running


def test_a_child_whose_parent_is_gone_ends() -> None:
    with pytest.raises(SystemExit):
        end_with_parent(parent_pid=1 if os.getppid() != 1 else 2)
