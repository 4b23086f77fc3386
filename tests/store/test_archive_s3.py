"""The archive in a bucket: encrypted, locked, checked; and what is wrong with a bucket is said with its mend."""

import hashlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import duckdb
import pytest
from botocore.exceptions import ClientError, NoCredentialsError

from penstock.errors import Misconfigured, Tampered, Unavailable
from penstock.store.archive import Retention
from penstock.store.archive_s3 import MIB, S3Archive, S3Settings, open_s3, read_url
from penstock.store.archive_s3_trouble import Asked, trouble
from penstock.store.archiver import ArchiveLimits, Archiver
from penstock.store.forget_books import Keeping
from penstock.store.forgetter import Forgetter
from penstock.store.history import PostgresHistory
from penstock.store.postgres import Database
from penstock.store.seal import Sealer
from simaws import REGION, SimulatedAws
from store.test_archive_classes import turn
from store.test_history import ask, good, make_tags
from store.test_history_machine import DAY, NOW, Writer

UNTIL = datetime.now(UTC).replace(microsecond=0) + timedelta(days=2_557)
_buckets = count(1)


@pytest.fixture(scope="module")
def aws() -> Iterator[SimulatedAws]:
    pytest.importorskip("moto", reason="moto is not installed: pip install 'penstock[test]'")
    with SimulatedAws() as aws:
        yield aws


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "simulated")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "simulated")


def made_bucket(aws: SimulatedAws, *, locked: bool = True) -> str:
    name = f"archive-{next(_buckets)}"
    s3 = aws.client("s3")
    s3.create_bucket(
        Bucket=name,
        CreateBucketConfiguration={"LocationConstraint": REGION},
        **({"ObjectLockEnabledForBucket": True} if locked else {}),
    )
    return name


@asynccontextmanager
async def opened(aws: SimulatedAws, bucket: str, **given: Any) -> AsyncIterator[S3Archive]:
    archive = await open_s3(S3Settings(bucket, "plant/record", region=REGION, endpoint=aws.url, **given))
    try:
        yield archive
    finally:
        await archive.close()


def made_file(folder: Path, content: bytes = b"readings") -> tuple[Path, bytes]:
    file = folder / "file"
    file.write_bytes(content)
    return file, hashlib.sha256(content).digest()


@pytest.mark.parametrize(
    ("retention", "mode"), [(Retention.GOVERNANCE, "GOVERNANCE"), (Retention.SEALED, "COMPLIANCE")]
)
async def test_an_object_is_encrypted_and_cannot_be_deleted_before_its_time(
    aws: SimulatedAws, tmp_path: Path, retention: Retention, mode: str
) -> None:
    bucket, s3 = made_bucket(aws), aws.client("s3")
    key_id = aws.client("kms").create_key()["KeyMetadata"]["Arn"]
    async with opened(aws, bucket, retention=retention, kms_key=key_id) as archive:
        await archive.check()
        kept = await archive.put("day=2026-01-01/a.parquet", *made_file(tmp_path), UNTIL)
        again = await archive.put("day=2026-01-01/a.parquet", *made_file(tmp_path), UNTIL)
    head = s3.head_object(Bucket=bucket, Key="plant/record/day=2026-01-01/a.parquet")
    assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", key_id)
    assert (head["ObjectLockMode"], head["ObjectLockRetainUntilDate"]) == (mode, UNTIL)
    assert (kept.version, kept.locked_until) == (head["VersionId"], UNTIL)
    assert again == kept, "the same again makes no second version"
    with pytest.raises(ClientError, match="AccessDenied"):
        s3.delete_object(Bucket=bucket, Key="plant/record/day=2026-01-01/a.parquet", VersionId=kept.version)


