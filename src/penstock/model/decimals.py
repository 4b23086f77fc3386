"""Floats that were written as decimals: the whole numbers behind them, checked to the bit."""

from typing import Final, NamedTuple

import numpy as np

from penstock.model.batch import Floats, Mask

POWERS: Final = 10.0 ** np.arange(10)
"""By decimals: what a whole number is divided by. Exact as floats, so that the quotient is rounded only once."""
_WHOLE_MAX: Final = 2.0**53


class Scaled(NamedTuple):
    """Whole numbers (as floats), and where whole / 10^decimals gives every bit of the value back."""

    wholes: Floats
    exact: Mask


def scale(value: Floats, decimals: int) -> Scaled:
    """*value* by 10^*decimals*, rounded. -0.0, NaN and what leaves the whole numbers below 2^53 are never exact."""
    power = POWERS[decimals]
    with np.errstate(all="ignore"):
        wholes: Floats = np.rint(value * power)
        wholes += 0.0  # -0.0 is no whole number
        exact: Mask = (wholes / power).view(np.int64) == value.view(np.int64)
        exact &= np.abs(wholes) < _WHOLE_MAX
    return Scaled(wholes, exact)
