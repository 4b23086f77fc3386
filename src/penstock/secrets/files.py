"""Secrets in files, read anew whenever they are asked for: a mounted secret changes under its name."""

from pathlib import Path
from typing import Final

from penstock.secrets.reference import Reference

BYTES_MAX: Final = 65_536


def fetch(reference: Reference) -> str:
    """The file's text. Raises Misconfigured."""
    try:
        with Path(reference.name).open("rb") as file:
            content = file.read(BYTES_MAX + 1)
    except OSError as error:
        raise reference.wrong(
            f"cannot be read ({error.strerror})", "correct the path, and let the user who runs us read it"
        ) from error
    if not content or len(content) > BYTES_MAX:
        raise reference.wrong("holds too much" if content else "holds nothing", "write the secret into it, alone")
    try:
        return content.decode()
    except UnicodeDecodeError:
        pass  # the error would carry the secret
    raise reference.wrong("is no text in UTF-8", "write the secret into it, alone")
