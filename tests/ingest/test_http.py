"""The writing door, as its clients see it, over the real stream in memory."""

import asyncio
import gzip
import json

import pytest

from door.http_client import call
from penstock.clock import FakeClock, SystemClock
from penstock.door.asgi import Door
from penstock.door.keys import Keyring, create_key, make_key
from penstock.door.limit import Limiter
from penstock.door.memory import MemoryKeys
from penstock.errors import Unavailable
from penstock.ingest.http import IngestApp
from penstock.ingest.openapi import PATHS, openapi_paths
from penstock.model.access import Role
from penstock.settings import IngestSettings
from penstock.stream.memory import MemoryStream

CRITICAL = "lyon/press/pressure"
NOW_US = 1_795_161_600_000_000


def reading(tag="lyon/press/temperature", **more):
    return {"tag": tag, "ts": NOW_US, "value": 1.5, **more}


class Plant:
    """A writing door with a key for all sites and one for Lyon."""

    def __init__(self, stream=None, **settings):
        self.stream = stream or MemoryStream(2**24)
        self.places = []
        self.is_committed = True
        app = IngestApp(
            self.stream, lambda: frozenset({CRITICAL}), self.committed, IngestSettings(**settings), FakeClock(NOW_US)
        )
        self.keys = MemoryKeys(SystemClock())
        self.door = Door(dict.fromkeys(PATHS, app), app, Keyring(self.keys), Limiter(0, 1))

    async def committed(self, places, timeout_s):
        self.places.append((places, timeout_s))
        return self.is_committed

    async def key(self, role=Role.ADMIN, sites=("*",)):
        return await create_key(self.keys, make_key(SystemClock(), name="t", role=role, sites=sites, created_by="t"))

    async def post(self, body, key=None, path="/v1/readings", **headers):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        headers = {"x-api-key": key or await self.key(), "content-type": "application/json", **named}
        return await call(self.door, "POST", path, headers=headers, body=body)


@pytest.mark.parametrize("path", PATHS)
async def test_what_is_accepted_stands_in_the_stream(path):
    plant = Plant()
    answer = await plant.post([reading(seq=7), reading(value="x"), reading(CRITICAL)], path=path)
    assert answer.status == 202
    told = answer.json()
    assert (told["accepted"], told["refused"]) == (2, 1)
    assert [(error["index"], error["code"]) for error in told["errors"]] == [(1, "value_not_number")]
    assert [place.shard for place in plant.stream.places(told["batch_id"])] == ["critical", "bulk"]
    (urgent,), (bulk,) = await plant.stream.take("critical", 0, 10), await plant.stream.take("bulk", 0, 10)
    assert (urgent.batch.paths, urgent.batch.index.tolist()) == ((CRITICAL,), [2])
    assert (bulk.batch.seq.tolist(), bulk.batch.index.tolist(), bulk.received_us) == ([7], [0], NOW_US)


async def test_a_batch_without_anything_good_is_422_with_its_errors():
    answer = await Plant().post([reading(value="x")] * 30)
    assert (answer.status, answer.headers["content-type"]) == (422, "application/problem+json")
    told = answer.json()
    assert (told["code"], told["refused"], len(told["errors"])) == ("items_refused", 30, 20)


async def test_sites_outside_the_key_are_refused_item_by_item_or_whole():
    plant = Plant()
    key = await plant.key(Role.WRITER, ["lyon"])
    mixed = await plant.post([reading("oslo/a"), reading(), reading("?")], key)
    assert mixed.status == 202
    assert [(e["index"], e["code"]) for e in mixed.json()["errors"]] == [(0, "site_forbidden"), (2, "tag_invalid")]
    whole = await plant.post([reading("oslo/a")] * 2, key)
    assert (whole.status, whole.json()["code"]) == (403, "site_forbidden")
    neither = await plant.post([reading("oslo/a"), reading("?")], key)
    assert neither.status == 422
    assert (await plant.stream.totals())["bulk"].counted == 1


