"""The latest readings in Redis, shared by every process. Only a cache: whatever fails here is Unavailable, no more.

Redis' other rooms are `redis_window` and `redis_feed`; `Link` is the way to all of them.
"""

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Final
from uuid import uuid4

import msgspec
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.commands.core import AsyncScript
from redis.exceptions import AuthenticationError, NoPermissionError, ReadOnlyError, RedisError
from redis.exceptions import TimeoutError as RedisTimeout

from penstock.errors import Misconfigured, Unavailable
from penstock.secrets.redis_login import login_options
from penstock.secrets.reference import address
from penstock.store.latest import LatestReading, LatestRows, newest

READINGS: Final = "{penstock}:latest"
PATHS: Final = "{penstock}:latest:paths"
"""The braces keep both in one slot of a cluster."""
KEYS: Final = (READINGS, PATHS)
TIMEOUT_S: Final = 1.0
"""For each thing asked, the way there included."""
CHECK_S: Final = 5.0
"""For the first thing asked: a login's secret may have to be fetched before, and nobody waits but the start."""
REST_S: Final = 1.0
CHUNK: Final = 500
"""Readings in one script call: Redis serves nobody else meanwhile (about 1 ms)."""
ORDER_BYTES: Final = 32
_SIGN: Final = 2**63

Held = tuple[int, float | None, str | None, int, int | None, int, int]

_MEND_LOGIN: Final = "write them as rediss://USER:PASSWORD@HOST, percent-encoded, or reset them with ACL SETUSER"
_MEND_RIGHTS: Final = "ACL SETUSER NAME ~{penstock}:* +@all -@dangerous -@admin"
_MEND_CA: Final = "add ?ssl_ca_certs=FILE with the authority that signed it, or use the name it was issued for"

_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(Held)


class Link:
    """The way to one Redis: its time-outs, its scripts, and its errors as ours."""

    def __init__(self, url: str) -> None:
        """*url*: `redis://…` or `rediss://…`, with user and password or `credentials=REFERENCE`.

        Connects at first use. Raises Misconfigured.
        """
        try:
            place, login = login_options(address(url, "cache.url"))
            self.redis = Redis.from_url(
                place,
                **login,
                socket_timeout=TIMEOUT_S,
                socket_connect_timeout=TIMEOUT_S,
                retry=Retry(NoBackoff(), 1),
                retry_on_timeout=False,
            )
        except ValueError as error:
            raise Misconfigured("cache.url", "it is no URL of Redis", "use redis://… or rediss://…") from error
        self._rests_until_s = 0.0

    def script(self, name: str) -> AsyncScript:
        """The script in the file of that name."""
        return self.redis.register_script(files(__package__).joinpath(f"{name}.lua").read_text("utf-8"))

    async def check(self) -> None:
        """Ask once, at start. Raises Misconfigured for what waiting cannot mend, Unavailable for what it may."""
        try:
            async with self.translated(CHECK_S):
                await self.redis.hlen(READINGS)
        except Unavailable as error:
            raise _mended(error) from error

    async def alive(self) -> bool:
        """Whether Redis answers. Never raises."""
        try:
            async with self.translated():
                return bool(await self.redis.ping())
        except Unavailable:
            return False

    async def close(self) -> None:
        await self.redis.aclose()

    @asynccontextmanager
    async def translated(self, limit_s: float = TIMEOUT_S) -> AsyncIterator[None]:
        """Who does not answer in time is left alone for a second: nobody else waits for it meanwhile."""
        if time.monotonic() < self._rests_until_s:
            raise Unavailable("redis did not answer a moment ago")
        try:
            async with asyncio.timeout(limit_s):
                yield
        except ReadOnlyError as error:
            await self.redis.connection_pool.disconnect()  # the primary is another host now: ask for its name anew
            raise Unavailable("redis is read-only: a fail-over is under way") from error
        except TimeoutError as error:
            self._rests_until_s = time.monotonic() + REST_S
            raise Unavailable("redis does not answer in time") from error
        except (RedisError, OSError) as error:
            if isinstance(error, RedisTimeout):
                self._rests_until_s = time.monotonic() + REST_S
            raise Unavailable(f"redis does not answer: {type(error).__name__}") from error


class RedisLatest:
    """One hash of readings by path, and one sorted set of the paths for prefix queries."""

    def __init__(self, url: str) -> None:
        self._link = Link(url)
        self._redis = self._link.redis
        self._put = self._link.script("latest")
        self._generation = self._link.script("generation")
        self.check, self.alive, self.close = self._link.check, self._link.alive, self._link.close

    async def put(self, rows: LatestRows) -> None:
        readings = newest(rows)
        for start in range(0, len(readings), CHUNK):
            async with self._link.translated():
                await self._put(keys=KEYS, args=list(_arguments(readings[start : start + CHUNK])))

    async def get(self, paths: Sequence[str]) -> list[LatestReading | None]:
        if not paths:
            return []
        async with self._link.translated():
            held: list[bytes | None] = await self._redis.hmget(READINGS, list(paths))  # type: ignore[assignment]  # bytes
        return [None if each is None else _reading(path, each) for path, each in zip(paths, held, strict=True)]

    async def prefix(self, prefix: str, after: str, limit: int) -> list[LatestReading]:
        start = f"({after}" if after and after >= prefix else f"[{prefix}"
        if prefix == "" and not after:
            start = "("  # past the generation
        end = b"[" + prefix.encode() + b"\xff"
        async with self._link.translated():
            members: list[bytes] = await self._redis.zrangebylex(PATHS, start, end, 0, limit)  # type: ignore[assignment]
        found = await self.get([path.decode() for path in members])
        return [reading for reading in found if reading is not None]

    async def generation(self) -> str:
        return await self._generate("keep")

    async def reset(self) -> str:
        return await self._generate("reset")

    async def _generate(self, how: str) -> str:
        async with self._link.translated():
            generation: bytes = await self._generation(keys=KEYS, args=[str(uuid4()), how])
        return generation.decode()


def _mended(error: Unavailable) -> Misconfigured | Unavailable:  # noqa: PLR0911  # a table
    """What the operator has to mend, if that is why Redis does not answer."""
    for cause in _causes(error):
        match cause:
            case Misconfigured():
                return cause
            case AuthenticationError():
                return Misconfigured("cache.url", "Redis refuses the user or password", _MEND_LOGIN)
            case NoPermissionError():
                return Misconfigured("cache.url", "the Redis user may not do what the cache needs", _MEND_RIGHTS)
            case ssl.SSLCertVerificationError():
                return Misconfigured("cache.url", f"Redis' certificate: {cause.verify_message}", _MEND_CA)
            case ssl.SSLError():
                return Misconfigured(
                    "cache.url", f"TLS with Redis fails: {cause.reason}", "use its TLS port, or redis://"
                )
            case socket.gaierror():
                return Misconfigured("cache.url", "there is no such host", "mend the host's name, or the DNS")
    return error


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


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
