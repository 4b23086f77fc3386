"""Records of others get the verdicts that a request gets, item by item, and nothing that is in one can raise."""

import gzip
import json
import random
import tracemalloc

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.hostile import hostile
from penstock.errors import Rejected
from penstock.ingest.codec import Caps, Decoded, decode
from penstock.ingest.foreign import (
    DECOMPRESSED_BYTES_MAX,
    DEPTH_MAX,
    ITEMS_MAX,
    RAW_BYTES_MAX,
    REFUSED_MAX,
    decode_foreign,
)
from penstock.stream.port import Foreign
from stream.readings import content

GOOD = b'{"tag": "lyon/press/t", "ts": 1795161600000000, "value": 1.5}'
ZONELESS = b'{"tag": "lyon/press/t", "ts": "2026-11-20T08:00:00", "value": 1.5}'
NO_TAG = b'{"ts": 1795161600000000,"value":2}'
KINDS = ("application/json", "application/x-ndjson")
CAPS = Caps(ITEMS_MAX, DEPTH_MAX)


def reasons(foreign: Foreign) -> list[tuple[int, str, bytes]]:
    return [(poison.item, poison.reason, poison.raw) for poison in foreign.poison]


@pytest.mark.parametrize(
    ("data", "places", "poison"),
    [
        (GOOD, [0], []),
        (b"[%s,%s,%s]" % (GOOD, ZONELESS, GOOD), [0, 2], [(1, "ts_zoneless", ZONELESS)]),
        (b'{"readings": [%s, %s]}' % (NO_TAG, GOOD), [1], [(0, "tag_missing", NO_TAG)]),
        (b"%s\n\n%s\r\n%s\n" % (GOOD, ZONELESS, GOOD), [0, 2], [(1, "ts_zoneless", ZONELESS + b"\r")]),
        (b"%s\nnonsense\n" % GOOD, [0], [(1, "not_json", b"nonsense")]),
        (b"nonsense\n%s\n" % GOOD, [1], [(0, "not_json", b"nonsense")]),
        (json.dumps(json.loads(GOOD), indent=2).encode(), [0], []),
        (json.dumps([json.loads(GOOD)] * 2, indent=2).encode(), [0, 1], []),
        (b'{"readings": [%s\n,\n%s]}' % (GOOD, GOOD), [0, 1], []),
        (ZONELESS, [], [(0, "ts_zoneless", ZONELESS)]),
        (b"17", [], [(0, "not_object", b"17")]),
    ],
)
def test_every_form_is_known_without_being_told(data: bytes, places: list[int], poison: list[tuple[int, str, bytes]]):
    foreign = decode_foreign(data)
    assert foreign.batch.index.tolist() == places
    assert reasons(foreign) == poison


def test_a_row_of_columns_is_shown_as_one_reading():
    data = b'{"tags": ["a/b", "", "a/c"], "ts": [1, 2, 3], "units": null, "values": [1.5, 2.5, null]}'
    foreign = decode_foreign(data)
    assert foreign.batch.index.tolist() == [0]
    assert reasons(foreign) == [
        (1, "tag_invalid", b'{"tags":"","ts":2,"values":2.5}'),
        (2, "value_missing", b'{"tags":"a/c","ts":3,"values":null}'),
    ]


