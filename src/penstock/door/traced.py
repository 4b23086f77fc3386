"""A door whose requests are traced: one span from the first byte of headers to the end of the answer."""

import re
from typing import Final, NamedTuple
from uuid import UUID

from penstock.clock import Clock
from penstock.door.asgi import Door
from penstock.door.port import Message, Receive, Scope, Send
from penstock.traces.ids import ids_of, random_ids
from penstock.traces.port import Attributes, Caller, Kind, Span, Traces

METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"})
FAULT: Final = 500
_W3C: Final = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(?:-.*)?", re.ASCII)
_ROOT: Final = re.compile(rb"(?:^|;)\s*Root=1-([0-9a-f]{8})-([0-9a-f]{24})(?:;|\s*$)", re.ASCII)
_PARENT: Final = re.compile(rb"(?:^|;)\s*Parent=([0-9a-f]{16})(?:;|\s*$)", re.ASCII)


class TracedBatch(NamedTuple):
    """What an app that takes batches puts into the scope's state as `batch`: its trace is found by these."""

    producer: UUID
    request: int
    batch_id: str
    readings: int


class TracedDoor:
    """An ASGI app around a door. Probes, metrics and the page's files are not traced."""

    def __init__(self, door: Door, traces: Traces, clock: Clock) -> None:
        self._door, self._traces, self._clock = door, traces, clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not self._door.is_metered(scope):
            return await self._door(scope, receive, send)
        begun_us, status = self._clock.now_us(), 0

        async def watched(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self._door(scope, receive, watched)
        finally:
            self._tell(scope, begun_us, status)

    def _tell(self, scope: Scope, begun_us: int, status: int) -> None:
        batch: TracedBatch | None = scope.get("state", {}).get("batch")
        if not self._is_picked(batch):
            return
        trace, span = random_ids() if batch is None else ids_of(batch.producer, batch.request)[:2]
        method = scope["method"] if scope["method"] in METHODS else "_OTHER"
        route = self._door.route_of(scope)
        self._traces.tell(
            Span(
                name=f"{method} {route}",
                kind=Kind.SERVER,
                trace=trace,
                span=span,
                parent=0,
                begun_us=begun_us,
                ended_us=self._clock.now_us(),
                attributes=_attributes(method, route, status, batch),
                caller=caller_in(scope),
                failed=not status or status >= FAULT,
            )
        )

    def _is_picked(self, batch: TracedBatch | None) -> bool:
        sample = self._traces.sample
        return sample.takes_any() if batch is None else sample.takes(batch.producer, batch.request)


def caller_in(scope: Scope) -> Caller | None:
    """Whose request this is, by W3C's `traceparent` or by what AWS' load balancers and gateways add.

    It is only noted, never obeyed: a client decides neither whether we trace nor under which id.
    """
    headers = dict(scope["headers"])
    if found := _W3C.fullmatch(headers.get(b"traceparent", b"").strip()):
        return _caller(found[1], found[2])
    told = headers.get(b"x-amzn-trace-id", b"")
    if root := _ROOT.search(told):
        parent = _PARENT.search(told)
        return _caller(root[1] + root[2], parent[1] if parent else b"0")
    return None


def _caller(trace: bytes, span: bytes) -> Caller | None:
    return Caller(int(trace, 16), int(span, 16)) if int(trace, 16) else None


def _attributes(method: str, route: str, status: int, batch: TracedBatch | None) -> Attributes:
    told: dict[str, str | int] = {"http.request.method": method, "http.route": route}
    if status:
        told["http.response.status_code"] = status
    if batch is not None:
        told |= {"penstock.batch_id": batch.batch_id, "penstock.readings": batch.readings}
    return told
