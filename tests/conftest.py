"""A real PostgreSQL for every test that asks: one server a run, one fresh migrated database a test."""

import asyncio
import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, settings

import make
from make import database_url
from penstock.store.embedded import EmbeddedPostgres
from penstock.store.migrate import migrate

FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "shared_buffers": "64MB"}
_numbers = itertools.count(1)

# what is proved does not depend on how busy the machine is; in CI, nor on chance: people look for new examples
settings.register_profile(
    "patient", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize="CI" in os.environ
)
settings.load_profile("patient")


@pytest.fixture(scope="session")
def embedded_server() -> Iterator[EmbeddedPostgres]:
    """One server for all tests of this process, careless of power cuts."""
    # not in pytest's folder, which only its owner may enter
    directory = Path(tempfile.mkdtemp(prefix="penstock-test-"))
    try:
        with EmbeddedPostgres(directory, options=FAST) as server:
            yield server
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def _migrated(embedded_server: EmbeddedPostgres) -> str:
    """The name of a migrated database that is only copied."""
    with psycopg.connect(embedded_server.url, autocommit=True) as connection:
        connection.execute("create database pattern")
    asyncio.run(migrate(database_url(embedded_server, "pattern")))
    return "pattern"


@pytest.fixture
def postgres_url(embedded_server: EmbeddedPostgres, _migrated: str) -> Iterator[str]:
    """A migrated, empty database of this test's own."""
    yield from _database(embedded_server, f"template {_migrated}")


@pytest.fixture
def empty_database_url(embedded_server: EmbeddedPostgres) -> Iterator[str]:
    """A database in which nothing was made yet."""
    yield from _database(embedded_server, "template template0")


def _database(server: EmbeddedPostgres, origin: str) -> Iterator[str]:
    name = f"test_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(f"create database {name} {origin} strategy file_copy")
        yield database_url(server, name)
        connection.execute(f"drop database {name} with (force)")


@pytest.fixture(scope="session")
def real_series(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Files of real series where PENSTOCK_REAL_DATA names a folder of them; a few made ones elsewhere."""
    folder = os.environ.get("PENSTOCK_REAL_DATA")
    if folder:
        return sorted(Path(folder).rglob("*.csv"))
    return make.series(tmp_path_factory.mktemp("series"))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Where everything could be installed (PENSTOCK_NO_SKIPS), a skip fails, unless the machine itself is why."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter else []
    mended = [report for report in skipped if "this machine" not in str(report.longrepr)]
    if os.environ.get("PENSTOCK_NO_SKIPS") and mended and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
