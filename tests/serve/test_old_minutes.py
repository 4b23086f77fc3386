"""Rollups, charts and the page's questions where rollups by the minute have left."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest

from make import R
from penstock.serve.series import BINS_MAX
from penstock.store.minutes import OldMinutes
from serve.plant import NOW_US, Plant, T, plant_on

S = 1_000_000
HOUR_US = 3_600 * S
FLOOR_US = NOW_US // HOUR_US * HOUR_US - 2 * HOUR_US
FLOOR = "2026-09-21T12:00:00.000000Z"


@pytest.fixture
async def plant(postgres_url: str) -> AsyncIterator[Plant]:
    """A reading each ten minutes, three hours before the floor and until now; minutes of before it have left."""
    async with plant_on(postgres_url) as plant:
        times = range(FLOOR_US - 3 * HOUR_US, NOW_US, 600 * S)
        await plant.store(*(R(T, ts, float(i)) for i, ts in enumerate(times)))
        await plant.seal()
        async with plant.database.connection() as connection:
            await connection.execute("insert into minutes_floor (before) values (%s::timestamptz)", [FLOOR])
        await OldMinutes(plant.database, timedelta(days=99_999)).run()
        yield plant


async def get(plant: Plant, path: str, **query: Any) -> dict[str, Any]:
    async with plant.client() as client:
        answer = await client.get(path, params={"tag": T} | query)
    assert answer.status_code == httpx.codes.OK, answer.text
    return dict(answer.json())


async def readings_left(plant: Plant) -> None:
    """The archive alone has them, up to this day's."""
    async with plant.database.connection() as connection:
        await connection.execute("insert into forgotten (tag_id, before) values (1, '2026-09-22 00:00Z')")
        await connection.execute("delete from segment")


def at(ts_us: int) -> str:
    return f"2026-09-21T{ts_us // HOUR_US % 24:02}:{ts_us // (60 * S) % 60:02}:00.000000Z"


async def test_minutes_asked_for_from_before_the_floor_are_those_that_are_whole(plant: Plant) -> None:
    for start in ({}, {"start": FLOOR_US - 1}, {"start": FLOOR_US - 2 * HOUR_US}):
        page = await get(plant, "/v1/rollups", limit=5, **start)
        assert page["minutes_before"] == FLOOR
        assert [item["ts"] for item in page["items"]] == [at(FLOOR_US + i * 600 * S) for i in range(5)]
        rest = await get(plant, "/v1/rollups", cursor=page["next"])
        assert (rest["minutes_before"], rest["items"][0]["ts"]) == (None, at(FLOOR_US + 5 * 600 * S))
    gone = await get(plant, "/v1/rollups", end=FLOOR_US - HOUR_US)
    assert gone == {"items": [], "next": None, "minutes_before": FLOOR}
    assert (await get(plant, "/v1/rollups", start=FLOOR_US))["minutes_before"] is None


async def test_hours_and_days_are_as_ever_and_say_nothing(plant: Plant) -> None:
    for interval, counts in (("1h", [6, 6, 6, 6, 6, 2]), ("1d", [32])):
        page = await get(plant, "/v1/rollups", interval=interval)
        assert ([item["count"] for item in page["items"]], page["minutes_before"]) == (counts, None)


async def test_a_late_reading_below_the_floor_is_in_its_hour_and_in_no_minute(plant: Plant) -> None:
    await plant.store(R(T, FLOOR_US - 30 * S, 99.0))
    for _ in range(2):
        assert (await get(plant, "/v1/rollups"))["items"][0]["ts"] == FLOOR
        assert max(item["max"] for item in (await get(plant, "/v1/rollups", interval="1h"))["items"][:3]) == 99.0
        await plant.seal()


async def test_a_chart_of_before_is_drawn_from_readings_while_those_are_here(plant: Plant) -> None:
    """They tell more than hours."""
    chart = await get(plant, "/v1/series", start=FLOOR_US - HOUR_US, end=FLOOR_US + HOUR_US, points=12)
    assert (chart["source"], chart["minutes_before"], len(chart["items"])) == ("readings", None, 12)


async def test_a_chart_of_before_is_drawn_by_the_hour_where_nothing_finer_is_left(plant: Plant) -> None:
    await readings_left(plant)
    chart = await get(plant, "/v1/series", start=FLOOR_US - 2 * HOUR_US, end=FLOOR_US + HOUR_US, points=180)
    assert (chart["source"], chart["minutes_before"], chart["bin_s"]) == ("rollup_1m", FLOOR, 60.0)
    times = [FLOOR_US - 2 * HOUR_US, FLOOR_US - HOUR_US, *range(FLOOR_US, FLOOR_US + HOUR_US, 600 * S)]
    assert [(item["ts"], item["last"]) for item in chart["items"]] == [
        *zip(map(at, times), [11.0, 17.0, 18.0, 19.0, 20.0, 21.0, 22.0, 23.0], strict=True)
    ]
    assert [(item["min"], item["max"]) for item in chart["items"][:2]] == [(6.0, 11.0), (12.0, 17.0)]


async def test_a_chart_within_an_hour_of_before_shows_that_hour_where_it_begins(plant: Plant) -> None:
    await readings_left(plant)
    start = FLOOR_US - 40 * 60 * S
    chart = await get(plant, "/v1/series", start=start, end=start + 600 * S)
    assert [(item["ts"], item["min"], item["max"]) for item in chart["items"]] == [(at(start), 12.0, 17.0)]


async def test_a_chart_after_the_floor_says_nothing(plant: Plant) -> None:
    await readings_left(plant)
    chart = await get(plant, "/v1/series", start=FLOOR_US, end=NOW_US)
    assert (chart["minutes_before"], len(chart["items"])) == (None, 14)


async def test_a_chart_of_many_days_goes_up_to_its_end(plant: Plant) -> None:
    """Of more minutes than a chart may take it is drawn from hours, of more hours from days."""
    for minutes, source in ((BINS_MAX - 1, "rollup_1m"), (BINS_MAX + 1, "rollup_1h"), (60 * BINS_MAX + 1, "rollup_1d")):
        await readings_left(plant) if source == "rollup_1m" else None
        chart = await get(plant, "/v1/series", start=NOW_US - minutes * 60 * S, end=NOW_US, points=5_000)
        assert (chart["source"], chart["items"][-1]["last"]) == (source, 31.0)
