"""Files through the front door: each reading once, its time and its value to the bit, from where it was stopped."""

import asyncio
import struct
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.client import Client
from penstock.errors import Rejected, Unauthorized
from penstock.replay import ReplayOptions, Summary, read_table, replay
from penstock.replay import feed as feed_module
from penstock.replay.table import Reading, Reads, legal
from scripted_door import scripted_door

UTC = Reads(zone="UTC")


def table(folder: Path, content: str, reads: Reads = UTC, name: str = "run.csv") -> list[Reading]:
    file = folder / name
    file.write_text(content, "utf-8")
    return list(read_table(file, reads))


def test_a_long_file_keeps_its_tags(tmp_path: Path):
    readings = table(tmp_path, "ts,tag,value\n2026-01-01T00:00:00.000001Z,a/b,-0.0\n1767225600000002,a/c,RUNNING\n")
    assert readings == [
        Reading(2, "a/b", 1767225600000001, -0.0, None, "good", None),
        Reading(3, "a/c", 1767225600000002, None, "RUNNING", "good", None),
    ]


def test_a_long_file_may_say_quality_seq_and_unit(tmp_path: Path):
    content = "ts,tag,value,quality,seq,unit\n5,a/b,,bad,7,Cel\n6,a/b,1,1073741824,,\n7,a/b,nan,,,\n8,a/b,,,,\n"
    assert [reading[3:] for reading in table(tmp_path, content)] == [
        (None, None, "bad", 7, "Cel"),
        (1.0, None, 1073741824, None, None),
        (None, None, "bad", None, None),
    ]


def test_a_series_is_named_after_its_file(tmp_path: Path):
    folder = tmp_path / "real known"
    folder.mkdir()
    content = "timestamp,value\n2014-07-01 00:00:00,10844\n"
    (reading,) = table(folder, content, Reads("Europe/Paris", tag_prefix="nab"), "nyc taxi.csv")
    assert (reading.tag, reading.ts_us) == ("nab/real_known/nyc_taxi", 1404165600000000)


def test_a_wide_file_has_a_tag_a_column(tmp_path: Path):
    content = (
        "datetime;Current;Volume Flow RateRMS;anomaly\n2020-03-09 11:14:34;1.28;32.0;0.0\n2020-03-09 11:14:35;;33;\n"
    )
    folder = tmp_path / "valve1"
    folder.mkdir()
    readings = table(folder, content, Reads("UTC", "skab"), "3.csv")
    assert [(r.row, r.tag, r.value) for r in readings] == [
        (2, "skab/valve1/3/Current", 1.28),
        (2, "skab/valve1/3/Volume_Flow_RateRMS", 32.0),
        (2, "skab/valve1/3/anomaly", 0.0),
        (3, "skab/valve1/3/Volume_Flow_RateRMS", 33.0),
    ]


def test_wide_can_be_said(tmp_path: Path):
    folder = tmp_path / "f"
    folder.mkdir()
    assert [r.tag for r in table(folder, "ts,tag,value\n1,2,3\n", Reads(wide=True))] == ["f/run/tag", "f/run/value"]


def test_a_parquet_file_reads_like_its_csv(tmp_path: Path):
    file = tmp_path / "run.parquet"
    with duckdb.connect() as database:
        database.execute(
            f"COPY (SELECT TIMESTAMPTZ '2026-01-01 00:00:00.000001+00' AS ts, 'a/b' AS tag, 0.1::DOUBLE AS value"
            f" UNION ALL SELECT TIMESTAMPTZ '2026-01-01 00:00:01+00', 'a/b', NULL) TO '{file}' (FORMAT parquet)"
        )
    assert list(read_table(file, Reads())) == [Reading(2, "a/b", 1767225600000001, 0.1, None, "good", None)]


def test_zone_less_times_are_refused_with_the_mend(tmp_path: Path):
    with pytest.raises(Rejected, match=r"line 2.*--zone Europe/Paris"):
        table(tmp_path, "ts,tag,value\n2014-07-01 00:00:00,a/b,1\n", Reads())
    with pytest.raises(Rejected, match="no time zone Mars"):
        table(tmp_path, "ts,tag,value\n2014-07-01 00:00:00,a/b,1\n", Reads(zone="Mars"))


@pytest.mark.parametrize("content", ["tag,value\na/b,1\n", ""])
def test_a_file_without_a_time_column_is_refused(tmp_path: Path, content: str):
    with pytest.raises(Rejected, match="no time column"):
        table(tmp_path, content)


def test_a_row_that_breaks_off_is_named(tmp_path: Path):
    with pytest.raises(Rejected, match="line 3"):
        table(tmp_path, "ts,tag,value\n1,a/b,1\n2,a/b\n")


