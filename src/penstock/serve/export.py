"""A range of readings as a file: CSV as it is read, Parquet through a bounded file on disk."""

import asyncio
import csv
import io
import tempfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Final

import duckdb
import numpy as np
from litestar.response import Response, Stream

from penstock.errors import Backpressure
from penstock.model.batch import NO_SEQ
from penstock.model.quality import name_of
from penstock.serve.words import rfc3339_all
from penstock.store.read import Told

AT_ONCE: Final = 4
PIECE_BYTES: Final = 256 * 2**10
COLUMNS: Final = ("tag", "ts", "value", "state", "quality", "seq", "received_ts", "stored_ts")
_MADE: Final = """
create table readings (
    tag varchar, ts timestamptz, value double, state varchar, quality bigint, seq bigint,
    received_ts timestamptz, stored_ts timestamptz
)
"""
_PUT: Final = """
insert into readings
select $1, make_timestamptz(ts), if(isnan(value), null, value), state, quality, if(seq = $2, null, seq),
       make_timestamptz(received), make_timestamptz(stored)
from columns
"""


class Exports:
    """Files being made: a few at a time, each a stretch of readings after the other."""

    stretch: Final = 20_000

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(AT_ONCE)

    async def response(
        self, form: str, path: str, stretches: AsyncIterator[Told], limit: int | None, headers: Mapping[str, str]
    ) -> Response[Any]:
        """The file as a download, with *headers*. Raises Backpressure when enough are being made."""
        if self._places.locked():
            raise Backpressure("enough exports are under way", retry_after_s=10.0)
        readings = _limited(stretches, limit)
        name = f"{path.replace('/', '_')}.{form}"
        return Stream(
            self._placed(csv_of(path, readings) if form == "csv" else parquet_of(path, readings)),
            media_type="text/csv; charset=utf-8" if form == "csv" else "application/vnd.apache.parquet",
            headers={"content-disposition": f'attachment; filename="{name}"', **headers},
        )

    async def _placed(self, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async with self._places:
            async for piece in pieces:
                yield piece


async def csv_of(path: str, stretches: AsyncIterator[Told]) -> AsyncIterator[bytes]:
    """A header, then a line a reading; a value is the shortest text that gives it back to the bit."""
    yield _lines([COLUMNS])
    async for told in stretches:
        if len(told):
            yield await asyncio.to_thread(_csv_lines, path, told)


async def parquet_of(path: str, stretches: AsyncIterator[Told]) -> AsyncIterator[bytes]:
    """One Parquet file, zstd; times are UTC microseconds."""
    with tempfile.TemporaryDirectory(prefix="penstock-export-") as made_in:
        with duckdb.connect(str(Path(made_in) / "readings.duckdb"), config={"threads": 1}) as made:
            made.execute("set TimeZone = 'UTC'")
            made.execute(_MADE)
            async for told in stretches:
                if len(told):
                    await asyncio.to_thread(_put, made, path, told)
            file = Path(made_in) / "readings.parquet"
            await asyncio.to_thread(made.execute, f"copy readings to '{file}' (format parquet, compression zstd)")
        with file.open("rb") as written:
            while piece := await asyncio.to_thread(written.read, PIECE_BYTES):
                yield piece


def _put(made: duckdb.DuckDBPyConnection, path: str, told: Told) -> None:
    points = told.points
    columns = {
        "ts": points.ts,
        "value": points.value,
        "state": np.array([told.states.get(number) for number in points.state.tolist()], object),
        "quality": points.quality,
        "seq": points.seq,
        "received": told.received_us,
        "stored": told.stored_us,
    }
    made.register("columns", columns)
    made.execute(_PUT, [path, NO_SEQ])
    made.unregister("columns")


def _csv_lines(path: str, told: Told) -> bytes:
    points = told.points
    columns = (
        rfc3339_all(points.ts),
        ["" if value != value else repr(value) for value in points.value.tolist()],  # noqa: PLR0124  # NaN
        [told.states.get(number, "") for number in points.state.tolist()],
        [name_of(code) for code in points.quality.tolist()],
        ["" if seq == NO_SEQ else seq for seq in points.seq.tolist()],
        rfc3339_all(told.received_us),
        rfc3339_all(told.stored_us),
    )
    return _lines((path, *row) for row in zip(*columns, strict=True))


def _lines(rows: Any) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


async def _limited(stretches: AsyncIterator[Told], limit: int | None) -> AsyncIterator[Told]:
    """The first *limit* readings."""
    room = limit
    async for told in stretches:
        if room is None:
            yield told
        else:
            yield told.first(room)
            room -= len(told)
            if room <= 0:
                return
