"""Bodies that mean harm: built from the grammar, so that most get past the JSON parser and at the rules behind it."""

import json
import random
from collections.abc import Callable

TEXTS = (
    '"a/b"', '"lyon/press/t"', '"a"', '""', '"a/\\u0000"',
    '"a/\\ud800"', '"\\udc00\\ud800"', '"a/\u202eb"', '"\U0001f600"',
    '"' + "x" * 300 + '"', '"a/../b"', '"good"', '"bad"', '"uncertain"', '"GOOD"', '"RUNNING"', '"Cel"', '"a\\nb"', '"\x7f"',  # noqa: E501
)  # fmt: skip
TIMES = (
    '"2026-11-20T08:00:00Z"', '"2026-11-20T08:00:00.123456789+02:00"', '"2026-11-20T08:00:00"',
    '"2016-12-31T23:59:60Z"',
    '"9999-12-31T23:59:59-23:59"', '"0001-01-01T00:00:00+23:59"', '"0000-00-00T00:00:00Z"', '"2026-02-30T00:00:00Z"',
    '"\u0662026-11-20T08:00:00Z"', '"2026-11-20T08:00:00Z\\u0000"', "0", "-1", "1795161600000000", "9223372036854775807",  # noqa: E501
    "9223372036854775808", "-62135596800000001", "253402300800000000",
)  # fmt: skip
NUMBERS = (
    "0", "-0", "-0.0", "1", "1.5", "1e308", "1e309", "-1e400", "1e-400", "5e-324", "9" * 400, "9" * 5000,
    "4294967295",
    "4294967296", "-9223372036854775808", "9223372036854775807", "9223372036854775808", "0.1e-6", "1E5",
)  # fmt: skip
ODD = ("null", "true", "false", "[]", "{}", "[[[[1]]]]", '{"a":{"b":1}}', "NaN", "Infinity", "01", "1.", "+1", "'x'")
FIELDS = ("tag", "ts", "source_ts", "value", "state", "quality", "seq", "unit")
COLUMNS = ("tags", "ts", "values", "states", "qualities", "seqs", "units")
FITTING = {
    "tag": TEXTS,
    "ts": TIMES,
    "source_ts": TIMES,
    "value": NUMBERS,
    "state": TEXTS,
    "seq": NUMBERS,
    "unit": TEXTS,
}
GOOD = {
    "tag": '"lyon/press/t"',
    "ts": "1795161600000000",
    "value": "1.5",
    "quality": '"bad"',
    "seq": "7",
    "unit": '"Cel"',
}
BYTES = (
    b"NaN",
    b"1e999",
    b"\\u0000",
    b'"',
    b"{",
    b"[",
    b"}",
    b"]",
    b",",
    b":",
    b"\xff",
    b"\x00",
    b"\xed\xa0\x80",
    b"\n",
)
KINDS = ("application/json", "application/x-ndjson", "application/json; charset=utf-8", "", "text/csv")


def hostile(chance: random.Random) -> tuple[bytes, str]:
    """A body and its content type."""
    form = chance.choice((_one, _array, _array, _envelope, _columns, _lines))
    body = form(chance).encode("utf-8", "surrogatepass")
    if chance.random() < 0.35:
        body = _bent(chance, body)
    kind = KINDS[1] if form is _lines else KINDS[0]
    return body, chance.choice(KINDS) if chance.random() < 0.03 else kind


def _value(chance: random.Random, field: str) -> str:
    if chance.random() < 0.08:
        return chance.choice(ODD[:7] if chance.random() < 0.8 else ODD)
    if field in GOOD and chance.random() < 0.7:
        return GOOD[field]
    return chance.choice(FITTING.get(field, TEXTS + NUMBERS))


def _one(chance: random.Random) -> str:
    if chance.random() < 0.02:
        return chance.choice(ODD)
    fields = [*chance.sample(FIELDS, chance.randint(0, 5)), *(["tag", "ts", "value"] if chance.random() < 0.8 else [])]
    if chance.random() < 0.05:
        fields.append(chance.choice(("colour", "TAG", "", "readings", "x` - at `$.tag")))
    return "{" + ",".join(f"{json.dumps(field)}:{_value(chance, field)}" for field in fields) + "}"


def _some(chance: random.Random, make: Callable[[random.Random], str]) -> list[str]:
    return [make(chance) for _ in range(chance.choice((0, 1, 2, 3, 5, 20)))]


def _array(chance: random.Random) -> str:
    return "[" + ",".join(_some(chance, _one)) + "]"


def _envelope(chance: random.Random) -> str:
    more = ',"x":1' if chance.random() < 0.1 else ""
    return '{"readings":' + (_array(chance) if chance.random() < 0.95 else chance.choice(ODD)) + more + "}"


def _lines(chance: random.Random) -> str:
    return chance.choice(("\n", "\r\n", "\n\n")).join(_some(chance, _one))


def _columns(chance: random.Random) -> str:
    count = chance.choice((0, 1, 3, 20))
    names = ["tags", "ts", "values", *chance.sample(COLUMNS[3:], chance.randint(0, 3))]
    chance.shuffle(names)
    parts = []
    for name in names:
        field = name if name == "ts" else {"qualities": "quality"}.get(name, name.rstrip("s"))
        size = count if chance.random() < 0.97 else count + 1
        parts.append(f'"{name}":[' + ",".join(_value(chance, field) for _ in range(size)) + "]")
    return "{" + ",".join(parts) + "}"


def _bent(chance: random.Random, body: bytes) -> bytes:
    """With a few bytes flipped, put in or taken out."""
    bent = bytearray(body)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(bent) + 1)
        match chance.randrange(4):
            case 0 if bent:
                bent[at % len(bent)] ^= 1 << chance.randrange(8)
            case 1:
                bent[at:at] = chance.choice(BYTES)
            case 2:
                del bent[at : at + chance.randint(1, 10)]
            case _:
                bent[at:at] = chance.choice((b"[", b'{"a":')) * chance.choice((1, 10, 2000))
    return bytes(bent)
