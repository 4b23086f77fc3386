"""What a test remembers: named columns of numbers, a slot each, copied out to look and put back to learn."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from penstock.model.batch import Floats

Slots = NDArray[np.intp]
_GROW_MIN = 256


class Patch(NamedTuple):
    """The next state of some slots: `columns[field, i]` belongs to `slots[i]`; each slot once."""

    slots: Slots
    columns: Floats


class Memory:
    """float64 columns, one row of the matrix a field. Microseconds since 1970 fit a float64 exactly until 2255."""

    def __init__(self, fields: Mapping[str, float]) -> None:
        """*fields* gives each column's name and what it holds before anything is known."""
        self.names = tuple(fields)
        self._blank = np.array(list(fields.values()))[:, None]
        self._columns: Floats = np.empty((len(fields), 0))

    def reserve(self, slots: int) -> None:
        """Room for *slots* slots; new ones are blank."""
        size = self._columns.shape[1]
        if slots > size:
            fresh = np.repeat(self._blank, max(_GROW_MIN, slots, 2 * size) - size, axis=1)
            self._columns = np.concatenate([self._columns, fresh], axis=1)

    def row(self, name: str, slots: Slots | slice) -> Floats:
        """One field of *slots*; a copy unless *slots* is a slice."""
        row: Floats = self._columns[self.names.index(name)]
        return row[slots]

    def take(self, slots: Slots) -> Patch:
        """A copy to work on."""
        return Patch(slots, np.take(self._columns, slots, axis=1))

    def put(self, patch: Patch) -> None:
        """Take over the state of the patch's slots."""
        self._columns[:, patch.slots] = patch.columns
