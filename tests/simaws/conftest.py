"""Two accounts a run: moto as it comes, and moto corrected."""

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from simaws import SimulatedAws

ALONE = "moto alone"
WRONG = (AssertionError, KeyError, ClientError, BotoCoreError, ResponseParserError, pytest.fail.Exception)
"""How a test tells that moto is not AWS."""


@pytest.fixture(scope="session")
def accounts() -> Iterator[dict[str, SimulatedAws]]:
    pytest.importorskip("moto", reason="moto is not on this machine")
    with SimulatedAws(corrected=False) as alone, SimulatedAws() as corrected:
        yield {ALONE: alone, "corrected": corrected}


@pytest.fixture(params=[ALONE, "corrected"])
def aws(request: pytest.FixtureRequest, accounts: dict[str, SimulatedAws]) -> SimulatedAws:
    """What AWS does: a test that uses it must hold once moto is corrected, and must fail on moto alone."""
    return accounts[request.param]


@pytest.fixture
def corrected(accounts: dict[str, SimulatedAws]) -> SimulatedAws:
    return accounts["corrected"]


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Iterator[None]:
    callspec = getattr(pyfuncitem, "callspec", None)
    if callspec is None or callspec.params.get("aws") != ALONE:
        return (yield)
    try:
        yield
    except WRONG:
        return True
    pytest.fail("moto is right by itself here: the correction can go")


def pytest_make_parametrize_id(val: Any) -> str | None:
    return val if val == ALONE else None
