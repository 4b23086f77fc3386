"""The last hour of every tag in figures: count, extremes, mean, deviation, first and last, by short buckets.

Readings are summed up by source time into buckets 1 s wide, kept for windows of up to 300 s, and 10 s wide, kept for
windows of up to 3,600 s. A window consists of whole buckets: it begins up to one bucket (1 s or 10 s) before the time
asked for, never after it, and ends with the bucket of the time asked at. Only good and uncertain values count.

A bucket is 88 bytes, so a tag that speaks every second takes (300 + 360) x 88 = 58 kB; one that speaks every minute
5 kB; at most 74 kB, when what has left the windows waits to be swept.
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, NamedTuple, Protocol
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from penstock.model.batch import Floats, Int32s, Ints
from penstock.model.quality import is_bad
from penstock.store.encode import starts_of

SECOND_US: Final = 1_000_000
WINDOW_MAX_S: Final = 3_600
PAGE_TAGS: Final = 16
"""Neighbours whose buckets of one interval are kept, and written, together."""

BUCKET: Final = np.dtype(
    [
        ("tag", "<i4"), ("n", "<i4"), ("mean", "<f8"), ("m2", "<f8"), ("lo", "<f8"), ("hi", "<f8"),
        ("first_ts", "<i8"), ("first_seq", "<i8"), ("first", "<f8"), ("last_ts", "<i8"), ("last_seq", "<i8"),
        ("last", "<f8"),
    ]
)  # fmt: skip
"""`m2` is the sum of squares about the mean, which cancels nothing: merged by Chan, Golub and LeVeque (1979)."""
Buckets = NDArray[np.void]
"""One row a tag and interval; each lies in the interval of its first reading."""

Shard = tuple[str, str]
"""Stream and shard."""
Heads = Mapping[Shard, int]
"""How far each shard is followed; 0 where it is not listed."""


class Tier(NamedTuple):
    """Buckets of one width, and how long a window is read from them."""

    width_us: int
    span_us: int

    @property
    def buckets_max(self) -> int:
        """Intervals of a page beyond which those that left the window are swept."""
        return self.span_us // self.width_us + 60

    def horizon(self, now_us: int) -> int:
        """The first interval that a window may still need."""
        return (now_us - self.span_us) // self.width_us


FINE: Final = Tier(SECOND_US, 300 * SECOND_US)
COARSE: Final = Tier(10 * SECOND_US, WINDOW_MAX_S * SECOND_US)
TIERS: Final = (FINE, COARSE)


@dataclass(frozen=True, slots=True, eq=False)
class Fold:
    """What the flushes between two looks add to the windows: fine buckets, before <= positions < heads."""

    buckets: Buckets
    before: Heads
    heads: Heads

    def and_then(self, later: "Fold") -> "Fold":
        """Both, one after the other."""
        buckets = np.concatenate([self.buckets, later.buckets])
        return Fold(buckets, {**later.before, **self.before}, {**self.heads, **later.heads})


class Summary(NamedTuple):
    """A window in figures; not finite where values are too large for it."""

    n: int
    lo: float
    hi: float
    mean: float
    std: float
    """Of the sample; 0 for a single value."""
    rate_per_s: float
    """NaN where all readings are of one moment."""
    last: float


class WindowCache(Protocol):
    """A cache: it may lose everything at any time; then it knows nothing, and says so, but never too little."""

    async def begin(self, fold: Fold, since_us: int) -> str:
        """Empty it and begin with *fold*, which holds all readings with ts >= *since_us*; the new generation."""
        ...

    async def put(self, fold: Fold, now_us: int) -> bool:
        """Add *fold*, once: nothing changes when it has been added before. What left the windows is forgotten.

        False: it does not follow what is held (flushes between are missing, or everything is): `begin` anew.
        Raises Unavailable, then the fold may or may not have been added: put it again.
        """
        ...

    async def get(self, tag_id: int, seconds: float, now_us: int) -> Summary | None:
        """The window that ends now; None where it cannot be told in full: ask the history. Raises Unavailable."""
        ...

    async def generation(self) -> str | None:
        """Stays the same as long as nothing was lost; None before `begin`."""
        ...

    async def heads(self) -> Heads:
        """How far each shard is added."""
        ...

    async def complete_since(self) -> int | None:
        """Every reading with this source time (microseconds) or a later one is in; None before `begin`."""
        ...

    async def close(self) -> None: ...


def buckets_of(tag: Int32s, ts: Ints, seq: Ints, value: Floats, quality: Ints) -> Buckets:
    """Fine buckets of readings sorted by (tag, ts, seq). One pass over the columns."""
    counts = ~(is_bad(quality) | np.isnan(value))
    if not counts.all():
        tag, ts, seq, value = tag[counts], ts[counts], seq[counts], value[counts]
    if not ts.size:
        return np.empty(0, BUCKET)
    starts = starts_of(tag, ts // FINE.width_us)
    ends = np.append(starts[1:], ts.size) - 1
    n = ends - starts + 1
    made = np.empty(starts.size, BUCKET)
    made["tag"], made["n"] = tag[starts], n
    with np.errstate(over="ignore", invalid="ignore"):
        made["mean"] = mean = np.add.reduceat(value, starts) / n
        made["m2"] = np.add.reduceat((value - np.repeat(mean, n)) ** 2, starts)
    made["lo"], made["hi"] = np.minimum.reduceat(value, starts), np.maximum.reduceat(value, starts)
    made["first_ts"], made["first_seq"], made["first"] = ts[starts], seq[starts], value[starts]
    made["last_ts"], made["last_seq"], made["last"] = ts[ends], seq[ends], value[ends]
    return made


def merge(buckets: Buckets, width_us: int) -> Buckets:
    """Buckets of one tag and interval become one, sorted by tag and interval.

    Fast when they come in runs of that order, and of one tag and interval the earlier first: as looks bring them.
    """
    if not buckets.size:
        return buckets
    key = _paired(buckets["tag"], buckets["first_ts"] // width_us)
    order = np.argsort(key, kind="stable")
    starts = starts_of(key[order])
    if starts.size == buckets.size:
        return buckets[order]
    if not _rises(buckets["first_ts"][order], starts):
        order = np.lexsort((buckets["first_seq"], buckets["first_ts"], key))
    return _summed(buckets[order], starts)


def _summed(buckets: Buckets, starts: Ints) -> Buckets:
    """One bucket for each stretch of *buckets*, in which they are sorted by their first reading."""
    made = buckets[starts]
    each, n = np.repeat(np.arange(starts.size), np.diff(starts, append=buckets.size)), buckets["n"]
    made["n"] = np.add.reduceat(n, starts)
    with np.errstate(over="ignore", invalid="ignore"):
        made["mean"] = mean = np.add.reduceat(buckets["mean"] * n, starts) / made["n"]
        made["m2"] = np.add.reduceat(buckets["m2"] + n * (buckets["mean"] - mean[each]) ** 2, starts)
    made["lo"], made["hi"] = np.minimum.reduceat(buckets["lo"], starts), np.maximum.reduceat(buckets["hi"], starts)
    last = np.append(starts[1:], buckets.size) - 1
    if not _rises(buckets["last_ts"], starts):
        last = np.lexsort((buckets["last_seq"], buckets["last_ts"], each))[last]
    latest = buckets[last]
    for name in ("last_ts", "last_seq", "last"):
        made[name] = latest[name]
    return made


def _paired(one: NDArray[Any], other: NDArray[Any]) -> Ints:
    """A number for each pair, in the order of the pairs: tags and intervals together are far from 63 bits."""
    lowest = other.min()
    paired: Ints = one.astype(np.int64) * (int(other.max() - lowest) + 1) + (other - lowest)
    return paired


def _rises(column: Ints, starts: Ints) -> bool:
    """Whether *column* grows within each stretch."""
    grows = np.empty(column.size, np.bool_)
    grows[1:] = column[1:] > column[:-1]
    grows[starts] = True
    return bool(grows.all())


def summary_of(buckets: Buckets) -> Summary:
    """All buckets (of one tag) together."""
    if not buckets.size:
        return Summary(0, *[float("nan")] * 6)
    order = np.lexsort((buckets["first_seq"], buckets["first_ts"]))
    (one,) = _summed(buckets[order], np.zeros(1, np.int64))
    n, elapsed_s = int(one["n"]), (int(one["last_ts"]) - int(one["first_ts"])) / SECOND_US
    with np.errstate(over="ignore", invalid="ignore"):
        std = float(np.sqrt(one["m2"] / (n - 1))) if n > 1 else 0.0
        rate = float((one["last"] - one["first"]) / elapsed_s) if elapsed_s else float("nan")
    return Summary(n, float(one["lo"]), float(one["hi"]), float(one["mean"]), std, rate, float(one["last"]))


class Span(NamedTuple):
    """The intervals lo..hi of a tier: what a window consists of."""

    tier: Tier
    lo: int
    hi: int

    @property
    def start_us(self) -> int:
        return self.lo * self.tier.width_us


def span_of(seconds: float, now_us: int) -> Span:
    """The window's intervals. *seconds* must be at most WINDOW_MAX_S."""
    tier = FINE if seconds * SECOND_US <= FINE.span_us else COARSE
    return Span(tier, (now_us - int(seconds * SECOND_US)) // tier.width_us, now_us // tier.width_us)


class Place(NamedTuple):
    """Where a page belongs: a tier (by number), a group of PAGE_TAGS tags, an interval."""

    tier: int
    group: int
    interval: int


def group_of(tag_id: int) -> int:
    """The group of a tag."""
    return tag_id // PAGE_TAGS


def tiers_of(buckets: Buckets, now_us: int) -> list[Buckets]:
    """Fine *buckets* by tier, merged, without what no window needs any more."""
    fine = merge(buckets, FINE.width_us)
    merged = zip(TIERS, (fine, merge(fine, COARSE.width_us)), strict=True)
    return [each[each["first_ts"] // tier.width_us >= tier.horizon(now_us)] for tier, each in merged]


def pages_of(tier: int, buckets: Buckets) -> dict[Place, Buckets]:
    """Merged *buckets* of a tier by their page; a page holds one bucket a tag at most."""
    if not buckets.size:
        return {}
    key = _paired(buckets["tag"] // PAGE_TAGS, buckets["first_ts"] // TIERS[tier].width_us)
    order = np.argsort(key, kind="stable")
    buckets, starts = buckets[order], starts_of(key[order])
    bounds = pairwise([*starts.tolist(), buckets.size])
    return {place: buckets[lo:hi] for place, (lo, hi) in zip(_places(tier, buckets[starts]), bounds, strict=True)}


def places_of(tier: int, buckets: Buckets) -> list[Place]:
    """The pages that *buckets* belong to, once each."""
    if not buckets.size:
        return []
    key = _paired(buckets["tag"] // PAGE_TAGS, buckets["first_ts"] // TIERS[tier].width_us)
    return _places(tier, buckets[np.unique(key, return_index=True)[1]])


def _places(tier: int, buckets: Buckets) -> list[Place]:
    group, interval = buckets["tag"] // PAGE_TAGS, buckets["first_ts"] // TIERS[tier].width_us
    return [Place(tier, *each) for each in zip(group.tolist(), interval.tolist(), strict=True)]


def decode_pages(pages: Iterable[bytes]) -> Buckets:
    """The buckets of pages, one after the other."""
    return np.frombuffer(b"".join(pages), BUCKET)


class MemoryWindow:
    """In this process's memory."""

    def __init__(self) -> None:
        self._pages: list[dict[int, dict[int, bytes]]] = [{} for _ in TIERS]
        self._heads: dict[Shard, int] = {}
        self._since_us: int | None = None
        self._generation: str | None = None

    async def begin(self, fold: Fold, since_us: int) -> str:
        self._pages = [{} for _ in TIERS]
        self._heads, self._since_us, self._generation = {}, None, None
        await self._add(fold, since_us)
        self._since_us, self._generation = since_us, str(uuid4())
        return self._generation

    async def put(self, fold: Fold, now_us: int) -> bool:
        if self._generation is None:
            return False
        if all(self._heads.get(shard, 0) >= head for shard, head in fold.heads.items()):
            return True
        follows = all(self._heads.get(shard, 0) == head for shard, head in fold.before.items())
        if follows:
            await self._add(fold, now_us)
        return follows

    async def get(self, tag_id: int, seconds: float, now_us: int) -> Summary | None:
        span = span_of(seconds, now_us)
        if seconds > WINDOW_MAX_S or self._since_us is None or span.start_us < self._since_us:
            return None
        pages = self._pages[TIERS.index(span.tier)].get(group_of(tag_id), {})
        found = decode_pages(pages[each] for each in range(span.lo, span.hi + 1) if each in pages)
        return summary_of(found[found["tag"] == tag_id])

    async def generation(self) -> str | None:
        return self._generation

    async def heads(self) -> Heads:
        return self._heads

    async def complete_since(self) -> int | None:
        return self._since_us

    async def close(self) -> None: ...

    async def _add(self, fold: Fold, now_us: int) -> None:
        """Merged in a thread, which leaves the rest as it was: 10,000 tags take tenths of a second now and then."""
        for place, page in await asyncio.to_thread(lambda: list(self._merged(fold, now_us))):
            pages = self._pages[place.tier].setdefault(place.group, {})
            pages[place.interval] = page
            if len(pages) > TIERS[place.tier].buckets_max:
                _sweep(pages, TIERS[place.tier].horizon(now_us))
        self._heads.update(fold.heads)

    def _merged(self, fold: Fold, now_us: int) -> Iterator[tuple[Place, bytes]]:
        """The pages that *fold* changes, as they will be."""
        for tier, buckets in enumerate(tiers_of(fold.buckets, now_us)):
            held = [self._held(place) for place in places_of(tier, buckets)]
            merged = merge(np.concatenate([decode_pages(held), buckets]), TIERS[tier].width_us)
            for place, page in pages_of(tier, merged).items():
                yield place, page.tobytes()

    def _held(self, place: Place) -> bytes:
        return self._pages[place.tier].get(place.group, {}).get(place.interval, b"")


def _sweep(pages: dict[int, bytes], horizon: int) -> None:
    for interval in [each for each in pages if each < horizon]:
        del pages[interval]


NO_BUCKETS: Final = np.empty(0, BUCKET)
NOTHING: Final = Fold(NO_BUCKETS, {}, {})
