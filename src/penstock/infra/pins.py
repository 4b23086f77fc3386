"""What image and rotation function are built on, by its bytes: `image/pins`, which `image/push --pin` writes."""

from collections.abc import Mapping
from importlib.resources import files
from typing import Final

BASE: Final = "PYTHON"
"""Python's own image: a tag, and its digest once that is recorded."""
AUTHORITIES: Final = "RDS_CA_SHA256"
"""The sum of RDS' certificate authorities; empty until it is recorded."""


def recorded() -> str:
    """The file as it is."""
    return files("penstock.infra").joinpath("image", "pins").read_text()


def read_pins(text: str) -> Mapping[str, str]:
    """Values by name."""
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))


def is_pinned(text: str) -> bool:
    """Whether everything that the image is built on is recorded by its bytes."""
    pins = read_pins(text)
    return "@sha256:" in pins.get(BASE, "") and bool(pins.get(AUTHORITIES))
