"""Limits and keys over a Redis that goes away, is slow, read-only, emptied, or guarded by TLS and users."""

import asyncio
import re
import socket
import time
from contextlib import asynccontextmanager, contextmanager

import pytest

from door.authority import Authority, free_port
from door.http_client import call
from make import goodbyes
from penstock.clock import SystemClock
from penstock.door import redis as door_redis
from penstock.door.asgi import Door
from penstock.door.keys import Keyring, create_key, make_key
from penstock.door.limit import Limiter
from penstock.door.memory import MemoryKeys
from penstock.door.problem import answer_json
from penstock.door.redis import AGAIN_S, ANSWER_S, RedisLimiter, RedisLine
from penstock.door.redis_keys import RedisKeyCache
from penstock.errors import Misconfigured
from penstock.model.access import Role
from redis_server import RedisServer

pytestmark = pytest.mark.redis
PATIENCE_S = 0.2
"""50 ms, on a machine that has other things to do."""


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """A busy machine may be slow; what is said about slowness is tested by those who ask for `impatient`."""
    monkeypatch.setattr(door_redis, "ANSWER_S", 2.0)


@pytest.fixture
def impatient(patient, monkeypatch):
    monkeypatch.setattr(door_redis, "ANSWER_S", ANSWER_S)


@pytest.fixture
def server(tmp_path):
    server = RedisServer(tmp_path)
    yield server
    server.kill()


@pytest.fixture
async def line(server):
    line = RedisLine(server.url)
    await line.check()
    yield line
    await line.close()


def limiter_of(line, processes=4):
    return RedisLimiter(line, Limiter(200, 400, processes=processes))


async def take(limiter, name="a"):
    """The quota by which a request was judged: 400 is the shared bucket, 100 this process's share."""
    return (await limiter.take(name)).quota


async def shared_again(limiter, within_s=AGAIN_S + 1):
    until = time.monotonic() + within_s
    while await take(limiter) != 400:
        assert time.monotonic() < until, "it does not come back"
        await asyncio.sleep(0.02)


@contextmanager
def hanging(server):
    server.hang()
    try:
        yield
    finally:
        server.wake()


async def test_two_processes_share_one_bucket(server, line):
    other = RedisLine(server.url)
    await other.check()
    one, two = limiter_of(line), limiter_of(other)
    started = time.monotonic()
    verdicts = await asyncio.gather(*(limiter.take("a") for limiter in [one, two] * 500))
    passed = sum(verdict.passes for verdict in verdicts)
    assert 400 <= passed <= 401 + 200 * (time.monotonic() - started)
    await other.close()


async def test_the_bucket_of_a_caller_who_went_away_vanishes(server, line):
    await RedisLimiter(line, Limiter(2, 2)).take("a")
    assert server.command("KEYS", "*bucket*")
    await asyncio.sleep(0.6)
    assert server.command("KEYS", "*bucket*") == []


async def test_what_comes_at_once_goes_out_together(line, server):
    """A thousand requests of one moment are a handful of calls."""
    limiter = limiter_of(line)
    await limiter.take("a")
    before = reads_of(server)
    await asyncio.gather(*(limiter.take(f"n{i}") for i in range(1_000)))
    assert reads_of(server) - before < 50


def reads_of(server):
    return server.command("INFO", "stats")["total_reads_processed"]


async def test_a_killed_redis_fails_nobody_and_is_shared_again_by_itself(server, line, capsys):
    limiter = limiter_of(line)
    assert await take(limiter) == 400
    server.kill()
    assert [await take(limiter) for _ in range(50)] == [100] * 50
    server.start()
    await shared_again(limiter)
    said = "".join(capsys.readouterr())
    assert (said.count("redis is away"), said.count("redis is back")) == (1, 1)


