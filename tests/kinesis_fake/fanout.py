"""SubscribeToShard: one shard pushed to one consumer, until the subscription's life, the shard or its seat ends."""

import asyncio
from collections.abc import AsyncGenerator

import msgspec

from kinesis_fake import framing
from kinesis_fake.account import Account, Seat
from kinesis_fake.data import starting_position
from kinesis_fake.errors import ConnectionCut, in_use
from kinesis_fake.limits import Bucket
from kinesis_fake.shard import Shard
from kinesis_fake.shards import children_of
from kinesis_fake.stream import Stream
from kinesis_fake.wire import Event, SubscribeToShard

EVENT_RECORDS_MAX = 10_000
TAKEN = "Another active subscription exists for this consumer and shard."


def subscribe(account: Account, call: SubscribeToShard) -> "Subscription":
    """Takes the seat of the consumer at the shard. Raises ResourceInUseException while it is freshly taken."""
    stream, consumer = account.consumer(call.consumer_arn)
    if consumer.status != "ACTIVE":
        raise in_use(f"Consumer {consumer.name} is not ACTIVE, instead in state {consumer.status}")
    shard = account.shard(stream, call.shard_id)
    position = starting_position(account, shard, call.starting_position)
    place = consumer.arn, shard.id
    now_s, held = account.tick_s(), account.subscriptions.get(place)
    if held and now_s - held.taken_s < account.timing.resubscribe_s:
        raise in_use(TAKEN)
    if held:
        held.give_up("ResourceInUseException", TAKEN)
    seat = account.subscriptions[place] = Seat(now_s)
    return Subscription(account, stream, shard, position, seat)


class Subscription:
    """The events of one SubscribeToShard connection."""

    def __init__(self, account: Account, stream: Stream, shard: Shard, position: int, seat: Seat) -> None:
        self._account, self._stream, self._shard, self._position, self._seat = account, stream, shard, position, seat
        self._continuation = shard.last if position > shard.last else shard.starting
        self._bytes = Bucket()
        self._ends_s = seat.taken_s + account.timing.subscription_s

    async def frames(self) -> AsyncGenerator[bytes, None]:
        """Frames as they fall due. Raises ConnectionCut when the fault of that name strikes."""
        yield framing.event("initial-response", b"{}")
        self._shard.listeners.add(self._seat.changed)
        self._seat.live = True
        try:
            while not self._over():
                event = await self._next_event()
                if self._seat.lost_to:
                    break
                yield event
                if self._shard.ended(self._position):
                    return
            if self._seat.lost_to:
                code, message = self._seat.lost_to
                yield framing.exception(code, msgspec.json.encode({"message": message}))
        finally:
            self._seat.live = False
            self._shard.listeners.discard(self._seat.changed)

    def _over(self) -> bool:
        return self._seat.lost_to is not None or self._account.tick_s() >= self._ends_s

    async def _next_event(self) -> bytes:
        """The next event, empty ones after a silence. Waits for records, then for the throughput to send them."""
        await self._until_something()
        await self._until_room()
        if self._account.faults.push_latency_s:
            await asyncio.sleep(self._account.faults.push_latency_s)
        if self._account.trouble.strikes("subscriptions_cut"):
            raise ConnectionCut
        return framing.event("SubscribeToShardEvent", msgspec.json.encode(self._event()))

    async def _until_something(self) -> None:
        changed = self._seat.changed
        until_s = min(self._account.tick_s() + self._account.timing.idle_event_s, self._ends_s)
        while not (self._ready() or self._seat.lost_to) and (left_s := until_s - self._account.tick_s()) > 0:
            changed.clear()
            try:
                await asyncio.wait_for(changed.wait(), left_s)
            except TimeoutError:
                return

    def _ready(self) -> bool:
        shard = self._shard
        return shard.id not in self._account.faults.stalled_shards and (
            shard.ended(self._position) or shard.holds(self._position)
        )

    async def _until_room(self) -> None:
        rate = self._account.limits.fan_out_bytes_per_s
        if not self._bytes.room(1, rate, self._account.tick_s()):
            await asyncio.sleep(self._bytes.wait_s(rate))

    def _event(self) -> Event:
        account, shard = self._account, self._shard
        if shard.id in account.faults.stalled_shards:
            return Event([], str(self._continuation), shard.behind_ms(self._position, account.now_ms()), [])
        account.trim(self._stream)
        rewind = account.trouble.rewind()
        part = shard.read(self._position, EVENT_RECORDS_MAX, account.limits.event_bytes_max, rewind)
        self._continuation = part.position - 1 if part.position > self._position else shard.last
        self._position = part.position
        self._bytes.take(part.size)
        behind_ms = shard.behind_ms(part.position, account.now_ms())
        if shard.ended(part.position):
            return Event(part.records, None, behind_ms, children_of(shard))
        return Event(part.records, str(self._continuation), behind_ms, [])
