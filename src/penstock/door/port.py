"""What the door needs of a store of keys, and how an ASGI app looks from here."""

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any, Protocol

from penstock.model.access import Key

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class KeyStore(Protocol):
    """Keys, login links and sessions. Secrets never come here, only their SHA-256. All raise Unavailable."""

    async def add(self, key: Key) -> None:
        """Keep a new key."""
        ...

    async def keys(self) -> Sequence[Key]:
        """All keys, oldest first, the revoked ones included."""
        ...

    async def key(self, key_id: str) -> Key | None:
        """The key, unless it is revoked or not there."""
        ...

    async def revoke(self, key_id: str, by: str) -> None:
        """The key, its links and its sessions are of no use from now on. Raises Unknown; repeating is harmless."""
        ...

    async def add_link(self, sha256: bytes, key_id: str, life_s: float) -> None:
        """Keep a login link of a key for *life_s*, for one use."""
        ...

    async def use_link(self, sha256: bytes) -> Key | None:
        """The link's key, once: None when it was used, is too old, unknown, or its key is revoked."""
        ...

    async def add_session(self, sha256: bytes, key_id: str, life_s: float) -> None:
        """Keep a session of a key for *life_s*; those that ended are swept out."""
        ...

    async def session(self, sha256: bytes) -> Key | None:
        """The key of a session that has not ended and whose key is not revoked."""
        ...

    async def end_session(self, sha256: bytes) -> None:
        """Forget a session. Repeating is harmless."""
        ...
