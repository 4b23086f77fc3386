"""Every rule of the writing interface, as a verdict; and that what passes comes through to the bit."""

import json
import math
import struct

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.errors import Rejected, TooLarge, Undecodable
from penstock.ingest.codec import Caps, decode, render, rfc3339
from penstock.ingest.refusal import DETAIL, Code
from penstock.ingest.timestamps import US_MAX, US_MIN
from penstock.model.batch import NO_SEQ, NO_TEXT

CAPS = Caps()
OK = {"tag": "lyon/press/temperature", "ts": "2026-11-20T08:00:00.000Z", "value": 81.25}
T_US = 1_795_161_600_000_000


def dump(value) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value).encode()


def read(value, kind="application/json", caps=CAPS):
    return decode(dump(value), kind, caps)


def raw(**texts: str) -> bytes:
    """A good reading, with some fields as given JSON texts."""
    fields = {"tag": '"lyon/press/temperature"', "ts": str(T_US), "value": "1.5"} | texts
    return ("{" + ",".join(f'"{name}":{text}' for name, text in fields.items()) + "}").encode()


VERDICTS = {
    Code.NOT_OBJECT: [b"1", b"null", b'"x"', b"[]", b"true"],
    Code.FIELD_UNKNOWN: [raw(colour='"red"'), raw(tags="[]"), raw(VALUE="1"), b'{"x` - at `$.tag":1}'],
    Code.TAG_MISSING: [b"{}", b'{"ts":1,"value":1}'],
    Code.TAG_INVALID: [
        raw(tag=json.dumps(tag))
        for tag in (
            "", "a", "a/", "/a", "a//b", "a/./b", "a/../b", "a/b\n", "a/b c", "a/é", "a/\x00", "a/\u202eb", None, 7,
            "a/" + "b" * 199, "/".join("abcdefghi"), "a/b/",
        )
    ],
    Code.TS_MISSING: [b'{"tag":"a/b","value":1}', raw(ts="null")],
    Code.TS_TWICE: [raw(source_ts="1"), raw(source_ts='"2026-11-20T08:00:00Z"')],
    Code.TS_INVALID: [
        raw(ts=json.dumps(ts))
        for ts in (
            "", "now", "1", True, 1.5, [], "2016-12-31T23:59:60Z", "2026-13-01T00:00:00Z", "2026-00-01T00:00:00Z",
            "2026-02-29T00:00:00Z", "2026-01-00T00:00:00Z", "2026-01-01T24:00:00Z", "2026-01-01T00:60:00Z",
            "0000-01-01T00:00:00Z", "10000-01-01T00:00:00Z", "2026-01-01T00:00:00.Z", "2026-01-01T00:00:00,5Z",
            "2026-01-01T00:00:00+24:00", "2026-01-01T00:00:00+01:60", "2026-01-01T00:00:00+0100", "2026-01-01T00:00Z",
            "2026-01-01T00:00:00Z\x00", "٢026-01-01T00:00:00Z", "2026-01-01T00:00:00." + "1" * 60 + "Z",
            "20260101T000000Z",
            "2026-01-01T00:00:00ZZ", " 2026-01-01T00:00:00Z",
        )
    ],
    Code.TS_ZONELESS: [raw(ts='"2026-01-01T00:00:00"'), raw(ts='"2026-01-01"'), raw(ts='"2026-01-01T00:00:00.123"')],
    Code.TS_OUT_OF_RANGE: [
        raw(ts=str(US_MAX + 1)), raw(ts=str(US_MIN - 1)), raw(ts="9" * 30), raw(ts="9" * 5000), raw(ts="1e400"),
        raw(ts='"0001-01-01T00:00:00+14:00"'), raw(ts='"9999-12-31T23:59:59-12:00"'),
    ],
    Code.VALUE_NOT_NUMBER: [raw(value=text) for text in ('"12"', '"NaN"', "true", "false", "[]", "{}")],
    Code.VALUE_NOT_FINITE: [raw(value=text) for text in ("1e400", "-1e400", "9" * 400, "9" * 5000)],
    Code.VALUE_MISSING: [raw(value="null"), b'{"tag":"a/b","ts":1}', raw(value="null", quality='"uncertain"')],
    Code.VALUE_AND_STATE: [raw(state='"RUNNING"'), raw(state='"RUNNING"', quality='"bad"')],
    Code.STATE_INVALID: [
        raw(value="null", state=json.dumps(state)) for state in ("", "x" * 65, "a\nb", "\x00", "\u202e", 5, True)
    ],
    Code.QUALITY_INVALID: [raw(quality=text) for text in ('"great"', '"GOOD"', "-1", "4294967296", "1.5", "true")],
    Code.SEQ_INVALID: [raw(seq=text) for text in ('"1"', "1.5", "true", "[]")],
    Code.SEQ_OUT_OF_RANGE: [raw(seq=text) for text in (str(-(2**63)), str(2**63), "1" + "0" * 19, "9" * 5000, "1e400")],
    Code.UNIT_INVALID: [raw(unit=text) for text in ('""', '"\\u0000"', json.dumps("x" * 33), "5")],
}  # fmt: skip
CASES = [(code, body) for code, bodies in VERDICTS.items() for body in bodies]


