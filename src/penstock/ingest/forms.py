"""The JSON forms a body may take, brought to one: parallel lists, beside the items that are no reading at all."""

import re
from collections.abc import Iterable, Sequence
from typing import Annotated, Final, Literal, NamedTuple, TypeVar

import msgspec
import numpy as np
from msgspec.json import Decoder

from penstock.errors import Rejected, TooLarge, Undecodable
from penstock.ingest.refusal import FIELDS, Code, Refusal
from penstock.model.quality import CODE_MAX

T = TypeVar("T")
Ts = int | str | None
QualityIn = Literal["good", "uncertain", "bad"] | Annotated[int, msgspec.Meta(ge=0, le=CODE_MAX)] | None
Seq = Annotated[int, msgspec.Meta(ge=-(2**63) + 1, le=2**63 - 1)] | None


class Item(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """One reading as it is sent. A null is the same as nothing."""

    tag: str
    ts: Ts = None
    source_ts: Ts = None
    value: float | None = None
    state: str | None = None
    quality: QualityIn = None
    seq: Seq = None
    unit: str | None = None


class Envelope(msgspec.Struct, forbid_unknown_fields=True):
    """`{"readings": […]}`."""

    readings: list[Item]


class Columns(msgspec.Struct, forbid_unknown_fields=True):
    """The column form: parallel arrays."""

    tags: list[str]
    ts: list[Ts]
    values: list[float | None] | None = None
    states: list[str | None] | None = None
    qualities: list[QualityIn] | None = None
    seqs: list[Seq] | None = None
    units: list[str | None] | None = None


class RawEnvelope(msgspec.Struct, forbid_unknown_fields=True):
    """`{"readings": […]}` with its items unread."""

    readings: list[msgspec.Raw]


class RawColumns(msgspec.Struct, forbid_unknown_fields=True):
    """The column form with its elements unread."""

    tags: list[msgspec.Raw]
    ts: list[msgspec.Raw]
    values: list[msgspec.Raw] | None = None
    states: list[msgspec.Raw] | None = None
    qualities: list[msgspec.Raw] | None = None
    seqs: list[msgspec.Raw] | None = None
    units: list[msgspec.Raw] | None = None


class Fields(NamedTuple):
    """n readings as parallel lists; None where no reading has the field."""

    tag: Sequence[str]
    ts: Sequence[Ts]
    source_ts: Sequence[Ts] | None = None
    value: Sequence[float | None] | None = None
    state: Sequence[str | None] | None = None
    quality: Sequence[str | int | None] | None = None
    seq: Sequence[int | None] | None = None
    unit: Sequence[str | None] | None = None


class Parsed(NamedTuple):
    """What could be read: *fields* of the items at *places* (None: of all), and who was refused already."""

    fields: Fields
    places: Sequence[int] | None
    refused: Sequence[Refusal]
    items: int


_ITEM: Final = Decoder(Item)
_ITEMS: Final = Decoder(list[Item])
_ENVELOPE: Final = Decoder(Envelope)
_COLUMNS: Final = Decoder(Columns)
_RAW: Final = Decoder(msgspec.Raw)
_RAW_ITEMS: Final = Decoder(list[msgspec.Raw])
_RAW_ENVELOPE: Final = Decoder(RawEnvelope)
_RAW_COLUMNS: Final = Decoder(RawColumns)
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_STARTS_COLUMNS: Final = re.compile(rb'\s*\{\s*(?:"(?:tags|values|states|qualities|seqs|units)"|"ts"\s*:\s*\[)')
_STARTS_ENVELOPE: Final = re.compile(rb'\s*\{\s*"readings"')
_STARTS_ARRAY: Final = re.compile(rb"\s*\[")
_COLUMN_OF: Final = {"tags": "tag", "ts": "ts", "values": "value", "states": "state", "qualities": "quality"} | {
    "seqs": "seq",
    "units": "unit",
}
_AT_FIELD: Final = re.compile(r" - at `\$\.(\w+)`$")
_WRONG_TYPE: Final = {
    "tag": Code.TAG_INVALID,
    "ts": Code.TS_INVALID,
    "source_ts": Code.TS_INVALID,
    "value": Code.VALUE_NOT_NUMBER,
    "state": Code.STATE_INVALID,
    "quality": Code.QUALITY_INVALID,
    "seq": Code.SEQ_INVALID,
    "unit": Code.UNIT_INVALID,
}
_OUT_OF_RANGE: Final = {
    "ts": Code.TS_OUT_OF_RANGE,
    "source_ts": Code.TS_OUT_OF_RANGE,
    "value": Code.VALUE_NOT_FINITE,
    "quality": Code.QUALITY_INVALID,
    "seq": Code.SEQ_OUT_OF_RANGE,
}


def parse_json(body: bytes, items_max: int, depth_max: int) -> Parsed:
    """One reading, an array, `{"readings": […]}` or columns.

    Raises Undecodable for what is not JSON, TooLarge beyond *items_max*, Rejected for an envelope of another form.
    """
    if len(body) > _SMALL_BYTES:
        _check_count(body, items_max)
    try:
        return _parse_fast(body, items_max)
    except _UNREADABLE:
        _check_shape(body, items_max, depth_max)
        return _parse_each(body, items_max)


def _parse_fast(body: bytes, items_max: int) -> Parsed:
    """All items are of the right types, or a msgspec error says that some are not."""
    if _STARTS_ARRAY.match(body):
        items = _ITEMS.decode(body)
    elif _STARTS_ENVELOPE.match(body):
        items = _ENVELOPE.decode(body).readings
    elif _STARTS_COLUMNS.match(body):
        return _whole(_fields_of_columns(_COLUMNS.decode(body)), items_max)
    else:
        items = [_ITEM.decode(body)]
    return _whole(_fields_of_items(items), items_max)


def _parse_each(body: bytes, items_max: int) -> Parsed:
    """Every item by itself, in a body known to be JSON."""
    if _STARTS_ARRAY.match(body):
        raws: Iterable[msgspec.Raw | bytes] = _RAW_ITEMS.decode(body)
    elif _STARTS_ENVELOPE.match(body):
        raws = _of_form(_RAW_ENVELOPE, body).readings
    elif _STARTS_COLUMNS.match(body):
        raws = _rows(_of_form(_RAW_COLUMNS, body))
    else:
        raws = [body]
    return _judged(list(raws), items_max)


def parse_lines(body: bytes, items_max: int) -> Parsed:
    """NDJSON: a line that is no reading is refused by itself. Raises TooLarge beyond *items_max*."""
    breaks = body.count(b"\n")
    if breaks > 2 * items_max:
        raise TooLarge(f"at most {items_max} readings in one request", code="too_many_items")
    try:
        items = _ITEM.decode_lines(body)
        if len(items) <= breaks + 1:  # msgspec is content with two objects on one line; we are not
            return _whole(_fields_of_items(items), items_max)
    except _UNREADABLE:
        pass
    lines = [line for line in body.split(b"\n") if line and not line.isspace()]
    return _judged(lines, items_max)


def _whole(fields: Fields, items_max: int) -> Parsed:
    return Parsed(fields, None, (), _counted(len(fields.tag), items_max))


def _counted(items: int, items_max: int) -> int:
    if items > items_max:
        raise TooLarge(f"at most {items_max} readings in one request", code="too_many_items")
    if items == 0:
        raise Rejected("there is no reading in the body", code="empty")
    return items


def _judged(raws: Sequence[msgspec.Raw | bytes], items_max: int) -> Parsed:
    count = _counted(len(raws), items_max)
    items, places, refused = [], [], []
    for i, raw in enumerate(raws):
        try:
            items.append(_ITEM.decode(raw))
            places.append(i)
        except _UNREADABLE as error:
            refused.append(Refusal(i, _why(error)))
    return Parsed(_fields_of_items(items), places, refused, count)


def _why(error: Exception) -> Code:
    """The code behind msgspec's message; `test_codec` holds every one of them."""
    if not isinstance(error, msgspec.ValidationError):
        return Code.NOT_JSON
    text = str(error)
    if text.startswith("Object contains unknown field"):
        return Code.FIELD_UNKNOWN
    if text.startswith("Object missing required field"):
        return Code.TAG_MISSING
    at = _AT_FIELD.search(text)
    if at is None:
        return Code.NOT_OBJECT
    field = at.group(1)
    is_range = "out of range" in text or "<=" in text or ">=" in text
    return _OUT_OF_RANGE.get(field, _WRONG_TYPE[field]) if is_range else _WRONG_TYPE[field]


def _fields_of_items(items: Sequence[Item]) -> Fields:
    return Fields(
        [item.tag for item in items],
        [item.ts for item in items],
        _if_any([item.source_ts for item in items]),
        [item.value for item in items],
        _if_any([item.state for item in items]),
        _if_any([item.quality for item in items]),
        _if_any([item.seq for item in items]),
        _if_any([item.unit for item in items]),
    )


def _if_any(column: list[T]) -> list[T] | None:
    """A field that no item has is no column: most bodies have few of them."""
    return None if column.count(None) == len(column) else column  # type: ignore[arg-type]  # a None may be in any


def _fields_of_columns(columns: Columns) -> Fields:
    fields = {_COLUMN_OF[name]: getattr(columns, name) for name in columns.__struct_fields__}
    _check_equal(fields.values())
    return Fields(**fields)


def _check_equal(columns: Iterable[Sequence[object] | None]) -> None:
    if len({len(column) for column in columns if column is not None}) > 1:
        raise Rejected("the columns are of unequal length", code="columns_unequal")


def _rows(columns: RawColumns) -> list[bytes]:
    """The column form turned into items, each as the JSON of one reading."""
    given = {_COLUMN_OF[name]: getattr(columns, name) for name in columns.__struct_fields__}
    present = {name: column for name, column in given.items() if column is not None}
    _check_equal(present.values())
    keys = [b'"%s":' % name.encode() for name in present]
    return [
        b"{%s}" % b",".join([key + bytes(raw) for key, raw in zip(keys, row, strict=True)])
        for row in zip(*present.values(), strict=True)
    ]


def _of_form(decoder: Decoder[T], body: bytes) -> T:
    try:
        return decoder.decode(body)
    except _UNREADABLE as error:
        raise Rejected("the body is not one of the forms that carry readings", code="form_unknown") from error


# -- what a body may cost, before anything is built from it ---------------------------------------------------------

_SMALL_BYTES: Final = 2**20
_CHUNK_BYTES: Final = 2**20
_NOT_SHAPE: Final = bytes(set(range(256)) - set(b"[]{},"))
_STEP: Final = np.zeros(256, np.int8)
_STEP[[ord("["), ord("{")]] = 1
_STEP[[ord("]"), ord("}")]] = -1


def _check_count(body: bytes, items_max: int) -> None:
    """A large body of tiny items is refused before it becomes a large number of objects."""
    most = items_max * len(FIELDS)
    if body.count(b"{") > items_max + 1 or body.count(b",") > most:
        _, braces, commas = _shape(body, depth_max=2**31)
        if braces > items_max + 1 or commas > most:
            raise TooLarge(f"at most {items_max} readings in one request", code="too_many_items")


def _check_shape(body: bytes, items_max: int, depth_max: int) -> None:
    depth, braces, commas = _shape(body, depth_max)
    if depth > depth_max:
        raise Undecodable(f"nested deeper than {depth_max}", code="too_deep")
    if commas > items_max * len(FIELDS) or braces > items_max * len(FIELDS):
        raise TooLarge(f"at most {items_max} readings in one request", code="too_many_items")
    try:
        _RAW.decode(body)
    except _UNREADABLE as error:
        raise Undecodable("the body is not JSON in UTF-8", code="not_json") from error


def _shape(body: bytes, depth_max: int) -> tuple[int, int, int]:
    """Deepest nesting, opening braces and commas, all outside of strings; ends early beyond *depth_max*."""
    text = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    in_string = level = deepest = braces = commas = 0
    for start in range(0, len(text), _CHUNK_BYTES):
        parts = text[start : start + _CHUNK_BYTES].split(b'"')
        outside = b"".join(parts[in_string::2]).translate(None, _NOT_SHAPE)
        in_string ^= (len(parts) - 1) & 1
        levels = level + _STEP[np.frombuffer(outside, np.uint8)].cumsum(dtype=np.int32)
        if levels.size:
            level, deepest = int(levels[-1]), max(deepest, int(levels.max()))
        braces, commas = braces + outside.count(b"{"), commas + outside.count(b",")
        if deepest > depth_max:
            break
    return deepest, braces, commas
