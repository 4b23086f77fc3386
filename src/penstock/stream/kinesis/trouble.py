"""What Kinesis refuses, and why it does not answer, as our errors: at start with the mend, later as what passes."""

from typing import Any, Final, NamedTuple

import aiohttp
from botocore import exceptions as boto
from botocore.parsers import ResponseParserError

from penstock.errors import Backpressure, Misconfigured, PenstockError, Unavailable

FOREIGN: Final = (
    boto.BotoCoreError, boto.ClientError, ResponseParserError, aiohttp.ClientError, TimeoutError, OSError
)  # fmt: skip
"""All that a call through aiobotocore raises."""
THROTTLES: Final = frozenset({
    "ProvisionedThroughputExceededException", "LimitExceededException", "KMSThrottlingException",
    "ThrottlingException", "Throttling", "RequestLimitExceeded",
})  # fmt: skip


class Asked(NamedTuple):
    """What was asked of Kinesis, and where."""

    action: str
    """As a policy names it: `kinesis:PutRecords`."""
    stream: str
    region: str
    endpoint: str
    """The URL that was called."""


class _Mend(NamedTuple):
    setting: str
    why: str
    """May say {action}, {stream}, {region}, {endpoint} and {said}: Amazon's own words."""
    mend: str


_CREDENTIALS: Final = "the AWS credentials"
_KMS: Final = "the stream's KMS key"
_ROLE: Final = "give the container a task role, the machine a role or profile, or set AWS_PROFILE; then start again"
_WRONG_KEY: Final = _Mend(
    _CREDENTIALS,
    "{endpoint} does not know this access key: {said}",
    "check that the key is active and of this partition (aws, aws-cn, aws-us-gov), or " + _ROLE,
)
_WRONG_SECRET: Final = _Mend(
    _CREDENTIALS,
    "the signature is wrong: {said}",
    "check the secret key, and this machine's clock (it may be off by five minutes at most)",
)
_EXPIRED: Final = _Mend(_CREDENTIALS, "they have expired: {said}", "get new ones; better, " + _ROLE)
_ABSENT: Final = _Mend(_CREDENTIALS, "none were found, or not whole ones: {said}", _ROLE)
_KMS_OFF: Final = _Mend(
    _KMS,
    "it cannot be used: {said}",
    "enable the key or cancel its deletion (aws kms enable-key, cancel-key-deletion), or encrypt with another",
)
_AWAY: Final = _Mend(
    "stream.region, stream.endpoint",
    "Kinesis does not answer at {endpoint} (region {region}): {said}",
    "correct the region or the endpoint; else check DNS, the route, the VPC endpoint and its security group",
)
_NO_REGION: Final = _Mend(
    "stream.region", "no region is set", "set it to where the stream is, as eu-central-1, or set AWS_REGION"
)
_GONE: Final = _Mend(
    "stream.url",
    "there is no stream {stream} in region {region}: {said}",
    "correct the name, the region or the account (that of the credentials), or create the stream",
)
_DENIED: Final = _Mend(
    _CREDENTIALS,
    "{action} on stream {stream} in {region} is not allowed: {said}",
    "allow {action} on arn:aws:kinesis:{region}:ACCOUNT:stream/{stream} in the role's policy",
)
_DELETING: Final = _Mend(
    "stream.url", "stream {stream} in region {region} is being deleted", "name another stream, or create it anew"
)

_BY_CODE: Final = {
    "ResourceNotFoundException": _GONE,
    "AccessDeniedException": _DENIED,
    "AccessDenied": _DENIED,
    "UnrecognizedClientException": _WRONG_KEY,
    "InvalidClientTokenId": _WRONG_KEY,
    "OptInRequired": _WRONG_KEY,
    "MissingAuthenticationTokenException": _ABSENT,
    "MissingAuthenticationToken": _ABSENT,
    "InvalidSignatureException": _WRONG_SECRET,
    "SignatureDoesNotMatch": _WRONG_SECRET,
    "IncompleteSignatureException": _WRONG_SECRET,
    "ExpiredTokenException": _EXPIRED,
    "ExpiredToken": _EXPIRED,
    "RequestExpired": _EXPIRED,
    "KMSAccessDeniedException": _Mend(
        _KMS, "it may not be used: {said}",
        "allow kms:GenerateDataKey (ingest) and kms:Decrypt (work) in the key's policy and the role's",
    ),
    "KMSDisabledException": _KMS_OFF,
    "KMSInvalidStateException": _KMS_OFF,
    "KMSNotFoundException": _KMS_OFF,
    "KMSOptInRequired": _KMS_OFF,
}  # fmt: skip
_BY_TYPE: Final[tuple[tuple[type[Exception], _Mend], ...]] = (
    (boto.NoRegionError, _NO_REGION),
    (boto.NoCredentialsError, _ABSENT),
    (boto.PartialCredentialsError, _ABSENT),
    (boto.CredentialRetrievalError, _ABSENT),
    (boto.ProfileNotFound, _ABSENT),
    (boto.TokenRetrievalError, _EXPIRED),
    (boto.UnauthorizedSSOTokenError, _EXPIRED),
    (boto.InvalidRegionError, _AWAY),
    (boto.EndpointConnectionError, _AWAY),
    (boto.ConnectTimeoutError, _AWAY),
    (boto.ProxyConnectionError, _AWAY),
    (boto.SSLError, _AWAY),
)


def code_of(error: BaseException) -> str:
    """Kinesis' name of its refusal, or our word for no answer: what a metric may count by."""
    if isinstance(error, boto.ClientError):
        return str(_told(error).get("Code", "unknown"))
    return "timeout" if isinstance(error, boto.ReadTimeoutError | TimeoutError) else "connection"


def at_start(error: BaseException, asked: Asked) -> PenstockError:
    """What stops a process that begins: Misconfigured, with the setting and its mend, if a person must mend it."""
    known = _known(error)
    if known is None:
        return later(error, asked)
    return Misconfigured(known.setting, *(_filled(text, error, asked) for text in (known.why, known.mend)))


def later(error: BaseException, asked: Asked) -> PenstockError:
    """What a process that runs can only wait out."""
    if code_of(error) in THROTTLES:
        return Backpressure(f"stream {asked.stream} takes no more at the moment ({code_of(error)})")
    known = _known(error)
    why = "Kinesis does not answer: {said}" if known is None else f"{known.setting}: {known.why}"
    return Unavailable(f"{asked.action} on {asked.stream}: {_filled(why, error, asked)}")


def being_deleted(asked: Asked) -> Misconfigured:
    """The stream still answers, but not for long."""
    return Misconfigured(_DELETING.setting, _DELETING.why.format(**asked._asdict()), _DELETING.mend)


def _known(error: BaseException) -> _Mend | None:
    if isinstance(error, boto.ClientError):
        return _BY_CODE.get(code_of(error))
    return next((mend for kind, mend in _BY_TYPE if isinstance(error, kind)), None)


def _filled(text: str, error: BaseException, asked: Asked) -> str:
    return text.format(**asked._asdict(), said=_said(error))


def _said(error: BaseException) -> str:
    if isinstance(error, boto.ClientError):
        # a wrong signature is explained by the whole request, session token and all, from the second line on
        return f"{code_of(error)}, {_told(error).get('Message', 'without a word').partition(chr(10))[0]}"
    return str(error) or type(error).__name__


def _told(error: boto.ClientError) -> dict[str, Any]:
    return dict(error.response.get("Error", {}))
