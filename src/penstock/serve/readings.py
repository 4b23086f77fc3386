"""`/v1/readings`, `/v1/latest`, `/v1/rollups`, `/v1/series`, `/v1/window`: history and the present."""

from typing import Annotated, Final, Literal

from litestar import get
from litestar.params import QueryParameter
from litestar.response import Response

from penstock.errors import Undecodable
from penstock.serve.answers import BinsAnswer, Listing, ReadingAnswer, ReadingsAnswer, SeriesAnswer, WindowAnswer
from penstock.serve.archived import expired_before, floor_above, headers_of, whole
from penstock.serve.desk import prefixes_of, seen_paths
from penstock.serve.given import (
    Cursor,
    GivenCaller,
    GivenDesk,
    GivenExports,
    GivenLive,
    InOrder,
    OfInterval,
    OneTag,
    Prefix,
    Time,
)
from penstock.serve.series import series, window, window_told
from penstock.serve.told import as_json, bins_told, latest_told, readings_told
from penstock.serve.words import cursor_of, microseconds, place_of, prefix_of, rfc3339, span
from penstock.serve.words import told as moment
from penstock.store.latest import LatestReading
from penstock.store.read import Key

LIMIT_MAX: Final = 10_000
LATEST_MAX: Final = 1_000
WINDOW_MAX_S: Final = 86_400
CACHED_MIN_S: Final = 30.0
"""Of a shorter window a bucket would be too large a part."""
POINTS_MAX: Final = 5_000
READINGS: Final = 1_000


@get("/v1/readings", raises=[])
async def list_readings(  # noqa: PLR0913, PLR0917  # each is a word of the query
    desk: GivenDesk,
    caller: GivenCaller,
    exports: GivenExports,
    tag: OneTag,
    start: Time = None,
    end: Time = None,
    limit: Annotated[
        int | None, QueryParameter(ge=1, le=2**53, description=f"Default {READINGS}, as JSON {LIMIT_MAX} at most.")
    ] = None,
    cursor: Cursor = None,
    order: InOrder = "asc",
    as_of: Time = None,
    format_: Annotated[Literal["json", "csv", "parquet"], QueryParameter(name="format")] = "json",
) -> Response[ReadingsAnswer]:
    """A tag's readings, sorted by (ts, seq), start inclusive, end exclusive. As CSV or Parquet: all of the range.

    Where the range begins before what the database holds of the tag, `archived_before` says so, and of files the header
    `Penstock-Archived-Before`; `expired_before`, `Penstock-Expired-Before`: of before then it may be nowhere any more.
    """
    found = await desk.tag(caller, tag)
    start_us, end_us = span(start, end)
    after = None if cursor is None else Key(*place_of(cursor, tuple[int, int]))
    as_of_us = None if as_of is None else microseconds(as_of, "as_of")
    first_us = start_us if after is None or order == "desc" else max(start_us, after.ts_us)
    if format_ != "json":
        stretches = desk.reader.stretches(
            found.tag_id, start_us, end_us, exports.stretch, after=after, order=order, as_of_us=as_of_us
        )
        said = await floor_above(desk.forgotten, found.tag_id, first_us)
        stretches = whole(stretches, desk.forgotten, found.tag_id, first_us, said)
        return await exports.response(format_, found.path, stretches, limit, headers_of(said))
    if limit is not None and limit > LIMIT_MAX:
        raise Undecodable(f"limit is {LIMIT_MAX} at most", code="bad_limit")
    page = await desk.reader.readings(
        found.tag_id, start_us, end_us, limit or READINGS, after=after, order=order, as_of_us=as_of_us
    )
    floor = await floor_above(desk.forgotten, found.tag_id, first_us)
    listing = ReadingsAnswer(
        items=readings_told(found.path, page.told),
        next=page.next and cursor_of(*page.next),
        archived_before=floor and moment(floor.before),
        archived_in=floor and floor.url,
        expired_before=expired_before(floor),
    )
    return Response(as_json(listing), media_type="application/json")  # type: ignore[arg-type]  # encoded already


