"""`penstock up`: a whole plant on one machine, from an empty directory or from whatever the last run left behind."""

import asyncio
import json
import sys
import webbrowser
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from os import environ, getpid
from pathlib import Path
from typing import Any, Final, NamedTuple

from penstock.children import Child
from penstock.clock import SystemClock
from penstock.compose.front import Front, front
from penstock.compose.roles import until
from penstock.compose.worker import stop_on_signals
from penstock.datadir import Instance, held, leave_note
from penstock.door.keys import Keyring, create_key, create_link, login_url, make_key
from penstock.door.port import KeyStore
from penstock.errors import PenstockError, Unauthorized
from penstock.keeping import check_keeping
from penstock.model.access import ALL_SITES, Role
from penstock.settings import Settings
from penstock.store.access import Access
from penstock.store.embedded import EmbeddedPostgres
from penstock.store.migrate import migrate
from penstock.store.postgres import Database
from penstock.telemetry import start_logging

FIRST_KEY: Final = "first key"
MACHINE_KEY: Final = "this machine"
MACHINE_FILE: Final = "machine.key"


@dataclass(frozen=True, slots=True)
class Options:
    """What `up` is asked beside the settings."""

    rate: float | None = None
    simulate: bool = True
    browser: bool = True
    as_json: bool = False


async def run_up(settings: Settings, options: Options) -> None:
    """Start everything, say where it is, and run until SIGTERM or SIGINT.

    Raises Misconfigured for what a person must set right, Unavailable when the database cannot be reached.
    """
    check_keeping(settings)
    start_logging()
    stop = stop_on_signals()
    with held(settings.data):
        async with AsyncExitStack() as running:
            store_url = await running.enter_async_context(_store(settings))
            await migrate(store_url)
            keys = await _keys(settings, store_url, options)
            served = await running.enter_async_context(front(settings, store_url))
            _leave_note(settings, store_url, served, keys.machine)
            await running.enter_async_context(_children(settings, store_url, options))
            _tell(served, keys.first, await new_link(served.url, store_url, keys.machine), options)
            if options.browser and _has_screen():
                webbrowser.open(await new_link(served.url, store_url, keys.machine))
            await until(stop, served)


@asynccontextmanager
async def _store(settings: Settings) -> AsyncIterator[str]:
    """The database's URL: a server of ours for as long as we run, or the one that was set."""
    scheme, _, path = settings.store.url.partition(":")
    if scheme != "embedded":
        yield settings.store.url
        return
    server = EmbeddedPostgres(Path(path) if path else settings.data / "postgres")
    url = server.start()  # in the main thread: the server ends with the thread that started it
    try:
        async with _task(server.watch()):
            yield url
    finally:
        server.stop()


class _Keys(NamedTuple):
    """The first key of a new data directory (else empty), and the one by which commands on this machine come in."""

    first: str
    machine: str


async def _keys(settings: Settings, store_url: str, options: Options) -> _Keys:
    """A key for people, once; and a key for this machine, which only the owner of the data directory can read."""
    async with _access(store_url) as store:
        first = "" if await store.keys() else await _make(store, FIRST_KEY, options.rate)
        file = settings.data / MACHINE_FILE
        machine = file.read_text() if file.exists() else ""
        if not machine or await Keyring(store).by_key(machine) is None:
            machine = await _make(store, MACHINE_KEY, 0.0)
            file.unlink(missing_ok=True)
            file.touch(mode=0o600)
            file.write_text(machine)
        return _Keys(first, machine)


@asynccontextmanager
async def _access(store_url: str) -> AsyncIterator[Access]:
    database = Database(store_url, application="keys", connections_max=2)
    await database.open()
    try:
        yield Access(database)
    finally:
        await database.close()


async def _make(store: KeyStore, name: str, rate: float | None) -> str:
    made = make_key(SystemClock(), name=name, role=Role.ADMIN, sites=[ALL_SITES], created_by="penstock up", rate=rate)
    return await create_key(store, made)


def _leave_note(settings: Settings, store_url: str, served: Front, machine: str) -> None:
    certificate = str(served.certificate or "")
    instance = Instance(getpid(), served.url, store_url, machine, certificate)
    leave_note(settings.data, instance)


@asynccontextmanager
async def _children(settings: Settings, store_url: str, options: Options) -> AsyncIterator[None]:
    """The worker, and the simulated plant. In-memory streams have no other process: there the front works."""
    children = []
    if not settings.stream.url.startswith("memory:"):
        told = {"settings": settings.model_dump(mode="json"), "store_url": store_url, "parent": getpid()}
        children.append(Child("worker", ["work", "--handed"], json.dumps(told).encode()))
    if options.simulate:
        children.append(Child("simulated plant", ["simulate", "--data", str(settings.data), "--parent", str(getpid())]))
    async with AsyncExitStack() as running:
        for child in children:
            await running.enter_async_context(_task(child.keep_running()))
        try:
            yield
        finally:
            await asyncio.gather(*(child.stop() for child in children))


async def new_link(url: str, store_url: str, machine: str) -> str:
    """A login link for the page, valid for ten minutes and one use."""
    async with _access(store_url) as store:
        caller = await Keyring(store).by_key(machine)
        if caller is None:
            raise Unauthorized("the key of this machine was revoked; start `penstock up` again")
        return login_url(url, await create_link(store, caller.key_id))


def _tell(served: Front, first: str, link: str, options: Options) -> None:
    """Where everything is: on standard output, each on its own line."""
    if options.as_json:
        lines = [json.dumps({"page": link, "api_key": first or None, "pid": getpid()})]
    else:
        lines = [f"page: {link}"]
        lines += [f"api key: {first}"] if first else ["api key: made before; another: penstock keys create --name NAME"]
        lines += [_first_reading(served, first or "KEY"), "stop: Ctrl-C"]
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


def _first_reading(served: Front, key: str) -> str:
    reading = '{"tag": "plant/line/machine/temperature", "ts": "\'$(date -u +%FT%TZ)\'", "value": 21.5}'
    headers = f"-H 'X-API-Key: {key}' -H 'Content-Type: application/json'"
    trust = f"--cacert {served.certificate} " if served.certificate else ""
    return f"send a reading: curl {trust}{served.url}/v1/readings {headers} -d '{reading}'"


def _has_screen() -> bool:
    return sys.platform == "darwin" or bool(environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY"))


@asynccontextmanager
async def _task(work: Coroutine[Any, Any, Any]) -> AsyncIterator[None]:
    """Run *work* beside us, and end it with us."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError, PenstockError):
            await task
