"""The one way in: who calls, whether they may, how often, and an answer of one shape whatever happens."""

import ipaddress
import secrets
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Final

from penstock.door.keys import Keyring
from penstock.door.limit import Limiter
from penstock.door.port import App, Message, RateLimit, Receive, Scope, Send, Verdict
from penstock.door.problem import Problem, answer, internal, problem_of
from penstock.errors import Forbidden, PenstockError, Unauthorized
from penstock.model.access import READERS, Caller, Role
from penstock.telemetry import REQUESTS, log

COOKIE: Final = "penstock_session"
LOGIN_PATH: Final = "/v1/login"
OPEN: Final = frozenset({"/", "/favicon.ico", "/healthz", "/readyz", "/readyz/ingest", "/openapi.json", LOGIN_PATH})
ASSETS: Final = "/assets/"
METRICS: Final = "/metrics"
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
STRANGER_RATE: Final = 10.0
"""Failed calls a second of one address; guessing a key is no faster than this."""
STRANGER_BURST: Final = 50.0
_SECURITY: Final = (
    (b"content-security-policy", b"default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
)
_NO_STORE: Final = (b"cache-control", b"no-store")


class Door:
    """An ASGI app in front of all others. Apps find their caller with `caller_of`, and raise our errors freely."""

    def __init__(
        self,
        routes: Mapping[str, App],
        rest: App,
        keyring: Keyring,
        limiter: RateLimit,
        strangers: Limiter | None = None,
    ) -> None:
        """*routes* are exact paths; every other path goes to *rest*.

        *limiter* bounds callers by key; *strangers* bounds failed calls by address, in each process by itself.
        """
        self._routes = routes
        self._rest = rest
        self._keyring = keyring
        self._limiter = limiter
        self._strangers = strangers or Limiter(STRANGER_RATE, STRANGER_BURST)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._answered(scope, receive, send)
        else:
            await self._rest(scope, receive, send)

    async def _answered(self, scope: Scope, receive: Receive, send: Send) -> None:
        reply = _Reply(send, private=scope["path"].startswith("/v1/"))
        try:
            await self._pass(scope, receive, reply)
        except PenstockError as error:
            await _fail(reply, error, problem_of(error))
        except Exception as error:  # noqa: BLE001  # the process's entry: whatever it is, the client gets an answer
            await _fail(reply, error, internal(""))
        finally:
            REQUESTS.labels(self.route_of(scope), str(reply.status)).inc()
            if reply.status == HTTPStatus.UNAUTHORIZED:
                await self._strangers.take(_peer(scope))

    async def _pass(self, scope: Scope, receive: Receive, reply: "_Reply") -> None:
        caller = await self._find(scope)
        scope.setdefault("state", {})["caller"] = caller
        refusal = await (self._stranger(scope) if caller is None else self._over_limit(scope, caller))
        if refusal is not None:
            return await answer(reply, refusal)
        if caller is not None and scope["path"] == METRICS and not _is_near(scope):
            require(caller, READERS)
        return await self._routes.get(scope["path"], self._rest)(scope, receive, reply)

    async def _find(self, scope: Scope) -> Caller | None:
        """The caller, by key or by the page's cookie. Raises Forbidden for a change asked for by another page."""
        key, session = _credentials(scope)
        if key:
            if not self._keyring.knows_key(key) and self._strangers.empty(_peer(scope)):
                return None  # whoever has guessed too often is not even looked up
            return await self._keyring.by_key(key)
        if not session:
            return None
        caller = await self._keyring.by_session(session)
        if caller is not None and scope["method"] not in SAFE_METHODS and not is_same_origin(scope):
            raise Forbidden("a session changes things only from its own page", code="cross_origin")
        return caller

    async def _stranger(self, scope: Scope) -> Problem | None:
        """What to answer to nobody: 401, and 429 to an address that failed too often. None where the path is open."""
        is_open = _is_open(scope)
        if is_open and scope["path"] != LOGIN_PATH:
            return None
        if self._strangers.empty(_peer(scope)) and (verdict := await self._strangers.take(_peer(scope))):
            return _too_many(verdict)
        return None if is_open else problem_of(Unauthorized("send a key as X-API-Key or Authorization: Bearer"))

    async def _over_limit(self, scope: Scope, caller: Caller) -> Problem | None:
        if not self.is_metered(scope):
            return None
        verdict = await self._limiter.take(caller.key_id, caller.rate, caller.burst)
        return None if verdict is None or verdict.passes else _too_many(verdict)

    def is_metered(self, scope: Scope) -> bool:
        """Whether a request counts towards its caller's limit: probes, metrics and the page's files do not."""
        return scope["path"].startswith("/v1/") or scope["path"] in self._routes

    def route_of(self, scope: Scope) -> str:
        """A bounded name for the path: a client may ask for anything."""
        path: str = scope["path"]
        return path if path in self._routes or path in OPEN else str(scope.get("path_template", "other"))


def caller_of(scope: Scope) -> Caller:
    """Who sent this request. Raises Unauthorized when that is nobody, on a path that is open."""
    caller: Caller | None = scope.get("state", {}).get("caller")
    if caller is None:
        raise Unauthorized("send a key as X-API-Key or Authorization: Bearer")
    return caller


def require(caller: Caller, roles: Iterable[Role]) -> None:
    """Raises Forbidden unless the caller has one of *roles*."""
    if caller.role not in frozenset(roles):
        raise Forbidden("the key's role does not allow this", code="role_forbidden")


def is_same_origin(scope: Scope) -> bool:
    """Whether the browser says that our own page sent this (Sec-Fetch-Site, or else Origin against Host)."""
    headers = dict(scope["headers"])
    fetch_site = headers.get(b"sec-fetch-site")
    if fetch_site is not None:
        return bool(fetch_site == b"same-origin")
    origin = headers.get(b"origin", b"")
    return bool(origin.partition(b"://")[2]) and origin == b"%s://%s" % (
        scope.get("scheme", "http").encode(),
        headers.get(b"host", b""),
    )


class _Reply:
    """`send`, with the headers that every response carries, and an eye on what was answered."""

    __slots__ = ("_private", "_send", "status")

    def __init__(self, send: Send, *, private: bool) -> None:
        self._send = send
        self._private = private
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = list(message.get("headers", ()))
            present = {name.lower() for name, _ in headers}
            wanted = (*_SECURITY, _NO_STORE) if self._private else _SECURITY
            message["headers"] = headers + [pair for pair in wanted if pair[0] not in present]
        await self._send(message)


async def _fail(reply: _Reply, error: Exception, problem: Problem) -> None:
    """Answer with *problem*; one that is our own fault is logged, once, under an incident."""
    if problem.status == HTTPStatus.INTERNAL_SERVER_ERROR:
        incident = secrets.token_hex(8)
        log.error("a request failed unexpectedly", incident=incident, exc_info=error)
        problem = internal(incident)
    if reply.status:
        raise error  # half an answer is out: only closing the connection is honest
    await answer(reply, problem)


def _is_open(scope: Scope) -> bool:
    path: str = scope["path"]
    if path in OPEN:
        return True
    return (path.startswith(ASSETS) and scope["method"] in SAFE_METHODS) or (path == METRICS and _is_near(scope))


def _peer(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client else ""


def _is_near(scope: Scope) -> bool:
    try:
        return ipaddress.ip_address(_peer(scope)).is_loopback
    except ValueError:
        return False


def _credentials(scope: Scope) -> tuple[str, str]:
    """The API key and the session that were sent, each or both empty.

    A gateway in front may meter by an `X-API-Key` of its own: then ours is the bearer, so that one is looked at first.
    """
    key = session = ""
    for name, value in scope["headers"]:
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            key = value[7:].strip().decode("latin-1")
        elif name == b"x-api-key" and not key:
            key = value.decode("latin-1")
        elif name == b"cookie":
            session = _cookie(value.decode("latin-1")) or session
    return key, session


def _cookie(text: str) -> str:
    pairs = (pair.strip().partition("=") for pair in text.split(";"))
    return next((value for name, _, value in pairs if name == COOKIE), "")


def _too_many(verdict: Verdict) -> Problem:
    """429 with the fields of draft-ietf-httpapi-ratelimit-headers: the bucket's size, and the time it takes to fill."""
    headers = [
        (b"retry-after", b"%d" % verdict.retry_after_s),
        (b"ratelimit-policy", b'"default";q=%d;w=%d' % (verdict.quota, verdict.window_s)),
        (b"ratelimit", b'"default";r=%d;t=%d' % (verdict.remaining, verdict.reset_s)),
    ]
    return Problem(
        429, "too_many_requests", "more requests than this caller may send; wait Retry-After", headers=headers
    )
