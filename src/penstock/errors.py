"""
Every error we raise, grouped by what the caller does next:

* PenstockError
  x Misconfigured       stop at start-up, name the setting and its mend (exit 78)
  x Rejected            this request or reading can never pass as it is (4xx)
    + Undecodable         the bytes are not what they claim to be
    + TooLarge            more than a limit allows
    + Unauthorized        no key, or one we do not know
    + Forbidden           a known key, but not for this
    + Unknown             there is no such thing
  x Unavailable         the other side is down: back off and retry (503, exit 69)
  x Backpressure        we are full: slow down (429 or 503 with Retry-After)
  x Fenced              another worker holds the lease: drop what you hold and start anew
  x Tampered            the record does not add up: stop, tell a human
"""

from typing import ClassVar


class PenstockError(Exception):
    """Something went wrong in penstock."""

    code: ClassVar[str] = "internal"

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail or type(self).__doc__)


class Misconfigured(PenstockError):
    """A setting is missing, impossible or contradicts another."""

    code = "misconfigured"

    def __init__(self, setting: str, why: str, mend: str) -> None:
        super().__init__(f"{setting}: {why}. Mend: {mend}")
        self.setting, self.why, self.mend = setting, why, mend


class Rejected(PenstockError):
    """This can never be accepted as it is."""

    code = "rejected"

    def __init__(self, detail: str = "", *, code: str | None = None) -> None:
        super().__init__(detail)
        if code is not None:
            self.code = code  # type: ignore[misc]  # a request names its own reason; a class only its kind


class Undecodable(Rejected):
    """The bytes are not what they claim to be."""

    code = "undecodable"


class TooLarge(Rejected):
    """More than a limit allows."""

    code = "too_large"


class Unauthorized(Rejected):
    """There is no key, or it is not one of ours."""

    code = "unauthorized"


class Forbidden(Rejected):
    """The key is known, but not for this."""

    code = "forbidden"


class Unknown(Rejected):
    """There is no such thing."""

    code = "unknown"


class Unavailable(PenstockError):
    """A system we depend on does not answer."""

    code = "unavailable"


class Backpressure(PenstockError):
    """There is no room for more right now."""

    code = "overloaded"

    def __init__(self, detail: str = "", *, retry_after_s: float = 1.0) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class Fenced(PenstockError):
    """Another worker holds the lease; whatever we were about to commit is not ours to commit."""

    code = "fenced"


class Tampered(PenstockError):
    """The record does not add up."""

    code = "tampered"
