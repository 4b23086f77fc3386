"""Keys in memory: the twin of the PostgreSQL store, for tests and for a door without a database."""

from collections.abc import Sequence
from dataclasses import replace

from penstock.clock import Clock
from penstock.errors import Unknown
from penstock.model.access import Key


class MemoryKeys:
    """A KeyStore that forgets everything at exit."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._keys: dict[str, Key] = {}
        self._links: dict[bytes, tuple[str, int]] = {}
        self._sessions: dict[bytes, tuple[str, int]] = {}

    async def add(self, key: Key) -> None:
        self._keys[key.key_id] = key

    async def keys(self) -> Sequence[Key]:
        return sorted(self._keys.values(), key=lambda key: key.created_us)

    async def key(self, key_id: str) -> Key | None:
        key = self._keys.get(key_id)
        return key if key is not None and key.revoked_us is None else None

    async def revoke(self, key_id: str, by: str) -> None:
        key = self._keys.get(key_id)
        if key is None:
            raise Unknown("there is no such key")
        if key.revoked_us is None:
            self._keys[key_id] = replace(key, revoked_us=self._clock.now_us(), revoked_by=by)

    async def add_link(self, sha256: bytes, key_id: str, life_s: float) -> None:
        self._links[sha256] = (key_id, self._end_us(life_s))

    async def use_link(self, sha256: bytes) -> Key | None:
        return await self._live(self._links.pop(sha256, None))

    async def add_session(self, sha256: bytes, key_id: str, life_s: float) -> None:
        now_us = self._clock.now_us()
        self._sessions = {token: held for token, held in self._sessions.items() if held[1] > now_us}
        self._sessions[sha256] = (key_id, self._end_us(life_s))

    async def session(self, sha256: bytes) -> Key | None:
        return await self._live(self._sessions.get(sha256))

    async def end_session(self, sha256: bytes) -> None:
        self._sessions.pop(sha256, None)

    def _end_us(self, life_s: float) -> int:
        return self._clock.now_us() + round(life_s * 1e6)

    async def _live(self, held: tuple[str, int] | None) -> Key | None:
        return await self.key(held[0]) if held is not None and held[1] > self._clock.now_us() else None
