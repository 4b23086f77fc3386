"""A file of readings, row by row: long or wide CSV, and Parquet. Whatever its size, one row is held at a time.

The time column is the first named ts, source_ts, timestamp, datetime, time or date (in any case). Then:

* long: columns `tag` and `value` (also `state`, `quality`, `seq`, `unit`): tags as they stand, behind the prefix;
* one series: only `value` beside the time: the tag is `<folder>/<file>`, both without suffix, behind the prefix;
* wide: every other column is a tag `<folder>/<file>/<column>`, behind the prefix.

What a tag may not contain becomes `_`. An empty cell is no reading, `nan` is one of bad quality, text is a state.
"""

import csv
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, Protocol
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import duckdb

from penstock.errors import Rejected
from penstock.model.quality import Quality
from penstock.model.tag import SEGMENTS_MIN, is_path

TIME_NAMES: Final = ("ts", "source_ts", "timestamp", "datetime", "time", "date")
LONG_NAMES: Final = frozenset({"tag", "value", "state", "quality", "seq", "unit"})
FETCH_ROWS: Final = 1_000
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)
_ILLEGAL: Final = re.compile(r"[^A-Za-z0-9._-]+")

Key = Literal["time", "row"]
Row = tuple[int, Sequence[Any]]
"""A row's number (a CSV's first line is 1) and its cells."""


class Reading(NamedTuple):
    """One reading of a file, in the terms of `POST /v1/readings`."""

    row: int
    tag: str
    ts_us: int
    value: float | None
    state: str | None
    quality: str | int
    seq: int | None
    unit: str | None = None


@dataclass(frozen=True, slots=True)
class Reads:
    """How a file is to be understood. *zone*: of times that name none."""

    zone: str = ""
    tag_prefix: str = ""
    wide: bool = False
    key: Key = "time"


class Shape(Protocol):
    """How a row's cells become readings."""

    def __call__(self, row: int, ts_us: int, cells: Sequence[Any]) -> Iterator[Reading]: ...


def read_table(file: Path, reads: Reads, after_row: int = 0) -> Iterator[Reading]:
    """Readings of the rows after *after_row*. Raises Rejected, naming the line, where a row cannot be understood."""
    names, rows = (_parquet if file.suffix.lower() in {".parquet", ".pq"} else _csv)(file)
    time_at = _time_column(names, file)
    shape = _shape_of(file, names, time_at, reads)
    zone = _zone(reads.zone)
    for number, cells in rows:
        if number > after_row and cells:
            try:
                yield from shape(number, _microseconds(cells[time_at], zone), cells)
            except (ValueError, IndexError) as error:
                raise Rejected(f"{file}, line {number}: {error}", code="file_row") from error


def legal(text: str) -> str:
    """*text* as one segment of a tag."""
    segment = _ILLEGAL.sub("_", text.strip())
    return "_" if segment in {"", ".", ".."} else segment


def _csv(file: Path) -> tuple[list[str], Iterator[Row]]:
    with file.open(newline="", encoding="utf-8-sig") as lines:
        first = lines.readline()
    delimiter = ";" if first.count(";") > first.count(",") else ","

    def rows() -> Iterator[Row]:
        with file.open(newline="", encoding="utf-8-sig") as lines:
            reader = csv.reader(lines, delimiter=delimiter)
            next(reader, None)
            for cells in reader:
                yield reader.line_num, cells

    return next(csv.reader([first], delimiter=delimiter), []), rows()


def _parquet(file: Path) -> tuple[list[str], Iterator[Row]]:
    try:
        with duckdb.connect() as database:
            described = database.execute("DESCRIBE SELECT * FROM read_parquet(?)", [str(file)]).fetchall()
    except duckdb.Error as error:
        raise Rejected(f"{file} is no Parquet file: {str(error).splitlines()[0]}", code="file_row") from error
    # An instant comes as microseconds: as an object it would need a further library.
    columns = [_quoted(name, str(kind)) for name, kind, *_ in described]

    def rows() -> Iterator[Row]:
        with duckdb.connect() as database:
            database.execute("SET preserve_insertion_order = true")
            found = database.execute(f"SELECT {', '.join(columns)} FROM read_parquet(?)", [str(file)])  # noqa: S608
            number = 1
            while part := found.fetchmany(FETCH_ROWS):
                for cells in part:
                    number += 1
                    yield number, cells

    return [str(name) for name, *_ in described], rows()


def _quoted(name: str, kind: str) -> str:
    quoted = '"' + name.replace('"', '""') + '"'
    return f"epoch_us({quoted})" if kind == "TIMESTAMP WITH TIME ZONE" else quoted


