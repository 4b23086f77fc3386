"""Named states of the pipeline itself that ask for a person, each with why, and the mend.

Nothing is kept of them: each look says what holds at that moment, from what workers last said of themselves.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from penstock.serve.answers import ConditionAnswer
from penstock.serve.words import told
from penstock.store.standing import ShardStanding, Standing

CONDITIONS: Final = {
    "no_workers": "No worker is alive on a shared stream; critical while readings wait.",
    "readings_lost_to_retention":
        "The stream dropped a shard with readings that nobody had taken (told for 3 days), or is dropping some now.",
    "retention_running_out":
        "What a shard's worker takes next is older than half of what the stream keeps; critical with a quarter left.",
    "shard_stuck": "The holder of a shard has stored nothing, nor seen that there is nothing, for `work.stuck_s`.",
    "shard_unowned": "A shard that anyone could have taken has had no worker for twice `work.lease_s`.",
}  # fmt: skip
LOSS_TOLD: Final = timedelta(days=3)
"""A loss can be mended by nobody here; it is told for so long, over any weekend."""
CRITICAL_LEFT: Final = 0.25
"""Of the retention."""
SEVERITIES: Final = ("critical", "high")

SEND_AGAIN: Final = "send it again from where it is still kept, as with `penstock replay`; `penstock balance` counts it"
NO_WORKERS: Final = (
    "No worker is there to store what comes in.",
    "Start workers (`penstock work`). What the stream keeps meanwhile is stored as soon as one runs.",
)
DROPPED: Final = (
    "The stream dropped readings of this shard that no worker had taken.",
    f"What is gone cannot be had from here: {SEND_AGAIN}.",
)
DROPPING: Final = (
    "What waits in this shard is older than what the stream keeps ({kept}): it is dropping readings now.",
    f"Start workers, or find why they do not get on (`penstock doctor`); then {SEND_AGAIN}.",
)
RUNNING_OUT: Final = (
    "What waits in this shard came up to {age} ago, and the stream keeps it for {kept} only.",
    "Start more workers, or find why this one is slow (`penstock doctor`). To win time, let the stream keep readings"
    " longer and start a worker anew.",
)
UNOWNED: Final = (
    "No worker has this shard, so what comes to it waits.",
    "See why workers leave it in their log, and start one more (`penstock work`).",
)
STUCK: Final = (
    "The worker that has this shard gets nothing done: what comes to it is not stored.",
    "See what it says in its log, and what `penstock doctor` finds of the database; then start it anew.",
)
STUCK_HERE: Final = (
    "Readings wait, and nothing comes of them. They are kept.",
    "Run `penstock doctor`; if it finds nothing, start `penstock up` anew.",
)


def conditions_of(standing: Standing) -> list[ConditionAnswer]:
    """What ails a stream, the worst first; nothing when all is well."""
    found = [*_of_workers(standing), *(it for shard in standing.shards for it in _of_shard(shard, standing))]
    return sorted(found, key=lambda it: SEVERITIES.index(it.severity))  # sorting keeps the order among equals


def _of_workers(standing: Standing) -> Iterator[ConditionAnswer]:
    if standing.workers == 0:
        why, mend = NO_WORKERS
        severity = "critical" if standing.in_flight else "high"
        yield ConditionAnswer("no_workers", severity, None, _told(standing.worker_seen_at), why, mend)


def _of_shard(shard: ShardStanding, standing: Standing) -> Iterator[ConditionAnswer]:
    if shard.lost_at is not None and standing.now - shard.lost_at < LOSS_TOLD:
        yield _condition("readings_lost_to_retention", "critical", shard, shard.lost_at, DROPPED)
    if shard.ended:
        return
    yield from _of_retention(shard, standing)
    if standing.workers != 0:  # without any, that is all there is to say
        yield from _of_work(shard, standing)


def _of_retention(shard: ShardStanding, standing: Standing) -> Iterator[ConditionAnswer]:
    """A shard is dropping, or running out, or neither."""
    behind_s, kept_s = shard.behind_s or 0.0, standing.retention_s
    if kept_s is None or behind_s <= kept_s / 2:
        return
    came_at = standing.now - timedelta(seconds=behind_s)
    figures = {"age": _hours(behind_s), "kept": _hours(kept_s)}
    if behind_s >= kept_s:
        yield _condition("readings_lost_to_retention", "critical", shard, came_at, DROPPING, **figures)
    else:
        severity = "critical" if kept_s - behind_s <= CRITICAL_LEFT * kept_s else "high"
        yield _condition("retention_running_out", severity, shard, came_at, RUNNING_OUT, **figures)


def _of_work(shard: ShardStanding, standing: Standing) -> Iterator[ConditionAnswer]:
    if _longer(standing, shard.free_since, 2 * standing.lease_s):
        yield _condition("shard_unowned", "high", shard, shard.free_since, UNOWNED)
    elif _longer(standing, shard.moved_at, standing.stuck_s):
        words = STUCK if standing.workers is not None else STUCK_HERE
        yield _condition("shard_stuck", "high", shard, shard.moved_at, words)


def _longer(standing: Standing, since: datetime | None, seconds: float) -> bool:
    return since is not None and standing.now - since > timedelta(seconds=seconds)


def _condition(
    name: str, severity: str, shard: ShardStanding, since: datetime | None, words: tuple[str, str], **figures: str
) -> ConditionAnswer:
    why, mend = words
    return ConditionAnswer(name, severity, shard.shard, _told(since), why.format(**figures), mend)


def _told(moment: datetime | None) -> str | None:
    """To the second: no more is known."""
    return None if moment is None else told(moment.replace(microsecond=0))


def _hours(seconds: float) -> str:
    """Whole hours, so that the words stay while the time runs; minutes below two."""
    return f"{seconds // 3_600:.0f} h" if seconds >= 7_200 else f"{seconds // 60:.0f} min"  # noqa: PLR2004  # as said
