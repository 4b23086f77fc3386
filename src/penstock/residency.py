"""Whose law the data stays under: regions of AWS by the place they lie in, asked at synth and at every start."""

import functools
import os
import tomllib
from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import NamedTuple

from penstock.errors import Misconfigured
from penstock.settings import Settings


class Region(NamedTuple):
    """Where a deployment may be."""

    residency: str
    zones: tuple[str, ...]


@functools.cache
def regions() -> Mapping[str, Region]:
    """All that `regions.toml` knows."""
    told = tomllib.loads(files("penstock").joinpath("regions.toml").read_text())
    return {name: Region(one["residency"], tuple(one["zones"])) for name, one in told.items()}


def check_residency(settings: Settings) -> None:
    """Raises Misconfigured where readings would be taken, or kept, elsewhere than `residency` says."""
    if not settings.residency:
        return
    inside = [name for name, region in regions().items() if region.residency == settings.residency]
    for setting, region in _places(settings):
        if region not in inside:
            why = f"{region or 'no region'} is not known to lie in {settings.residency}"
            raise Misconfigured(setting, why, f"use one of {', '.join(inside)}, or set residency to where it may be")


def _places(settings: Settings) -> Iterator[tuple[str, str]]:
    """(setting, region) of all that AWS holds for us. Without a region of its own, it is the environment's."""
    around = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or ""
    if around:
        yield "AWS_REGION", around
    if settings.stream.url.startswith("kinesis:"):
        yield "stream.region", settings.stream.region or around
    if settings.archive.url.startswith("s3:"):
        yield "archive.region", settings.archive.region or around
