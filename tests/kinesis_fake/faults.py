"""What goes wrong on request, with seeded chance."""

import random
from collections import Counter
from dataclasses import dataclass, field

from kinesis_fake.errors import ApiError, ConnectionCut, internal_failure, limit_exceeded, throttled

PUTS = frozenset({"PutRecord", "PutRecords"})
READS = frozenset({"GetRecords", "GetShardIterator", "SubscribeToShard"})


@dataclass
class Faults:
    """Shares are from 0 to 1. Setting them over HTTP: `PUT /_faults`, absent fields stay as they are."""

    seed: int = 0
    put_entries_failed: float = 0.0
    """Share of PutRecords entries answered with InternalFailure; they are not stored."""
    put_entries_throttled: float = 0.0
    """Share of PutRecords entries answered with ProvisionedThroughputExceededException; they are not stored."""
    calls_throttled: float = 0.0
    """Share of data calls answered ProvisionedThroughputExceededException (SubscribeToShard: LimitExceeded…)."""
    calls_failed: float = 0.0
    """Share of data calls answered InternalFailure (500) as a whole."""
    lost_requests: float = 0.0
    """Share of data calls cut before anything was done."""
    lost_replies: float = 0.0
    """Share of data calls cut after all was done: a put is stored and its sender does not know."""
    put_twice: float = 0.0
    """Share of entries stored twice, as a producer's retry would, under two sequence numbers."""
    deliver_again: float = 0.0
    """Share of GetRecords answers and events that begin up to ten records too early."""
    put_latency_s: float = 0.0
    get_latency_s: float = 0.0
    """Of GetRecords and GetShardIterator."""
    push_latency_s: float = 0.0
    """From arrival to a fan-out event."""
    subscriptions_cut: float = 0.0
    """Share of fan-out events that the connection dies before."""
    stalled_shards: list[str] = field(default_factory=list)
    """Shards (by id) that take writes, answer, and deliver nothing."""
    access_denied: list[str] = field(default_factory=list)
    """Operations refused with AccessDeniedException; "*" is all."""
    credentials_error: str | None = None
    """Every call is refused with this code: UnrecognizedClientException, ExpiredTokenException, …"""
    kms_error: str | None = None
    """Every data call is refused with this code: KMSAccessDeniedException, KMSThrottlingException, …"""
    clock_offset_s: float = 0.0
    """Added to the machine's clock: moves arrival times, ends retention, expires iterators."""


class Trouble:
    """Throws the dice for the faults that are set, and counts what it did."""

    def __init__(self, faults: Faults) -> None:
        self.faults, self.counted = faults, Counter[str]()
        self._random = random.Random(faults.seed)

    def reseed(self) -> None:
        self._random = random.Random(self.faults.seed)

    def strikes(self, name: str) -> bool:
        """Whether the fault of that share happens now."""
        share: float = getattr(self.faults, name)
        struck = share > 0 and self._random.random() < share
        if struck:
            self.counted[name] += 1
        return struck

    def latency_s(self, operation: str) -> float:
        if operation in PUTS:
            return self.faults.put_latency_s
        return self.faults.get_latency_s if operation in READS else 0.0

    def refuse(self, operation: str) -> None:
        """Raises what this call fails with before it does anything."""
        faults = self.faults
        if faults.credentials_error:
            raise ApiError(faults.credentials_error, "The security token included in the request is invalid.")
        if operation in faults.access_denied or "*" in faults.access_denied:
            raise ApiError("AccessDeniedException", f"User: penstock is not authorized to perform: kinesis:{operation}")
        if operation in PUTS or operation in READS:
            self._refuse_data(operation)

    def lose_reply(self, operation: str) -> None:
        """Raises ConnectionCut when the answer to this call gets lost."""
        if (operation in PUTS or operation in READS) and self.strikes("lost_replies"):
            raise ConnectionCut

    def rewind(self) -> int:
        """How many records too early a delivery begins; mostly none."""
        return self._random.randint(1, 10) if self.strikes("deliver_again") else 0

    def _refuse_data(self, operation: str) -> None:
        if self.faults.kms_error:
            raise ApiError(self.faults.kms_error, "The ciphertext refers to a key that cannot be used.")
        if self.strikes("lost_requests"):
            raise ConnectionCut
        if self.strikes("calls_throttled"):
            refusal = limit_exceeded if operation == "SubscribeToShard" else throttled  # all its model has
            raise refusal("Rate exceeded for the stream.")
        if self.strikes("calls_failed"):
            raise internal_failure()
