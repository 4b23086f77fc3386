"""What is wrong with this machine and these settings, and the mend of each."""

import asyncio
import os
import shutil
import socket
import ssl
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import psycopg
from psycopg import AsyncConnection
from rich.table import Table

from penstock.datadir import read_note
from penstock.errors import Misconfigured, PenstockError, Unavailable
from penstock.keeping import check_keeping
from penstock.settings import Settings
from penstock.store.binaries import Programs, find_folder
from penstock.store.embedded import EmbeddedPostgres, embedded_directory, running_url
from penstock.store.migrate import SERVER_MIN, applied, migrations, pending, require_server
from penstock.store.postgres import connect, translated
from penstock.store.redis import Link

PYTHON_MIN: Final = (3, 11)
DRIFT_S: Final = 2.0
BUILT: Final = datetime(2025, 1, 1, tzinfo=UTC)
"""No clock that is right shows less."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at. `mend` says what to do, when not `ok`."""

    name: str
    ok: bool
    detail: str
    mend: str = ""


def run_doctor(settings: Settings) -> list[Check]:
    """Look at everything; a check that fails stops none of the others.

    Changes nothing, except that an embedded PostgreSQL which nobody runs is started for the while.
    """
    own: list[tuple[str, Callable[[Settings], str]]] = [
        ("python", _python),
        ("clock", _clock),
        ("time zone", _zone),
        ("data directory", _data_directory),
        ("free disk", _free_disk),
        ("port", _port),
        ("tls", _tls),
        ("cache", _cache),
        ("archive", _archive),
    ]
    return [*(_checked(name, look, settings) for name, look in own), *_database(settings)]


def all_well(checks: Sequence[Check]) -> bool:
    """Whether the command may exit with 0."""
    return all(check.ok for check in checks)


def as_table(checks: Sequence[Check]) -> Table:
    """For people: a line each, the mend under what ails."""
    table = Table(box=None, show_header=False, pad_edge=False)
    for check in checks:
        mark = "[green]ok[/]" if check.ok else "[bold red]bad[/]"
        table.add_row(mark, check.name, check.detail)
        if not check.ok:
            table.add_row("", "", f"[yellow]mend:[/] {check.mend}")
    return table


def _checked(name: str, look: Callable[[Settings], str], settings: Settings) -> Check:
    try:
        return Check(name, True, look(settings))
    except Misconfigured as error:
        return Check(name, False, error.why, error.mend)


def _python(_: Settings) -> str:
    version = ".".join(str(part) for part in sys.version_info[:3])
    if sys.version_info[:2] < PYTHON_MIN:
        raise Misconfigured("python", f"Python {version} is too old", "install Python 3.11 or newer")
    return version


def _clock(settings: Settings) -> str:
    """Against what cannot lie in the future: this code's time, and what was written last in the data directory."""
    now = datetime.now(UTC)
    if now < BUILT:
        raise Misconfigured(
            "clock",
            f"the clock shows {now:%Y-%m-%d %H:%M}",
            "set it, and keep it with NTP (`timedatectl set-ntp true`)",
        )
    newest = max((path.stat().st_mtime for path in _witnesses(settings.data)), default=0.0)
    if newest > time.time() + DRIFT_S:
        ahead = newest - time.time()
        raise Misconfigured(
            "clock", f"the clock has gone back: a file is {ahead:.0f} s in the future", "set it, and keep it with NTP"
        )
    return f"{now:%Y-%m-%d %H:%M:%S} UTC"


def _witnesses(data: Path) -> Iterator[Path]:
    for path in (Path(__file__), data / "run.json", data / "stream" / "log.db", data / "stream" / "log.db-wal"):
        if path.exists():
            yield path


def _zone(settings: Settings) -> str:
    try:
        ZoneInfo(settings.serve.zone)
    except (KeyError, ValueError, OSError) as error:
        raise Misconfigured(
            "serve.zone", f"there is no time zone {settings.serve.zone!r}", "set `serve.zone`, as `Europe/Paris`"
        ) from error
    return settings.serve.zone


def _data_directory(settings: Settings) -> str:
    data = settings.data.absolute()
    if not data.exists():
        return _makeable(data)
    if not os.access(data, os.W_OK | os.X_OK):
        raise Misconfigured(
            "data", f"{data} cannot be written", "make it yours with `chown`, or choose another with --data"
        )
    if data.stat().st_mode & 0o066:
        raise Misconfigured("data", f"others may look into {data}", f"`chmod 700 {data}`")
    return str(data)


def _makeable(data: Path) -> str:
    above = next(path for path in data.parents if path.exists())
    if not os.access(above, os.W_OK | os.X_OK):
        raise Misconfigured("data", f"{data} cannot be made in {above}", "choose another with --data")
    return f"{data} will be made"


