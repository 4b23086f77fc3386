"""Readings that were not stored, in the form in which the store keeps them."""

from collections.abc import Iterator, Sequence

import msgspec
import numpy as np

from penstock.model.batch import NO_SEQ, NO_TEXT, ReadingBatch
from penstock.model.quality import name_of
from penstock.process.columns import Columns
from penstock.process.tags import TagTable
from penstock.process.validate import REASONS
from penstock.store.port import Contested, Held, Repeats
from penstock.stream.port import Entry


def held_of(reason: str, readings: Columns, entries: Sequence[Entry]) -> Iterator[Held]:
    """For quarantine: found again in their entries, so that they are kept as they came."""
    for batch, entry, at in _found(readings, entries):
        yield Held(
            position=entry.position,
            item=int(batch.index[at]),
            path=batch.paths[batch.tag[at]],
            ts_us=int(batch.ts[at]),
            reason=reason,
            detail=REASONS[reason],
            raw=as_json(batch, at),
        )


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
    positions = np.array([entry.position for entry in entries], np.int64)
    return Repeats(
        position=np.concatenate([positions[part.entry] for part in parts]),
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
