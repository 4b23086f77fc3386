"""The producing half: requests become records, and an append returns when Kinesis has acknowledged all of its own."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple
from uuid import UUID, uuid4

from penstock.clock import Clock
from penstock.errors import Backpressure, Unavailable
from penstock.model.batch import Lane, ReadingBatch
from penstock.stream.batch_id import SharedBatch, shared_batch_id
from penstock.stream.kinesis.belts import Belts, Pace, Record
from penstock.stream.kinesis.send import Client, Sender, Target
from penstock.stream.kinesis.wave import Ask, Waiting, weight_of
from penstock.stream.port import BatchRef, Receipt
from penstock.stream.room import limit_of
from penstock.telemetry import log
from penstock.traces.ids import ids_of
from penstock.traces.port import Kind, Span, Traces

MINUTE_US: Final = 60_000_000
KEEP_MINUTES_US: Final = 120 * MINUTE_US


class PutLimits(NamedTuple):
    """How long readings gather, how much may be under way, how long all that may take."""

    linger_s: float = 0.020
    critical_linger_s: float = 0.002
    gather_s: float = 0.002
    """After a pause a bulk wave waits only so long."""
    records_per_s: float = 250.0
    """Of a lane: at more, waves follow each other more slowly and records get fuller. A shard takes 1,000."""
    critical_records_per_s: float = 1_000.0
    calls_max: int = 4
    """PutRecords calls under way at a time, of each lane."""
    bytes_max: int = 64 * 2**20
    """Unacknowledged, before compression; the last tenth is for the critical lane."""
    put_timeout_s: float = 10.0
    """Then a lane is reported as overloaded; its records are tried on."""
    retry_first_s: float = 0.05
    retry_max_s: float = 2.0
    close_s: float = 20.0
    """How long `close` waits for what is under way."""

    def pace(self, lane: Lane) -> Pace:
        linger_s, records_per_s = self.linger_s, self.records_per_s
        if lane is Lane.CRITICAL:
            linger_s, records_per_s = self.critical_linger_s, self.critical_records_per_s
        return Pace(linger_s, min(linger_s, self.gather_s), records_per_s, self.retry_first_s, self.retry_max_s)


class Acked(NamedTuple):
    """Readings acknowledged since the producer began."""

    belts: Mapping[int, int]
    minutes: Mapping[int, int]
    """By the minute's start, in microseconds, in which their record's first request was received."""


@dataclass(slots=True, eq=False)
class _Request:
    """What an append waits for."""

    asks: Mapping[Lane, Ask]
    answer: asyncio.Future[None]

    def settle(self) -> None:
        """Let the append look, whatever came of it."""
        if not self.answer.done():
            self.answer.set_result(None)


class Producer:
    """Puts one process' readings into the stream. A new one begins its counts anew, under an id of its own."""

    def __init__(  # noqa: PLR0913  # what it joins, what it is, and what it may
        self,
        client: Client,
        streams: Mapping[Lane, str],
        identity: str,
        limits: PutLimits,
        clock: Clock,
        *,
        producer: UUID | None = None,
        critical_created_ms: int | None = None,
        traces: Traces | None = None,
    ) -> None:
        """*critical_created_ms*: of the critical lane's own stream; None where both lanes share one.

        Make it where an event loop runs.
        """
        self.producer = producer or uuid4()
        self._identity = identity
        self._limits = limits
        self._clock = clock
        self._traces = traces
        self._requests = 0
        self._bytes = 0
        self._open = True
        self._pending: dict[Ask, _Request] = {}
        self._minutes: Counter[int] = Counter()
        self._senders = {
            lane: Sender(
                client,
                Target(lane, streams[lane], critical_created_ms if lane is Lane.CRITICAL else None),
                Belts(lane, self.producer, limits.pace(lane)),
                self._durable,
                limits.calls_max,
            )
            for lane in (Lane.CRITICAL, Lane.BULK)
        }

    async def append(self, lanes: Mapping[Lane, ReadingBatch], received_us: int) -> Receipt:
        """As `stream.port` says; a lane that is not acknowledged in `put_timeout_s` is overloaded too."""
        begun_us = self._clock.now_us() if self._traces else 0
        request = self._begin(lanes, received_us)
        timer = asyncio.get_running_loop().call_later(self._limits.put_timeout_s, request.settle)
        try:
            await request.answer
        finally:
            timer.cancel()
        if self._traces is not None:
            self._tell(self._traces, lanes, request, begun_us)
        return self._receipt(lanes, request)

    def acked(self) -> Acked:
        """Readings acknowledged so far: never less than it said before, but for minutes that were `published`."""
        belts = {number: count for sender in self._senders.values() for number, count in sender.belts.acked().items()}
        return Acked(belts, dict(self._minutes))

    def published(self, acked: Acked) -> None:
        """Somebody keeps what `acked` said: minutes older than two hours, that can grow no more, are dropped."""
        received = min((ask.received_us for ask in self._pending), default=self._clock.now_us())
        oldest_us = min(received - MINUTE_US, self._clock.now_us() - KEEP_MINUTES_US)
        for minute_us, readings in acked.minutes.items():
            if minute_us < oldest_us and self._minutes.get(minute_us) == readings:
                del self._minutes[minute_us]

    async def close(self) -> None:
        """Take no more, wait for what is under way, `close_s` at most, then let go of it."""
        if not self._open:
            return
        self._open = False
        until_s = asyncio.get_running_loop().time() + self._limits.close_s
        await asyncio.gather(*(sender.drain(until_s) for sender in self._senders.values()))
        for request in tuple(self._pending.values()):
            request.settle()
        if self._pending:
            log.error(
                "readings were not acknowledged before the end; their senders were told", requests=len(self._pending)
            )

    def _begin(self, lanes: Mapping[Lane, ReadingBatch], received_us: int) -> _Request:
        if not self._open:
            raise Unavailable("the stream is being closed")
        taken = dict(self._room_for(lanes))
        if not taken:
            raise Backpressure("Kinesis does not keep up: too much waits for its acknowledgement")
        self._requests += 1
        asks = {lane: Ask(self._requests, received_us, weight) for lane, weight in taken.items()}
        request = _Request(asks, asyncio.get_running_loop().create_future())
        for lane, ask in asks.items():
            self._senders[lane].add(Waiting(ask, lanes[lane]))
            self._pending[ask] = request
            self._bytes += ask.weight
        return request

    def _room_for(self, lanes: Mapping[Lane, ReadingBatch]) -> Iterator[tuple[Lane, int]]:
        """Lanes that are taken, and their weights; the critical one chooses first."""
        bytes_pending = self._bytes
        for lane in (lane for lane in self._senders if lane in lanes):
            weight = weight_of(lanes[lane])
            if bytes_pending + weight <= limit_of(lane, self._limits.bytes_max):
                bytes_pending += weight
                yield lane, weight

    def _receipt(self, lanes: Mapping[Lane, ReadingBatch], request: _Request) -> Receipt:
        done = {lane: ask for lane, ask in request.asks.items() if ask.done}
        if not done:
            raise self._senders[next(iter(request.asks))].trouble()
        readings = sum(len(lanes[lane]) for lane in done)
        batch = SharedBatch(self.producer, next(iter(done.values())).number, readings)
        places = tuple(place for ask in done.values() for place in sorted(set(ask.places)))
        overloaded = frozenset(lanes.keys() - done.keys())
        return Receipt(shared_batch_id(self._identity, batch), places, overloaded, BatchRef(*batch))

    def _tell(self, traces: Traces, lanes: Mapping[Lane, ReadingBatch], request: _Request, begun_us: int) -> None:
        """Of a traced batch: how long it took until Kinesis acknowledged it."""
        number = next(iter(request.asks.values())).number
        if not traces.sample.takes(self.producer, number):
            return
        ids = ids_of(self.producer, number)
        told = {f"penstock.{lane}_readings": len(lanes[lane]) for lane in request.asks}
        records = {place for ask in request.asks.values() for place in ask.places}
        traces.tell(
            Span(
                name="put",
                kind=Kind.PRODUCER,
                trace=ids.trace,
                span=ids.put,
                parent=ids.accept,
                begun_us=begun_us,
                ended_us=self._clock.now_us(),
                attributes=told | {"penstock.records": len(records)},
                failed=not all(ask.done for ask in request.asks.values()),
            )
        )

    def _durable(self, record: Record) -> None:
        self._minutes[record.received_us // MINUTE_US * MINUTE_US] += record.readings
        for ask in record.asks:
            if ask.done and (request := self._pending.pop(ask, None)) is not None:
                self._bytes -= ask.weight
                if all(other.done for other in request.asks.values()):
                    request.settle()
