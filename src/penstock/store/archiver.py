"""The archiver: writes closed days of history to the archive, and later what came late to them."""

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from penstock.errors import Tampered, Unavailable
from penstock.store.archive import (
    Archive,
    ArchiveClass,
    ArchivedFile,
    FlushSpan,
    Kept,
    Manifest,
    ManifestOf,
    Retention,
    manifest_key,
    object_key,
    sha256_of,
)
from penstock.store.archive_books import SQL, ArchiveBooks, DayReadings, Due
from penstock.store.archive_classes import Share, kept_for, shares_of
from penstock.store.encode import starts_of
from penstock.store.parquet import ParquetFile, Stretch
from penstock.store.postgres import Database, translated
from penstock.store.read import at
from penstock.telemetry import ARCHIVE_WAITING, ARCHIVED_BYTES, ARCHIVED_READINGS, log

PART_READINGS: Final = 16_000_000
"""A file ends with the tag by which it has so many readings: 64 to 128 MB."""

LOCK_MIN: Final = timedelta(hours=1)

Told = Callable[[date, int, int], None]
"""Is told of progress: the day, readings written, and readings there are at most."""


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """When days are archived, for how long they are kept, and how large files become."""

    after: timedelta = timedelta(hours=1)
    """So long after its end in UTC a day is closed."""
    late: timedelta = timedelta(days=1)
    """What comes late to an archived day gathers for so long."""
    keep: timedelta = timedelta(days=2_557)
    keep_standard: timedelta | None = None
    """Of tags that are not critical, which then have files of their own; None: they share them, and are kept alike."""
    part_readings: int = PART_READINGS


class Archived(NamedTuple):
    """What one pass archived."""

    segments: int = 0
    objects: int = 0
    readings: int = 0
    bytes: int = 0


class _File(NamedTuple):
    """A Parquet file, kept by the archive."""

    told: ArchivedFile
    kept: Kept


@dataclass(slots=True)
class _Part:
    """What is told of a file, summed up while it is made."""

    readings: int = 0
    ts_lo: int = 2**63 - 1
    ts_hi: int = -(2**63)
    tags: dict[str, int] = field(default_factory=dict)

    def add(self, stretch: Stretch) -> None:
        ts = stretch.points.ts
        starts = starts_of(stretch.tag)
        for place, n in zip(stretch.tag[starts].tolist(), np.diff(starts, append=len(stretch)).tolist(), strict=True):
            path = stretch.paths[place]
            self.tags[path] = self.tags.get(path, 0) + n
        self.readings += len(stretch)
        self.ts_lo, self.ts_hi = min(self.ts_lo, int(ts.min())), max(self.ts_hi, int(ts.max()))


