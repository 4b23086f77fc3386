"""Records that others put on a shared stream: decoded and judged as a request is, but refusals have nobody to go to."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec
import numpy as np

from penstock.errors import Rejected, Undecodable
from penstock.ingest.body import decompress
from penstock.ingest.codec import narrow
from penstock.ingest.forms import Parsed, parse_json, parse_lines
from penstock.ingest.judge import judge
from penstock.ingest.refusal import NUMBERED, Code, Refusal
from penstock.model.batch import ReadingBatch, batch_of
from penstock.stream.port import Foreign, Poison

DECOMPRESSED_BYTES_MAX: Final = 10 * 2**20
ITEMS_MAX: Final = 100_000
REFUSED_MAX: Final = 1_000
"""Of the items that are refused so many are kept each by itself; the others together, as one."""
DEPTH_MAX: Final = 8
RAW_BYTES_MAX: Final = 64 * 2**10
"""Of what is refused so much is kept."""
LINE_BYTES_MAX: Final = 2**16
"""A first line that is longer is not looked at to tell the form."""
_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_NO_OBJECT: Final = {Code.NOT_JSON, Code.NOT_OBJECT}
_RAW: Final = msgspec.json.Decoder(msgspec.Raw)
_UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_NOTHING: Final = batch_of((), (), (), ())


def decode_foreign(data: bytes) -> Foreign:
    """JSON in any form of a request, or NDJSON; plain, gzip or zstd. Never raises: what cannot be told apart into
    items is one poison, with its reason.
    """
    try:
        body = decompress(data, _encoding(data), DECOMPRESSED_BYTES_MAX)
        return _judged(_parse(body))._replace(size_bytes=len(body))
    except Rejected as error:
        return Foreign(_NOTHING, (Poison(0, error.code, str(error), data[:RAW_BYTES_MAX]),))


class _Items(NamedTuple):
    """What a body holds, and where its items' own bytes are to be found."""

    parsed: Parsed
    body: bytes
    lines: bool


def _encoding(data: bytes) -> str:
    if data.startswith(_GZIP):
        return "gzip"
    return "zstd" if data.startswith(_ZSTD) else "identity"


def _parse(body: bytes) -> _Items:
    """Nobody says which form it is; it is whichever it can be read as. Raises Rejected."""
    forms = (_as_lines, _as_json) if _looks_like_lines(body) else (_as_json, _as_lines)
    try:
        return forms[0](body)
    except Undecodable as error:
        if error.code != Code.NOT_JSON:
            raise
        return forms[1](body)


def _looks_like_lines(body: bytes) -> bool:
    """The first line is JSON by itself, and something follows."""
    first, _, more = body.lstrip()[:LINE_BYTES_MAX].partition(b"\n")
    try:
        _RAW.decode(first)
    except _UNREADABLE:
        return False
    return bool(more.strip())


def _as_json(body: bytes) -> _Items:
    return _Items(parse_json(body, ITEMS_MAX, DEPTH_MAX), body, lines=False)


def _as_lines(body: bytes) -> _Items:
    parsed = parse_lines(body, ITEMS_MAX)
    if not parsed.fields.tag and {refusal.code for refusal in parsed.refused} <= _NO_OBJECT:
        raise Undecodable("the record is neither JSON nor NDJSON in UTF-8", code=Code.NOT_JSON)
    return _Items(parsed, body, lines=True)


def _judged(items: _Items) -> Foreign:
    """The same verdicts as a request's."""
    batch, refused = _sorted_out(items.parsed)
    if not refused:
        return Foreign(batch, ())
    raws, refused = _raws(items), sorted(refused)
    poison = [_poison(refusal, raws) for refusal in refused[:REFUSED_MAX]]
    if len(refused) > REFUSED_MAX:
        poison.append(_rest(refused[REFUSED_MAX:], items.body))
    return Foreign(batch, tuple(poison))


def _sorted_out(parsed: Parsed) -> tuple[ReadingBatch, Sequence[Refusal]]:
    n = len(parsed.fields.tag)
    if n == 0:
        return _NOTHING, parsed.refused
    index = np.arange(n, dtype=np.int32) if parsed.places is None else np.array(parsed.places, np.int32)
    batch, verdicts = judge(parsed.fields, index)
    if not verdicts.any():
        return batch, parsed.refused
    judged = [Refusal(int(index[at]), NUMBERED[verdicts[at] - 1]) for at in np.flatnonzero(verdicts)]
    return narrow(batch, verdicts == 0), [*parsed.refused, *judged]


def _poison(refusal: Refusal, raws: Sequence[bytes | msgspec.Raw]) -> Poison:
    raw = bytes(memoryview(raws[refusal.index])[:RAW_BYTES_MAX])
    return Poison(refusal.index, refusal.code, refusal.detail, raw)


def _rest(refused: Sequence[Refusal], body: bytes) -> Poison:
    detail = f"{len(refused)} more items of the record are refused; the first of them: {refused[0].detail}"
    return Poison(refused[0].index, refused[0].code, detail, body[:RAW_BYTES_MAX])


# -- an item's own bytes ----------------------------------------------------------------------------------------------

_Raws = Sequence[bytes | msgspec.Raw]
_LIST: Final = msgspec.json.Decoder(list[msgspec.Raw])
_OBJECT: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


def _raws(items: _Items) -> _Raws:
    """By item; of a body that was parsed already."""
    if items.lines:
        return [line for line in items.body.split(b"\n") if line and not line.isspace()]
    try:
        raws = _elements(items.body)
    except _UNREADABLE:
        raws = []
    if len(raws) == items.parsed.items:
        return raws
    return [items.body, *[b""] * (items.parsed.items - 1)]  # one reading, whatever its fields are called


def _elements(body: bytes) -> _Raws:
    """Of an array, an envelope or columns."""
    if body.lstrip().startswith(b"["):
        return _LIST.decode(body)
    fields = _OBJECT.decode(body)
    if "readings" in fields:
        return _LIST.decode(fields["readings"])
    given = {name: _LIST.decode(column) for name, column in fields.items() if bytes(column) != b"null"}
    names = [msgspec.json.encode(name) for name in given]
    return [
        b"{%s}" % b",".join([b"%s:%s" % (name, bytes(value)) for name, value in zip(names, row, strict=True)])
        for row in zip(*given.values(), strict=False)
    ]
