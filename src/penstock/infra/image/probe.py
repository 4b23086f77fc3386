#!/opt/penstock/bin/python
"""`penstock-probe URL…`: exit 0 as soon as one answers 200, else 1. A container's own health, by stdlib alone.

Over loopback only, where a task's certificate, made at its start, can be nobody else's.
"""

import ssl
import sys
import urllib.request
from urllib.parse import urlsplit

TIMEOUT_S = 3.0


def main(urls: list[str]) -> int:
    """Whether anything lives here."""
    return 0 if any(alive(url) for url in urls) else 1


def alive(url: str) -> bool:
    """Whether *url* answers 200. Raises ValueError for another machine's."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or parts.hostname not in {"127.0.0.1", "localhost", "::1"}:
        raise ValueError(f"{url} is not on this machine")
    unchecked = ssl.create_default_context()
    unchecked.check_hostname, unchecked.verify_mode = False, ssl.CERT_NONE
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S, context=unchecked) as answer:  # noqa: S310  # see above
            return bool(answer.status == 200)  # noqa: PLR2004
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
