"""Floats as whole numbers by a power of ten wherever that gives every bit back, and as bits where it does not."""

from typing import Final, NamedTuple

import numpy as np

from penstock.model.batch import Floats, Ints, Mask
from penstock.model.decimals import POWERS, Scaled, scale

DECIMALS_MAX: Final = POWERS.size - 1
_DECIMALS: Final = (DECIMALS_MAX, 4, 0)
"""Tried in this order, fewer for the sake of larger values: a whole number must stay below 2^53."""


class Figures(NamedTuple):
    """n floats. Where `is_raw`, the float is the next of `bits`; elsewhere it is whole / 10^decimals."""

    decimals: int
    whole: Ints
    """n; where `is_raw` any number that squeezes well."""
    is_raw: Mask
    bits: Ints
    """As many as are raw."""


def figures_of(value: Floats) -> Figures:
    """*value* (not empty) at the decimals that suit most of it."""
    scaled, decimals = _best(value)
    exact = scaled.exact
    if exact.all():
        return Figures(decimals, scaled.wholes.astype(np.int64), ~exact, _NONE)
    filled = np.where(exact, scaled.wholes, scaled.wholes[exact.argmax()] if exact.any() else 0.0)
    return Figures(decimals, filled.astype(np.int64), ~exact, value.view(np.int64)[~exact])


def floats_of(figures: Figures) -> Floats:
    """The floats again. `bits` must be as many as are raw."""
    value: Floats = figures.whole / POWERS[figures.decimals]
    if figures.bits.size:
        value.view(np.int64)[figures.is_raw] = figures.bits
    return value


def _best(value: Floats) -> tuple[Scaled, int]:
    numbers = value.size - np.count_nonzero(np.isnan(value))
    best, most, at = None, -1, 0
    for decimals in _DECIMALS:
        scaled = scale(value, decimals)
        exact = int(np.count_nonzero(scaled.exact))
        if exact > most:
            best, most, at = scaled, exact, decimals
        if exact == numbers:
            break
    assert best is not None
    return best, at


_NONE: Final = np.empty(0, np.int64)
