"""A shared stream, opened: readings put on it by this process are counted in PostgreSQL too."""

import asyncio
from typing import Final, NamedTuple
from uuid import UUID

from penstock.clock import SystemClock, within
from penstock.errors import Misconfigured, Unavailable
from penstock.ingest.foreign import decode_foreign
from penstock.settings import Settings
from penstock.store.postgres import Database
from penstock.store.producers import Producers
from penstock.stream.kinesis.client import Kinesis, KinesisSettings, StreamFacts, open_client
from penstock.stream.kinesis.put import Producer, PutLimits
from penstock.stream.kinesis.shards import Lanes
from penstock.stream.kinesis.stream import KinesisStream, Taking
from penstock.telemetry import log
from penstock.traces.port import Traces

SCHEME: Final = "kinesis"
PUBLISH_S: Final = 1.0


class Shared(NamedTuple):
    """A shared stream, and this process's producer of it."""

    stream: KinesisStream
    producer: Producer
    retention_h: float
    """How long entries are kept, in hours; of two streams that which forgets first."""


async def open_kinesis(settings: Settings, *, puts: bool, traces: Traces | None = None) -> Shared:
    """The streams that `stream.url` and `stream.critical` name. With *puts*, we must be allowed to put on them.

    Raises Misconfigured, with the mend, for a stream, region, permission or key that will not do.
    """
    asked = _asked(settings)
    kinesis = await open_client(asked)
    try:
        main = await kinesis.describe(asked.name)
        lanes = Lanes(main, await _critical(kinesis, asked.critical) if asked.critical else None)
        if puts:
            for name in sorted(set(asked.streams.values())):
                await kinesis.check_put(name)
    except BaseException:
        await kinesis.close()
        raise
    producer = Producer(
        kinesis,
        asked.streams,
        lanes.identity,
        _limits(settings),
        SystemClock(),
        critical_created_ms=lanes.critical and lanes.critical.created_ms,
        traces=traces,
    )
    fan_out = settings.stream.fan_out
    taking = Taking(consumer=fan_out, pushing=await open_client(_pushing(asked)) if fan_out else None)
    stream = KinesisStream(kinesis, lanes, producer, decode_foreign, taking)
    return Shared(stream, producer, min(facts.retention_hours for facts in lanes if facts is not None))


async def _critical(kinesis: Kinesis, name: str) -> StreamFacts:
    try:
        return await kinesis.describe(name)
    except Misconfigured as error:
        setting = "stream.critical" if error.setting == "stream.url" else error.setting
        raise Misconfigured(setting, error.why, error.mend) from error


async def publish(database: Database, shared: Shared, stop: asyncio.Event) -> None:
    """Say once a second, and a last time at the end, what the stream has acknowledged: a part of the books."""
    producers, said = Producers(database), True
    while True:
        last = stop.is_set()
        try:
            await _publish_once(producers, shared)
            said = True
        except Unavailable as error:
            if said:
                log.warning("counts of what was put wait for the database", why=str(error))
            said = False
        if last:
            return
        await within(PUBLISH_S, stop)


async def _publish_once(producers: Producers, shared: Shared) -> None:
    acked, producer = shared.producer.acked(), UUID(str(shared.producer.producer))
    await producers.publish(shared.stream.identity, producer, acked.belts, acked.minutes)
    shared.producer.published(acked)


def _asked(settings: Settings) -> KinesisSettings:
    stream = settings.stream
    name = stream.url.partition(":")[2].removeprefix("//").strip("/")
    if not name or "/" in name:
        raise Misconfigured("stream.url", "names no stream", "write it as kinesis://NAME")
    if stream.critical == name:
        raise Misconfigured("stream.critical", "is the same stream", "name another one, or none")
    return KinesisSettings(name, stream.critical, stream.region, stream.endpoint)


def _pushing(asked: KinesisSettings) -> KinesisSettings:
    """A subscription holds a connection for minutes, on which something comes every five seconds."""
    return asked._replace(connections_max=1_024, read_timeout_s=15.0)


def _limits(settings: Settings) -> PutLimits:
    stream = settings.stream
    return PutLimits(
        linger_s=stream.linger_ms / 1_000,
        critical_linger_s=stream.critical_linger_ms / 1_000,
        bytes_max=stream.pending_bytes_max,
        put_timeout_s=stream.put_timeout_s,
    )
