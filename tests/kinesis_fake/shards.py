"""Operations on shards: listing, splitting, merging, scaling."""

from collections.abc import Callable

from kinesis_fake.account import Account
from kinesis_fake.errors import in_use, invalid, not_found
from kinesis_fake.shard import Shard
from kinesis_fake.stream import Stream
from kinesis_fake.tokens import PageToken, open_page, seal
from kinesis_fake.wire import ListShards, MergeShards, OnStream, ShardFilter, SplitShard, UpdateShardCount


def list_shards(account: Account, call: ListShards) -> dict[str, object]:
    call = _turn_page(account, call)
    stream = account.stream(call)
    account.limit_bucket(stream.list_calls, "ListShards", account.limits.list_shards_per_s)
    shards = [shard for shard in stream.shards if shard.id > (call.exclusive_start_shard_id or "")]
    chosen = _filtered(account, stream, shards, call.shard_filter)
    page = chosen[: call.max_results]
    answer: dict[str, object] = {"Shards": [described(shard) for shard in page]}
    if len(page) < len(chosen):
        answer["NextToken"] = _next_page(account, stream, page[-1], call.shard_filter)
    return answer


def split_shard(account: Account, call: SplitShard) -> None:
    account.limit_calls("SplitShard", account.limits.reshards_per_s)
    stream = _reshardable(account, call)
    shard = _open(account, stream, call.shard_to_split)
    at = int(call.new_starting_hash_key)
    if not shard.low + 1 < at < shard.high:
        raise invalid(
            f"NewStartingHashKey {at} used in SplitShard() on shard {shard.id} in stream {stream.name} under account "
            f"{account.number} is not both greater than one plus the shard's StartingHashKey {shard.low} and less "
            f"than the shard's EndingHashKey {shard.high}."
        )
    _reshard(account, stream, lambda: stream.split(shard, at, account.now_ms()))


def merge_shards(account: Account, call: MergeShards) -> None:
    account.limit_calls("MergeShards", account.limits.reshards_per_s)
    stream = _reshardable(account, call)
    first = _open(account, stream, call.shard_to_merge)
    second = _open(account, stream, call.adjacent_shard_to_merge)
    if first.high + 1 != second.low:
        raise invalid(
            f"Shards {first.id} and {second.id} in stream {stream.name} under account {account.number} are not an "
            "adjacent pair of shards eligible for merging"
        )
    _reshard(account, stream, lambda: stream.merge(first, second, account.now_ms()))


def update_shard_count(account: Account, call: UpdateShardCount) -> dict[str, object]:
    stream = _reshardable(account, call)
    current, target = len(stream.open_shards), call.target_shard_count
    if target > 2 * current or 2 * target < current:
        bound = "over double" if target > current else "below half"
        raise invalid(f"UpdateShardCount cannot scale {bound} your current open shard count {current}: {target}.")
    _reshard(account, stream, lambda: stream.scale(target, account.now_ms()))
    return {
        "StreamName": stream.name,
        "StreamARN": stream.arn,
        "CurrentShardCount": current,
        "TargetShardCount": target,
    }


def described(shard: Shard) -> dict[str, object]:
    """As ListShards and DescribeStream show it."""
    numbers = {"StartingSequenceNumber": str(shard.starting)}
    if shard.ending is not None:
        numbers["EndingSequenceNumber"] = str(shard.ending)
    parents = dict(zip(("ParentShardId", "AdjacentParentShardId"), shard.parents, strict=False))
    return {"ShardId": shard.id, **parents, "HashKeyRange": _hash_keys(shard), "SequenceNumberRange": numbers}


def children_of(shard: Shard) -> list[dict[str, object]]:
    """As the end of a shard shows them."""
    return [
        {"ShardId": child.id, "ParentShards": list(child.parents), "HashKeyRange": _hash_keys(child)}
        for child in shard.children
    ]