async def test_without_a_lock_an_object_can_be_deleted(aws: SimulatedAws, tmp_path: Path) -> None:
    bucket, s3 = made_bucket(aws, locked=False), aws.client("s3")
    async with opened(aws, bucket, retention=Retention.EPHEMERAL) as archive:
        await archive.check()
        assert (await archive.put("a", *made_file(tmp_path), None)).locked_until is None
    s3.delete_object(Bucket=bucket, Key="plant/record/a")
    with pytest.raises(ClientError, match="404"):
        s3.head_object(Bucket=bucket, Key="plant/record/a")


@pytest.mark.parametrize("size", [10 * MIB, 10 * MIB + 1, 17 * MIB])
async def test_a_large_object_goes_in_parts(aws: SimulatedAws, tmp_path: Path, size: int) -> None:
    bucket = made_bucket(aws)
    content = hashlib.sha256(b"seed").digest() * (size // 32 + 1)
    file, digest = made_file(tmp_path, content[:size])
    async with opened(aws, bucket, part_bytes=5 * MIB) as archive:
        kept = await archive.put("large", file, digest, UNTIL)
    assert kept.locked_until == UNTIL
    assert kept.etag is not None
    assert ("-" in kept.etag) == (size > 10 * MIB)
    body = aws.client("s3").get_object(Bucket=bucket, Key="plant/record/large")["Body"].read()
    assert hashlib.sha256(body).digest() == digest


async def test_other_content_under_the_key_is_told_and_left(aws: SimulatedAws, tmp_path: Path) -> None:
    bucket, s3 = made_bucket(aws), aws.client("s3")
    s3.put_object(Bucket=bucket, Key="plant/record/a", Body=b"somebody else's", ChecksumAlgorithm="SHA256")
    s3.put_object(Bucket=bucket, Key="plant/record/b", Body=b"reading5")
    async with opened(aws, bucket) as archive:
        for key in ("a", "b"):  # with a checksum, and read back
            with pytest.raises(Tampered, match="something else"):
                await archive.put(key, *made_file(tmp_path), UNTIL)
    assert len(s3.list_object_versions(Bucket=bucket)["Versions"]) == 2


async def test_whom_another_overtakes_looks_at_what_is_there(
    aws: SimulatedAws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = made_bucket(aws)
    async with opened(aws, bucket) as archive:
        first = await archive.put("a", *made_file(tmp_path), UNTIL)
        head, heads = archive._head, count()

        async def blind_once(key: str) -> dict[str, Any] | None:
            return await head(key) if next(heads) else None

        monkeypatch.setattr(archive, "_head", blind_once)
        assert await archive.put("a", *made_file(tmp_path), UNTIL) == first
    assert len(aws.client("s3").list_object_versions(Bucket=bucket)["Versions"]) == 1


async def test_what_was_put_without_a_lock_is_locked_when_it_is_met_again(aws: SimulatedAws, tmp_path: Path) -> None:
    bucket = made_bucket(aws)
    async with opened(aws, bucket, retention=Retention.EPHEMERAL) as archive:
        await archive.put("a", *made_file(tmp_path), None)
    async with opened(aws, bucket) as archive:
        assert (await archive.put("a", *made_file(tmp_path), UNTIL)).locked_until == UNTIL


async def test_a_bucket_that_cannot_lock_is_refused_with_the_mend(aws: SimulatedAws) -> None:
    async with opened(aws, made_bucket(aws, locked=False)) as archive:
        with pytest.raises(Misconfigured, match="has no Object Lock") as told:
            await archive.check()
    assert told.value.setting == "archive.retention"
    assert "put-object-lock-configuration" in told.value.mend


async def test_no_bucket_is_refused_with_the_mend(aws: SimulatedAws, tmp_path: Path) -> None:
    async with opened(aws, "there-is-none") as archive:
        with pytest.raises(Misconfigured) as told:
            await archive.put("a", *made_file(tmp_path), UNTIL)
    assert (told.value.setting, "create the bucket" in told.value.mend) == ("archive.url", True)


async def test_a_bucket_that_does_not_answer_is_unavailable(aws: SimulatedAws) -> None:
    archive = await open_s3(S3Settings("a", region=REGION, endpoint="http://127.0.0.1:9", connect_timeout_s=0.2))
    with pytest.raises(Unavailable, match="does not answer"):
        await archive.check()
    await archive.close()


@pytest.mark.parametrize(
    ("code", "message", "setting"),
    [
        ("AccessDenied", "Access Denied", "the AWS credentials"),
        ("AccessDenied", "User is not authorized to perform: kms:GenerateDataKey on …", "archive.kms_key"),
        ("KMS.DisabledException", "arn:… is disabled.", "archive.kms_key"),
        ("KMS.NotFoundException", "Invalid keyId", "archive.kms_key"),
        ("InvalidRequest", "Bucket is missing Object Lock Configuration", "archive.retention"),
        ("PermanentRedirect", "must be addressed using the specified endpoint", "archive.region"),
        ("NoSuchBucket", "The specified bucket does not exist", "archive.url"),
        ("ExpiredToken", "The provided token has expired.", "the AWS credentials"),
        ("NotImplemented", "A header you provided implies functionality…", "archive.endpoint"),
    ],
)
def test_what_s3_refuses_names_the_setting(code: str, message: str, setting: str) -> None:
    asked = Asked("s3:PutObject", "bucket", REGION, "https://s3", "key")
    told = trouble(ClientError({"Error": {"Code": code, "Message": message}}, "PutObject"), asked)
    assert isinstance(told, Misconfigured)
    assert told.setting == setting
    assert message in told.why


def test_what_may_pass_is_unavailable() -> None:
    asked = Asked("s3:PutObject", "bucket", REGION, "https://s3", "key")
    for code in ("SlowDown", "InternalError", "ServiceUnavailable"):
        told = trouble(ClientError({"Error": {"Code": code, "Message": "later"}}, "PutObject"), asked)
        assert isinstance(told, Unavailable)
    assert isinstance(trouble(NoCredentialsError(), asked), Misconfigured)


def test_an_url_names_bucket_and_prefix() -> None:
    assert read_url("s3://bucket") == ("bucket", "")
    assert read_url("s3://bucket/a/b/") == ("bucket", "a/b")
    with pytest.raises(Misconfigured, match="names no bucket"):
        read_url("s3:///a")


async def test_a_day_goes_into_the_bucket_whole(aws: SimulatedAws, postgres_url: str, tmp_path: Path) -> None:
    database = Database(postgres_url, application="test", connections_max=4)
    await database.open()
    history = PostgresHistory(database)
    await make_tags(history)
    writer = await Writer.start(history)
    await writer.flush([good(tag, NOW - 400 * DAY + i, i / 3) for tag in (1, 2) for i in range(100)])
    await Sealer(database, 1.0).seal(0)
    bucket, s3 = made_bucket(aws), aws.client("s3")
    async with opened(aws, bucket) as archive:
        assert (await Archiver(database, archive).run()).readings == 200
    ((key, digest, version, locked),) = ask(database, "select key, sha256, version, locked_until from archive_object")
    told = s3.get_object(Bucket=bucket, Key=f"plant/record/{key}", VersionId=version)
    file = tmp_path / "back.parquet"
    file.write_bytes(told["Body"].read())
    assert hashlib.sha256(file.read_bytes()).digest() == digest
    assert duckdb.sql(f"select count(*), sum(value) from '{file}'").fetchall() == ask(
        database, "select count(*), sum(value) from readings"
    )
    assert told["ObjectLockRetainUntilDate"] == locked
    assert len(s3.list_objects_v2(Bucket=bucket)["Contents"]) == 2
    await history.close()
    await database.close()


async def test_two_classes_are_locked_for_two_times_and_the_critical_outlives_the_other(
    aws: SimulatedAws, postgres_url: str
) -> None:
    database = Database(postgres_url, application="test", connections_max=4)
    await database.open()
    history = PostgresHistory(database)
    await make_tags(history)
    turn(postgres_url, [1])
    writer = await Writer.start(history)
    for day in range(2):
        await writer.flush([good(tag, NOW + (day - 400) * DAY + i, i / 3) for tag in (1, 2) for i in range(100)])
    await Sealer(database, 1.0).seal(0)
    bucket, s3 = made_bucket(aws), aws.client("s3")
    week = timedelta(days=7)
    async with opened(aws, bucket) as archive:
        await Archiver(database, archive, ArchiveLimits(keep_standard=timedelta(days=90))).run()
        keys = sorted(each["Key"] for each in s3.list_objects_v2(Bucket=bucket)["Contents"])
        heads = {key: s3.head_object(Bucket=bucket, Key=key)["ObjectLockRetainUntilDate"] for key in keys}
        days = sorted(("standard" in key, (until - datetime.now(UTC)).days) for key, until in heads.items())
        assert days == [(False, 2_556)] * 4 + [(True, 89)] * 2
        assert (await Forgetter(database, archive, Keeping(week, None)).run()).readings == 100
        for key in keys:
            if "standard" in key:  # as a lifecycle rule does it, once the lock has ended
                s3.delete_object(Bucket=bucket, Key=key)
        assert (await Forgetter(database, archive, Keeping(week, week)).run()).readings == 100
    await history.close()
    await database.close()


async def test_readings_leave_the_database_only_while_the_bucket_shows_them(
    aws: SimulatedAws, postgres_url: str
) -> None:
    """In one piece and in parts; not when another version lies over one."""
    database = Database(postgres_url, application="test", connections_max=4)
    await database.open()
    history = PostgresHistory(database)
    await make_tags(history)
    writer = await Writer.start(history)
    for day in range(4):
        await writer.flush([good(1, NOW + (day - 400) * DAY + i, i / 3) for i in range(100)])
    await Sealer(database, 1.0).seal(0)
    bucket, s3 = made_bucket(aws), aws.client("s3")
    keeping = Keeping(timedelta(days=7), None)
    async with opened(aws, bucket) as archive:
        await Archiver(database, archive).run()
        keys = [key for (key,) in ask(database, "select key from archive_object order by day")]
        s3.put_object(Bucket=bucket, Key=f"plant/record/{keys[1]}", Body=b"something else")
        with pytest.raises(Tampered, match="something else"):
            await Forgetter(database, archive, keeping).run()
        assert ask(database, "select count(*) from readings") == [(300,)], "the day before it was shown, and left"
        (first, *_) = s3.list_object_versions(Bucket=bucket, Prefix=f"plant/record/{keys[1]}")["Versions"]
        s3.delete_object(Bucket=bucket, Key=f"plant/record/{keys[1]}", VersionId=first["VersionId"])
        assert (await Forgetter(database, archive, keeping).run()).readings == 200
        with pytest.raises(Tampered, match="not there"):
            await archive.show("nothing", bytes(32), 1, None)
        with pytest.raises(Tampered, match="not there"):
            await archive.read("nothing")
        ((key, digest, size, locked),) = ask(
            database, "select key, sha256, bytes, locked_until from archive_object order by day limit 1"
        )
        await archive.show(key, digest, size, locked)
        with pytest.raises(Tampered, match="not locked"):
            await archive.show(key, digest, size, locked + timedelta(days=1))
        with pytest.raises(Tampered, match="something else"):
            await archive.show(key, bytes(32), size, locked)
    await history.close()
    await database.close()


async def test_what_was_sent_in_parts_is_read_back_to_be_shown(aws: SimulatedAws, tmp_path: Path) -> None:
    bucket = made_bucket(aws)
    content = bytes(range(256)) * (12 * MIB // 256)
    file, digest = made_file(tmp_path, content)
    async with opened(aws, bucket, part_bytes=5 * MIB) as archive:
        await archive.put("large", file, digest, UNTIL)
        await archive.show("large", digest, len(content), UNTIL)
        with pytest.raises(Tampered, match="something else"):
            await archive.show("large", bytes(32), len(content), UNTIL)
