"""Who gets in, how often, and what everyone is told."""

import json

import pytest

from door.http_client import call
from penstock.clock import SystemClock
from penstock.door.asgi import COOKIE, Door, caller_of, require
from penstock.door.keys import Keyring, create_key, create_link, make_key
from penstock.door.limit import Limiter
from penstock.door.login import LoginApp
from penstock.door.memory import MemoryKeys
from penstock.door.problem import BYTES_MAX, Problem, answer_json
from penstock.errors import Fenced, Unknown
from penstock.model.access import READERS, Role


class Now:
    s = 0.0

    def __call__(self):
        return self.s


async def rest(scope, receive, send):
    match scope["path"]:
        case "/v1/crash":
            raise ZeroDivisionError("secret detail")
        case "/v1/fenced":
            raise Fenced
        case "/v1/nothing":
            raise Unknown("there is no such tag")
        case "/v1/audit":
            require(caller_of(scope), {Role.AUDITOR, Role.ADMIN})
    caller = scope["state"]["caller"]
    await answer_json(send, 200, {"caller": caller and caller.name})


@pytest.fixture
async def plant():
    return Plant()


class Plant:
    def __init__(self):
        self.now, self.store = Now(), MemoryKeys(SystemClock())
        self.ring = Keyring(self.store)
        limiter, strangers = Limiter(200, 400, now_s=self.now), Limiter(10, 50, now_s=self.now)
        self.door = Door({"/v1/login": LoginApp(self.ring)}, rest, self.ring, limiter, strangers)

    async def key(self, role=Role.VIEWER, **more):
        made = make_key(SystemClock(), name="t", role=role, sites=["*"], created_by="t", **more)
        return await create_key(self.store, made), made.key.key_id

    async def get(self, path="/v1/tags", key=None, method="GET", body=b"", **more):
        headers = {"x-api-key": key} if key else {}
        return await call(self.door, method, path, headers={**headers, **more.pop("headers", {})}, body=body, **more)


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz", "/readyz/ingest", "/openapi.json", "/assets/page.js"])
async def test_open_paths(plant, path):
    assert (await plant.get(path)).status == 200


@pytest.mark.parametrize("path", ["/v1/tags", "/metrics", "/sensor-data", "/other", "/v1/../healthz", "//healthz"])
async def test_everything_else_needs_a_key(plant, path):
    answer = await plant.get(path)
    assert (answer.status, answer.headers["www-authenticate"]) == (401, 'Bearer realm="penstock"')
    assert answer.json()["code"] == "unauthorized"
    assert (await plant.get(path, "pk_aaaaaaaa_" + "A" * 43)).status == 401


async def test_metrics_are_open_on_loopback_only(plant):
    writer, viewer = (await plant.key(Role.WRITER))[0], (await plant.key())[0]
    assert (await plant.get("/metrics", client=("127.0.0.1", 1))).status == 200
    assert (await plant.get("/metrics", client=("::1", 1))).status == 200
    assert (await plant.get("/metrics", writer)).status == 403
    assert (await plant.get("/metrics", viewer)).status == 200


async def test_a_key_comes_in_either_header_and_the_bearer_wins(plant):
    key, _ = await plant.key()
    assert (await plant.get(key=key)).json() == {"caller": "t"}
    assert (await plant.get(headers={"authorization": f"Bearer {key}"})).status == 200
    gateway = {"authorization": f"bearer {key}", "x-api-key": "the gateway's own"}
    assert (await plant.get(headers=gateway)).status == 200


async def test_every_answer_carries_the_security_headers(plant):
    key, _ = await plant.key()
    for answer in (
        await plant.get("/"),
        await plant.get(),
        await plant.get(key=key),
        await plant.get("/v1/crash", key),
    ):
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
    assert (await plant.get(key=key)).headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", ["/v1/crash", "/v1/fenced"])
async def test_our_own_faults_are_500_with_an_incident_and_logged_once(plant, path, capsys):
    answer = await plant.get(path, (await plant.key())[0])
    told = answer.json()
    assert (answer.status, told["code"]) == (500, "internal")
    assert "secret detail" not in answer.body.decode()
    logged = "".join(capsys.readouterr())
    assert logged.count(told["incident"]) == 1


async def test_errors_become_problems(plant):
    key, _ = await plant.key()
    nothing = await plant.get("/v1/nothing", key)
    assert (nothing.status, nothing.json()["detail"]) == (404, "there is no such tag")
    assert (await plant.get("/v1/audit", key)).json()["code"] == "role_forbidden"
    assert (await plant.get("/v1/audit", (await plant.key(Role.AUDITOR))[0])).status == 200


