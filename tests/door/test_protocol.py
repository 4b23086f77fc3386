"""Raw sockets against the real server: what is ambiguous, oversized or slow ends, and says why."""

import asyncio
import contextlib
import json
import re
import ssl

import httpx
import pytest

from door.http_client import serving
from penstock.door.problem import answer_json
from penstock.door.tls import LIFE, certificate
from penstock.errors import Misconfigured

GOOD = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


async def talk(port: int, *pieces: bytes, pause_s: float = 0.0, wait_s: float = 1.5) -> bytes:
    """Send *pieces*, and everything that came back until the server closed, or *wait_s*."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    got = bytearray()

    async def read():
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                got.extend(data)

    reading = asyncio.create_task(read())
    with contextlib.suppress(ConnectionError):
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause_s)
    done, _ = await asyncio.wait([reading], timeout=wait_s)
    reading.cancel()
    writer.close()
    return bytes(got) if done else bytes(got) + b"<open>"


def statuses(reply: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3})", reply)]


async def echo(scope, receive, send):
    """Reads the whole body, and says what it saw."""
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size, more = size + len(message.get("body", b"")), message.get("more_body", False)
    names = [name.decode() for name, _ in scope["headers"]]
    await answer_json(send, 200, {"method": scope["method"], "size": size, "names": names})


POST = b"POST / HTTP/1.1\r\nHost: x\r\n"
REFUSED = {
    "both lengths": (POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + GOOD, 400),
    "chunked, then a length": (POST + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n", 400),
    "two lengths that differ": (POST + b"Content-Length: 0\r\nContent-Length: 5\r\n\r\nhello", 400),
    "two equal lengths": (POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", 400),
    "length with a sign": (POST + b"Content-Length: +5\r\n\r\nhello", 400),
    "length list": (POST + b"Content-Length: 5, 5\r\n\r\nhello", 400),
    "unknown coding": (POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
    "coding list": (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400),
    "two codings": (POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "space before the colon": (POST + b"Content-Length : 5\r\n\r\nhello", 400),
    "folded line": (b"GET / HTTP/1.1\r\nHost: x\r\nX-A: b\r\n c\r\n\r\n", 400),
    "bare line feeds": (b"GET / HTTP/1.1\nHost: x\n\n", 400),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "two hosts": (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    "NUL in a header": (b"GET / HTTP/1.1\r\nHost: x\r\nA: \x00b\r\n\r\n", 400),
    "bad chunk extension": (POST + b"Transfer-Encoding: chunked\r\n\r\n5;\n\r\nhello\r\n0\r\n\r\n", 400),
    "bad chunk size": (POST + b"Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n", 400),
    "huge chunk size": (POST + b"Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\nhello", 400),
    "another host in the target": (b"GET http://other/ HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "target that is no ASCII": (b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "TLS on a plain port": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    "one header of a megabyte": (b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 2**20 + b"\r\n\r\n", 431),
    "a header without an end": (b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 2**15, 431),
    "too many headers": (GOOD[:-2] + b"".join(b"h%d: 1\r\n" % i for i in range(500)) + b"\r\n", 431),
    "too long a target": (b"GET /" + b"a" * 2**15 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 431),
    "a trailer without an end": (POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nA: " + b"a" * 2**16, 431),
}  # fmt: skip


@pytest.fixture
async def port(tmp_path):
    async with serving(echo, tmp_path, arrive_s=0.4, idle_s=0.8) as port:
        yield port


@pytest.mark.parametrize("name", REFUSED)
async def test_is_refused_once_and_the_connection_closed(port, name):
    raw, status = REFUSED[name]
    reply = await talk(port, raw)
    assert statuses(reply) == [status], reply
    head, _, body = reply.partition(b"\r\n\r\n")
    assert b"application/problem+json" in head
    assert json.loads(body)["status"] == status
    assert b"<open>" not in reply


async def test_plain_requests_are_answered_and_the_connection_kept(port):
    reply = await talk(port, GOOD, GOOD, pause_s=0.05, wait_s=0.2)
    assert statuses(reply) == [200, 200]
    assert reply.endswith(b"<open>")


async def test_a_request_in_crumbs_that_arrives_in_time_is_answered(port):
    crumbs = [bytes([byte]) for byte in POST + b"Content-Length: 5\r\n\r\nhello"]
    assert statuses(await talk(port, *crumbs, pause_s=0.002, wait_s=0.1)) == [200]


async def test_trailers_never_become_headers(port):
    chunked = POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-API-Key: stolen\r\n\r\n"
    reply = await talk(port, chunked, wait_s=0.2)
    assert statuses(reply) == [200]
    assert b'"size":5' in reply
    assert b"x-api-key" not in reply


async def test_an_upgrade_is_answered_plainly_and_ends(port):
    upgrade = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n"
    reply = await talk(port, upgrade)
    assert statuses(reply) == [200]
    assert b"<open>" not in reply


async def test_pipelining_is_bounded(port):
    reply = await talk(port, GOOD * 500)
    assert len(statuses(reply)) < 20
    assert set(statuses(reply)) == {200}
    assert b"<open>" not in reply


async def test_a_malformed_second_request_does_not_take_the_first_ones_answer(port):
    reply = await talk(port, GOOD + b"\x00nonsense\r\n\r\n")
    assert statuses(reply) == [200]
    assert b"<open>" not in reply


TOO_SLOW = {
    "silent": ([], []),
    "half a head": ([b"GET / HTT"], [408]),
    "a head in trickles": ([b"GET / HTTP/1.1\r\nHost: x\r\n"] + [b"X-%d: a\r\n" % i for i in range(40)], [408]),
    "half a body": ([POST + b"Content-Length: 100\r\n\r\na"], [408]),
    "a body in trickles": ([POST + b"Content-Length: 100\r\n\r\n"] + [b"a"] * 40, [408]),
    "chunks in trickles": ([POST + b"Transfer-Encoding: chunked\r\n\r\n"] + [b"1\r\na\r\n"] * 40, [408]),
    "line ends on a kept connection": ([GOOD] + [b"\r\n"] * 40, [200]),
    "half a second head": ([GOOD, b"GET / HTT"], [200, 408]),
}


@pytest.mark.parametrize("name", TOO_SLOW)
async def test_what_does_not_arrive_in_time_ends(port, name):
    pieces, expected = TOO_SLOW[name]
    begun = asyncio.get_running_loop().time()
    reply = await talk(port, *pieces, pause_s=0.02)
    assert b"<open>" not in reply
    assert statuses(reply) == expected
    assert asyncio.get_running_loop().time() - begun < 2.2


async def test_an_idle_connection_is_kept_for_a_while_only(port):
    begun = asyncio.get_running_loop().time()
    reply = await talk(port, GOOD)
    assert statuses(reply) == [200]
    assert 0.7 < asyncio.get_running_loop().time() - begun < 1.4


async def test_slow_clients_do_no_harm_to_honest_ones(port):
    slow = [asyncio.create_task(talk(port, b"GET / HTTP/1.1\r\nHost:")) for _ in range(200)]
    for _ in range(20):
        assert statuses(await talk(port, GOOD.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))) == [200]
    replies = await asyncio.gather(*slow)
    assert not any(b"<open>" in reply for reply in replies)


async def test_connections_are_bounded(tmp_path):
    async with serving(echo, tmp_path, connections_max=3) as port:
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        await asyncio.sleep(0.05)
        assert statuses(await talk(port)) == [503]
        for _, writer in held:
            writer.close()
        await asyncio.sleep(0.05)
        assert statuses(await talk(port, GOOD, wait_s=0.2)) == [200]


async def test_tls_with_a_certificate_of_its_own(tmp_path):
    async with serving(echo, tmp_path, tls="self") as port:
        trusting = ssl.create_default_context(cafile=tmp_path / "tls" / "certificate.pem")
        async with httpx.AsyncClient(verify=trusting) as client:
            assert (await client.get(f"https://localhost:{port}/")).status_code == 200
            assert (await client.get(f"https://127.0.0.1:{port}/")).status_code == 200
    assert (tmp_path / "tls" / "key.pem").stat().st_mode & 0o777 == 0o600


def test_a_certificate_is_kept_until_it_is_near_its_end(tmp_path, monkeypatch):
    first = certificate("self", "127.0.0.1", tmp_path).certificate.read_bytes()
    assert certificate("self", "127.0.0.1", tmp_path).certificate.read_bytes() == first
    assert certificate("self", "192.0.2.7", tmp_path).certificate.read_bytes() != first
    again = certificate("self", "192.0.2.7", tmp_path).certificate.read_bytes()
    monkeypatch.setattr("penstock.door.tls.REMADE_BEFORE", LIFE)
    assert certificate("self", "192.0.2.7", tmp_path).certificate.read_bytes() != again
    with pytest.raises(Misconfigured):
        certificate("nonsense", "x", tmp_path)
