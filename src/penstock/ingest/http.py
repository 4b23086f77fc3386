"""The writing door over HTTP: POST /v1/readings. What it answers 202 to is durable."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

import numpy as np

from penstock.clock import Clock
from penstock.door.asgi import caller_of
from penstock.door.port import Receive, Scope, Send
from penstock.door.problem import Problem, answer, answer_json, not_allowed
from penstock.door.traced import TracedBatch
from penstock.errors import Forbidden
from penstock.ingest.body import Disconnected, Room, check_size, decompress, read_body
from penstock.ingest.codec import Caps, Decoded, decode, narrow
from penstock.ingest.refusal import LISTED_MAX, Code, Refusal
from penstock.model.access import ALL_SITES, WRITERS, Caller
from penstock.model.batch import Lane, Mask, ReadingBatch
from penstock.model.tag import site_of
from penstock.settings import IngestSettings
from penstock.stream.port import Place, Receipt, Stream
from penstock.telemetry import REFUSED, STAGE_LATENCY

_BESIDE_BYTES: Final = 64 * 2**10
"""A compressed body larger than this is opened on a thread: the critical lane must not wait for it."""

Committed = Callable[[tuple[Place, ...], float], Awaitable[bool]]
Headers = Mapping[bytes, bytes]


class IngestApp:
    """Decode, admit, make durable, answer."""

    def __init__(
        self,
        stream: Stream,
        critical: Callable[[], frozenset[str]],
        committed: Committed,
        settings: IngestSettings,
        clock: Clock,
    ) -> None:
        """*critical* gives the paths of the critical tags; *committed* waits until places are stored, or says False."""
        self._stream = stream
        self._critical = critical
        self._committed = committed
        self._settings = settings
        self._clock = clock
        self._caps = Caps(settings.items_max, settings.depth_max)
        self._room = Room(settings.bodies_bytes_max)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "POST":
            await answer(send, not_allowed("POST"))
            return
        caller = caller_of(scope)
        if caller.role not in WRITERS:
            raise Forbidden("this key does not write readings", code="role_forbidden")
        headers: Headers = dict(scope["headers"])
        check_size(_length(headers), self._settings.body_bytes_max)
        try:
            body = await read_body(receive, self._settings.body_bytes_max, self._room)
        except Disconnected:
            return
        try:
            scope["state"]["batch"] = await self._take(body, headers, caller, send)
        finally:
            self._room.give_back(len(body))

    async def _take(self, body: bytes, headers: Headers, caller: Caller, send: Send) -> TracedBatch | None:
        begun_s, received_us = time.perf_counter(), self._clock.now_us()
        decoded = _in_scope(await self._decode(body, headers), caller)
        _count_refused(decoded.counts)
        if len(decoded.batch) == 0:
            await answer(send, _nothing_taken(decoded))
            return None
        lanes = split_lanes(decoded.batch, self._critical())
        receipt = await self._stream.append(lanes, received_us)
        for lane in lanes.keys() - receipt.overloaded:
            STAGE_LATENCY.labels("durable", lane.value).observe(time.perf_counter() - begun_s)
        await self._answer(send, receipt, lanes, decoded, wait=_waits(headers))
        return _traced(receipt)

    async def _decode(self, body: bytes, headers: Headers) -> Decoded:
        encoding = headers.get(b"content-encoding", b"").decode("latin-1")
        media_type = headers.get(b"content-type", b"").decode("latin-1")
        most = self._settings.decompressed_bytes_max
        if encoding and len(body) > _BESIDE_BYTES:
            body = await asyncio.to_thread(decompress, body, encoding, most)
        elif encoding:
            body = decompress(body, encoding, most)
        return decode(body, media_type, self._caps)

    async def _answer(
        self, send: Send, receipt: Receipt, lanes: Mapping[Lane, ReadingBatch], decoded: Decoded, *, wait: bool
    ) -> None:
        overloaded = [int(at) for lane in receipt.overloaded if lane in lanes for at in lanes[lane].index]
        _count_refused({Code.OVERLOADED: len(overloaded)})
        told = {
            "batch_id": receipt.batch_id,
            "accepted": len(decoded.batch) - len(overloaded),
            "refused": decoded.refused + len(overloaded),
            "errors": _told([*decoded.refusals, *(Refusal(at, Code.OVERLOADED) for at in overloaded)]),
        }
        if wait and await self._committed(receipt.places, self._settings.commit_wait_s):
            return await answer_json(send, 200, told, [(b"preference-applied", b"wait=committed")])
        return await answer_json(send, 202, told)


def _traced(receipt: Receipt) -> TracedBatch | None:
    """What a door that traces finds the batch's trace by; only batches of shared streams have one."""
    if receipt.batch is None:
        return None
    return TracedBatch(receipt.batch.producer, receipt.batch.request, receipt.batch_id, receipt.batch.readings)


def split_lanes(batch: ReadingBatch, critical: frozenset[str]) -> dict[Lane, ReadingBatch]:
    """The batch by lane; a lane without readings is left out."""
    if critical.isdisjoint(batch.paths):
        return {Lane.BULK: batch}
    urgent = np.array([path in critical for path in batch.paths], np.bool_)[batch.tag]
    if urgent.all():
        return {Lane.CRITICAL: batch}
    return {Lane.CRITICAL: narrow(batch, urgent), Lane.BULK: narrow(batch, ~urgent)}


def _in_scope(decoded: Decoded, caller: Caller) -> Decoded:
    """Without the readings of sites that the caller may not write. Raises Forbidden when that is every item."""
    if ALL_SITES in caller.sites or len(decoded.batch) == 0:
        return decoded
    batch = decoded.batch
    allowed: Mask = np.array([caller.may_write(site_of(path)) for path in batch.paths], np.bool_)[batch.tag]
    if allowed.all():
        return decoded
    outside = batch.index[~allowed].tolist()
    if len(outside) == decoded.items:
        raise Forbidden("the key writes to none of these sites", code=Code.SITE_FORBIDDEN)
    refusals = sorted([*decoded.refusals, *(Refusal(at, Code.SITE_FORBIDDEN) for at in outside)])[:LISTED_MAX]
    counts = {**decoded.counts, Code.SITE_FORBIDDEN: len(outside)}
    return Decoded(narrow(batch, allowed), refusals, counts, decoded.items)


def _nothing_taken(decoded: Decoded) -> Problem:
    more = {"accepted": 0, "refused": decoded.refused, "errors": _told(decoded.refusals)}
    return Problem(422, "items_refused", "none of the readings can be taken; see errors", more)


def _told(refusals: Sequence[Refusal]) -> list[dict[str, object]]:
    return [refusal.told() for refusal in sorted(refusals)[:LISTED_MAX]]


def _count_refused(counts: Mapping[Code, int]) -> None:
    for code, count in counts.items():
        if count:
            REFUSED.labels(code.value).inc(count)


def _length(headers: Headers) -> int:
    text = headers.get(b"content-length", b"0")
    return int(text) if text.isdigit() else 0


def _waits(headers: Headers) -> bool:
    """`Prefer: wait=committed`, alone or among others (RFC 7240)."""
    preferences = headers.get(b"prefer", b"").lower().replace(b'"', b"").replace(b" ", b"").split(b",")
    return any(preference.partition(b";")[0] == b"wait=committed" for preference in preferences)