def _time_column(names: Sequence[str], file: Path) -> int:
    lower = [name.strip().lower() for name in names]
    for name in TIME_NAMES:
        if name in lower:
            return lower.index(name)
    raise Rejected(f"{file} has no time column; name one of its columns {', '.join(TIME_NAMES)}", code="file_header")


def _shape_of(file: Path, names: Sequence[str], time_at: int, reads: Reads) -> Shape:
    lower = [name.strip().lower() for name in names]
    others = {at: name for at, name in enumerate(names) if at != time_at}
    own = "/".join(filter(None, (reads.tag_prefix, legal(file.absolute().parent.name), legal(file.stem))))
    if not reads.wide and {"tag", "value"} <= set(lower):
        return _Long({name: at for at, name in enumerate(lower) if name in LONG_NAMES}, reads, legal(file.stem))
    if not reads.wide and [lower[at] for at in others] == ["value"]:
        return _Wide({at: _checked(own, file) for at in others}, reads.key)
    return _Wide({at: _checked(f"{own}/{legal(name)}", file) for at, name in others.items()}, reads.key)


def _checked(tag: str, file: Path) -> str:
    if not is_path(tag):
        raise Rejected(
            f"{file} would give the tag {tag}, which is none; choose another --tag-prefix", code="file_header"
        )
    return tag


class _Wide:
    """Every cell is a reading of its column's tag."""

    def __init__(self, tags: dict[int, str], key: Key) -> None:
        self._tags, self._by_row = tags, key == "row"

    def __call__(self, row: int, ts_us: int, cells: Sequence[Any]) -> Iterator[Reading]:
        for at, tag in self._tags.items():
            content = _content(cells[at])
            if content is not None:
                yield Reading(row, tag, ts_us, *content, row if self._by_row else None)


class _Long:
    """Every row is a reading."""

    def __init__(self, places: dict[str, int], reads: Reads, stem: str) -> None:
        self._places, self._by_row, self._stem = places, reads.key == "row", stem
        self._prefix = [segment for segment in reads.tag_prefix.split("/") if segment]
        self._tags: dict[str, str] = {}

    def __call__(self, row: int, ts_us: int, cells: Sequence[Any]) -> Iterator[Reading]:
        state, seq = self._cell(cells, "state"), self._cell(cells, "seq")
        content = (None, str(state), "good") if state else _content(cells[self._places["value"]])
        quality = self._cell(cells, "quality")
        if content is None and quality:
            content = (None, None, "bad")
        if content is None:
            return
        value, text, found = content
        yield Reading(
            row=row,
            tag=self._tag(str(cells[self._places["tag"]])),
            ts_us=ts_us,
            value=value,
            state=text,
            quality=_quality(quality) if quality else found,
            seq=row if self._by_row else int(seq) if seq is not None else None,
            unit=self._cell(cells, "unit"),
        )

    def _cell(self, cells: Sequence[Any], name: str) -> Any:
        at = self._places.get(name)
        return None if at is None or cells[at] in ("", None) else cells[at]

    def _tag(self, text: str) -> str:
        if text not in self._tags:
            segments = [*self._prefix, *map(legal, text.strip("/").split("/"))]
            self._tags[text] = "/".join(segments if len(segments) >= SEGMENTS_MIN else [self._stem, *segments])
        return self._tags[text]


def _content(cell: Any) -> tuple[float | None, str | None, str] | None:
    """Value, state and quality of a cell; None when it is empty."""
    if cell is None or cell == "":
        return None
    try:
        if isinstance(cell, str) and "_" in cell:  # Python would read 1_000 as a number
            return None, cell, "good"
        value = float(cell)
    except ValueError:
        return None, str(cell), "good"
    return (value, None, "good") if math.isfinite(value) else (None, None, "bad")


def _quality(cell: Any) -> str | int:
    text = str(cell).strip().lower()
    return text.lower() if text.upper() in Quality.__members__ else int(text)


def _microseconds(cell: Any, zone: Callable[[datetime], datetime]) -> int:
    if isinstance(cell, int) or (isinstance(cell, str) and cell.lstrip("-").isdecimal()):
        return int(cell)
    moment = cell if isinstance(cell, datetime) else datetime.fromisoformat(str(cell).strip())
    return ((moment if moment.tzinfo else zone(moment)) - EPOCH) // MICROSECOND


def _zone(name: str) -> Callable[[datetime], datetime]:
    """Gives a zone-less time its zone, or says how to."""
    if not name:
        return _refuse
    try:
        zone = ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise Rejected(f"there is no time zone {name}; write it as Europe/Paris, or UTC", code="zone") from error
    return lambda moment: moment.replace(tzinfo=zone)


def _refuse(moment: datetime) -> datetime:
    raise ValueError(
        f"the time {moment} names no zone: say which clock wrote it, with --zone Europe/Paris or --zone UTC"
    )
