"""Archives under a lock: what `penstock destroy` refuses, and what it lifts."""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import pytest
from botocore.exceptions import ClientError

from simaws.loop import Applied


@contextmanager
def at_hand(applied: Applied) -> Iterator[None]:
    """The environment that Penstock's own commands read."""
    environment = applied.terraform.environment | {"PENSTOCK_TEST_AWS_ENDPOINT": applied.aws.url}
    with mock.patch.dict("os.environ", environment):
        yield


def lift(applied: Applied) -> None:
    """Destroyed only when asked to remove the archive too."""
    from penstock.infra.console import Console  # noqa: PLC0415  # only where deployments are tried
    from penstock.infra.deploying import destroy  # noqa: PLC0415

    refused(applied, "--with-archive")
    with at_hand(applied):
        assert destroy(applied.deployment, applied.terraform.folder, Console(ask=False), with_archive=True)
    assert applied.terraform.outputs() == {}, "destroyed, and the state knows of something"


def stay(applied: Applied) -> None:
    """Refused whoever asks, by us and by S3; nothing is destroyed."""
    refused(applied, "stays until", with_archive=True)
    s3, bucket = applied.aws.client("s3"), applied.output("archive_bucket_name")
    version = next(one for one in s3.list_object_versions(Bucket=bucket)["Versions"])
    with pytest.raises(ClientError, match="AccessDenied"):
        s3.delete_object(
            Bucket=bucket, Key=version["Key"], VersionId=version["VersionId"], BypassGovernanceRetention=True
        )


def refused(applied: Applied, why: str, *, with_archive: bool = False) -> None:
    from penstock.errors import Misconfigured  # noqa: PLC0415  # only where deployments are tried
    from penstock.infra.console import Console  # noqa: PLC0415
    from penstock.infra.deploying import destroy  # noqa: PLC0415

    with at_hand(applied), pytest.raises(Misconfigured, match=why):
        destroy(applied.deployment, applied.terraform.folder, Console(ask=False), with_archive=with_archive)
