"""Where the readings of a batch went."""

from collections.abc import Mapping, Sequence

from penstock.errors import Unknown
from penstock.model.access import Caller
from penstock.model.tag import site_of
from penstock.serve.answers import FateAnswer, TraceAnswer
from penstock.serve.words import rfc3339, told
from penstock.store.accounts import Accounts, CommittedIn, Exceptional
from penstock.stream.port import Entry, Place, Stream

_WHERE = {"duplicate": "flush", "conflict": "conflict", "quarantined": "quarantine"}


async def trace(
    accounts: Accounts, stream: Stream, caller: Caller, batch_id: str, index: int | None = None
) -> TraceAnswer:
    """The fate of every reading of a batch, or of the one at *index*. Raises Unknown."""
    places = stream.places(batch_id)
    heads = await stream.totals()
    if any(place.shard not in heads or place.position > heads[place.shard].position for place in places):
        raise Unknown("there is no such batch")
    parts = [await _part(accounts, stream, place, index) for place in places]
    items = [item for part, _ in parts for item in part if _sees(caller, item)]
    if index is not None:
        items = [item for item in items if item.index == index][:1]
    if not items and (index is not None or any(part for part, _ in parts)):
        raise Unknown("there is no such batch, or nothing of it is of your sites")
    items.sort(key=lambda item: item.index)
    return TraceAnswer(batch_id=batch_id, items=items, complete=all(complete for _, complete in parts))


async def _part(accounts: Accounts, stream: Stream, place: Place, index: int | None) -> tuple[list[FateAnswer], bool]:
    """The readings of one lane, and whether those are all."""
    entry = await stream.read(place)
    flush = await accounts.committed(stream.identity, place.shard, place.position)
    if flush is None:
        return ([] if entry is None else _in_flight(entry)), entry is not None
    exceptions = await accounts.exceptions(flush.flush_id, place.position)
    paths = await accounts.paths([each.tag_id for each in exceptions if each.tag_id is not None])
    by_index = {each.item: _exception(each, flush, paths) for each in exceptions}
    if entry is not None:
        return [by_index.get(item.index) or item for item in _stored(entry, flush)], True
    if index is not None and index not in by_index:
        by_index[index] = _stored_at(index, None, flush)
    return [*by_index.values()], False


def _in_flight(entry: Entry) -> list[FateAnswer]:
    where = f"{entry.shard}/{entry.position}"
    at = rfc3339(entry.received_us)
    return [FateAnswer(index, path, "in_flight", at, where) for index, path in _items(entry)]


def _stored(entry: Entry, flush: CommittedIn) -> list[FateAnswer]:
    return [_stored_at(index, path, flush) for index, path in _items(entry)]


def _stored_at(index: int, path: str | None, flush: CommittedIn) -> FateAnswer:
    return FateAnswer(index, path, "stored", told(flush.at), f"flush {flush.flush_id}")


def _exception(each: Exceptional, flush: CommittedIn, paths: Mapping[int, str]) -> FateAnswer:
    number = flush.flush_id if each.kept_as is None else each.kept_as
    path = each.path if each.tag_id is None else paths.get(each.tag_id)
    return FateAnswer(each.item, path, each.fate, told(flush.at), f"{_WHERE[each.fate]} {number}")


def _items(entry: Entry) -> Sequence[tuple[int, str]]:
    batch = entry.batch
    return [(index, batch.paths[tag]) for index, tag in zip(batch.index.tolist(), batch.tag.tolist(), strict=True)]


def _sees(caller: Caller, item: FateAnswer) -> bool:
    """A reading whose tag is known no more is for those who see all sites."""
    return caller.may_read(site_of(item.tag) if item.tag else "*")
