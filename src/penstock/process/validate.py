"""Hold back what breaks the contract of its tag: accepted readings are never dropped, they are quarantined."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from penstock.model.batch import NO_TEXT, Mask
from penstock.process.columns import Columns
from penstock.process.intake import NO_ROOM, NO_SLOT, Intake
from penstock.process.outcome import Outcome
from penstock.process.tags import HOLDS_STATE, HOLDS_UNKNOWN, HOLDS_VALUE, TagTable

DAY_US: Final = 86_400_000_000

REASONS: Final = {
    "unknown_tag": "No tag of this path is registered, and registering is switched off or full (process.tags_max).",
    "states_full": "The state text is new, and there is no room for more (process.states_max).",
    "ts_ahead": "The source time is further ahead than process.ahead_s.",
    "ts_too_old": "The source time is older than the tag's window (window_days).",
    "unit_mismatch": "The reading's unit is not the tag's.",
    "kind_mismatch": "The tag holds values and a state came, or the other way round.",
}
"""Every reason of quarantine, as the reference lists it."""


@dataclass(frozen=True, slots=True)
class Validate:
    """The contract every reading is held to. Times in the units of their names."""

    ahead_s: float
    window_days: float

    def __call__(self, intake: Intake, tags: TagTable, now_us: int, outcome: Outcome) -> Columns:
        """The readings that keep their tag's contract; the others are held in *outcome*, each for its first reason."""
        columns, free = intake.columns, np.ones(len(intake.columns), np.bool_)
        for reason, broken in (
            ("unknown_tag", columns.slot == NO_SLOT),
            ("states_full", columns.state == NO_ROOM),
            ("ts_ahead", columns.ts > now_us + int(self.ahead_s * 1e6)),
            ("ts_too_old", columns.ts < now_us - self._window_us(columns, tags)),
            ("unit_mismatch", _unit_differs(intake, tags)),
        ):
            free = _hold(reason, broken & free, free, columns, outcome)
        free = _hold("kind_mismatch", _kind_differs(columns, tags, free) & free, free, columns, outcome)
        return columns if free.all() else columns.pick(free)

    def _window_us(self, columns: Columns, tags: TagTable) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        days = tags.window_days[columns.slot]
        return (np.where(np.isnan(days), self.window_days, days) * DAY_US).astype(np.int64)


def _hold(reason: str, broken: Mask, free: Mask, columns: Columns, outcome: Outcome) -> Mask:
    if not broken.any():
        return free
    outcome.hold(reason, columns.pick(broken))
    return free & ~broken


def _unit_differs(intake: Intake, tags: TagTable) -> Mask:
    """True where a reading names a unit that is not its tag's. A tag without a unit takes any."""
    if not intake.units:
        return np.zeros(len(intake.columns), np.bool_)
    numbers = np.array([tags.unit_ids.get(unit, -1) for unit in intake.units], np.int32)
    own = tags.unit[intake.columns.slot]
    differs: Mask = (intake.unit != NO_TEXT) & (own != 0) & (own != numbers[intake.unit])
    return differs


def first_kinds(columns: Columns, tags: TagTable) -> dict[int, int]:
    """What tags that have stored nothing yet will hold, by the first reading of each that has a value or a state."""
    holding = np.where(columns.state >= 0, HOLDS_STATE, np.where(np.isnan(columns.value), HOLDS_UNKNOWN, HOLDS_VALUE))
    open_ = (columns.slot >= 0) & (holding != HOLDS_UNKNOWN)
    open_[open_] = tags.holds[columns.slot[open_]] == HOLDS_UNKNOWN
    slots, first = np.unique(columns.slot[open_], return_index=True)
    return dict(zip(slots.tolist(), holding[open_][first].tolist(), strict=True))


def _kind_differs(columns: Columns, tags: TagTable, free: Mask) -> Mask:
    """True where a tag of values gets a state, or the other way round; the first reading of a new tag decides."""
    differs = np.zeros(len(columns), np.bool_)
    at = np.flatnonzero(free)
    part = columns.pick(free)
    holds = tags.holds[part.slot]
    fresh = first_kinds(part, tags)
    if fresh:
        holds = holds.copy()
        slots = np.array(sorted(fresh), np.int64)
        found = np.searchsorted(slots, part.slot)
        found[found == slots.size] = 0
        match = slots[found] == part.slot
        holds[match] = np.array([fresh[slot] for slot in slots.tolist()], np.int8)[found[match]]
    differs[at] = ((part.state >= 0) & (holds == HOLDS_VALUE)) | (~np.isnan(part.value) & (holds == HOLDS_STATE))
    return differs
