"""What the door needs of stores, limits and caches, and how an ASGI app looks from here."""

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any, NamedTuple, Protocol

from penstock.model.access import Caller, Key

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


class Verdict(NamedTuple):
    """Whether the request passes, and what the RateLimit fields say."""

    passes: bool
    remaining: int
    retry_after_s: int
    """Whole seconds until one request passes again; 0 when it does now."""
    reset_s: int
    """Whole seconds until the bucket is full again."""
    quota: int
    """Requests that a full bucket lets pass."""
    window_s: int
    """Whole seconds in which an empty bucket fills."""


class RateLimit(Protocol):
    """A token bucket for each name. Never fails: who cannot ask the others decides alone."""

    async def take(self, name: str, rate: float | None = None, burst: float | None = None) -> Verdict | None:
        """One request of *name*, at its own rate and burst or the defaults; None where there is no limit (rate 0)."""
        ...


class Recalled(NamedTuple):
    """What the other processes know of a key. Without a caller: nothing that may be believed."""

    caller: Caller | None = None
    age_s: float = 0.0
    """Since the store was asked."""
    at_us: int | None = None
    """Now, by the cache's clock; None while the cache is away."""
    is_due: bool = False
    """Whoever is told so asks the store anew, for all."""
    is_revoked: bool = False


class KeyCache(Protocol):
    """What all processes remember of the store of keys. Never fails: a cache that is away remembers nothing."""

    async def recall(self, key_id: str, sha256: bytes) -> Recalled:
        """The caller behind a key, as it was `age_s` ago."""
        ...

    async def keep(self, sha256: bytes, caller: Caller, at_us: int) -> None:
        """Remember a caller, for whom the store was asked not before *at_us*, as `recall` told it."""
        ...

    async def revoke(self, key_id: str) -> None:
        """Remember no more of this key, and nothing that somebody who read before keeps after."""
        ...