def _hash_keys(shard: Shard) -> dict[str, str]:
    return {"StartingHashKey": str(shard.low), "EndingHashKey": str(shard.high)}


def _filtered(account: Account, stream: Stream, shards: list[Shard], wanted: ShardFilter | None) -> list[Shard]:
    if wanted is None:
        return shards
    at_ms = _filter_time_ms(account, stream, wanted)
    keep: dict[str, Callable[[Shard], bool]] = {
        "AT_LATEST": lambda shard: shard.open,
        "FROM_TRIM_HORIZON": lambda shard: True,
        "AT_TRIM_HORIZON": lambda shard: _open_at(shard, at_ms),
        "AT_TIMESTAMP": lambda shard: _open_at(shard, at_ms),
        "FROM_TIMESTAMP": lambda shard: shard.closed_ms is None or shard.closed_ms >= at_ms,
        "AFTER_SHARD_ID": lambda shard: shard.id > (wanted.shard_id or ""),
    }
    return [shard for shard in shards if keep[wanted.type](shard)]


def _filter_time_ms(account: Account, stream: Stream, wanted: ShardFilter) -> float:
    horizon_ms = max(account.horizon_ms(stream), stream.created_ms)
    if wanted.type == "AFTER_SHARD_ID" and wanted.shard_id is None:
        raise invalid("ShardId must be provided for the filter AFTER_SHARD_ID.")
    if wanted.type not in {"AT_TIMESTAMP", "FROM_TIMESTAMP"}:
        return horizon_ms
    if wanted.timestamp is None:
        raise invalid(f"Timestamp must be provided for the filter {wanted.type}.")
    return max(wanted.timestamp * 1000, horizon_ms)


def _open_at(shard: Shard, at_ms: float) -> bool:
    return shard.born_ms <= at_ms and (shard.closed_ms is None or shard.closed_ms >= at_ms)


def _turn_page(account: Account, call: ListShards) -> ListShards:
    """The call that a NextToken continues."""
    if call.next_token is None:
        return call
    if call.stream_name or call.exclusive_start_shard_id:
        raise invalid("NextToken and StreamName cannot be provided together.")
    page = open_page(call.next_token, account.now_ms(), account.timing.token_s)
    wanted = page.filter and ShardFilter(type=page.filter[0], shard_id=page.filter[1], timestamp=page.filter[2])
    return ListShards(
        stream_name=page.stream,
        exclusive_start_shard_id=page.after,
        max_results=call.max_results,
        shard_filter=wanted or None,
    )


def _next_page(account: Account, stream: Stream, last: Shard, wanted: ShardFilter | None) -> str:
    kept = wanted and (wanted.type, wanted.shard_id, wanted.timestamp)
    return seal(PageToken(stream.name, last.id, kept or None, account.now_ms()))


def _reshardable(account: Account, call: OnStream) -> Stream:
    stream = account.stream(call)
    if stream.status != "ACTIVE":
        raise in_use(
            f"Stream {stream.name} under account {account.number} not ACTIVE, instead in state {stream.status}"
        )
    if stream.mode != "PROVISIONED":
        raise invalid("Only streams of mode PROVISIONED can be resharded.")
    return stream


def _open(account: Account, stream: Stream, shard_id: str) -> Shard:
    shard = stream.find(shard_id)
    if shard is None:
        raise not_found(f"Could not find shard {shard_id} in stream {stream.name} under account {account.number}.")
    if not shard.open:
        raise invalid(f"Shard {shard_id} in stream {stream.name} under account {account.number} is closed.")
    return shard


def _reshard(account: Account, stream: Stream, change: Callable[[], object]) -> None:
    """The stream is UPDATING for a while, and only then the shards change."""
    stream.status = "UPDATING"

    def finish() -> None:
        if stream.status == "UPDATING":
            change()
            stream.status = "ACTIVE"

    account.after(account.timing.update_s, finish)
