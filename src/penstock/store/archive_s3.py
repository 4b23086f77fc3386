"""An archive in S3 through aiobotocore: encrypted by KMS, locked by retention class, checked by checksum."""

import asyncio
import hashlib
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.exceptions import ClientError

from penstock.errors import Misconfigured, Tampered, Unavailable
from penstock.store.archive import Kept, Retention
from penstock.store.archive_s3_trouble import ABSENT, FOREIGN, Asked, code_of, no_lock, trouble

SCHEME: Final = "s3://"
MIB: Final = 2**20
MODES: Final = {Retention.GOVERNANCE: "GOVERNANCE", Retention.SEALED: "COMPLIANCE"}
ROUNDED: Final = timedelta(seconds=1)
"""S3 keeps times of locks in whole seconds."""
THERE_ALREADY: Final = frozenset({"PreconditionFailed", "412", "ConditionalRequestConflict", "409"})


class S3Settings(NamedTuple):
    """Where the bucket is, and how objects are put there."""

    bucket: str
    prefix: str = ""
    retention: Retention = Retention.GOVERNANCE
    kms_key: str = ""
    """ARN, id or alias; empty: as the bucket encrypts by default."""
    region: str = ""
    endpoint: str = ""
    part_bytes: int = 32 * MIB
    """Objects larger than two of these are sent in parts."""
    connect_timeout_s: float = 5.0
    read_timeout_s: float = 60.0

    @property
    def url(self) -> str:
        return SCHEME + "/".join(part for part in (self.bucket, self.prefix) if part)


def read_url(url: str) -> tuple[str, str]:
    """Bucket and prefix of `s3://BUCKET/PREFIX`. Raises Misconfigured."""
    bucket, _, prefix = url.removeprefix(SCHEME).partition("/")
    if not url.startswith(SCHEME) or not bucket:
        raise Misconfigured("archive.url", "names no bucket", "write it as s3://BUCKET/PREFIX")
    return bucket, prefix.strip("/")


class _Sums(NamedTuple):
    """A file's checksums as S3 tells them: of all, or of its parts and then of those."""

    size_bytes: int
    whole: str
    parts: tuple[str, ...]
    of_parts: str

    @property
    def told(self) -> frozenset[str]:
        """All that S3 may say; not every answer tells the number of parts."""
        return frozenset({self.whole, self.of_parts, f"{self.of_parts}-{len(self.parts)}"})


