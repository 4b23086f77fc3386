"""Fates of single readings, as answers tell them."""

from collections.abc import Mapping
from typing import Final

from penstock.serve.answers import FateAnswer
from penstock.serve.words import rfc3339, told
from penstock.store.accounts import CommittedIn, Exceptional
from penstock.store.forget_books import Floor
from penstock.store.read import at
from penstock.stream.port import Entry

_WHERE: Final = {"duplicate": "flush", "conflict": "conflict", "quarantined": "quarantine"}


def in_flight(entry: Entry) -> list[FateAnswer]:
    """All readings of an entry that nobody has committed."""
    batch, at, where = entry.batch, rfc3339(entry.received_us), f"{entry.shard}/{entry.position}"
    return [
        FateAnswer(index, batch.paths[tag], "in_flight", at, where)
        for index, tag in zip(batch.index.tolist(), batch.tag.tolist(), strict=True)
    ]


def stored(index: int, path: str | None, flush: CommittedIn, archived: str | None = None) -> FateAnswer:
    """*archived*: where the archive has it, of a reading that may be there alone."""
    where = f"flush {flush.flush_id}" if archived is None else f"{archived}, flush {flush.flush_id}"
    return FateAnswer(index, path, "stored", told(flush.at), where)


def archived_at(floors: Mapping[str, Floor], path: str, ts_us: int) -> str | None:
    """Where in the archive a reading is that may have left the database; None of one that is in it."""
    floor, ts = floors.get(path), at(ts_us)
    if floor is None or ts >= floor.before:
        return None
    expired = floor.expired_before is not None and ts < floor.expired_before
    return f"archive day={ts.date()}" + (" (expired)" if expired else "")


def fate_of(each: Exceptional, index: int, flush: CommittedIn, paths: Mapping[int, str]) -> FateAnswer:
    """Of a reading that was not stored; *index* is its place in the request."""
    number = flush.flush_id if each.kept_as is None else each.kept_as
    path = each.path if each.tag_id is None else paths.get(each.tag_id)
    return FateAnswer(index, path, each.fate, told(flush.at), f"{_WHERE[each.fate]} {number}")
