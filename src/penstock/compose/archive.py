"""The archive, chosen by its URL; the one archiver among all who work, and what leaves the database after it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Final

from penstock.errors import Misconfigured, PenstockError
from penstock.settings import Settings
from penstock.store.archive import Archive, Retention
from penstock.store.archive_books import ArchiveBooks
from penstock.store.archive_files import FilesArchive
from penstock.store.archiver import Archived, ArchiveLimits, Archiver, Told, only_archiver
from penstock.store.forget_books import Keeping
from penstock.store.forgetter import SHOWN_FOR_S, Forgetter
from penstock.store.postgres import Database
from penstock.store.seal import Sealer
from penstock.telemetry import log

DAYS_MAX: Final = 100_000.0
"""Longer settings mean the same: for ever."""
STANDARD_SETTING: Final = "store.keep_days"
SHOWN_DAYS: Final = SHOWN_FOR_S / 86_400
"""Only what the archive keeps for so long after it was shown may leave the database."""
AGAIN_S: Final = 300.0
"""After a failure it is tried again so soon, or sooner."""


@asynccontextmanager
async def archiving(settings: Settings, database: Database) -> AsyncIterator[None]:
    """Meanwhile archive what is due, unless another process does; at the end, whatever is under way is left for later.

    Raises Misconfigured for settings that contradict each other. What is wrong with the bucket is told in the log and
    tried again: readings are taken, stored and alarmed all the same.
    """
    limits_of(settings)
    keeping_of(settings)
    if not settings.archive.url:
        yield
        return
    async with opened_archive(settings) as archive, asyncio.TaskGroup() as tasks:
        running = tasks.create_task(_keep_archiving(settings, database, archive))
        try:
            yield
        finally:
            running.cancel()


async def archive_now(settings: Settings, database: Database, told: Told) -> Archived | None:
    """Archive every closed day, late readings too; None when another process is at it. Raises what the archive does."""
    async with opened_archive(settings) as archive:
        await archive.check()
        await _seal(database)
        async with only_archiver(database) as ours:
            if not ours:
                return None
            archiver = Archiver(database, archive, limits_of(settings), told)
            return await archiver.run(late=timedelta(0))


@asynccontextmanager
async def opened_archive(settings: Settings) -> AsyncIterator[Archive]:
    """The archive that `archive.url` names, until the end. Raises Misconfigured."""
    archive = await _open(settings)
    try:
        yield archive
    finally:
        await archive.close()


def limits_of(settings: Settings) -> ArchiveLimits:
    """When days are archived, and for how long. Raises Misconfigured: critical readings are never kept for less."""
    archive = settings.archive
    if archive.standard_days > archive.retention_days:
        why = f"critical readings would be kept for less: {archive.retention_days:g} days (archive.retention_days)"
        mend = f"set it to {archive.retention_days:g} at most, or 0, or archive.retention_days to more"
        raise Misconfigured("archive.standard_days", why, mend)
    return ArchiveLimits(
        after=timedelta(hours=archive.after_h),
        late=timedelta(hours=archive.late_h),
        keep=timedelta(days=archive.retention_days),
        keep_standard=timedelta(days=archive.standard_days) if archive.standard_days else None,
    )


def keeping_of(settings: Settings) -> Keeping | None:
    """How long readings stay in the database; None: for ever.

    Raises Misconfigured where a reading that may still come could not be compared with what has left, or where nothing
    would keep what leaves.
    """
    store = settings.store
    kept = {name: getattr(store, name) for name in ("keep_days", "keep_critical_days") if getattr(store, name)}
    for name, days in kept.items():
        _check_keeping(settings, f"store.{name}", days)
    standard, critical = (
        None if days == 0 else timedelta(days=min(days, DAYS_MAX))
        for days in (store.keep_days, store.keep_critical_days)
    )
    return Keeping(standard, critical) if kept else None


def _check_keeping(settings: Settings, setting: str, days: float) -> None:
    archive, window_days = settings.archive, settings.process.window_days
    if not archive.url:
        raise Misconfigured(setting, "readings that leave the database must be in an archive", "set archive.url, or 0")
    if days <= window_days + 1:
        why = f"readings up to {window_days:g} days old (process.window_days) may still come, and need be compared"
        raise Misconfigured(
            setting, why, f"set it above {window_days + 1:g}, or process.window_days below {days - 1:g}"
        )
    if archive.retention_days <= days + SHOWN_DAYS:
        why = f"the archive keeps readings for {archive.retention_days:g} days only (archive.retention_days)"
        raise Misconfigured(setting, why, f"set archive.retention_days well above {days:g}")
    # A tag that became critical needs no such check: of its days as standard, the forgetter leaves what may expire.
    if setting == STANDARD_SETTING and 0 < archive.standard_days <= days + SHOWN_DAYS:
        why = f"the archive keeps what is not critical for {archive.standard_days:g} days only (archive.standard_days)"
        raise Misconfigured(setting, why, f"set archive.standard_days well above {days:g}")


async def _open(settings: Settings) -> Archive:
    archive, retention = settings.archive, Retention(settings.archive.retention)
    match archive.url.partition(":")[0]:
        case "files":
            return FilesArchive(Path(archive.url.partition(":")[2]), retention)
        case "s3":
            from penstock.store.archive_s3 import S3Settings, open_s3, read_url  # noqa: PLC0415  # slow to import

            bucket, prefix = read_url(archive.url)
            return await open_s3(
                S3Settings(bucket, prefix, retention, archive.kms_key, archive.region, archive.endpoint)
            )
        case "":
            raise Misconfigured("archive.url", "it is not set", "set it to files:PATH or s3://BUCKET/PREFIX")
        case scheme:
            raise Misconfigured(
                "archive.url", f"no archive is called {scheme!r}", "use files:PATH or s3://BUCKET/PREFIX"
            )


async def _keep_archiving(settings: Settings, database: Database, archive: Archive) -> None:
    while True:
        pause_s = settings.archive.every_s
        try:
            await _archive(settings, database, archive)
        except PenstockError as error:
            log.error("not everything is archived; readings stay in the database meanwhile", why=str(error))
            pause_s = min(pause_s, AGAIN_S)
        try:
            await _forget(settings, database, archive)
        except PenstockError as error:
            log.error(
                "readings are older than store.keep_days, and stay: the archive does not show them", why=str(error)
            )
            pause_s = min(pause_s, AGAIN_S)
        await asyncio.sleep(pause_s)


async def _archive(settings: Settings, database: Database, archive: Archive) -> None:
    async with only_archiver(database) as ours:
        if ours:
            archiver = Archiver(database, archive, limits_of(settings))
            await archiver.look()  # before the check: what waits is told above all while nothing can be archived
            await archive.check()
            await archiver.run()


async def _forget(settings: Settings, database: Database, archive: Archive) -> None:
    keeping = keeping_of(settings)
    if keeping is None:
        return
    async with only_archiver(database) as ours:
        if ours:
            await Forgetter(database, archive, keeping).run()


async def _seal(database: Database) -> None:
    """What is sealed already may be archived; no worker may be running that would do it."""
    sealer = Sealer(database, 1.0)
    for grp in await ArchiveBooks(database).unsealed_groups():
        while await sealer.seal(grp):
            pass
