"""What AWS answers when it does not do as it was asked, said as an error of ours that names the mend."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from botocore import exceptions as boto
from botocore.session import Session

from penstock.errors import Misconfigured, PenstockError, Unavailable

SIGN_IN: Final = "sign in (`aws sso login`, `aws configure`, or AWS_ACCESS_KEY_ID and its secret), then run it again"
EXPIRED: Final = frozenset(
    {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired", "UnauthorizedException"}
)
UNKNOWN_KEY: Final = frozenset(
    {
        "InvalidClientTokenId",
        "InvalidAccessKeyId",
        "UnrecognizedClientException",
        "SignatureDoesNotMatch",
        "AuthFailure",
    }
)
DENIED: Final = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "Forbidden", "403"})
NO_LOGIN: Final = (boto.NoCredentialsError, boto.PartialCredentialsError, boto.CredentialRetrievalError)
OLD_LOGIN: Final = (boto.UnauthorizedSSOTokenError, boto.SSOTokenLoadError, boto.TokenRetrievalError)
NO_WAY: Final = (boto.ConnectionError, boto.HTTPClientError)


@contextmanager
def asking(what: str) -> Iterator[None]:
    """Around what is asked of AWS; *what* says it, as in "look for the key". Raises Misconfigured or Unavailable."""
    try:
        yield
    except (boto.BotoCoreError, boto.ClientError) as error:
        raise translated(error, what) from error


def translated(error: Exception, what: str) -> PenstockError:
    """AWS' error by what its reader does next; *what* was asked."""
    match error:
        case boto.ProfileNotFound():
            known = ", ".join(Session().available_profiles) or "none: `aws configure` makes one"
            return Misconfigured("AWS_PROFILE", str(error), f"one of those in ~/.aws/config ({known})")
        case boto.ClientError():
            return _refused(error, what)
        case _ if isinstance(error, NO_LOGIN):
            return Misconfigured("aws", f"no login to AWS is found ({error})", SIGN_IN)
        case _ if isinstance(error, OLD_LOGIN):
            return Misconfigured("aws", f"the login to AWS has expired ({error})", SIGN_IN)
        case _ if isinstance(error, NO_WAY):
            return Unavailable(f"cannot {what}: {error}. Mend: see that this machine reaches AWS, then run it again")
        case _:
            return Misconfigured("aws", f"cannot {what} ({error})", "set ~/.aws/config right")


def code_of(error: Exception) -> str:
    """AWS' own word for what is wrong; empty where it said none."""
    return str(error.response.get("Error", {}).get("Code", "")) if isinstance(error, boto.ClientError) else ""


def _refused(error: boto.ClientError, what: str) -> PenstockError:
    code = code_of(error)
    if code in EXPIRED:
        return Misconfigured("aws", "the login to AWS has expired", SIGN_IN)
    if code in UNKNOWN_KEY:
        return Misconfigured("aws", f"AWS does not know us ({code})", SIGN_IN)
    if code in DENIED:
        return Misconfigured("aws", f"this login may not {what} ({error})", "use one that may, or have it allowed")
    return Unavailable(f"cannot {what}: {error}. Mend: run it again; if it stays, it is as AWS says")
