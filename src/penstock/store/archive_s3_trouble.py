"""What S3 refuses, and why it does not answer, as our errors, with the mend where a person can mend it."""

from typing import Any, Final, NamedTuple

import aiohttp
from botocore import exceptions as boto
from botocore.parsers import ResponseParserError

from penstock.errors import Misconfigured, PenstockError, Unavailable

FOREIGN: Final = (
    boto.BotoCoreError, boto.ClientError, ResponseParserError, aiohttp.ClientError, TimeoutError, OSError
)  # fmt: skip
"""All that a call through aiobotocore raises."""
ABSENT: Final = frozenset({"404", "NoSuchKey", "NotFound"})


class Asked(NamedTuple):
    """What was asked of S3, and where."""

    action: str
    """As a policy names it: `s3:PutObject`."""
    bucket: str
    region: str
    endpoint: str
    kms_key: str


class _Mend(NamedTuple):
    setting: str
    why: str
    """May say the fields of `Asked`, and {said}: Amazon's own words."""
    mend: str


_CREDENTIALS: Final = "the AWS credentials"
_ROLE: Final = "give the container a task role, the machine a role or profile, or set AWS_PROFILE"
_NO_BUCKET: Final = _Mend(
    "archive.url",
    "there is no bucket {bucket} (region {region}): {said}",
    "correct the name, or create the bucket, with versioning and Object Lock",
)
_ELSEWHERE: Final = _Mend(
    "archive.region", "bucket {bucket} is not in region {region}: {said}", "set it to the bucket's own region"
)
_DENIED: Final = _Mend(
    _CREDENTIALS,
    "{action} on bucket {bucket} is not allowed: {said}",
    "allow s3:PutObject, s3:PutObjectRetention, s3:GetObject, s3:GetObjectRetention on arn:aws:s3:::{bucket}/*, "
    "s3:ListBucket, s3:GetBucketObjectLockConfiguration on arn:aws:s3:::{bucket}, "
    "and kms:GenerateDataKey, kms:Decrypt on its key",
)
_NO_CREDENTIALS: Final = _Mend(_CREDENTIALS, "they are of no use here: {said}", _ROLE)
_KMS: Final = _Mend(
    "archive.kms_key",
    "key {kms_key} cannot be used: {said}",
    "enable the key, and allow kms:GenerateDataKey and kms:Decrypt on it in its policy and the role's",
)
_NO_LOCK: Final = _Mend(
    "archive.retention",
    "bucket {bucket} has no Object Lock: {said}",
    "enable Object Lock on the bucket (aws s3api put-object-lock-configuration), name one that has it, "
    "or set ephemeral",
)
_NO_REGION: Final = _Mend(
    "archive.region", "no region is set", "set it to where the bucket is, as eu-central-1, or set AWS_REGION"
)
_AWAY: Final = _Mend(
    "archive.region, archive.endpoint",
    "S3 does not answer at {endpoint} (region {region}): {said}",
    "correct the region or the endpoint; else check DNS, the route and the VPC endpoint",
)
_UNSUPPORTED: Final = _Mend(
    "archive.endpoint",
    "it does not know what we ask of S3 ({action}): {said}",
    "use Amazon's own, or a store with conditional writes, SHA-256 checksums and Object Lock",
)
_BY_CODE: Final = {
    "NoSuchBucket": _NO_BUCKET,
    "InvalidBucketName": _NO_BUCKET,
    "PermanentRedirect": _ELSEWHERE,
    "AuthorizationHeaderMalformed": _ELSEWHERE,
    "IllegalLocationConstraintException": _ELSEWHERE,
    "301": _ELSEWHERE,
    "AccessDenied": _DENIED,
    "403": _DENIED,
    "AllAccessDisabled": _DENIED,
    "InvalidAccessKeyId": _NO_CREDENTIALS,
    "SignatureDoesNotMatch": _NO_CREDENTIALS,
    "ExpiredToken": _NO_CREDENTIALS,
    "InvalidToken": _NO_CREDENTIALS,
    "RequestTimeTooSkewed": _NO_CREDENTIALS,
    "KMS.DisabledException": _KMS,
    "KMS.NotFoundException": _KMS,
    "KMS.KMSInvalidStateException": _KMS,
    "KMS.InvalidStateException": _KMS,
    "KMS.AccessDeniedException": _KMS,
    "ObjectLockConfigurationNotFoundError": _NO_LOCK,
    "NotImplemented": _UNSUPPORTED,
}
_BY_TYPE: Final[tuple[tuple[type[Exception], _Mend], ...]] = (
    (boto.NoRegionError, _NO_REGION),
    (boto.NoCredentialsError, _NO_CREDENTIALS),
    (boto.PartialCredentialsError, _NO_CREDENTIALS),
    (boto.CredentialRetrievalError, _NO_CREDENTIALS),
    (boto.ProfileNotFound, _NO_CREDENTIALS),
    (boto.TokenRetrievalError, _NO_CREDENTIALS),
    (boto.UnauthorizedSSOTokenError, _NO_CREDENTIALS),
    (boto.InvalidRegionError, _AWAY),
)
_BY_WORDS: Final = (("kms", _KMS), ("Object Lock", _NO_LOCK), ("ObjectLock", _NO_LOCK))
"""Where S3's code says too little: AccessDenied for a key, InvalidRequest for a bucket that cannot lock."""
_VAGUE: Final = frozenset({"AccessDenied", "InvalidRequest", "InvalidArgument"})


def code_of(error: BaseException) -> str:
    """S3's name of its refusal; empty when it gave none."""
    return str(_told(error).get("Code", "")) if isinstance(error, boto.ClientError) else ""


def trouble(error: BaseException, asked: Asked) -> PenstockError:
    """Misconfigured for what a person must mend; Unavailable for what may pass."""
    known = _known(error)
    said = _said(error)
    if known is None:
        return Unavailable(f"{asked.action} on bucket {asked.bucket}: S3 does not answer ({said})")
    why, mend = (text.format(**asked._asdict(), said=said) for text in (known.why, known.mend))
    return Misconfigured(known.setting, why, mend)


def no_lock(said: str, asked: Asked) -> Misconfigured:
    """The bucket cannot lock what the retention class wants locked."""
    return Misconfigured(_NO_LOCK.setting, _NO_LOCK.why.format(**asked._asdict(), said=said), _NO_LOCK.mend)


def _known(error: BaseException) -> _Mend | None:
    if not isinstance(error, boto.ClientError):
        return next((mend for kind, mend in _BY_TYPE if isinstance(error, kind)), None)
    code, words = code_of(error), str(_told(error).get("Message", ""))
    if code in _VAGUE:
        told = next((mend for part, mend in _BY_WORDS if part in words), None)
        if told is not None:
            return told
    return _BY_CODE.get(code)


def _said(error: BaseException) -> str:
    if isinstance(error, boto.ClientError):
        return f"{code_of(error)}, {_told(error).get('Message', 'without a word')}"
    return (str(error).splitlines() or [type(error).__name__])[0] or type(error).__name__


def _told(error: boto.ClientError) -> dict[str, Any]:
    return dict(error.response.get("Error", {}))
