"""A way to a server that can be cut: refused, deaf (packets are dropped) or mute (bytes are taken and swallowed).

What was connected while it was cut stays as it is for ever, as after a fail-over; new connections pass once it is open.
"""

import asyncio
import ctypes
import socket
import struct
import threading
from contextlib import suppress
from enum import StrEnum

SO_ATTACH_FILTER = getattr(socket, "SO_ATTACH_FILTER", 26)
SO_DETACH_FILTER = getattr(socket, "SO_DETACH_FILTER", 27)
DROP_ALL = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))  # one instruction: keep nothing


class Way(StrEnum):
    """What becomes of bytes and of new connections."""

    OPEN = "open"
    REFUSED = "refused"
    """Connections are reset; new ones are refused."""
    DEAF = "deaf"
    """Half-open: the kernel drops every packet, so nothing is acknowledged, as from a host that is gone."""
    MUTE = "mute"
    """All is acknowledged and answered by nothing, as by a proxy or a host that hangs."""


class Gate(threading.Thread):
    """Forwards from a port of its own to *port*, both on 127.0.0.1."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self._to = port
        self._way = Way.OPEN
        self._listening = _listener(0)
        self.port = int(self._listening.getsockname()[1])
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._lines: set[_Line] = set()
        self._began = threading.Event()

    def run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._listen())
        self._began.set()
        self._loop.run_forever()
        self._loop.close()

    def open(self) -> None:
        """Begin, and return when connections pass."""
        self.start()
        self._began.wait(10)

    def turn(self, way: Way) -> None:
        """From now on."""
        asyncio.run_coroutine_threadsafe(self._turn(way), self._loop).result(10)

    def close(self) -> None:
        """Everything ends with it."""
        self.turn(Way.REFUSED)
        self._loop.call_soon_threadsafe(self._loop.call_later, 0.05, self._loop.stop)
        self.join(5)

    async def _listen(self) -> None:
        if self._listening.fileno() < 0:
            self._listening = _listener(self.port)
        self._server = await self._loop.create_server(lambda: _Line(self), sock=self._listening)

    async def _turn(self, way: Way) -> None:
        before, self._way = self._way, way
        if before is Way.REFUSED and way is not Way.REFUSED:
            await self._listen()
        if before is Way.DEAF:
            self._listening.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)
        match way:
            case Way.DEAF:
                drop_all(self._listening)
            case Way.REFUSED:
                assert self._server is not None
                self._server.close()
        for line in tuple(self._lines):
            line.cut(way)

    @property
    def way(self) -> Way:
        return self._way

    def add(self, line: "_Line") -> None:
        self._lines.add(line)

    def drop(self, line: "_Line") -> None:
        self._lines.discard(line)

    async def beyond(self, line: "_Line") -> asyncio.Transport:
        transport, _ = await self._loop.create_connection(lambda: _Beyond(line), "127.0.0.1", self._to)
        return transport


class _Line(asyncio.Protocol):
    """A client's connection, and the one to the server that belongs to it."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._dead = gate.way is not Way.OPEN
        self._early: list[bytes] = []
        self._beyond: asyncio.Transport | None = None
        self._client: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._client = transport  # type: ignore[assignment]
        self._gate.add(self)
        if not self._dead:
            self._task = asyncio.ensure_future(self._reach())

    async def _reach(self) -> None:
        try:
            beyond = await self._gate.beyond(self)
        except OSError:
            self._client.abort()
            return
        if self._client.is_closing():
            beyond.abort()
            return
        self._beyond = beyond
        beyond.writelines(self._early)

    def data_received(self, data: bytes) -> None:
        if self._dead:
            return
        if self._beyond is None:
            self._early.append(data)
        else:
            self._beyond.write(data)

    def answered(self, data: bytes) -> None:
        if not self._dead:
            self._client.write(data)

    def server_gone(self) -> None:
        """A dead line tells its client nothing."""
        if not self._dead:
            self._client.close()

    def connection_lost(self, _: Exception | None) -> None:
        """The server, too, hears nothing of it on a dead line."""
        if self._beyond is None or not self._dead:
            self.end()

    def cut(self, way: Way) -> None:
        """For good; once the way is open again the server hears of it."""
        if way is Way.REFUSED or (way is Way.OPEN and self._dead):
            self.end(client=way is Way.REFUSED)
        elif way is not Way.OPEN and not self._dead:
            self._dead = True
            if way is Way.DEAF:
                drop_all(self._client.get_extra_info("socket"))

    def end(self, *, client: bool = True) -> None:
        if client:
            self._client.abort()
            self._gate.drop(self)
        if self._beyond is not None:
            self._beyond.abort()


class _Beyond(asyncio.Protocol):
    def __init__(self, line: _Line) -> None:
        self._line = line

    def data_received(self, data: bytes) -> None:
        self._line.answered(data)

    def connection_lost(self, _: Exception | None) -> None:
        self._line.server_gone()


def drop_all(connection: socket.socket) -> None:
    """From now on the kernel sees no packet of this socket; what it sends is never acknowledged. Linux only."""
    program = struct.pack("HL", 1, ctypes.addressof(DROP_ALL))
    connection.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)


def _listener(port: int) -> socket.socket:
    listening = socket.socket()
    with suppress(OSError):
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(("127.0.0.1", port))
    listening.listen(128)
    return listening
