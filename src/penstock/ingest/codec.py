"""The only parser of readings, and its inverse."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

import msgspec
import numpy as np

from penstock.errors import Rejected
from penstock.ingest.forms import Parsed, parse_json, parse_lines
from penstock.ingest.judge import judge
from penstock.ingest.refusal import LISTED_MAX, NUMBERED, Code, Refusal
from penstock.ingest.timestamps import Verdicts
from penstock.model.batch import NO_SEQ, NO_TEXT, Int32s, Ints, Mask, ReadingBatch, batch_of
from penstock.model.quality import name_of

JSON_TYPES: Final = frozenset({"application/json", "text/json", ""})
LINES_TYPES: Final = frozenset({"application/x-ndjson", "application/ndjson", "application/jsonl"})
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Caps(NamedTuple):
    """How much one request may carry."""

    items_max: int = 20_000
    depth_max: int = 8


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """What a body held: the readings that may be taken, and the items that may not."""

    batch: ReadingBatch
    refusals: Sequence[Refusal]
    """The first LISTED_MAX, by index."""
    counts: Mapping[Code, int]
    """All of them."""
    items: int

    @property
    def refused(self) -> int:
        return sum(self.counts.values())


def decode(body: bytes, content_type: str, caps: Caps) -> Decoded:
    """A body's readings, with a verdict for each.

    Raises Undecodable for what is not JSON, TooLarge beyond *caps*, and Rejected (`content_type`, `empty`,
    `form_unknown`, `columns_unequal`) for a body that cannot be told apart into items.
    """
    parsed = _parse(body, content_type.partition(";")[0].strip().lower(), caps)
    if not parsed.fields.tag:
        return Decoded(_NOTHING, parsed.refused[:LISTED_MAX], _count(parsed.refused), parsed.items)
    n = len(parsed.fields.tag)
    index = np.arange(n, dtype=np.int32) if parsed.places is None else np.array(parsed.places, np.int32)
    batch, verdicts = judge(parsed.fields, index)
    if not parsed.refused and not verdicts.any():
        return Decoded(batch, (), {}, parsed.items)
    refused = sorted([*parsed.refused, *_refusals(index, verdicts)])
    return Decoded(narrow(batch, verdicts == 0), refused[:LISTED_MAX], _count(refused), parsed.items)


def _parse(body: bytes, media_type: str, caps: Caps) -> Parsed:
    if media_type in JSON_TYPES:
        return parse_json(body, caps.items_max, caps.depth_max)
    if media_type in LINES_TYPES:
        return parse_lines(body, caps.items_max)
    raise Rejected("send application/json or application/x-ndjson", code="content_type")


def _refusals(index: Int32s, verdicts: Verdicts) -> list[Refusal]:
    return [Refusal(int(index[at]), NUMBERED[verdicts[at] - 1]) for at in np.flatnonzero(verdicts)]


def _count(refused: Sequence[Refusal]) -> dict[Code, int]:
    counts: dict[Code, int] = {}
    for refusal in refused:
        counts[refusal.code] = counts.get(refusal.code, 0) + 1
    return counts


_NOTHING: Final = batch_of((), (), (), ())


def narrow(batch: ReadingBatch, where: Mask | Ints) -> ReadingBatch:
    """The readings at *where*, without the texts that only the others had."""
    picked = batch.pick(where)
    paths, tag = _needed(batch.paths, picked.tag)
    states, state = _needed(batch.states, picked.state)
    units, unit = _needed(batch.units, picked.unit)
    columns = (picked.ts, picked.value, state, picked.quality, picked.seq, unit, picked.index)
    return ReadingBatch(paths, states, units, tag, *columns)


def _needed(texts: tuple[str, ...], codes: Int32s) -> tuple[tuple[str, ...], Int32s]:
    used = np.unique(codes[codes != NO_TEXT])
    place = np.full(len(texts) + 1, NO_TEXT, np.int32)  # the last element answers for NO_TEXT, which is -1
    place[used] = np.arange(used.size, dtype=np.int32)
    return tuple([texts[i] for i in used]), place[codes]


def render(batch: ReadingBatch, i: int) -> bytes:
    """Reading *i* as JSON, as the writing interface takes it; decoding it gives the same reading to the bit."""
    value, state = batch.value[i], batch.state[i]
    seq, unit = int(batch.seq[i]), batch.unit[i]
    reading: dict[str, object] = {
        "tag": batch.paths[batch.tag[i]],
        "ts": rfc3339(int(batch.ts[i])),
        "value": None if np.isnan(value) else float(value),
        "state": None if state == NO_TEXT else batch.states[state],
        "quality": name_of(int(batch.quality[i])),
    }
    if seq != NO_SEQ:
        reading["seq"] = seq
    if unit != NO_TEXT:
        reading["unit"] = batch.units[unit]
    return msgspec.json.encode(reading)


def rfc3339(us: int) -> str:
    """Microseconds since 1970 as RFC 3339 in UTC, with six decimals."""
    return (_EPOCH + timedelta(microseconds=us)).strftime("%Y-%m-%dT%H:%M:%S.%fZ").zfill(27)
