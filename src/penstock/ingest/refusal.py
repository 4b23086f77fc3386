"""Why a reading is refused: the one table of codes that clients may rely on."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

import msgspec

FIELDS: Final = ("tag", "ts", "source_ts", "value", "state", "quality", "seq", "unit")
LISTED_MAX: Final = 20
"""Refusals told one by one; all are counted."""


class Code(StrEnum):
    """A refused item's reason. The details say what would pass, and never repeat what was sent."""

    NOT_JSON = "not_json"
    NOT_OBJECT = "not_object"
    FIELD_UNKNOWN = "field_unknown"
    TAG_MISSING = "tag_missing"
    TAG_INVALID = "tag_invalid"
    TS_MISSING = "ts_missing"
    TS_TWICE = "ts_twice"
    TS_INVALID = "ts_invalid"
    TS_ZONELESS = "ts_zoneless"
    TS_OUT_OF_RANGE = "ts_out_of_range"
    VALUE_NOT_NUMBER = "value_not_number"
    VALUE_NOT_FINITE = "value_not_finite"
    VALUE_MISSING = "value_missing"
    VALUE_AND_STATE = "value_and_state"
    STATE_INVALID = "state_invalid"
    QUALITY_INVALID = "quality_invalid"
    SEQ_INVALID = "seq_invalid"
    SEQ_OUT_OF_RANGE = "seq_out_of_range"
    UNIT_INVALID = "unit_invalid"
    SITE_FORBIDDEN = "site_forbidden"
    OVERLOADED = "overloaded"


DETAIL: Final[Mapping[Code, str]] = MappingProxyType(
    {
        Code.NOT_JSON: "this item is not JSON in UTF-8",
        Code.NOT_OBJECT: "a reading is a JSON object",
        Code.FIELD_UNKNOWN: f"the fields of a reading are {', '.join(FIELDS)}",
        Code.TAG_MISSING: "`tag` is missing",
        Code.TAG_INVALID: "`tag` is 2-8 segments of [A-Za-z0-9._-] joined by `/`, 200 characters at most",
        Code.TS_MISSING: "`ts` is missing",
        Code.TS_TWICE: "`source_ts` is another name of `ts`: give one of them",
        Code.TS_INVALID: "`ts` is RFC 3339 with zone, or integer microseconds since 1970; there is no second 60",
        Code.TS_ZONELESS: "`ts` needs its zone, as `Z` or `+02:00`",
        Code.TS_OUT_OF_RANGE: "`ts` lies within the years 1 to 9999",
        Code.VALUE_NOT_NUMBER: "`value` is a number; a text goes into `state`",
        Code.VALUE_NOT_FINITE: "`value` is a finite double",
        Code.VALUE_MISSING: "one of `value` and `state` is needed, unless `quality` is bad",
        Code.VALUE_AND_STATE: "a reading has a `value` or a `state`, not both",
        Code.STATE_INVALID: "`state` is 1-64 printable characters",
        Code.QUALITY_INVALID: "`quality` is good, uncertain, bad, or an OPC UA status code from 0 to 4294967295",
        Code.SEQ_INVALID: "`seq` is an integer",
        Code.SEQ_OUT_OF_RANGE: "`seq` is a 64-bit integer, and not the lowest of them",
        Code.UNIT_INVALID: "`unit` is a UCUM code of 1-32 printable characters",
        Code.SITE_FORBIDDEN: "the key does not write to this site",
        Code.OVERLOADED: "there is no room for bulk readings right now: send it again later",
    }
)
NUMBERED: Final = tuple(Code)
"""Verdict columns hold 1 + the position in here; 0 is accepted."""
NUMBER: Final[Mapping[Code, int]] = MappingProxyType({code: n for n, code in enumerate(NUMBERED, 1)})


class Refusal(msgspec.Struct, frozen=True, order=True):
    """One item that cannot be taken as it is."""

    index: int
    code: Code

    @property
    def detail(self) -> str:
        return DETAIL[self.code]

    def told(self) -> dict[str, object]:
        """As it stands in the answer."""
        told: dict[str, object] = {"index": self.index, "code": self.code.value, "detail": self.detail}
        return told | {"retryable": True} if self.code is Code.OVERLOADED else told