def _free_disk(settings: Settings) -> str:
    data = settings.data.absolute()
    place = next(path for path in (data, *data.parents) if path.exists())
    free, least = shutil.disk_usage(place).free, settings.store.disk_free_min_bytes
    if free < least:
        why = f"{free >> 20} MB are free, nothing is accepted below {least >> 20} MB"
        raise Misconfigured(
            "store.disk_free_min_bytes", why, "free some, use another disk, or lower `store.disk_free_min_bytes`"
        )
    return f"{free >> 20} MB"


def _port(settings: Settings) -> str:
    door = settings.door
    own = read_note(settings.data)
    if own is not None:
        return f"in use by the plant that runs as process {own.pid}"
    try:
        with socket.create_server((door.host, door.port)):
            return f"{door.host}:{door.port} is free"
    except OSError as error:
        why = f"{door.host}:{door.port} cannot be used ({error.strerror})"
        raise Misconfigured("door.port", why, "end the program that holds it, or choose another with --port") from error


def _tls(settings: Settings) -> str:
    if settings.door.tls in {"", "self"}:
        return {"": "not asked for", "self": "own certificate"}[settings.door.tls]
    certificate, _, key = settings.door.tls.partition(":")
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certificate, key or None)
    except OSError as error:  # ssl.SSLError is one
        why = f"{certificate} and {key or 'its key'} cannot be used ({error.strerror or error})"
        raise Misconfigured(
            "door.tls", why, "set `door.tls` to CERT.pem:KEY.pem that belong together and can be read"
        ) from error
    return certificate


def _archive(settings: Settings) -> str:
    """And what leaves the database: before the worker says so, again and again."""
    check_keeping(settings)
    return settings.archive.url or "none"


def _cache(settings: Settings) -> str:
    if not settings.cache.url.startswith(("redis:", "rediss:")):
        return "in memory"
    try:
        asyncio.run(_ask_redis(settings.cache.url))
    except Unavailable as error:
        raise Misconfigured("cache.url", str(error), "start it, or correct `cache.url`") from error
    return "Redis answers"


async def _ask_redis(url: str) -> None:
    link = Link(url)
    try:
        await link.check()
    finally:
        await link.close()


def _database(settings: Settings) -> list[Check]:
    try:
        if not settings.store.url.startswith("embedded:"):
            return asyncio.run(_look_into(settings.store.url, "`store.url` and its network"))
        directory = embedded_directory(settings.store.url, settings.data)
        running = read_note(settings.data)
        if running is not None and running.store_url and running_url(directory) is None:  # started with `up --store`
            return asyncio.run(_look_into(running.store_url, "`--store` and its network"))
        return [_programs(), *_embedded(directory)]
    except Misconfigured as error:
        return [Check("database", False, error.why, error.mend)]
    except PenstockError as error:
        return [Check("database", False, str(error), f"look into {settings.data / 'postgres' / 'log'}")]


def _programs() -> Check:
    programs = Programs(find_folder(), os.geteuid())
    if programs.major < SERVER_MIN:
        mend = f"install PostgreSQL {SERVER_MIN} or newer"
        return Check("postgresql", False, f"{programs.folder} is version {programs.major}", mend)
    return Check("postgresql", True, f"{programs.major}, {programs.folder}")


def _embedded(directory: Path) -> list[Check]:
    url = running_url(directory)
    if url is not None:
        return asyncio.run(_look_into(url, str(directory / "log")))
    if not (directory / "pgdata").exists():
        return [Check("database", True, f"will be made in {directory}")]
    with EmbeddedPostgres(directory) as server:
        return asyncio.run(_look_into(server.url, str(directory / "log")))


async def _look_into(url: str, place: str) -> list[Check]:
    try:
        with translated():
            return await _asked(url)
    except Unavailable as error:
        return [Check("database", False, str(error), f"see that the server runs; look into {place}")]


async def _asked(url: str) -> list[Check]:
    async with await connect(url, application="doctor", patience_s=0) as connection:
        checks = [_server(connection.info.server_version), await _database_clock(connection)]
        return [*checks, await _migrations(connection)]


def _server(version: int) -> Check:
    try:
        require_server(version)
    except Misconfigured as error:
        return Check("database", False, error.why, error.mend)
    return Check("database", True, f"PostgreSQL {version // 10_000}.{version % 10_000} answers")


async def _database_clock(connection: AsyncConnection) -> Check:
    before = time.time()
    cursor = await connection.execute("select extract(epoch from clock_timestamp())::float8")
    [theirs] = await cursor.fetchone() or [before]
    drift = theirs - (before + time.time()) / 2
    name, detail = "database clock", f"{drift:+.3f} s from this machine's"
    if abs(drift) > DRIFT_S:
        return Check(name, False, detail, "keep both machines' clocks with NTP")
    return Check(name, True, detail)


async def _migrations(connection: AsyncConnection) -> Check:
    try:
        missing = pending(migrations(), await applied(connection))
    except Misconfigured as error:
        return Check("migrations", False, error.why, error.mend)
    except psycopg.errors.InsufficientPrivilege:
        return Check("migrations", False, "may not be read", "use the login that owns the tables in `store.url`")
    detail = f"{len(missing)} to be applied at the next start" if missing else "up to date"
    return Check("migrations", True, detail)
