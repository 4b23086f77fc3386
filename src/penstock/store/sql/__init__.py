"""The store's statements: each `.sql` file beside this one holds several, each under its name."""

import re
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import LiteralString, cast

_NAME = re.compile(r"^-- name: (\w+)\s*$", re.MULTILINE)


@cache
def statements(file: str) -> MappingProxyType[str, LiteralString]:
    """The statements of `<file>.sql`, by name. A name that is not there is a KeyError at first use."""
    parts = _NAME.split(files(__package__).joinpath(f"{file}.sql").read_text("utf-8"))
    # what ships in our own package is as literal as a string in the source
    return MappingProxyType(
        {name: cast(LiteralString, text.strip()) for name, text in zip(parts[1::2], parts[2::2], strict=True)}
    )
