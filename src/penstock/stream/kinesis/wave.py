"""Requests that gathered, as one wave: joined, and cut by slice in one stroke, not a request at a time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, chain, count, pairwise
from typing import Final, NamedTuple

import numpy as np

from penstock.errors import TooLarge
from penstock.model.batch import COLUMNS, NO_TEXT, Int32s, Ints, Mask, ReadingBatch
from penstock.model.slices import SLICES, slice_of
from penstock.stream.port import Place
from penstock.stream.spelling import TEXT_LENGTH_MAX

READING_BYTES: Final = 96
"""A reading's columns in a record are never more, compressed or not: ten of 8 bytes, and its value's bits."""
RECORD_BYTES_MAX: Final = 512 * 2**10
"""What a record's readings and texts may come to before compression: far from Kinesis' 1 MiB, whatever they hold."""

Texts = tuple[str, ...]


@dataclass(slots=True, eq=False)
class Ask:
    """What a request has in a lane, under way."""

    number: int
    """The producer's number of the request."""
    received_us: int
    weight: int
    """Bytes that it holds until all of it is acknowledged."""
    left: int = 0
    """Pieces not acknowledged yet."""
    cut: bool = False
    """Whether it was in a wave yet."""
    places: list[Place] = field(default_factory=list)
    """Of its records so far; one that carries two of its pieces is there twice."""

    @property
    def done(self) -> bool:
        return self.cut and self.left == 0


class Waiting(NamedTuple):
    """An ask and its readings, until a wave takes them up."""

    ask: Ask
    batch: ReadingBatch


class Piece(NamedTuple):
    """Readings of one slice that travel in one record."""

    batch: ReadingBatch
    """Its `index` is the reading's place in its request."""
    request: Ints
    """By reading: the request's number."""
    asks: tuple[Ask, ...]
    weight: int
    """What it is in a record, at most."""

    def kept(self) -> "Piece":
        """The piece by itself: what waits must not hold the whole wave in memory."""
        batch = replace(self.batch, **{name: getattr(self.batch, name).copy() for name in COLUMNS})
        return self._replace(batch=batch, request=self.request.copy())


def weight_of(batch: ReadingBatch) -> int:
    """Bytes that a batch is in a record at most. Raises TooLarge for a text that no record takes."""
    tables = (batch.paths, batch.states, batch.units)
    if max(map(len, chain(*tables)), default=0) > TEXT_LENGTH_MAX:
        raise TooLarge(f"a text of a reading has {TEXT_LENGTH_MAX:,} characters at most")
    return len(batch) * READING_BYTES + sum(map(_bytes_of, tables))


def cut_wave(waiting: Sequence[Waiting]) -> Iterator[tuple[int, Piece]]:
    """Every slice's readings in the order they came, as pieces that each fit a record; the asks are counted up.

    A piece's columns are views of the wave's.
    """
    for ask, _ in waiting:
        ask.cut = True
    whole = join([batch for _, batch in waiting])
    of_ask = np.repeat(np.arange(len(waiting), dtype=np.int32), [len(batch) for _, batch in waiting])
    numbers = np.array([ask.number for ask, _ in waiting], np.int64)
    for number, batch, which in _by_slice(whole, of_ask):
        for at, part, weight in _fitting(batch):
            owners = which[at]
            asks = tuple([waiting[i].ask for i in _distinct(owners)])
            for ask in asks:
                ask.left += 1
            yield number, Piece(part, numbers[owners], asks, weight)


def join(batches: Sequence[ReadingBatch]) -> ReadingBatch:
    """All readings in order, by one table of each kind of text."""
    if len(batches) == 1:
        return batches[0]
    paths, tag = _merge([(batch.paths, batch.tag) for batch in batches])
    states, state = _merge([(batch.states, batch.state) for batch in batches])
    units, unit = _merge([(batch.units, batch.unit) for batch in batches])
    ts, value, quality, seq, index = (
        np.concatenate([getattr(batch, name) for batch in batches])
        for name in ("ts", "value", "quality", "seq", "index")
    )
    return ReadingBatch(paths, states, units, tag, ts, value, state, quality, seq, unit, index)


