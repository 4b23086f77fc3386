"""A consistent copy of a running plant, and the way back into an empty data directory.

The danger is between two memories. What is acknowledged lies in the stream's log until its flush is committed to
PostgreSQL; then the log may forget it. Copy the database first and the log may forget, before it is copied, what
the database's copy does not have: lost. Copy the log first and the database's copy may hold a checkpoint beyond
the copied log's head: new readings would take positions that count as stored already: lost as well.

So no order is right, and both are taken at one instant: a lock on `shard` keeps every flush from committing while
a snapshot of each is *opened* (PostgreSQL's exported one, SQLite's read transaction), which takes milliseconds;
then the lock goes and both are copied at leisure. Ingest never waits. In the copy, checkpoint <= log head, and each
reading acknowledged before that instant is on one side of the checkpoint or the other.

PostgreSQL is copied by `pg_dump` rather than `pg_basebackup`: only it can read an exported snapshot, it works
against a server that is not ours, and what it writes can be restored by a newer version of PostgreSQL. Logins
made for other tools are not in it; ask for new ones after a restore.
"""

import asyncio
import hashlib
import os
import shutil
import sqlite3
import subprocess
import tarfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, Final

import msgspec
import zstandard
from psycopg import AsyncConnection

from penstock import __version__
from penstock.errors import Misconfigured, Tampered, Unavailable
from penstock.store.binaries import find_folder
from penstock.store.embedded import EmbeddedPostgres
from penstock.store.migrate import applied, require_server
from penstock.store.postgres import connect, translated
from penstock.store.sql import statements
from penstock.store.tools import tool_login

LOG: Final = "stream/log.db"
DUMP: Final = "database.dump.zst"
MANIFEST: Final = "manifest.json"
NOT_COPIED: Final = frozenset({"postgres", "stream", "run.json"})
"""Copied otherwise, or of this run only; like every `*.lock` and `*.new`."""
CHUNK: Final = 2**20
LEVEL: Final = 3

Progress = Callable[[str, int], None]
"""What is being done, and the bytes done so far."""
_SQL: Final = statements("backup")


class Part(msgspec.Struct, frozen=True):
    """One file of a backup."""

    size: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    """What a backup holds. `checkpoints`: stream, shard, position, counted."""

    format: int
    penstock: str
    made_at: str
    server_version: int
    checkpoints: list[tuple[str, str, int, int]]
    files: dict[str, Part]


def _quiet(what: str, done: int) -> None:
    """For callers who do not look."""


async def back_up(
    data: Path, url: str, target: Path, progress: Progress = _quiet, *, log: Path | None = None
) -> Manifest:
    """Copy the plant of *data*, whose database answers at *url*, to *target*: a folder, or one file `….tar.zst`.

    *log* is the local stream's file, if it is not where it usually is; there need not be one.

    Raises Misconfigured when *target* is there already (an empty folder may be), Unavailable when the database
    does not answer or the disk is full.
    """
    _require_empty(target, "target")
    draft = target.with_name(f"{target.name}.part")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700, parents=True)
    try:
        server_version, checkpoints = await _copy_both(log or data / LOG, url, draft, progress)
        await asyncio.to_thread(_copy_files, data, draft, progress)
        manifest = _describe(draft, server_version, checkpoints)
        (draft / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest)))
        await asyncio.to_thread(_finish, draft, target, progress)
    except OSError as error:
        raise Unavailable(f"the backup cannot be written: {error}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return manifest


async def restore(source: Path, data: Path, progress: Progress = _quiet, *, url: str | None = None) -> Manifest:
    """Make *data* (absent or empty) what it was; its database under *data*, or at *url* when that is given.

    Raises Misconfigured when there is something in the way, Tampered when the backup is not as it was written,
    Unavailable when the database cannot be filled.
    """
    _require_empty(data, "data")
    draft = data.with_name(f"{data.name}.part")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700, parents=True)
    try:
        folder = await asyncio.to_thread(_unpacked, source, draft / "unpacked", progress)
        manifest = read_manifest(folder)
        await asyncio.to_thread(_verify, folder, manifest, progress)
        await _fill(folder / DUMP, draft, url, progress)
        _place(folder, draft, data, manifest)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return manifest


def read_manifest(folder: Path) -> Manifest:
    """What an unpacked backup says of itself. Raises Misconfigured when *folder* is no backup."""
    try:
        return msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    except (OSError, msgspec.MsgspecError) as error:
        raise Misconfigured("source", f"{folder} is no backup ({error})", "name one that `backup` wrote") from error


