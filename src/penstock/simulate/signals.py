"""The plant's life as a function of time: the same seed and the same moment give the same values, however asked for."""

from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from penstock.model.batch import Floats
from penstock.simulate.plant import SECOND_US, Plant

HOUR_S: Final = 3_600
DAY_S: Final = 24 * HOUR_S
SHIFT_S: Final = 8 * HOUR_S
SHIFT_START_S: Final = 6 * HOUR_S
HANDOVER_S: Final = 600
"""After each change of shift the lines pick up speed again."""
PAUSE_BLOCK_S: Final = 600
PAUSE_S: Final = 90
PAUSE_CHANCE: Final = 0.04
"""Now and then a machine waits for material: for PAUSE_S, in one block of PAUSE_BLOCK_S out of 25."""


class Doing(IntEnum):
    """What a machine is doing; the names are the states it reports."""

    RUNNING = 0
    IDLE = 1
    FAULT = 2
    MAINTENANCE = 3


DOING: Final = tuple(doing.name for doing in Doing)


def values_at(plant: Plant, ts_us: int) -> tuple[Floats, Floats]:
    """Values of the measuring sensors at a moment, before any fault and unrounded; and their share that is noise."""
    now_s = ts_us / SECOND_US
    rhythm = rhythm_at(now_s) + 0.06 * _wander(plant, now_s)
    running = doing_at(plant, ts_us) == Doing.RUNNING
    load = np.where(running, rhythm + 0.05 * _wander(plant, 7 * now_s), 0.0)
    steady = plant.idle + plant.by_load * load[plant.machine] + plant.by_rhythm * rhythm[plant.machine]
    noise = plant.noise * _random(plant, ts_us).standard_normal(plant.idle.size)
    return steady * (1 + plant.quirk) + noise, noise


def rhythm_at(now_s: float) -> float:
    """How hard the plant works, 0 to 1: most in the early shift, least at night, less at each handover."""
    of_day = np.sin(2 * np.pi * (now_s % DAY_S - 5 * HOUR_S) / DAY_S)
    into_shift = (now_s - SHIFT_START_S) % SHIFT_S
    handover = 0.15 * max(0.0, 1 - into_shift / HANDOVER_S)
    return float(0.62 + 0.2 * of_day - handover)


def doing_at(plant: Plant, ts_us: int) -> NDArray[np.int8]:
    """`Doing` of every machine."""
    now_s = ts_us // SECOND_US
    block = np.random.default_rng([plant.seed, now_s // PAUSE_BLOCK_S])
    waits = block.random(plant.machines) < PAUSE_CHANCE
    begins = block.uniform(0, PAUSE_BLOCK_S - PAUSE_S, plant.machines)
    into = now_s % PAUSE_BLOCK_S - begins
    doing = np.where(waits & (into >= 0) & (into < PAUSE_S), Doing.IDLE, Doing.RUNNING)
    return np.where(plant.service_hour == now_s // HOUR_S % (7 * 24), Doing.MAINTENANCE, doing).astype(np.int8)


def rounded(plant: Plant, values: Floats) -> Floats:
    """As the sensors resolve them."""
    steps: Floats = np.round(values / plant.step) * plant.step
    return np.round(steps, 6)


def _wander(plant: Plant, now_s: float) -> Floats:
    """-1 to 1, a machine's own slow ups and downs, of no period that anyone would notice."""
    waves: Floats = np.sin(2 * np.pi * now_s / plant.wander_s + plant.wander_phase)
    mean: Floats = waves.mean(axis=0)
    return mean


def _random(plant: Plant, ts_us: int) -> np.random.Generator:
    return np.random.Generator(np.random.SFC64([plant.seed, 1, ts_us]))
