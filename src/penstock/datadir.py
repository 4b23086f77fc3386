"""The data directory: one plant, one owner, one running `up` at a time; and the note by which others find it."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from penstock.errors import Misconfigured, Unavailable

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


class Instance(msgspec.Struct, frozen=True):
    """A running plant, as the note in its data directory tells; `ca` is the certificate it made itself."""

    pid: int
    url: str
    store_url: str = ""
    api_key: str = ""
    ca: str = ""


def leave_note(directory: Path, instance: Instance) -> None:
    """Tell commands beside a running plant where it is. Only the owner can read it."""
    draft = directory / f"{NOTE}.new"
    draft.touch(mode=0o600)
    draft.write_bytes(msgspec.json.encode(instance))
    draft.replace(directory / NOTE)


def read_note(directory: Path) -> Instance | None:
    """The plant that runs in *directory*; None when none runs, whatever it left behind."""
    try:
        instance = msgspec.json.decode((directory / NOTE).read_bytes(), type=Instance)
    except (OSError, msgspec.MsgspecError):
        return None
    return instance if _runs(instance.pid) else None


def find_instance(directory: Path) -> Instance:
    """The plant that runs in *directory*. Raises Unavailable when none does."""
    instance = read_note(directory)
    if instance is None:
        raise Unavailable(f"nothing runs on {directory}; start it with `penstock up --data {directory}`")
    return instance


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it does, as another user
        return True
    return True
