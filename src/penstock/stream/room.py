"""How much a local stream may hold that is not stored yet; the last tenth is for the critical lane alone."""

from typing import Final

from penstock.model.batch import Lane

CRITICAL_SHARE: Final = 0.1
ENTRY_OVERHEAD_BYTES: Final = 64
"""What an entry costs beside its record: positions, counters, its place in an index."""


def weight_of(record: bytes) -> int:
    """Bytes that an entry counts for."""
    return len(record) + ENTRY_OVERHEAD_BYTES


def limit_of(lane: Lane, bytes_max: int) -> int:
    """Unstored bytes, of both lanes together, up to which *lane* is still taken."""
    return bytes_max if lane is Lane.CRITICAL else int(bytes_max * (1 - CRITICAL_SHARE))
