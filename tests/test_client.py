"""The client against a real socket that answers as it is told."""

import asyncio
import gzip
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import zstandard

from penstock.client import Client, SyncClient
from penstock.datadir import find_instance
from penstock.errors import Backpressure, Forbidden, Rejected, Unavailable


class Door:
    """Answers each request with the next of `answers`; None closes the connection instead."""

    def __init__(self, *answers: bytes | None) -> None:
        self.answers = list(answers)
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.connections = 0
        self.url = ""

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while self.answers:
                await self._read(reader)
                answer = self.answers.pop(0)
                if answer is None:
                    return
                writer.write(answer)
        except asyncio.IncompleteReadError:
            return
        finally:
            writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        line, *fields = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
        headers = {name.lower(): value for name, value in (each.split(": ", 1) for each in fields)}
        self.requests.append((line, headers, await reader.readexactly(int(headers["content-length"]))))


def answer(status: int, content: object = None, *fields: str) -> bytes:
    body = json.dumps(content).encode()
    head = "\r\n".join([f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *fields])
    return f"{head}\r\n\r\n".encode() + body


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    made = Door()
    async with await asyncio.start_server(made, "127.0.0.1", 0) as server:
        made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield made


async def test_one_connection_serves_many_requests(door: Door):
    door.answers = [answer(200, {"n": n}) for n in range(3)]
    async with Client(door.url, "secret") as client:
        for n in range(3):
            assert await client.get("/v1/tags", prefix="a/b", tag=["x", "y"], none=None) == {"n": n}
    assert door.connections == 1
    line, headers, _ = door.requests[0]
    assert line == "GET /v1/tags?prefix=a%2Fb&tag=x&tag=y HTTP/1.1"
    assert headers["x-api-key"] == "secret"


async def test_a_chunked_answer_is_put_together(door: Door):
    door.answers = [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n[1,\r\n2\r\n2]\r\n0\r\n\r\n"]
    async with Client(door.url) as client:
        assert await client.get("/") == [1, 2]


@pytest.mark.parametrize(("how", "undo"), [("gzip", gzip.decompress), ("zstd", zstandard.decompress), ("", bytes)])
async def test_a_body_is_sent_compressed_as_asked(door: Door, how, undo):
    door.answers = [answer(202, {"accepted": 1})]
    async with Client(door.url, compression=how) as client:
        await client.send({"tags": ["a/b"], "ts": [1], "values": [-0.0]})
    _, headers, body = door.requests[0]
    assert headers.get("content-encoding", "") == how
    assert undo(body) == b'{"tags":["a/b"],"ts":[1],"values":[-0.0]}'


async def test_busy_is_waited_out_as_long_as_asked(door: Door):
    door.answers = [
        answer(503, {}, "Retry-After: 0"),
        answer(429, {}, "Retry-After: 0.2"),
        answer(202, {"accepted": 1}),
    ]
    started = asyncio.get_running_loop().time()
    async with Client(door.url) as client:
        assert await client.send({"tags": []}) == {"accepted": 1}
    assert asyncio.get_running_loop().time() - started > 0.2


async def test_patience_ends_with_the_doors_own_answer(door: Door):
    door.answers = [answer(503, {"detail": "full", "code": "overloaded"}, "Retry-After: 60")] * 3
    async with Client(door.url, patience_s=0.1) as client:
        with pytest.raises(Backpressure, match="full"):
            await client.send({"tags": []})
    assert len(door.requests) == 1


async def test_a_lost_answer_is_asked_for_again_only_where_that_is_harmless(door: Door):
    door.answers = [None, answer(202, {"accepted": 1}), None]
    async with Client(door.url) as client:
        assert await client.send({"tags": []}) == {"accepted": 1}
        with pytest.raises(Unavailable):
            await client.post("/v1/keys", {})
    assert len(door.requests) == 3


async def test_a_problem_becomes_the_error_it_stands_for(door: Door):
    door.answers = [
        answer(403, {"code": "site_forbidden", "detail": "not yours"}),
        answer(422, {"code": "rejected", "detail": "all bad"}),
        b"HTTP/1.1 500 X\r\nContent-Length: 5\r\n\r\nwhat?",
    ]
    async with Client(door.url) as client:
        with pytest.raises(Forbidden, match="not yours") as forbidden:
            await client.get("/")
        assert forbidden.value.code == "site_forbidden"
        with pytest.raises(Rejected, match="all bad"):
            await client.get("/")
        with pytest.raises(Unavailable):
            await client.get("/")


async def test_nobody_there_is_unavailable():
    async with Client("http://127.0.0.1:9", patience_s=0.1) as client:
        with pytest.raises(Unavailable):
            await client.get("/")


def test_the_running_instance_is_found_by_its_note(tmp_path: Path):
    with pytest.raises(Unavailable, match="nothing runs"):
        find_instance(tmp_path)
    note = {"pid": os.getpid(), "url": "http://127.0.0.1:1", "store_url": "s", "api_key": "k", "more": 1}
    (tmp_path / "run.json").write_text(json.dumps(note))
    assert find_instance(tmp_path).api_key == "k"
    (tmp_path / "run.json").write_text(json.dumps(note | {"pid": 2**22 + 1}))
    with pytest.raises(Unavailable, match="nothing runs"):
        find_instance(tmp_path)


def test_the_same_without_await(tmp_path: Path):
    with SyncClient(Client("http://127.0.0.1:9", patience_s=0.1)) as client, pytest.raises(Unavailable):
        client.get("/healthz")
