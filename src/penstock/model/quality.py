"""How far a value can be trusted: an OPC UA status code, read by its severity (OPC 10000-4, 7.39)."""

from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

SEVERITY_SHIFT: Final = 30
CODE_MAX: Final = 2**32 - 1


class Quality(IntEnum):
    """The three codes that have a name on the wire; any other 32-bit status code is kept as a number."""

    GOOD = 0x0000_0000
    UNCERTAIN = 0x4000_0000
    BAD = 0x8000_0000


def is_bad(codes: NDArray[np.int64]) -> NDArray[np.bool_]:
    """True where severity is bad (10) or reserved (11)."""
    return codes >= Quality.BAD


def name_of(code: int) -> str | int:
    """`good`, `uncertain` or `bad` for the plain codes; the number itself for every other."""
    match code:
        case Quality.GOOD:
            return "good"
        case Quality.UNCERTAIN:
            return "uncertain"
        case Quality.BAD:
            return "bad"
        case _:
            return code
