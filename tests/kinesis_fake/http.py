"""HTTP/1.1 for one connection: a call in, an answer or a stream of frames out."""

import asyncio
import contextlib
import itertools
from email.utils import formatdate
from http import HTTPStatus
from typing import NamedTuple, Protocol, cast

import httptools
import msgspec

from kinesis_fake.errors import ApiError, ConnectionCut
from kinesis_fake.fanout import Subscription

JSON = b"application/x-amz-json-1.1"
EVENTS = b"application/vnd.amazon.eventstream"
_numbers = itertools.count(1)


class Call(NamedTuple):
    """One request, whole. The target is the operation; it is empty for paths of our own."""

    method: str
    path: str
    target: str
    body: bytes


class Service(Protocol):
    """What the connection serves. Both may raise ApiError and ConnectionCut."""

    def latency_s(self, call: Call) -> float: ...

    def answer(self, call: Call) -> bytes | Subscription: ...

    def now_s(self) -> float:
        """By its own clock, for the Date of what it answers."""
        ...


class Connection(asyncio.Protocol):
    """Requests are answered one after the other, as they come."""

    _transport: asyncio.Transport

    def __init__(self, service: Service, connections: set["Connection"]) -> None:
        self._service, self._connections = service, connections
        self._parser = httptools.HttpRequestParser(self)
        self._url, self._target, self._body = b"", b"", list[bytes]()
        self._writable = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        self._writable.set()
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        self._writable.set()
        if self._task:
            self._task.cancel()

    def close(self) -> None:
        self._transport.abort()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.abort()

    # called by the parser
    def on_message_begin(self) -> None:
        self._url, self._target, self._body = b"", b"", []

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"x-amz-target":
            self._target = value

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        operation = self._target.decode().partition(".")[2]
        method = self._parser.get_method().decode()
        call = Call(method, self._url.decode(), operation, b"".join(self._body))
        latency_s = self._service.latency_s(call)
        if latency_s > 0:
            asyncio.get_running_loop().call_later(latency_s, self._serve, call)
        else:
            self._serve(call)

    def _serve(self, call: Call) -> None:
        if self._transport.is_closing():
            return
        try:
            answer = self._service.answer(call)
        except ConnectionCut:
            self._transport.abort()
        except ApiError as error:
            self._transport.write(_refusal(error, self._service.now_s()))
        else:
            self._send(answer)

    def _send(self, answer: bytes | Subscription) -> None:
        if isinstance(answer, Subscription):
            self._task = asyncio.get_running_loop().create_task(self._stream(answer))
        else:
            self._transport.write(_whole(HTTPStatus.OK, answer, self._service.now_s()))

    async def _stream(self, subscription: Subscription) -> None:
        self._transport.write(_head(HTTPStatus.OK, EVENTS, b"Transfer-Encoding: chunked", self._service.now_s()))
        try:
            async with contextlib.aclosing(subscription.frames()) as frames:
                async for frame in frames:
                    self._transport.write(b"%x\r\n%b\r\n" % (len(frame), frame))
                    await self._writable.wait()
        except ConnectionCut:
            self._transport.abort()
        else:
            self._transport.write(b"0\r\n\r\n")


def _refusal(error: ApiError, now_s: float) -> bytes:
    body = msgspec.json.encode({"__type": error.code, "message": error.message})
    return _whole(HTTPStatus(error.status), body, now_s)


def _whole(status: HTTPStatus, body: bytes, now_s: float) -> bytes:
    return _head(status, JSON, b"Content-Length: %d" % len(body), now_s) + body


def _head(status: HTTPStatus, content_type: bytes, length: bytes, now_s: float) -> bytes:
    request_id = b"x-amzn-RequestId: 00000000-0000-4000-8000-%012x" % next(_numbers)
    date = b"Date: " + formatdate(int(now_s), usegmt=True).encode()
    line = b"HTTP/1.1 %d %b" % (status, status.phrase.encode())
    return b"\r\n".join((line, request_id, date, b"Content-Type: " + content_type, length, b"", b""))
