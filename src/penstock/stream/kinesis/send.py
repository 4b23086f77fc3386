"""Sends a lane's records: several calls under way, and whatever fails again, until all is acknowledged."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final, NamedTuple, Protocol

from penstock.clock import within
from penstock.errors import Backpressure, PenstockError, Unavailable
from penstock.model.batch import Lane
from penstock.stream.kinesis.belts import Belts, Record
from penstock.stream.kinesis.client import Fate, Outgoing, shard_name
from penstock.stream.kinesis.trouble import THROTTLES
from penstock.stream.kinesis.wave import Waiting
from penstock.stream.port import Place
from penstock.telemetry import PUT_BYTES, PUT_READINGS, PUT_RECORDS, PUT_RETRIES, PUT_SECONDS, log

CALL_RECORDS_MAX: Final = 500
CALL_BYTES_MAX: Final = 5 * 2**20
BREATH_RECORDS: Final = 8
"""Records made at a stroke, before whatever else is urgent has its turn."""
LOUD_TRIES: Final = 8
"""So often a record fails before the log tells of it, once in SILENT_S a lane."""
SILENT_S: Final = 60.0


class Client(Protocol):
    """What a producer needs of Kinesis."""

    async def put(self, stream: str, records: Sequence[Outgoing]) -> Sequence[Fate]:
        """One PutRecords call; a fate for each record, in order. Raises Backpressure or Unavailable for the whole."""
        ...


class Target(NamedTuple):
    """Where a lane's records go."""

    lane: Lane
    stream: str
    created_ms: int | None = None
    """Of the critical lane's own stream: when it was created."""


class Sender:
    """One lane's way to Kinesis; another lane's calls never stand in its way. Made where an event loop runs."""

    def __init__(
        self, client: Client, target: Target, belts: Belts, durable: Callable[[Record], None], calls_max: int
    ) -> None:
        """*durable* is told of every record that was acknowledged."""
        self.belts = belts
        self._client = client
        self._target = target
        self._durable = durable
        self._trouble: PenstockError = Unavailable("Kinesis did not answer in time")
        self._slots = asyncio.Semaphore(calls_max)
        self._news, self._answered = asyncio.Event(), asyncio.Event()
        self._sleeps_until_s = self._silent_until_s = 0.0
        self._calls: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._sending = self._loop.create_task(self._send(), name=f"kinesis-put-{target.lane}")
        self._sending.add_done_callback(_tell)

    def trouble(self) -> PenstockError:
        """Why records are not acknowledged: what failed last."""
        kind = Backpressure if isinstance(self._trouble, Backpressure) else Unavailable
        return kind(str(self._trouble))

    def add(self, waiting: Waiting) -> None:
        """Raises Unavailable when nothing is sent any more."""
        if self._sending.done():
            raise Unavailable(f"the {self._target.lane} lane has stopped; see the log, and start again")
        self.belts.add(waiting, self._loop.time())
        self._look()

    async def drain(self, until_s: float) -> None:
        """Wait until all is acknowledged, or for the time *until_s* of the event loop's; then end."""
        while not self.belts.idle and (left_s := until_s - self._loop.time()) > 0:
            self._answered.clear()
            await within(left_s, self._answered)
        ending = [self._sending, *self._calls]
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)

    async def _send(self) -> None:
        while True:
            await self._slots.acquire()  # first: while no call may begin, records get fuller
            await self._until_due()
            async for call in self._calls_due():
                task = self._loop.create_task(self._call(call))
                self._calls.add(task)
                task.add_done_callback(self._calls.discard)
                await self._slots.acquire()
            self._slots.release()

    async def _until_due(self) -> None:
        while (wait_s := (due_s := self.belts.due_s()) - self._loop.time()) > 0:
            self._sleeps_until_s = due_s
            self._news.clear()
            await within(wait_s, self._news)
        self._sleeps_until_s = 0.0

    async def _calls_due(self) -> AsyncIterator[list[Record]]:
        """What is due, in as few calls as Kinesis' limits allow."""
        call: list[Record] = []
        size_bytes = 0
        for made, record in enumerate(self.belts.records(self._loop.time()), 1):
            if len(call) == CALL_RECORDS_MAX or size_bytes + record.size_bytes > CALL_BYTES_MAX:
                yield call
                call, size_bytes = [], 0
            call.append(record)
            size_bytes += record.size_bytes
            if made % BREATH_RECORDS == 0:
                await asyncio.sleep(0)
        if call:
            yield call

    async def _call(self, records: Sequence[Record]) -> None:
        begun_s = time.perf_counter()
        try:
            fates = await self._client.put(self._target.stream, [record.outgoing() for record in records])
        except PenstockError as error:
            self._fail(records, "throttled" if isinstance(error, Backpressure) else "unanswered", error)
        except Exception as error:  # noqa: BLE001  # a record must never be forgotten, whatever went wrong
            log.error("a call to Kinesis failed in a way that is not known", exc_info=error)
            self._fail(records, "failed", Unavailable(str(error)))
        else:
            for record, fate in zip(records, fates, strict=True):
                self._settle(record, fate)
        PUT_SECONDS.labels(self._target.lane).observe(time.perf_counter() - begun_s)
        self._slots.release()
        self._answered.set()
        self._look()

    def _settle(self, record: Record, fate: Fate) -> None:
        if code := fate.get("ErrorCode"):
            throttled = code in THROTTLES
            kind = Backpressure if throttled else Unavailable
            self._fail([record], "throttled" if throttled else "failed", kind(f"{self._target.stream} answered {code}"))
            return
        shard = shard_name(fate["ShardId"], self._target.created_ms)
        self.belts.acknowledge(record, Place(shard, int(fate["SequenceNumber"])))
        PUT_RECORDS.labels(self._target.lane).inc()
        PUT_READINGS.labels(self._target.lane).inc(record.readings)
        PUT_BYTES.labels(self._target.lane).inc(record.size_bytes)
        self._durable(record)

    def _fail(self, records: Sequence[Record], reason: str, trouble: PenstockError) -> None:
        self._trouble = trouble
        PUT_RETRIES.labels(self._target.lane, reason).inc(len(records))
        self.belts.fail(records, self._loop.time())
        if max(record.tries for record in records) >= LOUD_TRIES and self._loop.time() >= self._silent_until_s:
            self._silent_until_s = self._loop.time() + SILENT_S
            log.warning("readings wait: Kinesis does not take their record", lane=self._target.lane, why=str(trouble))

    def _look(self) -> None:
        """Wake the sending task if there is something to do before it means to wake."""
        if self.belts.due_s() < self._sleeps_until_s:
            self._news.set()


def _tell(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        log.critical("no more readings are sent; end this process", task=task.get_name(), exc_info=error)
