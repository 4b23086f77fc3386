"""The log's one writing thread: whatever waits when the last commit ends goes into the next one (group commit)."""

import asyncio
import queue
import shutil
import sqlite3
import threading
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from penstock.errors import Backpressure, PenstockError, Unavailable
from penstock.model.batch import Lane
from penstock.stream.batch_id import LANES
from penstock.stream.log_file import SQL, id_of, open_file, position_of, translated
from penstock.stream.mark import StoredMark
from penstock.stream.room import CRITICAL_SHARE, limit_of, weight_of
from penstock.telemetry import log

GROUP_BYTES_MAX: Final = 32 * 2**20
DISK_RETRY_S: Final = 5.0
MINUTE_US: Final = 60_000_000
DAY_US: Final = 86_400_000_000
TRIM_SPARE: Final = 8


class Part(NamedTuple):
    """What an append brings for one lane."""

    record: bytes
    readings: int


@dataclass(frozen=True, slots=True)
class Append:
    """One append under way; the future gets its positions by lane, none for a lane that is full."""

    parts: Mapping[Lane, Part]
    received_us: int
    answer: asyncio.Future[Mapping[Lane, int]]

    @property
    def size_bytes(self) -> int:
        return sum(len(part.record) for part in self.parts.values())


@dataclass(frozen=True, slots=True)
class Limits:
    """What the log may hold."""

    bytes_max: int
    keep_bytes: int
    keep_days: float
    disk_free_min_bytes: int


class Head(NamedTuple):
    """A lane's newest entry: all of its figures are cumulative."""

    position: int = 0
    counted: int = 0
    weighed: int = 0


