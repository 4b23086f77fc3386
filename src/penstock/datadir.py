"""The data directory: one plant, one owner, one running `up` at a time; and the note by which others find it."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from penstock.errors import Misconfigured

NOTE = "run.json"


@contextmanager
def held(directory: Path) -> Iterator[Path]:
    """The directory, ours alone until we end. Raises Misconfigured with the holder's pid, or why it cannot be made."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(directory / "run.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Misconfigured(
            "data", f"{directory} cannot be used ({error.strerror})", "choose one that you own"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        pid = os.read(lock, 20).decode().strip() or "unknown"
        os.close(lock)
        raise Misconfigured(
            "data", f"{directory} is in use by process {pid}", f"stop it (kill {pid}), or choose another --data"
        ) from error
    os.truncate(lock, 0)
    os.write(lock, str(os.getpid()).encode())
    try:
        yield directory
    finally:
        (directory / NOTE).unlink(missing_ok=True)
        os.close(lock)


def leave_note(directory: Path, note: dict[str, Any]) -> None:
    """Tell commands beside a running plant where it is. Only the owner can read it."""
    draft = directory / f"{NOTE}.new"
    draft.touch(mode=0o600)
    draft.write_text(json.dumps(note))
    draft.replace(directory / NOTE)


def read_note(directory: Path) -> dict[str, Any] | None:
    """The note of the plant that runs in *directory*; None when none runs, whatever it left behind."""
    try:
        note: dict[str, Any] = json.loads((directory / NOTE).read_text())
        os.kill(int(note["pid"]), 0)
    except (OSError, ValueError, KeyError):
        return None
    return note
