"""Operations on records: PutRecord, PutRecords, GetShardIterator, GetRecords."""

import binascii
from collections.abc import Sequence as Series

from kinesis_fake import sequence
from kinesis_fake.account import Account
from kinesis_fake.errors import ApiError, internal_failure, invalid, not_found, throttled, too_long
from kinesis_fake.limits import MIB
from kinesis_fake.shard import HASH_KEYS, Shard
from kinesis_fake.shards import children_of
from kinesis_fake.stream import Stream
from kinesis_fake.tokens import Cursor, open_iterator, seal
from kinesis_fake.wire import (
    Entry,
    GetRecords,
    GetShardIterator,
    Put,
    PutAll,
    PutRecord,
    PutRecords,
    Records,
    StartingPosition,
)

WRITABLE = frozenset({"ACTIVE", "UPDATING"})


def put_record(account: Account, call: PutRecord) -> Put:
    stream = _writable(account, account.stream(call))
    entry = Entry(data=call.data, partition_key=call.partition_key, explicit_hash_key=call.explicit_hash_key)
    size = _sizes(stream, [entry])[0]
    shard = stream.route(entry.partition_key, entry.explicit_hash_key)
    if not shard.meter.admits_write(size, account.limits, account.tick_s()):
        raise _over_rate(account, stream, shard)
    stored = _store(account, stream, shard, entry, size)
    return Put(stored.shard_id, stored.sequence_number, encryption_type=stream.encryption)


def put_records(account: Account, call: PutRecords) -> PutAll:
    """Each record has a fate of its own; order within a call is kept per shard, but for those that fail."""
    stream = _writable(account, account.stream(call))
    sizes = _sizes(stream, call.records)
    if sum(sizes) > account.limits.request_bytes_max:
        raise invalid(f"Records size exceeds {account.limits.request_bytes_max // MIB} MB limit")
    fates = [_put_entry(account, stream, entry, size) for entry, size in zip(call.records, sizes, strict=True)]
    failed = [fate.error_code for fate in fates if fate.error_code]
    account.refusals.update(f"entry:{code}" for code in failed)
    return PutAll(len(failed), fates, stream.encryption)


def get_shard_iterator(account: Account, call: GetShardIterator) -> dict[str, str]:
    stream = account.stream(call)
    shard = account.shard(stream, call.shard_id)
    if not shard.meter.admits_iterator(account.limits, account.tick_s()):
        raise _over_rate(account, stream, shard)
    start = StartingPosition(
        type=call.shard_iterator_type, sequence_number=call.starting_sequence_number, timestamp=call.timestamp
    )
    position = starting_position(account, shard, start)
    return {"ShardIterator": _iterator(account, stream, shard, position)}


def get_records(account: Account, call: GetRecords) -> Records:
    cursor = open_iterator(call.shard_iterator, account.now_ms(), account.timing.iterator_s)
    stream = _same_stream(account, cursor)
    shard = account.shard(stream, cursor.shard_id)
    if not shard.meter.admits_read(account.limits, account.tick_s()):
        raise _over_rate(account, stream, shard)
    if shard.id in account.faults.stalled_shards:
        return _nothing(account, stream, shard, int(cursor.position))
    return _read(account, stream, shard, int(cursor.position), call.limit)


def starting_position(account: Account, shard: Shard, start: StartingPosition) -> int:
    """The least sequence number to deliver. Raises InvalidArgumentException."""
    kind, number = start.type, start.sequence_number
    if number is not None and kind not in {"AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER"}:
        raise invalid(f"{kind} and also a StartingSequenceNumber.")
    match kind:
        case "TRIM_HORIZON":
            return shard.starting
        case "LATEST":
            return shard.last + 1
        case "AT_TIMESTAMP":
            return _at_timestamp(account, shard, start.timestamp)
    return _at_number(account, shard, number) + (kind == "AFTER_SEQUENCE_NUMBER")


def _at_timestamp(account: Account, shard: Shard, timestamp: float | None) -> int:
    if timestamp is None:
        raise invalid("Must specify timestampInMillis parameter for iterator of type AT_TIMESTAMP.")
    if timestamp * 1000 > account.now_ms() + 1:
        raise invalid("The timestampInMillis parameter cannot be greater than the currentTimestampInMillis.")
    return shard.position_at(round(timestamp * 1000))


