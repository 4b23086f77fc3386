"""All workers of one process: which units of a shared stream they work on, kept fair among all crews."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeVar

from penstock.errors import Fenced, PenstockError, Unavailable
from penstock.model.shard import Unit
from penstock.process.job import Claim, Job
from penstock.process.worker import Ending, Left
from penstock.store.port import Beat, Behind, Lease, Leases
from penstock.stream.port import Stream
from penstock.telemetry import BEHIND, LEASE_EVENTS, LEASES_HELD, RETENTION_LEFT, log

T = TypeVar("T")
HOUR_MS: Final = 3_600_000
AGAIN_S: Final = 60.0
"""A warning that still holds is repeated this often."""


class UnitWorker(Protocol):
    """Works on one unit until it is asked to stop, loses the lease, or comes to the unit's end."""

    progress: int
    """Grows with every commit, and with every look that found nothing to commit."""

    async def run(self, stop: asyncio.Event) -> Left: ...
