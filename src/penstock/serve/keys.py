"""`/v1/keys`: who may come in (admin)."""

from typing import Annotated, Final

import msgspec
from litestar import delete, get, post
from litestar.params import JSONBody

from penstock.door.asgi import require
from penstock.door.keys import create_key, make_key
from penstock.errors import Forbidden
from penstock.model.access import ALL_SITES, Caller, Key, Role
from penstock.serve.answers import KeyAnswer, Listing, NewKeyAnswer
from penstock.serve.desk import ADMINS
from penstock.serve.given import GivenCaller, GivenDesk, PathName
from penstock.serve.words import rfc3339

SITES_MAX: Final = 100
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Site = Annotated[str, msgspec.Meta(min_length=1, max_length=190, pattern=r"^(\*|[A-Za-z0-9._-]+)$")]
Figure = Annotated[float, msgspec.Meta(ge=0, le=1e9)]


class KeyWish(msgspec.Struct, forbid_unknown_fields=True):
    """A key to be made. Without rate and burst: as the settings say; rate 0 is no limit."""

    name: Name
    role: Role
    sites: Annotated[list[Site], msgspec.Meta(min_length=1, max_length=SITES_MAX)]
    rate: Figure | None = None
    burst: Figure | None = None


@get("/v1/keys", raises=[])
async def list_keys(desk: GivenDesk, caller: GivenCaller) -> Listing[KeyAnswer]:
    """All keys, the revoked ones included (admin)."""
    require(caller, ADMINS)
    return Listing([_told(key) for key in await desk.parts.keys.keys() if _within(caller, key.sites)])


@post("/v1/keys", status_code=201, raises=[])
async def add_key(desk: GivenDesk, caller: GivenCaller, data: JSONBody[KeyWish]) -> NewKeyAnswer:
    """Make a key; the answer holds its secret, this once (admin). Nobody gives what they do not have."""
    require(caller, ADMINS)
    made = make_key(
        desk.parts.clock,
        name=data.name,
        role=data.role,
        sites=data.sites,
        created_by=caller.name,
        rate=data.rate,
        burst=data.burst,
    )
    if not _within(caller, data.sites):
        raise Forbidden("the key would see more sites than yours", code="sites_exceeded")
    secret = await create_key(desk.parts.keys, made)
    return NewKeyAnswer(id=made.key.key_id, name=data.name, role=data.role, sites=sorted(made.key.sites), key=secret)


@delete("/v1/keys/{key_id:str}", status_code=200, raises=[])
async def revoke_key(desk: GivenDesk, caller: GivenCaller, key_id: PathName) -> KeyAnswer:
    """Revoke a key, its links and its sessions (admin)."""
    require(caller, ADMINS)
    known = {key.key_id: key for key in await desk.parts.keys.keys() if _within(caller, key.sites)}
    await desk.parts.keyring.revoke(key_id if key_id in known else "", caller.name)
    return next(_told(key) for key in await desk.parts.keys.keys() if key.key_id == key_id)


def _within(caller: Caller, sites: list[str] | frozenset[str]) -> bool:
    return ALL_SITES in caller.sites or caller.sites.issuperset(sites)


def _told(key: Key) -> KeyAnswer:
    return KeyAnswer(
        id=key.key_id,
        name=key.name,
        role=key.role,
        sites=sorted(key.sites),
        rate=key.rate,
        burst=key.burst,
        created_at=rfc3339(key.created_us),
        created_by=key.created_by,
        revoked_at=None if key.revoked_us is None else rfc3339(key.revoked_us),
        revoked_by=key.revoked_by,
    )


ROUTES: Final = [list_keys, add_key, revoke_key]