def _at_number(account: Account, shard: Shard, number: str | None) -> int:
    if number is None:
        raise invalid("AT_SEQUENCE_NUMBER and AFTER_SEQUENCE_NUMBER need a StartingSequenceNumber.")
    parts = sequence.take_apart(number)
    used = f"StartingSequenceNumber {number} used in GetShardIterator on shard {shard.id}"
    if parts is None:
        raise invalid(f"{used} under account {account.number} is invalid.")
    if parts.shard != shard.index:
        raise invalid(f"Invalid StartingSequenceNumber. It encodes shardId-{parts.shard:012d}, not {shard.id}.")
    if parts.born_s != shard.born_s:
        raise invalid(f"{used} under account {account.number} is invalid because it did not come from this stream.")
    return int(number)


def _read(account: Account, stream: Stream, shard: Shard, position: int, count_max: int) -> Records:
    limits = account.limits
    part = shard.read(position, count_max, limits.answer_bytes_max, account.trouble.rewind())
    shard.meter.has_read(part.size, part.full, limits, account.tick_s())
    ended = shard.ended(part.position)
    return Records(
        part.records,
        None if ended else _iterator(account, stream, shard, part.position),
        shard.behind_ms(part.position, account.now_ms()),
        children_of(shard) if ended else None,
    )


def _nothing(account: Account, stream: Stream, shard: Shard, position: int) -> Records:
    behind_ms = shard.behind_ms(position, account.now_ms())
    return Records([], _iterator(account, stream, shard, position), behind_ms)


def _put_entry(account: Account, stream: Stream, entry: Entry, size: int) -> Put:
    shard = stream.route(entry.partition_key, entry.explicit_hash_key)
    if account.trouble.strikes("put_entries_failed"):
        return _failed(internal_failure(), "InternalFailure")
    if account.trouble.strikes("put_entries_throttled") or not shard.meter.admits_write(
        size, account.limits, account.tick_s()
    ):
        return _failed(_over_rate(account, stream, shard))
    return _store(account, stream, shard, entry, size)


def _store(account: Account, stream: Stream, shard: Shard, entry: Entry, size: int) -> Put:
    now_ms = account.now_ms()
    if account.trouble.strikes("put_twice"):
        stream.append(shard, entry.partition_key, entry.data, size, now_ms)
    record = stream.append(shard, entry.partition_key, entry.data, size, now_ms)
    return Put(shard.id, record.sequence_number)


def _failed(error: ApiError, code: str | None = None) -> Put:
    return Put(error_code=code or error.code, error_message=error.message)


def _over_rate(account: Account, stream: Stream, shard: Shard) -> ApiError:
    return throttled(f"Rate exceeded for shard {shard.id} in stream {stream.name} under account {account.number}.")


def _writable(account: Account, stream: Stream) -> Stream:
    if stream.status not in WRITABLE:
        raise not_found(f"Stream {stream.name} under account {account.number} not found.")
    return stream


def _sizes(stream: Stream, entries: Series[Entry]) -> list[int]:
    """Bytes of data and key of each. One that is not base64, too large or out of range spoils the whole call."""
    sizes = [_size(entry) for entry in entries]
    if max(sizes) > stream.record_bytes_max:
        raise too_long("data", stream.record_bytes_max)
    for entry in entries:
        if entry.explicit_hash_key and int(entry.explicit_hash_key) >= HASH_KEYS:
            raise invalid("Invalid ExplicitHashKey. ExplicitHashKey must be in the range: [0, 2^128-1].")
    return sizes


def _size(entry: Entry) -> int:
    try:
        data = binascii.a2b_base64(entry.data, strict_mode=True)
    except ValueError:
        raise ApiError("SerializationException", "Data is not base64.") from None
    return len(data) + len(entry.partition_key.encode())


def _iterator(account: Account, stream: Stream, shard: Shard, position: int) -> str:
    return seal(Cursor(stream.name, stream.created_ms, shard.id, str(position), account.now_ms()))


def _same_stream(account: Account, cursor: Cursor) -> Stream:
    """An iterator outlives neither its stream nor a new one of the same name."""
    stream = account.streams.get(cursor.stream)
    if stream is None or stream.created_ms != cursor.stream_created_ms:
        raise not_found(f"Stream {cursor.stream} under account {account.number} not found.")
    account.trim(stream)
    return stream
