"""The local streams' batch ids: places that a client may hold, sealed so that only ids we gave are taken back."""

import re
import zlib
from collections.abc import Mapping
from typing import Final

from penstock.errors import Unknown
from penstock.model.batch import Lane
from penstock.stream.port import Place

LANES: Final = (Lane.CRITICAL, Lane.BULK)
"""The local streams' shards, named as their lanes, the most urgent first."""
_ID: Final = re.compile(r"([0-9a-f]{1,16})-([0-9a-f]{1,16})-([0-9a-f]{8})", re.ASCII)


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


def _seal(identity: str, stem: str) -> str:
    return f"{zlib.crc32(f'{identity}/{stem}'.encode()):08x}"
