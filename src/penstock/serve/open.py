"""What needs no key: health, metrics, the OpenAPI document, and the page's own files."""

import hashlib
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from mimetypes import guess_type
from typing import Final, NamedTuple

from litestar import Request, get
from litestar.di import NamedDependency
from litestar.response import Response

from penstock.errors import Unknown
from penstock.serve.answers import HealthAnswer
from penstock.serve.given import GivenDesk, GivenPulse, PathName
from penstock.serve.metrics import CONTENT_TYPE, metrics
from penstock.serve.page import CONTENT_SECURITY_POLICY

_TYPES: Final = {"js": "text/javascript; charset=utf-8", "svg": "image/svg+xml", "woff2": "font/woff2"}


class Document(NamedTuple):
    """The OpenAPI document, as bytes."""

    body: bytes


class Asset(NamedTuple):
    """A file of the page."""

    body: bytes
    media_type: str
    etag: str


@get("/healthz", raises=[])
async def healthz() -> HealthAnswer:
    """This process is alive."""
    return HealthAnswer("alive")


@get("/readyz/ingest", raises=[])
async def readyz_ingest(pulse: GivenPulse) -> Response[HealthAnswer]:
    """A reading could be made durable."""
    return _ready(await pulse.failing_to_take())


@get("/readyz", raises=[])
async def readyz(pulse: GivenPulse) -> Response[HealthAnswer]:
    """A reading could be made durable, and would be stored."""
    return _ready(await pulse.failing())


@get("/metrics", media_type="text/plain", raises=[])
async def get_metrics(desk: GivenDesk) -> Response[bytes]:
    """Prometheus' text format."""
    return Response(await metrics(desk.parts.tallies), media_type=CONTENT_TYPE)


@get("/openapi.json", media_type="application/json", include_in_schema=False)
async def openapi(document: NamedDependency[Document]) -> Response[bytes]:
    return Response(document.body, media_type="application/json")


@get("/", media_type="text/html", include_in_schema=False)
async def page(request: Request) -> Response[bytes]:  # type: ignore[type-arg]  # no user, no state of its own
    return _sent(request, "index.html", {"content-security-policy": CONTENT_SECURITY_POLICY})


@get(["/assets/{name:path}", "/static/{name:path}"], include_in_schema=False)
async def asset(request: Request, name: PathName) -> Response[bytes]:  # type: ignore[type-arg]  # as above
    return _sent(request, name.removeprefix("/"), {})


def asset_names() -> list[str]:
    """The files of the page, as they are asked for behind `/assets/`."""
    return sorted(_assets())


def _ready(failing: dict[str, str]) -> Response[HealthAnswer]:
    answer = HealthAnswer("failing" if failing else "ready", failing)
    headers = {"retry-after": "5"} if failing else {}
    return Response(answer, status_code=503 if failing else 200, headers=headers)


def _sent(request: Request, name: str, headers: dict[str, str]) -> Response[bytes]:  # type: ignore[type-arg]
    """The file; 304 to whoever has it. It is asked for again each time: a new version shows at once."""
    found = _assets().get(name)
    if found is None:
        raise Unknown("the page has no such file")
    headers = {**headers, "etag": found.etag, "cache-control": "no-cache"}
    if request.headers.get("if-none-match") == found.etag:
        return Response(b"", status_code=304, headers=headers, media_type=found.media_type)
    return Response(found.body, headers=headers, media_type=found.media_type)


@cache
def _assets() -> dict[str, Asset]:
    """All files of the page, read once: what is not among them is not there, whatever the path says."""
    folder = files("penstock.serve.page") / "static"
    return {name: _asset(name, body) for name, body in _files(folder, "")} if folder.is_dir() else {}


def _files(folder: Traversable, above: str) -> Iterator[tuple[str, bytes]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _files(entry, f"{above}{entry.name}/")
        else:
            yield f"{above}{entry.name}", entry.read_bytes()


def _asset(name: str, body: bytes) -> Asset:
    ending = name.rpartition(".")[2]
    media_type = _TYPES.get(ending) or guess_type(name)[0] or "application/octet-stream"
    return Asset(body, media_type, f'"{hashlib.sha256(body).hexdigest()[:16]}"')


ROUTES: Final = [healthz, readyz_ingest, readyz, get_metrics, openapi, page, asset]
