"""What a flush of a shared stream sees of its producers' counts: repeats are passed over, gaps show in the books."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

from penstock.process.outcome import MINUTE_US
from penstock.store.port import FOREIGN, Arrivals
from penstock.stream.port import Entry

Seen = dict[tuple[UUID, int], int]
"""By producer and belt: its count in the last entry that was committed."""


class Arrived(NamedTuple):
    """The entries that were not there before, and what is to be noted of all."""

    entries: list[Entry]
    arrivals: Arrivals


def arrived(entries: Sequence[Entry], seen: Mapping[tuple[UUID, int], int], own_belt: int = 0) -> Arrived:
    """Sort out entries that a producer put again because it had no answer: their count is not above what was seen.

    *own_belt*: under which foreign readings are added up; no two units have the same.
    """
    fresh: list[Entry] = []
    counted: Seen = {}
    by_minute: Seen = {}
    requests: dict[UUID, tuple[int, int]] = {}
    repeated: list[int] = []
    for entry in entries:
        producer = FOREIGN if entry.origin is None else entry.origin.producer
        if entry.origin is None:
            counted[FOREIGN, own_belt] = counted.get((FOREIGN, own_belt), 0) + readings_of(entry)
        else:
            belt = producer, entry.origin.belt
            if entry.origin.counted <= counted.get(belt, seen.get(belt, 0)):
                repeated.append(entry.position)
                continue
            counted[belt] = entry.origin.counted
            requests[producer] = _wider(requests.get(producer), entry)
        fresh.append(entry)
        minute = producer, entry.received_us // MINUTE_US * MINUTE_US
        by_minute[minute] = by_minute.get(minute, 0) + readings_of(entry)
    return Arrived(fresh, Arrivals(counted, by_minute, requests, repeated))


def readings_of(entry: Entry) -> int:
    """What an entry brought: poison is accounted for like any reading."""
    return len(entry.batch) + len(entry.poison)


def _wider(before: tuple[int, int] | None, entry: Entry) -> tuple[int, int]:
    assert entry.origin is not None
    lo, hi = int(entry.origin.request.min()), int(entry.origin.request.max())
    return (lo, hi) if before is None else (min(lo, before[0]), max(hi, before[1]))
