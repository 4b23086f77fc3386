"""The page at `/`: plain ES modules and CSS, served as they stand."""

from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final

CONTENT_SECURITY_POLICY: Final = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
"""The page keeps to this: no inline script or style, nothing from elsewhere."""


def static_files() -> Traversable:
    """The folder to serve at `/assets/`; its `index.html` is also the answer to `/`."""
    return files(__name__) / "static"