@get("/v1/latest", raises=[])
async def latest(  # noqa: PLR0913, PLR0917  # each is a word of the query
    caller: GivenCaller,
    live: GivenLive,
    tag: Annotated[list[str] | None, QueryParameter(description=f"{LATEST_MAX} at most.")] = None,
    prefix: Prefix = None,
    limit: Annotated[int, QueryParameter(ge=1, le=LIMIT_MAX)] = LIMIT_MAX,
    cursor: Cursor = None,
) -> Listing[ReadingAnswer]:
    """The newest reading of each tag, by (ts, seq): of these tags, or of all that begin with prefix."""
    if tag:
        found = await live.latest(seen_paths(caller, tag, LATEST_MAX))
        return Listing([latest_told(reading) for reading in found if reading is not None])
    after = "" if cursor is None else place_of(cursor, tuple[str])[0]
    page: list[LatestReading] = []
    for each in prefixes_of(caller, prefix_of(prefix)):
        page += await live.latest_from(each, after, limit + 1 - len(page))
        if len(page) > limit:
            return Listing([latest_told(reading) for reading in page[:limit]], cursor_of(page[limit - 1].path))
    return Listing([latest_told(reading) for reading in page])


@get("/v1/rollups", raises=[])
async def rollups(  # noqa: PLR0913, PLR0917  # each is a word of the query
    desk: GivenDesk,
    caller: GivenCaller,
    tag: OneTag,
    start: Time = None,
    end: Time = None,
    interval: OfInterval = "1m",
    limit: Annotated[int, QueryParameter(ge=1, le=LIMIT_MAX)] = 1_000,
    cursor: Cursor = None,
) -> BinsAnswer:
    """Good and uncertain values by UTC-aligned interval; a late reading restates its interval.

    Where minutes are asked for that have left the database, `minutes_before` says from when on they are here.
    """
    found = await desk.tag(caller, tag)
    start_us, end_us = span(start, end)
    if cursor is not None:
        start_us = max(start_us, place_of(cursor, tuple[int])[0])
    page = await desk.rollups.read(found.tag_id, start_us, end_us, interval, limit)
    return BinsAnswer(
        items=bins_told(page.bins),
        next=None if page.next_us is None else cursor_of(page.next_us),
        minutes_before=None if page.minutes_before_us is None else rfc3339(page.minutes_before_us),
    )


@get("/v1/series", raises=[])
async def chart(  # noqa: PLR0913, PLR0917  # each is a word of the query
    desk: GivenDesk,
    caller: GivenCaller,
    tag: OneTag,
    start: Time = None,
    end: Time = None,
    points: Annotated[int, QueryParameter(ge=1, le=POINTS_MAX)] = 600,
) -> SeriesAnswer:
    """Least, greatest and last of about `points` intervals, for a chart. Without times: the last hour."""
    found = await desk.tag(caller, tag)
    end_us = desk.parts.clock.now_us() + 1 if end is None else microseconds(end, "end")
    start_us = end_us - 3_600_000_000 if start is None else microseconds(start, "start")
    if start_us > end_us:
        raise Undecodable("start is after end", code="bad_range")
    left = await floor_above(desk.forgotten, found.tag_id, start_us) is not None
    span_us = start_us, end_us
    answer = await series(desk.reader, desk.rollups, found, span_us, points, coarse=left)
    floor = await floor_above(desk.forgotten, found.tag_id, start_us)
    answer.archived_before, answer.expired_before = floor and moment(floor.before), expired_before(floor)
    return answer


@get("/v1/window", raises=[])
async def last_minutes(
    desk: GivenDesk,
    caller: GivenCaller,
    live: GivenLive,
    tag: OneTag,
    seconds: Annotated[float, QueryParameter(gt=0, le=WINDOW_MAX_S)] = 300.0,
) -> WindowAnswer:
    """Count, extremes, mean, deviation and rate of change over the last seconds; good and uncertain values only.

    From 30 to 3,600 seconds they come from the cache, at most two seconds behind the commits, by whole buckets: a
    window begins up to a second (10 seconds beyond 300) before the time asked for. Others, and what the cache does not
    know in full, are read from the history, exactly: no reading of the last day ever leaves it for the archive.
    """
    found = await desk.tag(caller, tag)
    if seconds >= CACHED_MIN_S and (summary := await live.window(found.tag_id, seconds)) is not None:
        return window_told(summary)
    now_us = desk.parts.clock.now_us()
    return window(await desk.reader.points(found.tag_id, now_us - int(seconds * 1e6), now_us + 1))


ROUTES: Final = [list_readings, latest, rollups, chart, last_minutes]
