"""The table of operations, and how a call is taken apart, done and answered."""

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from kinesis_fake import consumers, data, fanout, shards, streams, wire
from kinesis_fake.account import Account
from kinesis_fake.errors import ApiError
from kinesis_fake.fanout import Subscription


class Operation(NamedTuple):
    decoder: msgspec.json.Decoder[Any]
    do: Callable[[Account, Any], object]


def _operation(call: type[Any], do: Callable[[Account, Any], object]) -> Operation:
    return Operation(msgspec.json.Decoder(call), do)


OPERATIONS = {
    "CreateStream": _operation(wire.CreateStream, streams.create_stream),
    "DecreaseStreamRetentionPeriod": _operation(wire.ChangeRetention, streams.decrease_retention),
    "DeleteStream": _operation(wire.DeleteStream, streams.delete_stream),
    "DeregisterStreamConsumer": _operation(wire.OnConsumer, consumers.deregister),
    "DescribeStream": _operation(wire.DescribeStream, streams.describe_stream),
    "DescribeStreamConsumer": _operation(wire.OnConsumer, consumers.describe),
    "DescribeStreamSummary": _operation(wire.OnStream, streams.describe_stream_summary),
    "GetRecords": _operation(wire.GetRecords, data.get_records),
    "GetShardIterator": _operation(wire.GetShardIterator, data.get_shard_iterator),
    "IncreaseStreamRetentionPeriod": _operation(wire.ChangeRetention, streams.increase_retention),
    "ListShards": _operation(wire.ListShards, shards.list_shards),
    "ListStreamConsumers": _operation(wire.ListStreamConsumers, consumers.list_all),
    "ListStreams": _operation(wire.ListStreams, streams.list_streams),
    "MergeShards": _operation(wire.MergeShards, shards.merge_shards),
    "PutRecord": _operation(wire.PutRecord, data.put_record),
    "PutRecords": _operation(wire.PutRecords, data.put_records),
    "RegisterStreamConsumer": _operation(wire.RegisterStreamConsumer, consumers.register),
    "SplitShard": _operation(wire.SplitShard, shards.split_shard),
    "StartStreamEncryption": _operation(wire.Encryption, streams.start_encryption),
    "StopStreamEncryption": _operation(wire.Encryption, streams.stop_encryption),
    "SubscribeToShard": _operation(wire.SubscribeToShard, fanout.subscribe),
    "UpdateMaxRecordSize": _operation(wire.UpdateMaxRecordSize, streams.update_max_record_size),
    "UpdateShardCount": _operation(wire.UpdateShardCount, shards.update_shard_count),
}


def answer(account: Account, name: str, body: bytes) -> bytes | Subscription:
    """Do the operation. Raises ApiError for a refusal, ConnectionCut for no answer at all."""
    account.calls[name] += 1
    try:
        operation = _find(name)
        account.trouble.refuse(name)
        done = operation.do(account, _decoded(operation, body))
    except ApiError as error:
        account.refusals[error.code] += 1
        raise
    account.trouble.lose_reply(name)
    if isinstance(done, Subscription):
        return done
    return b"" if done is None else msgspec.json.encode(done)


def _find(name: str) -> Operation:
    if name not in OPERATIONS:
        raise ApiError("UnknownOperationException", f"The operation {name} is not known here.")
    return OPERATIONS[name]


def _decoded(operation: Operation, body: bytes) -> object:
    try:
        return operation.decoder.decode(body)
    except msgspec.ValidationError as error:
        raise ApiError("ValidationException", f"1 validation error detected: {error}") from None
    except msgspec.MsgspecError as error:
        raise ApiError("SerializationException", str(error)) from None
