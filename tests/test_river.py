"""The whole river, as its users have it: `penstock up`, one request, and everything that must be true afterwards."""

import csv
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from p2_kills import prove
from whole import Plant

pytestmark = pytest.mark.slow
NOW_US = time.time_ns() // 1000


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    window = {"PENSTOCK_PROCESS__WINDOW_DAYS": "7305"}  # the real series begin in 2011
    plant = Plant(tmp_path_factory.mktemp("river") / "data", "--rate", "0", **window)
    plant.start()
    yield plant
    assert plant.stop() == 0


def penstock(*words: str, data: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "penstock", *words, "--data", str(data)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def send(plant: Plant, readings: list[dict[str, object]]) -> dict[str, object]:
    body = json.dumps(readings).encode()
    status, answer = plant.request("POST", "/v1/readings?", body)
    assert status == 202, answer
    wait_stored(plant)
    return json.loads(answer)


def wait_stored(plant: Plant) -> dict[str, int]:
    deadline = time.monotonic() + 10
    while (balance := json.loads(plant.get("/v1/balance")[1]))["in_flight"]:
        assert time.monotonic() < deadline, balance
        time.sleep(0.05)
    assert balance["unaccounted"] == 0
    return balance


def items(plant: Plant, path: str) -> list[dict[str, object]]:
    status, body = plant.get(path)
    assert status == 200, body
    return json.loads(body)["items"]


def test_a_reading_is_live_stored_and_accounted_for(plant: Plant) -> None:
    tag = "lyon/press/line-3/press-7/temperature"
    answer = send(
        plant, [{"tag": tag, "ts": NOW_US, "value": -0.0}, {"tag": tag, "ts": NOW_US + 1, "value": 0.1 + 0.2}]
    )
    assert (answer["accepted"], answer["refused"]) == (2, 0)
    stored = items(plant, f"/v1/readings?tag={tag}&start=2020-01-01T00:00:00Z&end=2100-01-01T00:00:00Z")
    assert [str(reading["value"]) for reading in stored] == ["-0.0", "0.30000000000000004"]
    fates = [item["fate"] for item in items(plant, f"/v1/trace/{answer['batch_id']}")]
    assert fates == ["stored", "stored"]
    time.sleep(1)
    assert items(plant, f"/v1/latest?tag={tag}")[0]["value"] == 0.1 + 0.2


def test_sent_again_it_is_a_duplicate_and_altered_a_conflict(plant: Plant) -> None:
    reading = {"tag": "lyon/press/line-3/press-8/temperature", "ts": NOW_US, "value": 1.5}
    send(plant, [reading])
    before = wait_stored(plant)
    send(plant, [reading, reading | {"value": 2.5}])
    after = wait_stored(plant)
    assert (after["duplicate"] - before["duplicate"], after["conflict"] - before["conflict"]) == (1, 1)
    assert after["stored"] == before["stored"]


def test_what_breaks_its_tags_contract_is_quarantined_with_its_reason(plant: Plant) -> None:
    send(plant, [{"tag": "lyon/press/old", "ts": "1999-01-01T00:00:00Z", "value": 1.0}])
    assert any(held["reason"] == "ts_too_old" for held in items(plant, "/v1/quarantine"))


def test_a_limit_set_now_alarms_at_the_next_reading_and_is_acknowledged(plant: Plant) -> None:
    tag = "lyon/oven/temperature"
    send(plant, [{"tag": tag, "ts": NOW_US, "value": 180.0}])
    status, answer = plant.request("PUT", f"/v1/tags/{tag}", b'{"unit": "Cel", "limits": {"hh": 200.0}}')
    assert status == 200, answer
    send(plant, [{"tag": tag, "ts": NOW_US + 1_000_000, "value": 201.0}])
    (alarm,) = items(plant, f"/v1/alarms?tag={tag}")
    assert (alarm["state"], alarm["test"]) == ("unacknowledged", "limit_hh")
    assert "200" in str(alarm["because"])
    status, answer = plant.post(f"/v1/alarms/{alarm['id']}/ack", {"note": "valve closed"})
    assert status == 200, answer
    assert items(plant, f"/v1/alarms?tag={tag}")[0]["state"] == "acknowledged"


def test_a_second_up_on_the_same_directory_is_refused_with_the_firsts_pid(plant: Plant) -> None:
    done = penstock("up", "--no-browser", "--port", "0", data=plant.data)
    assert done.returncode == 78
    assert plant.process is not None
    assert str(plant.process.pid) in done.stderr


def test_a_key_made_beside_a_running_plant_works_until_it_is_revoked(plant: Plant) -> None:
    made = penstock(
        "keys", "create", "--name", "gateway", "--site", "lyon", "--role", "writer", "--json", data=plant.data
    )
    assert made.returncode == 0, made.stderr
    key = json.loads(made.stdout)
    admin, plant.key = plant.key, key["key"]
    try:
        assert plant.post("/v1/readings", {"tag": "lyon/a/b", "ts": NOW_US, "value": 1})[0] == 202
        assert plant.post("/v1/readings", {"tag": "paris/a/b", "ts": NOW_US, "value": 1})[0] == 403
        assert penstock("keys", "revoke", key["key_id"], data=plant.data).returncode == 0
        time.sleep(5.5)
        assert plant.post("/v1/readings", {"tag": "lyon/a/b", "ts": NOW_US, "value": 1})[0] == 401
    finally:
        plant.key = admin


def test_the_bench_counts_what_was_acknowledged_and_what_was_committed(plant: Plant) -> None:
    load = ("--rate", "2000", "--seconds", "1", "--batch", "100", "--tags", "100")
    done = penstock("bench", *load, "--json", data=plant.data)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["acknowledged"] == report["committed"] == 2_000


def test_a_wrong_setting_stops_the_start_with_its_name(tmp_path: Path) -> None:
    done = penstock("up", "--no-browser", "--stream", "kafka://x", data=tmp_path / "data")
    assert done.returncode == 78
    assert "stream.url" in done.stderr


def test_kill_9_of_everything_loses_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    result = prove(3, tmp_path)
    assert {result[fault] for fault in ("lost", "duplicated", "extra", "unaccounted")} == {0}
    assert result["acknowledged"] > 1_000


def test_series_go_in_through_the_front_door_to_the_bit(plant: Plant, real_series: list[Path]) -> None:
    before = wait_stored(plant)
    done = penstock(
        "replay", *map(str, real_series), "--zone", "UTC", "--key", "row", "--tag-prefix", "real", "--speed", "max",
        data=plant.data,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    after = wait_stored(plant)
    values = [float(value) for file in real_series for value in numbers(file)]
    assert after["stored"] - before["stored"] == len(values)
    with psycopg.connect(plant.note["store_url"]) as connection:
        rows = connection.execute("select value from readings where starts_with(path, 'real/')").fetchall()
    assert sorted(row[0] for row in rows) == sorted(values)


def numbers(file: Path) -> Iterator[str]:
    """Every number of a wide or long file but its times."""
    with file.open() as lines:
        head = lines.readline()
        lines.seek(0)
        for row in csv.reader(lines, delimiter=";" if ";" in head else ","):
            if row[0] not in ("datetime", "timestamp", "ts"):
                yield from row[1:]