@dataclass(slots=True)
class _Group:
    """One transaction in the making."""

    heads: dict[Lane, Head]
    rows: list[tuple[int, int, int, int, bytes]] = field(default_factory=list)
    minutes: Counter[int] = field(default_factory=Counter)

    def put(self, lane: Lane, part: Part, received_us: int) -> int:
        position, counted, weighed = self.heads[lane]
        head = Head(position + 1, counted + part.readings, weighed + weight_of(part.record))
        self.heads[lane] = head
        self.rows.append((id_of(lane, head.position), head.counted, head.weighed, received_us, part.record))
        self.minutes[received_us // MINUTE_US] += part.readings
        return head.position


class LogWriter:
    """Owns the writing connection; everything but `submit` and `close` happens in its thread."""

    def __init__(self, folder: Path, identity: str, limits: Limits) -> None:
        self._folder, self._limits = folder, limits
        self._mark = StoredMark(folder, identity)
        self._connection = open_file(folder)
        self._heads: dict[Lane, Head] | None = None
        self._stored: dict[Lane, Head] = {}
        self._short = False
        self._appends: queue.SimpleQueue[Append | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="penstock-log", daemon=True)
        self._thread.start()

    def submit(self, append: Append) -> None:
        self._appends.put(append)

    def close(self) -> None:
        """Commit what was submitted, then let go."""
        self._appends.put(None)
        self._thread.join()
        self._connection.close()
        self._mark.close()

    def _run(self) -> None:
        more = True
        while more:
            appends, more = self._gather()
            if appends:
                _answer(appends, self._outcomes(appends))

    def _gather(self) -> tuple[list[Append], bool]:
        """Everything that waits, up to a size; False after the last."""
        appends: list[Append] = []
        size_bytes = 0
        following = self._appends.get()
        while following is not None:
            appends.append(following)
            size_bytes += following.size_bytes
            if size_bytes >= GROUP_BYTES_MAX or self._appends.empty():
                return appends, True
            following = self._appends.get()
        return appends, False

    def _outcomes(self, appends: Sequence[Append]) -> Sequence[Mapping[Lane, int] | PenstockError]:
        try:
            with translated():
                self._guard_disk()
                return self._commit(appends)
        except PenstockError as error:
            return [error] * len(appends)
        except Exception as error:  # noqa: BLE001  # this thread must outlive any fault, or every append would hang
            log.error("the local log could not append", exc_info=True)
            return [Unavailable(f"the local log failed: {type(error).__name__}")] * len(appends)

    def _guard_disk(self) -> None:
        free = shutil.disk_usage(self._folder).free
        short = free < self._limits.disk_free_min_bytes
        if short != self._short:
            self._short = short
            log.warning("the disk is nearly full: nothing is accepted" if short else "accepting again", free_bytes=free)
        if short:
            raise Backpressure(f"the disk has only {free // 2**20} MiB left", retry_after_s=DISK_RETRY_S)

    def _commit(self, appends: Sequence[Append]) -> Sequence[Mapping[Lane, int]]:
        group = _Group(dict(self._read_heads() if self._heads is None else self._heads))
        self._stored = {lane: self._stored_head(lane, group.heads[lane]) for lane in LANES}
        positions = [self._admit(append, group) for append in appends]
        if group.rows:
            self._heads = None  # until the commit is known to have happened, only the file knows
            self._write(group)
            self._heads = group.heads
        return positions

    def _admit(self, append: Append, group: _Group) -> Mapping[Lane, int]:
        taken = {}
        for lane in (lane for lane in LANES if lane in append.parts):
            part = append.parts[lane]
            unstored = sum(group.heads[each].weighed - self._stored[each].weighed for each in LANES)
            if unstored + weight_of(part.record) <= limit_of(lane, self._limits.bytes_max):
                taken[lane] = group.put(lane, part, append.received_us)
        return taken

    def _write(self, group: _Group) -> None:
        execute = self._connection.execute
        execute("BEGIN IMMEDIATE")
        try:
            self._connection.executemany(SQL["append"], group.rows)
            self._connection.executemany(SQL["count_received"], group.minutes.items())
            for lane in LANES:
                self._trim(lane, group)
            execute("COMMIT")
        except sqlite3.Error:
            if self._connection.in_transaction:
                execute("ROLLBACK")
            raise

    def _trim(self, lane: Lane, group: _Group) -> None:
        """Drop a few stored entries, oldest first, that are beyond what is kept. The last stored one always stays."""
        share = CRITICAL_SHARE if lane is Lane.CRITICAL else 1 - CRITICAL_SHARE
        stored = self._stored[lane]
        newest_us = max(row[3] for row in group.rows)
        if stored.position > 1:
            terms = {
                "first": id_of(lane, 1),
                "stored": id_of(lane, stored.position),
                "entries_max": 2 * len(group.rows) + TRIM_SPARE,
                "weighed_min": stored.weighed - int(self._limits.keep_bytes * share),
                "since_us": newest_us - int(self._limits.keep_days * DAY_US),
            }
            self._connection.execute(SQL["trim"], terms)

    def _read_heads(self) -> dict[Lane, Head]:
        heads = {lane: read_head(self._connection, lane) for lane in LANES}
        self._heads = heads
        return heads

    def _stored_head(self, lane: Lane, head: Head) -> Head:
        """The entry up to which *lane* is stored. A mark beyond the log's own head is no mark of this log."""
        position = self._mark.get(lane)
        known = self._stored.get(lane, Head())
        if position == known.position or not 0 < position <= head.position:
            return known
        row = self._connection.execute(SQL["weighed"], {"id": id_of(lane, position)}).fetchone()
        return known if row is None else Head(position, weighed=row[0])


def read_head(connection: sqlite3.Connection, lane: Lane) -> Head:
    """The newest entry of *lane*."""
    span = {"first": id_of(lane, 1), "last": id_of(lane, 2**48 - 1)}
    row = connection.execute(SQL["head"], span).fetchone()
    return Head() if row is None else Head(position_of(row[0]), row[1], row[2])


def _answer(appends: Sequence[Append], outcomes: Sequence[Mapping[Lane, int] | PenstockError]) -> None:
    """Wake each event loop once, however many of its appends are done."""
    by_loop = defaultdict(list)
    for append, outcome in zip(appends, outcomes, strict=True):
        by_loop[append.answer.get_loop()].append((append.answer, outcome))
    for loop, answers in by_loop.items():
        try:
            loop.call_soon_threadsafe(_settle, answers)
        except RuntimeError:  # the loop is closed: nobody waits for these any more
            continue


def _settle(
    answers: Sequence[tuple[asyncio.Future[Mapping[Lane, int]], Mapping[Lane, int] | PenstockError]],
) -> None:
    for answer, outcome in answers:
        if answer.done():
            continue
        if isinstance(outcome, PenstockError):
            answer.set_exception(outcome)
        else:
            answer.set_result(outcome)
