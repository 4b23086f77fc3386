"""A PostgreSQL server of our own, for machines that have none: made, started, healed and stopped by this process.

    <directory>/pgdata    the server's data, mode 0700
    <directory>/password  the superuser's, mode 0600; made at random with the data
    <directory>/port      on 127.0.0.1; chosen once, kept unless someone else has taken it
    <directory>/lock      held by the process that runs the server; its pid
    <directory>/log       what the server says, at most LOG_BYTES_MAX and as much again in `log.1`

The server ends with the process that started it: at `stop`, and on Linux even when that is killed.
"""

import asyncio
import fcntl
import os
import random
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Final, Self

import psycopg

from penstock.errors import Misconfigured, PenstockError, Unavailable
from penstock.store.binaries import Programs, choose_programs, give_file
from penstock.store.leftovers import end_leftovers, end_server, end_with_parent, first_number
from penstock.telemetry import log

USER: Final = "penstock"
DATABASE: Final = "penstock"
LOG_BYTES_MAX: Final = 8 * 2**20
START_S: Final = 300.0
"""Replaying the journal after a crash can take minutes."""
WATCH_S: Final = 0.25
PORTS: Final = range(20_000, 32_000)
"""Below the ports that systems hand out for outgoing connections, so that ours is still free after a pause."""
OPTIONS: Final[Mapping[str, str]] = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "wal_compression": "pglz",
    "max_wal_size": "2GB",
    "max_logical_replication_workers": "0",
    "autovacuum": "on",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    # a failed statement may carry values that are nobody's business in a log file
    "log_min_error_statement": "panic",
    "log_line_prefix": "%m [%p] %a ",
}


class EmbeddedPostgres:
    """One server in one directory. Start it from the main thread: Linux ends it with the thread that began it."""

    def __init__(self, directory: Path, *, port: int = 0, options: Mapping[str, str] | None = None) -> None:
        self.directory = directory.absolute()
        self.pgdata = self.directory / "pgdata"
        self._port_wanted = port
        self._options = {**OPTIONS, **(options or {})}
        self._server: subprocess.Popen[bytes] | None = None
        self._lock: IO[str] | None = None
        self._programs: Programs | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Where clients connect; the same for the life of the data, unless the port was taken meanwhile."""
        return _url(self.directory)

    @property
    def pid(self) -> int | None:
        return self._server.pid if self._server else None

    @property
    def alive(self) -> bool:
        return self._server is not None and self._server.poll() is None

    def start(self) -> str:
        """Make the data if there is none, run the server, and return its URL once it answers.

        Raises Misconfigured (with the mend) when it cannot run as things are, Unavailable when it does not come up.
        """
        self._lock = _hold(self.directory)
        try:
            self._programs = choose_programs(self.directory)
            self._make_data()
            end_leftovers(self.pgdata)
            self._choose_port()
            self._wait_ready(self._spawn())
            for name in ("lock", "log", "port"):
                give_file(self.directory / name, self._programs.uid)
            _ensure_database(self.url)
        except BaseException:
            self.stop()
            raise
        return self.url

    def stop(self) -> None:
        """Let sessions go, write everything out, end. Repeating is harmless."""
        if self._server is not None:
            end_server(self._server)
            self._server = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    async def watch(self) -> None:
        """Until cancelled: start the server again whenever it has died, at the same port; bound its log."""
        while True:
            await asyncio.sleep(WATCH_S)
            _bound_log(self.directory / "log")
            if self._server is not None and not self.alive:
                await self._heal()

    async def _heal(self) -> None:
        """Only the spawning needs this thread; a journal may take long to replay, and ingest goes on meanwhile."""
        log.warning("the embedded PostgreSQL has died and is started again", log=str(self.directory / "log"))
        try:
            await asyncio.to_thread(end_leftovers, self.pgdata)
            log_begin = self._spawn()
            await asyncio.to_thread(self._wait_ready, log_begin)
        except PenstockError as error:
            log.error("the embedded PostgreSQL does not start", why=str(error), log=str(self.directory / "log"))
            await asyncio.sleep(1.0)

    def _make_data(self) -> None:
        """Made beside its place and moved there whole, so that a half-made one is never taken for data."""
        assert self._programs is not None
        if self.pgdata.exists():
            _require_version(self.pgdata, self._programs)
            return
        new = self.directory / "pgdata.new"
        shutil.rmtree(new, ignore_errors=True)
        password = self.directory / "password"
        _write_private(password, secrets.token_urlsafe(24))
        give_file(password, self._programs.uid)
        arguments = ["-D", str(new), "-U", USER, "-A", "scram-sha-256", f"--pwfile={password}", "-E", "UTF8"]
        arguments += ["--locale=C", "--data-checksums", "--no-sync", "--no-instructions"]
        self._call("initdb", *arguments)
        self._call("initdb", "-D", str(new), "--sync-only")
        new.rename(self.pgdata)
        _sync(self.directory)

    def _call(self, program: str, *arguments: str) -> None:
        assert self._programs is not None
        command = self._programs.command(program, *arguments)
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, cwd=self.directory, **self._programs.user
        )
        if done.returncode != 0:
            raise _explained(done.stderr or done.stdout, self.directory)

    def _choose_port(self) -> None:
        kept = self.directory / "port"
        if self._port_wanted:
            if not _is_free(self._port_wanted):
                why = f"port {self._port_wanted} is taken by another program"
                raise Misconfigured("store.url", why, "choose another port, or end that program")
            port = self._port_wanted
        else:
            port = int(kept.read_text()) if kept.exists() else 0
            port = port if port and _is_free(port) else _free_port()
        _write_private(kept, str(port))

    def _spawn(self) -> int:
        """Run the server; where in its log it begins."""
        assert self._programs is not None
        _bound_log(self.directory / "log")
        options = {**self._options, "port": (self.directory / "port").read_text()}
        arguments = [f"--{name}={value}" for name, value in options.items()]
        with (self.directory / "log").open("ab") as output:
            begin = output.tell()
            self._server = subprocess.Popen(
                self._programs.command("postgres", "-D", str(self.pgdata), *arguments),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.directory,
                start_new_session=True,  # Ctrl-C is for us; we end the server when all is stored
                preexec_fn=end_with_parent,  # noqa: PLW1509  # one system call, looked up beforehand
                **self._programs.user,
            )
        return begin

    def _wait_ready(self, log_begin: int) -> None:
        deadline = time.monotonic() + START_S
        while not _is_ready(self.pgdata, self._server):
            if not self.alive:
                raise _explained(_tail(self.directory / "log", log_begin), self.directory)
            if time.monotonic() > deadline:
                raise Unavailable(f"the embedded PostgreSQL is not ready after {START_S:.0f} s")
            time.sleep(0.01)


def embedded_directory(url: str, data: Path) -> Path:
    """Where the server of `embedded:` or `embedded:PATH` lives, for the data directory *data*."""
    return Path(url.removeprefix("embedded:") or data / "postgres")


def running_url(directory: Path) -> str | None:
    """The URL of the server that another process runs in *directory*; None when none does."""
    try:
        with (directory / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return None
    except BlockingIOError:
        return _url(directory) if _is_ready(directory / "pgdata") else None
    return None


def _hold(directory: Path) -> IO[str]:
    """The directory's lock; it falls with our process. Raises Misconfigured when another holds it."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.chmod(0o700)
        lock = (directory / "lock").open("a+")
    except OSError as error:
        raise Misconfigured("data", f"{directory} cannot be written ({error.strerror})", "choose another") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        holder = first_number(directory / "lock")
        raise Misconfigured("data", f"{directory} is in use by process {holder}", "stop it, or use its URL") from error
    lock.truncate(0)
    lock.write(f"{os.getpid()}\n")
    lock.flush()
    return lock


