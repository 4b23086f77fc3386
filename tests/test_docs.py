"""What an operator can set, call, see or be told stands in the documents."""

import re
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
sys.path.insert(0, str(DOCS))

from make_reference import reference  # noqa: E402


def test_the_reference_is_as_the_code_is() -> None:
    assert (DOCS / "reference.md").read_text() == reference(), "run: .venv/bin/python docs/make_reference.py"


@pytest.mark.parametrize("page", sorted([*DOCS.rglob("*.md"), *DOCS.parent.glob("*.md")]), ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+?)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", sorted((DOCS / "decisions").glob("*.md")), ids=lambda page: page.name)
def test_every_decision_has_its_three_parts(page: Path) -> None:
    text = page.read_text().lower()
    assert all(part in text for part in ("context", "decision", "consequences"))
