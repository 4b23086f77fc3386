"""Every error as RFC 9457 problem+json: a stable code, a detail that repeats no input, 64 KiB at most."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from math import ceil
from typing import Any, Final

import msgspec

from penstock.door.port import Send
from penstock.errors import (
    Backpressure,
    Forbidden,
    PenstockError,
    Rejected,
    TooLarge,
    Unauthorized,
    Unavailable,
    Undecodable,
    Unknown,
)

MEDIA_TYPE: Final = b"application/problem+json"
BYTES_MAX: Final = 64 * 2**10
RETRY_AFTER_S: Final = 1
_STATUS_OF_CODE: Final = {"content_type": 415, "content_encoding": 415, "too_many_requests": 429}
_STATUS: Final[Sequence[tuple[type[PenstockError], int]]] = (
    (Undecodable, 400),
    (TooLarge, 413),
    (Unauthorized, 401),
    (Forbidden, 403),
    (Unknown, 404),
    (Rejected, 422),
    (Unavailable, 503),
    (Backpressure, 503),
)

Headers = list[tuple[bytes, bytes]]


SCHEMA: Final = {
    "type": "object",
    "required": ["type", "title", "status", "code", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string"},
        "detail": {"type": "string"},
    },
}
"""Of every 4xx and 5xx, for the OpenAPI document."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One error answer. *more* are further members of the JSON object, such as `errors`."""

    status: int
    code: str
    detail: str
    more: Mapping[str, Any] = field(default_factory=dict)
    headers: Sequence[tuple[bytes, bytes]] = ()

    def body(self) -> bytes:
        title = HTTPStatus(self.status).phrase
        plain = {"type": "about:blank", "title": title, "status": self.status, "code": self.code, "detail": self.detail}
        body = msgspec.json.encode({**self.more, **plain})
        return body if len(body) <= BYTES_MAX else msgspec.json.encode({**plain, "detail": ""})

    def head(self, body: bytes) -> Headers:
        return [(b"content-type", MEDIA_TYPE), (b"content-length", b"%d" % len(body)), *self.headers]


def problem_of(error: PenstockError) -> Problem:
    """The answer to an error that the caller can do something about; 500 for every other."""
    code, detail = error.code, str(error)
    status = _STATUS_OF_CODE.get(code) or next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:
        return internal("")
    return Problem(status, code, detail, headers=_headers(error, status))


def _headers(error: PenstockError, status: int) -> Headers:
    if status == HTTPStatus.UNAUTHORIZED:
        return [(b"www-authenticate", b'Bearer realm="penstock"')]
    if status in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS):
        wait_s = error.retry_after_s if isinstance(error, Backpressure) else RETRY_AFTER_S
        return [(b"retry-after", b"%d" % max(1, ceil(wait_s)))]
    return []


def not_found() -> Problem:
    return Problem(404, "not_found", "there is nothing at this path")


def not_allowed(*methods: str) -> Problem:
    """405, naming the methods that are allowed."""
    return Problem(
        405,
        "method_not_allowed",
        "this path does not take that method",
        headers=[(b"allow", ", ".join(methods).encode())],
    )


def internal(incident: str) -> Problem:
    """500: our fault. *incident* finds it in the logs."""
    detail = "something went wrong here; the log has it under this incident"
    return Problem(500, "internal", detail, {"incident": incident} if incident else {})


async def answer(send: Send, problem: Problem) -> None:
    """Send *problem* as the whole response."""
    body = problem.body()
    await send({"type": "http.response.start", "status": problem.status, "headers": problem.head(body)})
    await send({"type": "http.response.body", "body": body})


async def answer_json(send: Send, status: int, value: object, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
    """Send *value* as JSON, the whole response."""
    body = msgspec.json.encode(value)
    head = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), *headers]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body})
