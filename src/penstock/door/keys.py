"""Keys, login links and sessions: how they are made, how they tell a caller, and for how long that is believed."""

import asyncio
import hashlib
import hmac
import math
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Hashable, Iterable
from typing import Final, NamedTuple

from penstock.clock import Clock
from penstock.door.port import KeyCache, KeyStore, Recalled
from penstock.errors import Unauthorized, Unavailable, Undecodable
from penstock.model.access import ALL_SITES, Caller, Key, Role
from penstock.model.tag import is_path

FRESH_S: Final = 5.0
"""A key that was seen is believed this long: so soon does a revocation take hold."""
UNKNOWN_FRESH_S: Final = 1.0
STALE_S: Final = 600.0
"""And this long while the store does not answer, so that a database fail-over does not stop ingest."""
LOOK_S: Final = 2.0
"""With other processes around: so often what they know is looked at, so that one of them asks the store for all."""
LOOKUP_S: Final = 1.0
"""A store that takes longer does not answer."""
CACHED_MAX: Final = 10_000
LINK_LIFE_S: Final = 600.0
SESSION_LIFE_S: Final = 12 * 3600.0
_KEY: Final = re.compile(r"pk_([a-z0-9]{8})_([A-Za-z0-9_-]{43})", re.ASCII)
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)
_ID_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz0123456789"


class NewKey(NamedTuple):
    """A key just made; *secret* is what its holder gets, and is kept nowhere."""

    key: Key
    secret: str


def sha256(secret: str) -> bytes:
    """All that is ever kept of a secret. It has 256 random bits, so a slow hash would protect nothing."""
    return hashlib.sha256(secret.encode()).digest()


def make_key(  # noqa: PLR0913  # what a key is
    clock: Clock,
    *,
    name: str,
    role: Role,
    sites: Iterable[str],
    created_by: str,
    rate: float | None = None,
    burst: float | None = None,
) -> NewKey:
    """A new key `pk_<id>_<256 random bits>`, not yet in any store. Raises Undecodable for what no key can be."""
    sites = frozenset(sites)
    _check(name, sites, [figure for figure in (rate, burst) if figure is not None])
    key_id = "".join(secrets.choice(_ID_LETTERS) for _ in range(8))
    secret = f"pk_{key_id}_{secrets.token_urlsafe(32)}"
    key = Key(key_id, name, sha256(secret), role, sites, rate, burst, clock.now_us(), created_by)
    return NewKey(key, secret)


def _check(name: str, sites: frozenset[str], figures: Iterable[float]) -> None:
    if not (name.strip() and name.isprintable()):
        raise Undecodable("a name is printable characters", code="bad_text")
    if not (sites and all(site == ALL_SITES or ("/" not in site and is_path(f"{site}/x")) for site in sites)):
        raise Undecodable("a site is the first segment of a path, or *", code="bad_site")
    if not all(0 <= figure < math.inf for figure in figures):
        raise Undecodable("rate and burst are numbers, 0 or more", code="bad_rate")


async def create_key(store: KeyStore, made: NewKey) -> str:
    """Keep a new key; returns its secret, for the only time."""
    await store.add(made.key)
    return made.secret


async def create_link(store: KeyStore, key_id: str, life_s: float = LINK_LIFE_S) -> str:
    """A one-time login token for the page, acting as *key_id*."""
    token = secrets.token_urlsafe(32)
    await store.add_link(sha256(token), key_id, life_s)
    return token


def login_url(base: str, token: str) -> str:
    """Where a person goes with a login token: behind `#`, so that it reaches no server's log."""
    return f"{base.rstrip('/')}/#login={token}"


class Alone:
    """A KeyCache that remembers nothing: for a process that shares with nobody."""

    async def recall(self, key_id: str, sha256: bytes) -> Recalled:  # noqa: ARG002  # a KeyCache
        return Recalled()

    async def keep(self, sha256: bytes, caller: Caller, at_us: int) -> None:
        """Nothing."""

    async def revoke(self, key_id: str) -> None:
        """Nothing."""


class _Seen(NamedTuple):
    caller: Caller | None
    at_s: float
    """Before the store was asked, whoever did: from here it is believed `FRESH_S`, or `STALE_S`."""
    look_s: float
    """From here on it is looked at anew."""


