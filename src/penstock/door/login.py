"""`/v1/login`: a one-time link or a key is exchanged for the page's cookie."""

from typing import Any, Final

import msgspec

from penstock.door.asgi import COOKIE, caller_of, is_same_origin
from penstock.door.keys import SESSION_LIFE_S, Keyring
from penstock.door.port import Receive, Scope, Send
from penstock.door.problem import answer, answer_json, not_allowed
from penstock.errors import Forbidden, TooLarge, Undecodable
from penstock.model.access import Caller

BODY_BYTES_MAX: Final = 4 * 2**10


class SignIn(msgspec.Struct, forbid_unknown_fields=True):
    """What the page posts: the token of a login link, or a key that was typed."""

    token: str = ""
    key: str = ""


class LoginApp:
    """POST signs in, GET tells who is signed in, DELETE signs out."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        match scope["method"]:
            case "POST":
                await self._sign_in(scope, receive, send)
            case "GET":
                await answer_json(send, 200, _told(caller_of(scope)))
            case "DELETE":
                await self._sign_out(scope, send)
            case _:
                await answer(send, not_allowed("DELETE", "GET", "POST"))

    async def _sign_in(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A form of another site must not sign a browser in under a key of its choice."""
        if _from_browser(scope) and not is_same_origin(scope):
            raise Forbidden("signing in works only from our own page", code="cross_origin")
        wanted = await _read(receive)
        session = await self._keyring.sign_in(token=wanted.token, key=wanted.key)
        caller = await self._keyring.by_session(session)
        told = {} if caller is None else _told(caller)
        await answer_json(send, 200, told, [_cookie(scope, session, int(SESSION_LIFE_S))])

    async def _sign_out(self, scope: Scope, send: Send) -> None:
        for name, value in scope["headers"]:
            if name == b"cookie":
                for pair in value.decode("latin-1").split(";"):
                    if pair.strip().startswith(f"{COOKIE}="):
                        await self._keyring.sign_out(pair.partition("=")[2].strip())
        await answer_json(send, 200, {}, [_cookie(scope, "", 0)])


def _told(caller: Caller) -> dict[str, Any]:
    return {"key_id": caller.key_id, "name": caller.name, "role": caller.role, "sites": sorted(caller.sites)}


def _from_browser(scope: Scope) -> bool:
    return any(name in (b"origin", b"sec-fetch-site") for name, _ in scope["headers"])


def _cookie(scope: Scope, session: str, life_s: int) -> tuple[bytes, bytes]:
    secure = "; Secure" if scope.get("scheme") == "https" else ""
    text = f"{COOKIE}={session}; Path=/; Max-Age={life_s}; HttpOnly; SameSite=Strict{secure}"
    return b"set-cookie", text.encode()


async def _read(receive: Receive) -> SignIn:
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
        if len(body) > BODY_BYTES_MAX:
            raise TooLarge(f"a sign-in is {BODY_BYTES_MAX} bytes at most", code="body_too_large")
    try:
        return msgspec.json.decode(body, type=SignIn)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Undecodable('send {"token": …} or {"key": …}', code="not_json") from error
