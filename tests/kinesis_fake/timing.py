"""How long things take and live. The defaults are Amazon's, or near what is seen there."""

from dataclasses import dataclass


@dataclass
class Timing:
    """Durations in seconds, settable at run time."""

    create_s: float = 0.5
    """A stream is CREATING."""
    update_s: float = 0.5
    """A stream is UPDATING after a reshard; the old shards take writes until it is over."""
    delete_s: float = 0.5
    """A stream is DELETING."""
    consumer_s: float = 0.5
    """A fan-out consumer is CREATING or DELETING."""
    hour_s: float = 3600.0
    """How long an hour of retention lasts; 0.1 makes the 24 hours of a new stream 2.4 s."""
    iterator_s: float = 300.0
    """Life of a shard iterator."""
    token_s: float = 300.0
    """Life of a NextToken."""
    subscription_s: float = 300.0
    """Life of a SubscribeToShard connection."""
    resubscribe_s: float = 5.0
    """A subscription younger than this cannot be taken over."""
    idle_event_s: float = 5.0
    """A silent subscription sends an empty event this often."""


QUICK = Timing(create_s=0.0, update_s=0.0, delete_s=0.0, consumer_s=0.0)