async def test_a_key_that_only_reads_does_not_write():
    plant = Plant()
    answer = await plant.post([reading()], await plant.key(Role.VIEWER))
    assert (answer.status, answer.json()["code"]) == (403, "role_forbidden")


async def test_in_overload_critical_ones_go_first_and_the_rest_is_named():
    plant = Plant(MemoryStream(40_000))
    bulk = [reading(f"lyon/press/t{i}", seq=i) for i in range(300)]
    while (answer := await plant.post([reading(CRITICAL), *bulk])).status == 202 and not answer.json()["errors"]:
        pass
    assert answer.status == 202
    told = answer.json()
    assert (told["accepted"], told["refused"]) == (1, 300)
    assert told["errors"][0] == {**told["errors"][0], "index": 1, "code": "overloaded", "retryable": True}
    full = await plant.post(bulk)
    assert (full.status, full.json()["code"], full.headers["retry-after"]) == (503, "overloaded", "1")


async def test_a_stream_that_is_away_is_503():
    class Away(MemoryStream):
        async def append(self, lanes, received_us):
            raise Unavailable("the disk went away")

    answer = await Plant(Away(2**20)).post(reading())
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")


async def test_who_asks_waits_for_the_commit():
    plant = Plant()
    done = await plant.post(reading(), prefer="respond-async, wait=committed")
    assert (done.status, done.headers["preference-applied"]) == (200, "wait=committed")
    assert plant.places == [(plant.stream.places(done.json()["batch_id"]), 5.0)]
    plant.is_committed = False
    assert (await plant.post(reading(), prefer="wait=committed")).status == 202


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b"{", {}, 400, "not_json"),
        (b"[]", {}, 422, "empty"),
        (b"[[[[[[[[[[1]]]]]]]]]]", {}, 400, "too_deep"),
        (b"a,b", {"content_type": "text/csv"}, 415, "content_type"),
        (b"{}", {"content_encoding": "br"}, 415, "content_encoding"),
        (b"{}", {"content_encoding": "gzip"}, 400, "not_compressed"),
        (b" " * 2000, {}, 413, "body_too_large"),
        (b"{}", {"content_length": "2000"}, 413, "body_too_large"),
        (gzip.compress(b" " * 5000, mtime=0), {"content_encoding": "gzip"}, 413, "decompressed_too_large"),
        (b"[1,1,1,1]", {}, 413, "too_many_items"),
    ],
)
async def test_every_refusal_is_a_problem_that_echoes_nothing(body, headers, status, code):
    plant = Plant(body_bytes_max=1000, decompressed_bytes_max=4000, items_max=3)
    answer = await plant.post(body, **headers)
    assert (answer.status, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"


async def test_compressed_bodies_are_taken():
    body = gzip.compress(json.dumps([reading()]).encode())
    assert (await Plant().post(body, content_encoding="gzip")).status == 202


async def test_only_post():
    plant = Plant()
    answer = await call(plant.door, "PUT", "/v1/readings", headers={"x-api-key": await plant.key()})
    assert (answer.status, answer.headers["allow"]) == (405, "POST")


async def test_bodies_under_way_are_bounded_together():
    gate = asyncio.Event()

    class Slow(MemoryStream):
        async def append(self, lanes, received_us):
            await gate.wait()
            return await super().append(lanes, received_us)

    plant = Plant(Slow(2**24), bodies_bytes_max=300)
    key = await plant.key()
    first = asyncio.create_task(plant.post([reading()] * 2, key))
    await asyncio.sleep(0.01)
    assert (await plant.post([reading()] * 4, key)).status == 503
    gate.set()
    assert (await first).status == 202
    assert (await plant.post([reading()] * 2, key)).status == 202


def test_openapi_names_the_caps():
    paths = openapi_paths(IngestSettings())
    assert set(paths) == set(PATHS)
    text = json.dumps(paths)
    assert str(8 * 2**20) in text
    assert str(64 * 2**20) in text
    assert "20000" in text
