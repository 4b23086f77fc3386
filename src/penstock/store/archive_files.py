"""An archive in a directory: for a laptop, a gateway, or a share that somebody else keeps safe. It locks nothing."""

import asyncio
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Final
from uuid import uuid4

from penstock.errors import Misconfigured, Tampered, Unavailable
from penstock.store.archive import Kept, Retention, sha256_of

READ_ONLY: Final = 0o444
SETTING: Final = "archive.url"


class FilesArchive:
    """Objects as read-only files below *folder*."""

    def __init__(self, folder: Path, retention: Retention) -> None:
        """Raises Misconfigured for a class that locks: no file is out of its owner's reach."""
        if retention is not Retention.EPHEMERAL:
            raise Misconfigured(
                "archive.retention",
                f"files cannot be locked, as {retention} demands",
                "set it to ephemeral, or name a bucket with Object Lock: s3://BUCKET/PREFIX",
            )
        self.url = f"files:{folder.absolute()}"
        self.retention: Retention = retention
        self._folder = folder

    async def check(self) -> None:
        try:
            await asyncio.to_thread(self._make)
        except OSError as error:
            why = f"{self._folder} cannot be written ({error.strerror})"
            raise Misconfigured(SETTING, why, "choose a directory that this user owns") from error

    async def put(self, key: str, file: Path, sha256: bytes, until: datetime | None) -> Kept:
        assert until is None
        target = self._folder / key
        try:
            await asyncio.to_thread(_put, file, target)
            held = await asyncio.to_thread(sha256_of, target)
        except OSError as error:
            raise Unavailable(f"the archive {self.url} cannot be written: {error}") from error
        if held != sha256:
            raise Tampered(f"{target} holds something else than was put there")
        return Kept(None, None, None)

    async def show(self, key: str, sha256: bytes, size_bytes: int, until: datetime | None) -> None:
        assert until is None
        target = self._folder / key
        with self._readable(target):
            held = await asyncio.to_thread(lambda: (target.stat().st_size, sha256_of(target)))
        if held != (size_bytes, sha256):
            raise Tampered(f"{target} holds something else than was put there")

    async def read(self, key: str) -> bytes:
        target = self._folder / key
        with self._readable(target):
            return await asyncio.to_thread(target.read_bytes)

    async def close(self) -> None:
        return

    @contextmanager
    def _readable(self, target: Path) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise Tampered(f"{target} is not there any more") from error
        except OSError as error:
            raise Unavailable(f"the archive {self.url} cannot be read: {error}") from error

    def _make(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        probe = self._folder / f".probe-{os.getpid()}"
        probe.touch()
        probe.unlink()


def _put(file: Path, target: Path) -> None:
    """Whole or not at all, also over a power cut; what stands there already is left."""
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.{uuid4().hex}")
    try:
        shutil.copyfile(file, draft)
        draft.chmod(READ_ONLY)
        _sync(draft)
        draft.rename(target)
    finally:
        draft.unlink(missing_ok=True)
    _sync(target.parent)
    _sync(target.parent.parent)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
