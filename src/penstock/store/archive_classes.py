"""Classes of archived readings: which tags of a day share files, and until when those are kept."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from penstock.store.archive import ArchiveClass, FlushSpan
from penstock.store.archive_books import TagOfDay


class Share(NamedTuple):
    """Tags of a day that are kept alike, in order of their paths; *class_* None: all of them are."""

    class_: ArchiveClass | None
    tags: Sequence[TagOfDay]
    kept_until: datetime


def shares_of(
    span: FlushSpan, tags: Sequence[TagOfDay], keep: timedelta, keep_standard: timedelta | None
) -> list[Share]:
    """The day's tags by class, critical ones first.

    What counts is what was written down when the day was begun, neither tags nor settings of now: whoever repeats it
    makes the same files.
    """
    if span.critical is None:
        return [Share(None, tags, kept_for(span, keep))]
    written = frozenset(span.critical)
    critical = [tag for tag in tags if tag.tag_id in written]
    standard = [tag for tag in tags if tag.tag_id not in written]
    return [
        Share(ArchiveClass.CRITICAL, critical, kept_for(span, keep)),
        Share(ArchiveClass.STANDARD, standard, kept_for(span, keep if keep_standard is None else keep_standard)),
    ]


def kept_for(span: FlushSpan, time: timedelta) -> datetime:
    """Counted from when the day was begun, so that whoever repeats it asks for the same."""
    return (span.begun_at + time).replace(microsecond=0)
