"""Secrets, their versions and the labels on them, by the rules of the API reference.

A label is on one version of a secret at a time. A new version takes AWSCURRENT unless it asks for other labels, and
whoever loses AWSCURRENT gets AWSPREVIOUS. A version without labels is deprecated: it can still be read by its id.
"""

import threading
import uuid
from dataclasses import dataclass, field
from typing import Any

CURRENT, PREVIOUS = "AWSCURRENT", "AWSPREVIOUS"
Request = dict[str, Any]


class Refusal(Exception):
    """An error of the service: its code and its words."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass
class Secret:
    name: str
    arn: str
    versions: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    """Version id by label."""
    is_deleted: bool = False

    def move(self, label: str, version: str) -> None:
        if label == CURRENT and self.labels.get(CURRENT, version) != version:
            self.labels[PREVIOUS] = self.labels[CURRENT]
        self.labels[label] = version

    def stages(self) -> dict[str, list[str]]:
        return {
            version: found
            for version in self.versions
            if (found := sorted(label for label, at in self.labels.items() if at == version))
        }


class Secrets:
    """One account in one region."""

    def __init__(self, region: str = "eu-central-1") -> None:
        self.region = region
        self.secrets: dict[str, Secret] = {}
        self.denied: set[str] = set()
        """Names that nobody may read."""
        self.refusal: Refusal | None = None
        """What everybody is answered."""
        self.calls: list[str] = []
        self._lock = threading.Lock()

    def call(self, action: str, request: Request) -> Request:
        """The answer to one call. Raises Refusal."""
        does = getattr(self, f"do_{action}", None)
        if does is None:
            raise Refusal("UnknownOperationException", action)
        if self.refusal is not None:
            raise self.refusal
        with self._lock:
            self.calls.append(action)
            return does(request)

    def do_CreateSecret(self, request: Request) -> Request:  # noqa: N802
        name = request["Name"]
        if name in self.secrets:
            raise Refusal("ResourceExistsException", f"The operation failed because the secret {name} already exists.")
        arn = f"arn:aws:secretsmanager:{self.region}:123456789012:secret:{name}-{uuid.uuid4().hex[:6]}"
        secret = self.secrets[name] = Secret(name, arn)
        if "SecretString" not in request:
            return {"ARN": arn, "Name": name}
        version = request.get("ClientRequestToken") or str(uuid.uuid4())
        secret.versions[version] = request["SecretString"]
        secret.move(CURRENT, version)
        return {"ARN": arn, "Name": name, "VersionId": version}

    def do_GetSecretValue(self, request: Request) -> Request:  # noqa: N802
        secret = self._found(request)
        if secret.name in self.denied:
            raise Refusal(
                "AccessDeniedException",
                "User: arn:aws:sts::123456789012:assumed-role/task is not authorized to perform: "
                f"secretsmanager:GetSecretValue on resource: {secret.name}",
            )
        if secret.is_deleted:
            raise Refusal(
                "InvalidRequestException",
                "You can't perform this operation on the secret because it was marked for deletion.",
            )
        version, label = request.get("VersionId"), request.get("VersionStage")
        found = version or secret.labels.get(label or CURRENT, "")
        if found not in secret.versions:
            wanted = f"VersionId: {version}" if version else f"staging label: {label or CURRENT}"
            raise Refusal(
                "ResourceNotFoundException", f"Secrets Manager can't find the specified secret value for {wanted}"
            )
        if version and label and secret.labels.get(label) != version:
            raise Refusal(
                "InvalidRequestException",
                "You provided a VersionStage that is not associated to the provided VersionId.",
            )
        stages = secret.stages().get(found, [])
        text = secret.versions[found]
        return {
            "ARN": secret.arn,
            "Name": secret.name,
            "VersionId": found,
            "SecretString": text,
            "VersionStages": stages,
        }

    def do_PutSecretValue(self, request: Request) -> Request:  # noqa: N802
        secret = self._found(request)
        version = request.get("ClientRequestToken") or str(uuid.uuid4())
        text, labels = request["SecretString"], request.get("VersionStages", [CURRENT])
        if secret.versions.get(version, text) != text:
            raise Refusal("ResourceExistsException", f"A version {version} with other content already exists.")
        if version not in secret.versions:
            secret.versions[version] = text
            for label in labels:
                secret.move(label, version)
            if CURRENT not in secret.labels:
                secret.move(CURRENT, version)
        return {"ARN": secret.arn, "Name": secret.name, "VersionId": version, "VersionStages": labels}

    def do_UpdateSecretVersionStage(self, request: Request) -> Request:  # noqa: N802
        secret, label = self._found(request), request["VersionStage"]
        to, off = request.get("MoveToVersionId"), request.get("RemoveFromVersionId")
        at = secret.labels.get(label)
        if to is not None and to not in secret.versions:
            raise Refusal("ResourceNotFoundException", "Secrets Manager can't find the specified secret version.")
        if (off is not None and at != off) or (to is not None and off is None and at not in {None, to}):
            raise Refusal(
                "InvalidParameterException",
                f"The parameter RemoveFromVersionId is missing or wrong. Staging label {label} is attached "
                "to another version, so you must explicitly reference that version in RemoveFromVersionId.",
            )
        if to is not None:
            secret.move(label, to)
        elif off is not None:
            del secret.labels[label]
        return {"ARN": secret.arn, "Name": secret.name}

    def do_DescribeSecret(self, request: Request) -> Request:  # noqa: N802
        secret = self._found(request)
        return {
            "ARN": secret.arn,
            "Name": secret.name,
            "RotationEnabled": True,
            "VersionIdsToStages": secret.stages(),
        }

    def do_DeleteSecret(self, request: Request) -> Request:  # noqa: N802
        secret = self._found(request)
        secret.is_deleted = True
        return {"ARN": secret.arn, "Name": secret.name}

    def _found(self, request: Request) -> Secret:
        wanted = request["SecretId"]
        for secret in self.secrets.values():
            if wanted in {secret.name, secret.arn}:
                return secret
        raise Refusal("ResourceNotFoundException", "Secrets Manager can't find the specified secret.")
