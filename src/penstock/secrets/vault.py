"""Secrets as they were a moment ago: kept a short while, asked for anew when they are refused.

With alternating users an old login stays good until the rotation after the next one, so that what is kept for a
minute is good whenever rotations are further apart. Where they are not, the refusal says so.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from penstock.errors import PenstockError
from penstock.secrets import elasticache, files, secrets_manager
from penstock.secrets.reference import Reference, is_reference, read_reference
from penstock.secrets.secret import Secret
from penstock.telemetry import log

KEEP_S: Final = 60.0
AGAIN_S: Final = 0.2
"""However often a secret is refused, it is not asked for more often than this."""
PATIENCE_S: Final = 75.0
"""How long a refused login is tried again. AWS says that a rotation of one user's password takes about a minute."""
PAUSE_S: Final = 0.02
PAUSE_MAX_S: Final = 2.0

Source = Callable[[Reference], str]
"""Blocks; raises Misconfigured or Unavailable."""
SOURCES: Final[Mapping[str, Source]] = {"secret": secrets_manager.fetch, "file": files.fetch, "iam": elasticache.fetch}
T = TypeVar("T")


class Vault:
    """Of each secret the newest that was read. Good for every thread and event loop of a process."""

    def __init__(
        self,
        sources: Mapping[str, Source] = SOURCES,
        *,
        keep_s: float = KEEP_S,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sources, self._keep_s, self._now_s = sources, keep_s, now_s
        self._held: dict[Reference, tuple[float, Secret]] = {}
        # one thread: whoever asks for the same secret meanwhile finds the answer of the first
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="secrets")

    async def get(self, reference: Reference, *, refused: Secret | None = None) -> Secret:
        """The secret; another than *refused* if there is one by now.

        Raises Misconfigured or Unavailable if it cannot be read and never was.
        """
        held = self._good(reference, refused)
        if held is not None:
            return held
        return await asyncio.wrap_future(self._thread.submit(self._read, reference, refused))

    def get_now(self, reference: Reference) -> Secret:
        """As `get`, for who has no event loop: blocks."""
        return self._good(reference, None) or self._thread.submit(self._read, reference, None).result()

    def _good(self, reference: Reference, refused: Secret | None) -> Secret | None:
        if reference not in self._held:
            return None
        read_s, secret = self._held[reference]
        keep_s = AGAIN_S if secret is refused else self._keep_s
        return secret if self._now_s() - read_s < keep_s else None

    def _read(self, reference: Reference, refused: Secret | None) -> Secret:
        if held := self._good(reference, refused):
            return held
        known = self._held.get(reference)
        try:
            secret = Secret(reference, self._sources[reference.scheme](reference))
        except PenstockError as error:
            if known is None:
                raise
            log.warning("a secret cannot be read again; its last known value is used", why=str(error))
            secret = known[1]
        if known is not None and secret == known[1]:
            secret = known[1]
        self._held[reference] = self._now_s(), secret
        return secret


VAULT: Final = Vault()
"""This process's."""


async def logged_in(
    reference: Reference,
    attempt: Callable[[Secret], Awaitable[T]],
    is_refusal: Callable[[Exception], bool],
    *,
    patience_s: float = PATIENCE_S,
) -> T:
    """What *attempt* returns with the secret. When it is refused: with a newer one at once, else again and again."""
    secret = await VAULT.get(reference)
    until_s, pause_s = time.monotonic() + patience_s, PAUSE_S
    while True:
        try:
            return await attempt(secret)
        except Exception as error:
            if not is_refusal(error) or time.monotonic() > until_s:
                raise
        newer = await VAULT.get(reference, refused=secret)
        if newer is secret:
            if pause_s == PAUSE_S:
                log.warning("credentials are refused; tried again", credentials=str(reference), for_s=patience_s)
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311  # so that not all come at once
            pause_s = min(2 * pause_s, PAUSE_MAX_S)
        secret = newer


async def revealed(text: str, setting: str) -> str:
    """The secret that *text* refers to, or *text* itself where it refers to nothing. Raises as `Vault.get`."""
    if not is_reference(text):
        return text
    return (await VAULT.get(read_reference(text, setting))).text()
