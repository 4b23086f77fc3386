"""What all processes remember of the store of keys, in Redis: a hint that carries its age and its signature.

A record says whom a key stands for. It lies under an HMAC of the key's SHA-256, and is signed together with that place
and with the time, by Redis's clock, *before* the store was asked. Both HMACs use a secret that never is in Redis.

* Who can read Redis learns the names, roles, sites and limits of the keys used lately: no key, and no hash of one.
* Who can write to Redis can make us forget (then the store is asked), and can put back a record that was taken away:
  a revoked key then lives `FRESH_S` longer than its last reading from the store, or `STALE_S` while the store is away.
  They cannot make up a key, move a record to another key, raise a role or make a record younger.
* Who holds the server itself can also turn back its clock, and so keep a revoked key alive for longer.
* Who knows the secret and can write to Redis can do all that: guard it like the password of the database.

A lookup that read before a revocation and writes after it does no harm: its record is as old as its reading, nobody
believes it longer than `FRESH_S` from there, and the mark of the revocation outlives it.
"""

import hashlib
import hmac
from typing import Final

import msgspec

from penstock.door.keys import LOOK_S, STALE_S
from penstock.door.port import Recalled
from penstock.door.redis import RedisLine, script
from penstock.errors import Misconfigured, Unavailable
from penstock.model.access import Caller, Role

SECRET_BYTES_MIN: Final = 32
_MAC_BYTES: Final = hashlib.sha256().digest_size
_VERSION: Final = b"penstock key cache 1 "
"""Belongs to the shape of a record: with another shape, what an older penstock wrote must not verify."""

_Body = tuple[int, str, str, Role, frozenset[str], float | None, float | None]
_encoder: Final = msgspec.msgpack.Encoder(order="deterministic")
_decoder: Final[msgspec.msgpack.Decoder[_Body]] = msgspec.msgpack.Decoder(_Body)


class RedisKeyCache:
    """A KeyCache for all processes that know the same secret."""

    def __init__(self, line: RedisLine, secret: bytes) -> None:
        """*secret*: 32 bytes or more, random, the same in every process. Raises Misconfigured."""
        if len(secret) < SECRET_BYTES_MIN:
            mend = "make one with `openssl rand -base64 48`"
            raise Misconfigured("door.cache_secret", f"is shorter than {SECRET_BYTES_MIN} bytes", mend)
        self._line = line
        self._place_key = _mac(secret, _VERSION + b"place")
        self._sign_key = _mac(secret, _VERSION + b"sign")
        self._recall = script("recall")

    async def recall(self, key_id: str, sha256: bytes) -> Recalled:
        place = self._place(sha256)
        ages_ms = (round(STALE_S * 1000), round(LOOK_S * 1000))
        try:
            now, record, revoked, due = await self._line.run(self._recall, [place, _mark(key_id)], *ages_ms)
        except Unavailable:
            return Recalled()
        nothing = Recalled(at_us=int(now), is_revoked=bool(revoked))
        body = None if record is None else self._believed(place, record)
        if body is None or body[1] != key_id:
            return nothing
        age_s = (int(now) - body[0]) / 1e6
        if age_s < 0:  # the clock is another's, after a fail-over: how old the record is, nobody knows
            return nothing
        return Recalled(Caller(*body[1:]), age_s, int(now), is_due=bool(due))

    async def keep(self, sha256: bytes, caller: Caller, at_us: int) -> None:
        place = self._place(sha256)
        body = _encoder.encode(
            (at_us, caller.key_id, caller.name, caller.role, caller.sites, caller.rate, caller.burst)
        )
        await self._set(place, self._signature(place, body) + body)

    async def revoke(self, key_id: str) -> None:
        await self._set(_mark(key_id), b"1")

    async def _set(self, name: str, value: bytes) -> None:
        try:
            await self._line.set(name, value, STALE_S)
        except Unavailable:
            return  # it was only to save somebody a question

    def _place(self, sha256: bytes) -> str:
        return f"{{penstock}}:key:{_mac(self._place_key, sha256).hex()}"

    def _signature(self, place: str, body: bytes) -> bytes:
        return _mac(self._sign_key, place.encode() + body)

    def _believed(self, place: str, record: bytes) -> _Body | None:
        """What a record says, if one of us wrote it for this place."""
        signature, body = record[:_MAC_BYTES], record[_MAC_BYTES:]
        if not hmac.compare_digest(signature, self._signature(place, body)):
            return None
        return _decoder.decode(body)


def _mark(key_id: str) -> str:
    return f"{{penstock}}:revoked:{key_id}"


def _mac(key: bytes, what: bytes) -> bytes:
    return hmac.digest(key, what, "sha256")
