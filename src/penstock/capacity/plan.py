"""The plan: sizes and bill of a demand, the naive design beside it, and what would move the bill."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from penstock.capacity.bill import Bill, bill_for
from penstock.capacity.demand import Demand
from penstock.capacity.design import CHOICES, Design, design_of, naive, recommended
from penstock.capacity.latency import latency_for
from penstock.capacity.prices import Price, Prices
from penstock.capacity.sizes import Sizes, sizes_for

MOVERS: Final = 3


@dataclass(frozen=True, slots=True)
class Costed:
    """A design, as large as the demand needs it, and its bill."""

    design: Design
    sizes: Sizes
    bill: Bill


class Mover(NamedTuple):
    """One choice made otherwise, and by how much the month's bill changes."""

    choice: str
    usd: float
    times: float


@dataclass(frozen=True, slots=True)
class Plan:
    """All that is said of a demand."""

    demand: Demand
    profile: str
    ours: Costed
    naive: Costed
    movers: tuple[Mover, ...]
    """The three choices that move the bill most, the strongest first."""
    advice: tuple[str, ...]

    @property
    def unverified(self) -> tuple[Price, ...]:
        """Prices of our own bill that nobody checked, each once."""
        return tuple(dict.fromkeys(line.price for line in self.ours.bill.unverified()))


def plan_for(demand: Demand, prices: Prices, profile: str | None = None) -> Plan:
    """Sizes, bill and comparison for a profile; without one, for the one recommended."""
    name = profile or recommended(demand)
    design = fast_enough(demand, design_of(profile, demand))
    ours = costed(demand, design, prices)
    return Plan(
        demand,
        name,
        ours,
        costed(demand, naive(design), prices),
        movers_of(demand, ours, prices),
        tuple(advice_for(demand, name, ours, prices)),
    )


def costed(demand: Demand, design: Design, prices: Prices) -> Costed:
    sizes = sizes_for(demand, design)
    return Costed(design, sizes, bill_for(demand, design, sizes, prices))


def fast_enough(demand: Demand, design: Design) -> Design:
    """With enhanced fan-out where polling breaks the latency budget and fan-out does not break it, too."""
    pushed = replace(design, fan_out=True)
    polled_ms, pushed_ms = (latency_for(demand, one).critical_ms for one in (design, pushed))
    return pushed if polled_ms > demand.latency_ms >= pushed_ms else design


def movers_of(demand: Demand, ours: Costed, prices: Prices, most: int = MOVERS) -> tuple[Mover, ...]:
    """Every choice tried alone on our design; those that change nothing are no movers."""
    tried = ((choice, replace(ours.design, **changes)) for choice, changes in CHOICES.items())
    bills = [(choice, costed(demand, design, prices).bill.usd) for choice, design in tried if design != ours.design]
    found = (Mover(choice, usd - ours.bill.usd, usd / ours.bill.usd) for choice, usd in bills)
    return tuple(sorted((one for one in found if one.usd), key=lambda one: -abs(one.usd))[:most])


def advice_for(demand: Demand, profile: str, ours: Costed, prices: Prices) -> Iterator[str]:
    """What somebody who knows the prices would say when looking at the plan."""
    if demand.small:
        tenfold = costed(replace(demand, peak=10 * demand.peak), ours.design, prices).bill.usd
        yield f"most of the bill is what stands about: ten times the readings would cost ${tenfold:,.0f} a month"
    for said, otherwise, design in _alternatives(demand, profile, ours.design):
        usd = costed(otherwise, fast_enough(otherwise, design), prices).bill.usd
        if usd < ours.bill.usd:
            yield f"{said}: ${usd:,.0f} a month"


def _alternatives(demand: Demand, profile: str, design: Design) -> Iterator[tuple[str, Demand, Design]]:
    """What may be cheaper, and is said only where it is."""
    if demand.small and profile != recommended(demand):
        small = replace(design_of(None, demand), region=design.region)
        yield f"a small plant: {recommended(demand)}'s design in {design.region}", demand, small
    if demand.alone:
        batch = f"if every sender put {demand.readings_a_request} readings into a request"
        yield batch, replace(demand, alone=0.0), design
    if demand.foreign:
        yield "if all readings came through our doors, many to a record", replace(demand, foreign=0.0), design
