"""A data directory has one owner, one running plant, and a note that tells where it is."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from penstock.datadir import Instance, held, leave_note, read_note
from penstock.errors import Misconfigured


def test_it_is_made_for_its_owner_only(tmp_path: Path) -> None:
    with held(tmp_path / "data") as directory:
        leave_note(directory, Instance(os.getpid(), "http://x", api_key="secret"))
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        assert stat.S_IMODE((directory / "run.json").stat().st_mode) == 0o600


def test_a_second_holder_is_refused_with_the_firsts_pid(tmp_path: Path) -> None:
    with held(tmp_path), pytest.raises(Misconfigured, match=str(os.getpid())), held(tmp_path):
        pass


def test_it_is_free_again_however_the_holder_ended(tmp_path: Path) -> None:
    code = "import os, sys, pathlib, penstock.datadir as d\nwith d.held(pathlib.Path(sys.argv[1])): os._exit(9)"
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == 9
    with held(tmp_path):
        pass


def test_the_note_of_a_plant_that_is_gone_is_no_note(tmp_path: Path) -> None:
    assert read_note(tmp_path) is None
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    leave_note(tmp_path, Instance(int(gone.stdout), "http://x"))
    assert read_note(tmp_path) is None
    leave_note(tmp_path, Instance(os.getpid(), "http://x"))
    assert read_note(tmp_path) == Instance(os.getpid(), "http://x")


def test_a_directory_that_cannot_be_made_is_named_with_the_mend(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Misconfigured, match="choose one that you own"), held(tmp_path / "file" / "data"):
        pass
