"""Health and metrics for processes that serve nothing else."""

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from penstock.door.port import Receive, Scope, Send
from penstock.door.problem import answer, answer_json, not_allowed, not_found

Check = Callable[[], Awaitable[Mapping[str, str]]]
"""What fails, by part, and why; nothing when all is well."""
RETRY_AFTER: Final = (b"retry-after", b"5")


class Probes:
    """`/healthz`, `/metrics`, and one path for each check: 200, or 503 that names what fails. All else is not found."""

    def __init__(self, checks: Mapping[str, Check]) -> None:
        self._checks = checks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  # ASGI's shape
        path = scope["path"]
        if path not in {"/healthz", "/metrics", *self._checks}:
            await answer(send, not_found())
        elif scope["method"] not in {"GET", "HEAD"}:
            await answer(send, not_allowed("GET", "HEAD"))
        elif path == "/healthz":
            await answer_json(send, HTTPStatus.OK, {"status": "alive"})
        elif path == "/metrics":
            await _send(send, generate_latest(), CONTENT_TYPE_LATEST)
        else:
            await self._answer(send, await self._checks[path]())

    async def _answer(self, send: Send, failing: Mapping[str, str]) -> None:
        told = {"status": "failing" if failing else "ready", "failing": dict(failing)}
        if failing:
            await answer_json(send, HTTPStatus.SERVICE_UNAVAILABLE, told, [RETRY_AFTER])
        else:
            await answer_json(send, HTTPStatus.OK, told)


async def _send(send: Send, body: bytes, media_type: str) -> None:
    headers = [(b"content-type", media_type.encode()), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": HTTPStatus.OK, "headers": headers})
    await send({"type": "http.response.body", "body": body})
