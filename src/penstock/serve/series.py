"""A tag's course over hours or years, light enough for a chart; and its last minutes in figures."""

import math
from dataclasses import replace
from typing import Final

import numpy as np

from penstock.errors import Undecodable
from penstock.model.quality import is_bad
from penstock.model.tag import Tag
from penstock.serve.answers import SeriesAnswer, SeriesPoint, WindowAnswer
from penstock.serve.words import rfc3339, rfc3339_all
from penstock.store.pack import Points, chain
from penstock.store.read import Reader
from penstock.store.rollups import DAY_US, HOUR_US, MINUTE_US, WIDTH_US, Bins, Interval, Rollups, bins_of, merge
from penstock.store.window import Summary

READINGS_MAX: Final = 500_000
"""Readings that a chart is drawn from; of more, rollups."""
STATES_MAX: Final = 5_000_000
"""Readings of states that are read for a chart: those have no rollups."""
BINS_MAX: Final = 20_000
"""Likewise rollups: of more, those of the next wider interval."""


async def series(  # noqa: PLR0913  # a chart's frame
    reader: Reader, rollups: Rollups, tag: Tag, span_us: tuple[int, int], points: int, *, coarse: bool = False
) -> SeriesAnswer:
    """Least, greatest and last of each of about *points* intervals; every reading where there are fewer.

    *coarse*: from rollups, since the readings themselves are not all here. Where minutes have left, by the hour. States
    have no rollups: of them the readings that are here. Raises Undecodable where those are too many to be read.
    """
    width_us = max(1, (span_us[1] - span_us[0]) // points)
    interval = _interval(span_us[1] - span_us[0], width_us)
    if tag.holds == "state":
        return await _states(reader, tag, span_us, points, width_us)
    if interval != "1m" or coarse or await _in_minutes(reader, rollups, tag.tag_id, span_us, width_us):
        return await _from_rollups(rollups, tag, span_us, interval, width_us)
    found = await reader.points(tag.tag_id, *span_us)
    if len(found) <= points:
        return SeriesAnswer(tag=tag.path, source="readings", bin_s=0.0, items=_each(found, {}))
    items = _bin_points(bins_of(found, width_us))
    return SeriesAnswer(tag=tag.path, source="readings", bin_s=width_us / 1e6, items=items)


async def _states(reader: Reader, tag: Tag, span_us: tuple[int, int], points: int, width_us: int) -> SeriesAnswer:
    """The last of each interval, or all where they are few; a stretch at a time."""
    counted = await reader.count(tag.tag_id, *span_us)
    if counted > STATES_MAX:
        why = f"about {counted:,} states are in the range, and a chart reads {STATES_MAX:,}: ask for a shorter one"
        raise Undecodable(why, code="bad_range")
    thins = counted > READINGS_MAX
    stretches = reader.stretches(tag.tag_id, *span_us, READINGS_MAX)
    kept = [_last_of_bins(told.points, width_us) if thins else told.points async for told in stretches]
    found = chain(kept)
    if thins or len(found) > points:
        found, bin_s = _last_of_bins(found, width_us), width_us / 1e6
    else:
        bin_s = 0.0
    return SeriesAnswer(tag=tag.path, source="readings", bin_s=bin_s, items=_each(found, await reader.texts(found)))


def _interval(length_us: int, width_us: int) -> Interval:
    """Of which rollups a chart is, if it is of any: the widest that are no wider than what it shows, but few enough."""
    if width_us < HOUR_US and length_us <= BINS_MAX * MINUTE_US:
        return "1m"
    return "1h" if width_us < DAY_US and length_us <= BINS_MAX * HOUR_US else "1d"


async def _in_minutes(reader: Reader, rollups: Rollups, tag_id: int, span_us: tuple[int, int], width_us: int) -> bool:
    """Whether minutes are fine enough, and here; or there are too many readings, which would tell more."""
    if width_us >= MINUTE_US and not await rollups.minutes_before(span_us[0]):
        return True
    return await reader.count(tag_id, *span_us) > READINGS_MAX


async def _from_rollups(
    rollups: Rollups, tag: Tag, span_us: tuple[int, int], interval: Interval, width_us: int
) -> SeriesAnswer:
    """Minutes as far as they are here, and hours of before: those never leave."""
    start_us, end_us = span_us
    page = await rollups.read(tag.tag_id, start_us, end_us, interval, BINS_MAX + 1)
    parts, floor_us = [page.bins], page.minutes_before_us
    if floor_us is not None:
        hours = await rollups.read(tag.tag_id, start_us, min(floor_us, end_us), "1h", BINS_MAX + 1)
        parts.append(hours.bins)
    return SeriesAnswer(
        tag=tag.path,
        source=f"rollup_{interval}",
        bin_s=max(width_us, WIDTH_US[interval]) / 1e6,
        items=_bin_points(merge([_widen(bins, width_us, start_us) for bins in parts])),
        minutes_before=None if floor_us is None else rfc3339(floor_us),
    )


def window(points: Points) -> WindowAnswer:
    """Count, least, greatest, mean, deviation (of the sample), change a second and last, of *points*."""
    good = points.pick(~is_bad(points.quality) & ~np.isnan(points.value))
    value, n = good.value, len(good)
    if not n:
        return WindowAnswer(count=0)
    elapsed_s = float(good.ts[-1] - good.ts[0]) / 1e6
    with np.errstate(over="ignore", invalid="ignore"):
        return WindowAnswer(
            count=n,
            min=float(value.min()),
            max=float(value.max()),
            mean=_finite(value.mean()),
            std=_finite(value.std(ddof=1)) if n > 1 else 0.0,
            rate_per_s=_finite((value[-1] - value[0]) / elapsed_s) if elapsed_s else None,
            last=float(value[-1]),
        )


def window_told(summary: Summary) -> WindowAnswer:
    """A window as the cache has it."""
    if not summary.n:
        return WindowAnswer(count=0)
    return WindowAnswer(
        count=summary.n,
        min=summary.lo,
        max=summary.hi,
        mean=_finite(summary.mean),
        std=_finite(summary.std),
        rate_per_s=_finite(summary.rate_per_s),
        last=summary.last,
    )


def _finite(figure: float) -> float | None:
    return float(figure) if math.isfinite(figure) else None


def _widen(bins: Bins, width_us: int, start_us: int) -> Bins:
    """One that began before the chart does is shown where the chart begins."""
    return replace(bins, t=np.maximum(bins.t // width_us * width_us, start_us))


def _bin_points(bins: Bins) -> list[SeriesPoint]:
    columns = (rfc3339_all(bins.t), bins.lo.tolist(), bins.hi.tolist(), bins.last.tolist())
    return [SeriesPoint(ts=ts, min=lo, max=hi, last=last) for ts, lo, hi, last in zip(*columns, strict=True)]


def _each(points: Points, texts: dict[int, str]) -> list[SeriesPoint]:
    shown = np.where(is_bad(points.quality), np.nan, points.value).tolist()
    values = [None if value != value else value for value in shown]  # noqa: PLR0124  # NaN
    states = [texts.get(number) for number in points.state.tolist()]
    columns = zip(rfc3339_all(points.ts), values, states, strict=True)
    return [SeriesPoint(ts=ts, min=value, max=value, last=value, state=state) for ts, value, state in columns]


def _last_of_bins(points: Points, width_us: int) -> Points:
    """Of *points* in order."""
    bins = points.ts // width_us
    return points.pick(np.append(bins[1:] != bins[:-1], True)[: len(points)])
