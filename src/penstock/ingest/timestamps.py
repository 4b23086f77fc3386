"""Source times to microseconds since 1970: RFC 3339 texts a block at a time, everything odd one by one."""

import re
from collections.abc import Sequence
from datetime import date
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from penstock.ingest.refusal import NUMBER, Code
from penstock.model.batch import Ints

Given = int | str | None
Verdicts = NDArray[np.int8]

DAY_US: Final = 86_400_000_000
_EPOCH_DAY: Final = date(1970, 1, 1).toordinal()
US_MIN: Final = (date(1, 1, 1).toordinal() - _EPOCH_DAY) * DAY_US
US_MAX: Final = (date(9999, 12, 31).toordinal() - _EPOCH_DAY + 1) * DAY_US - 1
_BLOCK_MIN: Final = 16
"""Fewer are read one by one: a block costs as much as this many."""
_SHORTEST: Final = len("2026-11-20T08:00:00Z")
_LONGEST: Final = 48
_RFC3339: Final = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:[Zz]|([+-])(\d\d):(\d\d))", re.ASCII
)
_ZONELESS: Final = re.compile(r"\d{4}-\d\d-\d\d(?:[Tt ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?)?", re.ASCII)
# where the digits of YYYY-MM-DDTHH:MM:SS stand, number by number
_CLOCK: Final = ((0, 1, 2, 3), (5, 6), (8, 9), (11, 12), (14, 15), (17, 18))
_FRACTION_AT: Final = 20
_FRACTION_DIGITS: Final = 6


def to_us(given: Sequence[Given]) -> tuple[Ints, Verdicts]:
    """Microseconds since 1970 UTC, and for each a verdict: 0, or the number of a `ts_…` code."""
    if len(given) < _BLOCK_MIN:
        return _each(given)
    kinds = set(map(type, given))
    if kinds == {str}:
        return _texts(given)  # type: ignore[arg-type]  # just seen: all are texts
    if kinds == {int}:
        return _integers(given)  # type: ignore[arg-type]  # just seen: all are integers
    return _each(given)


def _integers(given: Sequence[int]) -> tuple[Ints, Verdicts]:
    try:
        us = np.array(given, np.int64)
    except OverflowError:
        return _each(given)
    outside = (us < US_MIN) | (us > US_MAX)
    return us, outside * np.int8(NUMBER[Code.TS_OUT_OF_RANGE])


def _texts(given: Sequence[str]) -> tuple[Ints, Verdicts]:
    """Texts of one length are one block; senders that trim zeros make a few lengths."""
    lengths = np.minimum(np.fromiter(map(len, given), np.int64, len(given)), _LONGEST + 1)
    if (lengths == lengths[0]).all():
        return _block(given, int(lengths[0]))
    us, verdicts = np.zeros(len(given), np.int64), np.zeros(len(given), np.int8)
    for length in np.unique(lengths):
        where = np.flatnonzero(lengths == length)
        us[where], verdicts[where] = _block([given[i] for i in where.tolist()], int(length))
    return us, verdicts


class _Layout(NamedTuple):
    """Where digits and separators stand in a text of one length, and what each digit is worth to each number."""

    digits: NDArray[np.intp]
    separators: NDArray[np.intp]
    weights: NDArray[np.float64]
    """(digits, 9): year month day hour minute second microsecond offset-hour offset-minute."""


@lru_cache(maxsize=256)
def _layout(length: int, zulu: bool) -> _Layout | None:
    zone_at = length - (1 if zulu else len("+00:00"))
    if zone_at < _FRACTION_AT - 1 or zone_at == _FRACTION_AT:
        return None
    fraction = tuple(range(_FRACTION_AT, zone_at))
    offset = () if zulu else ((zone_at + 1, zone_at + 2), (zone_at + 4, zone_at + 5))
    worth = [(at, number, 10.0 ** (len(ats) - 1 - k)) for number, ats in enumerate(_CLOCK) for k, at in enumerate(ats)]
    # nanoseconds are cut to microseconds
    worth += [(at, 6, 10.0 ** (5 - k) if k < _FRACTION_DIGITS else 0.0) for k, at in enumerate(fraction)]
    worth += [(at, 7 + number, 10.0 ** (1 - k)) for number, ats in enumerate(offset) for k, at in enumerate(ats)]
    digits = [at for at, _, _ in worth]
    weights = np.zeros((len(digits), 9))
    for row, (_, number, factor) in enumerate(worth):
        weights[row, number] = factor
    separators = sorted(set(range(length)) - set(digits))
    return _Layout(np.array(digits), np.array(separators), weights)


