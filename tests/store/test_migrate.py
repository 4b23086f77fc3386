import asyncio

import psycopg
import pytest

from make import database_url
from penstock.errors import Misconfigured, Unavailable
from penstock.store import migrate as module
from penstock.store.embedded import EmbeddedPostgres
from penstock.store.migrate import SECRET_TABLES, migrate, migrations, pending, reader_url, require_server

NUMBERS = [it.number for it in migrations()]


def ask(url: str, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query).fetchall()


def schema(url: str) -> list[tuple[object, ...]]:
    return ask(
        url,
        "select table_name, column_name, data_type, is_nullable, column_default from information_schema.columns"
        " where table_schema = 'public' order by 1, 2",
    )


async def test_every_file_is_applied_once_and_in_order(empty_database_url: str) -> None:
    assert len(set(NUMBERS)) == len(NUMBERS)
    assert await migrate(empty_database_url) == NUMBERS
    assert await migrate(empty_database_url) == []
    assert [row[0] for row in ask(empty_database_url, "select number from migration order by applied_at")] == NUMBERS


async def test_two_starters_at_once_are_safe(empty_database_url: str) -> None:
    done = await asyncio.gather(*(migrate(empty_database_url) for _ in range(4)))
    assert sorted(number for numbers in done for number in numbers) == NUMBERS


@pytest.mark.parametrize("first", NUMBERS[:-1])
async def test_an_older_database_with_data_comes_to_the_same_schema(
    empty_database_url: str, postgres_url: str, first: int
) -> None:
    assert await migrate(empty_database_url, upto=first) == [it for it in NUMBERS if it <= first]
    with psycopg.connect(empty_database_url) as connection:
        connection.execute("insert into tag (path, version) values ('lyon/press/line-3/temperature', 1)")
    assert await migrate(empty_database_url) == [it for it in NUMBERS if it > first]
    assert schema(empty_database_url) == schema(postgres_url)
    assert ask(empty_database_url, "select tag_id, path from tag") == [(1, "lyon/press/line-3/temperature")]


async def test_a_failing_file_leaves_nothing_of_itself(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, bad = migrations()[0], module.Migration(2, "bad", "create table half (); select 1 / 0")
    monkeypatch.setattr(module, "migrations", lambda: (good, bad))
    with pytest.raises(psycopg.errors.DivisionByZero):
        await migrate(empty_database_url)
    assert ask(empty_database_url, "select to_regclass('half'), max(number) from migration") == [(None, 1)]


async def test_a_database_newer_than_the_code_is_refused(postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        connection.execute("insert into migration (number, name, sha256) values (9999, 'of_tomorrow', '')")
    with pytest.raises(Misconfigured, match=r"at migration 9999.*newer one"):
        await migrate(postgres_url)


@pytest.mark.parametrize(("needs", "taken"), [(NUMBERS[-1], True), (NUMBERS[-1] + 1, False)])
async def test_a_database_that_a_newer_version_only_expanded_is_taken(
    postgres_url: str, needs: int, *, taken: bool
) -> None:
    expanded = "insert into migration (number, name, sha256, needs) values (9999, 'of_tomorrow', '', %s)"
    with psycopg.connect(postgres_url) as connection:
        connection.execute(expanded, [needs])
    if taken:
        assert await migrate(postgres_url) == []
    else:
        with pytest.raises(Misconfigured, match="at migration 9999"):
            await migrate(postgres_url)


async def test_what_a_migration_needs_is_remembered(empty_database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    known = (module.Migration(1, "one", "create table one ()"), module.Migration(2, "two", "-- needs: 1\nselect 1"))
    monkeypatch.setattr(module, "migrations", lambda: known)
    await migrate(empty_database_url)
    assert ask(empty_database_url, "select number, needs from migration order by 1") == [(1, None), (2, 1)]
    monkeypatch.setattr(module, "migrations", lambda: known[:1])
    assert await migrate(empty_database_url) == []


async def test_a_changed_file_is_refused(postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        connection.execute("update migration set sha256 = 'other' where number = 3")
    with pytest.raises(Misconfigured, match=r"migration 3 .*differs"):
        await migrate(postgres_url)


def test_nothing_is_pending_in_a_database_of_this_version() -> None:
    assert pending(migrations(), {it.number: module.Applied(it.sha256) for it in migrations()}) == []


def test_a_server_older_than_15_is_refused() -> None:
    require_server(150_000)
    with pytest.raises(Misconfigured, match="PostgreSQL 14"):
        require_server(140_012)


async def test_an_absent_server_is_unavailable() -> None:
    with pytest.raises(Unavailable):
        await migrate("postgresql://penstock@127.0.0.1:1/penstock")


async def test_a_reader_reads_everything_but_secrets_and_writes_nothing(postgres_url: str) -> None:
    url = await reader_url(postgres_url)
    with psycopg.connect(postgres_url) as connection:
        connection.execute("create table made_later as select 1 as n")
    assert ask(url, "select n from made_later") == [(1,)]
    tables = {str(name) for (name,) in ask(url, "select tablename from pg_tables where schemaname = 'public'")}
    for table in tables - set(SECRET_TABLES):
        assert ask(url, f"select count(*) from {table}") is not None
    for table in SECRET_TABLES:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            ask(url, f"select * from {table}")
    for statement in ("delete from tag returning 1", "create table mine ()"):
        with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.ReadOnlySqlTransaction)):
            ask(url, statement)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        ask(url, "set default_transaction_read_only = off; commit; delete from tag returning 1")


async def test_each_reader_has_its_own_password_renewed_by_asking_again(postgres_url: str) -> None:
    first, grafana = await reader_url(postgres_url), await reader_url(postgres_url, "grafana")
    second = await reader_url(postgres_url)
    for url in (second, grafana):
        assert ask(url, "select 1") == [(1,)]
    with pytest.raises(psycopg.OperationalError):
        ask(first, "select 1")
    with pytest.raises(Misconfigured):
        await reader_url(postgres_url, 'x"; drop table tag; --')


async def test_a_user_who_may_make_no_roles_can_migrate(embedded_server: EmbeddedPostgres) -> None:
    with psycopg.connect(embedded_server.url, autocommit=True) as connection:
        connection.execute("create role modest login password 'modest'")
        connection.execute("create database modest owner modest")
    try:
        url = (
            database_url(embedded_server, "modest")
            .replace("penstock:", "modest:")
            .replace(embedded_server.url.split(":")[2].split("@")[0], "modest")
        )
        assert await migrate(url) == NUMBERS
    finally:
        with psycopg.connect(embedded_server.url, autocommit=True) as connection:
            connection.execute("drop database modest")
            connection.execute("drop role modest")
