"""The plan: sizes and bill of a demand, the naive design beside it, and what would move the bill."""

from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from penstock.capacity.bill import Bill, bill_for
from penstock.capacity.demand import Demand
from penstock.capacity.design import CHOICES, PROFILES, Design, design_of, naive, recommended
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


def advice_for(demand: Demand, profile: str, ours: Costed, prices: Prices) -> list[str]:
    """What somebody who knows the prices would say when looking at the plan."""
    said = []
    if demand.small and profile != "montreal":
        there = replace(PROFILES["montreal"], region=ours.design.region)
        usd = costed(demand, fast_enough(demand, there), prices).bill.usd
        said.append(f"a small plant: montreal's design in {there.region} holds it for ${usd:,.0f} a month")
    if demand.small and ours.design.dashboards == 0:
        said.append("most of this bill is what stands about: ten times the readings cost little more")
    if demand.alone > 0:
        said.append("senders that put 500 readings into a request spare the doors a hundred times the work")
    if demand.foreign > 0:
        said.append("readings that others put one a record take a shard for every 1,000 a second")
    return said
