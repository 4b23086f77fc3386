"""A lane's belts: what waits on each, and the one record of each that is not acknowledged. No I/O, and no clock."""

import random
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Final, NamedTuple
from uuid import UUID

import numpy as np

from penstock.model.batch import Lane
from penstock.model.slices import SLICES, hash_key
from penstock.stream.kinesis.client import Outgoing
from penstock.stream.kinesis.wave import RECORD_BYTES_MAX, Ask, Piece, Waiting, cut_wave, join
from penstock.stream.port import Place
from penstock.stream.wire import Stamp, encode_joined

WAVE_READINGS_MAX: Final = 50_000
"""Cut at a time: what is more waits for the next wave, so that nothing else waits for long."""

_DOUBLINGS_MAX: Final = 20


class Pace(NamedTuple):
    """When a lane's waiting readings leave, in seconds."""

    linger_s: float
    """Between two waves at least."""
    gather_s: float
    """After a pause a wave waits only so long: for what comes at the same moment."""
    records_per_s: float
    """At most, but for one wave: beyond, waves follow each other more slowly, and their records get fuller."""
    retry_first_s: float
    retry_max_s: float
    """A record is tried again after a random part of retry_first_s, then of twice that, up to retry_max_s."""


@dataclass(slots=True, eq=False)
class Record:
    """A record until it is acknowledged; sent again, it is the same to the byte."""

    belt: "Belt"
    data: bytes
    readings: int
    counted: int
    received_us: int
    asks: tuple[Ask, ...]
    """Of its pieces, one after the other; one may be there more than once."""
    tries: int = 0

    @property
    def size_bytes(self) -> int:
        return len(self.data) + len(self.belt.partition)

    def outgoing(self) -> Outgoing:
        return {"Data": self.data, "PartitionKey": self.belt.partition, "ExplicitHashKey": self.belt.hash_key}


@dataclass(slots=True, eq=False)
class Belt:
    """A slice in a lane. At most one of its records is under way, so they arrive in the order of their count."""

    number: int
    partition: str
    hash_key: str
    counted: int = 0
    """Readings in records so far, the one under way included."""
    acked: int = 0
    pieces: deque[Piece] = field(default_factory=deque)
    record: Record | None = None


class Belts:
    """What a lane's requests become; times are the event loop's, in seconds."""

    def __init__(self, lane: Lane, producer: UUID, pace: Pace) -> None:
        first = SLICES if lane is Lane.CRITICAL else 0
        self._belts = [Belt(first + number, str(first + number), str(hash_key(number))) for number in range(SLICES)]
        self._producer = producer
        self._pace = pace
        self._waiting: deque[Waiting] = deque()
        self._loaded: set[Belt] = set()
        """Idle, with pieces waiting."""
        self._again: list[tuple[float, Record]] = []
        """Records to try again, and from when on."""
        self._under_way = 0
        self._waits_since_s = 0.0
        """When the first of what waits came."""
        self._open_s = self._paid_s = 0.0
        """When the next wave may leave, and until when the records that left are within their rate."""

    @property
    def idle(self) -> bool:
        """Nothing waits, and all is acknowledged."""
        return not (self._waiting or self._loaded or self._under_way)

    def acked(self) -> dict[int, int]:
        """Readings acknowledged, by belt that ever had any."""
        return {belt.number: belt.acked for belt in self._belts if belt.acked}

    def add(self, ask: Waiting, now_s: float) -> None:
        if not self._waiting:
            self._waits_since_s = now_s
        self._waiting.append(ask)

    def due_s(self) -> float:
        """When `records` next has any; infinite until something is added, or answered."""
        retry_s = min((due_s for due_s, _ in self._again), default=float("inf"))
        if self._under_way == len(self._belts) or not (self._waiting or self._loaded):
            return retry_s
        gathered_s = self._waits_since_s + self._pace.gather_s if self._waiting else 0.0
        return min(retry_s, max(gathered_s, self._open_s))

    def records(self, now_s: float) -> Iterator[Record]:
        """What is to be sent now: first what is to be tried again, then a wave if it is time. Take all of it."""
        due = [record for due_s, record in self._again if due_s <= now_s]
        self._again = [(due_s, record) for due_s, record in self._again if due_s > now_s]
        yield from due
        if self.due_s() <= now_s:
            yield from self._wave(now_s)

    def acknowledge(self, record: Record, place: Place) -> None:
        """The record is durable at *place*."""
        belt = record.belt
        belt.record, belt.acked = None, record.counted
        self._under_way -= 1
        if belt.pieces:
            self._loaded.add(belt)
        for ask in record.asks:
            ask.left -= 1
            ask.places.append(place)

    def fail(self, records: Sequence[Record], now_s: float) -> None:
        """The records failed as one, and are to be sent again at one time, after a while."""
        tries = max(record.tries for record in records)
        most_s = min(self._pace.retry_max_s, self._pace.retry_first_s * 2 ** min(tries, _DOUBLINGS_MAX))
        due_s = now_s + random.uniform(0, most_s)  # noqa: S311  # jitter, no secret
        for record in records:
            record.tries += 1
            self._again.append((due_s, record))

    def _wave(self, now_s: float) -> Iterator[Record]:
        if self._waiting:
            for number, piece in cut_wave(self._gathered()):
                self._load(self._belts[number], piece)
        ready, self._loaded = self._loaded, set()
        self._paid_s = max(self._paid_s, now_s) + len(ready) / self._pace.records_per_s
        self._open_s = max(now_s + self._pace.linger_s, self._paid_s - len(self._belts) / self._pace.records_per_s)
        self._under_way += len(ready)
        for belt in ready:
            yield self._record(belt)

    def _gathered(self) -> Sequence[Waiting]:
        taken = [self._waiting.popleft()]
        readings = len(taken[0].batch)
        while self._waiting and (readings := readings + len(self._waiting[0].batch)) <= WAVE_READINGS_MAX:
            taken.append(self._waiting.popleft())
        return taken

    def _load(self, belt: Belt, piece: Piece) -> None:
        if belt.record is None:
            self._loaded.add(belt)
            belt.pieces.append(piece)
        else:
            belt.pieces.append(piece.kept())

    def _record(self, belt: Belt) -> Record:
        pieces = _together(belt.pieces)
        batch, request = join([piece.batch for piece in pieces]), np.concatenate([piece.request for piece in pieces])
        asks = tuple(chain.from_iterable(piece.asks for piece in pieces))
        belt.counted += len(batch)
        received_us = asks[0].received_us
        data = encode_joined(Stamp(self._producer, belt.number, belt.counted), received_us, batch, request)
        belt.record = Record(belt, data, len(batch), belt.counted, received_us, asks)
        return belt.record


def _together(pieces: deque[Piece]) -> list[Piece]:
    """The first pieces that fit a record."""
    taken = [pieces.popleft()]
    weight = taken[0].weight
    while pieces and (weight := weight + pieces[0].weight) <= RECORD_BYTES_MAX:
        taken.append(pieces.popleft())
    return taken
