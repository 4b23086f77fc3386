"""The reading side's ASGI app: routes, what they are given, and errors as problem+json."""

import asyncio
import re
import secrets
from collections.abc import Coroutine
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, cast

from litestar import Litestar, Request
from litestar.connection import ASGIConnection
from litestar.di import Provide
from litestar.exceptions import HTTPException, ValidationException
from litestar.openapi import OpenAPIConfig
from litestar.response import Response

from penstock.door.asgi import caller_of
from penstock.door.port import App
from penstock.door.problem import Problem, internal, not_allowed, not_found, problem_of
from penstock.errors import PenstockError
from penstock.model.access import Caller
from penstock.serve import alarms, books, keys, open, plant, readings, tags  # noqa: A004  # a room, not the function
from penstock.serve.desk import Desk, reader
from penstock.serve.export import Exports
from penstock.serve.following import Following
from penstock.serve.health import Pulse
from penstock.serve.live import Live
from penstock.serve.openapi import PROBLEM, document
from penstock.serve.parts import ServeParts
from penstock.telemetry import log

BODY_BYTES_MAX: Final = 64 * 2**10
_ROOMS: Final = (readings, tags, alarms, books, keys, plant, open)
_OUTSIDE: Final = {"stands": "state"}
"""Parameters that Litestar does not let us name as they are named outside."""
_MISSING: Final = re.compile(r"Missing required \w+ parameter '(\w{1,32})'")
"""Litestar says it in words only."""
_CONFLICTS: Final = frozenset({"changed_meanwhile", "already_redriven", "alarm_state"})


@dataclass(frozen=True, slots=True)
class Serving:
    """An ASGI app, and the feed behind it, which whoever serves the app runs beside it until *stop*."""

    app: App
    live: Live

    def run(self, stop: asyncio.Event) -> Coroutine[Any, Any, None]:
        return self.live.run(stop)


def serve_app(parts: ServeParts) -> Serving:
    """Everything that is read and managed over HTTP. Callers are put into the scope by the door in front."""
    desk = Desk(parts)
    pulse = Pulse(parts.database, parts.stream, parts.tallies)
    following = Following(parts.database, parts.latest, parts.window, parts.feed, parts.clock)
    live = Live(parts.database, parts.tallies, following, pulse)
    given: dict[str, Any] = {
        "desk": desk,
        "live": live,
        "pulse": pulse,
        "exports": Exports(),
        "started_us": parts.clock.now_us(),
    }
    app = _litestar(parts, given)
    given["document"] = open.Document(document(app, parts.written_paths))
    return Serving(cast(App, app), live)


def _litestar(parts: ServeParts, given: dict[str, Any]) -> Litestar:
    provided = {name: _given(given, name) for name in (*given, "document")}
    return Litestar(
        route_handlers=[route for room in _ROOMS for route in room.ROUTES],
        dependencies={**provided, "caller": Provide(_caller, sync_to_thread=False)},
        exception_handlers={
            PenstockError: _refused,
            ValidationException: _invalid,
            HTTPException: _http_error,
            Exception: _unexpected,
        },
        openapi_config=OpenAPIConfig(title="Penstock", version=parts.version, path=None, render_plugins=[]),
        request_max_body_size=BODY_BYTES_MAX,
        logging_config=None,
        debug=False,
    )


def _given(given: dict[str, Any], name: str) -> Provide:
    def give() -> Any:
        return given[name]

    return Provide(give, sync_to_thread=False)


def _caller(request: Request) -> Caller:  # type: ignore[type-arg]  # no user of Litestar's
    return reader(caller_of(cast(Any, request.scope)))


def _refused(_: ASGIConnection, error: PenstockError) -> Response[bytes]:  # type: ignore[type-arg]  # Litestar's
    problem = problem_of(error)
    if error.code in _CONFLICTS:
        problem = Problem(409, error.code, str(error))
    if problem.status == HTTPStatus.INTERNAL_SERVER_ERROR:
        return _unexpected(_, error)
    return _answer(problem)


def _invalid(_: ASGIConnection, error: ValidationException) -> Response[bytes]:  # type: ignore[type-arg]
    """Names what is wrong, and repeats nothing of it."""
    if missing := _MISSING.match(error.detail):
        return _answer(Problem(400, "bad_parameter", f"{missing[1]} is missing"))
    extra = error.extra if isinstance(error.extra, list) else []
    names = sorted(
        {_OUTSIDE.get(key, key) for each in extra if isinstance(each, dict) and (key := str(each.get("key", "")))}
    )
    known = [name for name in names if name.isidentifier() and len(name) <= 32]  # noqa: PLR2004  # ours are shorter
    what = ", ".join(known) or "a parameter or the body"
    return _answer(Problem(400, "bad_parameter", f"not as the OpenAPI document says: {what}"))


def _http_error(connection: ASGIConnection, error: HTTPException) -> Response[bytes]:  # type: ignore[type-arg]
    match error.status_code:
        case HTTPStatus.NOT_FOUND:
            return _answer(not_found())
        case HTTPStatus.METHOD_NOT_ALLOWED:
            return _answer(not_allowed(*_allowed(error)))
        case status if status < HTTPStatus.INTERNAL_SERVER_ERROR:
            phrase = HTTPStatus(status).phrase
            return _answer(Problem(status, phrase.lower().replace(" ", "_").replace("-", "_"), phrase))
        case _:
            return _unexpected(connection, error)


def _allowed(error: HTTPException) -> list[str]:
    allow = (error.headers or {}).get("Allow", "")
    return [method.strip() for method in allow.split(",") if method.strip()]


def _unexpected(_: ASGIConnection, error: Exception) -> Response[bytes]:  # type: ignore[type-arg]
    """Our fault: logged once, under an incident that the answer names."""
    incident = secrets.token_hex(8)
    log.error("a request failed unexpectedly", incident=incident, exc_info=error)
    return _answer(internal(incident))


def _answer(problem: Problem) -> Response[bytes]:
    headers = {name.decode(): value.decode() for name, value in problem.headers}
    return Response(problem.body(), status_code=problem.status, media_type=PROBLEM, headers=headers)
