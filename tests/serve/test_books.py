"""Everything that was received is accounted for, and the books can fail."""

import httpx
import psycopg
import pytest

from make import R
from penstock.model.batch import Lane
from serve.plant import NOW_US, Plant, T
from serve.test_readings import get, pages

S = 1_000_000
MINUTE = 60 * S


async def _mixed(plant: Plant) -> str:
    """2 stored, 1 duplicate, 1 conflict, 1 quarantined."""
    return await plant.store(
        R(T, NOW_US, 1.0), R(T, NOW_US, 1.0), R(T, NOW_US, 2.0), R(T, NOW_US + S, 3.0), R(T, NOW_US, state="ON", seq=1)
    )


FATES = {"received": 5, "stored": 2, "duplicate": 1, "conflict": 1, "quarantined": 1}


async def test_the_balance_adds_up(plant: Plant, client: httpx.AsyncClient) -> None:
    await _mixed(plant)
    await plant.send(R(T, NOW_US + 2 * S, 1.0), R("lyon/other/x", NOW_US, 1.0))
    whole = await get(client, "/v1/balance")
    assert whole == {**FATES, "received": 7, "in_flight": 2, "unaccounted": 0, "late": 0}
    minute = await get(client, "/v1/balance", start=NOW_US, end=NOW_US + MINUTE)
    assert minute == whole
    before = await get(client, "/v1/balance", start=NOW_US - 10 * MINUTE, end=NOW_US - 9 * MINUTE)
    assert set(before.values()) == {0}
    of_tag = await get(client, "/v1/balance", tag=T)
    assert of_tag == {**FATES, "received": 6, "in_flight": 1, "unaccounted": 0, "late": None}
    await plant.seal()
    assert await get(client, "/v1/balance", tag=T, start=NOW_US - MINUTE, end=NOW_US + MINUTE) == of_tag


@pytest.mark.parametrize(
    "broken",
    [
        "update shard set stored = stored - 1 where shard = 'bulk'",
        "update shard set counted = counted + 1 where shard = 'bulk'",
    ],
)
async def test_a_lost_reading_is_unaccounted_for(plant: Plant, client: httpx.AsyncClient, broken: str) -> None:
    await _mixed(plant)
    assert (await get(client, "/v1/balance"))["unaccounted"] == 0
    async with plant.database.connection() as connection:
        await connection.execute(broken)
    await plant.send(R(T, NOW_US + 9 * S, 1.0))
    assert (await get(client, "/v1/balance"))["unaccounted"] == 1
    assert "penstock_balance_unaccounted_readings 1.0" in (await client.get("/metrics")).text


async def test_a_batch_is_traced_to_each_fate(plant: Plant, client: httpx.AsyncClient) -> None:
    batch_id = await _mixed(plant)
    traced = await get(client, f"/v1/trace/{batch_id}")
    assert [item["fate"] for item in traced["items"]] == ["stored", "duplicate", "conflict", "stored", "quarantined"]
    assert {item["tag"] for item in traced["items"]} == {T}
    assert [item["where"] for item in traced["items"]] == [
        "flush 1", "flush 1", "conflict 1", "flush 1", "quarantine 1",
    ]  # fmt: skip
    (one,) = (await get(client, f"/v1/trace/{batch_id}", index=2))["items"]
    assert one["fate"] == "conflict"
    assert (await client.get(f"/v1/trace/{batch_id}?index=5")).status_code == 404
    flying = await plant.send(R(T, NOW_US + 5 * S, 1.0))
    (item,) = (await get(client, f"/v1/trace/{flying}"))["items"]
    assert (item["fate"], item["where"]) == ("in_flight", "bulk/2")
    for unknown in ("nonsense", "0-ffffffffffffffff-00000000", batch_id[:-1] + "z"):
        assert (await client.get(f"/v1/trace/{unknown}")).status_code == 404


async def test_a_batch_no_longer_kept_still_tells_its_exceptions(plant: Plant, client: httpx.AsyncClient) -> None:
    batch_id = await _mixed(plant)
    plant.stream._belts[Lane.BULK]._entries.clear()
    traced = await get(client, f"/v1/trace/{batch_id}")
    assert traced["complete"] is False
    assert [(item["index"], item["fate"]) for item in traced["items"]] == [
        (1, "duplicate"), (2, "conflict"), (4, "quarantined"),
    ]  # fmt: skip
    (one,) = (await get(client, f"/v1/trace/{batch_id}", index=0))["items"]
    assert one["fate"] == "stored"


