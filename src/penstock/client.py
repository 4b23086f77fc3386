"""A small HTTP client for our own doors: kept connections, compression, and patience when a door says not now."""

import asyncio
import gzip
import json
import random
import ssl
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Literal, Self, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import httptools
import msgspec
import zstandard

from penstock.errors import (
    Backpressure,
    Forbidden,
    PenstockError,
    Rejected,
    TooLarge,
    Unauthorized,
    Unavailable,
    Unknown,
)

TIMEOUT_S: Final = 30.0
PATIENCE_S: Final = 60.0
PAUSE_MAX_S: Final = 10.0
LOST_PAUSE_S: Final = 0.1
READ_BYTES: Final = 2**16
BUSY: Final = frozenset({429, 503})
_BY_STATUS: Final[Mapping[int, type[Rejected]]] = {401: Unauthorized, 403: Forbidden, 404: Unknown, 413: TooLarge}

Compression = Literal["", "gzip", "zstd"]
T = TypeVar("T")


@dataclass(slots=True)
class Response:
    """A whole answer; header names are lower case."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    def json(self) -> Any:
        """The decoded body. Raises the error that the status stands for, when it is one."""
        self.check()
        return json.loads(self.body) if self.body else None

    def check(self) -> None:
        if self.status >= 400:  # noqa: PLR2004  # where errors begin
            raise _error_of(self)


class Client:
    """Talks to one instance; many tasks may use it at once. Raises Unavailable when it cannot be reached in time."""

    def __init__(
        self,
        url: str,
        api_key: str = "",
        *,
        compression: Compression = "",
        ca: str = "",
        patience_s: float = PATIENCE_S,
    ) -> None:
        """*ca*: a certificate file to trust beside the system's. *patience_s*: how long 429 and 503 are waited out."""
        parts = urlsplit(url)
        self._host, self._root = parts.hostname or "127.0.0.1", parts.path.rstrip("/")
        self._tls = _trusting(ca) if parts.scheme == "https" else None
        self._port = parts.port or (443 if self._tls else 80)
        self._key, self._compression, self._patience_s = api_key, compression, patience_s
        self._idle: list[_Connection] = []

    async def get(self, path: str, **query: object) -> Any:
        """The decoded answer to GET *path*; a list in *query* repeats its name, None leaves it out."""
        return (await self.request("GET", path, query=query)).json()

    async def put(self, path: str, content: object) -> Any:
        return (await self.request("PUT", path, body=_json(content))).json()

    async def post(self, path: str, content: object, *, repeatable: bool = False) -> Any:
        return (await self.request("POST", path, body=_json(content), repeatable=repeatable)).json()

    async def send(self, columns: Mapping[str, Sequence[object]]) -> Any:
        """POST readings in the column form `{"tags", "ts", "values", …}`; sending them again is harmless, so it may."""
        return await self.post("/v1/readings", columns, repeatable=True)

    async def request(  # noqa: PLR0913  # what a request is made of
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, object] | None = None,
        body: bytes = b"",
        content_type: str = "application/json",
        repeatable: bool | None = None,
    ) -> Response:
        """One request, tried again on 429 and 503; if *repeatable* (all but POST, by default) on a lost answer too.

        Any other status, and the last 429 or 503 when patience ends, is the caller's to judge.
        """
        again = method != "POST" if repeatable is None else repeatable
        message = self._message(method, self._target(path, query or {}), body, content_type)
        until = _now() + self._patience_s
        attempt = 0
        while True:
            response = await self._attempt(message, again=again, until=until)
            pause_s = _pause(LOST_PAUSE_S if response is None else _retry_after(response), attempt)
            if response is not None and (response.status not in BUSY or _now() + pause_s > until):
                return response
            await asyncio.sleep(pause_s)
            attempt += 1

    async def close(self) -> None:
        while self._idle:
            await self._idle.pop().close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _attempt(self, message: bytes, *, again: bool, until: float) -> Response | None:
        """None when the answer was lost, or nobody listened, and there is time to try again."""
        try:
            return await self._try(message, fresh=not again)
        except (OSError, EOFError, httptools.HttpParserError) as error:
            if _now() < until and (again or isinstance(error, ConnectionRefusedError)):
                return None
            raise Unavailable(f"{self._host}:{self._port} does not answer ({error!r})") from error

    async def _try(self, message: bytes, *, fresh: bool) -> Response:
        """A kept connection may have been closed by the other side: what must not be sent twice takes a fresh one."""
        async with asyncio.timeout(TIMEOUT_S):
            connection = await self._connect() if fresh or not self._idle else self._idle.pop()
            try:
                response = await connection.exchange(message)
            except BaseException:
                connection.abort()
                raise
        if connection.kept:
            self._idle.append(connection)
        else:
            await connection.close()
        return response

    async def _connect(self) -> "_Connection":
        return _Connection(*await asyncio.open_connection(self._host, self._port, ssl=self._tls))

    def _target(self, path: str, query: Mapping[str, object]) -> str:
        pairs = {name: value for name, value in query.items() if value is not None}
        return self._root + quote(path) + (f"?{urlencode(pairs, doseq=True)}" if pairs else "")

    def _message(self, method: str, target: str, body: bytes, content_type: str) -> bytes:
        headers = {"Host": f"{self._host}:{self._port}", "Accept": "application/json", "Content-Length": str(len(body))}
        if self._key:
            headers["X-API-Key"] = self._key
        if body:
            headers["Content-Type"] = content_type
        if body and self._compression:
            headers["Content-Encoding"] = self._compression
            body = _compressed(body, self._compression)
            headers["Content-Length"] = str(len(body))
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"{method} {target} HTTP/1.1\r\n{lines}\r\n".encode() + body


