"""Readings as one Parquet file, through DuckDB and a bounded file on disk."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Final, Self

import duckdb
import numpy as np

from penstock.errors import Unavailable
from penstock.model.batch import NO_SEQ, NO_TEXT, Int32s, Ints
from penstock.store.pack import Points

ROW_GROUP: Final = 122_880
"""Readings a reader must open at least: a day of a tag that reads once a second, and some."""
MEMORY: Final = "256MB"
"""What DuckDB may take; beyond, it writes to disk."""
_MADE: Final = """
create table readings (
    tag varchar, ts timestamptz, value double, state varchar, quality bigint, seq bigint,
    received_ts timestamptz, stored_ts timestamptz, flush_id bigint
)
"""
_PUT: Final = """
insert into readings
select list_extract($1::varchar[], tag), make_timestamptz(ts), if(isnan(value), null, value),
       list_extract($2::varchar[], state), quality, if(seq = $3, null, seq),
       make_timestamptz(received), make_timestamptz(stored), flush
from columns
"""
# version 2 knows delta coding: 4.7 bytes a reading where version 1 takes 7.9
_COPY: Final = (
    "copy readings to '{file}' (format parquet, compression zstd, parquet_version v2, row_group_size {row_group})"
)


@dataclass(frozen=True, slots=True, eq=False)
class Stretch:
    """n readings sorted by (tag, ts, seq), of tags in the order of *paths*; *tag* is the place in it, from 0."""

    paths: Sequence[str]
    tag: Int32s
    points: Points
    received_us: Ints
    stored_us: Ints
    states: Mapping[int, str]

    def __len__(self) -> int:
        return self.tag.size

    def pick(self, where: slice) -> Self:
        return type(self)(
            self.paths,
            self.tag[where],
            self.points.pick(where),
            self.received_us[where],
            self.stored_us[where],
            self.states,
        )


class ParquetFile:
    """A file in the making, in *folder*. The same readings make the same bytes, however they are added.

    All methods block. Raises Unavailable when the disk has no room.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._busy = Lock()
        self._making = folder / "readings.duckdb"
        self._making.unlink(missing_ok=True)
        config: dict[str, str | bool | int | float | list[str]] = {"threads": 1, "memory_limit": MEMORY}
        with _needing_room():
            self._duckdb = duckdb.connect(str(self._making), config=config)
            self._duckdb.execute("set TimeZone = 'UTC'")
            self._duckdb.execute(_MADE)

    def add(self, stretch: Stretch) -> None:
        """Readings that follow those added before."""
        points = stretch.points
        numbers, state = np.unique(points.state, return_inverse=True)
        texts = [None if number == NO_TEXT else stretch.states[number] for number in numbers.tolist()]
        columns = {
            "tag": stretch.tag + 1,  # DuckDB counts from one
            "ts": points.ts,
            "value": points.value,
            "state": state.astype(np.int32) + 1,
            "quality": points.quality,
            "seq": points.seq,
            "received": stretch.received_us,
            "stored": stretch.stored_us,
            "flush": points.flush,
        }
        with self._busy:
            self._duckdb.register("columns", columns)
            try:
                with _needing_room():
                    self._duckdb.execute(_PUT, [list(stretch.paths), texts, NO_SEQ])
            finally:
                self._duckdb.unregister("columns")

    def finish(self) -> Path:
        """The file, whole; close before another is made."""
        file = self._folder / "readings.parquet"
        with self._busy, _needing_room():
            self._duckdb.execute(_COPY.format(file=str(file).replace("'", "''"), row_group=ROW_GROUP))
        return file

    def close(self) -> None:
        """Also while another thread still adds: what it does is given up."""
        self._duckdb.interrupt()
        with self._busy:  # DuckDB would wait for the other thread with Python's own lock held, and that for it
            self._duckdb.close()
        self._making.unlink(missing_ok=True)


@contextmanager
def _needing_room() -> Iterator[None]:
    """Around what writes to disk. Raises Unavailable."""
    try:
        yield
    except (duckdb.IOException, duckdb.OutOfMemoryException) as error:
        why = f"a Parquet file cannot be made: {str(error).splitlines()[0]}; free space where TMPDIR leads"
        raise Unavailable(why) from error
