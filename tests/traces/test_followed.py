"""One batch, followed from the door to its commit by real processes, and what a collector that is away costs: spans."""

import json
import re
import time
from collections.abc import Callable, Iterator
from uuid import UUID

import pytest
from fleet import Fleet
from whole import Plant

from penstock.traces.ids import ids_of
from traces.collector import Collector, Told

pytestmark = pytest.mark.slow

SECRET_VALUE = 8_137.0625
BATCH = re.compile(r"([0-9a-f]{32})-([0-9a-f]+)-[0-9a-f]+-[0-9a-f]{8}")


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector() as collecting:
        yield collecting


@pytest.fixture(scope="module")
def fleet(collector: Collector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("followed") / "plant"
    with Fleet(folder, shards=1, traces__url=collector.url, traces__share="1") as running:
        yield running


@pytest.fixture(scope="module")
def door(fleet: Fleet) -> Plant:
    door = fleet.door("ingest", "ingest")
    fleet.worker("work")
    fleet.until_ready([door])
    return door


def readings(count: int, value: float = 1.0) -> list[dict[str, object]]:
    now_us = time.time_ns() // 1_000
    return [{"tag": f"a/b/t{i}", "ts": now_us + i, "value": value + i / 8} for i in range(count)]


def posted(door: Plant, body: list[dict[str, object]]) -> str:
    status, answer = door.post("/v1/readings", body)
    assert status == 202, answer
    return str(json.loads(answer)["batch_id"])


def told_of(collector: Collector, batch_id: str) -> dict[str, Told]:
    """The spans of a batch's trace by name, once all are there."""
    found = BATCH.fullmatch(batch_id)
    assert found
    trace = f"{ids_of(UUID(found[1]), int(found[2], 16)).trace:032x}"
    spans: dict[str, Told] = {}

    def complete() -> bool:
        spans.update({one.name: one for one in collector.spans() if one.trace == trace})
        return spans.keys() == {"POST /v1/readings", "put", "store", "read", "detect", "commit"}

    assert until(complete), f"of trace {trace} came {spans.keys()}"
    return spans


def test_one_trace_follows_a_batch_from_the_door_to_its_commit(fleet: Fleet, door: Plant, collector: Collector) -> None:
    batch_id = posted(door, readings(20))
    spans = told_of(collector, batch_id)
    accept, put, store = spans["POST /v1/readings"], spans["put"], spans["store"]
    assert (accept.service, put.service, store.service) == ("penstock-ingest", "penstock-ingest", "penstock-work")
    assert (accept.parent, put.parent, store.parent) == ("", accept.ident, put.ident)
    assert {spans[name].parent for name in ("read", "detect", "commit")} == {store.ident}
    assert_in_order(spans)
    assert accept.attributes["penstock.batch_id"] == batch_id
    assert accept.attributes["http.response.status_code"] == 202
    assert store.attributes["penstock.readings"] == accept.attributes["penstock.readings"] == 20


def assert_in_order(spans: dict[str, Told]) -> None:
    begun = {name: one.span.start_time_unix_nano for name, one in spans.items()}
    ended = {name: one.span.end_time_unix_nano for name, one in spans.items()}
    accept = "POST /v1/readings"
    assert begun[accept] <= begun["put"] <= ended["put"] <= ended[accept]
    assert begun["put"] <= begun["store"] == begun["read"] <= ended["read"] <= begun["detect"] <= ended["detect"]
    assert ended["detect"] <= begun["commit"] <= ended["commit"] == ended["store"]
    assert ended["store"] - begun[accept] < 20e9


def test_an_alarm_is_told_on_the_batch_that_raised_it_and_no_value_ever(
    fleet: Fleet, door: Plant, collector: Collector
) -> None:
    page = fleet.door("serve", "serve")
    told_of(collector, posted(door, readings(2)))
    assert page.request("PUT", "/v1/tags/a/b/t0", b'{"limits": {"hh": 100.0}}')[0] == 200
    store = told_of(collector, posted(door, readings(2, SECRET_VALUE)))["store"]
    (alarm,) = store.span.events
    told = {one.key: one.value.string_value for one in alarm.attributes}
    assert (alarm.name, told["penstock.test"], told["penstock.tag"]) == ("alarm", "limit_hh", "a/b/t0")
    assert until(lambda: any(one.name.startswith("PUT /v1/tags/{") for one in collector.spans()))
    said = b"".join(collector.bodies)
    assert not [word for word in (fleet.key, "8137", "100.0") if word.encode() in said]


def test_a_collector_that_hangs_costs_spans_and_nothing_else(fleet: Fleet, door: Plant) -> None:
    with Collector(hangs_s=60) as hanging:
        door = fleet.door("ingest-hanging", "ingest", PENSTOCK_TRACES__URL=hanging.url)
        began_s, answered_s = time.monotonic(), list[float]()
        while "collector does not take traces" not in fleet.tail("ingest-hanging"):
            assert time.monotonic() < began_s + 20
            asked_s = time.monotonic()
            posted(door, readings(2))
            answered_s.append(time.monotonic() - asked_s)
        assert max(answered_s) < 2
        assert fleet.tail("ingest-hanging").count("collector") == 1, "one line, however often it fails"
        assert re.search(rb'penstock_spans_total\{fate="failed"\} [1-9]', door.get("/metrics")[1])
        asked_s = time.monotonic()
        assert fleet.services["ingest-hanging"].stop() == 0
        assert time.monotonic() - asked_s < 10


def until(holds: Callable[[], bool], timeout_s: float = 20) -> bool:
    deadline = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True
