"""The rotation function's package: its few modules of ours, psycopg as it is installed here, and RDS' authorities."""

import hashlib
import io
import platform
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
from collections.abc import Iterator
from importlib import metadata, resources
from pathlib import Path
from typing import Final

from penstock.errors import Tampered, Unavailable
from penstock.infra import pins

ROTATION_FILE: Final = "rotation.zip"
OURS: Final = ("__init__.py", "errors.py", "py.typed", "secrets")
DRIVER: Final = ("psycopg", "psycopg-binary", "typing_extensions")
AUTHORITIES: Final = "rds-ca.pem"
AUTHORITIES_URL: Final = "https://truststore.pki.rds.amazonaws.com/global/global-bundle.pem"
TIMEOUT_S: Final = 10
EPOCH: Final = (1980, 1, 1, 0, 0, 0)
"""Of every file: the same code makes the same package."""
LAMBDA: Final = ("Linux", "x86_64")
RUNTIME: Final = f"python3.{sys.version_info.minor}"
"""The driver is compiled for the Python that it was installed into."""


def rotation_package() -> bytes:
    """The function's code as Lambda takes it, without the authorities. Raises Unavailable."""
    files = dict(_ours())
    for name in DRIVER:
        files |= _driver(name)
    return packed(files)


def packed(files: dict[str, bytes]) -> bytes:
    """A zip archive that is the same for the same files."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.external_attr, entry.compress_type = 0o644 << 16, zipfile.ZIP_DEFLATED
            zipped.writestr(entry, files[name])
    return archive.getvalue()


def with_authorities(package: bytes, authorities: bytes) -> bytes:
    """*package*, able to tell a true RDS from a false one."""
    with zipfile.ZipFile(io.BytesIO(package)) as zipped:
        files = {name: zipped.read(name) for name in zipped.namelist()}
    return packed(files | {AUTHORITIES: authorities})


def fetch_authorities() -> bytes:
    """Amazon's certificate authorities for RDS. Raises Unavailable, and Tampered when they are not those pinned."""
    try:
        with urllib.request.urlopen(AUTHORITIES_URL, timeout=TIMEOUT_S) as answer:  # a constant, https
            found: bytes = answer.read()
    except OSError as error:
        raise Unavailable(
            f"{AUTHORITIES_URL} cannot be read ({error}). Mend: see that it can, or give --ca FILE"
        ) from error
    check_pinned(found, pins.recorded())
    return found


def check_pinned(authorities: bytes, recorded: str) -> None:
    """Raises Tampered when *recorded*, as in `pins`, has another sum; where it has none TLS alone vouches."""
    wanted = pins.read_pins(recorded).get(pins.AUTHORITIES, "")
    if wanted and hashlib.sha256(authorities).hexdigest() != wanted:
        raise Tampered(
            f"{AUTHORITIES_URL} is not what was recorded in src/penstock/infra/image/pins. Mend: see what Amazon "
            "changed, then record it anew with src/penstock/infra/image/push --pin; or give what you trust as --ca FILE"
        )


def _ours() -> Iterator[tuple[str, bytes]]:
    root = resources.files("penstock")
    for name in OURS:
        with resources.as_file(root.joinpath(name)) as path:
            for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
                if file.is_file() and "__pycache__" not in file.parts:
                    yield f"penstock/{file.relative_to(path.parent).as_posix()}", file.read_bytes()


def _driver(name: str) -> dict[str, bytes]:
    """The files of a distribution; from the index where what is installed here would not run in Lambda."""
    if (platform.system(), platform.machine()) != LAMBDA:
        return _downloaded(name)
    found = metadata.distribution(name)
    files = [file for file in found.files or () if ".." not in file.parts and "__pycache__" not in file.parts]
    return {file.as_posix(): Path(str(found.locate_file(file))).read_bytes() for file in files}


def _downloaded(name: str) -> dict[str, bytes]:
    wanted = [f"{name}=={metadata.version(name)}", "--no-deps", "--only-binary=:all:", "--quiet"]
    target = ["--platform", "manylinux2014_x86_64", "--python-version", RUNTIME.removeprefix("python")]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", *wanted, *target, "--dest", folder]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # our own words
        if done.returncode:
            raise Unavailable(f"{name} for Lambda: {done.stderr.strip()[-300:]}. Mend: see that pip can download")
        with zipfile.ZipFile(next(Path(folder).glob("*.whl"))) as wheel:
            return {entry: wheel.read(entry) for entry in wheel.namelist()}
