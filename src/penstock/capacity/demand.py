"""What a plant asks of its deployment."""

from dataclasses import dataclass
from typing import Final

from penstock.errors import Misconfigured
from penstock.model.slices import SLICES

SMALL_PER_S: Final = 10_000
"""Below it a plant's bill is what stands about, not what it carries."""
PEAK_MAX: Final = 5_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """Refuses what cannot be meant: Misconfigured with the field, the value's fault and the mend."""

    peak: float
    """Readings a second, in the busiest minute."""
    average: float = 0.3
    """Share of the peak over a month."""
    tags: int = 10_000
    critical: float = 0.02
    """Share of the readings that travel in the critical lane and are kept for `retention_years`."""
    readers: int = 10
    """People and systems that look, at a time."""
    retention_years: float = 7.0
    latency_ms: float = 500.0
    """p99 a critical reading may take from its sending to its commit."""
    readings_a_request: int = 500
    """Of senders that batch."""
    alone: float = 0.0
    """Share of the readings that come one a request."""
    foreign: float = 0.0
    """Share of the readings that others put on Kinesis themselves, one a record."""
    bytes_a_reading: float | None = None
    """On Kinesis, where it was measured at one's own plant."""

    def __post_init__(self) -> None:
        _within("peak", self.peak, 0.1, PEAK_MAX, "give readings a second")
        _within("average", self.average, 0.001, 1, "give the month's mean as a share of the peak")
        _within("tags", self.tags, 1, 10_000_000, "give the number of measured points")
        for name in ("critical", "alone", "foreign"):
            _within(name, getattr(self, name), 0, 1, "give a share of the readings")
        _within("readers", self.readers, 0, 100_000, "give those who look at the same time")
        _within("retention_years", self.retention_years, 0.1, 100, "give years")
        _within("latency_ms", self.latency_ms, 1, 3_600_000, "give milliseconds")
        _within("readings_a_request", self.readings_a_request, 1, 20_000, "a request takes 20,000 at most")
        if self.bytes_a_reading is not None:
            _within("bytes_a_reading", self.bytes_a_reading, 1, 1_000_000, "give bytes as Kinesis counts them")

    @property
    def average_per_s(self) -> float:
        return self.peak * self.average

    @property
    def small(self) -> bool:
        return self.peak < SMALL_PER_S

    @property
    def slices(self) -> int:
        """Parts of the key space that its tags reach."""
        return min(SLICES, self.tags)


def _within(field: str, value: float, low: float, high: float, mend: str) -> None:
    if not low <= value <= high:
        raise Misconfigured(f"demand.{field}", f"{value:g} is not within {low:g} and {high:g}", mend)
