"""Sends the readings of files, in order, at a chosen speed; goes on where it was stopped."""

import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from penstock.client import Client
from penstock.errors import Backpressure
from penstock.replay.table import Reading, Reads, read_table

READINGS_MAX: Final = 5_000
"""In one request."""
UNPROCESSABLE: Final = 422
HASH_BYTES: Final = 2**20
RESEND_TRIES: Final = 60
RESEND_PAUSE_S: Final = 1.0
SOON_S: Final = 0.05
"""At a given speed, readings due within this time go together."""


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """How files are understood and sent. *speed*: times as fast as written, None as fast as taken."""

    reads: Reads = field(default_factory=Reads)
    speed: float | None = None


@dataclass(slots=True)
class Summary:
    """What became of a replay's readings at the door; `refused` by code, where the door named it."""

    sent: int = 0
    accepted: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    resumed_rows: int = 0

    def note(self, readings: int, answer: dict[str, Any]) -> None:
        """Count one answer. The door names at most 20 refusals, and counts all."""
        accepted = int(answer.get("accepted", 0))
        named = Counter(str(error.get("code", "refused")) for error in answer.get("errors", ()))
        self.sent += readings
        self.accepted += accepted
        self.refused += named
        self.refused["more, not named"] += readings - accepted - named.total()
        self.refused += Counter()  # drops what is zero


async def replay(
    client: Client, files: Sequence[Path], options: ReplayOptions, data: Path, *, show: bool = True
) -> Summary:
    """Send *files* one after the other. Raises Rejected for a file not understood, Unavailable, Backpressure.

    How far each has come is kept in *data*, by content and options: run it again after a stop and it goes on.
    """
    summary = Summary()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, disable=not show) as bars:
        for file in files:
            bar = bars.add_task(file.name, total=await asyncio.to_thread(_count_lines, file))
            await _File(client, options, summary).send(file, data, bars, bar)
    return summary


class _File:
    """One file on its way."""

    def __init__(self, client: Client, options: ReplayOptions, summary: Summary) -> None:
        self._client, self._options, self._summary = client, options, summary
        self._first_us: int | None = None
        self._began = asyncio.get_running_loop().time()

    async def send(self, file: Path, data: Path, bars: Progress, bar: TaskID) -> None:
        place = await asyncio.to_thread(_Place, file, self._options, data)
        self._summary.resumed_rows += place.row
        readings = read_table(file, self._options.reads, place.row)
        for batch in self._batches(readings):
            await self._wait_until_due(batch[0].ts_us)
            await self._send(batch)
            place.move(batch[-1].row)
            bars.update(bar, completed=batch[-1].row)
        place.clear()
        bars.update(bar, completed=bars.tasks[bar].total)

    def _batches(self, readings: Iterable[Reading]) -> Iterator[list[Reading]]:
        """Whole rows, so that a row is never half sent; at a given speed, only what is due together."""
        speed = self._options.speed
        span_us = int(SOON_S * 1e6 * speed) if speed else None
        batch: list[Reading] = []
        for reading in readings:
            if batch and reading.row != batch[-1].row:
                later = span_us is not None and reading.ts_us - batch[0].ts_us > span_us
                if later or len(batch) >= READINGS_MAX:
                    yield batch
                    batch = []
            batch.append(reading)
        if batch:
            yield batch

    async def _wait_until_due(self, ts_us: int) -> None:
        if self._options.speed is None:
            return
        loop = asyncio.get_running_loop()
        if self._first_us is None:
            self._first_us, self._began = ts_us, loop.time()
        due = self._began + (ts_us - self._first_us) / 1e6 / self._options.speed
        await asyncio.sleep(max(0.0, due - loop.time()))

    async def _send(self, batch: Sequence[Reading]) -> None:
        """Send until nothing was left out for lack of room; the rest is a duplicate then, which is harmless."""
        body = msgspec.json.encode(_columns(batch))
        for _ in range(RESEND_TRIES):
            response = await self._client.request("POST", "/v1/readings", body=body, repeatable=True)
            answer = json.loads(response.body) if response.status == UNPROCESSABLE else response.json()
            if not any(error.get("retryable") for error in answer.get("errors", ())):
                self._summary.note(len(batch), answer)
                return
            await asyncio.sleep(RESEND_PAUSE_S)
        raise Backpressure("the plant is full; run the same command again to go on")


class _Place:
    """How far a file has been sent, in a small file of its own; lost, it costs duplicates and nothing else."""

    def __init__(self, file: Path, options: ReplayOptions, data: Path) -> None:
        digest = hashlib.sha256(repr((options.reads, file.absolute().parts[-2:])).encode())
        with file.open("rb") as content:
            while part := content.read(HASH_BYTES):
                digest.update(part)
        self._file = data / "replay" / f"{digest.hexdigest()[:32]}.row"
        self.row = int(self._file.read_text()) if self._file.exists() else 0

    def move(self, row: int) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        draft = self._file.with_suffix(".new")
        draft.write_text(str(row))
        draft.replace(self._file)

    def clear(self) -> None:
        self._file.unlink(missing_ok=True)


def _columns(batch: Sequence[Reading]) -> dict[str, list[Any]]:
    """The column form; what no reading has is left out."""
    always: dict[str, list[Any]] = {
        "tags": [reading.tag for reading in batch],
        "ts": [reading.ts_us for reading in batch],
        "values": [reading.value for reading in batch],
    }
    usual = {"states": None, "qualities": "good", "seqs": None, "units": None}
    seldom: dict[str, list[Any]] = {
        "states": [reading.state for reading in batch],
        "qualities": [reading.quality for reading in batch],
        "seqs": [reading.seq for reading in batch],
        "units": [reading.unit for reading in batch],
    }
    return always | {name: column for name, column in seldom.items() if set(column) != {usual[name]}}


def _count_lines(file: Path) -> int | None:
    """For the progress bar; a Parquet file's rows are not lines."""
    if file.suffix.lower() in {".parquet", ".pq"}:
        return None
    with file.open("rb") as content:
        return sum(part.count(b"\n") for part in iter(lambda: content.read(HASH_BYTES), b""))