def test_the_line_can_be_the_seq(tmp_path: Path):
    readings = table(tmp_path, "ts,tag,value\n1,a/b,1\n\n1,a/b,1\n", Reads(key="row"))
    assert [reading.seq for reading in readings] == [2, 4]


@pytest.mark.parametrize(("text", "segment"), [("a b/c", "a_b_c"), ("..", "_"), ("", "_"), ("Äb-1.x", "_b-1.x")])
def test_names_are_made_legal(text: str, segment: str):
    assert legal(text) == segment


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_written_as_text_is_that_very_double(tmp_path: Path, value: float):
    (reading,) = table(tmp_path, f"ts,tag,value\n1,a/b,{value!r}\n")
    assert struct.pack("<d", reading.value) == struct.pack("<d", value)


class Door:
    """Takes what it gets; may fail after so many requests."""

    def __init__(self, taken_max: int = 10**9) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.taken_max = taken_max
        self.answer: dict[str, Any] = {}

    def __call__(self, method: str, path: str, query: object, body: dict[str, Any]) -> tuple[int, Any]:
        if len(self.bodies) >= self.taken_max:
            return 401, {"code": "unauthorized"}
        self.bodies.append(body)
        return 202, {"accepted": len(body["tags"]), "refused": 0, "errors": []} | self.answer

    def seen(self) -> list[tuple[int, float]]:
        return [pair for body in self.bodies for pair in zip(body["ts"], body["values"], strict=True)]


async def run(door: Door, file: Path, data: Path, options: ReplayOptions = ReplayOptions()) -> Summary:  # noqa: B008
    async with scripted_door(door) as url, Client(url) as client:
        return await replay(client, [file], options, data, show=False)


@pytest.fixture
def long_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(feed_module, "READINGS_MAX", 10)
    file = tmp_path / "long.csv"
    file.write_text("ts,tag,value\n" + "".join(f"{i * 1000},a/b,{i}.5\n" for i in range(95)))
    return file


async def test_everything_is_sent_once_in_order(long_file: Path, tmp_path: Path):
    door = Door()
    summary = await run(door, long_file, tmp_path / "data")
    assert door.seen() == [(i * 1000, i + 0.5) for i in range(95)]
    assert (summary.sent, summary.accepted, summary.refused.total()) == (95, 95, 0)
    assert set(door.bodies[0]) == {"tags", "ts", "values"}


async def test_a_stopped_replay_goes_on_where_it_was(long_file: Path, tmp_path: Path):
    door = Door(taken_max=4)
    with pytest.raises(Unauthorized):
        await run(door, long_file, tmp_path / "data")
    again = Door()
    summary = await run(again, long_file, tmp_path / "data")
    assert door.seen() + again.seen() == [(i * 1000, i + 0.5) for i in range(95)]
    assert summary.resumed_rows == 41
    third = Door()
    await run(third, long_file, tmp_path / "data")
    assert len(third.seen()) == 95, "a finished file begins anew"


async def test_another_content_or_another_prefix_is_another_replay(long_file: Path, tmp_path: Path):
    with pytest.raises(Unauthorized):
        await run(Door(taken_max=4), long_file, tmp_path / "data")
    door = Door()
    await run(door, long_file, tmp_path / "data", ReplayOptions(Reads(tag_prefix="p")))
    assert len(door.seen()) == 95


async def test_what_the_door_refuses_is_counted_by_its_code(long_file: Path, tmp_path: Path):
    door = Door()
    door.answer = {"accepted": 7, "refused": 3, "errors": [{"index": 1, "code": "value_not_finite"}]}
    summary = await run(door, long_file, tmp_path / "data")
    assert summary.accepted == 70
    assert summary.refused["value_not_finite"] == 10
    assert summary.sent == summary.accepted + summary.refused.total()


async def test_what_there_was_no_room_for_is_sent_again(long_file: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(feed_module, "RESEND_PAUSE_S", 0)
    full = [{"index": 1, "code": "overloaded", "retryable": True}]

    def rule(method: str, path: str, query: object, body: dict[str, Any]) -> tuple[int, Any]:
        door(method, path, query, body)
        return 202, {"accepted": len(body["tags"]), "errors": full if len(door.bodies) < 3 else []}

    door = Door()
    async with scripted_door(rule) as url, Client(url) as client:
        summary = await replay(client, [long_file], ReplayOptions(), tmp_path / "data", show=False)
    assert len(door.bodies) == 12
    assert summary.accepted == 95


async def test_speed_holds_readings_back(long_file: Path, tmp_path: Path):
    started = asyncio.get_running_loop().time()
    door = Door()
    await run(door, long_file, tmp_path / "data", ReplayOptions(speed=0.4))
    assert asyncio.get_running_loop().time() - started > 0.09 / 0.4 - 0.06
    assert door.seen() == [(i * 1000, i + 0.5) for i in range(95)]
