import asyncio
import io
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import psycopg
import pytest
from rich.console import Console

from penstock import doctor
from penstock.compose.worker import work
from penstock.datadir import Instance, leave_note
from penstock.doctor import Check, all_well, as_table, run_doctor
from penstock.errors import Misconfigured
from penstock.settings import Settings, read_settings
from penstock.store.embedded import EmbeddedPostgres
from penstock.up import Options, run_up


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir(mode=0o700)
    return tmp_path / "data"


@pytest.fixture
def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture
def settings(data: Path, postgres_url: str, free_port: int) -> Settings:
    """Of a plant in good health."""
    return read_settings(data=data, store={"url": postgres_url}, door={"port": free_port})


def changed(settings: Settings, room: str, **values: object) -> Settings:
    part = getattr(settings, room)
    return settings.model_copy(update={room: part.model_copy(update=values)})


def bad(settings: Settings) -> dict[str, Check]:
    return {check.name: check for check in run_doctor(settings) if not check.ok}


def test_a_healthy_plant_has_nothing_to_mend(settings: Settings) -> None:
    checks = run_doctor(settings)
    assert all_well(checks), checks
    assert {"python", "clock", "port", "free disk", "database", "database clock", "migrations"} <= {
        check.name for check in checks
    }


def test_a_taken_port_is_named(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", settings.door.port)):
        assert set(bad(settings)) == {"port"}
        assert f":{settings.door.port}" in bad(settings)["port"].detail


def test_the_port_of_our_own_running_plant_is_well(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", settings.door.port)):
        (settings.data / "run.json").write_text(json.dumps({"pid": os.getpid(), "url": "", "store_url": ""}))
        assert bad(settings) == {}
        (settings.data / "run.json").write_text(json.dumps({"pid": 2**22 + 1, "url": "", "store_url": ""}))
        assert set(bad(settings)) == {"port"}


def test_a_full_disk_is_named(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: SimpleNamespace(free=100 * 2**20))
    assert set(bad(settings)) == {"free disk"}
    assert "100 MB" in bad(settings)["free disk"].detail


def test_a_data_directory_that_others_may_read_is_named(settings: Settings) -> None:
    settings.data.chmod(0o755)
    assert set(bad(settings)) == {"data directory"}
    assert "chmod 700" in bad(settings)["data directory"].mend


def test_a_data_directory_that_cannot_be_made_is_named(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ill = bad(settings.model_copy(update={"data": tmp_path / "file" / "data"}))
    assert "data directory" in ill


def test_a_clock_before_2025_is_named(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "BUILT", doctor.datetime(2999, 1, 1, tzinfo=doctor.UTC))
    assert set(bad(settings)) == {"clock"}


def test_a_clock_that_has_gone_back_is_named(settings: Settings) -> None:
    log = settings.data / "stream" / "log.db"
    log.parent.mkdir()
    log.touch()
    os.utime(log, (time.time() + 3_600,) * 2)
    assert "3600 s in the future" in bad(settings)["clock"].detail


@pytest.mark.parametrize("drift_s", [-60.0, 60.0])
def test_a_clock_that_differs_from_the_databases_is_named(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, drift_s: float
) -> None:
    now = time.time
    monkeypatch.setattr(doctor, "time", SimpleNamespace(time=lambda: now() + drift_s))
    assert f"{-drift_s:+.1f}"[:3] in bad(settings)["database clock"].detail


def test_a_time_zone_that_does_not_exist_is_named(settings: Settings) -> None:
    assert set(bad(changed(settings, "serve", zone="Europe/Atlantis"))) == {"time zone"}


def test_an_absent_database_is_named(settings: Settings) -> None:
    ill = bad(changed(settings, "store", url="postgresql://penstock@127.0.0.1:1/penstock"))
    assert set(ill) == {"database"}


def test_a_database_of_a_newer_penstock_is_named(settings: Settings) -> None:
    with psycopg.connect(settings.store.url) as connection:
        connection.execute("insert into migration (number, name, sha256) values (9999, 'of_tomorrow', '')")
    assert set(bad(settings)) == {"migrations"}


def test_an_empty_database_is_well(settings: Settings, empty_database_url: str) -> None:
    assert bad(changed(settings, "store", url=empty_database_url)) == {}


@pytest.mark.parametrize(
    ("room", "values", "why"),
    [
        ("archive", {"url": "files:/mnt/record"}, "files cannot be locked"),
        ("archive", {"url": "/mnt/record"}, "no archive is called"),
        ("store", {"keep_days": 3_000.0}, "must be in an archive"),
        ("store", {"keep_minutes_days": 0.5}, "charts of the last day"),
    ],
)
def test_what_is_kept_against_other_settings_is_named_and_nothing_starts(
    settings: Settings, room: str, values: dict[str, object], why: str
) -> None:
    wrong = changed(settings, room, **values)
    assert why in bad(wrong)["archive"].detail
    for start in (run_up(wrong, Options()), work(wrong)):
        with pytest.raises(Misconfigured, match=why):
            asyncio.run(start)


def test_an_absent_redis_is_named(settings: Settings) -> None:
    assert set(bad(changed(settings, "cache", url="redis://127.0.0.1:1/0"))) == {"cache"}


def test_certificates_that_cannot_be_read_are_named(settings: Settings, tmp_path: Path) -> None:
    ill = bad(changed(settings, "door", tls=f"{tmp_path}/cert.pem:{tmp_path}/key.pem"))
    assert set(ill) == {"tls"}


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    home = Path("/tmp") / f"penstock-doctor-{os.getpid()}"
    home.mkdir(mode=0o711)
    with EmbeddedPostgres(home / "postgres"):
        pass
    yield home
    subprocess.run(["rm", "-rf", home], check=True)


class TestEmbedded:
    @pytest.fixture
    def here(self, home: Path, free_port: int) -> Settings:
        return read_settings(data=home, store={"url": "embedded:"}, door={"port": free_port})

    def test_it_is_started_for_the_while_when_nobody_runs_it(self, here: Settings) -> None:
        assert bad(here) == {}
        assert {"postgresql", "migrations"} <= {check.name for check in run_doctor(here)}

    def test_a_running_one_is_asked_and_left_alone(self, here: Settings, home: Path) -> None:
        with EmbeddedPostgres(home / "postgres") as server:
            assert bad(here) == {}
            assert server.alive

    def test_before_the_first_start_it_is_well(self, here: Settings, data: Path) -> None:
        assert bad(here.model_copy(update={"data": data})) == {}
        assert list(data.iterdir()) == []

    def test_absent_programs_are_named(self, here: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PENSTOCK_PG_BIN", "/nowhere")
        assert "/nowhere" in bad(here)["database"].detail

    def test_data_of_another_version_is_named(self, here: Settings, home: Path) -> None:
        version = home / "postgres" / "pgdata" / "PG_VERSION"
        kept = version.read_text()
        version.write_text("12\n")
        try:
            assert "PostgreSQL 12" in bad(here)["database"].detail
        finally:
            version.write_text(kept)


def test_the_table_shows_what_ails_with_its_mend() -> None:
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(as_table([Check("port", False, "taken", "choose another"), Check("python", True, "3.11")]))
    shown = console.export_text()
    assert "bad" in shown
    assert "mend: choose another" in shown
    assert shown.count("ok") == 1


def test_a_plant_started_with_a_database_of_its_own_is_asked_there(tmp_path: Path, postgres_url: str) -> None:
    """`up --store` is in no setting that the doctor reads: the plant's note tells."""
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    leave_note(data, Instance(os.getpid(), "http://127.0.0.1:1", postgres_url))
    checks = {check.name: check for check in run_doctor(read_settings(data=data))}
    assert "answers" in checks["database"].detail
