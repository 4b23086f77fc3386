"""A request is one span, under the batch's own ids where it brought one; whose it was is noted, and never obeyed."""

from uuid import uuid4

import pytest

from door.test_door import Plant, rest
from penstock.clock import SystemClock
from penstock.door.asgi import Door
from penstock.door.problem import answer_json
from penstock.door.traced import TracedBatch, TracedDoor
from penstock.model.access import Role
from penstock.traces.ids import Sample, ids_of
from penstock.traces.port import Caller

BATCH = TracedBatch(uuid4(), 7, "an-id", 3)
W3C = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
ROOT = "1-5759e988-bd862e3fe1be46a994272793"


class Spans:
    def __init__(self, share=1.0):
        self.sample, self.told = Sample(share), []

    def tell(self, span):
        self.told.append(span)


async def taking(scope, receive, send):
    scope["state"]["batch"] = BATCH
    await answer_json(send, 202, {})


class TracedPlant(Plant):
    def __init__(self, share=1.0):
        super().__init__()
        self.spans = Spans(share)
        inner = Door({"/v1/readings": taking}, rest, self.ring, self.door._limiter)
        self.door = TracedDoor(inner, self.spans, SystemClock())


@pytest.fixture
async def plant():
    return TracedPlant()


async def test_a_request_is_a_span_with_its_route_and_status(plant):
    key, _ = await plant.key()
    await plant.get("/v1/tags", key)
    await plant.get("/v1/nothing/at/all", "nobody's")
    first, second = plant.spans.told
    assert first.attributes == {"http.request.method": "GET", "http.route": "other", "http.response.status_code": 200}
    assert second.attributes["http.response.status_code"] == 401
    assert (first.name, first.parent, first.failed, second.failed) == ("GET other", 0, False, False)
    assert first.begun_us <= first.ended_us
    assert first.trace != second.trace


async def test_only_our_own_faults_are_failures(plant):
    key, _ = await plant.key()
    await plant.get("/v1/crash", key)
    assert [(span.failed, span.attributes["http.response.status_code"]) for span in plant.spans.told] == [(True, 500)]
    assert "secret detail" not in str(plant.spans.told)


async def test_a_batch_is_told_under_the_ids_that_workers_come_to(plant):
    key, _ = await plant.key(Role.WRITER)
    await plant.get("/v1/readings", key, method="POST")
    (span,) = plant.spans.told
    assert (span.trace, span.span) == ids_of(BATCH.producer, BATCH.request)[:2]
    assert (span.attributes["penstock.batch_id"], span.attributes["penstock.readings"]) == ("an-id", 3)


async def test_a_batch_is_told_by_its_number_and_other_requests_by_chance():
    plant = TracedPlant(share=1e-9)
    key, _ = await plant.key(Role.WRITER)
    for path in ("/v1/readings", "/v1/tags"):
        await plant.get(path, key, method="POST")
    assert plant.spans.told == []


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/", "/assets/x.js", "/metrics"])
async def test_probes_and_files_are_not_traced(plant, path):
    await plant.get(path)
    assert plant.spans.told == []


@pytest.mark.parametrize(
    ("headers", "caller"),
    [
        ({"traceparent": W3C}, Caller(0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331)),
        ({"x-amzn-trace-id": f"Root={ROOT}"}, Caller(0x5759E988BD862E3FE1BE46A994272793, 0)),
        (
            {"x-amzn-trace-id": f"Self=1-67891234-12; Root={ROOT};Parent=53995c3f42cd8ad8;Sampled=1"},
            Caller(0x5759E988BD862E3FE1BE46A994272793, 0x53995C3F42CD8AD8),
        ),
        ({"traceparent": "00-" + "0" * 32 + "-b7ad6b7169203331-01"}, None),
        ({"traceparent": W3C + "x"}, None),
        ({"x-amzn-trace-id": "Root=1-" + "z" * 33}, None),
        ({}, None),
    ],
)
async def test_whose_request_it_was_is_noted(plant, headers, caller):
    key, _ = await plant.key()
    await plant.get("/v1/tags", key, headers=headers)
    (span,) = plant.spans.told
    assert span.caller == caller
    assert caller is None or span.trace != caller.trace
