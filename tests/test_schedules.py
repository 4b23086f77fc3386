"""Whatever the schedule, every reading is stored once; the long form is `proofs/p4_schedules.py`."""

import pytest
from p4_schedules import MUTANTS, bad_of, one
from structlog.testing import capture_logs


def test_no_schedule_of_a_few_is_bad() -> None:
    with capture_logs():
        assert bad_of(("", 0, 60)) == []


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_planted_mutant_is_caught_and_replays_the_same(mutant: str) -> None:
    with capture_logs():
        seed, wrong = next((seed, wrong) for seed in range(100) if (wrong := one(seed, mutant)))
        assert one(seed, mutant) == wrong
