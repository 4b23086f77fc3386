"""Redis without a password: ElastiCache takes a signed request in place of one, good for a quarter of an hour.

The user must be of the type IAM and our role allowed elasticache:Connect on it and on the cache. Redis hangs up twelve
hours after; the next connection comes with a new signature.
"""

from typing import Final

from penstock.errors import Unavailable
from penstock.secrets.reference import Reference

SERVICE: Final = "elasticache"
GOOD_S: Final = 900
_SCHEME: Final = "http://"
"""Part of what ElastiCache signs by itself; nothing is ever asked there."""
_MEND: Final = "give the container a task role, and set AWS_REGION"


def fetch(reference: Reference) -> str:
    """What USER of `iam://CACHE/USER` says in place of a password. Raises Misconfigured or Unavailable."""
    from botocore.exceptions import BotoCoreError  # noqa: PLC0415  # slow to import, and seldom needed
    from botocore.model import ServiceId  # noqa: PLC0415
    from botocore.session import get_session  # noqa: PLC0415
    from botocore.signers import RequestSigner  # noqa: PLC0415

    cache, _, user = reference.name.partition("/")
    session = get_session()
    region = session.get_config_variable("region")
    try:
        credentials = session.get_credentials()
        if credentials is None or not region:
            raise reference.wrong("there are no AWS credentials here, or no region", _MEND)
        signer = RequestSigner(
            ServiceId(SERVICE), region, SERVICE, "v4", credentials, session.get_component("event_emitter")
        )
        url = f"{_SCHEME}{cache}/?Action=connect&User={user}"
        request = {"method": "GET", "url": url, "body": {}, "headers": {}, "context": {}}
        signed = signer.generate_presigned_url(request, "connect", expires_in=GOOD_S)
    except BotoCoreError as error:
        raise Unavailable(f"{reference}: AWS does not say who we are ({error})") from error
    return str(signed).removeprefix(_SCHEME)
