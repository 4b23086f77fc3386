"""Readings that were not stored, in the form in which the store keeps them."""

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec
import numpy as np

from penstock.model.batch import NO_SEQ, NO_TEXT, ReadingBatch
from penstock.model.quality import name_of
from penstock.process.columns import Columns
from penstock.process.dedupe import GONE
from penstock.process.tags import TagTable
from penstock.process.validate import REASONS
from penstock.store.port import Contested, Held, Repeats
from penstock.stream.port import Entry

TS_MIN_US: Final = -62_135_596_800_000_000
TS_MAX_US: Final = 253_402_300_799_999_999
"""The years 1 to 9999, which every calendar here knows."""
UNPROCESSABLE: Final = "unprocessable"
UNFIT: Final = {
    "undecodable": "The record is not what it claims to be.",
    UNPROCESSABLE: "Storing failed again and again with this entry alone; the worker's log says how.",
}
"""Reasons that say nothing of a tag's contract. A foreign record's items have the codes of the writing interface."""


def held_of(reason: str, readings: Columns, entries: Sequence[Entry]) -> Iterator[Held]:
    """For quarantine: found again in their entries, so that they are kept as they came."""
    for batch, entry, at in _found(readings, entries):
        yield Held(
            position=entry.position,
            item=int(batch.index[at]),
            path=_storable(batch.paths[batch.tag[at]]),
            ts_us=_storable_us(int(batch.ts[at])),
            reason=reason,
            detail=(REASONS | GONE)[reason],
            raw=as_json(batch, at),
        )


def poison_of(entries: Sequence[Entry]) -> Iterator[Held]:
    """For quarantine: what came in entries but is no reading."""
    for entry in entries:
        for poison in entry.poison:
            detail = _storable(poison.detail)
            yield Held(entry.position, poison.item, _storable(poison.path), None, poison.reason, detail, poison.raw)


def whole(entry: Entry) -> list[Held]:
    """For quarantine: every reading of an entry that nothing can be done with, and its poison."""
    batch = entry.batch
    readings = [
        Held(
            position=entry.position,
            item=item,
            path=_storable(batch.paths[tag]),
            ts_us=_storable_us(ts),
            reason=UNPROCESSABLE,
            detail=UNFIT[UNPROCESSABLE],
            raw=as_json(batch, at),
        )
        for at, (item, tag, ts) in enumerate(
            zip(batch.index.tolist(), batch.tag.tolist(), batch.ts.tolist(), strict=True)
        )
    ]
    return [*readings, *poison_of([entry])]


def contested_of(readings: Columns, entries: Sequence[Entry], tags: TagTable) -> Iterator[Contested]:
    """For the list of conflicts."""
    slots = readings.slot.tolist()
    for slot, (batch, entry, at) in zip(slots, _found(readings, entries), strict=True):
        yield Contested(
            position=entry.position,
            item=int(batch.index[at]),
            tag_id=int(tags.tag_id[slot]),
            ts_us=int(batch.ts[at]),
            seq=_seq(batch, at),
            value=_value(batch, at),
            state=_text(batch.states, int(batch.state[at])),
            quality=int(batch.quality[at]),
        )


def repeats_of(parts: Sequence[Columns], entries: Sequence[Entry], tags: TagTable) -> Repeats:
    """Duplicates, as columns."""
    if not parts:
        return Repeats()
    return Repeats(
        position=[entries[number].position for part in parts for number in part.entry.tolist()],
        index=np.concatenate([part.index for part in parts]),
        tag_id=np.concatenate([tags.tag_id[part.slot] for part in parts]),
    )


def as_json(batch: ReadingBatch, at: int) -> bytes:
    """One reading as the writing interface takes it."""
    reading = {
        "tag": batch.paths[batch.tag[at]],
        "ts": int(batch.ts[at]),
        "value": _value(batch, at),
        "state": _text(batch.states, int(batch.state[at])),
        "quality": name_of(int(batch.quality[at])),
        "seq": _seq(batch, at),
        "unit": _text(batch.units, int(batch.unit[at])),
    }
    return msgspec.json.encode({key: value for key, value in reading.items() if value is not None or key == "value"})


def _storable(text: str) -> str:
    """What no text of the database may hold is shown as a question mark; `raw` has it as it came."""
    return text.replace("\0", "?").encode(errors="replace").decode()


def _storable_us(ts_us: int) -> int | None:
    """A time that no calendar has is left to `raw`."""
    return ts_us if TS_MIN_US <= ts_us <= TS_MAX_US else None


def _found(readings: Columns, entries: Sequence[Entry]) -> Iterator[tuple[ReadingBatch, Entry, int]]:
    for number, index in zip(readings.entry.tolist(), readings.index.tolist(), strict=True):
        batch = entries[number].batch
        yield batch, entries[number], int(np.searchsorted(batch.index, index))


def _value(batch: ReadingBatch, at: int) -> float | None:
    value = float(batch.value[at])
    return None if np.isnan(value) else value


def _seq(batch: ReadingBatch, at: int) -> int | None:
    seq = int(batch.seq[at])
    return None if seq == NO_SEQ else seq


def _text(texts: Sequence[str], number: int) -> str | None:
    return None if number == NO_TEXT else texts[number]
