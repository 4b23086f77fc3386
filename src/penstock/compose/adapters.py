"""Streams and databases, chosen by the URLs in the settings."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from penstock.compose.kinesis import SCHEME, Shared, open_kinesis
from penstock.datadir import find_instance
from penstock.errors import Misconfigured
from penstock.serve.counted import CountedTallies
from penstock.serve.shared import SharedTallies
from penstock.serve.tallies import Tallies
from penstock.settings import Settings
from penstock.store.postgres import Database
from penstock.stream.log import LogStream
from penstock.stream.log_writer import Limits as LogLimits
from penstock.stream.memory import MemoryStream
from penstock.stream.port import CountedStream, Stream
from penstock.traces.port import Traces


def log_folder(settings: Settings) -> Path:
    """Where a `log:` stream lies."""
    path = settings.stream.url.partition(":")[2]
    return Path(path) if path else settings.data / "stream"


def is_shared(settings: Settings) -> bool:
    """Whether several machines can put on the stream and take from it."""
    return settings.stream.url.partition(":")[0] == SCHEME


def open_local(settings: Settings, *, writable: bool) -> CountedStream:
    """The stream of this machine that `stream.url` names."""
    stream = settings.stream
    match stream.url.partition(":")[0]:
        case "memory":
            return MemoryStream(stream.bytes_max, keep_bytes=stream.keep_bytes, keep_days=stream.keep_days)
        case "log":
            limits = LogLimits(
                stream.bytes_max, stream.keep_bytes, stream.keep_days, settings.store.disk_free_min_bytes
            )
            return LogStream(log_folder(settings), limits, writable=writable)
        case scheme:
            raise Misconfigured("stream.url", f"no stream is called {scheme!r}", "use log:, memory: or kinesis://NAME")


class Opened(NamedTuple):
    """A stream as this process uses it; *shared* where others do too, *traces* where batches are traced."""

    stream: Stream
    counted: CountedStream | None
    shared: Shared | None
    traces: Traces | None = None

    def tallies(self, database: Database) -> Tallies:
        """The stream's books."""
        if self.shared is not None:
            return SharedTallies(database, self.shared.stream)
        assert self.counted is not None
        return CountedTallies(database, self.counted)


@asynccontextmanager
async def opened_stream(settings: Settings, *, writable: bool, traces: Traces | None = None) -> AsyncIterator[Opened]:
    """The stream that `stream.url` names, until the end. Raises Misconfigured."""
    if is_shared(settings):
        shared = await open_kinesis(settings, puts=writable, traces=traces)
        opened = Opened(shared.stream, None, shared, traces)
    else:
        local = open_local(settings, writable=writable)
        opened = Opened(local, local, None)
    try:
        yield opened
    finally:
        await opened.stream.close()


def url_of_store(settings: Settings) -> str:
    """The database's URL; for an embedded one, what the running `up` left for us. Raises Unavailable."""
    if settings.store.url.startswith("embedded:"):
        return find_instance(settings.data).store_url
    return settings.store.url
