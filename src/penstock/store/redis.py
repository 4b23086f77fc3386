"""The latest readings in Redis, shared by every process. Only a cache: whatever fails here is Unavailable, no more."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Final
from uuid import uuid4

import msgspec
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ReadOnlyError, RedisError

from penstock.errors import Unavailable
from penstock.store.latest import LatestReading, LatestRows, newest

READINGS: Final = "{penstock}:latest"
PATHS: Final = "{penstock}:latest:paths"
"""The braces keep both in one slot of a cluster."""
KEYS: Final = (READINGS, PATHS)
TIMEOUT_S: Final = 1.0
CHUNK: Final = 500
"""Readings in one script call: Redis serves nobody else meanwhile (about 1 ms)."""
ORDER_BYTES: Final = 32
_SIGN: Final = 2**63

Held = tuple[int, float | None, str | None, int, int | None, int, int]

_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(Held)


class RedisLatest:
    """One hash of readings by path, and one sorted set of the paths for prefix queries."""

    def __init__(self, url: str) -> None:
        """*url*: `redis://…` or `rediss://…`. Connects at first use."""
        self._redis = Redis.from_url(
            url,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            retry=Retry(NoBackoff(), 1),
            retry_on_timeout=False,
        )
        self._put = self._redis.register_script(_lua("latest"))
        self._generation = self._redis.register_script(_lua("generation"))

    async def put(self, rows: LatestRows) -> None:
        async with self._translated():
            readings = newest(rows)
            for start in range(0, len(readings), CHUNK):
                await self._put(keys=KEYS, args=list(_arguments(readings[start : start + CHUNK])))

    async def get(self, paths: Sequence[str]) -> list[LatestReading | None]:
        if not paths:
            return []
        async with self._translated():
            held: list[bytes | None] = await self._redis.hmget(READINGS, list(paths))  # type: ignore[assignment]  # bytes
        return [None if each is None else _reading(path, each) for path, each in zip(paths, held, strict=True)]

    async def prefix(self, prefix: str, after: str, limit: int) -> list[LatestReading]:
        start = f"({after}" if after and after >= prefix else f"[{prefix}"
        if prefix == "" and not after:
            start = "("  # past the generation
        end = b"[" + prefix.encode() + b"\xff"
        async with self._translated():
            members: list[bytes] = await self._redis.zrangebylex(PATHS, start, end, 0, limit)  # type: ignore[assignment]
        found = await self.get([path.decode() for path in members])
        return [reading for reading in found if reading is not None]

    async def generation(self) -> str:
        return await self._generate("keep")

    async def reset(self) -> str:
        return await self._generate("reset")

    async def alive(self) -> bool:
        try:
            async with self._translated():
                return bool(await self._redis.ping())
        except Unavailable:
            return False

    async def close(self) -> None:
        await self._redis.aclose()

    async def _generate(self, how: str) -> str:
        async with self._translated():
            generation: bytes = await self._generation(keys=KEYS, args=[str(uuid4()), how])
        return generation.decode()

    @asynccontextmanager
    async def _translated(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(2 * TIMEOUT_S):
                yield
        except ReadOnlyError as error:
            await self._redis.connection_pool.disconnect()  # the primary is another host now: ask for its name anew
            raise Unavailable("redis is read-only: a fail-over is under way") from error
        except (RedisError, OSError, TimeoutError) as error:
            raise Unavailable(f"redis does not answer: {type(error).__name__}") from error


def _lua(name: str) -> str:
    return files(__package__).joinpath(f"{name}.lua").read_text("utf-8")


def _arguments(readings: Iterable[LatestReading]) -> Iterable[str | bytes]:
    for reading in readings:
        ts_us, seq = reading.order
        yield reading.path
        yield f"{ts_us + _SIGN:016x}{seq + _SIGN:016x}"
        yield _encoder.encode(
            (reading.ts_us, reading.value, reading.state, reading.quality, reading.seq, reading.received_us,
             reading.stored_us)
        )  # fmt: skip


def _reading(path: str, held: bytes) -> LatestReading:
    return LatestReading(path, *_decoder.decode(memoryview(held)[ORDER_BYTES:]))
