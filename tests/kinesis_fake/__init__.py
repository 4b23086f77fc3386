"""Kinesis on one machine: the real protocol, the real limits and endings, in memory, with faults on request.

    async with FakeKinesis(timing=QUICK) as kinesis:
        client(endpoint_url=kinesis.url)

or, beside the thing measured, `PYTHONPATH=tests python -m kinesis_fake --port 4567`. Where Kinesis promises nothing
(order across shards, one delivery), neither does this: a consumer that is right here needs no luck there.
"""

from kinesis_fake.faults import Faults
from kinesis_fake.limits import UNLIMITED, Limits
from kinesis_fake.server import FakeKinesis
from kinesis_fake.timing import QUICK, Timing

__all__ = ["QUICK", "UNLIMITED", "FakeKinesis", "Faults", "Limits", "Timing"]