class S3Archive:
    """Objects of one bucket, below a prefix. `api` is aiobotocore's client."""

    def __init__(self, api: Any, settings: S3Settings, undo: AsyncExitStack) -> None:
        self.url = settings.url
        self.retention = settings.retention
        self._api = api
        self._settings = settings
        self._undo = undo

    async def check(self) -> None:
        async with self._translated("s3:ListBucket"):
            await self._api.head_bucket(Bucket=self._settings.bucket)
        if self.retention in MODES:
            asked = "s3:GetBucketObjectLockConfiguration"
            async with self._translated(asked):
                answer = await self._api.get_object_lock_configuration(Bucket=self._settings.bucket)
            if answer.get("ObjectLockConfiguration", {}).get("ObjectLockEnabled") != "Enabled":
                raise no_lock("it is not enabled", self._asked(asked))

    async def put(self, key: str, file: Path, sha256: bytes, until: datetime | None) -> Kept:
        sums = await asyncio.to_thread(_sums, file, sha256, self._settings.part_bytes)
        head = await self._head(key)
        if head is None:
            await self._send(key, file, sums, until)
            head = await self._head(key)
        if head is None:
            raise Unavailable(f"{self.url}/{key} was put, but is not there yet, or s3:GetObject is not allowed")
        if not await self._is(key, head, sums, sha256):
            raise Tampered(f"{self.url}/{key} holds something else than was put there")
        if until is not None and not self._is_locked(head, until):
            head = await self._lock(key, head, until)
        return Kept(head.get("ETag"), head.get("VersionId"), head.get("ObjectLockRetainUntilDate"))

    async def show(self, key: str, sha256: bytes, size_bytes: int, until: datetime | None) -> None:
        """By S3's own checksum of the whole; what was sent in parts has none, and is read back."""
        head = await self._head(key)
        if head is None:
            raise Tampered(f"{self.url}/{key} is not there any more, or may not be looked at")
        same = head["ContentLength"] == size_bytes and (
            head.get("ChecksumSHA256") == _base64(sha256) or await self._read_sha256(key) == sha256
        )
        if not same:
            raise Tampered(f"{self.url}/{key} holds something else than was put there")
        if until is not None and not self._is_locked(head, until):
            raise Tampered(
                f"{self.url}/{key} is not locked as archive.retention says; or s3:GetObjectRetention is not allowed"
            )

    async def read(self, key: str) -> bytes:
        async with self._translated("s3:GetObject"):
            try:
                answer = await self._api.get_object(**self._at(key))
            except ClientError as error:
                if code_of(error) in ABSENT:
                    raise Tampered(f"{self.url}/{key} is not there any more") from error
                raise
            async with answer["Body"] as body:
                return bytes(await body.read())

    async def close(self) -> None:
        await self._undo.aclose()

    async def _head(self, key: str) -> dict[str, Any] | None:
        """None when it is not there, as far as we may know: who may not list is refused instead."""
        async with self._translated("s3:GetObject"):
            try:
                return dict(await self._api.head_object(**self._at(key), ChecksumMode="ENABLED"))
            except ClientError as error:
                if code_of(error) in ABSENT | {"403"}:
                    return None
                raise

    async def _send(self, key: str, file: Path, sums: _Sums, until: datetime | None) -> None:
        """Put, unless the key is taken: then somebody was faster, and what is there is looked at next."""
        whole = len(sums.parts) <= 2  # noqa: PLR2004  # as `part_bytes` says
        async with self._translated("s3:PutObject"):
            try:
                await (self._put_whole if whole else self._put_parts)(key, file, sums, until)
            except ClientError as error:
                if code_of(error) not in THERE_ALREADY:
                    raise

    async def _put_whole(self, key: str, file: Path, sums: _Sums, until: datetime | None) -> None:
        sum_of_all = {"ChecksumAlgorithm": "SHA256", "ChecksumSHA256": sums.whole}
        with file.open("rb") as body:
            await self._api.put_object(**self._at(key), **self._how(until), **sum_of_all, Body=body, IfNoneMatch="*")

    async def _put_parts(self, key: str, file: Path, sums: _Sums, until: datetime | None) -> None:
        begun = await self._api.create_multipart_upload(
            **self._at(key), **self._how(until), ChecksumAlgorithm="SHA256", ChecksumType="COMPOSITE"
        )
        upload = {**self._at(key), "UploadId": begun["UploadId"]}
        try:
            parts = await self._put_each(upload, file, sums)
            await self._api.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts}, IfNoneMatch="*")
        except BaseException:
            with suppress(*FOREIGN):
                await self._api.abort_multipart_upload(**upload)
            raise

    async def _put_each(self, upload: dict[str, str], file: Path, sums: _Sums) -> list[dict[str, Any]]:
        parts = []
        for number, (body, checksum) in enumerate(
            zip(_pieces(file, self._settings.part_bytes), sums.parts, strict=True)
        ):
            part = {"PartNumber": number + 1, "ChecksumSHA256": checksum}
            answer = await self._api.upload_part(**upload, **part, Body=body)
            parts.append({**part, "ETag": answer["ETag"]})
        return parts

    async def _is(self, key: str, head: dict[str, Any], sums: _Sums, sha256: bytes) -> bool:
        """By S3's own checksum; where it tells none, the object is read back."""
        if head["ContentLength"] != sums.size_bytes:
            return False
        told = head.get("ChecksumSHA256")
        return told in sums.told if told else await self._read_sha256(key) == sha256

    async def _read_sha256(self, key: str) -> bytes:
        digest = hashlib.sha256()
        async with self._translated("s3:GetObject"):
            answer = await self._api.get_object(**self._at(key))
            async with answer["Body"] as body:
                while piece := await body.read(MIB):
                    digest.update(piece)
        return digest.digest()

    def _is_locked(self, head: dict[str, Any], until: datetime) -> bool:
        held: datetime | None = head.get("ObjectLockRetainUntilDate")
        return head.get("ObjectLockMode") == MODES[self.retention] and held is not None and held + ROUNDED >= until

    async def _lock(self, key: str, head: dict[str, Any], until: datetime) -> dict[str, Any]:
        """Of an object that is there, but was put when the settings said otherwise."""
        version = {"VersionId": head["VersionId"]} if head.get("VersionId") else {}
        retention = {"Mode": MODES[self.retention], "RetainUntilDate": until}
        async with self._translated("s3:PutObjectRetention"):
            await self._api.put_object_retention(**self._at(key), **version, Retention=retention)
        again = await self._head(key)
        if again is None or not self._is_locked(again, until):
            asked = self._asked("s3:GetObjectRetention")
            raise no_lock("S3 shows no lock on what was put; or s3:GetObjectRetention is not allowed", asked)
        return again

    def _at(self, key: str) -> dict[str, str]:
        prefix = self._settings.prefix
        return {"Bucket": self._settings.bucket, "Key": f"{prefix}/{key}" if prefix else key}

    def _how(self, until: datetime | None) -> dict[str, Any]:
        """How an object is encrypted and locked."""
        how: dict[str, Any] = {}
        if self._settings.kms_key:
            how |= {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": self._settings.kms_key, "BucketKeyEnabled": True}
        if until is not None:
            how |= {"ObjectLockMode": MODES[self.retention], "ObjectLockRetainUntilDate": until}
        return how

    def _asked(self, action: str) -> Asked:
        meta, kms_key = self._api.meta, self._settings.kms_key or "of the bucket"
        return Asked(action, self._settings.bucket, str(meta.region_name), str(meta.endpoint_url), kms_key)

    @asynccontextmanager
    async def _translated(self, action: str) -> AsyncIterator[None]:
        try:
            yield
        except FOREIGN as error:
            raise trouble(error, self._asked(action)) from error


async def open_s3(settings: S3Settings) -> S3Archive:
    """An archive that connects at its first call; `close` it. Raises Misconfigured: no region, no endpoint.

    Credentials are found as AWS tools find them, and renewed by themselves.
    """
    undo = AsyncExitStack()
    asked = Asked("s3:*", settings.bucket, settings.region, settings.endpoint, settings.kms_key)
    try:
        making = get_session().create_client(
            "s3",
            region_name=settings.region or None,
            endpoint_url=settings.endpoint or None,
            config=_config(settings),
        )
        return S3Archive(await undo.enter_async_context(making), settings, undo)
    except ValueError as error:  # botocore's own for an endpoint that is no URL
        mend = "write it as https://HOST[:PORT], or leave it empty for Amazon's own"
        raise Misconfigured("archive.endpoint", str(error), mend) from error
    except FOREIGN as error:
        raise trouble(error, asked) from error


def _config(settings: S3Settings) -> AioConfig:
    return AioConfig(
        connect_timeout=settings.connect_timeout_s,
        read_timeout=settings.read_timeout_s,
        retries={"total_max_attempts": 3, "mode": "standard"},
        s3={"addressing_style": "path" if settings.endpoint else "auto"},
        user_agent_extra="penstock",
    )


def _pieces(file: Path, size: int) -> Iterator[bytes]:
    with file.open("rb") as content:
        while piece := content.read(size):
            yield piece


def _sums(file: Path, sha256: bytes, part_bytes: int) -> _Sums:
    parts = [hashlib.sha256(piece).digest() for piece in _pieces(file, part_bytes)]
    of_parts = hashlib.sha256(b"".join(parts)).digest()
    return _Sums(file.stat().st_size, _base64(sha256), tuple(map(_base64, parts)), _base64(of_parts))


def _base64(digest: bytes) -> str:
    return b64encode(digest).decode()