@pytest.mark.parametrize("raw", [b'{"tag": "a/\x80"}', b"[" * 100_000], ids=["no text", "deep"])
async def test_what_was_kept_of_a_reading_is_shown_whatever_it_is(
    plant: Plant, client: httpx.AsyncClient, postgres_url: str, raw: bytes
) -> None:
    await _mixed(plant)
    async with await psycopg.AsyncConnection.connect(postgres_url) as connection:
        await connection.execute("update quarantine set raw = %s", [raw])
    (held,) = (await get(client, "/v1/quarantine"))["items"]
    assert held["reading"] == raw.decode("utf-8", "replace")
    again = await client.post(f"/v1/quarantine/{held['id']}/redrive")
    assert (again.status_code, again.json()["code"]) == (422, "not_redrivable")


async def test_a_quarantined_reading_is_redriven_once(plant: Plant, client: httpx.AsyncClient) -> None:
    await plant.store(R(T, NOW_US, 1.0), R("lyon/x/y", NOW_US + 3600 * S, 0.1 + 0.2, seq=7, unit="Cel"))  # far ahead
    (held,) = (await get(client, "/v1/quarantine"))["items"]
    assert (held["tag"], held["redriven_at"], held["reading"]["value"]) == ("lyon/x/y", None, 0.1 + 0.2)
    plant.clock.advance(3600 * S)
    answer = await client.post(f"/v1/quarantine/{held['id']}/redrive")
    assert answer.status_code == 200, answer.text
    await plant.work()
    (item,) = (await get(client, f"/v1/trace/{answer.json()['batch_id']}"))["items"]
    assert item["fate"] == "stored"
    (reading,) = (await get(client, "/v1/readings", tag="lyon/x/y"))["items"]
    assert (reading["value"], reading["seq"]) == (0.1 + 0.2, 7)
    (held,) = (await get(client, "/v1/quarantine"))["items"]
    assert (held["redriven_by"], held["redriven_as"]) == ("ada", answer.json()["batch_id"])
    again = await client.post(f"/v1/quarantine/{held['id']}/redrive")
    assert (again.status_code, again.json()["code"]) == (409, "already_redriven")
    assert (await get(client, "/v1/balance"))["unaccounted"] == 0


async def test_exceptions_page_newest_first(plant: Plant, client: httpx.AsyncClient) -> None:
    await plant.store(R(T, NOW_US, 0.0))
    await plant.store(*(R(T, NOW_US, float(i)) for i in range(1, 6)), *(R(T, NOW_US, state=f"S{i}") for i in range(5)))
    conflicts = await pages(client, "/v1/conflicts", limit=2)
    assert [item["value"] for item in conflicts] == [5.0, 4.0, 3.0, 2.0, 1.0]
    held = await pages(client, "/v1/quarantine", limit=2)
    assert [item["reading"]["state"] for item in held] == ["S4", "S3", "S2", "S1", "S0"]
    assert await pages(client, "/v1/quarantine", reason="nosuch") == []


async def test_alarms_are_listed_acknowledged_and_shelved(plant: Plant, client: httpx.AsyncClient) -> None:
    await plant.store(R(T, NOW_US, 1.0))
    await client.put(f"/v1/tags/{T}", json={"limits": {"hh": 90.0}})
    await plant.store(R(T, NOW_US + S, 95.0))
    (alarm,) = (await get(client, "/v1/alarms"))["items"]
    assert (alarm["tag"], alarm["state"], alarm["test"]) == (T, "unacknowledged", "limit_hh")
    assert (await get(client, "/v1/alarms", asset="lyon/press", state="unacknowledged"))["items"] == [alarm]
    assert (await get(client, "/v1/anomalies", tag=T))["items"][0]["alarm_id"] == alarm["id"]
    answer = await client.post(f"/v1/alarms/{alarm['id']}/ack", json={"note": "seen"})
    assert (answer.json()["state"], answer.json()["acknowledged_by"]) == ("acknowledged", "ada")
    assert (await client.post(f"/v1/alarms/{alarm['id']}/ack")).status_code == 409
    shelving = {"until": "2099-01-01T00:00:00Z", "reason": "maintenance"}
    assert (await client.post(f"/v1/alarms/{alarm['id']}/shelve", json=shelving)).json()["state"] == "shelved"
    assert (await client.post(f"/v1/alarms/{alarm['id']}/unshelve")).status_code == 200
    events = (await get(client, f"/v1/alarms/{alarm['id']}/events"))["items"]
    assert [event["who"] for event in events][1:] == ["ada"] * (len(events) - 1)
    assert (await client.get("/v1/alarms/999")).status_code == 404