def test_a_problem_is_never_large():
    body = Problem(422, "x", "d" * 100, {"errors": ["e" * 100] * 10_000}).body()
    assert len(body) <= BYTES_MAX
    assert json.loads(body)["code"] == "x"


async def test_two_hundred_a_second_and_four_hundred_at_once(plant):
    key, _ = await plant.key()
    statuses = [(await plant.get(key=key)).status for _ in range(450)]
    assert statuses == [200] * 400 + [429] * 50
    plant.now.s += 1
    statuses = [(await plant.get(key=key)).status for _ in range(250)]
    assert statuses == [200] * 200 + [429] * 50
    other, _ = await plant.key()
    assert (await plant.get(key=other)).status == 200
    assert (await plant.get("/healthz", key)).status == 200


async def test_429_says_when_to_come_back(plant):
    key, _ = await plant.key(rate=0.5, burst=1.0)
    assert (await plant.get(key=key)).status == 200
    answer = await plant.get(key=key)
    assert (answer.status, answer.json()["code"], answer.headers["retry-after"]) == (429, "too_many_requests", "2")
    assert (answer.headers["ratelimit-policy"], answer.headers["ratelimit"]) == (
        '"default";q=1;w=2',
        '"default";r=0;t=2',
    )
    plant.now.s += 2
    assert (await plant.get(key=key)).status == 200


async def test_a_rate_of_nothing_is_no_limit(plant):
    key, _ = await plant.key(rate=0.0)
    assert {(await plant.get(key=key)).status for _ in range(500)} == {200}


async def test_guessing_is_slowed_by_address_and_does_no_harm_to_known_keys(plant):
    key, _ = await plant.key()
    assert (await plant.get(key=key)).status == 200
    guesses = [(await plant.get(key=f"pk_aaaaaaaa_{i:043d}")).status for i in range(60)]
    assert guesses == [401] * 50 + [429] * 10
    assert (await plant.get("/v1/login", method="POST", body=b'{"token":"x"}')).status == 429
    assert (await plant.get(key=key)).status == 200
    assert (await plant.get(client=("10.0.0.10", 1))).status == 401
    assert (await plant.get("/healthz")).status == 200


async def sign_in(plant, role=Role.OPERATOR, **more):
    _, key_id = await plant.key(role)
    token = await create_link(plant.store, key_id)
    return token, await plant.get("/v1/login", method="POST", body=json.dumps({"token": token}).encode(), **more)


async def test_a_link_is_exchanged_for_a_strict_cookie(plant):
    token, answer = await sign_in(plant)
    assert (answer.status, answer.json()["role"]) == (200, "operator")
    cookie = answer.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
    assert "Secure" not in cookie
    again = await plant.get("/v1/login", method="POST", body=json.dumps({"token": token}).encode())
    assert again.status == 401
    _, secure = await sign_in(plant, scheme="https")
    assert "Secure" in secure.headers["set-cookie"].split("; ")


async def test_a_session_reads_and_changes_things_only_from_its_own_page(plant):
    _, answer = await sign_in(plant)
    cookie = {"cookie": f"a=b; {answer.headers['set-cookie'].partition(';')[0]}", "host": "plant:8080"}
    assert (await plant.get(headers=cookie)).status == 200
    assert (await plant.get("/v1/login", headers=cookie)).json()["role"] == "operator"
    for foreign in ({}, {"origin": "http://evil"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"}):
        refused = await plant.get(method="POST", headers={**cookie, **foreign})
        assert (refused.status, refused.json()["code"]) == (403, "cross_origin")
    for own in ({"origin": "http://plant:8080"}, {"sec-fetch-site": "same-origin"}):
        assert (await plant.get(method="POST", headers={**cookie, **own})).status == 200
    out = await plant.get("/v1/login", method="DELETE", headers={**cookie, "sec-fetch-site": "same-origin"})
    assert out.headers["set-cookie"].startswith(f"{COOKIE}=;")
    assert (await plant.get(headers=cookie)).status == 401


async def test_another_page_cannot_sign_a_browser_in(plant):
    _, answer = await sign_in(plant, headers={"origin": "http://evil", "host": "plant:8080"})
    assert (answer.status, answer.json()["code"]) == (403, "cross_origin")


@pytest.mark.parametrize("body", [b"", b"[]", b'{"x":1}', b"\xff", b'{"token":1}'])
async def test_a_sign_in_that_is_none_is_400(plant, body):
    assert (await plant.get("/v1/login", method="POST", body=body)).status == 400


async def test_readers_are_all_but_writers():
    assert frozenset(Role) - READERS == {Role.WRITER}
