"""Sequence numbers as Kinesis makes them: 56 digits that hold the shard, its birth, a counter and a time.

The layout (186 bits) is what kinesalite found in real ones. It gives exactly Kinesis's order: numbers grow strictly
within a shard and from parent to child, are unique in a stream, and say nothing of time across sibling shards.
"""

from typing import NamedTuple

_SHARD, _TIME, _ORDINAL, _NIBBLE, _BORN, _TOP = 4, 36, 80, 144, 148, 184
_VERSION = 2
ORDINAL_MAX = 2**63 - 1
"""The counter of a closed shard's EndingSequenceNumber."""


class Sequence(NamedTuple):
    """A sequence number taken apart; times are whole seconds since 1970."""

    shard: int
    born_s: int
    ordinal: int
    time_s: int


def compose(number: Sequence) -> int:
    return prefix(number.shard, number.born_s) | (number.ordinal << _ORDINAL) | (number.time_s << _TIME)


def prefix(shard: int, born_s: int) -> int:
    """What all numbers of a shard share."""
    return (2 << _TOP) | (born_s << _BORN) | ((shard & 15) << _NIBBLE) | (shard << _SHARD) | _VERSION


def numbered(shared: int, ordinal: int, time_s: int) -> int:
    """The number of one record, from its shard's prefix."""
    return shared | (ordinal << _ORDINAL) | (time_s << _TIME)


def take_apart(text: str) -> Sequence | None:
    """None when it is not a sequence number of this layout."""
    value = int(text) if text.isascii() and text.isdigit() else 0
    if value >> _TOP != 2 or value & 15 != _VERSION:
        return None
    number = Sequence(
        _bits(value, _SHARD, 32), _bits(value, _BORN, 36), _bits(value, _ORDINAL, 64), _bits(value, _TIME, 36)
    )
    return number if compose(number) == value else None


def _bits(value: int, low: int, width: int) -> int:
    return (value >> low) & ((1 << width) - 1)
