"""A plant that does not exist, for plants that want to see before they connect: deterministic, lively, and at fault."""

from penstock.simulate.faults import Fault, FaultKind, read_faults, shipped_faults
from penstock.simulate.feed import PlantOptions, run_plant
from penstock.simulate.plant import Plant

__all__ = ["Fault", "FaultKind", "Plant", "PlantOptions", "read_faults", "run_plant", "shipped_faults"]
