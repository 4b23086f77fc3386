"""Redis: newest readings and windows of every tag, and the node that holds them."""

from itertools import dropwhile
from typing import Final, NamedTuple

from penstock.capacity import measured as m
from penstock.capacity.demand import Demand
from penstock.store.window import BUCKET, SECOND_US, TIERS


class Node(NamedTuple):
    """Of ElastiCache. *price*: the key whose price it costs *multiple* times."""

    name: str
    gib: float
    price: str
    multiple: int


NODES: Final = (
    Node("cache.t4g.micro", 0.5, "redis_t4g_micro", 1),
    Node("cache.t4g.small", 1.37, "redis_t4g_small", 1),
    Node("cache.t4g.medium", 3.09, "redis_t4g_medium", 1),
    Node("cache.r7g.large", 13.07, "redis_r7g_large", 1),
    Node("cache.r7g.xlarge", 26.32, "redis_r7g_large", 2),
    Node("cache.r7g.2xlarge", 52.82, "redis_r7g_large", 4),
    Node("cache.r7g.4xlarge", 105.81, "redis_r7g_large", 8),
    Node("cache.r7g.8xlarge", 209.55, "redis_r7g_large", 16),
    Node("cache.r7g.16xlarge", 419.09, "redis_r7g_large", 32),
)


class Cache(NamedTuple):
    """What Redis holds at the peak, and where."""

    gib: float
    node: Node
    """The smallest that holds it, or the largest there is."""


def cache_for(demand: Demand, least: str) -> Cache:
    """*least*: the smallest node that is taken."""
    gib = memory_gib(demand)
    taken = dropwhile(lambda node: node.name != least, NODES)
    fitting = (node for node in taken if node.gib * m.REDIS_USABLE >= gib)
    return Cache(gib, next(fitting, NODES[-1]))


def memory_gib(demand: Demand) -> float:
    stored = demand.tags * (m.LATEST_BYTES + window_bytes(demand.peak / demand.tags))
    return (m.REDIS_BASE_MB * 1e6 + stored * m.REDIS_OVERHEAD) / 2**30


def window_bytes(readings_per_s: float) -> float:
    """Of a tag that speaks so often: a bucket an interval, or one a reading where it speaks more seldom."""
    spans = ((tier.span_us / tier.width_us, tier.span_us / SECOND_US) for tier in TIERS)
    return BUCKET.itemsize * sum(min(intervals, readings_per_s * span_s) for intervals, span_s in spans)
