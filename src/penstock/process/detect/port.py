"""What a detector promises the worker: `run` only looks, `remember` learns, and only after the commit."""

from collections.abc import Sequence
from typing import Generic, NamedTuple, Protocol, TypeVar

from penstock.model.anomaly import Finding
from penstock.process.columns import Columns

Next = TypeVar("Next")
"""A detector's own form of its next state: what `remember` needs, for the slots that `run` touched."""


class Verdict(NamedTuple, Generic[Next]):
    """What was found, in order of time within a tag, and the state to be remembered once it is stored."""

    findings: Sequence[Finding]
    next: Next


class Detector(Protocol[Next]):
    """One family of tests over all tags. Same readings in the same order give the same findings, however batched."""

    def run(self, readings: Columns, now_us: int) -> Verdict[Next]:
        """Judge *readings*: new to the store, sorted by (slot, ts, seq). Changes nothing of the detector."""
        ...

    def tick(self, now_us: int) -> Verdict[Next]:
        """Judge the passing of time (silence, delays that run out). Changes nothing of the detector."""
        ...

    def remember(self, state: Next) -> None:
        """What led to *state* is stored: it is the state from now on."""
        ...

    def snapshot(self) -> bytes:
        """The whole state, keyed by tag path and versioned, compact."""
        ...

    def restore(self, snapshot: bytes) -> None:
        """Continue from a snapshot, bit for bit. A version it does not know is started afresh, and logged."""
        ...
