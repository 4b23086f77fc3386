"""One key, many doors: who asks the store, who is believed while it is away, and who can deceive whom."""

import asyncio

import pytest

from penstock.clock import SystemClock
from penstock.door import redis
from penstock.door.keys import FRESH_S, LOOK_S, STALE_S, Keyring, create_key, make_key, sha256
from penstock.door.memory import MemoryKeys
from penstock.door.port import Recalled
from penstock.door.redis import RedisLine
from penstock.door.redis_keys import RedisKeyCache
from penstock.errors import Misconfigured, Unavailable
from penstock.model.access import Caller, Role
from redis_server import RedisServer

pytestmark = pytest.mark.redis
SECRET = b"the fleet's own secret, long and random enough"


def new(role=Role.WRITER, **more):
    return make_key(SystemClock(), name="line 3", role=role, sites=["lyon", "oslo"], created_by="me", **more)


class Store(MemoryKeys):
    """Counts the questions, is away when told so, and can be held between reading and answering."""

    def __init__(self):
        super().__init__(SystemClock())
        self.asked, self.is_away = 0, False
        self.answering, self.read = asyncio.Event(), asyncio.Event()
        self.answering.set()

    async def key(self, key_id):
        self.asked += 1
        if self.is_away:
            raise Unavailable("away")
        key = await super().key(key_id)
        self.read.set()
        await self.answering.wait()
        return key


class Now:
    s = 0.0

    def __call__(self):
        return self.s


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.kill()


class Fleet:
    """Doors of several processes, all with one store; time passes for them and for what Redis remembers."""

    def __init__(self, server):
        self.server, self.store, self.now, self.lines = server, Store(), Now(), []

    async def cache(self, secret=SECRET):
        line = RedisLine(self.server.url)
        await line.check()
        self.lines.append(line)
        return Aging(line, secret, self.now)

    async def door(self, secret=SECRET):
        return Keyring(self.store, self.now, shared=await self.cache(secret))

    async def key(self, **more):
        made = new(**more)
        return await create_key(self.store, made), made.key.key_id

    def names(self, pattern="*:key:*"):
        return self.server.command("KEYS", pattern)


class Aging(RedisKeyCache):
    """Redis's own clock cannot be moved; so a record's age is told by the test's."""

    def __init__(self, line, secret, now):
        super().__init__(line, secret)
        self._now = now

    async def recall(self, key_id, digest):
        recalled = await super().recall(key_id, digest)
        if recalled.caller is None:
            return recalled
        return recalled._replace(age_s=recalled.age_s + self._now.s)


@pytest.fixture
async def fleet(server, monkeypatch):
    monkeypatch.setattr(redis, "ANSWER_S", 2.0)  # a busy machine may be slow
    server.command("FLUSHALL")
    fleet = Fleet(server)
    yield fleet
    for line in fleet.lines:
        await line.close()


async def test_many_doors_ask_the_store_once(fleet):
    secret, key_id = await fleet.key(rate=7.5, burst=None)
    callers = [await (await fleet.door()).by_key(secret) for _ in range(5)]
    assert callers == [Caller(key_id, "line 3", Role.WRITER, frozenset({"lyon", "oslo"}), 7.5, None)] * 5
    assert fleet.store.asked == 1


async def test_one_of_all_doors_looks_anew_for_the_others(fleet):
    secret, _ = await fleet.key()
    doors = [await fleet.door() for _ in range(4)]
    for door in doors:
        await door.by_key(secret)
    (name,) = fleet.names()
    fleet.now.s = LOOK_S + 0.1
    fleet.server.command("PEXPIRE", name, round((STALE_S - LOOK_S) * 1000))
    fleet.store.answering.clear()
    fleet.store.read.clear()
    looking = asyncio.ensure_future(doors[0].by_key(secret))
    await fleet.store.read.wait()
    for door in doors[1:]:
        assert await door.by_key(secret), "the others do not wait for it"
    fleet.store.answering.set()
    assert await looking
    assert fleet.store.asked == 2


async def test_a_door_that_starts_while_the_store_is_away_knows_the_keys_used_lately(fleet):
    secret, key_id = await fleet.key()
    await (await fleet.door()).by_key(secret)
    fleet.store.is_away = True
    fleet.now.s = STALE_S - 1
    late = await fleet.door()
    for _ in range(3):
        assert (await late.by_key(secret)).key_id == key_id
    with pytest.raises(Unavailable):
        await late.by_key(new().secret)
    assert (await late.by_key(secret)).key_id == key_id, "others' unknown keys are not its trouble"
    fleet.now.s = STALE_S + 1
    with pytest.raises(Unavailable):
        await late.by_key(secret)


async def test_what_was_recalled_is_not_young_again(fleet):
    """Ages add up to no more than one life, through however many doors an answer goes."""
    secret, _ = await fleet.key()
    await (await fleet.door()).by_key(secret)
    fleet.store.is_away = True
    for fleet.now.s in (STALE_S / 3, STALE_S / 1.5, STALE_S - 1):
        assert await (await fleet.door()).by_key(secret)
    fleet.now.s = STALE_S + 1
    with pytest.raises(Unavailable):
        await (await fleet.door()).by_key(secret)


@pytest.mark.parametrize("is_told", [True, False], ids=["through a door", "behind the doors' backs"])
async def test_a_revocation_takes_hold_within_five_seconds_everywhere(fleet, is_told):
    secret, key_id = await fleet.key()
    doors = [await fleet.door() for _ in range(3)]
    for fleet.now.s, door in zip((0.0, 1.5, 3.0), doors, strict=True):
        assert await door.by_key(secret)
    revoked_s = fleet.now.s
    await (doors[0] if is_told else fleet.store).revoke(key_id, "boss")
    fleet.now.s = revoked_s + (LOOK_S if is_told else FRESH_S)
    assert [await door.by_key(secret) for door in [*doors, await fleet.door()]] == [None] * 4


