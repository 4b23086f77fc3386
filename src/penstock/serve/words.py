"""What a query may say, and how answers tell times and places: parsed and written in one way on every route."""

import base64
import binascii
import re
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

import msgspec
import numpy as np

from penstock.errors import Undecodable
from penstock.model.batch import Ints
from penstock.store.read import EARLIEST_US, EPOCH, LATEST_US

PREFIX_MAX: Final = 200
Place = TypeVar("Place", bound=tuple[int | str, ...])
_MICROSECOND: Final = timedelta(microseconds=1)
_INTEGER: Final = re.compile(r"-?[0-9]{1,18}", re.ASCII)
_TIME: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(?:([Zz])|([+ -])(\d\d:\d\d))", re.ASCII
)
_PREFIX: Final = re.compile(r"[A-Za-z0-9._/-]{0,200}", re.ASCII)


def microseconds(text: str, name: str) -> int:
    """A time of a query, in microseconds since 1970. Raises Undecodable."""
    if _INTEGER.fullmatch(text):
        return min(max(int(text), EARLIEST_US), LATEST_US)
    found = _TIME.fullmatch(text)
    if found is None:
        raise Undecodable(f"{name} is no RFC 3339 time with a zone, nor microseconds since 1970", code="bad_time")
    day, time, fraction, zulu, sign, offset = found.groups()
    zone = "+00:00" if zulu else f"{'-' if sign == '-' else '+'}{offset}"  # an unescaped + arrives as a space
    try:
        moment = datetime.fromisoformat(f"{day}T{time}.{(fraction or '0')[:6].ljust(6, '0')}{zone}")
        return (moment - EPOCH) // _MICROSECOND
    except (ValueError, OverflowError) as error:
        raise Undecodable(f"{name} is a time that no calendar has", code="bad_time") from error


def span(start: str | None, end: str | None) -> tuple[int, int]:
    """start and end of a query; what is left out does not bound."""
    start_us = EARLIEST_US if start is None else microseconds(start, "start")
    end_us = LATEST_US if end is None else microseconds(end, "end")
    if start_us > end_us:
        raise Undecodable("start is after end", code="bad_range")
    return start_us, end_us


def prefix_of(text: str | None) -> str:
    """A prefix that some path may begin with."""
    if text is None:
        return ""
    if not _PREFIX.fullmatch(text):
        raise Undecodable("no path begins like that prefix", code="bad_prefix")
    return text


def rfc3339(us: int) -> str:
    """A time of an answer: UTC, microseconds, Z."""
    moment = (EPOCH + timedelta(microseconds=min(max(us, EARLIEST_US), LATEST_US))).isoformat(timespec="microseconds")
    return f"{moment[:-6]}Z"


def rfc3339_all(us: Ints) -> list[str]:
    """Likewise, of many."""
    return [f"{text}Z" for text in np.datetime_as_string(us.astype("datetime64[us]"), unit="us").tolist()]


def told(moment: datetime) -> str:
    """Likewise, of what the database gave."""
    return f"{moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='microseconds')}Z"


def cursor_of(*place: int | str) -> str:
    """Where a page ended, opaque to clients."""
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).rstrip(b"=").decode()


def place_of(cursor: str, kind: type[Place]) -> Place:
    """What `cursor_of` was given, as a tuple of *kind*. Raises Undecodable for anything else."""
    try:
        raw = base64.b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4), b"-_", validate=True)
        return msgspec.json.decode(raw, type=kind)
    except (ValueError, binascii.Error, msgspec.DecodeError) as error:
        raise Undecodable("cursor is none that an answer gave", code="bad_cursor") from error
