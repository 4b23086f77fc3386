"""What a worker tells of traced batches: what was committed of them, once, and nothing of the others."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import pytest
from prometheus_client import REGISTRY

from make import T0_US, R, batch
from penstock.errors import Unavailable
from penstock.model.anomaly import Finding, Priority, Test
from penstock.model.batch import Lane
from penstock.model.shard import Shard
from penstock.model.slices import SLICES
from penstock.process.traced import BATCHES_MAX
from penstock.traces.ids import Sample, ids_of
from penstock.traces.port import Span
from process.plant import Disturbed, Recorder
from process.shared import OURS, SharedPlant

ONLY = Shard("only", None, (), range(SLICES))


class Chosen(Sample):
    """Traces these requests."""

    def __init__(self, *requests: int) -> None:
        super().__init__(1.0)
        self.requests = set(requests)

    def picks(self, producer: object, requests: np.ndarray) -> list[int]:
        return sorted(self.requests & set(requests.tolist()))


class Spans:
    def __init__(self, sample: Sample) -> None:
        self.sample, self.told = sample, list[Span]()

    def tell(self, span: Span) -> None:
        self.told.append(span)

    def named(self, name: str) -> list[Span]:
        return [span for span in self.told if span.name == name]


def traced(*requests: int, **limits: object) -> tuple[SharedPlant, Spans]:
    plant = SharedPlant(ONLY, **limits)
    plant.traces = spans = Spans(Chosen(*requests))
    return plant, spans


def lay(plant: SharedPlant, paths: str, requests: Sequence[int], times: int = 1) -> None:
    """One record with a reading of each of *requests*; of one tag, or of as many."""
    tags = paths.split() if " " in paths else [paths] * len(requests)
    readings = batch(*(R(path, T0_US + at, float(at)) for at, path in zip(requests, tags, strict=True)))
    name, origin, one = plant.stream.record(tags[0], Lane.BULK, readings)
    for _ in range(times):
        plant.stream.lay(name, one, origin._replace(request=np.array(requests, np.int64)))


async def test_a_batch_in_several_records_of_a_flush_is_one_span_and_others_are_none() -> None:
    plant, spans = traced(2)
    lay(plant, "a/b", [1, 2, 2])
    lay(plant, "a/c", [2, 3])
    await plant.work()
    (store,) = spans.named("store")
    assert (store.trace, store.parent) == (ids_of(OURS, 2).trace, ids_of(OURS, 2).put)
    assert (store.attributes["penstock.records"], store.attributes["penstock.readings"]) == (2, 3)
    assert [(span.name, span.parent) for span in spans.told[1:]] == [
        (name, store.span) for name in ("read", "detect", "commit")
    ]
    assert len({span.span for span in spans.told}) == 4


async def test_what_is_stored_in_two_flushes_is_told_by_each() -> None:
    plant, spans = traced(2, flush_readings_max=2)
    lay(plant, "a/b", [1, 2])
    lay(plant, "a/c", [2, 3])
    await plant.work()
    assert len({span.attributes["penstock.position"] for span in spans.named("store")}) == 2


async def test_a_repeat_and_a_flush_that_failed_are_not_told() -> None:
    plant, spans = traced(1)
    lay(plant, "a/b", [1], times=2)
    failures = iter([Unavailable("the database is away")])

    async def point(name: str) -> None:
        if name == "commit" and (failure := next(failures, None)):
            raise failure

    plant.history, plant.snapshots = Disturbed(plant.history, point), plant.history  # type: ignore[arg-type]
    with pytest.raises(Unavailable):
        await plant.work()
    assert spans.told == []
    await plant.work()
    assert len(spans.named("store")) == 1


async def test_reading_lasts_from_the_first_look_until_the_flush_began() -> None:
    plant, spans = traced(1, linger_ms=100)
    worker = plant.worker("only")
    holding = await worker.start()
    lay(plant, "a/b", [1])
    plant.clock.advance(30_000)
    assert await worker.turn(holding, plant.never) == 0, "it gathers"
    plant.clock.advance(80_000)
    assert await worker.turn(holding, plant.never) == 1
    (store,), (read,) = spans.named("store"), spans.named("read")
    assert (read.begun_us, read.ended_us) == (T0_US + 30_000, T0_US + 110_000)
    assert store.begun_us == read.begun_us
    assert store.attributes["penstock.waited_ms"] == 30


def finding(slot: int, *, active: bool = True) -> Finding:
    return Finding(
        slot=slot, ts_us=T0_US, test=Test.LIMIT_HH, active=active, priority=Priority.HIGH, value=8_137.5, score=1.0,
        low=None, high=8_000.5, because="8137.5 is above 8000.5",
    )  # fmt: skip


async def test_an_alarm_is_told_on_the_batches_that_brought_its_tag_without_any_value() -> None:
    plant, spans = traced(1, 2)
    plant.detector = partial(Recorder, findings=[finding(0), finding(0, active=False)])  # type: ignore[assignment]
    lay(plant, "a/b a/c", [1, 2])
    await plant.work()
    first, second = spans.named("store")
    assert [event.name for event in first.events] == ["alarm", "return to normal"]
    assert first.events[0].attributes == {
        "penstock.test": "limit_hh", "penstock.priority": "high", "penstock.tag": "a/b",
    }  # fmt: skip
    assert second.events == ()
    assert not [number for number in ("8137", "8000") if number in str(spans.told)]


async def test_a_flush_of_very_many_batches_tells_of_some_and_counts_the_rest() -> None:
    plant, spans = traced(*range(1, 1_001))
    lay(plant, "a/b", range(1, 1_001))
    before = REGISTRY.get_sample_value("penstock_spans_total", {"fate": "overflowed"}) or 0.0
    await plant.work()
    lost = (REGISTRY.get_sample_value("penstock_spans_total", {"fate": "overflowed"}) or 0.0) - before
    assert len(spans.named("store")) == BATCHES_MAX
    assert len(spans.told) + lost == 4_000


async def test_what_nobody_numbered_is_told_of_by_nobody() -> None:
    plant, spans = traced(1)
    plant.stream.foreign("only", R("a/b", T0_US, 1.0))
    await plant.work()
    assert spans.told == []
