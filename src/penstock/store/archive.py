"""What an archive promises, and what is kept in it: sealed segments of a UTC day, each described by a manifest."""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from enum import StrEnum
from pathlib import Path
from typing import Final, NamedTuple, Protocol

import msgspec

SCHEMA: Final = 1
"""Version of the files' columns and of the manifest."""
COLUMNS: Final = ("tag", "ts", "value", "state", "quality", "seq", "received_ts", "stored_ts", "flush_id")
"""Of every Parquet file, as the reading interface names them; times are UTC microseconds."""
_TOLD_DIGITS: Final = 16


class Retention(StrEnum):
    """How firmly an archive holds what it is given."""

    EPHEMERAL = "ephemeral"
    """No lock: for what may be thrown away."""
    GOVERNANCE = "governance"
    """Locked; a named role may lift it."""
    SEALED = "sealed"
    """Locked; nobody can lift it, neither we nor Amazon."""


class ArchiveClass(StrEnum):
    """What a file's tags were when its day was begun; each class is kept for a time of its own."""

    CRITICAL = "critical"
    STANDARD = "standard"
    """Whatever is not critical."""


class Kept(NamedTuple):
    """What the archive says of an object that it holds, checksum and lock checked."""

    etag: str | None
    version: str | None
    locked_until: datetime | None


class Archive(Protocol):
    """Keeps objects under keys. What was put is never overwritten."""

    url: str
    retention: Retention

    async def check(self) -> None:
        """Whether objects can be kept as we want them kept. Raises Misconfigured with the mend, or Unavailable."""
        ...

    async def put(self, key: str, file: Path, sha256: bytes, until: datetime | None) -> Kept:
        """Keep *file*, locked *until* then; returns once the archive has shown that it holds just this.

        The same content under the same key again is no error. Raises Misconfigured, Unavailable, or Tampered when
        what stands under the key is something else.
        """
        ...

    async def show(self, key: str, sha256: bytes, size_bytes: int, until: datetime | None) -> None:
        """Return once the archive has shown that it holds just this content, locked *until* then or longer.

        Raises Tampered when it does not, or when the object cannot be seen; Misconfigured, Unavailable.
        """
        ...

    async def read(self, key: str) -> bytes:
        """A small object's content. Raises Tampered when it is not there; Misconfigured, Unavailable."""
        ...

    async def close(self) -> None: ...


class FlushSpan(NamedTuple):
    """A day's readings that came by flushes with lo < flush_id <= hi; they are the same for ever.

    *critical*: the tags that were critical then; None where classes are not told apart.
    """

    day: date
    lo: int
    hi: int
    begun_at: datetime
    critical: Sequence[int] | None = None


class ArchivedFile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A Parquet file of a segment. Without *class_* and *kept_until* it is kept for as long as its manifest."""

    key: str
    class_: ArchiveClass | None = msgspec.field(default=None, name="class")
    kept_until: datetime | None = None
    """Until then it is there; afterwards it may have expired, and the manifest tells what it held."""
    sha256: str
    size_bytes: int
    readings: int
    ts_lo: datetime
    ts_hi: datetime
    tags: Mapping[str, int]
    """Readings by tag, in the file's order."""


class ManifestOf(msgspec.Struct, frozen=True):
    """Another manifest, by key and content."""

    key: str
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """Tells what a segment of a day consists of. Written last: where it stands, the segment is whole."""

    schema: int = SCHEMA
    day: date
    number: int
    """1 is the day as it was closed; later numbers add what came late."""
    flush_lo: int
    flush_hi: int
    made_at: datetime
    readings: int
    size_bytes: int
    ts_lo: datetime
    ts_hi: datetime
    columns: Sequence[str] = COLUMNS
    replaces: Sequence[ManifestOf] = ()
    """Manifests that hold no more because of this one; segments only ever add, so that there are none yet."""
    previous: ManifestOf | None
    """The day's manifest before this one."""
    objects: Sequence[ArchivedFile]

    def encode(self) -> bytes:
        """The same bytes for the same content."""
        return msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n"


def object_key(day: date, number: int, part: int, sha256: bytes, class_: ArchiveClass | None = None) -> str:
    """A file's place: the same content has the same key, other content another. What expires sooner lies apart."""
    apart = f"{class_}/" if class_ is ArchiveClass.STANDARD else ""
    return f"{apart}{_folder(day)}/{number:04}-{part:04}-{_told(sha256)}.parquet"


def manifest_key(day: date, number: int, sha256: bytes) -> str:
    """A manifest's place, likewise; it sorts before its objects."""
    return f"{_folder(day)}/{number:04}-{_told(sha256)}.json"


def sha256_of(file: Path) -> bytes:
    """Of a file's content; blocks while it is read."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").digest()


def _folder(day: date) -> str:
    return f"day={day.isoformat()}"  # as Hive names partitions, so that engines skip days


def _told(sha256: bytes) -> str:
    return sha256.hex()[:_TOLD_DIGITS]