async def test_a_lookup_that_read_before_a_revocation_and_writes_after_it_revives_nothing(fleet):
    secret, key_id = await fleet.key()
    slow, other = await fleet.door(), await fleet.door()
    fleet.store.answering.clear()
    looking = asyncio.ensure_future(slow.by_key(secret))
    await fleet.store.read.wait()
    await other.revoke(key_id, "boss")
    fleet.store.answering.set()
    await looking
    assert fleet.names(), "the record of the slow one is there"
    assert await other.by_key(secret) is None
    assert await (await fleet.door()).by_key(secret) is None
    fleet.store.is_away = True
    with pytest.raises(Unavailable):
        await (await fleet.door()).by_key(secret)
    fleet.now.s = LOOK_S + 0.1
    with pytest.raises(Unavailable):
        await slow.by_key(secret)


async def test_the_age_counts_from_before_the_question(fleet):
    secret, _ = await fleet.key()
    door, cache = await fleet.door(), await fleet.cache()
    fleet.store.answering.clear()
    looking = asyncio.ensure_future(door.by_key(secret))
    await asyncio.sleep(0.3)
    fleet.store.answering.set()
    key_id = (await looking).key_id
    assert (await cache.recall(key_id, sha256(secret))).age_s >= 0.25


async def test_nothing_in_redis_leads_to_a_key(fleet):
    secret, _ = await fleet.key()
    await (await fleet.door()).by_key(secret)
    held = [name + fleet.server.command("GET", name) for name in fleet.names("*")]
    assert held
    digest = sha256(secret)
    for told in (secret.encode(), secret.split("_", 2)[2].encode(), digest, digest.hex().encode()):
        assert not any(told in each for each in held)


async def test_who_can_write_to_redis_cannot_raise_a_role_make_up_a_key_or_move_a_record(fleet):
    small, small_id = await fleet.key(role=Role.VIEWER)
    great, great_id = await fleet.key(role=Role.ADMIN)
    (door, cache), forger = (await fleet.door(), await fleet.cache()), await fleet.cache(b"x" * 32)
    await door.by_key(small)
    (small_name,) = fleet.names()
    await door.by_key(great)
    (great_name,) = set(fleet.names()) - {small_name}
    record, great_record = (fleet.server.command("GET", name) for name in (small_name, great_name))

    async def believed(forged):
        fleet.server.command("SET", small_name, forged, "PX", 600_000)
        return (await cache.recall(small_id, sha256(small))).caller

    assert (await believed(record)).role == Role.VIEWER
    assert await believed(record.replace(b"viewer", b"admin!")) is None
    assert await believed(great_record) is None, "a record holds only where it was written"
    made_up = sha256(f"pk_{great_id}_{'A' * 43}")
    fleet.server.command("SET", cache._place(made_up), great_record, "PX", 600_000)
    assert (await cache.recall(great_id, made_up)).caller is None
    for i in range(len(record)):
        assert await believed(record[:i] + bytes([record[i] ^ 1]) + record[i + 1 :]) is None, i
    for broken in (b"", b"\xc1", record[:31], record[:32], record + b"\0"):
        assert await believed(broken) is None
    admin = Caller(small_id, "me", Role.ADMIN, frozenset("*"))
    fleet.server.command("DEL", small_name)
    await forger.keep(sha256(small), admin, 2**60)
    for name in fleet.names():
        assert await believed(fleet.server.command("GET", name)) is None
    fleet.server.command("DEL", small_name)
    fleet.server.command("LPUSH", small_name, "not even a string")
    assert await cache.recall(small_id, sha256(small)) == Recalled()
    assert (await (await fleet.door()).by_key(small)).role == Role.VIEWER


async def test_a_record_put_back_is_as_old_as_it_was(fleet):
    """Whoever can write can undo a forgetting, but not make it younger."""
    secret, key_id = await fleet.key()
    door, cache = await fleet.door(), await fleet.cache()
    await door.by_key(secret)
    (name,) = fleet.names()
    record = fleet.server.command("GET", name)
    await asyncio.sleep(0.2)
    fleet.server.command("SET", name, record, "PX", 600_000)
    assert (await cache.recall(key_id, sha256(secret))).age_s >= 0.15


async def test_doors_of_another_secret_share_nothing(fleet):
    secret, _ = await fleet.key()
    await (await fleet.door()).by_key(secret)
    await (await fleet.door(b"another secret of some other fleet")).by_key(secret)
    assert (fleet.store.asked, len(fleet.names())) == (2, 2)


async def test_a_short_secret_is_refused(fleet):
    with pytest.raises(Misconfigured, match="cache_secret"):
        await fleet.cache(b"secret")


async def test_records_vanish_when_nobody_may_believe_them(fleet):
    secret, key_id = await fleet.key()
    door = await fleet.door()
    await door.by_key(secret)
    await door.revoke(key_id, "boss")
    names = fleet.names("*")
    assert len(names) >= 2
    assert all(0 < fleet.server.command("PTTL", name) <= STALE_S * 1000 for name in names)


async def test_without_redis_every_door_asks_the_store_itself(fleet, tmp_path):
    server = RedisServer(tmp_path)
    line = RedisLine(server.url)
    await line.check()
    door = Keyring(fleet.store, fleet.now, shared=RedisKeyCache(line, SECRET))
    server.kill()
    secret, key_id = await fleet.key()
    assert (await door.by_key(secret)).key_id == key_id
    fleet.now.s = LOOK_S
    await door.revoke(key_id, "boss")
    assert await door.by_key(secret) is None
    await line.close()
