"""Doors and workers come to the same ids and the same choice without a word to each other."""

from uuid import UUID, uuid4

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.traces.ids import Sample, ids_of

REQUESTS = st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=50)


@given(st.uuids(), REQUESTS, st.floats(1e-9, 1))
def test_a_worker_picks_what_the_door_took(producer: UUID, requests: list[int], share: float) -> None:
    sample = Sample(share)
    picked = sample.picks(producer, np.array(requests * 2, np.int64))
    assert picked == sorted({request for request in requests if sample.takes(producer, request)})
    assert all(ids_of(producer, request) for request in picked), "whatever a record says"


@given(st.uuids(), REQUESTS)
def test_a_share_of_one_is_everything(producer: UUID, requests: list[int]) -> None:
    assert all(Sample(1.0).takes(producer, request) for request in requests)


@pytest.mark.parametrize("share", [0.5, 0.1, 0.01])
@pytest.mark.parametrize("every", [1, 2, 10, 100])
def test_the_share_is_kept_however_regularly_clients_take_turns(share: float, every: int) -> None:
    sample, producer = Sample(share), uuid4()
    taken = sum(sample.takes(producer, request) for request in range(1, 20_000 * every, every))
    assert taken == pytest.approx(20_000 * share, rel=0.1)


def test_producers_do_not_choose_the_same_requests() -> None:
    requests = np.arange(1, 1_000)
    assert len({tuple(Sample(0.1).picks(uuid4(), requests)) for _ in range(20)}) > 10


def test_ids_are_those_of_ever() -> None:
    """A door of one version and a worker of the next must agree."""
    ids = ids_of(UUID("00112233-4455-6677-8899-aabbccddeeff"), 7)
    assert [f"{one:x}" for one in ids] == IDS
    assert len({one for request in range(1_000) for one in ids_of(uuid4(), request)}) == 3_000


IDS = ["7c49b94714e63e82d22a4df411afc5ce", "beb60db92b8f2f22", "4275f6b758123cda"]
