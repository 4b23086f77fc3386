"""The fake as a server: Kinesis on `/`, and doors of our own for faults, limits, timing and state."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import asdict, fields
from typing import Any, Self

import msgspec

from kinesis_fake import api
from kinesis_fake.account import Account
from kinesis_fake.errors import ApiError
from kinesis_fake.fanout import Subscription
from kinesis_fake.faults import Faults
from kinesis_fake.http import Call, Connection
from kinesis_fake.limits import Limits
from kinesis_fake.shard import Shard
from kinesis_fake.stream import Stream
from kinesis_fake.timing import Timing


class FakeKinesis:
    """An async context: listens on 127.0.0.1 while it is entered.

    Clocks handed in are for tests of the fake itself: *clock* is the time of day, *ticks* the steady time of rates.
    `faults`, `limits` and `timing` may be changed at any moment, here or by `PUT /_faults`, `/_limits`, `/_timing`.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        limits: Limits | None = None,
        timing: Timing | None = None,
        faults: Faults | None = None,
        region: str = "us-east-1",
        clock: Callable[[], float] = time.time,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self.port = port
        self.limits, self.timing, self.faults = limits or Limits(), timing or Timing(), faults or Faults()
        self.account = Account(self.limits, self.timing, self.faults, region=region, clock=clock, ticks=ticks)
        self._settable = {"/_faults": self.faults, "/_limits": self.limits, "/_timing": self.timing}
        self._connections: set[Connection] = set()
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Connection(self, self._connections), "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._server is not None
        self._server.close()
        for connection in list(self._connections):
            connection.close()
        await self._server.wait_closed()

    def latency_s(self, call: Call) -> float:
        return self.account.trouble.latency_s(call.target)

    def answer(self, call: Call) -> bytes | Subscription:
        if call.target:
            return api.answer(self.account, call.target, call.body)
        if call.path == "/_state":
            return msgspec.json.encode(self.state())
        if call.path in self._settable:
            return self._set(self._settable[call.path], call)
        raise ApiError("MissingAuthenticationTokenException", "Missing Authentication Token", 403)

    def now_s(self) -> float:
        return self.account.now_ms() / 1000

    def state(self) -> dict[str, object]:
        """What is stored and what happened, for proofs that count."""
        account = self.account
        return {
            "now": self.now_s(),
            "calls": dict(account.calls),
            "refusals": dict(account.refusals),
            "injected": dict(account.trouble.counted),
            "subscriptions": [place for place, seat in account.subscriptions.items() if seat.live],
            "streams": {name: _stream_state(account, stream) for name, stream in account.streams.items()},
        }

    def _set(self, target: Any, call: Call) -> bytes:
        """Change what the body names and show all."""
        if call.method == "PUT":
            try:
                wanted = msgspec.json.decode(call.body, type=dict[str, Any])
                merged = msgspec.convert(asdict(target) | wanted, type(target))
            except msgspec.MsgspecError as error:
                raise ApiError("SerializationException", str(error)) from None
            if unknown := wanted.keys() - asdict(target).keys():
                raise ApiError("ValidationException", f"There is no {', '.join(sorted(unknown))}.")
            for field in fields(target):
                setattr(target, field.name, getattr(merged, field.name))
            if "seed" in wanted:
                self.account.trouble.reseed()
        return msgspec.json.encode(asdict(target))


def _stream_state(account: Account, stream: Stream) -> dict[str, object]:
    account.trim(stream)
    return {
        "status": stream.status,
        "appended": stream.appended,
        "shards": {shard.id: _shard_state(shard) for shard in stream.shards},
        "consumers": {consumer.name: consumer.status for consumer in stream.consumers.values()},
    }


def _shard_state(shard: Shard) -> dict[str, object]:
    return {
        "open": shard.open,
        "parents": shard.parents,
        "appended": shard.appended,
        "held": shard.held,
        "held_bytes": shard.held_bytes,
        "last": str(shard.last),
    }
