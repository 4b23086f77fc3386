"""Records, bytes and shards: what the readings of a second are on Kinesis."""

from collections.abc import Iterable
from itertools import pairwise
from math import ceil, log
from typing import NamedTuple

from penstock.capacity import measured as m
from penstock.capacity.demand import Demand
from penstock.capacity.design import Design


class Flow(NamedTuple):
    """Some readings on their way: those of a lane, or of somebody else's producer."""

    readings_per_s: float
    records_per_s: float
    bytes_a_reading: float

    @property
    def readings_a_record(self) -> float:
        return self.readings_per_s / self.records_per_s if self.records_per_s else 0.0

    @property
    def bytes_per_s(self) -> float:
        return self.readings_per_s * self.bytes_a_reading

    @property
    def put_units_per_s(self) -> float:
        """Payload units: a record counts whole ones."""
        return self.records_per_s * ceil(self.readings_a_record * self.bytes_a_reading / m.PUT_UNIT_BYTES)


class Stream(NamedTuple):
    """One Kinesis stream."""

    name: str
    flow: Flow
    shards: int


def requests_per_s(demand: Demand, design: Design, rate: float) -> float:
    """Of senders, when *rate* readings a second come."""
    own = rate * (1 - demand.foreign)
    if not design.batched:
        return own
    return own * (demand.alone + (1 - demand.alone) / demand.readings_a_request)


def bytes_a_reading(readings_a_record: float) -> float:
    """On the measured curve: straight between its points in the logarithms, flat beyond them."""
    at = min(max(readings_a_record, m.RECORD_BYTES[0][0]), m.RECORD_BYTES[-1][0])
    (low, dear), (high, cheap) = next(pair for pair in pairwise(m.RECORD_BYTES) if at <= pair[1][0])
    slope = log(cheap / dear) / log(high / low)
    return dear * float((at / low) ** slope)


def bulk(demand: Demand, design: Design, rate: float, processes: int) -> Flow:
    """The bulk lane, put by so many ingest processes; each has 250 records a second and then makes them fuller."""
    return _lane(demand, design, rate, 1 - demand.critical, processes * m.BULK_RECORDS_PER_S)


def critical(demand: Demand, design: Design, rate: float, processes: int) -> Flow:
    """The critical lane, which hardly waits for company."""
    return _lane(demand, design, rate, demand.critical, processes * m.CRITICAL_RECORDS_PER_S)


def foreign(demand: Demand, rate: float) -> Flow:
    """What others put, one a record."""
    readings = rate * demand.foreign
    return Flow(readings, readings, m.FOREIGN_BYTES)


def _lane(demand: Demand, design: Design, rate: float, share: float, records_max: float) -> Flow:
    readings = rate * (1 - demand.foreign) * share
    if not design.aggregated:
        return Flow(readings, readings, m.FOREIGN_BYTES)
    # a request's readings of one slice of the tags share a record, and so may those of several requests
    records = min(readings, requests_per_s(demand, design, rate) * demand.slices, records_max)
    size = demand.bytes_a_reading or (bytes_a_reading(readings / records) if records else 0.0)
    return Flow(readings, records, size)


def together(flows: Iterable[Flow]) -> Flow:
    """Several as one."""
    flows = tuple(flows)
    readings = sum(one.readings_per_s for one in flows)
    size = sum(one.bytes_per_s for one in flows) / readings if readings else 0.0
    return Flow(readings, sum(one.records_per_s for one in flows), size)


def shards_for(flow: Flow) -> int:
    """What the larger of its two rates needs, with headroom."""
    return ceil(m.HEADROOM * max(flow.bytes_per_s / m.SHARD_BYTES_PER_S, flow.records_per_s / m.SHARD_RECORDS_PER_S))


def streams_for(demand: Demand, design: Design, processes: int) -> tuple[Stream, ...]:
    """Sized for the peak: one, or one for each lane."""
    lanes = [bulk(demand, design, demand.peak, processes), foreign(demand, demand.peak)]
    vital = critical(demand, design, demand.peak, processes)
    if not design.critical_stream:
        whole = together([*lanes, vital])
        return (Stream("main", whole, max(design.shards_min, shards_for(whole))),)
    main = together(lanes)
    return (
        Stream("main", main, max(design.shards_min, shards_for(main))),
        Stream("critical", vital, max(1, shards_for(vital))),
    )


def put_units_per_s(demand: Demand, design: Design, rate: float, processes: int) -> float:
    """Of all lanes."""
    flows = (lane(demand, design, rate, processes) for lane in (bulk, critical))
    return sum(flow.put_units_per_s for flow in (*flows, foreign(demand, rate)))
