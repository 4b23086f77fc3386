"""What every store of keys promises, and how the ring of keys behaves in front of it."""

import asyncio
from pathlib import Path

import pytest

from penstock.clock import SystemClock
from penstock.door.keys import FRESH_S, STALE_S, Keyring, create_key, create_link, login_url, make_key, sha256
from penstock.door.memory import MemoryKeys
from penstock.errors import Unauthorized, Unavailable, Unknown
from penstock.model.access import Role
from penstock.store.access import Access
from penstock.store.postgres import Database

CLOCK = SystemClock()


def new(name="line 3", **more):
    return make_key(CLOCK, **{"name": name, "role": Role.WRITER, "sites": ["lyon", "oslo"], "created_by": "me", **more})


@pytest.fixture(params=["memory", "postgres"])
def url(request):
    """Where the store of keys is, asked for before any event loop runs."""
    return request.getfixturevalue("postgres_url") if request.param == "postgres" else None


@pytest.fixture
async def store(url):
    if url is None:
        yield MemoryKeys(CLOCK)
        return
    database = Database(url, application="test")
    await database.open()
    yield Access(database)
    await database.close()


async def test_a_key_comes_back_as_it_was_made(store):
    plain, limited = new(), new("other", rate=0.0, burst=7.5, role=Role.ADMIN, sites=["*"])
    for made in (plain, limited):
        await create_key(store, made)
        assert await store.key(made.key.key_id) == made.key
    assert list(await store.keys()) == [plain.key, limited.key]
    assert await store.key("nothing1") is None


async def test_a_revoked_key_is_listed_and_of_no_use(store):
    made = new()
    await create_key(store, made)
    await store.add_link(sha256("link"), made.key.key_id, 60)
    await store.add_session(sha256("session"), made.key.key_id, 60)
    await store.revoke(made.key.key_id, "boss")
    await store.revoke(made.key.key_id, "someone later")
    assert await store.key(made.key.key_id) is None
    assert await store.use_link(sha256("link")) is None
    assert await store.session(sha256("session")) is None
    (listed,) = await store.keys()
    assert (listed.revoked_by, listed.revoked_us > 0) == ("boss", True)
    with pytest.raises(Unknown):
        await store.revoke("nothing1", "boss")


async def test_a_link_is_used_once_and_not_too_late(store):
    made = new()
    await create_key(store, made)
    await store.add_link(sha256("late"), made.key.key_id, -1)
    await store.add_link(sha256("good"), made.key.key_id, 60)
    assert await store.use_link(sha256("late")) is None
    used = await asyncio.gather(*(store.use_link(sha256("good")) for _ in range(5)))
    assert sorted(key is not None for key in used) == [False] * 4 + [True]


async def test_a_session_ends(store):
    made = new()
    await create_key(store, made)
    await store.add_session(sha256("over"), made.key.key_id, -1)
    await store.add_session(sha256("on"), made.key.key_id, 60)
    assert await store.session(sha256("over")) is None
    assert await store.session(sha256("on")) == made.key
    await store.end_session(sha256("on"))
    await store.end_session(sha256("on"))
    assert await store.session(sha256("on")) is None


async def test_signing_in_with_a_link_or_a_key(store):
    ring, made = Keyring(store), new()
    await create_key(store, made)
    link = await create_link(store, made.key.key_id)
    assert login_url("http://x:1/", link) == f"http://x:1/#login={link}"
    session = await ring.sign_in(token=link)
    assert (await ring.by_session(session)).key_id == made.key.key_id
    with pytest.raises(Unauthorized):
        await ring.sign_in(token=link)
    with pytest.raises(Unauthorized):
        await ring.sign_in()
    with pytest.raises(Unauthorized):
        await ring.sign_in(key=new().secret)
    other = await ring.sign_in(key=made.secret)
    await ring.sign_out(other)
    assert await ring.by_session(other) is None


class Now:
    def __init__(self):
        self.s = 0.0

    def __call__(self):
        return self.s


class Watched(MemoryKeys):
    asked = 0
    is_away = False

    async def key(self, key_id):
        self.asked += 1
        await asyncio.sleep(0)
        if self.is_away:
            raise Unavailable("away")
        return await super().key(key_id)


@pytest.fixture
async def ring():
    store, now = Watched(CLOCK), Now()
    made = new()
    await create_key(store, made)
    return Keyring(store, now), store, now, made


async def test_a_key_is_believed_five_seconds(ring):
    keys, store, now, made = ring
    for _ in range(3):
        caller = await keys.by_key(made.secret)
    assert (caller.key_id, caller.sites, store.asked) == (made.key.key_id, {"lyon", "oslo"}, 1)
    await store.revoke(made.key.key_id, "me")
    now.s = FRESH_S
    assert await keys.by_key(made.secret) is None


async def test_many_at_once_ask_once(ring):
    keys, store, _, made = ring
    await asyncio.gather(*(keys.by_key(made.secret) for _ in range(50)))
    assert store.asked == 1


async def test_a_store_that_is_away_does_not_stop_those_seen_lately(ring):
    keys, store, now, made = ring
    await keys.by_key(made.secret)
    store.is_away = True
    now.s = STALE_S - 1
    assert (await keys.by_key(made.secret)).key_id == made.key.key_id
    with pytest.raises(Unavailable):
        await keys.by_key(new().secret)
    now.s = STALE_S + 1
    with pytest.raises(Unavailable):
        await keys.by_key(made.secret)
    store.is_away = False
    now.s += 2
    assert (await keys.by_key(made.secret)).key_id == made.key.key_id


async def test_a_wrong_secret_is_nobody_and_not_asked_for_again_at_once(ring):
    keys, store, now, made = ring
    wrong = made.secret[:-1] + ("A" if made.secret[-1] != "A" else "B")
    assert await keys.by_key(wrong) is None
    assert await keys.by_key(wrong) is None
    assert store.asked == 1
    now.s = 1.5
    assert await keys.by_key(wrong) is None
    assert store.asked == 2
    for nonsense in ("", "pk_", "pk_a_b", made.secret + "x", "x" * 10_000, "pk_\x00"):
        assert await keys.by_key(nonsense) is None
    assert store.asked == 2


def test_the_secret_is_long_and_kept_nowhere(tmp_path: Path):
    made = new()
    assert len(made.secret.split("_", 2)[2]) * 6 >= 256
    assert made.secret not in repr(made.key)
    assert made.secret.split("_", 2)[2] not in repr(made.key)