async def test_a_redis_that_is_away_is_tried_once_a_second(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.setblocking(False)
        monkeypatch.setattr(door_redis, "CONNECT_S", 0.1)
        line = RedisLine(f"redis://127.0.0.1:{silent.getsockname()[1]}")
        limiter, started, attempts = limiter_of(line), time.monotonic(), 0
        while time.monotonic() - started < 2.5 * AGAIN_S:
            assert await take(limiter) == 100
            await asyncio.sleep(0.01)
            try:
                silent.accept()[0].close()
            except BlockingIOError:
                continue
            attempts += 1
        await line.close()
    assert attempts == 3


async def test_a_redis_that_stops_answering_costs_a_request_fifty_milliseconds_once(server, line, impatient):
    limiter = limiter_of(line)
    await shared_again(limiter)
    with hanging(server):
        started = time.monotonic()
        quotas = await asyncio.gather(*(take(limiter, f"n{i}") for i in range(200)))
        assert quotas == [100] * 200
        later = time.monotonic()
        assert [await take(limiter) for _ in range(200)] == [100] * 200
        assert time.monotonic() - later < PATIENCE_S / 4, "nobody waits for a Redis that is known to be away"
        assert later - started < PATIENCE_S
    await shared_again(limiter)


async def test_a_stall_of_our_own_is_not_taken_for_a_slow_redis(line, impatient):
    limiter = limiter_of(line)
    for _ in range(8):
        asked = asyncio.ensure_future(limiter.take("a"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        time.sleep(0.06)  # noqa: ASYNC251  # the stall
        assert (await asked).quota == 400


async def test_a_replica_is_given_up_and_the_primary_found_again(server, line):
    limiter = limiter_of(line)
    assert await take(limiter) == 400
    server.command("REPLICAOF", "127.0.0.1", "1")
    assert await take(limiter) == 100
    await asyncio.sleep(AGAIN_S + 0.1)
    assert [await take(limiter) for _ in range(3)] == [100] * 3
    server.command("REPLICAOF", "NO", "ONE")
    await shared_again(limiter)


async def test_after_a_fail_over_the_name_is_asked_anew(server, tmp_path):
    """The old primary lives on as a replica, its connections stay open; the name leads to the new one."""
    (tmp_path / "new").mkdir()
    promoted, leads_to, carried = RedisServer(tmp_path / "new"), [server.port], []

    async def carry(reader, writer):
        carried.append(asyncio.current_task())
        back_reader, back_writer = await asyncio.open_connection("127.0.0.1", leads_to[0])
        await asyncio.gather(_pour(reader, back_writer), _pour(back_reader, writer))

    async with await asyncio.start_server(carry, "127.0.0.1", 0) as name:
        async with line_to(f"redis://127.0.0.1:{name.sockets[0].getsockname()[1]}") as line:
            await line.check()
            limiter = limiter_of(line)
            assert await take(limiter) == 400
            server.command("REPLICAOF", "127.0.0.1", "1")
            leads_to[0] = promoted.port
            assert await take(limiter) == 100
            await shared_again(limiter)
        await asyncio.gather(*carried)
    promoted.kill()


async def _pour(reader, writer):
    while data := await reader.read(65_536):
        writer.write(data)
    writer.close()


@pytest.mark.parametrize("setting", [("maxmemory", "1"), ("min-replicas-to-write", "1")])
async def test_a_redis_that_refuses_to_write_is_as_good_as_away(server, line, setting):
    limiter = limiter_of(line)
    assert await take(limiter) == 400
    server.command("CONFIG", "SET", *setting)
    assert await take(limiter) == 100
    server.command("CONFIG", "SET", setting[0], "0")
    await shared_again(limiter)


async def test_an_emptied_redis_means_full_buckets_and_a_forgotten_script_nothing(server, line):
    limiter = limiter_of(line)
    while (await limiter.take("a", 0.01, 5)).passes:
        pass
    server.command("SCRIPT", "FLUSH")
    assert not (await limiter.take("a", 0.01, 5)).passes
    server.command("FLUSHALL")
    assert (await limiter.take("a", 0.01, 5))[:2] == (True, 4)


async def test_a_bucket_that_somebody_broke_concerns_its_caller_only(server, line):
    limiter = limiter_of(line)
    server.command("LPUSH", "{penstock}:bucket:broken", "x")
    assert await take(limiter, "broken") == 100
    assert await take(limiter, "sound") == 400
    server.command("SET", "{penstock}:bucket:nonsense", "no number")
    assert await take(limiter, "nonsense") == 400


async def test_a_clock_that_was_set_back_is_an_empty_bucket_at_worst(server, line):
    limiter = limiter_of(line)
    server.command("SET", "{penstock}:bucket:a", "9" * 40)
    assert not (await limiter.take("a", 100, 10)).passes
    await asyncio.sleep(0.05)
    assert (await limiter.take("a", 100, 10)).passes


async def test_a_caller_who_hangs_up_harms_nobody(line):
    limiter = limiter_of(line)
    asked = [asyncio.ensure_future(limiter.take(f"n{i}")) for i in range(10)]
    await asyncio.sleep(0)
    for each in asked[::2]:
        each.cancel()
    assert [verdict.quota for verdict in await asyncio.gather(*asked[1::2])] == [400] * 5


async def test_closing_leaves_no_request_waiting(server):
    line = RedisLine(server.url)
    await line.check()
    limiter = limiter_of(line)
    with hanging(server):
        asked = [asyncio.ensure_future(limiter.take("a")) for _ in range(3)]
        await asyncio.sleep(0.01)
        await line.close()
        assert [verdict.quota for verdict in await asyncio.gather(*asked)] == [100] * 3


async def test_whatever_befalls_redis_under_load_no_request_fails_or_waits(server, line, impatient):
    """Killed, hung, emptied, made a replica, back again: limits and keys are only ever asked for there."""
    keys, statuses, waits_s = MemoryKeys(SystemClock()), [], []
    made = make_key(SystemClock(), name="t", role=Role.VIEWER, sites=["*"], created_by="t", rate=1e6, burst=1e6)
    secret = await create_key(keys, made)
    limiter = RedisLimiter(line, Limiter(200, 400))
    cache = RedisKeyCache(line, b"a secret of thirty-two bytes, or more")

    async def send_on(stop):
        while not stop.is_set():
            started = time.monotonic()
            door = Door({}, hello, Keyring(keys, shared=cache), limiter)  # a new one knows no key yet
            statuses.append((await get(door, secret)).status)
            waits_s.append(time.monotonic() - started)

    stop = asyncio.Event()
    sending = [asyncio.ensure_future(send_on(stop)) for _ in range(8)]
    for befall in (
        server.kill, server.start, server.hang, server.wake, lambda: server.command("FLUSHALL"),
        lambda: server.command("REPLICAOF", "127.0.0.1", "1"), lambda: server.command("REPLICAOF", "NO", "ONE"),
    ):  # fmt: skip
        await asyncio.to_thread(befall)
        await asyncio.sleep(0.3)
    stop.set()
    await asyncio.gather(*sending)
    assert set(statuses) == {200}
    assert len(statuses) > 500
    assert sorted(waits_s)[-9] < 2 * PATIENCE_S
    await shared_again(limiter_of(line))


async def test_a_noisy_client_keeps_no_honest_one_out(server, line):
    """One at ten times its rate beside twenty honest ones, over two doors; the bucket is exact to 1 %."""
    keys, noisy_rate, seconds = MemoryKeys(SystemClock()), 2_000, 1.5
    made = [make_key(SystemClock(), name="t", role=Role.VIEWER, sites=["*"], created_by="t") for _ in range(21)]
    secrets = [await create_key(keys, each) for each in made]
    other = RedisLine(server.url)
    await other.check()
    doors = [Door({}, hello, Keyring(keys), limiter_of(each)) for each in (line, other)]

    async def send(secret, rate):
        """Statuses, open loop: what is due is sent, answered or not; how long was sent; how long it all took."""
        started, asked, sent_s = time.monotonic(), [], []
        while (since := time.monotonic() - started) < seconds:
            due = int(since * rate) - len(asked)
            asked += [asyncio.ensure_future(get(doors[i % 2], secret)) for i in range(due)]
            sent_s += [since] * due
            await asyncio.sleep(0.005)
        statuses = [answer.status for answer in await asyncio.gather(*asked)]
        return statuses, sent_s[-1] - sent_s[0], time.monotonic() - started

    (noisy, sent_s, took_s), *honest = await asyncio.gather(
        send(secrets[0], noisy_rate), *(send(secret, 20) for secret in secrets[1:])
    )
    assert all(statuses.count(200) >= 0.99 * len(statuses) for statuses, *_ in honest)
    assert set(noisy) == {200, 429}
    assert 0.99 * (400 + 200 * sent_s) - 1 <= noisy.count(200) <= 1.01 * (400 + 200 * took_s) + 1
    await other.close()


async def hello(scope, receive, send):
    await answer_json(send, 200, {})


async def get(door, secret):
    return await call(door, "GET", "/v1/tags", headers={"x-api-key": secret}, body=b"")


async def test_a_refusal_names_the_limit_that_refused(server, line):
    keys = MemoryKeys(SystemClock())
    made = make_key(SystemClock(), name="t", role=Role.VIEWER, sites=["*"], created_by="t", rate=1.0, burst=8.0)
    secret = await create_key(keys, made)
    door = Door({}, hello, Keyring(keys), limiter_of(line))
    answers = [await get(door, secret) for _ in range(9)]
    assert [answer.status for answer in answers] == [200] * 8 + [429]
    assert answers[-1].headers["retry-after"] == "1"
    assert answers[-1].headers["ratelimit-policy"] == '"default";q=8;w=8'
    server.kill()
    answers = [await get(door, secret) for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert answers[-1].headers["ratelimit-policy"] == '"default";q=2;w=8'


RIGHTS = re.search(r"`(~\{penstock\}.*?)`", door_redis.__doc__)[1].split()


@pytest.fixture
def guarded(tmp_path):
    """A server with TLS only for its user `door`, whose rights are those that the module asks for."""
    authority, tls_port = Authority(tmp_path / "ca"), free_port()
    server = RedisServer(tmp_path, *authority.redis_options(tls_port))
    server.command("ACL", "SETUSER", "door", "on", ">s3cret-word", *RIGHTS)
    server.command("ACL", "SETUSER", "weak", "on", ">s3cret-word", "~{penstock}:*", "+@connection", "+get", "+set")
    server.authority, server.tls = authority, f"127.0.0.1:{tls_port}/0"
    yield server
    server.kill()


@asynccontextmanager
async def line_to(url):
    async with goodbyes():
        line = RedisLine(url)
        try:
            yield line
        finally:
            await line.close()


async def test_limits_are_shared_over_tls_by_a_user_with_no_more_rights_than_it_needs(guarded):
    async with line_to(f"rediss://door:s3cret-word@{guarded.tls}?ssl_ca_certs={guarded.authority.ca}") as line:
        await line.check()
        limiter = limiter_of(line)
        assert [await take(limiter) for _ in range(3)] == [400] * 3
        guarded.command("SCRIPT", "FLUSH")
        assert await take(limiter) == 400


@pytest.mark.parametrize(
    ("scheme", "user", "query", "says"),
    [
        ("rediss", "door:wrong-word@", "?ssl_ca_certs={ca}", "no such user and password"),
        ("rediss", "nobody:s3cret-word@", "?ssl_ca_certs={ca}", "no such user and password"),
        ("rediss", "weak:s3cret-word@", "?ssl_ca_certs={ca}", "does not allow"),
        ("rediss", "door:s3cret-word@", "", "certificate is not trusted"),
        ("rediss", "door:s3cret-word@", "?ssl_ca_certs=/nowhere/ca.pem", "cannot be read"),
        ("redis", "door:s3cret-word@", "?ssl_ca_certs={ca}", "not the address"),
        ("http", "door:s3cret-word@", "", "not the address"),
        ("redis", "door:s3cret-word@x:y", "", "not the address"),
    ],
)
async def test_what_waiting_cannot_mend_is_said_at_start(guarded, scheme, user, query, says):
    url = f"{scheme}://{user}{guarded.tls}{query.format(ca=guarded.authority.ca)}"
    with pytest.raises(Misconfigured, match=f"cache.url: .*{says}.*Mend: ") as raised:
        async with line_to(url) as line:
            await line.check()
    assert "-word" not in str(raised.value), "a password is in no message"


async def test_a_redis_that_is_not_there_yet_stops_no_start():
    async with line_to(f"redis://127.0.0.1:{free_port()}/0") as line:
        await line.check()
        assert await take(limiter_of(line)) == 100


async def test_a_password_that_changes_later_only_parts_the_processes(guarded, capsys):
    async with line_to(f"rediss://door:s3cret-word@{guarded.tls}?ssl_ca_certs={guarded.authority.ca}") as line:
        await line.check()
        limiter = limiter_of(line)
        guarded.command("ACL", "SETUSER", "door", "resetpass", ">another")
        guarded.command("CLIENT", "KILL", "USER", "door")
        assert await take(limiter) == 100
        await asyncio.sleep(0.1)
        assert await take(limiter) == 100
        guarded.command("ACL", "SETUSER", "door", "resetpass", ">s3cret-word")
        await shared_again(limiter)
    assert "-word" not in "".join(capsys.readouterr())
