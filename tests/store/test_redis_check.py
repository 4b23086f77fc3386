"""What is wrong with the way to Redis is said at the start, with its mend."""

import datetime as dt
import ipaddress
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from make import goodbyes
from penstock.errors import Misconfigured, Unavailable
from penstock.store.redis import RedisLatest
from penstock.store.redis_feed import RedisFeed
from penstock.store.redis_window import RedisWindow
from redis_server import RedisServer

pytestmark = pytest.mark.redis


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signs itself, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "redis")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    pem = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "key.pem").write_bytes(key.private_bytes(*pem))
    return folder / "cert.pem", folder / "key.pem"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, certificate: tuple[Path, Path]) -> Iterator[RedisServer]:
    """Speaks plainly on `port`, and TLS on the port after it."""
    cert, key = map(str, certificate)
    plain = RedisServer(tmp_path_factory.mktemp("redis"))
    tls = ("--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", cert, "--tls-auth-clients", "no")
    for name, value in zip(tls[::2], tls[1::2], strict=True):
        plain.command("CONFIG", "SET", name.removeprefix("--"), value)
    plain.command("CONFIG", "SET", "tls-port", str(plain.port + 1))
    plain.command("ACL", "SETUSER", "ada", "on", ">right", "~{penstock}:*", "+@all")
    plain.command("ACL", "SETUSER", "eve", "on", ">right", "~other", "+@all")
    yield plain
    plain.kill()


async def mend_of(url: str) -> str:
    async with goodbyes():
        latest = RedisLatest(url)
        with pytest.raises(Misconfigured) as raised:
            await latest.check()
        await latest.close()
    assert raised.value.setting == "cache.url"
    return str(raised.value)


async def test_who_may_is_let_in_by_tls_with_user_and_password(server: RedisServer, certificate: tuple[Path, Path]):
    url = f"rediss://ada:right@127.0.0.1:{server.port + 1}/0?ssl_ca_certs={certificate[0]}"
    for part in (RedisLatest(url), RedisWindow(url), RedisFeed(url)):
        await part.check()
        await part.close()


async def test_a_wrong_password_is_named(server: RedisServer):
    said = await mend_of(f"redis://ada:wr0ng@127.0.0.1:{server.port}/0")
    assert "user or password" in said
    assert "wr0ng" not in said


async def test_a_user_without_rights_is_named(server: RedisServer):
    assert "ACL SETUSER" in await mend_of(f"redis://eve:right@127.0.0.1:{server.port}/0")


async def test_an_unknown_authority_is_named(server: RedisServer):
    assert "ssl_ca_certs" in await mend_of(f"rediss://ada:right@127.0.0.1:{server.port + 1}/0")


async def test_a_host_that_is_not_there_is_named():
    assert "no such host" in await mend_of("redis://redis.invalid:6379/0")


async def test_a_url_of_something_else_is_named():
    with pytest.raises(Misconfigured, match="no URL of Redis"):
        RedisLatest("redit://127.0.0.1")


async def test_a_server_that_is_down_is_only_unavailable():
    latest = RedisLatest("redis://127.0.0.1:1/0")
    with pytest.raises(Unavailable):
        await latest.check()
    await latest.close()
