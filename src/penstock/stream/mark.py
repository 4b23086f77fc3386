"""How far each lane is stored, told by the taker to the writer through a small file, so that neither waits.

It is a hint, never the truth (that is the store's checkpoint): a mark that is lost or old frees room later, no more.
"""

import os
import struct
from pathlib import Path
from typing import Final
from uuid import UUID

from penstock.model.batch import Lane
from penstock.stream.batch_id import LANES

FILE: Final = "stored.mark"
_IDENTITY: Final = 16
_MARK: Final = struct.Struct("<Q")


class StoredMark:
    """One position a lane, behind the log's identity: a mark of another log means nothing."""

    def __init__(self, folder: Path, identity: str) -> None:
        self._identity = UUID(identity).bytes
        self._file = os.open(folder / FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def put(self, lane: Lane, position: int) -> None:
        """Move a lane's mark forward."""
        if os.pread(self._file, _IDENTITY, 0) != self._identity:
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, _MARK.pack(0) * len(LANES), _IDENTITY)
            os.pwrite(self._file, self._identity, 0)
        if position > self.get(lane):
            os.pwrite(self._file, _MARK.pack(position), self._at(lane))

    def get(self, lane: Lane) -> int:
        """Position up to which *lane* is stored, 0 where that is not known."""
        if os.pread(self._file, _IDENTITY, 0) != self._identity:
            return 0
        mark = os.pread(self._file, _MARK.size, self._at(lane))
        return int(_MARK.unpack(mark)[0]) if len(mark) == _MARK.size else 0

    def close(self) -> None:
        os.close(self._file)

    def _at(self, lane: Lane) -> int:
        return _IDENTITY + LANES.index(lane) * _MARK.size
