"""Spans to an OpenTelemetry collector, by OTLP over HTTP. Imported only where tracing is on: the extra `traces`."""

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Final

import requests
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from penstock.telemetry import SPANS, log
from penstock.traces.ids import Sample
from penstock.traces.port import Caller, Kind, Span

PATH: Final = "/v1/traces"
QUEUE_MAX: Final = 2_048
BATCH_MAX: Final = 256
EVERY_S: Final = 1.0
PATIENCE_S: Final = 2.0
"""So long the collector may take for one batch of spans; at the end, after so long no other is sent."""
_KINDS: Final = {
    Kind.SERVER: SpanKind.SERVER,
    Kind.PRODUCER: SpanKind.PRODUCER,
    Kind.CONSUMER: SpanKind.CONSUMER,
    Kind.INTERNAL: SpanKind.INTERNAL,
}


class OtlpTraces:
    """A bounded queue, and a thread that empties it. Make it and close it; `tell` from one thread."""

    def __init__(self, url: str, share: float, service: str, version: str) -> None:
        """*url*: the collector's, without `/v1/traces`; *service*: what the spans are of."""
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # what it would say, one line of ours says
        self.sample = Sample(share)
        self._service = service
        self._ids = _GivenIds()
        self._waiting = _Waiting()
        resource = Resource({"service.name": service, "service.version": version})
        provider = TracerProvider(ALWAYS_ON, resource, shutdown_on_exit=False, id_generator=self._ids)
        self._exporter = _Counted(url, self._waiting)
        processor = BatchSpanProcessor(self._exporter, QUEUE_MAX, EVERY_S * 1_000, BATCH_MAX)
        provider.add_span_processor(processor)
        self._provider, self._tracer = provider, provider.get_tracer("penstock")

    def tell(self, span: Span) -> None:
        """As `Traces`; a span more than the queue holds is counted and gone."""
        if not self._waiting.enter():
            SPANS.labels("overflowed").inc()
            return
        self._ids.given = span
        parent = _context(span.trace, span.parent)
        told = self._tracer.start_span(
            span.name,
            set_span_in_context(NonRecordingSpan(parent)),
            _KINDS[span.kind],
            {**span.attributes, **self._for_xray(span), **_caller(span.caller)},
            [Link(_context(*span.caller))] if span.caller and span.caller.span else [],
            span.begun_us * 1_000,
        )
        for event in span.events:
            told.add_event(event.name, event.attributes, event.at_us * 1_000)
        if span.failed:
            told.set_status(Status(StatusCode.ERROR))
        told.end(span.ended_us * 1_000)

    def close(self) -> None:
        """Send what is left, within twice `PATIENCE_S` at most. Blocks."""
        self._exporter.ends_at_s = time.monotonic() + PATIENCE_S
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        closing.join(2 * PATIENCE_S)

    def _for_xray(self, span: Span) -> Mapping[str, str]:
        """X-Ray's exporter draws what answers requests as a service; what takes from a stream it must be told of."""
        if span.kind is not Kind.CONSUMER:
            return {}
        return {"aws.span.kind": "LOCAL_ROOT", "aws.local.service": self._service}


class _GivenIds(IdGenerator):
    """The SDK asks for the next span's ids; we know them."""

    given: Span

    def generate_trace_id(self) -> int:
        return self.given.trace

    def generate_span_id(self) -> int:
        return self.given.span


class _Waiting:
    """How many spans are on their way, so that the SDK never has to throw one away uncounted."""

    def __init__(self) -> None:
        self._count, self._lock = 0, threading.Lock()

    def enter(self) -> bool:
        """Whether there is room for one more; it is taken."""
        with self._lock:
            has_room = self._count < QUEUE_MAX
            self._count += has_room
            return has_room

    def leave(self, count: int) -> None:
        with self._lock:
            self._count -= count


class _Counted(SpanExporter):
    """The exporter, and what became of the spans it was given: a metric, and a line when that changes."""

    def __init__(self, url: str, waiting: _Waiting) -> None:
        session = requests.Session()
        session.trust_env = False  # no proxy, and no ~/.netrc: the collector is a neighbour
        self._exporter = OTLPSpanExporter(url.rstrip("/") + PATH, timeout=PATIENCE_S, session=session)
        self._url, self._waiting = url, waiting
        self._is_taken = True
        self.ends_at_s: float | None = None

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self._waiting.leave(len(spans))
        ends = self.ends_at_s is not None and time.monotonic() > self.ends_at_s
        result = SpanExportResult.FAILURE if ends else self._exporter.export(spans)
        taken = result is SpanExportResult.SUCCESS
        SPANS.labels("sent" if taken else "failed").inc(len(spans))
        if taken is not self._is_taken and not ends:
            self._is_taken = taken
            self._say(taken=taken)
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()  # type: ignore[no-untyped-call]  # theirs

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)

    def _say(self, *, taken: bool) -> None:
        if taken:
            log.info("the collector takes traces again", url=self._url)
        else:
            log.warning("the collector does not take traces: they are lost until it does", url=self._url)


def _context(trace: int, span: int) -> SpanContext:
    return SpanContext(trace, span, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))


def _caller(caller: Caller | None) -> Mapping[str, str]:
    return {} if caller is None else {"penstock.caller_trace": f"{caller.trace:032x}"}