class Archiver:
    """Archives what is due. Two at once do no harm: both make the same objects, and one of them writes it down."""

    def __init__(
        self,
        database: Database,
        archive: Archive,
        limits: ArchiveLimits | None = None,
        told: Told = lambda *_: None,
    ) -> None:
        self._database = database
        self._archive = archive
        self._limits = limits or ArchiveLimits()
        self._told = told
        self._books = ArchiveBooks(database)

    async def run(self, *, late: timedelta | None = None) -> Archived:
        """Archive every closed day that is due; *late* instead of the limits' own.

        Raises Unavailable, Misconfigured, and Tampered when the archive holds what we did not put there.
        """
        horizon = await self.look()
        done, tampered = [Archived()], None
        for due in await self._books.due(self._limits.after, self._limits.late if late is None else late):
            try:
                done.append(await self._archive_day(due, horizon))
            except Tampered as error:  # the days after it need not wait until somebody has mended this one
                tampered = tampered or error
        await self._tell_waiting()
        if tampered is not None:
            raise tampered
        return Archived(*map(sum, zip(*done, strict=True)))

    async def look(self) -> int:
        """Learn which days are closed, and tell how many wait. Returns the flush up to which all are sealed."""
        horizon = await self._books.horizon()
        await self._books.discover(horizon)
        await self._tell_waiting()
        return horizon

    async def _tell_waiting(self) -> None:
        ARCHIVE_WAITING.set((await self._books.waiting(self._limits.after)).days)

    async def _archive_day(self, due: Due, horizon: int) -> Archived:
        span = await self._books.begin(due, horizon, split=self._limits.keep_standard is not None)
        if span is None:
            return Archived()
        number, previous = await self._books.previous(span.day)
        with _scratch() as folder:
            files = [file async for file in self._files(span, number + 1, folder)]
            if not files:
                await self._books.finish(span)
                return Archived()
            manifest = _manifest(span, number + 1, previous, files)
            segment = await self._keep_manifest(manifest, span, folder) | {"standard_until": _standard_until(files)}
        rows = [_object_row(manifest, *it) for it in enumerate(files, 1)]
        if not await self._books.finish(span, segment, rows, _standard_paths(manifest)):
            return Archived()
        ARCHIVED_READINGS.inc(manifest.readings)
        ARCHIVED_BYTES.inc(manifest.size_bytes)
        log.info("day archived", day=str(span.day), number=manifest.number, readings=manifest.readings)
        return Archived(1, len(files), manifest.readings, manifest.size_bytes)

    async def _files(self, span: FlushSpan, number: int, folder: Path) -> AsyncIterator[_File]:
        """The span's readings as Parquet files, each kept by the archive; classes do not share one."""
        readings = DayReadings(self._database, span)
        tags = await self._books.tags(span)
        writing = _Writing(folder, self._limits.part_readings)
        done, most = 0, sum(tag.readings for tag in tags)
        parts = count(1)
        with closing(writing):
            for share in shares_of(span, tags, self._limits.keep, self._limits.keep_standard):
                async for stretch in readings.stretches(share.tags):
                    for piece in writing.pieces(stretch):
                        if piece is None:
                            yield await self._keep(writing, span, share, number, next(parts))
                        else:
                            await writing.add(piece)
                    done += len(stretch)
                    self._told(span.day, done, most)
                if writing.part.readings:
                    yield await self._keep(writing, span, share, number, next(parts))

    async def _keep(self, writing: "_Writing", span: FlushSpan, share: Share, number: int, part: int) -> _File:
        told = writing.part
        file = await writing.finish()
        sha256 = await asyncio.to_thread(sha256_of, file)
        key = object_key(span.day, number, part, sha256, share.class_)
        kept = await self._archive.put(key, file, sha256, self._lock(share.kept_until))
        size = file.stat().st_size
        file.unlink()
        described = ArchivedFile(
            key=key, class_=share.class_, kept_until=share.kept_until if share.class_ else None,
            sha256=sha256.hex(), size_bytes=size, readings=told.readings,
            ts_lo=at(told.ts_lo), ts_hi=at(told.ts_hi), tags=told.tags,
        )  # fmt: skip
        return _File(described, kept)

    async def _keep_manifest(self, manifest: Manifest, span: FlushSpan, folder: Path) -> dict[str, Any]:
        """Written last. Returns the segment's row."""
        file = folder / "manifest.json"
        content = manifest.encode()
        file.write_bytes(content)
        sha256 = hashlib.sha256(content).digest()
        key = manifest_key(span.day, manifest.number, sha256)
        until = kept_for(span, self._limits.keep)
        kept = await self._archive.put(key, file, sha256, self._lock(until))
        return {
            "day": span.day,
            "number": manifest.number,
            "url": self._archive.url,
            "flush_lo": span.lo,
            "flush_hi": span.hi,
            "readings": manifest.readings,
            "bytes": manifest.size_bytes,
            "manifest": key,
            "manifest_sha256": sha256,
            "version": kept.version,
            "locked_until": kept.locked_until,
            "made_at": manifest.made_at,
            "kept_until": until,
        }

    def _lock(self, until: datetime) -> datetime | None:
        """No store takes a lock that is over, though a day may have waited for so long."""
        if self._archive.retention is Retention.EPHEMERAL:
            return None
        return max(until, datetime.now(UTC).replace(microsecond=0) + LOCK_MIN)


