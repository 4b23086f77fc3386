"""The server process's socket and loop: uvicorn, with our protocol and our limits."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

import uvicorn
from uvicorn.config import Config

from penstock.door.port import App
from penstock.door.protocol import PenstockProtocol
from penstock.door.tls import certificate
from penstock.errors import Misconfigured
from penstock.settings import DoorSettings

DRAIN_S: Final = 6
"""How long answers under way may take once the server is told to stop; the whole process has ten seconds."""
BACKLOG: Final = 1_024


class Server(uvicorn.Server):
    """uvicorn's server, inside a process that minds signals itself: set `should_exit` to stop it."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def listen(settings: DoorSettings) -> socket.socket:
    """The socket to serve on; port 0 takes a free one (see `getsockname`). Raises Misconfigured."""
    try:
        return socket.create_server(
            (settings.host, settings.port),
            family=socket.AF_INET6 if ":" in settings.host else socket.AF_INET,
            backlog=BACKLOG,
        )
    except OSError as error:
        why = f"cannot listen on {settings.host}:{settings.port} ({error.strerror or error})"
        raise Misconfigured("door.port", why, "stop what uses it, or choose another port") from error


def server(app: App, settings: DoorSettings, data: Path) -> Server:
    """A server for `await server.serve(sockets=[listen(settings)])`. A self-made certificate is kept under *data*."""
    pair = certificate(settings.tls, settings.host, data)
    config = Config(
        cast(Any, app),  # our App is ASGI 3 in plainer types
        loop="none",
        http=cast(Any, partial(PenstockProtocol, settings=settings)),  # called as the class would be
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_keep_alive=cast(int, settings.idle_s),  # uvicorn only hands it to call_later
        timeout_graceful_shutdown=DRAIN_S,
        proxy_headers=bool(settings.proxies),
        forwarded_allow_ips=settings.proxies,
        ssl_certfile=pair and pair.certificate,
        ssl_keyfile=pair and str(pair.key),
    )
    return Server(config)
