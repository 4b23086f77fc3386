"""HTTP/1.1 on a socket: uvicorn's protocol, with a deadline for all that must arrive and a cap on all that may."""

import asyncio
from asyncio import TimerHandle
from enum import Enum, auto
from typing import Any, Final, cast

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from penstock.door.problem import Problem
from penstock.settings import DoorSettings

PIPELINED_MAX: Final = 8
LINGER_S: Final = 1.0
_REASONS: Final = {400: b"Bad Request", 408: b"Request Timeout", 431: b"Request Header Fields Too Large"} | {
    503: b"Service Unavailable",
    505: b"HTTP Version Not Supported",
}
_LINE_OVERHEAD: Final = len(": \r\n")


class Refused(Exception):
    """This request, and with it the connection, ends here."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.code)
        self.problem = problem


MALFORMED: Final = Problem(400, "malformed_http", "this is not a well-formed HTTP/1.1 request")
HEADERS_TOO_LARGE: Final = Problem(431, "headers_too_large", "too many header lines, or too many bytes in them")
TOO_SLOW: Final = Problem(408, "too_slow", "headers and body must arrive in time")
TOO_MANY_CONNECTIONS: Final = Problem(
    503, "too_many_connections", "no more connections are taken right now", headers=[(b"retry-after", b"1")]
)
WRONG_VERSION: Final = Problem(505, "http_version", "HTTP/1.1 is spoken here")


class Phase(Enum):
    """What a connection's next bytes belong to."""

    SILENT = auto()
    """Nothing came yet."""
    HEAD = auto()
    BODY = auto()
    NOTHING = auto()
    """No request has begun; a kept connection is idle, or waits for our answer."""


class PenstockProtocol(HttpToolsProtocol):
    """One connection. At any time it waits for a head, for a body, or for our own answer.

    The deadline of a head runs from the connection's start, or from a kept connection's first byte, and no trickle of
    bytes puts it off; a body's runs from the end of its head. What is wrong is answered once, as problem+json, and
    the connection closed: after a framing error nobody can tell where the next request begins.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        settings: DoorSettings,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._settings = settings
        self._deadline: TimerHandle | None = None
        self._phase = Phase.SILENT
        self._ending = False
        self._line_bytes = 0
        """In the header lines of this request, trailers included."""
        self._loose_bytes = 0
        """That arrived for this request and became neither a complete head nor (counted twice) body."""

    # -- the connection ---------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        super().connection_made(transport)
        if len(self.connections) > self._settings.connections_max:
            self._ending = True
            transport.write(_rendered(TOO_MANY_CONNECTIONS))
            transport.close()
        else:
            self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        self._relax()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._ending or self.transport.is_closing():
            return
        self._unset_keepalive_if_required()
        try:
            self._feed(data)
        except Refused as refused:
            self._refuse(refused.problem)
        except httptools.HttpParserUpgrade:
            self._end_after_answer()  # nothing is upgraded here: the plain request is answered, and no more
        except httptools.HttpParserError as error:
            cause = error.__context__
            self._refuse(cause.problem if isinstance(cause, Refused) else MALFORMED)

    def _feed(self, data: bytes) -> None:
        begun = self._phase is not Phase.NOTHING
        self.parser.feed_data(data)
        if begun and self._phase is not Phase.NOTHING:
            self._loose_bytes += len(data)
            self._check_bytes(self._loose_bytes)
        if self._deadline is None and (self._phase is not Phase.NOTHING or self._is_idle()):
            self._expect()

    def _is_idle(self) -> bool:
        """Nothing is being answered: then stray line ends are all that came, and they keep nothing alive."""
        current = self._current()
        return current is None or current.response_complete

    # -- what the parser finds --------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._phase = Phase.HEAD
        self._line_bytes = self._loose_bytes = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        self._line_bytes += len(name) + len(value) + _LINE_OVERHEAD
        self._check_bytes(self._line_bytes)
        if self._phase is Phase.BODY:
            return  # a trailer: it comes after the head was judged, so it must not add to it
        if len(self.headers) >= self._settings.headers_max:
            raise Refused(HEADERS_TOO_LARGE)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._check_bytes(self._line_bytes + len(self.url))
        _check_head(self.headers, self.url, self.parser.get_http_version())
        if len(self.pipeline) >= PIPELINED_MAX:
            raise Refused(MALFORMED)
        self._relax()
        self._phase, self._loose_bytes = Phase.BODY, 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        # framing may be as long as what it frames, and trailers as long as a head
        self._loose_bytes -= 2 * len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._relax()
        self._phase = Phase.NOTHING
        super().on_message_complete()

    def _check_bytes(self, count: int) -> None:
        if count > self._settings.header_bytes_max:
            raise Refused(HEADERS_TOO_LARGE)

    # -- deadlines, and the end -------------------------------------------------------------------------------------

    def _expect(self) -> None:
        self._deadline = self.loop.call_later(self._settings.arrive_s, self._too_slow)

    def _relax(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        self._deadline = None
        if self._phase in (Phase.HEAD, Phase.BODY):
            self._refuse(TOO_SLOW)
        else:
            self.transport.close()  # no request began: there is nothing to answer

    def _refuse(self, problem: Problem) -> None:
        """Say it if the line is free for saying it, and end the connection."""
        self._relax()
        current = self._current()
        if self._phase is not Phase.BODY and current is not None and not current.response_complete:
            return self._end_after_answer()  # an earlier request of this connection is still being answered
        is_said = current is not None and self._phase is Phase.BODY and (current.response_started or self.pipeline)
        if not is_said:
            self.transport.write(_rendered(problem))
        if current is not None and not current.response_complete:
            current.disconnected = True
            current.message_event.set()
        return self._linger()

    def _end_after_answer(self) -> None:
        self._ending = True
        if self._is_idle():
            self.transport.close()
        else:
            self.cycle.keep_alive = False

    def _linger(self) -> None:
        """Close once the client had time to read: closing on unread bytes would take the answer back."""
        self._ending = True
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(min(LINGER_S, self._settings.arrive_s), self.transport.close)

    def _current(self) -> RequestResponseCycle | None:
        """The latest request; uvicorn's type forgets that at first there is none."""
        return cast("RequestResponseCycle | None", self.cycle)


def _check_head(headers: list[tuple[bytes, bytes]], url: bytes, version: str) -> None:
    """One Host, one way to tell where the body ends, and a plain path. Raises Refused."""
    if version not in ("1.1", "1.0"):
        raise Refused(WRONG_VERSION)
    hosts = framings = 0
    for name, value in headers:
        if name == b"host":
            hosts += 1
        elif name == b"content-length":
            framings += 1 if value.isdigit() else 2
        elif name == b"transfer-encoding":
            framings += 1 if value.lower() == b"chunked" else 2
    if hosts != 1 or framings > 1 or not url.startswith(b"/"):
        raise Refused(MALFORMED)


def _rendered(problem: Problem) -> bytes:
    body = problem.body()
    lines = [b"%s: %s\r\n" % pair for pair in (*problem.head(body), (b"connection", b"close"))]
    return b"HTTP/1.1 %d %s\r\n%s\r\n%s" % (problem.status, _REASONS[problem.status], b"".join(lines), body)