def _block(texts: Sequence[str], length: int) -> tuple[Ints, Verdicts]:
    """Texts of one length, all at once if the first is right; those unlike it one by one."""
    layout = _layout(length, texts[0][-1:] in "Zz") if _SHORTEST <= length <= _LONGEST else None
    if layout is None or isinstance(_one(texts[0]), Code) or not (joined := "".join(texts)).isascii():
        return _each(texts)
    chars = np.frombuffer(joined.encode(), np.uint8).reshape(len(texts), length)
    us, plain = _read_block(chars, layout)
    verdicts = np.zeros(len(texts), np.int8)
    odd = np.flatnonzero(~plain)
    if odd.size:
        us[odd], verdicts[odd] = _each([texts[i] for i in odd.tolist()])
    return us, verdicts


def _read_block(chars: NDArray[np.uint8], layout: _Layout) -> tuple[Ints, NDArray[np.bool_]]:
    """Microseconds, and which rows are plainly right; the others' numbers mean nothing."""
    digits = chars[:, layout.digits] - np.uint8(ord("0"))  # below `0` wraps round, and is above 9 as well
    alike = (chars[:, layout.separators] == chars[0, layout.separators]).all(axis=1)
    numbers = digits @ layout.weights
    dates = numbers[:, :3]
    if (dates == dates[0]).all():
        dates = dates[:1]  # a batch is mostly of one day: broadcast it
    days, is_date = _days(dates.astype(np.int64))
    is_time = (numbers[:, 3:] < (24, 60, 60, 1e6, 24, 60)).all(axis=1)
    behind_us = numbers[:, 7:] @ (3.6e9, 6e7) * (1 if chars[0, layout.separators[-2]] == ord("+") else -1)
    since_midnight_us = numbers[:, 3:7] @ (3.6e9, 6e7, 1e6, 1.0) - behind_us
    us = days * DAY_US + since_midnight_us.astype(np.int64)
    inside = (us >= US_MIN) & (us <= US_MAX)
    return us, (digits <= 9).all(axis=1) & alike & is_date & is_time & inside  # noqa: PLR2004  # the digits


def _days(dates: NDArray[np.int64]) -> tuple[Ints, NDArray[np.bool_]]:
    """Days since 1970 of (n, 3) year month day, and which of them exist."""
    year, month, day = dates.T
    months = ((year - 1970) * 12 + month - 1).astype("M8[M]")
    first = months.astype("M8[D]").astype(np.int64)
    length = (months + 1).astype("M8[D]").astype(np.int64) - first
    return first + day - 1, (year >= 1) & (month >= 1) & (month <= 12) & (day >= 1) & (day <= length)  # noqa: PLR2004


def _each(given: Sequence[Given]) -> tuple[Ints, Verdicts]:
    us, verdicts = np.zeros(len(given), np.int64), np.zeros(len(given), np.int8)
    for i, one in enumerate(given):
        read = _one(one)
        if isinstance(read, Code):
            verdicts[i] = NUMBER[read]
        else:
            us[i] = read
    return us, verdicts


def _one(given: Given) -> int | Code:
    if given is None:
        return Code.TS_MISSING
    us = given if isinstance(given, int) else _one_text(given)
    if isinstance(us, Code):
        return us
    return us if US_MIN <= us <= US_MAX else Code.TS_OUT_OF_RANGE


def _one_text(text: str) -> int | Code:
    if len(text) > _LONGEST:
        return Code.TS_INVALID
    match = _RFC3339.fullmatch(text)
    if match is None:
        return Code.TS_ZONELESS if _ZONELESS.fullmatch(text) else Code.TS_INVALID
    year, month, day, hour, minute, second = map(int, match.groups()[:6])
    fraction, sign, zone_hour, zone_minute = match.groups()[6:]
    ahead_minutes = int(zone_hour or 0) * 60 + int(zone_minute or 0)
    try:
        days = date(year, month, day).toordinal() - _EPOCH_DAY
    except ValueError:
        return Code.TS_INVALID
    if hour > 23 or minute > 59 or second > 59 or int(zone_hour or 0) > 23 or int(zone_minute or 0) > 59:  # noqa: PLR2004
        return Code.TS_INVALID
    seconds = hour * 3600 + minute * 60 + second - (-ahead_minutes if sign == "-" else ahead_minutes) * 60
    micros = int((fraction or "")[:_FRACTION_DIGITS].ljust(_FRACTION_DIGITS, "0"))
    return days * DAY_US + seconds * 1_000_000 + micros
