"""Files of readings sent through the front door, as if they came from sensors."""

from penstock.replay.feed import ReplayOptions, Summary, replay
from penstock.replay.table import Reading, read_table

__all__ = ["Reading", "ReplayOptions", "Summary", "read_table", "replay"]
