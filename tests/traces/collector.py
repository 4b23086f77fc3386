"""An OpenTelemetry collector's HTTP door: it decodes what it is sent, and can be made to hang or to refuse."""

import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span


@dataclass(frozen=True)
class Told:
    """A span as it arrived."""

    service: str
    span: Span

    @property
    def name(self) -> str:
        return self.span.name

    @property
    def trace(self) -> str:
        return self.span.trace_id.hex()

    @property
    def ident(self) -> str:
        return self.span.span_id.hex()

    @property
    def parent(self) -> str:
        return self.span.parent_span_id.hex()

    @property
    def attributes(self) -> dict[str, str | int]:
        return {one.key: one.value.string_value or one.value.int_value for one in self.span.attributes}


@dataclass
class Collector:
    """`with Collector() as collector`; *status* is what it answers, *hangs_s* how long it takes."""

    port: int = 0
    status: int = 200
    hangs_s: float = 0.0
    bodies: list[bytes] = field(default_factory=list)
    requests: int = 0

    def __enter__(self) -> "Collector":
        collector = self

        class Answer(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                collector.requests += 1
                time.sleep(collector.hangs_s)
                if self.path == "/v1/traces" and collector.status == 200:
                    collector.bodies.append(body)
                self.send_response(collector.status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Answer)
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]  # whoever hung up is nobody's fault
        self._server.daemon_threads, self._server.block_on_close = True, False
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def spans(self) -> list[Told]:
        """All that were sent so far."""
        found = []
        for body in self.bodies:
            for one in ExportTraceServiceRequest.FromString(body).resource_spans:
                names = {each.key: each.value.string_value for each in one.resource.attributes}
                found += [Told(names["service.name"], span) for scope in one.scope_spans for span in scope.spans]
        return found