class _Writing:
    """Files being made one after the other: a file ends with the tag by which it is full."""

    def __init__(self, folder: Path, part_readings: int) -> None:
        self._folder = folder
        self._part_readings = part_readings
        self._file: ParquetFile | None = None
        self._path = ""
        self.part = _Part()

    def pieces(self, stretch: Stretch) -> Iterator[Stretch | None]:
        """The stretch, cut where a file ends, which None says. Where that is depends on the readings alone."""
        if not len(stretch):
            return
        begin, held = 0, self.part.readings
        for start in starts_of(stretch.tag).tolist():
            path = stretch.paths[stretch.tag[start]]
            if path != self._path and held + start - begin >= self._part_readings:
                if start > begin:
                    yield stretch.pick(slice(begin, start))
                yield None
                begin, held = start, 0
            self._path = path
        yield stretch.pick(slice(begin, len(stretch)))

    async def add(self, piece: Stretch) -> None:
        if self._file is None:
            self._file = await asyncio.to_thread(ParquetFile, self._folder)
        await asyncio.to_thread(self._file.add, piece)
        self.part.add(piece)

    async def finish(self) -> Path:
        """The file as it is, and begin anew."""
        assert self._file is not None
        file = await asyncio.to_thread(self._file.finish)
        self.close()
        self.part = _Part()
        return file

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file = None


@asynccontextmanager
async def only_archiver(database: Database) -> AsyncIterator[bool]:
    """Whether we are the one archiver of the database, until the end."""
    with translated():
        connection = await database.connect("archive")
        async with connection:
            row = await (await connection.execute(SQL["try_lock"])).fetchone()
            yield row is not None and bool(row[0])


@contextmanager
def _scratch() -> Iterator[Path]:
    """A folder for files in the making, until the end. Raises Unavailable when the disk has no room."""
    try:
        with tempfile.TemporaryDirectory(prefix="penstock-archive-") as folder:
            yield Path(folder)
    except OSError as error:
        why = f"files for the archive cannot be made ({error}); free space where TMPDIR leads"
        raise Unavailable(why) from error


def _manifest(span: FlushSpan, number: int, previous: ManifestOf | None, files: list[_File]) -> Manifest:
    told = [file.told for file in files]
    return Manifest(
        day=span.day,
        number=number,
        flush_lo=span.lo,
        flush_hi=span.hi,
        made_at=span.begun_at,
        readings=sum(it.readings for it in told),
        size_bytes=sum(it.size_bytes for it in told),
        ts_lo=min(it.ts_lo for it in told),
        ts_hi=max(it.ts_hi for it in told),
        previous=previous,
        objects=told,
    )


def _standard_until(files: list[_File]) -> datetime | None:
    """From when on files of class standard may be gone: as the archive says, else as they were meant."""
    lasting = [kept.locked_until or told.kept_until for told, kept in files if told.class_ is ArchiveClass.STANDARD]
    return min((it for it in lasting if it is not None), default=None)


def _standard_paths(manifest: Manifest) -> list[str]:
    return [path for file in manifest.objects if file.class_ is ArchiveClass.STANDARD for path in file.tags]


def _object_row(manifest: Manifest, part: int, file: _File) -> dict[str, Any]:
    told, kept = file
    return {
        "day": manifest.day,
        "number": manifest.number,
        "part": part,
        "key": told.key,
        "sha256": bytes.fromhex(told.sha256),
        "readings": told.readings,
        "bytes": told.size_bytes,
        "ts_lo": told.ts_lo,
        "ts_hi": told.ts_hi,
        "etag": kept.etag,
        "version": kept.version,
        "locked_until": kept.locked_until,
        "class": told.class_,
    }
