"""The windows in Redis: pages of buckets, and how far each shard is added, moved together by one script."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Final
from uuid import uuid4

import numpy as np

from penstock.errors import Unavailable
from penstock.store.redis import Link
from penstock.store.window import (
    BUCKET,
    TIERS,
    WINDOW_MAX_S,
    Buckets,
    Fold,
    Heads,
    Place,
    Shard,
    Summary,
    decode_pages,
    group_of,
    merge,
    pages_of,
    places_of,
    span_of,
    summary_of,
    tiers_of,
)

STATE: Final = "{penstock}:window"
"""A hash: generation, since, token, of each shard its position, and the name of each hash of pages."""
DIGITS: Final = 60
PAGES_AT_ONCE: Final = 1_000
"""Pages in one script call while beginning (about 1 MB)."""
SEPARATOR: Final = "\x1f"
"""Between stream and shard."""

Pages = Mapping[Place, bytes]


class RedisWindow:
    """Only a cache: whatever fails here is Unavailable, no more.

    Pages are merged by who puts them, not in Redis, which would be busy with nothing else: a put is valid only if the
    token says that nobody else has put since its pages were read.
    """

    def __init__(self, url: str) -> None:
        self._link = Link(url)
        self._redis = self._link.redis
        self._begin = self._link.script("window_begin")
        self._put = self._link.script("window_put")
        self._get = self._link.script("window_get")
        self._held: tuple[str, str] | None = None
        self._recent: dict[Place, bytes] = {}
        self.check, self.close = self._link.check, self._link.close

    async def begin(self, fold: Fold, since_us: int) -> str:
        self._held, self._recent = None, {}
        generation = str(uuid4())
        async with self._link.translated():
            await self._begin(keys=[STATE], args=[generation])
        tiers = enumerate(tiers_of(fold.buckets, since_us))
        pages = [page for tier, buckets in tiers for page in _encoded(pages_of(tier, buckets)).items()]
        for start in range(0, len(pages), PAGES_AT_ONCE):
            await self._write(generation, "", dict(pages[start : start + PAGES_AT_ONCE]), since_us)
        if await self._write(generation, "", {}, since_us, fold, str(since_us)) != b"added":
            raise Unavailable("another process began the windows at the same time")
        return generation

    async def put(self, fold: Fold, now_us: int) -> bool:
        if not fold.heads:
            return await self.generation() is not None
        for _ in range(2):  # what is held from the last time may have been put by another meanwhile
            if self._held is None and not await self._learn():
                return False
            match await self._add(fold, now_us):
                case b"moved":
                    self._held, self._recent = None, {}
                case b"added" | b"known":
                    return True
                case said:
                    self._held, self._recent = None, {}
                    await self._give_up(said == b"lost")
                    return False
        raise Unavailable("another process puts windows at the same time")

    async def get(self, tag_id: int, seconds: float, now_us: int) -> Summary | None:
        if seconds > WINDOW_MAX_S:
            return None
        span = span_of(seconds, now_us)
        keys = [STATE, _key(TIERS.index(span.tier), group_of(tag_id))]
        tag = np.array(tag_id, BUCKET["tag"]).tobytes()
        async with self._link.translated():
            found: bytes | None = await self._get(keys, [tag, BUCKET.itemsize, span.lo, span.hi, span.start_us])
        return None if found is None else summary_of(np.frombuffer(found, BUCKET))

    async def generation(self) -> str | None:
        generation, since = await self._state("generation", "since")
        return None if generation is None or since is None else generation.decode()

    async def heads(self) -> Heads:
        async with self._link.translated():
            state: dict[bytes, bytes] = await self._redis.hgetall(STATE)  # type: ignore[assignment]  # bytes
        return {_shard(name): int(head) for name, head in state.items() if name.startswith(b"shard:")}

    async def complete_since(self) -> int | None:
        (since,) = await self._state("since")
        return None if since is None else int(since)

    async def _state(self, *names: str) -> list[bytes | None]:
        async with self._link.translated():
            return await self._redis.hmget(STATE, list(names))  # type: ignore[return-value]  # bytes

    async def _learn(self) -> bool:
        generation, token, since = await self._state("generation", "token", "since")
        if generation is None or token is None or since is None:
            return False
        self._held = generation.decode(), token.decode()
        return True

    async def _add(self, fold: Fold, now_us: int) -> bytes:
        if self._held is None:
            raise AssertionError("learn first")
        tiers = tiers_of(fold.buckets, now_us)
        held = await self._read([place for tier, buckets in enumerate(tiers) for place in places_of(tier, buckets)])
        pages: dict[Place, bytes] = {}
        for tier, buckets in enumerate(tiers):
            of_tier = [page for place, page in held.items() if place.tier == tier]
            merged = merge(np.concatenate([decode_pages(of_tier), buckets]), TIERS[tier].width_us)
            pages |= _encoded(pages_of(tier, merged))
        generation, token = self._held
        said = await self._write(generation, token, pages, now_us, fold)
        if said == b"added":
            self._recent = {**{place: page for place, page in held.items() if place not in pages}, **pages}
        return said

    async def _give_up(self, lost: bool) -> None:
        """Pages are gone: what is left is not told any more."""
        if lost:
            async with self._link.translated():
                await self._redis.hdel(STATE, "since")

    async def _read(self, places: Sequence[Place]) -> dict[Place, bytes]:
        """Those of the pages that there are; the ones that we put last are known."""
        held = {place: page for place in places if (page := self._recent.get(place)) is not None}
        unknown = [place for place in places if place not in held]
        if not unknown:
            return held
        async with self._link.translated():
            pipeline = self._redis.pipeline(transaction=False)
            for key, of_key in groupby(unknown, lambda place: (place.tier, place.group)):
                pipeline.hmget(_key(*key), [str(place.interval) for place in of_key])  # type: ignore[unused-awaitable]
            found = [page for pages in await pipeline.execute() for page in pages]
        return held | {place: page for place, page in zip(unknown, found, strict=True) if page is not None}

    async def _write(  # noqa: PLR0913, PLR0917  # what the script is given
        self, generation: str, token: str, pages: Pages, now_us: int, fold: Fold | None = None, since: str = ""
    ) -> bytes:
        following = str(uuid4())
        keys, written = [STATE], list[str | bytes | int]()
        for key, of_key in groupby(pages.items(), lambda item: (item[0].tier, item[0].group)):
            keys.append(_key(*key))
            written += _written(TIERS[key[0]].horizon(now_us), TIERS[key[0]].buckets_max, list(of_key))
        async with self._link.translated():
            said: bytes = await self._put(
                keys, [generation, token, following, since, *_shards(fold, begins=token == ""), *written]
            )
        if said == b"added" and token:
            self._held = generation, following
        return said


def _written(horizon: int, most: int, pages: Sequence[tuple[Place, bytes]]) -> Iterator[str | bytes | int]:
    yield from (horizon, most, len(pages))
    for place, page in pages:
        yield place.interval
        yield page


def _shards(fold: Fold | None, *, begins: bool) -> list[str | int]:
    if fold is None:
        return [0]
    heads = fold.heads.items()
    befores = {} if begins else fold.before
    parts = [(SEPARATOR.join(shard), _digits(befores.get(shard, 0)), _digits(head)) for shard, head in heads]
    return [len(parts), *(each for part in parts for each in part)]


def _digits(position: int) -> str:
    """Compares as text the way positions compare as numbers."""
    return f"{position:0{DIGITS}d}"


def _shard(field: bytes) -> Shard:
    stream, _, shard = field.decode().removeprefix("shard:").partition(SEPARATOR)
    return stream, shard


def _key(tier: int, group: int) -> str:
    return f"{STATE}:{TIERS[tier].width_us // 1_000_000}s:{group}"


def _encoded(pages: Mapping[Place, Buckets]) -> dict[Place, bytes]:
    return {place: buckets.tobytes() for place, buckets in pages.items()}
