"""The archive, chosen by its URL; the one archiver among all who work, and what leaves the database after it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Final

from penstock.errors import Misconfigured, PenstockError
from penstock.keeping import check_archive, check_keeping, keeping_of, limits_of
from penstock.settings import Settings
from penstock.store.archive import Archive, Retention
from penstock.store.archive_books import ArchiveBooks
from penstock.store.archive_files import FilesArchive
from penstock.store.archiver import Archived, Archiver, Told, only_archiver
from penstock.store.forgetter import Forgetter
from penstock.store.postgres import Database
from penstock.store.seal import Sealer
from penstock.telemetry import log

AGAIN_S: Final = 300.0
"""After a failure it is tried again so soon, or sooner."""


@asynccontextmanager
async def archiving(settings: Settings, database: Database) -> AsyncIterator[None]:
    """Meanwhile archive what is due, unless another process does; at the end, whatever is under way is left for later.

    Raises Misconfigured for settings that contradict each other. What is wrong with the bucket is told in the log and
    tried again: readings are taken, stored and alarmed all the same.
    """
    check_keeping(settings)
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


async def _open(settings: Settings) -> Archive:
    archive, retention = settings.archive, Retention(settings.archive.retention)
    if not archive.url:
        raise Misconfigured("archive.url", "it is not set", "set it to files:PATH or s3://BUCKET/PREFIX")
    check_archive(settings)
    if archive.url.startswith("files:"):
        return FilesArchive(Path(archive.url.partition(":")[2]), retention)
    from penstock.store.archive_s3 import S3Settings, open_s3, read_url  # noqa: PLC0415  # slow to import

    bucket, prefix = read_url(archive.url)
    return await open_s3(S3Settings(bucket, prefix, retention, archive.kms_key, archive.region, archive.endpoint))


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
