"""Hold back what breaks the contract of its tag: accepted readings are never dropped, they are quarantined."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from penstock.model.batch import NO_TEXT, Ints, Mask
from penstock.process.columns import Columns
from penstock.process.intake import NO_ROOM, NO_SLOT, Intake
from penstock.process.outcome import Outcome
from penstock.process.tags import HOLDS_STATE, HOLDS_UNKNOWN, HOLDS_VALUE, TagTable

DAY_US: Final = 86_400_000_000
DAYS_MAX: Final = 50_000_000
"""Longer settings mean the same: for ever."""

REASONS: Final = {
    "unknown_tag": "No tag of this path is registered, and registering is switched off or full (process.tags_max).",
    "states_full": "The state text is new, and there is no room for more (process.states_max).",
    "ts_ahead": "The source time is further ahead than process.ahead_s.",
    "ts_too_old": "The source time is older than window_days: the tag's own, or process.window_days.",
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
            ("ts_ahead", columns.ts > now_us + int(min(self.ahead_s * 1e6, DAYS_MAX * DAY_US))),
            ("ts_too_old", self._too_old(columns, tags, now_us)),
            ("unit_mismatch", _unit_differs(intake, tags)),
        ):
            free = _hold(reason, broken & free, free, columns, outcome)
        free = _hold("kind_mismatch", _kind_differs(columns, tags, free), free, columns, outcome)
        return columns if free.all() else columns.pick(free)

    def _too_old(self, columns: Columns, tags: TagTable, now_us: int) -> Mask:
        shortest = min(self.window_days, tags.window_days_min)
        old: Mask = columns.ts < now_us - int(min(shortest, DAYS_MAX) * DAY_US)
        if tags.window_days_min < np.inf and old.any():
            old &= columns.ts < now_us - self._windows_us(tags.window_days[columns.slot])
        return old

    def _windows_us(self, days: NDArray[np.float64]) -> Ints:
        windows = np.minimum(np.where(np.isnan(days), self.window_days, days), DAYS_MAX) * DAY_US
        return windows.astype(np.int64)


def first_kinds(columns: Columns, tags: TagTable) -> dict[int, int]:
    """By slot: what a tag that holds nothing yet will hold, by its first of *columns* with a value or a state."""
    fresh = (columns.slot >= 0) & (tags.holds[columns.slot] == HOLDS_UNKNOWN)
    if not fresh.any():
        return {}
    holding = _holding(columns)
    fresh &= holding != HOLDS_UNKNOWN
    slots, first = np.unique(columns.slot[fresh], return_index=True)
    return dict(zip(slots.tolist(), holding[fresh][first].tolist(), strict=True))


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


def _kind_differs(columns: Columns, tags: TagTable, free: Mask) -> Mask:
    """True where a tag of values gets a state, or the other way round; the first reading of a new tag decides."""
    holding, holds = _holding(columns), tags.holds[columns.slot]
    differs: Mask = free & (holding != holds) & (holding != HOLDS_UNKNOWN)
    if not differs.any():
        return differs
    fresh = first_kinds(columns.pick(free), tags)
    if fresh:
        decided = tags.holds.copy()
        decided[list(fresh)] = list(fresh.values())
        differs &= holding != decided[columns.slot]
    return differs


def _holding(columns: Columns) -> NDArray[np.int8]:
    """What each reading asks of its tag; a reading without value and state asks nothing."""
    kinds: NDArray[np.int8] = np.where(np.isnan(columns.value), np.int8(HOLDS_UNKNOWN), np.int8(HOLDS_VALUE))
    kinds[columns.state != NO_TEXT] = HOLDS_STATE
    return kinds
