"""The forgetter: deletes from PostgreSQL what is old enough, once the archive has shown again that it holds it."""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Sequence, Set
from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from typing import Final, NamedTuple

import msgspec

from penstock.errors import Tampered
from penstock.store.archive import Archive, Manifest, Retention
from penstock.store.forget_books import PACKS_MAX, DueTag, ForgetBooks, Gone, HeldTag, Keeping, ObjectRow, SegmentRow
from penstock.store.port import GROUP_TAGS
from penstock.store.postgres import Database
from penstock.telemetry import FORGET_WAITING, FORGOTTEN_READINGS, HISTORY_BEGINS, log

SHOWN_FOR_S: Final = 86_400.0
"""What the archive showed counts for so long; what is left of the day by then is shown anew."""


class Forgotten(NamedTuple):
    """What one pass deleted."""

    days: int = 0
    packs: int = 0
    readings: int = 0


class Forgetter:
    """Deletes day by day, the oldest first. Two at once do no harm: each pack is deleted, and counted, once.

    A tag's day goes only after the archive has shown the day's manifests and every file that holds the tag, and only
    readings of flushes that the archive holds. From when on a tag's readings are all here is written down before the
    first of them is deleted, so that a crash anywhere leaves less deleted than told, never more. A day that cannot be
    shown stays, with those after it; readings whose files need not be kept for another day stay, and hold up nothing.
    """

    def __init__(self, database: Database, archive: Archive, keeping: Keeping, *, packs_max: int = PACKS_MAX) -> None:
        self._archive = archive
        self._keeping = keeping
        self._books = ForgetBooks(database, packs_max=packs_max)

    async def run(self) -> Forgotten:
        """Delete all that may go. Raises Unavailable, Misconfigured, and Tampered when the archive lacks anything."""
        done = [Forgotten()]
        try:
            while (day := await self._books.first_due(self._keeping, _shown_for())) is not None:
                gone = await self._forget(day)
                done.append(gone)
                if not gone.packs:
                    break
        finally:
            await self._tell()
        return Forgotten(*map(sum, zip(*done, strict=True)))

    async def _forget(self, day: date) -> Forgotten:
        """What was deleted of the day: nothing while some of it waits to be archived."""
        archived = await self._books.archived(day)
        if archived is None:
            return Forgotten()
        shown_at = asyncio.get_running_loop().time()
        tags = await self._books.tags_due(day, self._keeping, _shown_for())
        paths = frozenset(tag.path for tag in tags)
        by_path = await self._shown(day, archived, paths)
        held = await self._books.held(day)
        if any(tag.flush_hi > archived for tag in held):  # late, and sealed only just now
            return Forgotten()
        _compare(day, [tag for tag in held if tag.path in paths], by_path)
        await self._books.tell(day, [tag.tag_id for tag in tags])
        gone = await self._delete(day, archived, tags, shown_at + SHOWN_FOR_S)
        log.info("readings left the database: the archive holds them", day=str(day), readings=gone.readings)
        return Forgotten(1, *gone)

    async def _delete(self, day: date, archived: int, tags: Sequence[DueTag], until: float) -> Gone:
        done = [Gone(0, 0)]
        for grp, of_grp in groupby(tags, lambda tag: (tag.tag_id - 1) // GROUP_TAGS):
            of_group = [tag.tag_id for tag in of_grp]
            while asyncio.get_running_loop().time() < until:
                gone = await self._books.delete(day, archived, grp, of_group)
                if not gone.packs:
                    break
                FORGOTTEN_READINGS.inc(gone.readings)
                done.append(gone)
        return Gone(*map(sum, zip(*done, strict=True)))

    async def _shown(self, day: date, archived: int, paths: Set[str]) -> Counter[str]:
        """Readings by tag that the archive shows to hold of the day: of *paths*, and of what lies in the same files.

        Raises Tampered, Unavailable.
        """
        found: Counter[str] = Counter()
        upto = 0
        for segment in await self._books.segments(day):
            if segment.url != self._archive.url:
                raise Tampered(f"{day} was archived to {segment.url}, which is not the archive of now")
            if segment.flush_lo < upto or segment.flush_hi > archived:
                raise Tampered(f"the books of the archive contradict each other for {day}")
            upto = segment.flush_hi
            found.update(await self._shown_segment(day, segment, paths))
        return found

    async def _shown_segment(self, day: date, segment: SegmentRow, paths: Set[str]) -> Counter[str]:
        content = await self._archive.read(segment.manifest)
        if hashlib.sha256(content).digest() != segment.manifest_sha256:
            raise Tampered(f"{self._archive.url}/{segment.manifest} is not the manifest that was put there")
        until = segment.locked_until if self._locks else None
        await self._show(segment.manifest, segment.manifest_sha256, len(content), until)
        manifest = msgspec.json.decode(content, type=Manifest)
        objects = await self._books.objects(day, segment.number)
        if not _agree(manifest, segment, objects):
            raise Tampered(f"{self._archive.url}/{segment.manifest} tells of other files than the database does")
        found: Counter[str] = Counter()
        for row, file in zip(objects, manifest.objects, strict=True):
            if not paths.isdisjoint(file.tags):  # others may be of a class that has expired
                await self._show(row.key, row.sha256, row.bytes, row.locked_until if self._locks else file.kept_until)
                found.update(file.tags)
        return found

    async def _show(self, key: str, sha256: bytes, size_bytes: int, until: datetime | None) -> None:
        """*until*: of its lock; where nothing is locked, until when it is meant to be there, if that was said."""
        if (until is None and self._locks) or (until is not None and until <= datetime.now(UTC) + _shown_for()):
            why = "is not locked any more, or not for another day: nothing else keeps these readings"
            raise Tampered(f"{self._archive.url}/{key} {why}")
        await self._archive.show(key, sha256, size_bytes, until if self._locks else None)

    @property
    def _locks(self) -> bool:
        return self._archive.retention is not Retention.EPHEMERAL

    async def _tell(self) -> None:
        status = await self._books.status()
        if status.newest is not None:
            HISTORY_BEGINS.set(status.newest.timestamp())
        due = await self._books.first_due(self._keeping, _shown_for())
        FORGET_WAITING.set(0 if due is None else _days_late(due, self._keeping))


def _shown_for() -> timedelta:
    return timedelta(seconds=SHOWN_FOR_S)


def _agree(manifest: Manifest, segment: SegmentRow, objects: Sequence[ObjectRow]) -> bool:
    """Whether manifest and database name the same span, files and numbers of readings."""
    ours = [(it.key, it.sha256.hex(), it.bytes, it.readings, it.class_) for it in objects]
    theirs = [(it.key, it.sha256, it.size_bytes, it.readings, it.class_) for it in manifest.objects]
    span = (manifest.number, manifest.flush_lo, manifest.flush_hi, manifest.readings)
    return (
        ours == theirs
        and span == (segment.number, segment.flush_lo, segment.flush_hi, segment.readings)
        and all(sum(it.tags.values()) == it.readings for it in manifest.objects)
    )


def _compare(day: date, held: Sequence[HeldTag], archived: Counter[str]) -> None:
    """Raise Tampered unless the archive has, tag by tag, as many readings of the day as the database, or had."""
    for tag in held:
        there = archived[tag.path]
        if there < tag.readings or (there != tag.readings and not tag.begun):
            why = f"of {tag.path} on {day} the archive has {there:,} readings, and the database {tag.readings:,}"
            raise Tampered(f"{why}: nothing of that day is deleted")


def _days_late(day: date, keeping: Keeping) -> int:
    """How long the day should have gone; 0 where a tag's own class cannot be told from here."""
    shortest = min((kept for kept in keeping if kept is not None), default=timedelta(0))
    return max(0, (datetime.now(UTC) - shortest).date().toordinal() - day.toordinal() - 1)
