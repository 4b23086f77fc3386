"""Streams, caches and databases, chosen by the URLs in the settings."""

from pathlib import Path

from penstock.datadir import find_instance
from penstock.errors import Misconfigured
from penstock.settings import Settings
from penstock.store.latest import LatestCache, MemoryLatest
from penstock.stream.log import LogStream
from penstock.stream.log_writer import Limits as LogLimits
from penstock.stream.memory import MemoryStream
from penstock.stream.port import Stream


def log_folder(settings: Settings) -> Path:
    """Where a `log:` stream lies."""
    path = settings.stream.url.partition(":")[2]
    return Path(path) if path else settings.data / "stream"


def open_stream(settings: Settings, *, writable: bool) -> Stream:
    """The stream that `stream.url` names."""
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
            raise Misconfigured("stream.url", f"no stream is called {scheme!r}", "use log: or memory:")


def open_cache(settings: Settings) -> LatestCache:
    """The cache that `cache.url` names."""
    match settings.cache.url.partition(":")[0]:
        case "memory":
            return MemoryLatest()
        case "redis" | "rediss":
            from penstock.store.redis import RedisLatest  # noqa: PLC0415  # slow to import, and seldom needed

            return RedisLatest(settings.cache.url)
        case scheme:
            raise Misconfigured("cache.url", f"no cache is called {scheme!r}", "use memory:, redis:// or rediss://")


def url_of_store(settings: Settings) -> str:
    """The database's URL; for an embedded one, what the running `up` left for us. Raises Unavailable."""
    if settings.store.url.startswith("embedded:"):
        return find_instance(settings.data).store_url
    return settings.store.url
