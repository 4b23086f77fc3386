"""Proofs are listed, say how they are run, and what they need works; they themselves run by `run.py prove short`."""

import ast
from pathlib import Path

import pytest
from all import HERE, PROOFS


def test_every_proof_is_listed() -> None:
    assert {proof.file for proof in PROOFS.values()} == {
        "deployments.py",
        *(path.name for path in HERE.glob("p[0-9]*_*.py")),
    }


@pytest.mark.parametrize("name", PROOFS)
def test_a_proof_says_what_it_proves_how_it_is_run_and_what_its_control_is(name: str) -> None:
    told = ast.get_docstring(ast.parse(Path(HERE / PROOFS[name].file).read_text())) or ""
    assert told.startswith(f"{name.upper()}: ")
    assert f"run.py prove {name}" in told or f"`{PROOFS[name].file} [" in told
    assert any(word in told for word in ("control", "mutant", "not caught"))
