"""Readings come back as they went in, in order, page by page, and as they were known at a time."""

import asyncio
import csv
import io
import math
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import duckdb
import httpx
import pytest
from litestar.exceptions import LitestarException

from make import R
from penstock.errors import Unavailable
from penstock.serve.fates import archived_at
from penstock.store.forget_books import Floor
from penstock.store.read import Reader, at
from serve.plant import NOW_US, Plant, T

S = 1_000_000
DAY_US = 86_400 * S
AWKWARD = [-0.0, 0.1 + 0.2, 5e-324, 1.7976931348623157e308, -2.5, 1e22, 123456789.123456789]


async def get(client: httpx.AsyncClient, path: str, **query: object) -> dict:
    answer = await client.get(path, params={key: value for key, value in query.items() if value is not None})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def pages(client: httpx.AsyncClient, path: str, **query: object) -> list[dict]:
    items, cursor = [], None
    while True:
        page = await get(client, path, cursor=cursor, **query)
        items += page["items"]
        if (cursor := page["next"]) is None:
            return items


def bits(value: float) -> bytes:
    return struct.pack(">d", value)


@pytest.mark.parametrize("sealed", [False, True])
async def test_values_come_back_to_the_bit(plant: Plant, client: httpx.AsyncClient, sealed: bool) -> None:
    await plant.store(*(R(T, NOW_US - 60 * S + i, value, seq=i) for i, value in enumerate(AWKWARD)))
    if sealed:
        await plant.seal()
    items = (await get(client, "/v1/readings", tag=T))["items"]
    assert [bits(item["value"]) for item in items] == [bits(value) for value in AWKWARD]
    assert items[0]["ts"] == "2026-09-21T14:12:20.000000Z"
    assert items[0] | {"received_ts": 0, "stored_ts": 0} == {
        "tag": T, "ts": items[0]["ts"], "value": -0.0, "state": None, "quality": "good", "seq": 0,
        "received_ts": 0, "stored_ts": 0,
    }  # fmt: skip
    assert items[0]["received_ts"] == "2026-09-21T14:13:20.000000Z"


async def test_what_is_missing_is_named(client: httpx.AsyncClient) -> None:
    refused = await client.get("/v1/readings")
    assert (refused.status_code, refused.json()["detail"]) == (400, "tag is missing")