async def _copy_both(
    log: Path, url: str, draft: Path, progress: Progress
) -> tuple[int, list[tuple[str, str, int, int]]]:
    async with _connected(url) as reader:
        require_server(reader.info.server_version)
        progress("waiting for a moment between two commits", 0)
        async with _standing_still(url):
            await reader.execute(_SQL["begin_snapshot"])
            [[snapshot]] = await _rows(reader, "export_snapshot")
            source = _open_snapshot(log)
        checkpoints = await _rows(reader, "checkpoints")
        if source is not None:
            await asyncio.to_thread(_copy_log, source, draft / LOG, progress)
        await asyncio.to_thread(_dump, url, snapshot, draft / DUMP, progress)
        return reader.info.server_version, checkpoints


@asynccontextmanager
async def _standing_still(url: str) -> AsyncIterator[None]:
    """No flush commits within."""
    async with _connected(url) as connection, connection.transaction():
        await connection.execute(_SQL["stand_still"])
        yield


@asynccontextmanager
async def _connected(url: str) -> AsyncIterator[AsyncConnection]:
    with translated():
        async with await connect(url, application="backup") as connection:
            yield connection


async def _rows(connection: AsyncConnection, statement: str) -> list[Any]:
    return await (await connection.execute(_SQL[statement])).fetchall()


def _open_snapshot(log: Path) -> sqlite3.Connection | None:
    """A connection that sees the log as it is now, whatever happens to it from here on; None without a log."""
    if not log.exists():
        return None
    connection = sqlite3.connect(
        f"{log.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, check_same_thread=False
    )
    connection.execute("begin")
    connection.execute("select count(*) from sqlite_schema").fetchone()  # only a first read takes the snapshot
    return connection


def _copy_log(source: sqlite3.Connection, target: Path, progress: Progress) -> None:
    target.parent.mkdir(mode=0o700, exist_ok=True)
    with closing(source), closing(sqlite3.connect(target)) as copy:
        source.backup(copy)
    progress("stream log copied", target.stat().st_size)


def _dump(url: str, snapshot: str, target: Path, progress: Progress) -> None:
    command = ["pg_dump", "--format=custom", "--compress=0", "--no-owner", "--no-privileges", f"--snapshot={snapshot}"]
    with _tool(url, command, stdout=subprocess.PIPE) as dump, target.open("wb") as file:
        assert dump.stdout is not None
        with zstandard.ZstdCompressor(LEVEL).stream_writer(file, closefd=False) as packed:
            for chunk in _chunks(dump.stdout, "database copied", progress):
                packed.write(chunk)
        _require_done(dump, "pg_dump")


def _fill_from(dump: Path, url: str, progress: Progress) -> None:
    command = ["pg_restore", "--no-owner", "--no-privileges", "--single-transaction", "--exit-on-error"]
    with _tool(url, command, stdin=subprocess.PIPE) as tool, dump.open("rb") as file:
        assert tool.stdin is not None
        try:
            with zstandard.ZstdDecompressor().stream_reader(file) as plain:
                for chunk in _chunks(plain, "database restored", progress):
                    tool.stdin.write(chunk)
            tool.stdin.close()
        except BrokenPipeError:
            pass  # it ended early, and says why
        _require_done(tool, "pg_restore")


def _tool(
    url: str, command: list[str], *, stdin: int = subprocess.DEVNULL, stdout: int = subprocess.DEVNULL
) -> subprocess.Popen[bytes]:
    """One of PostgreSQL's tools at work on *url*."""
    login = tool_login(url)
    program, *arguments = command
    with login.file:
        return subprocess.Popen(
            [find_folder() / program, *arguments, f"--dbname={login.dbname}"],
            env=login.environment,
            pass_fds=[login.file.fileno()],
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.PIPE,
        )


def _require_done(tool: subprocess.Popen[bytes], name: str) -> None:
    assert tool.stderr is not None
    said = tool.stderr.read().decode(errors="replace").strip()
    if tool.wait() != 0:
        raise Unavailable(f"{name} failed: {' | '.join(said.splitlines()[-3:])}")


def _chunks(source: Any, what: str, progress: Progress) -> Iterator[bytes]:
    done = 0
    while chunk := source.read(CHUNK):
        done += len(chunk)
        yield chunk
        progress(what, done)


