"""Readings, batches, entries and tags in one line each; what tests wait for."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from penstock.model.batch import NO_SEQ, NO_TEXT, ReadingBatch, batch_of
from penstock.model.tag import Tag, TagConfig
from penstock.process.columns import Columns
from penstock.store.embedded import EmbeddedPostgres
from penstock.store.port import Rows
from penstock.stream.port import Entry

T0_US = 1_790_000_000_000_000
MINUTE_US = 60_000_000


class R(NamedTuple):
    """One reading, as a sender has it."""

    path: str
    ts: int
    value: float | None = None
    state: str | None = None
    quality: int = 0
    seq: int | None = None
    unit: str | None = None


def batch(*readings: R) -> ReadingBatch:
    paths, tag = _coded([reading.path for reading in readings])
    states, state = _coded([reading.state for reading in readings])
    units, unit = _coded([reading.unit for reading in readings])
    return batch_of(
        paths,
        tag,
        [reading.ts for reading in readings],
        [np.nan if reading.value is None else reading.value for reading in readings],
        states=states,
        state=state,
        quality=[reading.quality for reading in readings],
        seq=[NO_SEQ if reading.seq is None else reading.seq for reading in readings],
        units=units,
        unit=unit,
    )


def entries(*batches: ReadingBatch, shard: str = "bulk", after: int = 0, received_us: int = T0_US) -> list[Entry]:
    """Entries behind position *after*; the shard's count begins with them."""
    counted, made = 0, []
    for number, one in enumerate(batches, after + 1):
        counted += len(one)
        made.append(Entry(shard, number, counted, received_us, one))
    return made


def tag(tag_id: int, path: str, holds: str | None = None, **config: object) -> Tag:
    return Tag(tag_id, path, (tag_id - 1) // 100, holds, TagConfig(**config), tag_id)  # type: ignore[arg-type]


def rows(*readings: tuple[int, int, float, int, int, int]) -> Rows:
    """Rows of (tag_id, ts, value, state, quality, seq)."""
    columns = list(zip(*readings, strict=True)) or [()] * 6
    types = (np.int32, np.int64, np.float64, np.int32, np.int64, np.int64)
    return Rows(*(np.array(column, kind) for column, kind in zip(columns, types, strict=True)))


def row(tag_id: int, ts: int, value: float = 1.0, *, state: int = NO_TEXT, quality: int = 0, seq: int = NO_SEQ) -> Rows:
    return rows((tag_id, ts, value, state, quality, seq))


def columns(*readings: tuple[int, int, float, int, int, int]) -> Columns:
    """Columns of (slot, ts, value, state, quality, seq), all of one entry."""
    body = rows(*readings)
    n = len(body)
    numbers = np.arange(n, dtype=np.int32)
    return Columns(body.tag_id, body.ts, body.value, body.state, body.quality, body.seq, np.zeros(n, np.int32), numbers)


def _coded(texts: Sequence[str | None]) -> tuple[tuple[str, ...], list[int]]:
    known = {text: i for i, text in enumerate(dict.fromkeys(text for text in texts if text is not None))}
    return tuple(known), [NO_TEXT if text is None else known[text] for text in texts]


def series(folder: Path) -> list[Path]:
    """Two files as plants keep them: one series, with a time that comes twice; and a wide one, behind semicolons."""
    rng = np.random.default_rng(3)
    one, wide = folder / "pump" / "load.csv", folder / "loop" / "run-1.csv"
    lines = [
        f"2024-03-01 {h:02}:{m:02}:00,{v!r}"
        for (h, m), v in zip(_times(400), rng.normal(70, 3, 400).tolist(), strict=True)
    ]
    one.parent.mkdir()
    one.write_text("\n".join(["timestamp,value", *lines, lines[-1].rpartition(",")[0] + ",-0.0"]) + "\n")
    rows = [
        f"2024-03-02 {h:02}:{m:02}:00;{a!r};{b!r};0.0"
        for (h, m), (a, b) in zip(_times(300), rng.normal(0, 1, (300, 2)).tolist(), strict=True)
    ]
    wide.parent.mkdir()
    wide.write_text("\n".join(["datetime;Current;Volume Flow RateRMS;anomaly", *rows]) + "\n")
    return [one, wide]


def _times(count: int) -> list[tuple[int, int]]:
    return [divmod(minute, 60) for minute in range(count)]


def database_url(server: EmbeddedPostgres, name: str) -> str:
    """Of another database on the same server."""
    return server.url.rpartition("/")[0] + f"/{name}"


@asynccontextmanager
async def goodbyes(limit_s: float = 10) -> AsyncIterator[None]:
    """No file is open longer than the block: redis-py parts from a refusing server without waiting for TLS's goodbye.

    Raises TimeoutError for a leak.
    """
    before = _open_files()
    try:
        yield
    finally:
        async with asyncio.timeout(limit_s):
            while _open_files() > before:  # noqa: ASYNC110  # nobody tells us
                await asyncio.sleep(0.001)


def _open_files() -> int:
    return len(list(Path("/dev/fd").iterdir()))