class SyncClient:
    """The same client for code that does not await: `with SyncClient(…) as client: client.get("/v1/tags")`."""

    def __init__(self, client: Client) -> None:
        self._client, self._runner = client, asyncio.Runner()

    def get(self, path: str, **query: object) -> Any:
        return self.run(self._client.get(path, **query))

    def put(self, path: str, content: object) -> Any:
        return self.run(self._client.put(path, content))

    def post(self, path: str, content: object) -> Any:
        return self.run(self._client.post(path, content))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Any of the client's coroutines."""
        return self._runner.run(work)

    def close(self) -> None:
        self.run(self._client.close())
        self._runner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class _Connection:
    """One kept HTTP/1.1 connection; httptools calls the `on_…` methods."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._response, self._parts, self._done = Response(), list[bytes](), False
        self.kept = True

    async def exchange(self, message: bytes) -> Response:
        self._response, self._parts, self._done = Response(), [], False
        self._parser = httptools.HttpResponseParser(self)
        self._writer.write(message)
        await self._writer.drain()
        while not self._done:
            await self._feed()
        self._response.body = b"".join(self._parts)
        return self._response

    async def _feed(self) -> None:
        chunk = await self._reader.read(READ_BYTES)
        if not chunk:
            raise EOFError("the connection was closed")
        self._parser.feed_data(chunk)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._response.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, part: bytes) -> None:
        self._parts.append(part)

    def on_message_complete(self) -> None:
        self._response.status = self._parser.get_status_code()
        self.kept = self._parser.should_keep_alive()
        self._done = True

    def abort(self) -> None:
        self._writer.transport.abort()

    async def close(self) -> None:
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except (OSError, ssl.SSLError):
            return


def _trusting(ca: str) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if ca:
        context.load_verify_locations(ca)
    return context


def _json(content: object) -> bytes:
    return msgspec.json.encode(content)


def _compressed(body: bytes, how: Compression) -> bytes:
    return gzip.compress(body, 1) if how == "gzip" else zstandard.compress(body, 1)


def _retry_after(response: Response) -> float:
    try:
        return float(response.headers.get("retry-after", "1"))
    except ValueError:
        return 1.0


def _now() -> float:
    return asyncio.get_running_loop().time()


def _pause(wait_s: float, attempt: int) -> float:
    """Never sooner than asked for; then at random, later with every attempt, so that clients do not return as one."""
    spread_s = min(PAUSE_MAX_S, max(wait_s / 2, LOST_PAUSE_S * 2 ** min(attempt, 10)))
    return wait_s + random.uniform(0, spread_s)  # noqa: S311  # nothing secret


def _error_of(response: Response) -> PenstockError:
    try:
        problem = json.loads(response.body)
        detail, code = str(problem.get("detail") or problem.get("title", "")), str(problem.get("code", ""))
    except (ValueError, AttributeError):
        detail, code = f"HTTP {response.status}", ""
    if response.status in BUSY:
        return Backpressure(detail, retry_after_s=_retry_after(response))
    if response.status >= 500:  # noqa: PLR2004
        return Unavailable(detail)
    kind: Callable[..., Rejected] = _BY_STATUS.get(response.status, Rejected)
    return kind(detail, code=code or None)