def _copy_files(data: Path, draft: Path, progress: Progress) -> None:
    """Everything else in the data directory: settings, keys, certificates, the archive."""
    for path in sorted(data.rglob("*")):
        inside = path.relative_to(data)
        if path.is_file() and inside.parts[0] not in NOT_COPIED and path.suffix not in {".lock", ".new"}:
            target = draft / "files" / inside
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            shutil.copy2(path, target)
            progress(f"{inside} copied", target.stat().st_size)


def _describe(draft: Path, server_version: int, checkpoints: list[tuple[str, str, int, int]]) -> Manifest:
    files = {path.relative_to(draft).as_posix(): _part(path) for path in sorted(draft.rglob("*")) if path.is_file()}
    made_at = datetime.now(UTC).isoformat(timespec="seconds")
    return Manifest(1, __version__, made_at, server_version, checkpoints, files)


def _part(path: Path) -> Part:
    with path.open("rb") as file:
        return Part(path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())


def _finish(draft: Path, target: Path, progress: Progress) -> None:
    """Give the backup its name only when all of it is on the disk."""
    if target.name.endswith(".tar.zst"):
        packed = draft.with_name(f"{target.name}.packing")
        try:
            _pack(draft, packed, progress)
            packed.rename(target)
        finally:
            packed.unlink(missing_ok=True)
    else:
        if target.exists():
            target.rmdir()
        draft.rename(target)
    os.sync()


def _pack(folder: Path, target: Path, progress: Progress) -> None:
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with (
        os.fdopen(descriptor, "wb") as file,
        zstandard.ZstdCompressor(LEVEL).stream_writer(file) as packed,
        tarfile.open(fileobj=packed, mode="w|") as archive,
    ):
        for path in sorted(it for it in folder.rglob("*") if it.is_file()):
            archive.add(path, path.relative_to(folder).as_posix())
            progress(f"{path.name} packed", path.stat().st_size)


def _unpacked(source: Path, into: Path, progress: Progress) -> Path:
    if source.is_dir():
        return source
    try:
        with (
            source.open("rb") as file,
            zstandard.ZstdDecompressor().stream_reader(file) as plain,
            tarfile.open(fileobj=plain, mode="r|") as archive,
        ):
            for member in archive:
                _unpack(archive, member, into)
                progress(f"{member.name} unpacked", member.size)
    except FileNotFoundError as error:
        raise Misconfigured("source", f"there is no {source}", "name a backup") from error
    except (tarfile.TarError, zstandard.ZstdError, EOFError) as error:
        raise Tampered(f"{source} is damaged or cut short: {error}") from error
    return into


def _unpack(archive: tarfile.TarFile, member: tarfile.TarInfo, into: Path) -> None:
    name, content = PurePosixPath(member.name), archive.extractfile(member)
    if content is None or name.is_absolute() or ".." in name.parts:
        raise Tampered(f"the backup holds {member.name!r}, which no backup of ours does")
    (into / name).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with content, (into / name).open("xb") as file:
        shutil.copyfileobj(content, file, CHUNK)
    (into / name).chmod(0o600)


def _verify(folder: Path, manifest: Manifest, progress: Progress) -> None:
    for name, part in manifest.files.items():
        if not (folder / name).is_file() or _part(folder / name) != part:
            raise Tampered(f"{name} is not what was backed up")
        progress(f"{name} verified", part.size)


async def _fill(dump: Path, draft: Path, url: str | None, progress: Progress) -> None:
    if url is None:
        with EmbeddedPostgres(draft / "postgres") as server:
            await asyncio.to_thread(_fill_from, dump, server.url, progress)
        return
    async with _connected(url) as connection:
        if await applied(connection):
            why = "the database is not empty"
            raise Misconfigured("store.url", why, "create a new database and name it")
    await asyncio.to_thread(_fill_from, dump, url, progress)


def _place(folder: Path, draft: Path, data: Path, manifest: Manifest) -> None:
    """Move everything where it belongs, when nothing can fail any more but the moving."""
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in manifest.files:
        inside = name if name == LOG else name.removeprefix("files/")
        if name != DUMP:
            (data / inside).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            shutil.copy2(folder / name, data / inside)
    if (draft / "postgres").exists():
        shutil.move(draft / "postgres", data / "postgres")
    os.sync()


def _require_empty(place: Path, setting: str) -> None:
    if place.is_dir() and not any(place.iterdir()):
        return
    if place.exists():
        raise Misconfigured(setting, f"{place} is there already", "name a new place; nothing is written over")
