"""The command line ends in one line for a person and one code for scripts, whatever it is given."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from penstock.__main__ import EXIT_CONFIGURATION, EXIT_NOT_SO, main
from penstock.bench import Load, send
from penstock.clock import SystemClock
from penstock.door.keys import make_key
from penstock.errors import Misconfigured, Undecodable
from penstock.model.access import Role
from penstock.settings import read_settings
from penstock.store.postgres import conninfo


@pytest.fixture(autouse=True)
def _own_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a process of its own may share its counters: here every later test would look for them elsewhere."""
    monkeypatch.setattr("penstock.__main__.share_metrics", lambda: None)


def said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    """Exit code and standard error of `penstock WORDS`."""
    monkeypatch.setattr(sys, "argv", ["penstock", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0), capsys.readouterr().err


def test_a_file_that_is_no_text_is_told_in_one_line(tmp_path, monkeypatch, capsys):
    file = tmp_path / "in.csv"
    file.write_bytes(b"hello\n\xff\n")
    code, told = said(monkeypatch, capsys, "score", file, "--out", tmp_path / "out.csv")
    assert code == EXIT_NOT_SO
    assert told.startswith("penstock: ")
    assert "UTF-8" in told
    assert told.count("\n") == 1


def test_a_file_that_cannot_be_written_is_named(tmp_path, monkeypatch, capsys):
    file, out = tmp_path / "in.csv", tmp_path / "nowhere" / "out.csv"
    file.write_text("source_ts,tag,value\n2026-11-20T10:00:00Z,a/b,1\n")
    assert said(monkeypatch, capsys, "score", file, "--out", out) == (
        EXIT_NOT_SO,
        f"penstock: {out}: No such file or directory\n",
    )


@pytest.mark.parametrize("name", ["PENSTOCK_DOR__PORT", "PENSTOCK_DOOR_PORT", "PENSTOCK_DOOR__PROT"])
def test_a_misspelt_variable_is_refused(name, monkeypatch):
    monkeypatch.setenv(name, "1")
    with pytest.raises(Misconfigured):
        read_settings()


@pytest.mark.parametrize("name", ["PENSTOCK_SERVICE_HOST", "PENSTOCK_PORT", "PENSTOCK_PG_BIN", "PENSTOCKS__X"])
def test_the_variables_of_others_are_left_alone(name, monkeypatch):
    """Kubernetes sets the first two for every service of our name."""
    monkeypatch.setenv(name, "tcp://10.0.0.1:80")
    read_settings()


@pytest.mark.parametrize("zone", ["Mars/Phobos", "", "../etc", "Europe"])
def test_a_time_zone_that_is_none_is_refused_at_the_start(zone):
    with pytest.raises(Misconfigured, match=r"serve\.zone"):
        read_settings(serve={"zone": zone})


def test_a_store_of_another_kind_is_refused_with_the_mend():
    with pytest.raises(Misconfigured, match="postgresql://"):
        conninfo("mysql://x", application="test")


@pytest.mark.parametrize(
    "wrong",
    [{"name": " "}, {"name": "a\nb"}, {"sites": []}, {"sites": ["a/b"]}, {"rate": -1.0}, {"burst": float("inf")}],
)
def test_a_key_that_cannot_be_is_not_made(wrong):
    wish = {"name": "gateway", "role": Role.WRITER, "sites": ["lyon"], "created_by": "test"}
    with pytest.raises(Undecodable):
        make_key(SystemClock(), **(wish | wrong))


async def test_a_load_is_not_sent_over_tls():
    with pytest.raises(Misconfigured, match="without --tls"):
        await send("https://127.0.0.1:1", "pk", Load())


def test_an_item_stays_on_one_line_for_whoever_reads_a_pipe():
    tag = "/".join(["segment"] * 20)
    program = f"from penstock.cli.show import show; show([{{'tag': '{tag}', 'id': 7}}], as_json=False)"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=os.environ)
    assert told.stdout.splitlines()[1].split() == [tag, "7"]


def test_a_wrong_setting_ends_in_the_code_for_configuration(tmp_path: Path, monkeypatch, capsys):
    code, told = said(monkeypatch, capsys, "up", "--port", 80000, "--data", tmp_path / "data")
    assert code == EXIT_CONFIGURATION
    assert "Mend: " in told
    assert not (tmp_path / "data").exists()
