"""A connection learns user and password as it opens, follows them when they change, and tells nobody."""

import asyncio
import subprocess
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from penstock.doctor import run_doctor
from penstock.door.redis import RedisLine
from penstock.errors import Misconfigured, Unavailable
from penstock.secrets.vault import AGAIN_S
from penstock.settings import read_settings
from penstock.store.embedded import EmbeddedPostgres
from penstock.store.migrate import reader_url
from penstock.store.postgres import Database, connect, translated
from penstock.store.redis import RedisLatest
from penstock.store.tools import tool_login
from redis_server import RedisServer
from secrets_fake.http import FakeSecretsManager

CANARY = "c4n4ry:of\\this test"


class Place:
    """A database, and a login of its own whose password is in a secret."""

    def __init__(self, superuser_url: str, manager: FakeSecretsManager, name: str) -> None:
        parts = conninfo_to_dict(superuser_url)
        self.superuser_url, self.manager, self.name = superuser_url, manager, name
        self.bare = f"postgresql://{parts['host']}:{parts['port']}/{parts['dbname']}"
        self.url = f"{self.bare}?credentials=secret://{name}"
        self.let_in(CANARY)
        self.store(CANARY)

    def superuser(self) -> psycopg.Connection:
        return psycopg.connect(self.superuser_url, autocommit=True)

    def let_in(self, password: str) -> None:
        with self.superuser() as connection:
            if not connection.execute("select 1 from pg_roles where rolname = %s", (self.name,)).fetchone():
                connection.execute(f"create role {self.name} login")
            connection.execute(
                sql.SQL("alter role {} password {}").format(sql.Identifier(self.name), sql.Literal(password))
            )

    def store(self, password: str) -> None:
        self.manager.put(self.name, {"username": self.name, "password": password})


@pytest.fixture
def place(empty_database_url: str, manager: FakeSecretsManager, name: str) -> Iterator[Place]:
    made = Place(empty_database_url, manager, name)
    yield made
    with made.superuser() as connection:
        connection.execute(f"drop owned by {name}; drop role {name}")


async def test_a_pool_opens_by_reference_and_keeps_no_password(place: Place):
    database = Database(place.url, application="test", connections_max=2)
    await database.open()
    async with database.connection() as connection:
        row = await (await connection.execute("select current_user")).fetchone()
    flush = await database.connect("flush")
    assert row == (place.name,)
    assert not flush.closed
    await flush.close()
    await database.close()
    assert CANARY not in repr(vars(database))
    assert CANARY not in database.url


async def test_a_changed_password_is_followed_at_once(place: Place):
    async with await connect(place.url, application="test"):
        pass
    place.let_in("another")
    place.store("another")
    await asyncio.sleep(AGAIN_S)
    async with asyncio.timeout(5), await connect(place.url, application="test") as connection:
        assert connection.info.user == place.name


async def test_a_secret_that_lags_behind_is_waited_for(place: Place):
    async with await connect(place.url, application="test"):
        pass
    place.let_in("another")
    waiting = asyncio.create_task(connect(place.url, application="test"))
    await asyncio.sleep(1)
    assert not waiting.done()
    place.store("another")
    async with asyncio.timeout(5), await waiting as connection:
        assert connection.info.user == place.name


async def test_a_password_that_stays_wrong_is_named_not_shown(place: Place):
    place.let_in("another")
    with pytest.raises(Unavailable) as failed, translated():
        await connect(place.url, application="test", patience_s=0.1)
    assert f"secret://{place.name}" in str(failed.value)
    assert "password authentication failed" in str(failed.value)
    assert CANARY not in "".join(traceback.format_exception(failed.value))
    reached, seen = [failed.value], list[object]()
    while reached:
        error = reached.pop()
        seen += [repr(vars(error)), repr(getattr(error, "pgconn", None))]
        reached += [cause for cause in (error.__cause__, error.__context__) if cause is not None]
    assert CANARY not in str(seen)


@pytest.mark.parametrize(
    ("value", "why"),
    [({"username": "x"}, "'password'"), ("bare", "names no user"), ({"password": "p"}, "names no user")],
)
async def test_a_secret_of_the_wrong_shape_is_named_when_the_pool_opens(place: Place, value: object, why: str):
    place.manager.put(place.name, value)
    with pytest.raises(Misconfigured, match=why) as refused, translated():
        async with await connect(place.url, application="test"):
            pass
    assert refused.value.setting == "store.url"


