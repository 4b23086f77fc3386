"""How redis-py logs in by a reference: asked for at each connection, and anew when Redis refuses."""

from typing import Any, Final
from urllib.parse import unquote, urlsplit, urlunsplit

from redis.asyncio.connection import AbstractConnection
from redis.credentials import CredentialProvider
from redis.exceptions import AuthenticationError
from redis.exceptions import ConnectionError as RedisConnectionError

from penstock.errors import PenstockError
from penstock.secrets.reference import Address, Reference
from penstock.secrets.vault import VAULT

_MEND: Final = "let Redis' user have the password of the secret (ACL SETUSER, or modify-user of ElastiCache)"


class RedisLogin(CredentialProvider):
    """User and password of a secret."""

    def __init__(self, credentials: Reference, user: str = "") -> None:
        self._credentials, self._user = credentials, user

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        login = (await VAULT.get(self._credentials)).login(self._user)
        return (login.user, login.password) if login.user else (login.password,)

    async def log_in(self, connection: AbstractConnection) -> None:
        """A fresh connection's first words. When they are refused, whoever tries once more comes with a newer secret.

        Raises what redis-py knows how to clean up after, caused by what is to be mended.
        """
        try:
            secret = await VAULT.get(self._credentials)
            try:
                await connection.on_connect()
            except AuthenticationError as error:
                if await VAULT.get(self._credentials, refused=secret) is secret:
                    raise self._credentials.wrong(f"Redis refuses it ({error})", _MEND) from error
                raise
        except PenstockError as error:
            raise RedisConnectionError("no login") from error


def login_options(address: Address) -> tuple[str, dict[str, Any]]:
    """The URL, and what redis-py's `from_url` needs to be told beside it."""
    if address.credentials is None:
        return address.url, {}
    parts = urlsplit(address.url)
    user, _, place = parts.netloc.rpartition("@")
    login = RedisLogin(address.credentials, unquote(user))
    return urlunsplit(parts._replace(netloc=place)), {
        "credential_provider": login,
        "redis_connect_func": login.log_in,
    }
