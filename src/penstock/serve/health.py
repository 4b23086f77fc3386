"""What works and what does not: alive, ready to take readings, ready to take and store them."""

import asyncio
import time
from collections.abc import Awaitable
from typing import Final

from penstock.errors import Unavailable
from penstock.serve.tallies import Tallies
from penstock.store.postgres import Database
from penstock.store.watch import check_writable
from penstock.stream.port import Stream

ANSWER_S: Final = 2.0
"""What takes longer to answer is away."""
STALLED_S: Final = 10.0
"""With readings in flight, a checkpoint that does not move for this long means that nobody works."""


class Pulse:
    """Asks the parts of the path how they are."""

    def __init__(self, database: Database, stream: Stream, tallies: Tallies) -> None:
        self._database, self._stream, self._tallies = database, stream, tallies
        self._moved_s = time.monotonic()
        self._seen: dict[str, int] = {}
        self._lagged = False
        self.behind_s = 0.0
        """How long what is in flight has been waiting without any commit."""

    async def failing_to_take(self) -> dict[str, str]:
        """Why a reading could not be made durable; empty when it could."""
        return await _why("stream", self._stream.ready())

    async def failing(self) -> dict[str, str]:
        """Why a reading could not be made durable and stored; empty when it could."""
        stream = await self.failing_to_take()
        store = await _why("store", self._look())
        stalled = {} if stream or store or self.behind_s < STALLED_S else {"worker": "nobody stores what is in flight"}
        return stream | store | stalled

    async def _look(self) -> None:
        await check_writable(self._database)
        tallies = await self._tallies.shards()
        seen = {tally.books.shard: tally.books.position for tally in tallies}
        now_s = time.monotonic()
        if seen != self._seen or not self._lagged:
            self._seen, self._moved_s = seen, now_s
        self._lagged = any(tally.in_flight for tally in tallies)
        self.behind_s = now_s - self._moved_s if self._lagged else 0.0


async def _why(part: str, asked: Awaitable[object]) -> dict[str, str]:
    try:
        async with asyncio.timeout(ANSWER_S):
            await asked
    except Unavailable:
        return {part: "does not answer"}
    except TimeoutError:
        return {part: f"no answer within {ANSWER_S:g} s"}
    return {}