@pytest.mark.parametrize(("code", "body"), CASES, ids=[f"{code}-{i}" for i, (code, _) in enumerate(CASES)])
def test_each_rule_has_its_verdict_in_every_form(code, body):
    good = dump(OK)
    forms = {
        "array": (b"[%s,%s,%s]" % (good, body, good), "application/json", 1),
        "envelope": (b'{"readings":[%s,%s,%s]}' % (good, body, good), "application/json", 1),
        "lines": (good + b"\n" + body + b"\n" + good, "application/x-ndjson", 1),
        "block": (b"[%s]" % b",".join([good] * 20 + [body] + [good] * 20), "application/json", 20),
    }
    if body.startswith(b"{"):
        forms["single"] = (body, "application/json", 0)
    for name, (text, kind, at) in forms.items():
        decoded = read(text, kind)
        assert [(refusal.index, refusal.code) for refusal in decoded.refusals] == [(at, code)], name
        assert len(decoded.batch) == decoded.items - 1, name
        assert at not in decoded.batch.index.tolist(), name
        assert decoded.batch.paths == (() if name == "single" else (OK["tag"],)), name


COLUMN_OF = {"tag": "tags", "ts": "ts", "value": "values", "state": "states"} | {
    "quality": "qualities", "seq": "seqs", "unit": "units",
}  # fmt: skip


def texts_of(body: bytes) -> dict[str, str]:
    """A reading's fields as JSON texts, if columns can say it; else none."""
    try:
        raws = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except msgspec.DecodeError:
        return {}
    return (
        {name: bytes(text).decode() for name, text in raws.items()}
        if {"tag", "ts"} <= set(raws) <= set(COLUMN_OF)
        else {}
    )


IN_COLUMNS = [(code, body) for code, body in CASES if texts_of(body)]


@pytest.mark.parametrize(("code", "body"), IN_COLUMNS, ids=[f"{code}-{i}" for i, (code, _) in enumerate(IN_COLUMNS)])
def test_columns_have_the_same_verdicts(code, body):
    columns = [f'"{COLUMN_OF[name]}":[{json_of_ok(name)},{text}]' for name, text in texts_of(body).items()]
    decoded = read(("{" + ",".join(columns) + "}").encode())
    assert (1, code) in [(refusal.index, refusal.code) for refusal in decoded.refusals]


def json_of_ok(name: str) -> str:
    return json.dumps({**OK, "state": None, "quality": "good", "seq": 1, "unit": "Cel"}[name])


def test_every_item_code_is_told_and_tested():
    decided_later = {Code.SITE_FORBIDDEN, Code.OVERLOADED}
    assert set(DETAIL) == set(Code)
    assert set(VERDICTS) == set(Code) - decided_later - {Code.NOT_JSON}


