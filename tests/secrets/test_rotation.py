"""Two logins take turns: nobody is ever refused, every step may be run again, and nothing is said aloud."""

import json
import logging
import shutil
import subprocess
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

import penstock
from penstock.secrets.rotation import database, handler
from penstock.secrets.rotation.handler import RotationFailed, rotate
from penstock.store.embedded import EmbeddedPostgres
from penstock.store.migrate import migrate, migrations
from penstock.store.postgres import Database
from secrets_fake.http import FakeSecretsManager
from secrets_fake.rotating import Rotating, rotating

KINDS = ("superuser", "as on RDS")


@pytest.fixture(params=KINDS)
def plant(
    request: pytest.FixtureRequest, empty_database_url: str, manager: FakeSecretsManager, name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Rotating]:  # fmt: skip
    handler.client.cache_clear()
    admin = f"{name}_master" if request.param == KINDS[1] else ""
    for made in rotating(empty_database_url, manager, name, {}, admin):
        for variable, value in made.environment.items():
            monkeypatch.setenv(variable, value)
        yield made


only_rds = pytest.mark.parametrize("plant", KINDS[1:], indirect=True)


async def test_the_first_rotation_makes_the_roles_and_the_application_works(plant: Rotating):
    first = plant.rotate()
    assert first["username"] == "penstock_a"
    assert len(first["password"]) == 40
    assert await migrate(plant.url) == [it.number for it in migrations()]
    with plant.superuser() as connection:
        owners = connection.execute("select distinct tableowner from pg_tables where schemaname = 'public'").fetchall()
    assert owners == [("penstock_owner",)]


async def test_logins_take_turns_and_the_one_before_stays_good(plant: Rotating):
    one = plant.rotate()
    await migrate(plant.url)
    two = plant.rotate()
    assert (one["username"], two["username"]) == ("penstock_a", "penstock_b")
    with plant.connect(one) as old, plant.connect(two) as new:
        old.execute("create table made_by_the_old (n integer)")
        new.execute("alter table made_by_the_old add m integer")
        new.execute("drop table made_by_the_old")
        three = plant.rotate()
        assert three["username"] == "penstock_a"
        assert three["password"] != one["password"]
        assert old.execute("select count(*) from migration").fetchone(), "who is in stays in"
    with pytest.raises(psycopg.OperationalError):
        plant.connect(one)
    plant.connect(two).close()


@only_rds
async def test_what_the_administrator_made_before_becomes_the_groups_and_both_go_on(plant: Rotating):
    text = plant.manager.secrets.call("GetSecretValue", {"SecretId": plant.admin_secret})["SecretString"]
    await migrate(f"{plant.place}?credentials=secret://{plant.admin_secret}")
    with plant.connect(json.loads(text)) as old:
        plant.rotate()
        with plant.connect(plant.current()) as new:
            new.execute("alter table tag add column of_the_new integer")
            old.execute("insert into tag (path, version) values ('a/b', 1)")
            new.execute("insert into tag (path, version) values ('a/c', 1)")
            count = new.execute("select count(*) from tag").fetchone()
        assert count == (2,)
        kinds = old.execute("select relkind, relname from pg_class where relnamespace = 'public'::regnamespace"
                            " and pg_get_userbyid(relowner) <> 'penstock_owner'").fetchall()  # fmt: skip
    assert kinds == []


@only_rds
def test_once_the_roles_are_there_the_right_to_alter_two_logins_is_enough(plant: Rotating, name: str):
    plant.rotate()
    with plant.superuser() as connection:
        if connection.info.server_version < 160_000:
            pytest.skip("this machine's PostgreSQL knows no such right before 16")
        connection.execute(f"create role {name}_least login createrole password 'least'")
        connection.execute(f"grant penstock_a, penstock_b to {name}_least with admin true, inherit false, set false")
    plant.manager.put(plant.admin_secret, {"username": f"{name}_least", "password": "least"})
    try:
        plant.connect(plant.rotate()).close()
        plant.connect(plant.rotate()).close()
    finally:
        with plant.superuser() as connection:
            connection.execute(f"drop owned by {name}_least; drop role {name}_least")


@only_rds
def test_a_login_that_is_current_before_it_exists_is_let_in_as_well(plant: Rotating):
    first = {"username": "penstock_a", "password": "from the first apply", "engine": "postgres"}
    plant.manager.put(plant.secret, first)
    second = plant.rotate()
    assert second["username"] == "penstock_b"
    assert second["engine"] == "postgres"
    for login in (first, second):
        plant.connect(login).close()


@only_rds
def test_every_step_may_be_repeated(plant: Rotating):
    plant.rotate()
    before = plant.current()
    events = plant.events()
    for event in events:
        rotate(event, None)
        rotate(event, None)
    for event in events:
        rotate(event, None)
    assert plant.current()["username"] == "penstock_b"
    for login in (before, plant.current()):
        plant.connect(login).close()


class Crash(BaseException):
    """The function ends here."""


