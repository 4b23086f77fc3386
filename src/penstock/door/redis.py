"""The door's line to Redis, and the limits that all processes keep together over it.

Redis is only a cache here. One connection serves a whole process: what is asked in one turn of the event loop, or
while a call is under way, goes out as one pipelined call. A Redis that is away, slower than `ANSWER_S`, read-only or
refusing is given up at once; the line is then tried anew in the background, once a second, and nobody waits for it.

A user of Redis needs `~{penstock}:* +@connection +evalsha +eval +time +get +set +exists +pttl +pexpire`.
"""

import asyncio
import hashlib
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from importlib.resources import files
from typing import Any, Final, NamedTuple

from redis.asyncio import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    NoPermissionError,
    NoScriptError,
    RedisError,
    ResponseError,
)

from penstock.door.limit import Limiter, judged
from penstock.door.port import Verdict
from penstock.errors import Misconfigured, Unavailable
from penstock.secrets.redis_login import login_options
from penstock.secrets.reference import address
from penstock.telemetry import log

ANSWER_S: Final = 0.05
"""A Redis that takes longer is away: a request does better without it."""
GRACE_TURNS: Final = 5
"""Turns of our own loop, a millisecond or more each, that a late reply is granted: under load the lateness is ours."""
GRACE_TURN_S: Final = 0.001
CONNECT_S: Final = 1.0
AGAIN_S: Final = 1.0
"""Between two attempts to connect."""
CALL_MAX: Final = 500
"""Commands in one call: Redis serves nobody else meanwhile (a few milliseconds)."""
WAITING_MAX: Final = 20_000
_PROBE: Final = "{penstock}:door:probe"
"""The braces keep all our keys in one slot of a cluster."""

Word = str | bytes | int | float


class Script(NamedTuple):
    """A Lua script, and the name by which Redis knows it once it has run."""

    text: str
    sha: str


def script(name: str) -> Script:
    text = files(__package__).joinpath(f"{name}.lua").read_text("utf-8")
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


class _Ask(NamedTuple):
    command: tuple[Word, ...]
    reply: asyncio.Future[Any]
    until_s: float


class _Patience:
    """Ends a call that takes too long. A late timer proves nothing: if our own loop stalled, the replies lie unread."""

    def __init__(self, limit: asyncio.Timeout, until_s: float) -> None:
        self._limit = limit
        self._turns = GRACE_TURNS
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_at(until_s, self._turn)

    def end(self) -> None:
        self._timer.cancel()

    def _turn(self) -> None:
        if self._turns == 0:
            self._limit.reschedule(self._loop.time())
            return
        self._turns -= 1
        self._timer = self._loop.call_later(GRACE_TURN_S, self._turn)


class RedisLine:
    """One connection for all of a process's small questions. Whatever fails is Unavailable, at once."""

    def __init__(self, url: str, now_s: Callable[[], float] = time.monotonic) -> None:
        """*url*: `redis://…` or `rediss://user:password@host/0?ssl_ca_certs=…`, or instead of user and password
        `credentials=REFERENCE`. Raises Misconfigured.

        Connects at `check`, or in the background at first use.
        """
        self._connection = _connection(url)
        self._now_s = now_s
        self._waiting: list[_Ask] = []
        self._calling: asyncio.Task[None] | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._tried_s = float("-inf")
        self._is_up = False
        self._was_lost = False

    async def check(self) -> None:
        """Connect at start-up. Raises Misconfigured for what waiting cannot mend; a Redis that is away may come yet."""
        self._tried_s = self._now_s()
        try:
            await self._connect(probe_s=CONNECT_S)
        except (RedisError, OSError, TimeoutError) as error:
            if why := _never(error):
                raise Misconfigured("cache.url", *why) from error
            self._say_lost(error)

    async def run(self, script: Script, keys: Sequence[Word], *args: Word) -> Any:  # as Lua returns it
        """What *script* returns. Raises Unavailable after `ANSWER_S` at the latest."""
        try:
            return await self._ask("EVALSHA", script.sha, len(keys), *keys, *args)
        except NoScriptError:  # Redis is new, or was emptied
            return await self._ask("EVAL", script.text, len(keys), *keys, *args)

    async def set(self, key: str, value: Word, life_s: float) -> None:
        await self._ask("SET", key, value, "PX", round(life_s * 1000))

    async def close(self) -> None:
        self._is_up, self._tried_s = False, float("inf")
        for task in (self._calling, self._connecting):
            if task is not None:
                task.cancel()
                await asyncio.wait({task})
        self._fail(self._waiting)
        with suppress(RedisError, OSError):
            await self._connection.disconnect()

    async def _ask(self, *command: Word) -> Any:
        if not self._is_up or len(self._waiting) >= WAITING_MAX:
            self._connect_soon()
            raise Unavailable("redis is away")
        loop = asyncio.get_running_loop()
        ask = _Ask(command, loop.create_future(), loop.time() + ANSWER_S)
        self._waiting.append(ask)
        if self._calling is None:
            self._calling = loop.create_task(self._call())
        return await ask.reply

    async def _call(self) -> None:
        """Send what waits, until nothing does; while one call is under way the next one gathers."""
        try:
            while self._waiting and self._is_up:
                asks, self._waiting = self._waiting[:CALL_MAX], self._waiting[CALL_MAX:]
                await self._exchange(asks)
        finally:
            self._calling = None
            self._fail(self._waiting)

    async def _exchange(self, asks: Sequence[_Ask]) -> None:
        try:
            replies = await self._replies([ask.command for ask in asks], asks[0].until_s)
            for ask, reply in zip(asks, replies, strict=True):
                _tell(ask, reply)
        except (RedisError, OSError, TimeoutError) as error:
            self._is_up = False
            self._say_lost(error)
        finally:
            self._fail(asks)
        if not self._is_up:
            await self._connection.disconnect(nowait=True)  # after a fail-over the name leads to another host

    async def _replies(self, commands: Sequence[tuple[Word, ...]], until_s: float) -> list[Any]:
        """One pipelined call."""
        connection = self._connection
        async with asyncio.timeout(None) as limit:
            patience = _Patience(limit, until_s)
            try:
                await connection.send_packed_command(connection.pack_commands(commands), check_health=False)
                return [await self._reply() for _ in commands]
            finally:
                patience.end()

    async def _reply(self) -> Any:
        """A reply, or the error that is this one's reply. Raises any other: a Redis that refuses is as good as away."""
        try:
            return await self._connection.read_response(disable_decoding=True)
        except ResponseError as error:
            if isinstance(error, NoScriptError) or "WRONGTYPE" in str(error):
                return error
            raise

    def _connect_soon(self) -> None:
        is_idle = self._connecting is None and self._calling is None
        if is_idle and not self._is_up and self._now_s() - self._tried_s >= AGAIN_S:
            self._tried_s = self._now_s()
            self._connecting = asyncio.create_task(self._try_to_connect())

    async def _try_to_connect(self) -> None:
        try:
            await self._connect()
        except (RedisError, OSError, TimeoutError) as error:
            self._say_lost(error)
        finally:
            self._connecting = None

    async def _connect(self, probe_s: float = ANSWER_S) -> None:
        try:
            async with asyncio.timeout(CONNECT_S):
                await self._connection.connect()
            await self._probe(probe_s)
        except BaseException:
            await self._connection.disconnect(nowait=True)
            raise
        self._is_up = True
        if self._was_lost:
            self._was_lost = False
            log.info("redis is back: limits and keys are shared again")

    async def _probe(self, limit_s: float) -> None:
        """Do what we shall want to do: a replica, and a user with too few rights, would answer a ping."""
        commands = ("SET", _PROBE, 1, "PX", 1000), ("EVAL", "return redis.call('TIME')", 0)
        await self._replies(commands, asyncio.get_running_loop().time() + limit_s)

    def _say_lost(self, error: Exception) -> None:
        if not self._was_lost:
            self._was_lost = True
            log.warning(
                "redis is away: until it is back each process limits alone", why=f"{type(error).__name__} {error}"
            )

    def _fail(self, asks: Sequence[_Ask]) -> None:
        for ask in asks:
            _tell(ask, Unavailable("redis does not answer"))
        if asks is self._waiting:
            self._waiting = []


