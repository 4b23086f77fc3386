"""What every cache of windows promises; over memory and a real Redis."""

import math
import statistics
from collections.abc import AsyncIterator, Iterator
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.errors import Unavailable
from penstock.model.batch import NO_SEQ
from penstock.store.redis_window import RedisWindow
from penstock.store.window import (
    BUCKET,
    COARSE,
    FINE,
    Fold,
    Heads,
    MemoryWindow,
    Summary,
    WindowCache,
    buckets_of,
    merge,
    span_of,
)
from redis_server import RedisServer

S = 1_000_000
NOW_US = 1_790_000_000_500_000
SHARD = ("stream", "bulk")
BAD, UNCERTAIN = 0x8000_0000, 0x4000_0000
FAR = 2**186
"""As far as positions in Kinesis go."""


class Row(NamedTuple):
    tag: int
    ts: int
    value: float
    seq: int = NO_SEQ
    quality: int = 0


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.kill()


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.redis)])
async def window(request: pytest.FixtureRequest) -> AsyncIterator[WindowCache]:
    if request.param == "memory":
        made: WindowCache = MemoryWindow()
    else:
        server = request.getfixturevalue("redis_server")
        server.command("FLUSHALL")
        made = RedisWindow(server.url)
    yield made
    await made.close()


def fold_of(*rows: Row, before: int = 0, head: int | None = None, shard: tuple[str, str] = SHARD) -> Fold:
    rows_in_order = sorted(rows, key=lambda row: (row.tag, row.ts, row.seq))
    tag, ts, value, seq, quality = zip(*rows_in_order, strict=True) if rows else ([],) * 5
    columns = (np.array(tag, np.int32), np.array(ts, np.int64), np.array(seq, np.int64))
    buckets = buckets_of(*columns, np.array(value, np.float64), np.array(quality, np.int64))
    return Fold(buckets, {shard: before}, {shard: before + 1 if head is None else head})


async def begun(window: WindowCache, *rows: Row, heads: Heads | None = None, since_us: int = 0) -> str:
    return await window.begin(Fold(fold_of(*rows).buckets, {}, heads or {}), since_us)


def plain(rows: list[Row], tag: int, seconds: float, now_us: int) -> Summary:
    """The same by hand."""
    span = span_of(seconds, now_us)
    width = span.tier.width_us
    kept = [
        row
        for row in sorted(rows, key=lambda row: (row.ts, row.seq))
        if row.tag == tag and row.quality < BAD and not math.isnan(row.value)
        and span.lo <= row.ts // width <= span.hi
    ]  # fmt: skip
    if not kept:
        return Summary(0, *[math.nan] * 6)
    values = [row.value for row in kept]
    elapsed_s = (kept[-1].ts - kept[0].ts) / S
    return Summary(
        len(values),
        min(values),
        max(values),
        statistics.fmean(values),
        statistics.stdev(values) if len(values) > 1 else 0.0,
        (values[-1] - values[0]) / elapsed_s if elapsed_s else math.nan,
        values[-1],
    )


async def told(window: WindowCache, tag: int = 7, seconds: float = 300.0, now_us: int = NOW_US) -> Summary | None:
    return await window.get(tag, seconds, now_us)


async def test_a_window_tells_count_extremes_mean_deviation_rate_and_last(window: WindowCache):
    await begun(window)
    rows = [Row(7, NOW_US - 20 * S, 4.0), Row(7, NOW_US - 10 * S, 1.0), Row(7, NOW_US, 2.5), Row(8, NOW_US, 9.0)]
    assert await window.put(fold_of(*rows), NOW_US)
    assert await told(window) == pytest.approx((3, 1.0, 4.0, 2.5, 1.5, -0.075, 2.5))
    assert (await told(window, 8))[:3] == (1, 9.0, 9.0)


async def test_before_it_began_it_knows_nothing(window: WindowCache):
    assert await told(window) is None
    assert await window.generation() is None
    assert await window.complete_since() is None
    assert not await window.put(fold_of(Row(7, NOW_US, 1.0)), NOW_US)


async def test_a_fold_counts_once_whoever_brings_it(window: WindowCache):
    await begun(window)
    fold = fold_of(Row(7, NOW_US, 1.0))
    for _ in range(3):
        assert await window.put(fold, NOW_US)
    assert (await told(window)).n == 1


