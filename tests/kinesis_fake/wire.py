"""The bodies of calls and answers, under the names and constraints of the service's model."""

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType, field

from kinesis_fake.shard import Record

Name = Annotated[str, Meta(min_length=1, max_length=128, pattern=r"^[a-zA-Z0-9_.-]+$")]
Arn = Annotated[str, Meta(min_length=1, max_length=2048)]
PartitionKey = Annotated[str, Meta(min_length=1, max_length=256)]
HashKey = Annotated[str, Meta(pattern=r"^(0|([1-9]\d{0,38}))$")]
SequenceNumber = Annotated[str, Meta(pattern=r"^(0|([1-9]\d{0,128}))$")]
Page = Annotated[int, Meta(ge=1, le=10_000)]
Count = Annotated[int, Meta(ge=1)]
Position = Literal["AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER", "TRIM_HORIZON", "LATEST", "AT_TIMESTAMP"]
Filter = Literal[
    "AFTER_SHARD_ID", "AT_TRIM_HORIZON", "FROM_TRIM_HORIZON", "AT_LATEST", "AT_TIMESTAMP", "FROM_TIMESTAMP"
]


class Call(msgspec.Struct, rename="pascal", kw_only=True):
    """Unknown fields are ignored, as the service does."""


class OnStream(Call, kw_only=True):
    """Names a stream, by name or ARN."""

    stream_name: Name | None = None
    stream_arn: Arn | None = field(default=None, name="StreamARN")


class Mode(Call, kw_only=True):
    stream_mode: Literal["PROVISIONED", "ON_DEMAND"]


class CreateStream(Call, kw_only=True):
    stream_name: Name
    shard_count: Count | None = None
    stream_mode_details: Mode | None = None
    max_record_size_in_kib: Annotated[int, Meta(ge=1024, le=10_240)] = field(default=1024, name="MaxRecordSizeInKiB")


class DeleteStream(OnStream, kw_only=True):
    enforce_consumer_deletion: bool | None = None


class DescribeStream(OnStream, kw_only=True):
    limit: Page = 100
    exclusive_start_shard_id: Name | None = None


class ListStreams(Call, kw_only=True):
    limit: Page = 100
    exclusive_start_stream_name: Name | None = None


class ShardFilter(Call, kw_only=True):
    type: Filter
    shard_id: Name | None = None
    timestamp: float | None = None


class ListShards(OnStream, kw_only=True):
    next_token: str | None = None
    exclusive_start_shard_id: Name | None = None
    max_results: Page = 1_000
    shard_filter: ShardFilter | None = None


class Entry(Call, kw_only=True, gc=False):
    data: str
    partition_key: PartitionKey
    explicit_hash_key: HashKey | None = None


class PutRecord(OnStream, kw_only=True):
    data: str
    partition_key: PartitionKey
    explicit_hash_key: HashKey | None = None


class PutRecords(OnStream, kw_only=True):
    records: Annotated[list[Entry], Meta(min_length=1, max_length=500)]


class GetShardIterator(OnStream, kw_only=True):
    shard_id: Name
    shard_iterator_type: Position
    starting_sequence_number: SequenceNumber | None = None
    timestamp: float | None = None


class GetRecords(Call, kw_only=True):
    shard_iterator: Annotated[str, Meta(min_length=1, max_length=512)]
    limit: Page = 10_000


class SplitShard(OnStream, kw_only=True):
    shard_to_split: Name
    new_starting_hash_key: HashKey


class MergeShards(OnStream, kw_only=True):
    shard_to_merge: Name
    adjacent_shard_to_merge: Name


class UpdateShardCount(OnStream, kw_only=True):
    target_shard_count: Count
    scaling_type: Literal["UNIFORM_SCALING"]


class ChangeRetention(OnStream, kw_only=True):
    retention_period_hours: int


class UpdateMaxRecordSize(OnStream, kw_only=True):
    max_record_size_in_kib: Annotated[int, Meta(ge=1024, le=10_240)] = field(name="MaxRecordSizeInKiB")


class Encryption(OnStream, kw_only=True):
    encryption_type: Literal["KMS", "NONE"]
    key_id: Arn


class OnConsumer(Call, kw_only=True):
    """Names a consumer, by ARN or by stream and name."""

    stream_arn: Arn | None = field(default=None, name="StreamARN")
    consumer_name: Name | None = None
    consumer_arn: Arn | None = field(default=None, name="ConsumerARN")


class RegisterStreamConsumer(Call, kw_only=True):
    stream_arn: Arn = field(name="StreamARN")
    consumer_name: Name


class ListStreamConsumers(Call, kw_only=True):
    stream_arn: Arn = field(name="StreamARN")
    next_token: str | None = None
    max_results: Page = 100


class StartingPosition(Call, kw_only=True):
    type: Position
    sequence_number: SequenceNumber | None = None
    timestamp: float | None = None


class SubscribeToShard(Call, kw_only=True):
    consumer_arn: Arn = field(name="ConsumerARN")
    shard_id: Name
    starting_position: StartingPosition


class Answer(msgspec.Struct, rename="pascal", omit_defaults=True, gc=False):
    """An answer's fields; None is left out."""


class Put(Answer):
    """The fate of one record."""

    shard_id: str | None = None
    sequence_number: str | None = None
    error_code: str | None = None
    error_message: str | None = None
    encryption_type: str | None = None


class PutAll(Answer):
    failed_record_count: int | UnsetType = UNSET
    records: list[Put] | UnsetType = UNSET
    encryption_type: str | None = None


class Records(Answer):
    """One GetRecords answer."""

    records: list[Record] | UnsetType = UNSET
    next_shard_iterator: str | None = None
    millis_behind_latest: int | UnsetType = UNSET
    child_shards: list[dict[str, object]] | None = None


class Event(Answer):
    """One SubscribeToShardEvent. At a shard's end it has no continuation, and the children instead."""

    records: list[Record] | UnsetType = UNSET
    continuation_sequence_number: str | None = None
    millis_behind_latest: int | UnsetType = UNSET
    child_shards: list[dict[str, object]] | UnsetType = UNSET
