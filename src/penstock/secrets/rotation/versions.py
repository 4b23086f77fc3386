"""The versions of the secret that rotates, as Secrets Manager labels them."""

import json
from contextlib import suppress
from typing import Any, Final

CURRENT: Final = "AWSCURRENT"
PENDING: Final = "AWSPENDING"


class Versions:
    """Of one secret, during one rotation: *token* is the id of the version that is to become the current one."""

    def __init__(self, client: Any, secret: str, token: str) -> None:
        """*client*: botocore's, of Secrets Manager."""
        self._client, self._secret, self._token = client, secret, token

    def is_done(self) -> bool:
        """Whether ours is the current version already."""
        return self._at(CURRENT) == self._token

    def current(self) -> dict[str, Any]:
        return self._read(SecretId=self._secret, VersionStage=CURRENT)

    def pending(self) -> dict[str, Any] | None:
        """Ours, if it was put."""
        missing = self._client.exceptions.ResourceNotFoundException
        try:
            return self._read(SecretId=self._secret, VersionStage=PENDING, VersionId=self._token)
        except missing:
            return None

    def put_pending(self, fields: dict[str, Any]) -> None:
        """Another run of the same step may have been faster: then its version stays."""
        with suppress(self._client.exceptions.ResourceExistsException):
            self._client.put_secret_value(
                SecretId=self._secret,
                ClientRequestToken=self._token,
                SecretString=json.dumps(fields),
                VersionStages=[PENDING],
            )

    def finish(self) -> None:
        """Ours becomes the current one, in one call."""
        self._client.update_secret_version_stage(
            SecretId=self._secret,
            VersionStage=CURRENT,
            MoveToVersionId=self._token,
            RemoveFromVersionId=self._at(CURRENT),
        )

    def of_another(self, secret: str) -> dict[str, Any]:
        """The current version of a secret that we only read."""
        return self._read(SecretId=secret, VersionStage=CURRENT)

    def _at(self, label: str) -> str | None:
        stages = self._client.describe_secret(SecretId=self._secret).get("VersionIdsToStages", {})
        return next((version for version, labels in stages.items() if label in labels), None)

    def _read(self, **which: str) -> dict[str, Any]:
        """The version's fields; none if it is no JSON object, as a first value may be."""
        try:
            fields = json.loads(self._client.get_secret_value(**which)["SecretString"])
        except ValueError:  # its text would show a part of the secret
            return {}
        return fields if isinstance(fields, dict) else {}
