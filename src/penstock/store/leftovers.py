"""Ends servers: ours, those that a killed run left behind, and by the system's help those whose parent is killed."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

STOP_S: Final = 8.0
_PR_SET_PDEATHSIG: Final = 1
_LIBC: Final = ctypes.CDLL(None) if sys.platform == "linux" else None


def end_leftovers(pgdata: Path) -> None:
    """End what a killed run left behind. Only for the holder of the lock: nobody else's server is in *pgdata*."""
    pid_file = pgdata / "postmaster.pid"
    pid = first_number(pid_file)
    if pid and _works_in(pid, pgdata):
        _send_until_gone(pid, pgdata)
    for orphan in _working_in(pgdata):
        _send(orphan, signal.SIGKILL)
    # its number may belong to another program by now, which the server would take for a server
    pid_file.unlink(missing_ok=True)


def _send_until_gone(pid: int, pgdata: Path) -> None:
    for sign, patience_s in ((signal.SIGINT, STOP_S), (signal.SIGQUIT, 2.0), (signal.SIGKILL, 2.0)):
        _send(pid, sign)
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            if not _works_in(pid, pgdata):
                return
            time.sleep(0.02)


def _send(pid: int, sign: signal.Signals) -> None:
    try:
        os.kill(pid, sign)
    except ProcessLookupError:
        return


def _works_in(pid: int, pgdata: Path) -> bool:
    """Whether process *pid* is a server of *pgdata*: pids come round again, so being alive is no proof."""
    if Path("/proc/self").exists():
        try:
            return Path(f"/proc/{pid}/cwd").readlink() == pgdata.resolve()
        except OSError:
            return False
    shown = subprocess.run(["ps", "-p", str(pid), "-o", "command="], capture_output=True, text=True, check=False)  # noqa: S607
    return str(pgdata) in shown.stdout


def _working_in(pgdata: Path) -> list[int]:
    return [int(it.name) for it in Path("/proc").glob("[0-9]*") if _works_in(int(it.name), pgdata)]


def end_server(server: subprocess.Popen[bytes]) -> None:
    for sign, patience_s in ((signal.SIGINT, STOP_S), (signal.SIGQUIT, 5.0), (signal.SIGKILL, None)):
        if server.poll() is None:
            server.send_signal(sign)
        try:
            server.wait(patience_s)
        except subprocess.TimeoutExpired:
            continue
        return


def end_with_parent() -> None:
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGINT)


def first_number(path: Path) -> int | None:
    try:
        return int(path.read_text().splitlines()[0])
    except (OSError, ValueError, IndexError):
        return None