class Keyring:
    """Tells callers by their secrets, asking the store as rarely as it may."""

    def __init__(
        self, store: KeyStore, now_s: Callable[[], float] = time.monotonic, *, shared: KeyCache | None = None
    ) -> None:
        self._store = store
        self._now_s = now_s
        self._shared = shared or Alone()
        self._fresh_s = FRESH_S if shared is None else LOOK_S
        self._known: dict[Hashable, _Seen] = {}
        self._unknown: dict[Hashable, _Seen] = {}
        self._asking: dict[Hashable, asyncio.Task[Caller | None]] = {}
        self._away_until_s = float("-inf")

    async def by_key(self, secret: str) -> Caller | None:
        """The caller behind an API key, None if there is none. Raises Unavailable when nobody can tell."""
        match = _KEY.fullmatch(secret)
        if match is None:
            return None
        digest, key_id = sha256(secret), match[1]
        return await self._tell(("key", digest), lambda: self._find_key(key_id, digest))

    async def by_session(self, token: str) -> Caller | None:
        """The caller behind a session cookie."""
        if _TOKEN.fullmatch(token) is None:
            return None
        digest = sha256(token)
        return await self._tell(("session", digest), lambda: self._find_session(digest))

    def knows_key(self, secret: str) -> bool:
        """Whether this key was good the last time it was looked at: such a caller is not guessing."""
        return ("key", sha256(secret)) in self._known

    async def sign_in(self, *, token: str = "", key: str = "") -> str:
        """A new session's token, for a one-time login token or a key. Raises Unauthorized."""
        found = await self._store.use_link(sha256(token)) if token else None
        key_id = found.key_id if found else None
        if key and (caller := await self.by_key(key)):
            key_id = caller.key_id
        if key_id is None:
            raise Unauthorized("the link was used or is too old, or there is no such key")
        session = secrets.token_urlsafe(32)
        await self._store.add_session(sha256(session), key_id, SESSION_LIFE_S)
        return session

    async def sign_out(self, session: str) -> None:
        self._known.pop(("session", sha256(session)), None)
        await self._store.end_session(sha256(session))

    async def revoke(self, key_id: str, by: str) -> None:
        """Revoke a key here, in the store and for all processes. Raises Unknown, Unavailable."""
        await self._store.revoke(key_id, by)
        await self._shared.revoke(key_id)
        self.forget()

    def forget(self) -> None:
        """Believe nothing any more: the next look goes to the store. For this process's own revocations."""
        self._known.clear()
        self._unknown.clear()

    async def _tell(self, what: Hashable, ask: Callable[[], Awaitable[_Seen]]) -> Caller | None:
        now_s = self._now_s()
        for seen in (self._known.get(what), self._unknown.get(what)):
            if seen is not None and now_s < seen.look_s:
                return seen.caller
        stale = self._stale(what)
        if stale is not None and now_s < self._away_until_s:
            return stale.caller
        try:
            return await self._asked_once(what, ask)
        except Unavailable:
            stale = self._stale(what)
            if stale is None:
                raise
            return stale.caller

    def _stale(self, what: Hashable) -> _Seen | None:
        """What is believed while the store is away."""
        seen = self._known.get(what)
        return seen if seen is not None and self._now_s() - seen.at_s < STALE_S else None

    async def _asked_once(self, what: Hashable, ask: Callable[[], Awaitable[_Seen]]) -> Caller | None:
        """However many requests wait for the same answer, it is asked for once."""
        task = self._asking.get(what)
        if task is None:
            task = self._asking[what] = asyncio.ensure_future(self._ask(what, ask))
            task.add_done_callback(lambda done: (self._asking.pop(what, None), done.cancelled() or done.exception()))
        return await asyncio.shield(task)

    async def _ask(self, what: Hashable, ask: Callable[[], Awaitable[_Seen]]) -> Caller | None:
        seen = await ask()
        self._known.pop(what, None)
        _put(self._unknown if seen.caller is None else self._known, what, seen)
        return seen.caller

    async def _find_key(self, key_id: str, digest: bytes) -> _Seen:
        """From another process if it asked lately, else from the store; from another process if the store is away."""
        recalled = await self._shared.recall(key_id, digest)
        if recalled.is_revoked:
            self._known.pop(("key", digest), None)
        others = self._of_others(recalled)
        if others is not None and recalled.age_s < FRESH_S and not recalled.is_due:
            return others
        try:
            seen = await self._in_store(lambda: self._key_in_store(key_id, digest))
        except Unavailable:
            if others is None or recalled.age_s >= STALE_S:
                raise
            return others
        if seen.caller is not None and recalled.at_us is not None:
            await self._shared.keep(digest, seen.caller, recalled.at_us)
        return seen

    async def _find_session(self, digest: bytes) -> _Seen:
        return await self._in_store(lambda: self._store.session(digest))

    def _of_others(self, recalled: Recalled) -> _Seen | None:
        if recalled.caller is None:
            return None
        now_s = self._now_s()
        at_s = now_s - recalled.age_s
        return _Seen(recalled.caller, at_s, min(now_s + self._fresh_s, at_s + FRESH_S))

    async def _in_store(self, ask: Callable[[], Awaitable[Key | None]]) -> _Seen:
        at_s = self._now_s()
        if at_s < self._away_until_s:
            raise Unavailable("the store of keys does not answer")
        try:
            async with asyncio.timeout(LOOKUP_S):
                key = await ask()
        except (Unavailable, TimeoutError) as error:
            self._away_until_s = self._now_s() + LOOKUP_S
            raise Unavailable("the store of keys does not answer") from error
        caller = None if key is None else _caller(key)
        return _Seen(caller, at_s, at_s + (UNKNOWN_FRESH_S if caller is None else self._fresh_s))

    async def _key_in_store(self, key_id: str, digest: bytes) -> Key | None:
        key = await self._store.key(key_id)
        return key if key is not None and hmac.compare_digest(key.sha256, digest) else None


def _caller(key: Key) -> Caller:
    return Caller(key.key_id, key.name, key.role, key.sites, key.rate, key.burst)


def _put(cache: dict[Hashable, _Seen], what: Hashable, seen: _Seen) -> None:
    cache.pop(what, None)
    if len(cache) >= CACHED_MAX:
        del cache[next(iter(cache))]
    cache[what] = seen
