"""One process in each role: a local log has one writer and one taker, and says who they are."""

import fcntl
import os
from pathlib import Path
from typing import Final, Literal

from penstock.errors import Misconfigured

Role = Literal["writer", "taker"]
_DOES: Final = {"writer": "writes to", "taker": "takes from"}


class RoleLock:
    """Held until `release`, or until the process ends, however it ends."""

    def __init__(self, folder: Path, role: Role) -> None:
        """Raises Misconfigured, naming the other process, when the role is taken."""
        path = folder / f"{role}.lock"
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.pread(self._file, 20, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self._file)
            raise Misconfigured(
                "stream.url",
                f"process {pid} already {_DOES[role]} the log in {folder}",
                "stop that process, or use another data directory; many of each need a stream like Kinesis",
            ) from None
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, str(os.getpid()).encode(), 0)

    def release(self) -> None:
        os.close(self._file)
