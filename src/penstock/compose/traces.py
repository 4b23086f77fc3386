"""Tracing, where `traces.url` asks for it; elsewhere nothing of it is even imported."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from penstock import __version__
from penstock.errors import Misconfigured
from penstock.settings import Settings, TracesSettings
from penstock.traces.port import Traces

if TYPE_CHECKING:
    from penstock.traces.otlp import OtlpTraces


@asynccontextmanager
async def traced(settings: Settings, role: str) -> AsyncIterator[Traces | None]:
    """Where this process's spans go, until the end; None where nobody wants any. Raises Misconfigured."""
    if not settings.traces.url:
        yield None
        return
    traces = _open(settings.traces, f"penstock-{role}")
    try:
        yield traces
    finally:
        await asyncio.to_thread(traces.close)


def _open(settings: TracesSettings, service: str) -> "OtlpTraces":
    parts = urlsplit(settings.url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc or parts.query:
        raise Misconfigured("traces.url", "is no collector's address", "write it as http://127.0.0.1:4318")
    try:
        from penstock.traces.otlp import OtlpTraces  # noqa: PLC0415  # heavy, and an extra
    except ImportError as error:
        mend = "pip install 'penstock[traces]', or leave `traces.url` empty"
        raise Misconfigured("traces.url", "OpenTelemetry is not installed", mend) from error
    return OtlpTraces(settings.url, settings.share, service, __version__)