class Failpoints:
    """Crashes at the n-th thing asked of the outside, before it is done or after."""

    def __init__(self, at: int, *, after: bool) -> None:
        self.left, self.after = at, after

    def through(self, do: object) -> object:
        def wrapped(*args: object, **named: object) -> object:
            self.left -= 1
            if self.left == 0 and not self.after:
                raise Crash
            done = do(*args, **named)  # type: ignore[operator]
            if self.left == 0:
                raise Crash
            return done

        return wrapped


class Broken:
    """A client of Secrets Manager that may crash at each call."""

    def __init__(self, client: object, points: Failpoints) -> None:
        self._client, self._points = client, points

    def __getattr__(self, name: str) -> object:
        found = getattr(self._client, name)
        return self._points.through(found) if callable(found) and name != "exceptions" else found


@only_rds
def test_a_crash_anywhere_is_mended_by_running_it_again(plant: Rotating, monkeypatch: pytest.MonkeyPatch):
    plant.rotate()
    crashes, client = 0, handler.client()
    asked = ("connect", "prepare_roles", "set_password", "works")
    own = {name: getattr(database, name) for name in asked}
    for after in (False, True):
        for at in range(1, 100):
            before, events, points = plant.current(), plant.events(), Failpoints(at, after=after)
            monkeypatch.setattr(handler, "client", lambda points=points: Broken(client, points))
            for name in asked:
                monkeypatch.setattr(database, name, points.through(own[name]))
            try:
                plant.rotate(events)
            except Crash:
                crashes += 1
                plant.connect(plant.current()).close()  # whoever comes now is let in
                points.left = -1
                plant.rotate(events)
            else:
                break
            assert plant.current()["username"] != before["username"]
            for login in (before, plant.current()):
                plant.connect(login).close()
    assert crashes > 20


@only_rds
def test_no_log_holds_a_password(plant: Rotating, embedded_server: EmbeddedPostgres, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, "penstock")
    with plant.superuser() as connection:
        connection.execute(f"alter role {plant.admin} set log_statement = 'all'")
    logins = [plant.rotate(), plant.rotate()]
    said = (embedded_server.directory / "log").read_text() + caplog.text
    assert "alter role" in said
    assert "finishSecret" in said
    for login in logins:
        assert login["password"] not in said


def refused(plant: Rotating) -> str:
    with pytest.raises(RotationFailed) as failed:
        plant.rotate()
    shown = "".join(traceback.format_exception(failed.value))
    for secret in plant.manager.secrets.secrets.values():
        for text in secret.versions.values():
            password = json.loads(text).get("password")
            assert not password or password not in shown
    assert "Mend: " in str(failed.value)
    return str(failed.value)


@only_rds
def test_what_stops_it_is_named_with_its_mend(plant: Rotating, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PENSTOCK_ROTATION_DATABASE", f"{plant.place}?sslmode=verify-full")
    assert "sslrootcert" in refused(plant)
    monkeypatch.setenv("PENSTOCK_ROTATION_DATABASE", "postgresql://127.0.0.1:1/penstock")
    assert "security groups" in refused(plant)
    monkeypatch.delenv("PENSTOCK_ROTATION_DATABASE")
    assert "PENSTOCK_ROTATION_DATABASE" in refused(plant)
    monkeypatch.setenv("PENSTOCK_ROTATION_DATABASE", plant.place)
    plant.manager.put(plant.admin_secret, {"username": "nobody", "password": "wr0ng"})
    assert "PENSTOCK_ROTATION_ADMIN must be" in refused(plant)
    plant.manager.secrets.denied.add(plant.admin_secret)
    assert "the function's role" in refused(plant)


@only_rds
def test_a_step_out_of_order_does_nothing(plant: Rotating):
    _, set_secret, test_secret, finish_secret = plant.events()
    for event in (set_secret, test_secret, finish_secret):
        with pytest.raises(RotationFailed, match="createSecret"):
            rotate(event, None)
    assert plant.current() == {}


@only_rds
async def test_the_application_follows_a_rotation_it_was_not_told_of(plant: Rotating):
    plant.rotate()
    app = Database(plant.url, application="test", connections_max=2)
    await app.open()
    for _ in range(3):
        plant.rotate()
        async with app.connection() as connection:
            await connection.execute("select 1")
            await connection.close()  # the next one logs in anew
    async with app.connection() as connection:
        found = await (await connection.execute("select session_user, current_user")).fetchone()
    await app.close()
    assert found == (plant.current()["username"], "penstock_owner")


def test_the_package_of_the_function_needs_no_other_file(tmp_path: Path):
    source, asset = Path(penstock.__file__).parent, tmp_path / "penstock"
    asset.mkdir()
    for file in ("__init__.py", "errors.py"):
        shutil.copy(source / file, asset)
    shutil.copytree(source / "secrets", asset / "secrets")
    script = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from penstock.secrets.rotation.handler import rotate\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules} - sys.stdlib_module_names))\n"
        "print(sys.modules['penstock'].__file__, sorted(name for name in sys.modules if name.startswith('penstock.')))"
    )
    done = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, check=True)
    assert str(asset) in done.stdout
    for absent in ("structlog", "pydantic", "numpy", "aiobotocore", "penstock.telemetry", "penstock.store"):
        assert absent not in done.stdout
