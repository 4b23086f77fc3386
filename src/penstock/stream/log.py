"""The stream of one machine: an SQLite file with group commit. One process writes to it, one takes from it."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Final, TypeVar

from penstock.errors import Backpressure, Misconfigured, Tampered, Unavailable, Undecodable
from penstock.model.batch import Lane, ReadingBatch
from penstock.model.shard import Unit
from penstock.stream.batch_id import LANES, LOCAL, batch_id_of, places_of
from penstock.stream.log_file import POSITION_MASK, SQL, id_of, make, open_file, position_of, translated
from penstock.stream.log_writer import Append, Limits, LogWriter, Part, read_head
from penstock.stream.mark import StoredMark
from penstock.stream.port import Entry, Place, Receipt, Total
from penstock.stream.record import decode_batch, encode_batch
from penstock.stream.roles import Role, RoleLock

QUEUED_BYTES_MAX: Final = 64 * 2**20
"""Appends under way, together; a disk that has become this slow is a full one."""
POLL_MIN_S: Final = 0.001
POLL_MAX_S: Final = 0.02

Row = tuple[int, int, int, bytes]
T = TypeVar("T")


class LogStream:
    """The log in *folder* (`log.db` and its marks).

    With *writable* this process is the writer from the start; it becomes the taker at its first `take` or `forget`.
    Raises Misconfigured, naming the holder's pid, when another process has that role already.
    """

    def __init__(self, folder: Path, limits: Limits, *, writable: bool) -> None:
        self._folder = folder
        self._roles: dict[Role, RoleLock] = {}
        self._seen: dict[str, int] = {}
        self._queued_bytes = 0
        self._open = True
        with ExitStack() as undo:  # a log that cannot be opened leaves nothing open, and no role taken
            undo.callback(self._leave_roles)
            with translated():
                folder.mkdir(parents=True, exist_ok=True)
                if writable:
                    self._play("writer")
            self._watch = undo.enter_context(closing(open_file(folder)))
            self._identity = make(self._watch)
            self._reader = undo.enter_context(closing(open_file(folder)))
            self._mark = StoredMark(folder, self._identity)
            self._writer = LogWriter(folder, self._identity, limits) if writable else None
            undo.pop_all()
        self._reading = ThreadPoolExecutor(1, thread_name_prefix="penstock-log-read")

    @property
    def identity(self) -> str:
        return self._identity

    async def units(self) -> Sequence[Unit]:
        return (LOCAL,)

    async def append(self, lanes: Mapping[Lane, ReadingBatch], received_us: int) -> Receipt:
        parts = {lane: Part(encode_batch(batch), len(batch)) for lane, batch in lanes.items()}
        positions = await self._append(Append(parts, received_us, asyncio.get_running_loop().create_future()))
        if not positions:
            raise Backpressure("the local log is full")
        places = tuple(Place(lane, position) for lane, position in positions.items())
        return Receipt(batch_id_of(self._identity, positions), places, frozenset(lanes.keys() - positions.keys()))

    async def take(self, shard: str, after: int, readings_max: int) -> Sequence[Entry]:
        self._play("taker")
        self._seen[shard] = self._version()
        return await self._read(lambda: self._take(Lane(shard), after, readings_max))

    def ended(self, shard: str) -> bool:  # noqa: ARG002  # none ever does
        return False

    def behind_ms(self, shard: str) -> int:  # noqa: ARG002  # its totals say
        return 0

    def unheard(self, shard: str) -> bool:  # noqa: ARG002  # it is here
        return False

    async def wait(self, timeout_s: float, shards: Sequence[str] = ()) -> None:  # noqa: ARG002  # news of any
        """Asks SQLite whether another connection committed; that costs microseconds and works between processes."""
        loop = asyncio.get_running_loop()
        until, pause_s = loop.time() + timeout_s, POLL_MIN_S
        while self._open and set(self._seen.values()) == {self._version()}:
            left_s = until - loop.time()
            if left_s <= 0:
                return
            await asyncio.sleep(min(pause_s, left_s))
            pause_s = min(POLL_MAX_S, pause_s * 1.5)

    async def forget(self, shard: str, upto: int) -> None:
        self._play("taker")
        with translated():
            self._mark.put(Lane(shard), upto)

    async def read(self, place: Place) -> Entry | None:
        row_id = id_of(Lane(place.shard), place.position)
        row = await self._read(lambda: self._reader.execute(SQL["read"], {"id": row_id}).fetchone())
        return None if row is None else _entry(Lane(place.shard), row)

    async def ready(self) -> None:
        if not self._open:
            raise Unavailable("the local log is closed")
        await self.totals()

    def places(self, batch_id: str) -> tuple[Place, ...]:
        return places_of(self._identity, batch_id)

    async def totals(self) -> Mapping[str, Total]:
        heads = await self._read(lambda: {lane: read_head(self._reader, lane) for lane in LANES})
        return {lane: Total(head.position, head.counted) for lane, head in heads.items()}

    async def received(self, start_us: int, end_us: int) -> int:
        span = {"start_us": start_us, "end_us": end_us}
        return int(await self._read(lambda: self._reader.execute(SQL["received"], span).fetchone()[0]))

    async def close(self) -> None:
        if not self._open:
            return
        self._open = False
        if self._writer is not None:
            await asyncio.to_thread(self._writer.close)
        await asyncio.to_thread(self._reading.shutdown)
        for connection in (self._reader, self._watch):
            connection.close()
        self._mark.close()
        self._leave_roles()

    async def _append(self, append: Append) -> Mapping[Lane, int]:
        if self._writer is None:
            raise Misconfigured("stream.url", "this process opened the log only to take from it", "append elsewhere")
        if not self._open:
            raise Unavailable("the local log is closed")
        if self._queued_bytes + append.size_bytes > QUEUED_BYTES_MAX:
            raise Backpressure("the disk does not keep up")
        self._queued_bytes += append.size_bytes
        try:
            self._writer.submit(append)
            return await append.answer
        finally:
            self._queued_bytes -= append.size_bytes

    def _take(self, lane: Lane, after: int, readings_max: int) -> Sequence[Entry]:
        """Stops before the entry that would be too many, which SQLite then never reads."""
        span = {"after": id_of(lane, after), "last": id_of(lane, POSITION_MASK)}
        entries: list[Entry] = []
        readings = 0
        with closing(self._reader.execute(SQL["take"], span)) as rows:  # an open cursor would keep the WAL growing
            for row in rows:
                entry = _entry(lane, row)
                readings += len(entry.batch)
                if entries and readings > readings_max:
                    break
                entries.append(entry)
                if readings >= readings_max:
                    break
        return entries

    async def _read(self, question: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._reading, _answered, question)

    def _version(self) -> int:
        with translated():
            return int(self._watch.execute(SQL["data_version"]).fetchone()[0])

    def _leave_roles(self) -> None:
        for lock in self._roles.values():
            lock.release()
        self._roles.clear()

    def _play(self, role: Role) -> None:
        if role not in self._roles:
            self._roles[role] = RoleLock(self._folder, role)


def _answered(question: Callable[[], T]) -> T:
    with translated():
        return question()


def _entry(lane: Lane, row: Row) -> Entry:
    row_id, counted, received_us, record = row
    position = position_of(row_id)
    try:
        return Entry(lane, position, counted, received_us, decode_batch(record))
    except Undecodable as error:
        raise Tampered(f"entry {position} of lane {lane} in the local log: {error}") from error
