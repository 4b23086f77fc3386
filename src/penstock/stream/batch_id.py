"""Batch ids that a client may hold, sealed so that only ids we gave are taken back.

Of the local streams they say where the batch stands; of a shared one who put it there, and what to look for.
"""

import re
import zlib
from collections.abc import Mapping
from typing import Final, NamedTuple
from uuid import UUID

from penstock.errors import Unknown
from penstock.model.batch import Lane
from penstock.model.shard import ALL, Shard, Unit
from penstock.stream.port import Place

LANES: Final = (Lane.CRITICAL, Lane.BULK)
"""The local streams' shards, named as their lanes, the most urgent first."""
LOCAL: Final = Unit(ALL, tuple(Shard(lane, lane) for lane in LANES))
"""One process takes from both."""
_SHARED_ID: Final = re.compile(r"([0-9a-f]{32})-([0-9a-f]{1,16})-([0-9a-f]{1,16})-([0-9a-f]{8})", re.ASCII)
_ID: Final = re.compile(r"([0-9a-f]{1,16})-([0-9a-f]{1,16})-([0-9a-f]{8})", re.ASCII)


class SharedBatch(NamedTuple):
    """What one request put into a shared stream."""

    producer: UUID
    request: int
    """The producer's number of it."""
    readings: int
    """How many were acknowledged."""


def batch_id_of(identity: str, positions: Mapping[Lane, int]) -> str:
    """`<critical position>-<bulk position>-<seal>` in hex; positions begin at 1, so 0 is: not in this lane."""
    stem = "-".join(f"{positions.get(lane, 0):x}" for lane in LANES)
    return f"{stem}-{_seal(identity, stem)}"


def places_of(identity: str, batch_id: str) -> tuple[Place, ...]:
    """Where the batch's parts stand. Raises Unknown unless *batch_id* was made with *identity*."""
    found = _ID.fullmatch(batch_id)
    if found is None or found[3] != _seal(identity, f"{found[1]}-{found[2]}"):
        raise Unknown("there is no such batch")
    positions = (int(found[1], 16), int(found[2], 16))
    return tuple(Place(lane, position) for lane, position in zip(LANES, positions, strict=True) if position)


def shared_batch_id(identity: str, batch: SharedBatch) -> str:
    """`<producer>-<request>-<readings>-<seal>` in hex."""
    stem = f"{batch.producer.hex}-{batch.request:x}-{batch.readings:x}"
    return f"{stem}-{_seal(identity, stem)}"


def shared_batch_of(identity: str, batch_id: str) -> SharedBatch:
    """What *batch_id* says. Raises Unknown unless it was made with *identity*."""
    found = _SHARED_ID.fullmatch(batch_id)
    if found is None or found[4] != _seal(identity, batch_id.rpartition("-")[0]):
        raise Unknown("there is no such batch")
    return SharedBatch(UUID(found[1]), int(found[2], 16), int(found[3], 16))


def _seal(identity: str, stem: str) -> str:
    return f"{zlib.crc32(f'{identity}/{stem}'.encode()):08x}"
