"""S3: conditions and lists in policies, a lock set when objects are there already, and events read back."""

import json
from typing import Any

from moto.iam.access_control import IAMPolicy, PermissionResult
from moto.s3.exceptions import InvalidBucketState
from moto.s3.models import FakeBucket, S3Backend
from moto.s3.responses import S3Response

from simaws.patch import add, around


def correct() -> None:
    add(S3Backend, put_object_lock_configuration)
    add(FakeBucket, _log_permissions_enabled_policy)

    @around(FakeBucket, "get_permission")
    def permission(original: Any, bucket: Any, action: str, resource: str) -> Any:
        """Moto knows no conditions, so that "deny what is not TLS" denies all: here the wire counts as TLS."""
        if bucket.policy is None:
            return original(bucket, action, resource)
        policy = json.loads(bucket.policy.decode())
        policy["Statement"] = [one for one in _listed(policy["Statement"]) if not _asks_for_tls(one)]
        if not policy["Statement"]:
            return PermissionResult.NEUTRAL
        return IAMPolicy(json.dumps(policy)).is_action_permitted(action, resource)

    @around(S3Response, "serialized")
    def serialized(original: Any, response: Any, answer: Any) -> Any:
        """That a bucket tells EventBridge is kept by moto, and not told."""
        if response.data.get("Action") == "GetBucketNotificationConfiguration" and answer.result is not None:
            kept = response.backend.get_bucket_notification_configuration(response.bucket_name)
            answer.result.update({"EventBridgeConfiguration": {}} if kept.event_bridge is not None else {})
        return original(response, answer)


def _listed(one_or_many: Any) -> list[Any]:
    return one_or_many if isinstance(one_or_many, list) else [one_or_many]


def _asks_for_tls(statement: dict[str, Any]) -> bool:
    return "aws:SecureTransport" in json.dumps(statement.get("Condition", {}))


def put_object_lock_configuration(backend: Any, bucket_name: str, lock_enabled: bool, *rule: Any) -> None:
    """Moto wants an empty bucket; AWS has not since November 2023."""
    bucket = backend.get_bucket(bucket_name)
    if not bucket.is_versioned:
        raise InvalidBucketState("Versioning must be 'Enabled' on the bucket to apply a Object Lock configuration")
    bucket.object_lock_enabled = bucket.object_lock_enabled or lock_enabled
    bucket.default_lock_mode, bucket.default_lock_days, bucket.default_lock_years = rule


def _log_permissions_enabled_policy(_bucket: Any, target_bucket: Any, target_prefix: str | None) -> bool:
    """Moto looks for one service and one resource where a policy may list several."""
    policy = json.loads(target_bucket.policy.decode()) if target_bucket.policy else {"Statement": []}
    objects = {f"{target_bucket.arn}/{prefix}*" for prefix in ("", target_prefix or "")}
    return any(
        one["Effect"] == "Allow"
        and "logging.s3.amazonaws.com" in _listed(one.get("Principal", {}).get("Service"))
        and "s3:PutObject" in _listed(one["Action"])
        and objects & set(_listed(one["Resource"]))
        for one in _listed(policy["Statement"])
    )
