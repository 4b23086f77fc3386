"""Secrets of AWS Secrets Manager, and its refusals with their mend.

The version is always named: what is asked without a stage may be an old one. A region is taken from an ARN, else from
the environment. `AWS_ENDPOINT_URL_SECRETS_MANAGER` leads elsewhere, as with every AWS tool.
"""

from functools import cache
from typing import Any, Final

from penstock.errors import PenstockError, Unavailable
from penstock.secrets.reference import Reference

STAGE: Final = "AWSCURRENT"
CONNECT_S: Final = 2.0
READ_S: Final = 3.0

_ROLE: Final = "give the container a task role, the machine a role or profile, or set AWS_PROFILE"
_CREDENTIALS: Final = ("the AWS credentials are of no use here", _ROLE)
_DENIED: Final = (
    "we may not read it",
    "allow secretsmanager:GetSecretValue on its ARN, and kms:Decrypt on its key, in the role's policy",
)
_GONE: Final = (
    "there is no such secret in this region, or no current version of it",
    "correct the name, the region (AWS_REGION, or write the ARN) or the account; or create it",
)
_BY_CODE: Final = {
    "ResourceNotFoundException": _GONE,
    "AccessDeniedException": _DENIED,
    "DecryptionFailure": ("its key cannot decrypt it", "enable the KMS key, and allow kms:Decrypt on it"),
    "InvalidRequestException": (
        "it is being deleted, or has no value yet",
        "restore it (aws secretsmanager restore-secret), or give it a value",
    ),
    "InvalidParameterException": ("this is no name of a secret", "write its name or its ARN"),
    "ValidationException": ("this is no name of a secret", "write its name or its ARN"),
    "UnrecognizedClientException": _CREDENTIALS,
    "InvalidClientTokenId": _CREDENTIALS,
    "MissingAuthenticationTokenException": _CREDENTIALS,
    "InvalidSignatureException": (
        "the AWS credentials sign wrongly",
        "check the secret key, and this machine's clock",
    ),
    "ExpiredTokenException": ("the AWS credentials have expired", "get new ones; better: " + _ROLE),
}


def fetch(reference: Reference) -> str:
    """The secret's current text; blocks up to ten seconds. Raises Misconfigured, or Unavailable for what may pass."""
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415  # slow to import, and seldom needed

    try:
        answer = client(_region(reference.name)).get_secret_value(SecretId=reference.name, VersionStage=STAGE)
    except (BotoCoreError, ClientError, ValueError) as error:
        raise _told(reference, error) from error
    if "SecretString" not in answer:
        raise reference.wrong("it is binary", "store it as text")
    return str(answer["SecretString"])


@cache
def client(region: str | None) -> Any:
    from botocore.config import Config  # noqa: PLC0415
    from botocore.session import get_session  # noqa: PLC0415

    config = Config(
        connect_timeout=CONNECT_S,
        read_timeout=READ_S,
        retries={"total_max_attempts": 2, "mode": "standard"},
        user_agent_extra="penstock",
    )
    return get_session().create_client("secretsmanager", region_name=region, config=config)


def _region(name: str) -> str | None:
    """`arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME` says where it is."""
    return name.split(":")[3] if name.startswith("arn:") and name.count(":") > 3 else None  # noqa: PLR2004


def _told(reference: Reference, error: Exception) -> PenstockError:
    """Of what AWS says only the first line: a refused signature is explained with the request, token and all."""
    from botocore import exceptions as boto  # noqa: PLC0415

    said = (str(error).splitlines() or [type(error).__name__])[0]
    if isinstance(error, boto.ClientError):
        known = _BY_CODE.get(error.response.get("Error", {}).get("Code", ""))
    elif isinstance(error, boto.NoRegionError):
        known = ("no region is set", "set AWS_REGION, or write the secret's ARN")
    elif isinstance(error, boto.NoCredentialsError | boto.PartialCredentialsError | boto.CredentialRetrievalError):
        known = _CREDENTIALS
    elif isinstance(error, ValueError | boto.InvalidRegionError):
        known = ("Secrets Manager has no address", "correct the region in the ARN or AWS_REGION, or the endpoint's URL")
    else:
        known = None
    if known is None:
        return Unavailable(f"{reference}: Secrets Manager does not answer ({said})")
    return reference.wrong(f"{known[0]} ({said})", known[1])
