"""Packs: cut where they must be, scaled only where no bit is lost, decoded to what went in."""

from collections.abc import Iterator

import numpy as np
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from penstock.model.batch import NO_SEQ, NO_TEXT
from penstock.store.encode import COPY_SEGMENT, LEVEL_DONE, READINGS_MAX, encode_packs, pack_starts
from penstock.store.pack import DAY_US, Pack, Points, decode_segment, join, raw_arrays

NOW = 1_795_000_000_000_000 // DAY_US * DAY_US


def points_of(ts: np.ndarray, value: np.ndarray | None = None, flush: np.ndarray | None = None) -> Points:
    n = ts.size
    return Points(
        ts=ts.astype(np.int64),
        value=np.zeros(n) if value is None else value,
        state=np.full(n, NO_TEXT, np.int32),
        quality=np.zeros(n, np.int64),
        seq=np.full(n, NO_SEQ, np.int64),
        flush=np.ones(n, np.int64) if flush is None else flush,
    )


@pytest.fixture
def connection(postgres_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        raw_arrays(connection)
        yield connection


def stored(connection: psycopg.Connection, points: Points) -> list[Pack]:
    """Through the real server, and back."""
    n = len(points)
    connection.execute("truncate segment")
    with connection.cursor() as cursor, cursor.copy(COPY_SEGMENT) as copy:
        copy.write(encode_packs(np.ones(n, np.int32), points, np.zeros(n, np.int16)))
    cursor = connection.cursor(binary=True)
    query = f"select {', '.join(Pack._fields)} from segment order by segment_id"
    return [Pack(*row) for row in cursor.execute(query)]


def same(left: Points, right: Points) -> bool:
    return all(
        np.array_equal(getattr(left, name), getattr(right, name)) for name in ("ts", "state", "quality", "seq", "flush")
    ) and np.array_equal(left.value.view(np.int64), right.value.view(np.int64))


floats = st.one_of(
    st.floats(allow_infinity=False, allow_nan=False),
    st.integers(-(2**33), 2**33).map(lambda k: k / 100),
    st.sampled_from([-0.0, np.nan, 1e-7, 2147483647.0, 214748364.7, 0.1 + 0.2]),
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), n=st.integers(1, 30))
def test_what_goes_in_comes_out_to_the_bit(connection: psycopg.Connection, data: st.DataObject, n: int) -> None:
    def column(dtype: type, elements: st.SearchStrategy) -> np.ndarray:
        return data.draw(hnp.arrays(dtype, n, elements=elements, fill=elements if data.draw(st.booleans()) else None))

    scale = data.draw(st.sampled_from([1, 1_000, 1_000_000, 3_600_000_000]))
    points = Points(
        ts=np.sort(NOW + column(np.int64, st.integers(-100_000, 100_000)) * scale),
        value=column(np.float64, floats),
        state=column(np.int32, st.sampled_from([NO_TEXT, 1, 2**31 - 1])),
        quality=column(np.int64, st.sampled_from([0, 2**31, 2**32 - 1])),
        seq=column(np.int64, st.integers(-(2**63), 2**63 - 1)),
        flush=column(np.int64, st.sampled_from([1, 2, 3, 2**31 + 5, 2**40])),
    )
    points = points.pick(np.lexsort((points.seq, points.ts)))
    assert same(join(decode_segment(pack) for pack in stored(connection, points)), points)


def test_two_decimals_are_kept_as_integers_and_negative_zero_is_not(connection: psycopg.Connection) -> None:
    ts = NOW + np.arange(500) * 1_000_000
    (scaled,) = stored(connection, points_of(ts, np.round(np.linspace(-50, 50, 500), 2)))
    assert (scaled.v, scaled.d, scaled.unit) == (None, 2, 1_000_000)
    (raw,) = stored(connection, points_of(ts, np.where(np.arange(500) == 7, -0.0, 1.5)))
    assert (raw.k, raw.d) == (None, None)
    assert np.signbit(decode_segment(raw).value[7])


def test_a_steady_tag_needs_no_flush_array(connection: psycopg.Connection) -> None:
    (one,) = stored(connection, points_of(NOW + np.arange(9), flush=np.full(9, 7)))
    assert (one.flush, one.runs, one.flush_lo) == (None, None, 7)
    (each,) = stored(connection, points_of(NOW + np.arange(9), flush=np.arange(9) + 2**35))
    assert each.runs is None
    assert decode_segment(each).flush.tolist() == list(range(2**35, 2**35 + 9))


def test_packs_end_with_the_day_the_tag_and_4096_readings() -> None:
    ts = NOW + np.concatenate([np.arange(5_000), np.arange(10), DAY_US + np.arange(10)]) * 1
    tag = np.repeat(np.array([1, 2], np.int32), [5_000, 20])
    assert pack_starts(tag, ts, np.ones(ts.size, np.int64)).tolist() == [0, READINGS_MAX, 5_000, 5_010]


def test_microseconds_over_hours_are_cut_before_an_int4_overflows() -> None:
    ts = NOW + np.arange(20) * 3_600_000_001
    starts = pack_starts(np.ones(20, np.int32), ts, np.ones(20, np.int64))
    assert starts.tolist() == list(range(20))
    whole = pack_starts(np.ones(20, np.int32), NOW + np.arange(20) * 3_600_000_000, np.ones(20, np.int64))
    assert whole.tolist() == [0]


def test_a_full_pack_is_done(connection: psycopg.Connection) -> None:
    stored(connection, points_of(NOW + np.arange(READINGS_MAX + 5)))
    assert connection.execute("select level, n from segment order by t0").fetchall() == [
        (LEVEL_DONE, READINGS_MAX), (0, 5),
    ]  # fmt: skip


def test_joining_nothing_is_nothing() -> None:
    assert len(join([])) == 0
