"""What stations say of a traced batch or request, and what they may rely on: to tell never waits and never fails."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final, NamedTuple, Protocol

from penstock.traces.ids import Sample

Attributes = Mapping[str, str | int]
"""Names, counts and ids. Never a secret, a key or a reading's value."""
NOTHING: Final[Attributes] = MappingProxyType({})
EVENTS_MAX: Final = 20
"""What happened within one span beyond these is not told."""


class Kind(StrEnum):
    """What a span is to those around it."""

    SERVER = "server"
    """It answers somebody."""
    PRODUCER = "producer"
    """It hands on what somebody will take later."""
    CONSUMER = "consumer"
    """It takes what was handed on."""
    INTERNAL = "internal"


class Event(NamedTuple):
    """Something that happened within a span."""

    name: str
    at_us: int
    attributes: Attributes = NOTHING


class Caller(NamedTuple):
    """The span of somebody else's trace that asked for ours; *span* 0 where only the trace is known."""

    trace: int
    span: int


class Span(NamedTuple):
    """Something that was done, once it is done. Times are microseconds since 1970."""

    name: str
    kind: Kind
    trace: int
    span: int
    parent: int
    """A span's id; 0: this is the trace's first."""
    begun_us: int
    ended_us: int
    attributes: Attributes = NOTHING
    events: tuple[Event, ...] = ()
    caller: Caller | None = None
    failed: bool = False


class Traces(Protocol):
    """Takes spans away to whoever shows them. A queue that is full, or nobody to take them, costs spans only."""

    @property
    def sample(self) -> Sample:
        """Whose spans are to be told; of others nobody wants to know."""
        ...

    def tell(self, span: Span) -> None:
        """Never blocks, never raises."""
        ...
