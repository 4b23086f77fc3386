"""A door under test: in process for what it decides, on a real socket for how it behaves there."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

from penstock.door.port import App
from penstock.door.server import listen, server
from penstock.settings import DoorSettings


class Answer:
    def __init__(self, messages):
        self.status = messages[0]["status"]
        self.headers = {name.decode(): value.decode() for name, value in messages[0]["headers"]}
        self.body = b"".join(message.get("body", b"") for message in messages[1:])

    def json(self):
        return json.loads(self.body)


async def call(app, method="GET", path="/", *, headers=None, body=b"", client=("10.0.0.9", 5), scheme="http") -> Answer:
    """One request through an ASGI app, its body in one piece."""
    messages, queue = [], [{"type": "http.request", "body": body, "more_body": False}]

    async def receive():
        return queue.pop(0) if queue else {"type": "http.disconnect"}

    async def send(message):
        messages.append(message)

    given = [(name.lower().encode(), value.encode("latin-1")) for name, value in (headers or {}).items()]
    scope = {"type": "http", "method": method, "path": path, "headers": given, "client": client, "scheme": scheme}
    await app(scope, receive, send)
    return Answer(messages)


@contextlib.asynccontextmanager
async def serving(app: App, tmp_path: Path, **settings) -> AsyncIterator[int]:
    """A real server on a free port."""
    chosen = DoorSettings(port=0, **settings)
    running = server(app, chosen, tmp_path)
    with listen(chosen) as sock:
        task = asyncio.create_task(running.serve(sockets=[sock]))
        while not running.started:  # noqa: ASYNC110  # uvicorn has no event for it
            await asyncio.sleep(0.005)
        try:
            yield sock.getsockname()[1]
        finally:
            running.should_exit = True
            await task
