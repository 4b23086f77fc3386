import numpy as np

from make import tag
from penstock.model.tag import Criticality, Limits
from penstock.process.tags import HOLDS_STATE, HOLDS_UNKNOWN, HOLDS_VALUE, TagTable


def test_a_slot_never_moves_while_the_table_grows() -> None:
    table = TagTable()
    table.put(tag(1_000 - i, f"a/t{i}", limits=Limits(h=float(i))) for i in range(1_000))
    assert len(table) == 1_000
    for i in range(1_000):
        slot = table.slot_of[f"a/t{i}"]
        assert (slot, table.paths[slot], table.tag_id[slot], table.h[slot]) == (i, f"a/t{i}", 1_000 - i, float(i))


def test_unset_numbers_are_nan_and_take_no_part_in_comparisons() -> None:
    table = TagTable([tag(1, "a/x")])
    for name in ("ll", "l", "h", "hh", "deadband", "rate_max_per_s", "expected_interval_s", "window_days"):
        assert np.isnan(getattr(table, name)[0])
    assert table.on_delay_s[0] == table.off_delay_s[0] == 0.0
    assert table.unit[0] == 0


def test_changes_are_taken_over_in_place() -> None:
    table = TagTable([tag(1, "a/x"), tag(2, "a/y", "state")])
    table.put([tag(1, "a/x", "value", unit="bar", slow=True, criticality=Criticality.CRITICAL, window_days=1.5)])
    assert (len(table), table.holds[0], table.holds[1]) == (2, HOLDS_VALUE, HOLDS_STATE)
    assert table.critical[0]
    assert table.slow[0]
    assert not table.critical[1]
    assert table.unit[0] == table.unit_ids["bar"]
    assert table.window_days[0] == table.window_days_min == 1.5
    table.put([tag(1, "a/x")])
    assert table.holds[0] == HOLDS_UNKNOWN
    assert np.isnan(table.window_days[0])


def test_a_tags_own_version_says_nothing_of_older_changes_not_yet_seen() -> None:
    table = TagTable()
    table.put([tag(8, "a/x")])
    assert table.version == 0
