"""How long what is kept and where, as the settings have it; and whether they contradict each other."""

from datetime import timedelta
from pathlib import Path
from typing import Final

from penstock.errors import Misconfigured
from penstock.settings import Settings
from penstock.store.archive import Retention
from penstock.store.archive_files import FilesArchive
from penstock.store.archiver import ArchiveLimits
from penstock.store.forget_books import Keeping
from penstock.store.forgetter import SHOWN_FOR_S

DAYS_MAX: Final = 100_000.0
"""Longer settings mean the same: for ever."""
STANDARD_SETTING: Final = "store.keep_days"
SHOWN_DAYS: Final = SHOWN_FOR_S / 86_400
"""Only what the archive keeps for so long after it was shown may leave the database."""
DAYS_MIN: Final = 1.0
"""Charts of the last day are drawn by minutes."""


def check_keeping(settings: Settings) -> None:
    """What can be told before anything runs. Raises Misconfigured."""
    check_archive(settings)
    limits_of(settings)
    keeping_of(settings)
    minutes_kept(settings)


def check_archive(settings: Settings) -> None:
    """Whether `archive.url` names one that can lock as it should. Raises Misconfigured."""
    archive = settings.archive
    scheme, _, place = archive.url.partition(":")
    if scheme == "files":
        FilesArchive(Path(place), Retention(archive.retention))
    elif scheme not in ("", "s3"):
        raise Misconfigured("archive.url", f"no archive is called {scheme!r}", "use files:PATH or s3://BUCKET/PREFIX")


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


def minutes_kept(settings: Settings) -> timedelta | None:
    """How long rollups by the minute stay; None: for ever. Raises Misconfigured for less than a day."""
    days = settings.store.keep_minutes_days
    if not days:
        return None
    if days < DAYS_MIN:
        why = "charts of the last day are drawn from rollups by the minute"
        raise Misconfigured("store.keep_minutes_days", why, f"set it to {DAYS_MIN:g} or more, or to 0: for ever")
    return timedelta(days=min(days, DAYS_MAX))


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
