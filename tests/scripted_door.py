"""A door on a real socket that answers as a function says: for clients of ours that need no plant behind it."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

Answer = tuple[int, Any]
Rule = Callable[[str, str, dict[str, list[str]], Any], Answer]


@asynccontextmanager
async def scripted_door(rule: Rule) -> AsyncIterator[str]:
    """The door's URL; *rule* gets method, path, query and decoded body, and says status and content."""
    connections: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.add(writer)
        try:
            while True:
                method, target, body = await _request(reader)
                parts = urlsplit(target)
                status, content = rule(method, unquote(parts.path), parse_qs(parts.query), body)
                answer = json.dumps(content).encode()
                writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: {len(answer)}\r\n\r\n".encode() + answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for writer in connections:
            writer.close()


async def _request(reader: asyncio.StreamReader) -> tuple[str, str, Any]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    method, target, _ = head.split(" ", 2)
    length = next(int(line[15:]) for line in head.split("\r\n") if line.lower().startswith("content-length:"))
    body = await reader.readexactly(length)
    return method, target, json.loads(body) if body else None