def _merge(spelled: Sequence[tuple[Texts, Int32s]]) -> tuple[Texts, Int32s]:
    """One table for all, at the cost of its texts and not of its readings."""
    codes = np.concatenate([codes for _, codes in spelled])
    first = spelled[0][0]
    if all(texts == first for texts, _ in spelled):
        return first, codes
    texts = list(chain.from_iterable(texts for texts, _ in spelled))
    places = dict(zip(dict.fromkeys(texts), count(), strict=False))
    starts = accumulate((len(texts) for texts, _ in spelled[:-1]), initial=0)
    new = np.fromiter(chain(map(places.__getitem__, texts), (NO_TEXT,)), np.int32, len(texts) + 1)
    shifts = np.repeat(np.fromiter(starts, np.int32, len(spelled)), [codes.size for _, codes in spelled])
    return tuple(places), new[np.where(codes == NO_TEXT, NO_TEXT, codes + shifts)]


def _by_slice(whole: ReadingBatch, of_ask: Int32s) -> Iterator[tuple[int, ReadingBatch, Int32s]]:
    """Slices with their readings, in order; each with a table of its own paths alone, since no two share a path."""
    of_path = np.fromiter(map(slice_of, whole.paths), np.uint8, len(whole.paths))
    path_order = np.argsort(of_path, kind="stable")
    path_starts = np.searchsorted(of_path[path_order], np.arange(SLICES + 1)).tolist()
    place = np.empty(path_order.size, np.int32)
    place[path_order] = np.arange(path_order.size, dtype=np.int32)
    paths = [whole.paths[i] for i in path_order.tolist()]
    of_reading = of_path[whole.tag]
    order = np.argsort(of_reading, kind="stable")  # of bytes: a radix sort
    starts = np.searchsorted(of_reading[order], np.arange(SLICES + 1)).tolist()
    sorted_batch, sorted_asks = whole.pick(order), of_ask[order]
    tag = place[sorted_batch.tag]
    for number, ((lo, hi), (first, last)) in enumerate(zip(pairwise(starts), pairwise(path_starts), strict=True)):
        if lo < hi:
            yield (
                number,
                _segment(sorted_batch, lo, hi, tuple(paths[first:last]), tag[lo:hi] - first),
                sorted_asks[lo:hi],
            )


def _segment(batch: ReadingBatch, lo: int, hi: int, paths: Texts, tag: Int32s) -> ReadingBatch:
    return ReadingBatch(
        paths, batch.states, batch.units, tag, batch.ts[lo:hi], batch.value[lo:hi], batch.state[lo:hi],
        batch.quality[lo:hi], batch.seq[lo:hi], batch.unit[lo:hi], batch.index[lo:hi],
    )  # fmt: skip


def _fitting(batch: ReadingBatch, first: int = 0) -> Iterator[tuple[slice, ReadingBatch, int]]:
    """The batch in as many parts as its weight asks for, mostly itself; where each part's readings were; its weight."""
    if (weight := weight_of(batch)) > RECORD_BYTES_MAX:
        batch = _needed(batch)
        weight = weight_of(batch)
    if len(batch) == 1 or weight <= RECORD_BYTES_MAX:
        yield slice(first, first + len(batch)), batch, weight
        return
    half = np.arange(len(batch)) < len(batch) // 2
    for where, at in ((half, first), (~half, first + len(batch) // 2)):
        yield from _fitting(batch.pick(where), at)


def _needed(batch: ReadingBatch) -> ReadingBatch:
    """Without the texts that no reading has."""
    paths, tag = _used(batch.paths, batch.tag)
    states, state = _used(batch.states, batch.state)
    units, unit = _used(batch.units, batch.unit)
    return replace(batch, paths=paths, tag=tag, states=states, state=state, units=units, unit=unit)


def _used(texts: Texts, codes: Int32s) -> tuple[Texts, Int32s]:
    marks: Mask = np.zeros(len(texts) + 1, np.bool_)
    marks[codes] = True  # NO_TEXT is -1, which marks the place behind the last text
    used = np.flatnonzero(marks[:NO_TEXT])
    places = np.full(len(texts) + 1, NO_TEXT, np.int32)
    places[used] = np.arange(used.size, dtype=np.int32)
    return tuple([texts[i] for i in used.tolist()]), places[codes]


def _distinct(ascending: Int32s) -> list[int]:
    if ascending[0] == ascending[-1]:
        return [int(ascending[0])]
    return [int(ascending[0]), *ascending[1:][ascending[1:] != ascending[:-1]].tolist()]


def _bytes_of(texts: Texts) -> int:
    """With a separator for each, which takes 4 bytes at most."""
    return len("".join(texts).encode()) + 4 * len(texts)
