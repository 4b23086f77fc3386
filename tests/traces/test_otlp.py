"""Spans are sent or counted as lost; a collector's trouble is one line; without `traces.url` nothing is imported."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest
import structlog
from prometheus_client import REGISTRY
from structlog.testing import CapturingLogger

from penstock.compose.traces import traced
from penstock.errors import Misconfigured
from penstock.settings import read_settings
from penstock.traces import otlp
from penstock.traces.ids import random_ids
from penstock.traces.otlp import QUEUE_MAX, OtlpTraces
from penstock.traces.port import Caller, Event, Kind, Span
from traces.collector import Collector

Lost = Callable[[str], float]


@pytest.fixture
def fates() -> Lost:
    """How many spans had each fate since the test began."""

    def now(fate: str) -> float:
        return REGISTRY.get_sample_value("penstock_spans_total", {"fate": fate}) or 0.0

    before = {fate: now(fate) for fate in ("sent", "overflowed", "failed")}
    return lambda fate: now(fate) - before[fate]


@pytest.fixture
def said() -> Iterator[CapturingLogger]:
    logger = CapturingLogger()
    before = structlog.get_config()
    structlog.configure(logger_factory=lambda *_: logger, processors=[], cache_logger_on_first_use=False)
    yield logger
    structlog.configure(**before)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otlp, "PATIENCE_S", 0.2)
    monkeypatch.setattr(otlp, "EVERY_S", 0.02)


def span(**more: object) -> Span:
    trace, ident = random_ids()
    known = {"name": "store", "kind": Kind.INTERNAL, "trace": trace, "span": ident, "parent": 7, "begun_us": 1_000_001}
    return Span(**{"ended_us": 1_000_002, **known, **more})  # type: ignore[arg-type]


def until(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 10
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.01)
    return holds()


def test_a_span_arrives_as_it_was_told(fates: Lost) -> None:
    told = span(
        kind=Kind.CONSUMER, attributes={"a": 1}, events=(Event("alarm", 1_000_002, {"b": "c"}),), failed=True,
        caller=Caller(5, 6),
    )  # fmt: skip
    with Collector() as collector:
        traces = OtlpTraces(collector.url + "/", 1.0, "penstock-work", "1")
        traces.tell(told)
        traces.close()
        (arrived,) = collector.spans()
    assert (arrived.service, arrived.name) == ("penstock-work", "store")
    assert [int(one, 16) for one in (arrived.trace, arrived.ident, arrived.parent)] == [told.trace, told.span, 7]
    assert (arrived.span.start_time_unix_nano, arrived.span.end_time_unix_nano) == (1_000_001_000, 1_000_002_000)
    assert arrived.attributes["a"] == 1
    assert arrived.attributes["aws.local.service"] == "penstock-work"
    assert [one.name for one in arrived.span.events] == ["alarm"]
    assert [(int(one.trace_id.hex(), 16), int(one.span_id.hex(), 16)) for one in arrived.span.links] == [(5, 6)]
    assert arrived.span.status.code == arrived.span.status.STATUS_CODE_ERROR
    assert fates("sent") == 1


def test_what_the_queue_cannot_hold_is_counted_and_nobody_waits(fates: Lost) -> None:
    with Collector(hangs_s=60) as collector:
        traces = OtlpTraces(collector.url, 1.0, "t", "1")
        traces.tell(span())
        began_s = time.monotonic()
        for _ in range(2 * QUEUE_MAX):
            traces.tell(span())
        assert time.monotonic() - began_s < 5
        assert QUEUE_MAX / 2 < fates("overflowed") <= QUEUE_MAX + 1
        closing_s = time.monotonic()
        traces.close()
        assert time.monotonic() - closing_s < 2 * otlp.PATIENCE_S + 1
    assert fates("overflowed") + fates("failed") == 2 * QUEUE_MAX + 1, "each has a fate"


@pytest.mark.usefixtures("impatient")
def test_trouble_is_one_line_and_its_end_another(fates: Lost, said: CapturingLogger) -> None:
    with Collector(status=500) as collector:
        traces = OtlpTraces(collector.url, 1.0, "t", "1")
        for lost in range(1, 4):
            traces.tell(span())
            assert until(lambda lost=lost: fates("failed") >= lost)  # type: ignore[misc]
        collector.status = 200
        traces.tell(span())
        assert until(lambda: fates("sent") == 1)
        traces.close()
    assert [call.method_name for call in said.calls] == ["warning", "info"]


@pytest.mark.usefixtures("impatient")
def test_nobody_at_the_address_costs_the_span(fates: Lost) -> None:
    traces = OtlpTraces("http://127.0.0.1:9", 1.0, "t", "1")
    traces.tell(span())
    traces.close()
    assert fates("failed") == 1


@pytest.mark.parametrize("url", ["127.0.0.1:4318", "ftp://a", "http://", "http://user:word@a", "http://a/?token=b"])
async def test_an_address_that_is_none_or_holds_a_secret_is_refused(url: str) -> None:
    with pytest.raises(Misconfigured, match=r"traces\.url"):
        await traced(read_settings(traces={"url": url}), "work").__aenter__()


OFF = """
import asyncio, sys
from penstock.cli import app
from penstock.compose.front import Half, front
from penstock.compose.worker import work
from penstock.settings import read_settings

async def main():
    settings = read_settings(data={data!r}, stream={{"url": "memory:"}}, store={{"url": {url!r}}}, door={{"port": 0}})
    async with front(settings, {url!r}, Half.BOTH):
        await asyncio.sleep(0.2)

asyncio.run(main())
heavy = "opentelemetry.sdk", "opentelemetry.exporter", "opentelemetry.trace", "google.protobuf", "requests"
print(sorted(sys.modules.keys() & set(heavy)))  # (redis-py itself looks whether `opentelemetry.semconv` is there)
"""
ABSENT = """
import asyncio, sys
sys.modules["opentelemetry"] = None
from penstock.compose.traces import traced
from penstock.settings import read_settings
try:
    asyncio.run(traced(read_settings(traces={"url": "http://127.0.0.1:4318"}), "work").__aenter__())
except Exception as error:
    print(error)
"""


def test_where_tracing_is_off_opentelemetry_is_not_even_imported(postgres_url: str, tmp_path: object) -> None:
    script = OFF.format(data=str(tmp_path), url=postgres_url)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_without_the_extra_the_start_ends_with_the_mend() -> None:
    done = subprocess.run([sys.executable, "-c", ABSENT], capture_output=True, text=True, check=True)
    assert "penstock[traces]" in done.stdout