async def test_states_and_bad_quality_come_back(plant: Plant, client: httpx.AsyncClient) -> None:
    await plant.store(
        R("lyon/press/mode", NOW_US - 2, state="RUNNING"),
        R("lyon/press/mode", NOW_US - 1, state="DOWN", quality=0x40000000),
        R(T, NOW_US - 1, None, quality=0x80000000),
        R(T, NOW_US, 1.0, quality=0x40920000),
    )
    items = (await get(client, "/v1/readings", tag="lyon/press/mode"))["items"]
    assert [(item["state"], item["quality"], item["value"]) for item in items] == [
        ("RUNNING", "good", None),
        ("DOWN", "uncertain", None),
    ]
    items = (await get(client, "/v1/readings", tag=T))["items"]
    assert [(item["value"], item["quality"]) for item in items] == [(None, "bad"), (1.0, 0x40920000)]


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_pages_join_to_the_whole_over_packs_and_chunks(
    plant: Plant, client: httpx.AsyncClient, order: str
) -> None:
    rising = [R(T, NOW_US - 40 * S + i // 2 * S, float(i), seq=i % 2) for i in range(60)]
    for start in range(0, 60, 12):
        await plant.store(*rising[start : start + 12])
        if start < 36:
            await plant.seal()
    await plant.store(R(T, NOW_US - 40 * S + 5, -1.0))  # late, into the midst
    items = await pages(client, "/v1/readings", tag=T, limit=7, order=order)
    expected = sorted([(r.ts, r.seq or 0) for r in rising] + [(NOW_US - 40 * S + 5, 0)], reverse=order == "desc")
    assert len(items) == 61
    values = [item["value"] for item in items]
    keys = {r.value: (r.ts, r.seq) for r in rising} | {-1.0: (NOW_US - 40 * S + 5, 0)}
    assert [keys[value] for value in values] == expected


async def test_start_is_inclusive_and_end_exclusive(plant: Plant, client: httpx.AsyncClient) -> None:
    await plant.store(*(R(T, NOW_US - i * S, float(i)) for i in range(5)))
    items = (await get(client, "/v1/readings", tag=T, start=NOW_US - 3 * S, end="2026-09-21T14:13:19+00:00"))["items"]
    assert [item["value"] for item in items] == [3.0, 2.0]
    items = (await get(client, "/v1/readings", tag=T, start="2026-09-21T16:13:17+02:00"))["items"]
    assert [item["value"] for item in items] == [3.0, 2.0, 1.0, 0.0]


async def test_as_of_leaves_out_what_was_stored_later(plant: Plant, client: httpx.AsyncClient) -> None:
    await plant.store(R(T, NOW_US, 1.0))
    await plant.seal()
    (first,) = (await get(client, "/v1/readings", tag=T))["items"]
    await plant.store(R(T, NOW_US - S, 2.0), R(T, NOW_US + S, 3.0))
    known = (await get(client, "/v1/readings", tag=T, as_of=first["stored_ts"]))["items"]
    assert known == [first]
    assert len((await get(client, "/v1/readings", tag=T))["items"]) == 3


async def test_csv_and_parquet_hold_the_same_readings(plant: Plant, client: httpx.AsyncClient, tmp_path: Path) -> None:
    readings = [R(T, NOW_US - 60 * S + i, value) for i, value in enumerate(AWKWARD)]
    await plant.store(*readings, R(T, NOW_US, None, quality=0x80000000))
    answer = await client.get("/v1/readings", params={"tag": T, "format": "csv"})
    assert "attachment" in answer.headers["content-disposition"]
    table = list(csv.DictReader(io.StringIO(answer.text)))
    assert [bits(float(row["value"])) for row in table[:-1]] == [bits(value) for value in AWKWARD]
    assert (table[-1]["value"], table[-1]["quality"], table[0]["seq"]) == ("", "bad", "")
    answer = await client.get("/v1/readings", params={"tag": T, "format": "parquet"})
    file = tmp_path / "out.parquet"
    file.write_bytes(answer.content)
    rows = duckdb.sql(f"select tag, epoch_us(ts), value, seq from '{file}'").fetchall()
    assert [bits(row[2]) for row in rows[:-1]] == [bits(value) for value in AWKWARD]
    assert rows[0][:2] == (T, NOW_US - 60 * S)
    assert rows[-1][2:] == (None, None)


async def test_rollups_are_the_same_hot_sealed_and_with_late_readings(plant: Plant, client: httpx.AsyncClient) -> None:
    minute = NOW_US // (60 * S) * 60 * S
    await plant.store(R(T, minute + S, 1.0), R(T, minute + 2 * S, 5.0), R(T, minute + 61 * S, 7.0))
    await plant.store(R(T, minute + 3 * S, 99.0, quality=0x80000000), R(T, minute + 4 * S, 3.0, quality=0x40000000))
    hot = (await get(client, "/v1/rollups", tag=T))["items"]
    assert [tuple(item.values())[1:] for item in hot] == [(3, 1.0, 5.0, 3.0, 3.0), (1, 7.0, 7.0, 7.0, 7.0)]
    await plant.seal()
    assert (await get(client, "/v1/rollups", tag=T))["items"] == hot
    await plant.store(R(T, minute + 5 * S, -1.0))
    mixed = await pages(client, "/v1/rollups", tag=T, limit=1)
    assert [tuple(item.values())[1:] for item in mixed] == [(4, -1.0, 5.0, 2.0, -1.0), (1, 7.0, 7.0, 7.0, 7.0)]
    (day,) = (await get(client, "/v1/rollups", tag=T, interval="1d"))["items"]
    assert (day["ts"], day["count"], day["max"], day["last"]) == ("2026-09-21T00:00:00.000000Z", 5, 7.0, 7.0)


async def test_a_series_keeps_the_extremes(plant: Plant, client: httpx.AsyncClient) -> None:
    await plant.store(*(R(T, NOW_US - (2_000 - i) * S, 500.0 if i == 777 else math.sin(i)) for i in range(2_000)))
    span = {"start": NOW_US - 2_000 * S, "end": NOW_US}
    light = await get(client, "/v1/series", tag=T, points=100, **span)
    assert light["source"] == "readings"
    assert 100 <= len(light["items"]) <= 101
    assert max(item["max"] for item in light["items"]) == 500.0
    await plant.seal()
    coarse = await get(client, "/v1/series", tag=T, points=10, **span)
    assert coarse["source"] == "rollup_1m"
    assert max(item["max"] for item in coarse["items"]) == 500.0
    assert (await get(client, "/v1/series", tag=T, points=5_000, **span))["bin_s"] == 0.0


async def test_states_are_charted_from_readings_however_long_the_chart_is(
    plant: Plant, client: httpx.AsyncClient
) -> None:
    mode, hour_us = "lyon/press/mode", 3_600 * S
    states = [("RUNNING", 30 * 24), ("DOWN", 25), ("RUNNING", 24), ("DOWN", 1)]
    await plant.store(*(R(mode, NOW_US - hours * hour_us, state=state) for state, hours in states))
    await plant.seal()
    for days, shown in ((1, 2), (60, 4)):
        chart = await get(client, "/v1/series", tag=mode, start=NOW_US - days * 24 * hour_us, end=NOW_US)
        assert (chart["source"], chart["bin_s"]) == ("readings", 0.0)
        assert [item["state"] for item in chart["items"]] == [state for state, _ in states[-shown:]]
    await forget_before(plant, NOW_US - 24 * hour_us, mode)
    chart = await get(client, "/v1/series", tag=mode, start=NOW_US - 60 * 24 * hour_us, end=NOW_US)
    assert chart["archived_before"] is not None
    assert [item["state"] for item in chart["items"]][-2:] == ["RUNNING", "DOWN"], "what is here is shown"


async def test_many_states_are_read_in_stretches_and_too_many_are_refused_by_name(
    plant: Plant, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    mode, span = "lyon/press/mode", {"start": NOW_US - 100 * S, "end": NOW_US}
    for begin in range(0, 100, 20):
        await plant.store(*(R(mode, NOW_US - (100 - i) * S, state=f"S{i}") for i in range(begin, begin + 20)))
        await plant.seal()
    whole = await get(client, "/v1/series", tag=mode, points=10, **span)
    assert whole["bin_s"] == 10.0
    assert len(whole["items"]) in {10, 11}
    assert whole["items"][-1]["state"] == "S99"
    monkeypatch.setattr("penstock.serve.series.READINGS_MAX", 30)
    assert await get(client, "/v1/series", tag=mode, points=10, **span) == whole
    monkeypatch.setattr("penstock.serve.series.STATES_MAX", 60)
    refused = await client.get("/v1/series", params={"tag": mode} | span)
    assert (refused.status_code, refused.json()["code"]) == (400, "bad_range")
    assert "ask for a shorter one" in refused.json()["detail"]


async def test_a_window_sums_up_the_last_minutes(plant: Plant, client: httpx.AsyncClient) -> None:
    await plant.store(R(T, NOW_US - 400 * S, 100.0), R(T, NOW_US - 10 * S, 2.0), R(T, NOW_US, 4.0))
    window = await get(client, "/v1/window", tag=T, seconds=300)
    assert window == {
        "count": 2, "min": 2.0, "max": 4.0, "mean": 3.0, "std": math.sqrt(2), "rate_per_s": 0.2, "last": 4.0,
    }  # fmt: skip
    assert (await get(client, "/v1/window", tag=T, seconds=1))["count"] == 1


async def test_a_window_from_the_cache_is_what_the_history_says(plant: Plant, client: httpx.AsyncClient) -> None:
    await plant.store(*(R(T, NOW_US - i * S, math.sin(i)) for i in range(500)), R(T, NOW_US - S, 9.0, quality=2**31))
    exact = [await get(client, "/v1/window", tag=T, seconds=seconds) for seconds in (60, 300, 420)]
    await plant.serving.live.look()
    await plant.store(R(T, NOW_US - 250 * S - 1, 99.0), R(T, NOW_US - 3_000 * S, -99.0))
    await plant.seal()  # before it was looked at
    await asyncio.sleep(1.0)
    await plant.serving.live.look()
    told = [await get(client, "/v1/window", tag=T, seconds=seconds) for seconds in (60, 300, 420, 3_600)]
    assert await plant.serving.live.window(1, 300.0) is not None, "it came from the cache"
    assert [each["count"] for each in told] == [61, 302, 422, 502]
    assert told[0] == pytest.approx(exact[0])
    assert (told[1]["max"], told[3]["min"], told[1]["last"]) == (99.0, -99.0, exact[1]["last"])


async def forget_before(plant: Plant, day_us: int, path: str = T) -> None:
    """As the forgetter does it, without an archive: tell first, then delete."""
    async with plant.database.transaction() as connection:
        await connection.execute(
            "insert into forgotten (tag_id, before) select tag_id, to_timestamp(%s) from tag where path = %s",
            (day_us // S, path),
        )
        await connection.execute("delete from segment where t1 < to_timestamp(%s)", (day_us // S,))


@pytest.fixture
async def forgotten(plant: Plant) -> int:
    """The floor, as microseconds: a day's reading is gone, the next day's is here."""
    floor_us = NOW_US // DAY_US * DAY_US
    await plant.store(R(T, floor_us - 5 * S, 1.0), R(T, floor_us + 5 * S, 2.0))
    await plant.seal()
    await forget_before(plant, floor_us)
    return floor_us


async def test_a_range_that_begins_before_what_is_here_says_so(
    plant: Plant, client: httpx.AsyncClient, forgotten: int
) -> None:
    told = "2026-09-21T00:00:00.000000Z"
    for query in ({}, {"start": forgotten - 1}, {"start": forgotten - 1, "order": "desc"}):
        page = await get(client, "/v1/readings", tag=T, **query)
        assert (page["archived_before"], [item["value"] for item in page["items"]]) == (told, [2.0])
    page = await get(client, "/v1/readings", tag=T, start=forgotten)
    assert (page["archived_before"], page["archived_in"], len(page["items"])) == (None, None, 1)
    assert (await get(client, "/v1/plant"))["archived_before"] == told
    await plant.store(R("lyon/other/x", NOW_US, 1.0))
    assert (await get(client, "/v1/readings", tag="lyon/other/x"))["archived_before"] is None


@pytest.mark.parametrize("form", ["csv", "parquet"])
async def test_files_say_so_in_a_header(client: httpx.AsyncClient, forgotten: int, form: str) -> None:
    query = {"tag": T, "format": form}
    answer = await client.get("/v1/readings", params=query)
    assert answer.headers["penstock-archived-before"] == "2026-09-21T00:00:00.000000Z"
    answer = await client.get("/v1/readings", params=query | {"start": str(forgotten)})
    assert "penstock-archived-before" not in answer.headers


@pytest.fixture
async def expired(plant: Plant, forgotten: int) -> str:
    """Of the day that left, the archive need not hold any more what was not critical; up to when that was."""
    async with plant.database.transaction() as connection:
        await connection.execute(
            "insert into archive_segment (day, number, url, flush_lo, flush_hi, readings, bytes, manifest,"
            " manifest_sha256, made_at, standard_until) select '2026-09-20', 1, 's3://record', 0, 1, 1, 1, 'day', %s,"
            " now(), now() - interval '1 s'",
            (bytes(32),),
        )
        await connection.execute(
            "insert into archive_standard select tag_id, '2026-09-19', '2026-09-20' from tag where path = %s", (T,)
        )
    return "2026-09-21T00:00:00.000000Z"


async def test_what_may_be_nowhere_any_more_is_told(
    plant: Plant, client: httpx.AsyncClient, forgotten: int, expired: str
) -> None:
    page = await get(client, "/v1/readings", tag=T)
    assert (page["archived_before"], page["archived_in"], page["expired_before"]) == (expired, "s3://record", expired)
    assert (await get(client, "/v1/series", tag=T, start=forgotten - S, end=forgotten + S))["expired_before"] == expired
    answer = await client.get("/v1/readings", params={"tag": T, "format": "csv"})
    assert answer.headers["penstock-expired-before"] == expired
    assert (await get(client, "/v1/readings", tag=T, start=forgotten))["expired_before"] is None
    async with plant.database.transaction() as connection:
        await connection.execute("update archive_segment set day = '2026-09-19'")
    for start, told in ((forgotten - 2 * DAY_US, "2026-09-20T00:00:00.000000Z"), (forgotten - DAY_US, None)):
        page = await get(client, "/v1/readings", tag=T, start=start)
        assert (page["archived_before"], page["expired_before"]) == (expired, told)
    async with plant.database.transaction() as connection:
        await connection.execute("update archive_segment set standard_until = now() + interval '1 hour'")
    answer = await client.get("/v1/readings", params={"tag": T, "format": "csv"})
    assert "penstock-archived-before" in answer.headers
    assert "penstock-expired-before" not in answer.headers


def test_a_trace_says_what_has_expired() -> None:
    floor_us = NOW_US // DAY_US * DAY_US
    floors = {"kept": Floor(at(floor_us), None), "gone": Floor(at(floor_us), None, at(floor_us))}
    assert archived_at(floors, "kept", floor_us - 1) == "archive day=2026-09-20"
    assert archived_at(floors, "gone", floor_us - 1) == "archive day=2026-09-20 (expired)"
    assert [archived_at(floors, path, floor_us) for path in ("kept", "gone", "here")] == [None, None, None]


async def test_a_file_that_is_being_made_while_its_readings_leave_is_cut_off(
    plant: Plant, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its header has gone out already."""
    floor_us = NOW_US // DAY_US * DAY_US
    await plant.store(R(T, floor_us - 5 * S, 1.0), R(T, floor_us + 5 * S, 2.0))
    await plant.seal()
    stretches = Reader.stretches

    async def slow(reader: Reader, *given: Any, **how: Any) -> AsyncIterator[Any]:
        await forget_before(plant, floor_us)
        async for stretch in stretches(reader, *given, **how):
            yield stretch

    monkeypatch.setattr(Reader, "stretches", slow)
    with pytest.raises(LitestarException, match="after response started") as cut:
        await client.get("/v1/readings", params={"tag": T, "format": "csv"})
    cause = cut.value.__cause__
    assert isinstance(cause, Unavailable) or (isinstance(cause, ExceptionGroup) and cause.subgroup(Unavailable))


async def test_a_chart_of_what_is_archived_is_drawn_from_rollups(client: httpx.AsyncClient, forgotten: int) -> None:
    span = {"start": forgotten - 60 * S, "end": forgotten + 60 * S}
    chart = await get(client, "/v1/series", tag=T, **span)
    assert (chart["source"], chart["archived_before"]) == ("rollup_1m", "2026-09-21T00:00:00.000000Z")
    assert [point["last"] for point in chart["items"]] == [1.0, 2.0]


async def test_the_balance_and_the_trace_of_what_is_archived(plant: Plant, client: httpx.AsyncClient) -> None:
    floor_us = NOW_US // DAY_US * DAY_US
    batch_id = await plant.store(R(T, floor_us - 5 * S, 1.0), R(T, floor_us + 5 * S, 2.0))
    await plant.seal()
    before = await get(client, "/v1/balance", tag=T)
    await forget_before(plant, floor_us)
    async with plant.database.transaction() as connection:
        await connection.execute("update forgotten set readings = 1")
    assert await get(client, "/v1/balance", tag=T) == before
    ranged = await get(client, "/v1/balance", tag=T, start=NOW_US - 3600 * S)
    assert ranged["archived_before"] == "2026-09-21T00:00:00.000000Z"
    first, second = (await get(client, f"/v1/trace/{batch_id}"))["items"]
    assert first["fate"] == second["fate"] == "stored"
    assert first["where"].startswith("archive day=2026-09-20, flush ")
    assert second["where"].startswith("flush ")


async def test_a_late_reading_of_before_what_is_here_is_quarantined(
    plant: Plant, client: httpx.AsyncClient, forgotten: int
) -> None:
    """Whether it is a repeat cannot be told any more; whatever the window says."""
    await plant.store(R(T, forgotten - 5 * S, 1.0), R(T, forgotten + 5 * S, 2.0), R(T, forgotten + 6 * S, 3.0))
    (held,) = (await get(client, "/v1/quarantine"))["items"]
    assert (held["reason"], held["reading"]["ts"]) == ("archived", forgotten - 5 * S)
    assert [item["value"] for item in (await get(client, "/v1/readings", tag=T))["items"]] == [2.0, 3.0]
    assert (await get(client, "/v1/balance"))["unaccounted"] == 0
