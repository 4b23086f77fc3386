"""The log's SQLite file: how it is opened, its statements, and how its errors become ours."""

import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Final
from uuid import uuid4

from penstock.errors import Tampered, Unavailable
from penstock.model.batch import Lane
from penstock.stream.batch_id import LANES

FILE: Final = "log.db"
BUSY_S: Final = 5.0
LANE_SHIFT: Final = 48
POSITION_MASK: Final = (1 << LANE_SHIFT) - 1
CHECKPOINT_PAGES: Final = 4_000
"""Pages in the write-ahead log before they are moved to the file: 16 MB, every few hundred batches."""

_parts = re.split(r"^-- name: (\w+)\s*$", files(__package__).joinpath("log.sql").read_text("utf-8"), flags=re.MULTILINE)
SQL: Final[Mapping[str, str]] = dict(zip(_parts[1::2], (text.strip() for text in _parts[2::2]), strict=True))


def id_of(lane: Lane, position: int) -> int:
    """The row that an entry is."""
    return LANES.index(lane) << LANE_SHIFT | position


def position_of(row_id: int) -> int:
    return row_id & POSITION_MASK


def open_file(folder: Path) -> sqlite3.Connection:
    """A connection to the log in *folder*; every commit through it is on the disk when it returns."""
    with translated():
        # Which thread may use a connection is settled by who owns it, not by who opened it.
        connection = sqlite3.connect(folder / FILE, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        except sqlite3.Error:
            connection.close()
            raise
        return connection


def make(connection: sqlite3.Connection) -> str:
    """Make what the log needs, where it is missing; the log's identity."""
    with translated():
        connection.executescript(SQL["make"])
        connection.execute(SQL["name_log"], (str(uuid4()),))
        return str(connection.execute(SQL["identity"]).fetchone()[0])


@contextmanager
def translated() -> Iterator[None]:
    """A full disk, a failing disk and a busy file pass by; a file that is no database does not."""
    try:
        yield
    except (sqlite3.OperationalError, OSError) as error:
        raise Unavailable(f"the local log cannot be used: {error}") from error
    except sqlite3.DatabaseError as error:
        raise Tampered(f"the local log is damaged: {error}") from error