async def test_what_does_not_follow_is_not_added(window: WindowCache):
    await begun(window, heads={SHARD: 5})
    assert not await window.put(fold_of(Row(7, NOW_US, 1.0), before=4, head=7), NOW_US), "a part of it is known"
    assert not await window.put(fold_of(Row(7, NOW_US, 1.0), before=6), NOW_US), "something is missing before it"
    assert await window.put(fold_of(Row(7, NOW_US, 1.0), before=3, head=5), NOW_US), "it is known"
    assert await window.put(fold_of(Row(7, NOW_US, 1.0), before=5), NOW_US)
    assert (await told(window)).n == 1


async def test_positions_are_compared_as_numbers_of_any_length(window: WindowCache):
    await begun(window, heads={SHARD: FAR})
    assert await window.heads() == {SHARD: FAR}
    assert not await window.put(fold_of(Row(7, NOW_US, 1.0), before=FAR + 1), NOW_US)
    assert await window.put(fold_of(Row(7, NOW_US, 1.0), before=9, head=10), NOW_US)
    assert (await told(window)) is None or (await told(window)).n == 0
    assert await window.put(fold_of(Row(7, NOW_US, 1.0), before=FAR), NOW_US)
    assert await window.put(fold_of(Row(7, NOW_US, 1.0), shard=("stream", "new")), NOW_US)
    assert await window.heads() == {SHARD: FAR + 1, ("stream", "new"): 1}
    assert (await told(window)).n == 2


async def test_a_window_that_begins_before_it_is_complete_is_not_told(window: WindowCache):
    await begun(window, Row(7, NOW_US, 1.0), since_us=NOW_US - 60 * S)
    assert await told(window, seconds=61) is None
    assert (await told(window, seconds=59)).n == 1
    assert await told(window, seconds=3_601) is None
    assert await window.complete_since() == NOW_US - 60 * S


async def test_bad_values_never_count_and_late_ones_land_in_their_bucket(window: WindowCache):
    await begun(window)
    await window.put(fold_of(Row(7, NOW_US, 5.0), Row(7, NOW_US - S, 99.0, quality=BAD)), NOW_US)
    late = [Row(7, NOW_US - 200 * S, 1.0, quality=UNCERTAIN), Row(7, NOW_US - 500 * S, 3.0), Row(7, NOW_US, math.nan)]
    await window.put(fold_of(*late, before=1), NOW_US)
    assert (await told(window, seconds=100)).n == 1
    assert (await told(window, seconds=300))[:3] == (2, 1.0, 5.0)
    assert (await told(window, seconds=600))[:3] == (3, 1.0, 5.0)


async def test_a_deviation_small_beside_its_mean_is_still_right(window: WindowCache):
    await begun(window)
    values = [1e9 + i % 2 for i in range(200)]
    for i, value in enumerate(values):
        await window.put(fold_of(Row(7, NOW_US - i * S, value), before=i), NOW_US)
    assert (await told(window)).std == pytest.approx(statistics.stdev(values), rel=1e-9)


async def test_beginning_anew_forgets_everything(window: WindowCache):
    first = await begun(window, Row(7, NOW_US, 1.0), Row(99, NOW_US, 1.0), heads={SHARD: 4})
    second = await begun(window, Row(7, NOW_US, 2.0))
    assert first != second == await window.generation()
    assert (await told(window))[:2] == (1, 2.0)
    assert await window.heads() == {}


