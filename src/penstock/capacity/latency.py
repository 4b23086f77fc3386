"""The latency budget: what each stage may take of a reading's way from its sending to its commit, p99."""

from typing import NamedTuple

from penstock.capacity import measured as m
from penstock.capacity.demand import Demand
from penstock.capacity.design import Design
from penstock.capacity.streams import bulk
from penstock.settings import ProcessSettings, StreamSettings


class Stage(NamedTuple):
    """One step of the way, for a critical reading and for one that is not, in milliseconds."""

    name: str
    critical_ms: float
    bulk_ms: float


class Latency(NamedTuple):
    """The sum of stages' p99 is more than the p99 of their sum: a budget is careful."""

    stages: tuple[Stage, ...]

    @property
    def critical_ms(self) -> float:
        return sum(stage.critical_ms for stage in self.stages)

    @property
    def bulk_ms(self) -> float:
        return sum(stage.bulk_ms for stage in self.stages)


def latency_for(demand: Demand, design: Design) -> Latency:
    """Without a load above the peak; a lane of its own keeps critical readings out of the others' queue."""
    stream, process = StreamSettings(), ProcessSettings()
    # where more records could be made than may leave, the next wave waits until a full one is paid for
    records_max = design.tasks_min * m.BULK_RECORDS_PER_S
    paced = bulk(demand, design, demand.peak, design.tasks_min).records_per_s >= records_max
    wave_ms = max(stream.linger_ms, 1e3 * demand.slices / m.BULK_RECORDS_PER_S) if paced else stream.linger_ms
    wait_ms = m.FAN_OUT_MS if design.fan_out else 1e3 / m.POLLS_PER_S
    return Latency(
        (
            Stage("door", m.DOOR_MS, m.DOOR_MS),
            Stage("linger", stream.critical_linger_ms, wave_ms),
            Stage("put", m.PUT_MS, m.PUT_MS),
            Stage("fan-out" if design.fan_out else "poll", wait_ms, wait_ms),
            Stage("take", m.TAKE_MS, m.TAKE_MS),
            Stage("gather", 0.0, float(process.linger_ms)),
            Stage("commit", m.COMMIT_MS, m.COMMIT_MS),
        )
    )
