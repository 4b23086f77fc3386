"""What the worker knows of its tags, as arrays with a slot each: the hot path looks nothing up one by one."""

from collections.abc import Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from penstock.model.tag import Criticality, Tag, TagConfig

HOLDS_UNKNOWN: Final = 0
HOLDS_VALUE: Final = 1
HOLDS_STATE: Final = 2
_HOLDS: Final = {None: HOLDS_UNKNOWN, "value": HOLDS_VALUE, "state": HOLDS_STATE}

_FLOATS: Final = (
    "ll", "l", "h", "hh", "deadband", "on_delay_s", "off_delay_s", "rate_max_per_s", "expected_interval_s",
    "window_days",
)  # fmt: skip


class TagTable:
    """Slots 0..len-1, one a tag, in order of arrival; a slot never moves. Unset numbers are NaN.

    Arrays have room to spare: only their first len(table) elements mean something. `unit` is a number of
    `unit_ids`, 0 where the tag has none. `version` is set by whoever knows up to which change all are here: a
    tag's own version does not tell, as an older change may have been committed unseen.
    """

    def __init__(self, tags: Iterable[Tag] = ()) -> None:
        self.version = 0
        self.paths: list[str] = []
        self.configs: list[TagConfig] = []
        self.slot_of: dict[str, int] = {}
        self.tag_id: NDArray[np.int32] = np.zeros(0, np.int32)
        self.holds: NDArray[np.int8] = np.zeros(0, np.int8)
        self.critical: NDArray[np.bool_] = np.zeros(0, np.bool_)
        self.slow: NDArray[np.bool_] = np.zeros(0, np.bool_)
        self.unit: NDArray[np.int32] = np.zeros(0, np.int32)
        self.unit_ids: dict[str | None, int] = {None: 0}
        self.window_days_min = np.inf
        self.ll = self.l = self.h = self.hh = np.zeros(0)
        self.deadband = self.on_delay_s = self.off_delay_s = self.rate_max_per_s = np.zeros(0)
        self.expected_interval_s = self.window_days = np.zeros(0)
        self._grow(256)
        self.put(tags)

    def __len__(self) -> int:
        return len(self.paths)

    def put(self, tags: Iterable[Tag]) -> None:
        """Add tags, or take over what changed of those already here."""
        for tag in tags:
            slot = self.slot_of.get(tag.path)
            if slot is None:
                slot = self._new_slot(tag.path)
            self._fill(slot, tag)

    def _new_slot(self, path: str) -> int:
        slot = self.slot_of[path] = len(self.paths)
        self.paths.append(path)
        self.configs.append(TagConfig())
        if slot >= self.tag_id.size:
            self._grow(2 * slot)
        return slot

    def _grow(self, size: int) -> None:
        for name in ("tag_id", "holds", "critical", "slow", "unit", *_FLOATS):
            old = getattr(self, name)
            new = np.full(size, np.nan) if name in _FLOATS else np.zeros(size, old.dtype)
            new[: old.size] = old
            setattr(self, name, new)

    def _fill(self, slot: int, tag: Tag) -> None:
        config = tag.config
        self.configs[slot] = config
        self.tag_id[slot] = tag.tag_id
        self.holds[slot] = _HOLDS[tag.holds]
        self.critical[slot] = config.criticality is Criticality.CRITICAL
        self.slow[slot] = config.slow
        self.unit[slot] = self.unit_ids.setdefault(config.unit, len(self.unit_ids))
        if config.window_days is not None:
            self.window_days_min = min(self.window_days_min, config.window_days)
        for name in _FLOATS:
            value = getattr(config.limits if name in ("ll", "l", "h", "hh") else config, name)
            getattr(self, name)[slot] = np.nan if value is None else value
