"""The shared feed in Redis: a lease with a fencing token, and a capped stream of what its holder found."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Final
from uuid import uuid4

import msgspec

from penstock.errors import Unavailable
from penstock.store.feed import Found, Told
from penstock.store.redis import Link

LEASE: Final = "{penstock}:leader"
TOKENS: Final = "{penstock}:leader:token"
STREAM: Final = "{penstock}:feed"
LEASE_MS: Final = 1_500
"""Renewed at every look; when its holder is silent for so long, another takes it."""
KEPT: Final = 40
"""Looks that are kept: ten seconds of them. Ten thousand changed tags are 1 MB a look."""
HEARD_MAX: Final = 8

Entries = list[tuple[bytes, dict[bytes, bytes]]]

_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(Found)


class RedisFeed:
    """Keeps the promises of `Feed`."""

    def __init__(self, url: str) -> None:
        self._link = Link(url)
        self._redis = self._link.redis
        self._lead = self._link.script("lease")
        self._tell = self._link.script("tell")
        self._resign = self._link.script("resign")
        self._who = uuid4().hex
        self._token = 0
        self.check = self._link.check

    async def lead(self) -> bool:
        async with self._link.translated():
            self._token = int(await self._lead(keys=[LEASE, TOKENS], args=[self._who, LEASE_MS]))
        return self._token > 0

    async def tell(self, found: Found) -> bool:
        async with self._link.translated():
            return bool(await self._tell(keys=[LEASE, STREAM], args=[self._lease, KEPT, _encoder.encode(found)]))

    async def newest(self) -> str:
        async with self._link.translated():
            entries: Entries = await self._redis.xrevrange(STREAM, count=1)  # type: ignore[assignment]  # bytes
        return entries[0][0].decode() if entries else "0-0"

    async def heard(self, after: str) -> Sequence[Told]:
        async with self._link.translated():
            entries: Entries = await self._redis.xrange(  # type: ignore[assignment]  # bytes
                STREAM, min=f"({after}", count=HEARD_MAX
            )
        return [Told(place.decode(), _decoder.decode(fields[b"found"])) for place, fields in entries]

    async def resign(self) -> None:
        with suppress(Unavailable):
            async with self._link.translated():
                await self._resign(keys=[LEASE], args=[self._lease])

    async def close(self) -> None:
        await self._link.close()

    @property
    def _lease(self) -> str:
        return f"{self._who}:{self._token}"