@pytest.mark.parametrize(
    ("ts", "us"),
    [
        (T_US, T_US), (-1, -1), (US_MIN, US_MIN), (US_MAX, US_MAX),
        ("2026-11-20T08:00:00Z", T_US), ("2026-11-20t08:00:00z", T_US), ("2026-11-20 08:00:00+00:00", T_US),
        ("2026-11-20T09:30:00+01:30", T_US), ("2026-11-20T07:00:00-01:00", T_US), ("2026-11-20T08:00:00-00:00", T_US),
        ("2026-11-20T08:00:00.1Z", T_US + 100_000), ("2026-11-20T08:00:00.123456789Z", T_US + 123_456),
        ("2026-11-20T08:00:00.999999999+00:00", T_US + 999_999), ("1969-12-31T23:59:59.999999Z", -1),
        ("2024-02-29T00:00:00Z", 1_709_164_800_000_000), ("0001-01-01T00:00:00Z", US_MIN),
        ("9999-12-31T23:59:59.999999Z", US_MAX), ("2000-02-29T00:00:00Z", 951_782_400_000_000),
    ],
)  # fmt: skip
def test_times_are_read_alike_one_by_one_and_in_blocks(ts, us):
    for count in (1, 40):
        decoded = read([{**OK, "ts": ts}] * count)
        assert decoded.batch.ts.tolist() == [us] * count
        assert read([{"tag": "a/b", "value": 1, "source_ts": ts}] * count).batch.ts.tolist() == [us] * count


def test_times_of_many_lengths_and_kinds_in_one_block():
    given = [
        "2026-11-20T08:00:00Z",
        "2026-11-20T08:00:00.5Z",
        T_US,
        "2026-11-20T10:00:00.250+02:00",
        "2026-11-20T08:00:00",
    ]
    decoded = read([{**OK, "ts": ts} for ts in given * 20])
    assert decoded.batch.ts.tolist() == [T_US, T_US + 500_000, T_US, T_US + 250_000] * 20
    assert decoded.counts == {Code.TS_ZONELESS: 20}
    texts = [{**OK, "ts": ts} for ts in given * 20 if isinstance(ts, str)]
    assert read(texts).batch.ts.tolist() == [T_US, T_US + 500_000, T_US + 250_000] * 20


@given(st.lists(st.integers(US_MIN, US_MAX), min_size=16, max_size=40))
@settings(max_examples=100, deadline=None)
def test_any_time_comes_through(times):
    assert read([{**OK, "ts": rfc3339(us)} for us in times]).batch.ts.tolist() == times


PATHS = st.lists(st.from_regex(r"[A-Za-z0-9_-]{1,8}", fullmatch=True), min_size=2, max_size=8).map("/".join)
PRINTABLE = st.text(st.characters(codec="utf-8").filter(str.isprintable), min_size=1, max_size=32)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
CONTENT = st.one_of(
    st.fixed_dictionaries({"value": FINITE}),
    st.fixed_dictionaries({"state": PRINTABLE}),
    st.just({"value": None, "quality": "bad"}),
)
READING = st.builds(
    lambda must, content, may: {**may, **must, **content},
    st.fixed_dictionaries({"tag": PATHS, "ts": st.integers(US_MIN, US_MAX)}),
    CONTENT,
    st.fixed_dictionaries(
        {},
        optional={
            "quality": st.sampled_from(["good", "uncertain", "bad"]) | st.integers(0, 2**32 - 1),
            "seq": st.integers(-(2**63) + 1, 2**63 - 1) | st.none(),
            "unit": PRINTABLE,
        },
    ),
)


def facts(batch, i):
    text = lambda texts, code: None if code == NO_TEXT else texts[code]  # noqa: E731
    return (
        batch.paths[batch.tag[i]], int(batch.ts[i]), struct.pack("<d", batch.value[i]),
        text(batch.states, batch.state[i]), int(batch.quality[i]), int(batch.seq[i]), text(batch.units, batch.unit[i]),
    )  # fmt: skip


@given(st.lists(READING, min_size=1, max_size=30))
@settings(max_examples=150, deadline=None)
def test_every_form_says_the_same_and_rendering_is_the_inverse(readings):
    batch = read(readings).batch
    assert len(batch) == len(readings)
    columns = {"tags": "tag", "ts": "ts", "values": "value", "states": "state"} | {
        "qualities": "quality", "seqs": "seq", "units": "unit",
    }  # fmt: skip
    rendered = [render(batch, i) for i in range(len(batch))]
    others = [
        read({"readings": readings}),
        read({many: [reading.get(one) for reading in readings] for many, one in columns.items()}),
        decode(b"\n".join(map(dump, readings)), "application/x-ndjson; charset=utf-8", CAPS),
        decode(b"[" + b",".join(rendered) + b"]", "application/json", CAPS),
    ]
    for other in others:
        assert [facts(other.batch, i) for i in range(len(readings))] == [facts(batch, i) for i in range(len(readings))]
    for i, reading in enumerate(readings):
        value = reading.get("value")
        assert facts(batch, i)[1:3] == (reading["ts"], struct.pack("<d", np.nan if value is None else value))
        assert batch.seq[i] == (NO_SEQ if reading.get("seq") is None else reading["seq"])