@pytest.mark.parametrize("squeeze", [gzip.compress, zstandard.compress], ids=["gzip", "zstd"])
def test_a_compressed_record_is_known_by_its_first_bytes(squeeze):
    foreign = decode_foreign(squeeze(b"[%s,%s]" % (GOOD, ZONELESS)))
    assert foreign.batch.index.tolist() == [0]
    assert reasons(foreign) == [(1, "ts_zoneless", ZONELESS)]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"[]", "empty"),
        (b"\0\1\2", "not_json"),
        (b"temperature=21.5", "not_json"),
        (GOOD[:-5], "not_json"),
        (b"one\ntwo\nthree", "not_json"),
        (json.dumps([json.loads(GOOD)], indent=2).encode()[:-3], "not_json"),
        (b'{"readings": 17}', "form_unknown"),
        (b'{"tags": ["a/b"], "ts": [1, 2]}', "columns_unequal"),
        (b"[" * 10_000 + b"]" * 10_000, "too_deep"),
        (b"\x1f\x8bnonsense", "not_compressed"),
        (gzip.compress(GOOD, mtime=0)[:-9], "not_compressed"),
        (gzip.compress(b" " * (DECOMPRESSED_BYTES_MAX + 1), mtime=0), "decompressed_too_large"),
        (zstandard.compress(b" " * (DECOMPRESSED_BYTES_MAX + 1)), "decompressed_too_large"),
        (b"[" + b"{}," * ITEMS_MAX + b"{}]", "too_many_items"),
    ],
)
def test_what_cannot_be_told_apart_is_one_poison(data: bytes, reason: str):
    foreign = decode_foreign(data)
    assert len(foreign.batch) == 0
    assert reasons(foreign) == [(0, reason, data[:RAW_BYTES_MAX])]
    assert foreign.poison[0].detail


def test_no_item_is_left_out_and_what_is_kept_of_each_is_bounded():
    foreign = decode_foreign(b"\n".join([ZONELESS] * 500 + [b'{"tag":"%s"}' % (b"x" * 200_000)] + [GOOD] * 500))
    assert foreign.batch.index.tolist() == list(range(501, 1_001))
    assert [poison.item for poison in foreign.poison] == list(range(501))
    assert len(foreign.poison[-1].raw) == RAW_BYTES_MAX


def test_a_record_as_large_as_allowed_stays_within_bounds():
    data = gzip.compress(b"[" + b",".join([ZONELESS] * 19_999) + b"]")
    tracemalloc.start()
    try:
        foreign = decode_foreign(data)
        assert len(foreign.poison) == REFUSED_MAX + 1
        assert tracemalloc.get_traced_memory()[1] < 40 * 2**20
    finally:
        tracemalloc.stop()


@settings(max_examples=400, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_the_verdicts_are_those_of_a_request(seed: int):
    data, _ = hostile(random.Random(seed))
    foreign = decode_foreign(data)
    places = [*foreign.batch.index.tolist(), *(poison.item for poison in foreign.poison)]
    assert len(set(places)) == len(places)
    answers = [answer for kind in KINDS if (answer := _asked(data, kind)) is not None]
    told = _told(foreign.batch, [(poison.item, poison.reason) for poison in foreign.poison])
    if told in answers:
        return
    assert (len(foreign.batch), len(foreign.poison)) == (0, 1)
    assert not answers or foreign.poison[0].reason in WHOLE


WHOLE = {"not_json", "empty", "too_deep", "form_unknown", "columns_unequal", "too_many_items"}


def _asked(data: bytes, kind: str) -> object | None:
    try:
        answer: Decoded = decode(data, kind, CAPS)
    except Rejected:
        return None
    return _told(answer.batch, [(refusal.index, refusal.code.value) for refusal in answer.refusals])


def _told(batch, refusals) -> tuple[object, object]:
    return content(batch) if len(batch) else None, refusals


@settings(max_examples=200, deadline=None)
@given(
    data=st.binary(max_size=300),
    head=st.sampled_from([b"", b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"[", b"{", GOOD + b"\n"]),
)
def test_no_bytes_raise(data: bytes, head: bytes):
    foreign = decode_foreign(head + data)
    assert len(foreign.batch) or foreign.poison


def test_very_many_refusals_are_kept_as_a_thousand_and_one() -> None:
    body = b"\n".join(b'{"tag": "no path", "ts": 1, "value": %d}' % i for i in range(3_000))
    batch, poison, size = decode_foreign(body)
    assert (len(batch), len(poison), size) == (0, REFUSED_MAX + 1, len(body))
    assert poison[-1].detail.startswith("2000 more items")
    assert poison[-1].raw.startswith(body[:40])