async def test_a_secret_that_is_not_there_is_named_when_the_pool_opens(place: Place, name: str):
    database = Database(f"{place.bare}?credentials=secret://{name}-absent", application="test")
    with pytest.raises(Misconfigured, match="no such secret"):
        await database.open()
    await database.close()


def test_the_doctor_names_the_reference(place: Place, tmp_path: Path):
    place.let_in("another")
    tmp_path.chmod(0o700)
    url = f"redis://127.0.0.1:1/0?credentials=secret://{place.name}"
    checks = run_doctor(read_settings(data=tmp_path, store={"url": place.url}, cache={"url": url}))
    found = {check.name: f"{check.detail} {check.mend}" for check in checks}
    assert f"secret://{place.name}" in found["database"]
    assert "Redis" in found["cache"] or "redis" in found["cache"]
    assert CANARY not in str(found)


def test_programs_get_the_password_by_no_list_and_no_environment(place: Place, embedded_server: EmbeddedPostgres):
    login = tool_login(place.url)
    assert CANARY not in f"{login.dbname} {login.environment}"
    assert "PGPASSWORD" not in login.environment
    script = f"import psycopg; print(psycopg.connect({login.dbname!r}).info.user)"
    with login.file:
        done = subprocess.run(
            [sys.executable, "-c", script],
            env=dict(login.environment),
            pass_fds=[login.file.fileno()],
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.stdout.strip() == place.name, done.stderr


async def test_a_readers_url_says_nothing_of_our_own_secret(place: Place):
    with place.superuser() as connection:
        connection.execute(f"alter role {place.name} createrole")
        if not connection.execute("select 1 from pg_roles where rolname = 'penstock_reader'").fetchone():
            connection.execute("create role penstock_reader")
        connection.execute(f"grant penstock_reader to {place.name} with admin option")
    url = await reader_url(place.url, place.name.removeprefix("test_").replace("_", "x")[-8:].join(("r", "")))
    assert "credentials" not in url
    assert CANARY not in url
    with place.superuser() as connection:
        connection.execute(f"drop role {conninfo_to_dict(url)['user']}")


@pytest.fixture
def redis(tmp_path: Path, manager: FakeSecretsManager, name: str) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    server.command("ACL", "SETUSER", "ada", "on", ">one", "~{penstock}:*", "+@all")
    manager.put(name, {"username": "ada", "password": "one"})
    yield server
    server.kill()


def redis_url(server: RedisServer, name: str) -> str:
    return f"redis://127.0.0.1:{server.port}/0?credentials=secret://{name}"


@pytest.mark.redis
async def test_redis_is_entered_by_reference_and_a_new_password_is_followed(
    redis: RedisServer, manager: FakeSecretsManager, name: str
):
    latest, line = RedisLatest(redis_url(redis, name)), RedisLine(redis_url(redis, name))
    await latest.check()
    await line.check()
    await line.set("{penstock}:x", 1, 10)
    redis.command("ACL", "SETUSER", "ada", "resetpass", ">two")
    manager.put(name, {"username": "ada", "password": "two"})
    await asyncio.sleep(AGAIN_S)
    other, doors = RedisLatest(redis_url(redis, name)), RedisLine(redis_url(redis, name))
    assert await other.alive(), "refused once, it asked for the new one"
    redis.command("ACL", "SETUSER", "ada", "resetpass", ">three")
    manager.put(name, {"username": "ada", "password": "three"})
    await asyncio.sleep(AGAIN_S)
    await doors.check()
    await doors.set("{penstock}:x", 1, 10)
    for part in (latest, other, line, doors):
        await part.close()


@pytest.mark.redis
async def test_what_is_wrong_with_the_secret_of_redis_is_named(
    redis: RedisServer, manager: FakeSecretsManager, name: str
):
    manager.put(name, {"username": "ada", "password": CANARY})
    manager.put(f"{name}-odd", {"user": "ada"})
    for secret, why in ((name, "Redis refuses"), (f"{name}-odd", "'password'"), (f"{name}-absent", "no such secret")):
        for part in (RedisLatest(redis_url(redis, secret)), RedisLine(redis_url(redis, secret))):
            try:
                with pytest.raises(Misconfigured) as refused:
                    await part.check()
            finally:
                await part.close()
            assert refused.value.setting == "cache.url"
            assert why in str(refused.value)
            assert f"secret://{secret}" in str(refused.value)
            assert CANARY not in "".join(traceback.format_exception(refused.value))