def _is_ready(pgdata: Path, server: subprocess.Popen[bytes] | None = None) -> bool:
    try:
        lines = (pgdata / "postmaster.pid").read_text().splitlines()
    except OSError:
        return False
    return bool(lines) and lines[-1].strip() == "ready" and (server is None or int(lines[0]) == server.pid)


def _require_version(pgdata: Path, programs: Programs) -> None:
    made_by = first_number(pgdata / "PG_VERSION")
    if made_by != programs.major:
        why = f"{pgdata} was made by PostgreSQL {made_by}, but the programs found are {programs.major}"
        mend = f"name the bin folder of PostgreSQL {made_by} in PENSTOCK_PG_BIN, or restore a dump into a new directory"
        raise Misconfigured("data", why, mend)


def _explained(said: str, directory: Path) -> PenstockError:
    """The server's last words as an error of ours."""
    space = shutil.disk_usage(directory).free
    known = {
        "No space left on device": ("data", f"no disk space is left in {directory}", "free some, or use another disk"),
        "could not create any TCP/IP sockets": ("store.url", "the server's port is taken", "end the other program"),
        "Permission denied": ("data", f"the server may not use {directory}", "make it belong to the user who runs it"),
        "incompatible with server": ("data", f"{directory} is of another version", "set PENSTOCK_PG_BIN to its own"),
        "could not look up effective user": (
            "data",
            "PostgreSQL needs a name for the user who runs it",
            "add the user to /etc/passwd",
        ),
        "could not create shared memory": ("store.url", "shared memory is too small", "give the container more"),
    }
    for words, (setting, why, mend) in known.items():
        if words in said:
            return Misconfigured(setting, why, mend)
    last = " | ".join(said.strip().splitlines()[-3:])
    return Unavailable(f"the embedded PostgreSQL does not start ({space >> 20} MB free): {last}")


def _url(directory: Path) -> str:
    try:
        password, port = (directory / "password").read_text(), (directory / "port").read_text()
    except OSError as error:
        why = f"{error.filename} cannot be read ({error.strerror})"
        mend = "run as the user whom the data belongs to; if the file is lost, restore it from a backup"
        raise Misconfigured("data", why, mend) from error
    return f"postgresql://{USER}:{password}@127.0.0.1:{port}/{DATABASE}"


def _ensure_database(url: str) -> None:
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError as error:
        if "does not exist" not in str(error):
            raise Unavailable(f"the embedded PostgreSQL does not answer: {error}") from error
        with psycopg.connect(url, dbname="postgres", autocommit=True) as connection:
            connection.execute(f"create database {DATABASE}")


def _write_private(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_free(port: int) -> bool:
    with socket.socket() as attempt:
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            attempt.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _free_port() -> int:
    for port in random.sample(PORTS, 200):
        if _is_free(port):
            return port
    raise Misconfigured("store.url", "no free port was found on 127.0.0.1", "end some servers on this machine")


def _bound_log(path: Path) -> None:
    """Copy and cut: the server appends to the file that it was given."""
    if path.exists() and path.stat().st_size > LOG_BYTES_MAX:
        shutil.copyfile(path, path.with_suffix(".1"))
        os.truncate(path, 0)


def _tail(path: Path, begin: int) -> str:
    with path.open("rb") as file:
        file.seek(begin)
        return file.read(65_536).decode(errors="replace")
