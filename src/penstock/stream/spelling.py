"""Texts of a record: of several batches' tables one, with only what their readings use; and as one run of bytes."""

from collections.abc import Iterable, Sequence
from itertools import accumulate, count, pairwise
from typing import Final, NamedTuple

import numpy as np

from penstock.errors import TooLarge, Undecodable
from penstock.model.batch import NO_TEXT, Int32s

TEXT_LENGTH_MAX: Final = 1_024
"""Characters of a path, a state or a unit; the doors allow far less."""

Texts = tuple[str, ...]


class Spelling(NamedTuple):
    """Readings' texts: a table, and each reading's place in it or NO_TEXT."""

    texts: Texts
    codes: Int32s


def respell(spellings: Sequence[Spelling]) -> Spelling:
    """All readings in order, by one table that holds no text twice and none that is not used."""
    first = spellings[0].texts
    codes = np.concatenate([spelling.codes for spelling in spellings])
    if all(texts is first or texts == first for texts, _ in spellings):
        return _used(first, codes)
    if sum(len(texts) for texts, _ in spellings) < codes.size:
        return _used(*_by_table(spellings))
    return _by_reading(spellings)


def join_texts(texts: Sequence[str]) -> tuple[str, bytes]:
    """The separator, which is a character that none of *texts* holds, and all of them as bytes. Raises TooLarge."""
    if max(map(len, texts), default=0) > TEXT_LENGTH_MAX:
        raise TooLarge(f"a text of a record has {TEXT_LENGTH_MAX:,} characters at most")
    together = "".join(texts)
    separator = next(character for character in map(chr, count()) if character not in together)
    return separator, separator.join(texts).encode()


def split_texts(data: memoryview, separator: str, sizes: Sequence[int]) -> list[Texts]:
    """As many tables as *sizes* says. Raises Undecodable when these are not as many texts, or too long ones."""
    try:
        together = str(data, "utf-8")
    except UnicodeDecodeError as error:
        raise Undecodable("a record's texts are no UTF-8") from error
    if together.count(separator) != max(sum(sizes) - 1, 0):  # counted first: splitting makes an object for each
        raise Undecodable("a record holds not as many texts as it says")
    texts = together.split(separator) if any(sizes) else []
    if max(map(len, texts), default=0) > TEXT_LENGTH_MAX:
        raise Undecodable("a record holds a text that is too long")
    return [tuple(texts[start:end]) for start, end in pairwise(accumulate(sizes, initial=0))]


def _used(texts: Texts, codes: Int32s) -> Spelling:
    if not texts:
        return Spelling(texts, codes)
    used = np.zeros(len(texts) + 1, np.bool_)
    used[codes] = True  # NO_TEXT is -1, which marks the place behind the last text
    kept = used[:NO_TEXT].nonzero()[0]
    if kept.size == len(texts):
        return Spelling(texts, codes)
    places = np.full(len(texts) + 1, NO_TEXT, np.int32)
    places[kept] = np.arange(kept.size)
    return Spelling(tuple(map(texts.__getitem__, kept.tolist())), places[codes])


def _by_table(spellings: Iterable[Spelling]) -> Spelling:
    places: dict[str, int] = {}
    codes = [
        np.array([*(places.setdefault(text, len(places)) for text in texts), NO_TEXT], np.int32)[codes]
        for texts, codes in spellings
    ]
    return Spelling(tuple(places), np.concatenate(codes))


def _by_reading(spellings: Iterable[Spelling]) -> Spelling:
    spelled: list[str | None] = []
    for texts, codes in spellings:
        spelled += map((*texts, None).__getitem__, codes.tolist())
    places = dict(zip(dict.fromkeys((None, *spelled)), count(NO_TEXT), strict=False))
    codes = np.fromiter(map(places.__getitem__, spelled), np.int32, len(spelled))
    return Spelling(tuple(places)[1:], codes)  # type: ignore[arg-type]  # only the first is None