async def test_what_left_the_windows_is_swept(window: WindowCache):
    await begun(window)
    for i in range(0, 8_000, 40):
        now_us = NOW_US + i * S
        await window.put(fold_of(*(Row(7, now_us + j * S, 1.0) for j in range(40)), before=i // 40), now_us + 40 * S)
    end_us = NOW_US + 8_000 * S
    assert (await told(window, seconds=3_600, now_us=end_us)).n in range(3_595, 3_612)
    assert await _held_bytes(window) <= (FINE.buckets_max + COARSE.buckets_max) * BUCKET.itemsize


async def _held_bytes(window: WindowCache) -> int:
    if isinstance(window, MemoryWindow):
        return sum(len(page) for tier in window._pages for pages in tier.values() for page in pages.values())
    assert isinstance(window, RedisWindow)
    keys = ["{penstock}:window:1s:0", "{penstock}:window:10s:0"]
    pages = [page for key in keys for field, page in (await window._redis.hgetall(key)).items() if field]
    return sum(map(len, pages))


VALUES = st.floats(-1e6, 1e6) | st.just(math.nan)
ROWS = st.builds(
    Row,
    tag=st.sampled_from([1, 7, 15, 16, 900]),
    ts=st.integers(0, 400).map(lambda i: NOW_US + 20 * S - i * 10 * S - i * 77_777),
    value=VALUES,
    seq=st.just(NO_SEQ),
    quality=st.sampled_from([0, 0, UNCERTAIN, BAD]),
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    folds=st.lists(st.lists(ROWS, max_size=12), max_size=6),
    again=st.lists(st.integers(0, 5), max_size=6),
    seconds=st.sampled_from([1.0, 30.0, 299.5, 300.0, 301.0, 1_000.0, 3_600.0]),
)
async def test_windows_are_what_a_plain_sum_says(
    window: WindowCache, folds: list[list[Row]], again: list[int], seconds: float
):
    await begun(window, Row(16, NOW_US, 0.25))
    rows, seqs = [Row(16, NOW_US, 0.25)], iter(range(10_000))
    numbered = [[row._replace(seq=next(seqs)) for row in each] for each in folds]
    for i, each in enumerate(numbered):
        assert await window.put(fold_of(*each, before=i), NOW_US)
        rows += each
        for j in again:
            assert await window.put(fold_of(*numbered[min(i, j)], before=min(i, j)), NOW_US)
    for tag in (1, 7, 15, 16, 900):
        summary = await window.get(tag, seconds, NOW_US)
        expected = plain(rows, tag, seconds, NOW_US)
        if summary is None:
            assert expected.n == 0, "only of a tag that never spoke nothing is known"
        else:
            assert tuple(summary) == pytest.approx(tuple(expected), rel=1e-9, abs=1e-6, nan_ok=True)


@given(st.lists(ROWS, max_size=40), st.integers(0, 40))
def test_merging_parts_is_summing_up_the_whole(rows: list[Row], cut: int):
    rows = [row._replace(seq=i) for i, row in enumerate(rows)]
    parts = np.concatenate([fold_of(*rows[:cut]).buckets, fold_of(*rows[cut:]).buckets])
    one, whole = merge(parts, FINE.width_us), fold_of(*rows).buckets
    for name in BUCKET.names or ():
        assert one[name] == pytest.approx(whole[name], rel=1e-9, abs=1e-3)


async def test_two_folds_become_one():
    both = fold_of(Row(7, NOW_US, 1.0)).and_then(fold_of(Row(7, NOW_US, 3.0), before=1))
    assert (both.before, both.heads) == ({SHARD: 0}, {SHARD: 2})
    window = MemoryWindow()
    await begun(window)
    assert await window.put(both, NOW_US)
    assert (await told(window))[:4] == (2, 1.0, 3.0, 2.0)


@pytest.mark.redis
async def test_of_two_who_put_the_same_flush_one_adds_it(redis_server: RedisServer):
    redis_server.command("FLUSHALL")
    one, other = RedisWindow(redis_server.url), RedisWindow(redis_server.url)
    await begun(one)
    for i in range(6):
        fold = fold_of(Row(7, NOW_US + i, 1.0), before=i)
        first, second = (one, other) if i % 3 else (other, one)
        assert await first.put(fold, NOW_US)
        assert await second.put(fold, NOW_US)
        assert (await told(one)).n == i + 1
    await one.close()
    await other.close()


@pytest.mark.redis
@pytest.mark.parametrize("lost", ["{penstock}:window", "{penstock}:window:1s:0", "{penstock}:window:10s:0"])
async def test_losing_any_key_is_never_an_answer_too_small(redis_server: RedisServer, lost: str):
    redis_server.command("FLUSHALL")
    window = RedisWindow(redis_server.url)
    await begun(window)
    await window.put(fold_of(Row(7, NOW_US - 100 * S, 1.0)), NOW_US)
    redis_server.command("DEL", lost)
    assert None in (await told(window), await told(window, seconds=3_600))
    assert not await window.put(fold_of(Row(7, NOW_US, 1.0), before=1), NOW_US)
    await window.close()


@pytest.mark.redis
async def test_a_beginning_that_was_broken_off_knows_nothing(redis_server: RedisServer):
    redis_server.command("FLUSHALL")
    window = RedisWindow(redis_server.url)
    await begun(window, Row(7, NOW_US, 1.0))
    redis_server.command("HDEL", "{penstock}:window", "since")
    assert await told(window) is None
    assert await window.generation() is None
    assert not await window.put(fold_of(Row(7, NOW_US, 1.0)), NOW_US)
    await window.close()


@pytest.mark.redis
async def test_windows_in_a_redis_that_is_away_are_unavailable(redis_server: RedisServer):
    window = RedisWindow(redis_server.url)
    await begun(window)
    redis_server.kill()
    with pytest.raises(Unavailable):
        await told(window)
    with pytest.raises(Unavailable):
        await window.put(fold_of(Row(7, NOW_US, 1.0)), NOW_US)
    redis_server.start()
    assert await told(window) is None
    await window.close()
