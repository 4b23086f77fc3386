"""The rules that types cannot say, over columns: which readings make a batch, and why the others do not."""

from collections.abc import Callable, Collection, Sequence
from typing import Final, cast

import numpy as np

from penstock.ingest.forms import Fields
from penstock.ingest.refusal import NUMBER, Code
from penstock.ingest.timestamps import Given, Verdicts, to_us
from penstock.model.batch import NO_SEQ, NO_TEXT, Floats, Int32s, Ints, Mask, ReadingBatch
from penstock.model.quality import Quality, is_bad
from penstock.model.tag import is_path

STATE_LENGTH_MAX: Final = 64
UNIT_LENGTH_MAX: Final = 32
KNOWN_PATHS_MAX: Final = 200_000
_QUALITY: Final[dict[str | int | None, int]] = {None: 0, **{quality.name.lower(): int(quality) for quality in Quality}}

_known: set[str] = set()
"""Paths that were found right before; bounded, and emptied when full."""


def judge(fields: Fields, index: Int32s) -> tuple[ReadingBatch, Verdicts]:
    """All n readings as a batch, and n verdicts: only where it is 0 do the columns mean something."""
    n = index.size
    paths, tag, bad_tag = _coded(fields.tag, _not_paths)
    states, state, bad_state = _coded_or_none(fields.state, STATE_LENGTH_MAX, n)
    units, unit, bad_unit = _coded_or_none(fields.unit, UNIT_LENGTH_MAX, n)
    ts, verdicts = _times(fields, bad_tag)
    value, quality = _values(fields.value, n), _qualities(fields.quality, n)
    _check_content(verdicts, value, state, quality)
    _mark(verdicts, bad_state, Code.STATE_INVALID)
    _mark(verdicts, bad_unit, Code.UNIT_INVALID)
    seq = _seqs(fields.seq, n)
    return ReadingBatch(paths, states, units, tag, ts, value, state, quality, seq, unit, index), verdicts


def _mark(verdicts: Verdicts, where: Mask | None, code: Code) -> None:
    """The first reason found is the one that is told."""
    if where is not None:
        verdicts[where & (verdicts == 0)] = NUMBER[code]


def _check_content(verdicts: Verdicts, value: Floats, state: Int32s, quality: Ints) -> None:
    """Exactly one of value and state; neither only where quality is bad. JSON has no infinity, so none is here."""
    lacks_value, lacks_state = np.isnan(value), state == NO_TEXT
    if (lacks_value ^ lacks_state).all():
        return
    _mark(verdicts, ~(lacks_value | lacks_state), Code.VALUE_AND_STATE)
    _mark(verdicts, lacks_value & lacks_state & ~is_bad(quality), Code.VALUE_MISSING)


def _times(fields: Fields, bad_tag: Mask | None) -> tuple[Ints, Verdicts]:
    """Source times, and verdicts that hold what is wrong with tag and time so far."""
    given, twice = _either(fields.ts, fields.source_ts)
    ts, wrong = to_us(given)
    if bad_tag is None and twice is None:
        return ts, wrong
    verdicts = np.zeros(ts.size, np.int8)
    _mark(verdicts, bad_tag, Code.TAG_INVALID)
    _mark(verdicts, twice, Code.TS_TWICE)
    return ts, np.where(verdicts == 0, wrong, verdicts)


def _either(ts: Sequence[Given], source_ts: Sequence[Given] | None) -> tuple[Sequence[Given], Mask | None]:
    """`ts` under whichever of its names, and where both were given."""
    if source_ts is None:
        return ts, None
    pairs = list(zip(ts, source_ts, strict=True))
    twice = np.array([a is not None and b is not None for a, b in pairs], np.bool_)
    return [b if a is None else a for a, b in pairs], twice


def _coded_or_none(
    texts: Sequence[str | None] | None, length_max: int, n: int
) -> tuple[tuple[str, ...], Int32s, Mask | None]:
    if texts is None:
        return (), np.full(n, NO_TEXT, np.int32), None
    return _coded(texts, lambda distinct: {text for text in distinct if not _is_label(text, length_max)})


def _is_label(text: str, length_max: int) -> bool:
    """Not empty, not too long, and nothing that cannot be printed: controls, format marks, lone surrogates."""
    return 0 < len(text) <= length_max and text.isprintable()


def _coded(
    texts: Sequence[str | None], bad_among: Callable[[Collection[str]], set[str]]
) -> tuple[tuple[str, ...], Int32s, Mask | None]:
    """Distinct texts, each reading's position among them, and where the text is not allowed (None: nowhere)."""
    place: dict[str | None, int] = dict.fromkeys(texts, NO_TEXT)
    place.pop(None, None)
    distinct = cast(tuple[str, ...], tuple(place))
    place.update(zip(distinct, range(len(distinct)), strict=True))
    place[None] = NO_TEXT
    codes = np.fromiter(map(place.__getitem__, texts), np.int32, len(texts))
    bad = bad_among(distinct)
    return distinct, codes, np.isin(codes, [place[text] for text in bad]) if bad else None


def _not_paths(paths: Collection[str]) -> set[str]:
    if _known.issuperset(paths):
        return set()
    new = set(paths) - _known
    bad = {path for path in new if not is_path(path)}
    if len(_known) + len(new) > KNOWN_PATHS_MAX:
        _known.clear()
    _known.update(new - bad)
    return bad


def _values(given: Sequence[float | None] | None, n: int) -> Floats:
    return np.full(n, np.nan) if given is None else np.array(given, np.float64)  # a None becomes NaN


def _qualities(given: Sequence[str | int | None] | None, n: int) -> Ints:
    if given is None:
        return np.zeros(n, np.int64)
    return np.array([_QUALITY.get(quality, quality) for quality in given], np.int64)


def _seqs(given: Sequence[int | None] | None, n: int) -> Ints:
    if given is None:
        return np.full(n, NO_SEQ, np.int64)
    return np.array([NO_SEQ if seq is None else seq for seq in given], np.int64)