BODIES = {
    "not_json": [b"", b"{", b"[", b"[1,]", b"nope", b"NaN", b'[{"tag":"a/b","ts":1,"value":NaN}]', b"\xef\xbb\xbf[]",
                 b'[{"tag":"a/b","ts":1,"value":01}]', b'{"readings":[{"tag":1}]', "[]".encode("utf-16"), b'{"tag":1, ]'],  # noqa: E501
    "too_deep": [b"[" * 1000 + b"]" * 1000, b"[" * 100_000, b'[{"tag":' + b'{"a":' * 100_000, b"[[1]," * 50_000],
    "empty": [b"[]", b'{"readings":[]}', b'{"tags":[],"ts":[]}'],
    "columns_unequal": [b'{"tags":["a/b"],"ts":[1,2],"values":[1]}', b'{"tags":["a/b",1],"ts":[1],"values":[1]}'],
    "form_unknown": [b'{"readings":5}', b'{"readings":[],"x":1}', b'{"tags":5}', b'{"tags":[],"ts":[],"colours":[]}'],
    "too_many_items": [b"[" + b",".join([b"{}"] * 100_000) + b"]", b"[" + b"1," * 10_000_000 + b"1]", b"{" * 9_000_000,
                       dump({"tags": ["a/b"] * 30_000, "ts": [1] * 30_000}), dump([OK] * 20_001)],
}  # fmt: skip


@pytest.mark.parametrize(("code", "at"), [(code, i) for code, bodies in BODIES.items() for i in range(len(bodies))])
def test_bodies_that_hold_no_items_are_refused_whole(code, at):
    if (code, at) == ("too_many_items", 2):
        code = "too_deep or too_many_items"
    with pytest.raises(Rejected) as raised:
        read(BODIES[code.partition(" ")[0] if " " not in code else "too_many_items"][at])
    assert raised.value.code in code
    kind = {"not_json": Undecodable, "too_deep": Undecodable, "too_many_items": TooLarge}.get(
        raised.value.code, Rejected
    )
    assert type(raised.value) is kind


def test_a_bad_line_is_refused_by_itself():
    body = b'%s\n{"tag":"a/b","ts":1,"value":NaN}\n\n%s%s\r\n[[[[\n%s\n' % ((dump(OK),) * 4)
    decoded = decode(body, "application/x-ndjson", CAPS)
    assert [(refusal.index, refusal.code) for refusal in decoded.refusals] == [
        (1, Code.NOT_JSON), (2, Code.NOT_JSON), (3, Code.NOT_OBJECT),
    ]  # fmt: skip
    assert decoded.batch.index.tolist() == [0, 4]
    with pytest.raises(TooLarge):
        decode(b"\n" * 50_000, "application/x-ndjson", CAPS)
    with pytest.raises(Rejected, match="no reading"):
        decode(b"\n\n", "application/x-ndjson", CAPS)


def test_brackets_in_texts_do_not_count():
    state = '[[{{,,"\\' * 7
    decoded = read([{"tag": "a/b", "ts": 1, "state": state}] * 2000 + [{"tag": "a/b"}])
    assert len(decoded.batch) == 2000
    assert decoded.batch.states == (state,)


def test_only_twenty_are_listed_but_all_counted():
    decoded = read([{**OK, "value": "x"}] * 100 + [{**OK, "tag": "?"}] * 50 + [OK])
    assert [refusal.index for refusal in decoded.refusals] == list(range(20))
    assert decoded.refused == 150
    assert decoded.counts == {Code.VALUE_NOT_NUMBER: 100, Code.TAG_INVALID: 50}
    assert decoded.batch.index.tolist() == [150]


def test_another_content_type_is_refused():
    with pytest.raises(Rejected) as raised:
        read(OK, "text/csv")
    assert raised.value.code == "content_type"


def test_the_last_of_doubled_keys_counts():
    assert read(b'{"tag":"a/b","tag":"c/d","ts":1,"value":1}').batch.paths == ("c/d",)


def test_minus_zero_stays():
    assert math.copysign(1, read(raw(value="-0.0")).batch.value[0]) == -1
