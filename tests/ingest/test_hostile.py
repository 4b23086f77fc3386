"""No input makes an error that is not ours; the long form is `proofs/p12_inputs.py`."""

import random

import numpy as np

from ingest.hostile import hostile
from penstock.errors import Rejected
from penstock.ingest.codec import Caps, decode, render
from penstock.model.tag import is_path

INPUTS = 20_000


def test_no_input_gets_past_the_rules_or_raises_what_is_not_ours():
    chance = random.Random(7)  # the same inputs every time: a failure can be looked at
    taken = refused = decoded_bodies = 0
    for _ in range(INPUTS):
        body, kind = hostile(chance)
        try:
            decoded = decode(body, kind, Caps(items_max=50))
        except Rejected:
            continue
        decoded_bodies += 1
        taken, refused = taken + len(decoded.batch), refused + decoded.refused
        assert len(decoded.batch) + decoded.refused == decoded.items
        assert all(map(is_path, decoded.batch.paths))
        assert not np.isinf(decoded.batch.value).any()
        if len(decoded.batch):
            again = decode(render(decoded.batch, 0), "application/json", Caps())
            assert again.batch.ts[0] == decoded.batch.ts[0]
            assert again.batch.value[:1].tobytes() == decoded.batch.value[:1].tobytes()
    assert decoded_bodies > 0.3 * INPUTS
    assert taken > 1_000
    assert refused > 1_000
