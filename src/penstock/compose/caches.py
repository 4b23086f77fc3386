"""Everything that lives in the cache: chosen together, by one URL. Losing it loses nothing."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NamedTuple

from penstock.door.limit import Limiter
from penstock.door.port import KeyCache, RateLimit
from penstock.errors import Misconfigured
from penstock.secrets.vault import revealed
from penstock.settings import Settings
from penstock.store.feed import Feed
from penstock.store.latest import LatestCache, MemoryLatest
from penstock.store.window import MemoryWindow, WindowCache


class DoorCaches(NamedTuple):
    """What doors share."""

    limiter: RateLimit
    keys: KeyCache | None = None


class ServeCaches(NamedTuple):
    """What those who serve share."""

    latest: LatestCache
    window: WindowCache
    feed: Feed | None = None


@asynccontextmanager
async def door_caches(settings: Settings) -> AsyncIterator[DoorCaches]:
    """The rate limit, and what is remembered of keys. Raises Misconfigured for a Redis that will never let us in."""
    door = settings.door
    local = Limiter(door.rate, door.burst, processes=door.processes)
    if not _is_redis(settings):
        yield DoorCaches(local)
        return
    from penstock.door.redis import RedisLimiter, RedisLine  # noqa: PLC0415  # slow to import, and seldom needed
    from penstock.door.redis_keys import RedisKeyCache  # noqa: PLC0415

    line = RedisLine(settings.cache.url)
    try:
        await line.check()
        secret = await revealed(door.cache_secret, "door.cache_secret")
        keys = RedisKeyCache(line, secret.encode()) if secret else None
        yield DoorCaches(RedisLimiter(line, local), keys)
    finally:
        await line.close()


@asynccontextmanager
async def serve_caches(settings: Settings) -> AsyncIterator[ServeCaches]:
    """Latest values, windows and the live feed. Raises Misconfigured likewise."""
    if not _is_redis(settings):
        yield ServeCaches(MemoryLatest(), MemoryWindow())
        return
    from penstock.store.redis import RedisLatest  # noqa: PLC0415  # slow to import, and seldom needed
    from penstock.store.redis_feed import RedisFeed  # noqa: PLC0415
    from penstock.store.redis_window import RedisWindow  # noqa: PLC0415

    url = settings.cache.url
    async with AsyncExitStack() as opened:
        latest, window, feed = RedisLatest(url), RedisWindow(url), RedisFeed(url)
        for each in (latest, window, feed):
            opened.push_async_callback(each.close)
        await latest.check()
        yield ServeCaches(latest, window, feed)


def _is_redis(settings: Settings) -> bool:
    match settings.cache.url.partition(":")[0]:
        case "memory":
            return False
        case "redis" | "rediss":
            return True
        case scheme:
            raise Misconfigured("cache.url", f"no cache is called {scheme!r}", "use memory:, redis:// or rediss://")
