"""Operations on whole streams: making, describing, changing, deleting."""

from kinesis_fake.account import Account
from kinesis_fake.errors import in_use, invalid, limit_exceeded
from kinesis_fake.shards import described
from kinesis_fake.stream import Stream
from kinesis_fake.wire import (
    ChangeRetention,
    CreateStream,
    DeleteStream,
    DescribeStream,
    Encryption,
    ListStreams,
    OnStream,
    UpdateMaxRecordSize,
)

KIB = 1024
HOURS_MIN, HOURS_MAX = 24, 8_760
ON_DEMAND_SHARDS = 4
SHARDS_MAX = 10_000


def create_stream(account: Account, call: CreateStream) -> None:
    name = call.stream_name
    if name in account.streams:
        raise in_use(f"Stream {name} under account {account.number} already exists.")
    mode = call.stream_mode_details.stream_mode if call.stream_mode_details else "PROVISIONED"
    if mode == "PROVISIONED" and call.shard_count is None:
        raise invalid("ShardCount is required for a stream of mode PROVISIONED.")
    shard_count = call.shard_count or ON_DEMAND_SHARDS
    if shard_count > SHARDS_MAX:
        raise limit_exceeded(f"This request would exceed the shard limit for the account {account.number}.")
    stream = Stream(name, account.arn(name), account.now_ms(), mode, call.max_record_size_in_kib * KIB)
    account.streams[name] = stream

    def finish() -> None:
        stream.divide(shard_count)
        stream.status = "ACTIVE"

    account.after(account.timing.create_s, finish)


def delete_stream(account: Account, call: DeleteStream) -> None:
    stream = account.stream(call)
    if stream.consumers and not call.enforce_consumer_deletion:
        raise in_use(f"Stream {stream.name} under account {account.number} has registered consumers.")
    stream.status = "DELETING"

    def finish() -> None:
        account.streams.pop(stream.name, None)
        for (consumer_arn, _), seat in list(account.subscriptions.items()):
            if consumer_arn.startswith(f"{stream.arn}/"):
                seat.give_up("ResourceNotFoundException", f"Stream {stream.name} not found.")

    account.after(account.timing.delete_s, finish)


def list_streams(account: Account, call: ListStreams) -> dict[str, object]:
    names = sorted(name for name in account.streams if name > (call.exclusive_start_stream_name or ""))
    return {"StreamNames": names[: call.limit], "HasMoreStreams": len(names) > call.limit}


def describe_stream(account: Account, call: DescribeStream) -> dict[str, object]:
    account.limit_calls("DescribeStream", account.limits.describe_per_s)
    stream = account.stream(call)
    after = call.exclusive_start_shard_id or ""
    shards = [described(shard) for shard in stream.shards if shard.id > after]
    return {
        "StreamDescription": {
            **_summary(stream),
            "Shards": shards[: call.limit],
            "HasMoreShards": len(shards) > call.limit,
        }
    }


def describe_stream_summary(account: Account, call: OnStream) -> dict[str, object]:
    account.limit_calls("DescribeStreamSummary", account.limits.describe_summary_per_s)
    stream = account.stream(call)
    counts = {"OpenShardCount": len(stream.open_shards), "ConsumerCount": len(stream.consumers)}
    size = {"MaxRecordSizeInKiB": stream.record_bytes_max // KIB}
    return {"StreamDescriptionSummary": {**_summary(stream), **counts, **size}}


def increase_retention(account: Account, call: ChangeRetention) -> None:
    """What has already expired stays so."""
    stream = _active(account, call)
    if not stream.retention_hours <= call.retention_period_hours <= HOURS_MAX:
        raise invalid(f"Requested retention period ({call.retention_period_hours} hours) is too short or too long.")
    stream.retention_hours = call.retention_period_hours


def decrease_retention(account: Account, call: ChangeRetention) -> None:
    stream = _active(account, call)
    if not HOURS_MIN <= call.retention_period_hours <= stream.retention_hours:
        raise invalid(f"Requested retention period ({call.retention_period_hours} hours) is too short or too long.")
    stream.retention_hours = call.retention_period_hours


def update_max_record_size(account: Account, call: UpdateMaxRecordSize) -> None:
    _active(account, call).record_bytes_max = call.max_record_size_in_kib * KIB


def start_encryption(account: Account, call: Encryption) -> None:
    """Marks the records that come from now on; nothing is really encrypted."""
    _active(account, call).key_id = call.key_id


def stop_encryption(account: Account, call: Encryption) -> None:
    _active(account, call).key_id = None


def _summary(stream: Stream) -> dict[str, object]:
    return {
        "StreamName": stream.name,
        "StreamARN": stream.arn,
        "StreamStatus": stream.status,
        "StreamModeDetails": {"StreamMode": stream.mode},
        "RetentionPeriodHours": stream.retention_hours,
        "StreamCreationTimestamp": stream.created_ms / 1000,
        "EnhancedMonitoring": [{"ShardLevelMetrics": []}],
        "EncryptionType": stream.encryption or "NONE",
        **({"KeyId": stream.key_id} if stream.key_id else {}),
    }


def _active(account: Account, call: OnStream) -> Stream:
    stream = account.stream(call)
    if stream.status != "ACTIVE":
        raise in_use(
            f"Stream {stream.name} under account {account.number} not ACTIVE, instead in state {stream.status}"
        )
    return stream