class RedisLimiter:
    """One bucket a name for all processes. While Redis is away each process keeps its share by itself."""

    def __init__(self, line: RedisLine, local: Limiter) -> None:
        """*local*: the rate and burst of those who have none of their own, and the limits while Redis is away."""
        self._line = line
        self._local = local
        self._take = script("take")

    async def take(self, name: str, rate: float | None = None, burst: float | None = None) -> Verdict | None:
        full_rate = self._local.rate if rate is None else rate
        full_burst = max(1.0, self._local.burst if burst is None else burst)
        if full_rate == 0:
            return None
        try:
            passes, thousandths = await self._line.run(
                self._take, [f"{{penstock}}:bucket:{name}"], full_rate, full_burst
            )
        except Unavailable:
            return await self._local.take(name, rate, burst)
        return judged(passes=passes == 1, tokens=thousandths / 1000, rate=full_rate, burst=full_burst)


def _connection(url: str) -> Any:  # redis types what it makes by the URL's scheme
    try:
        place, login = login_options(address(url, "cache.url"))
        pool = ConnectionPool.from_url(
            place,
            **login,
            protocol=2,
            socket_timeout=None,  # we keep time ourselves, a call at a time
            socket_connect_timeout=CONNECT_S,
            socket_keepalive=True,
            retry=Retry(NoBackoff(), 1 if login else 0),
        )
        return pool.make_connection()  # type: ignore[no-untyped-call]
    except (ValueError, TypeError) as error:  # its text may hold the password
        mend = "write it as redis://host/0 or rediss://user:password@host/0?ssl_ca_certs=FILE"
        raise Misconfigured("cache.url", "is not the address of a Redis", mend) from error


def _tell(ask: _Ask, reply: object) -> None:
    if ask.reply.done():  # whoever asked went away
        return
    if isinstance(reply, NoScriptError | Unavailable):
        ask.reply.set_exception(reply)
    elif isinstance(reply, ResponseError):
        ask.reply.set_exception(Unavailable("redis holds something else under this name"))
    else:
        ask.reply.set_result(reply)


def _never(error: BaseException) -> tuple[str, str] | None:  # noqa: PLR0911  # a table
    """Why waiting will not help, and what will; None where it may."""
    for cause in _causes(error):
        match cause:
            case Misconfigured():
                return cause.why, cause.mend
            case AuthenticationError():
                return "redis knows no such user and password", "write rediss://user:password@host/0"
            case NoPermissionError():
                return "redis does not allow its user what we need", "grant the user what penstock/door/redis.py names"
            case ssl.SSLCertVerificationError():
                return f"redis's certificate is not trusted ({cause.verify_message})", "add ?ssl_ca_certs=CA.pem"
            case ssl.SSLError():
                return f"TLS with redis fails ({cause.reason})", "choose redis:// or rediss://"
            case FileNotFoundError() | PermissionError():
                return f"a file it names cannot be read ({cause.filename or 'ssl_ca_certs'})", "correct the path"
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
