"""Health, metrics, the document and the page; and no input that makes a 5xx."""

import json

import httpx
import pytest

from make import R
from penstock.serve.counted import CountedTallies
from penstock.serve.open import asset_names
from penstock.store.postgres import Database
from serve.plant import NOW_US, Plant, T
from serve.test_readings import get


async def test_health_says_what_is_away(plant: Plant, client: httpx.AsyncClient) -> None:
    assert (await get(client, "/healthz"))["status"] == "alive"
    assert (await client.get("/readyz")).status_code == 200
    pulse = plant.serving.live._pulse
    await plant.send(R(T, NOW_US, 1.0))  # and nobody works
    pulse._moved_s -= 11.0  # long idle is not long behind
    assert (await client.get("/readyz")).status_code == 200
    pulse._moved_s -= 11.0
    answer = await client.get("/readyz")
    assert (answer.status_code, answer.json()["failing"].keys()) == (503, {"worker"})
    assert (await client.get("/readyz/ingest")).status_code == 200


async def test_without_the_database_only_ingest_is_ready(plant: Plant, client: httpx.AsyncClient) -> None:
    nothing = Database("postgresql://127.0.0.1:1/nothing", application="test", connections_max=2)
    plant.serving.live._pulse._tallies = CountedTallies(nothing, plant.stream)
    answer = await client.get("/readyz")
    assert (answer.status_code, answer.json()["failing"]) == (503, {"store": "does not answer"})
    assert (await client.get("/readyz/ingest")).status_code == 200


async def test_metrics_tell_the_books(plant: Plant, client: httpx.AsyncClient) -> None:
    await plant.store(R(T, NOW_US, 1.0), R(T, NOW_US, 1.0))
    await plant.send(R(T, NOW_US + 1, 1.0))
    text = (await client.get("/metrics")).text
    for line in (
        "penstock_readings_received_total 3.0",
        "penstock_readings_stored_total 1.0",
        "penstock_readings_duplicate_total 1.0",
        "penstock_balance_unaccounted_readings 0.0",
        "penstock_readings_in_flight 1.0",
        'penstock_shard_lag_readings{shard="bulk"} 1.0',
    ):
        assert line in text, line


async def test_the_document_knows_every_route(client: httpx.AsyncClient) -> None:
    document = await get(client, "/openapi.json")
    assert document["openapi"].startswith("3.1")
    for path in (
        "/v1/tags", "/v1/tags/{tag}", "/v1/latest", "/v1/readings", "/v1/rollups", "/v1/series", "/v1/window",
        "/v1/live", "/v1/anomalies", "/v1/alarms", "/v1/alarms/{alarm_id}/ack",
        "/v1/quarantine/{quarantine_id}/redrive", "/v1/conflicts", "/v1/balance", "/v1/trace/{batch_id}",
        "/v1/keys", "/v1/keys/{key_id}", "/v1/plant", "/v1/shards", "/healthz", "/readyz", "/readyz/ingest",
        "/metrics", "/v1/login",
    ):  # fmt: skip
        for operation in document["paths"][path].values():
            assert "application/problem+json" in json.dumps(operation["responses"]["400"]), path
    assert set(document["components"]["securitySchemes"]) == {"key", "bearer", "session"}
    ids = [operation["operationId"] for item in document["paths"].values() for operation in item.values()]
    assert len(ids) == len(set(ids))


async def test_the_page_is_served_with_an_etag_and_without_a_listing(client: httpx.AsyncClient) -> None:
    page = await client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    again = await client.get("/", headers={"if-none-match": page.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    for name in asset_names():
        for folder in ("assets", "static"):
            assert (await client.get(f"/{folder}/{name}")).status_code == 200
    for name in ("", "../__init__.py", "..%2f__init__.py", "%2e%2e/__init__.py", "nosuch.js", "%00", "%ff"):
        assert (await client.get(f"/assets/{name}")).status_code == 404, name


BIG = "9" * 400
HOSTILE = [
    "",
    " ",
    "a",
    "%00",
    "%ff%fe",
    BIG,
    "-" + BIG,
    "1e999",
    "nan",
    "0000-00-00T00:00:00Z",
    "a/../b",
    "'; drop table tag",
    "\u202e",
]


LISTS = ("readings", "rollups", "series", "window", "latest", "tags", "balance", "anomalies", "alarms", "quarantine",
         "conflicts", "changes")  # fmt: skip


@pytest.mark.parametrize("path", LISTS)
async def test_no_parameter_makes_a_5xx(plant: Plant, client: httpx.AsyncClient, path: str) -> None:
    await plant.store(R(T, NOW_US, 1.0))
    names = ("tag", "start", "end", "limit", "cursor", "order", "as_of", "format", "interval", "points", "seconds",
             "prefix", "state", "asset", "reason", "index")  # fmt: skip
    for name in names:
        for bad in [
            *HOSTILE,
            "x" * 5_000,
            "W10",
            "WzEsMl0",
            "Wzk5OTk5OTk5OTk5OTk5OTk5OTk5OSwxXQ",
            "WyIlMDAiXQ",
            "WyJcdTAwMDAiXQ",
        ]:
            query = {"tag": T} if name != "tag" and path in ("readings", "rollups", "series", "window") else {}
            given = f"{name}={bad}" + "".join(f"&{key}={value}" for key, value in query.items())
            answer = await client.get(f"/v1/{path}?{given}")
            assert answer.status_code in {200, 400, 404}, (given[:80], answer.text)
            if answer.status_code != 200:
                assert answer.headers["content-type"] == "application/problem+json"
                assert answer.json()["code"]
                assert "drop table" not in answer.text


@pytest.mark.parametrize(
    "span",
    [
        ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"),
        ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"),
        (-(10**17), 10**17),
        ("-" + "9" * 18, "9" * 18),
    ],
)
async def test_the_widest_ranges_are_answered(
    plant: Plant, client: httpx.AsyncClient, span: tuple[object, object]
) -> None:
    await plant.store(R(T, NOW_US, 1.0))
    for path in ("readings", "rollups", "series", "balance", "anomalies"):
        for interval in ("1m", "1d"):
            answer = await client.get(
                f"/v1/{path}", params={"tag": T, "start": span[0], "end": span[1], "interval": interval}
            )
            assert answer.status_code == 200, (path, answer.text)
    answer = await client.get("/v1/readings", params={"tag": T, "start": span[1], "end": span[0]})
    assert answer.json()["code"] == "bad_range"


async def test_unknown_paths_methods_and_bodies_are_problems(client: httpx.AsyncClient) -> None:
    answers = [
        (await client.get("/v1/nosuch"), 404),
        (await client.get("/v1/tags/%ff/%00"), 404),
        (await client.get("/v1/tags/a//b"), 404),
        (await client.delete("/v1/readings"), 405),
        (await client.put(f"/v1/tags/{T}", content=b"\xff"), 400),
        (await client.put(f"/v1/tags/{T}", content=b"[" * 100_000), 413),
        (await client.post("/v1/keys", content=b'{"name": 1e999}'), 400),
        (await client.post("/v1/alarms/1/ack", content=b"\0"), 400),
        (await client.post(f"/v1/alarms/{BIG}/ack"), 404),
        (await client.get(f"/v1/alarms/{BIG}"), 404),
        (await client.delete("/v1/keys/%00"), 404),
        (await client.get("/v1/trace/%00"), 404),
    ]
    for number, (answer, status) in enumerate(answers):
        assert answer.status_code in {status, 400}, (number, answer.text)
        assert answer.headers["content-type"] == "application/problem+json", number
