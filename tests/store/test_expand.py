"""New migrations only expand: the version before goes on writing while they are applied, and after."""

import re
from itertools import pairwise
from typing import Final, NamedTuple

import pytest

from penstock.store.migrate import Migration, migrations

FROM: Final = 11
"""Migrations before this one were applied as they are, and applied files never change."""
LATER: Final = "leave it: a later release drops it, when no version that uses it runs any more"


class Rule(NamedTuple):
    """What a statement must not do to a table that its own file did not make."""

    pattern: str
    mend: str


RULES: Final = (
    Rule(r"^drop\s+(materialized\s+)?(table|view|index|function|type|sequence|schema)\b", LATER),
    Rule(r"\bdrop\s+(column|constraint)\b|\bdrop\s+(?!not\b|default\b)\w+\s*(,|$|cascade\b)", LATER),
    Rule(r"\brename\b", "add the new name beside the old one, write both, and drop the old one a release later"),
    Rule(
        r"\balter\s+(column\s+)?\w+\s+(set\s+data\s+)?type\b",
        "add a column of the new type, write both, fill it in small steps: a new type rewrites the table under a lock",
    ),
    Rule(
        r"\bset\s+not\s+null\b",
        "the version before may write null: check it in the code until no such version runs",
    ),
    Rule(
        r"\badd\s+(column\s+)?(if\s+not\s+exists\s+)?\w+\s+(?=[^,]*\bnot\s+null\b)(?![^,]*\bdefault\b)",
        "give the column a constant default: the version before does not name it when it inserts",
    ),
    Rule(
        r"\badd\s+[^,]*\b(default\s+(clock_timestamp|random|gen_random_uuid|nextval)\b|generated\b|(big|small)?serial\b)",
        "give the column a constant default: one that differs from row to row rewrites the table under a lock",
    ),
    Rule(
        r"\badd\s+(constraint\s+\w+\s+)?(primary\s+key|unique|exclude|check|foreign\s+key)\b(?!.*\bnot\s+valid\b)",
        "make a new table with the key it needs; a check or foreign key may be added `not valid`",
    ),
    Rule(
        r"^create\s+(unique\s+)?index\b",
        "an index on a table with rows holds up its writers, and a migration cannot build one concurrently:"
        " put it on a table made in this file",
    ),
    Rule(
        r"^(update|delete\s+from|truncate|lock|cluster)\b",
        "fill new columns in small steps from the code: a change of many rows holds up those who write them",
    ),
)


def broken(migration: Migration) -> list[str]:
    """What *migration* does that the version before would not survive, each with its mend."""
    found = list(statements_of(migration.text))
    own = {m[1] for it in found if (m := re.match(r"create\s+table\s+(?:if\s+not\s+exists\s+)?(\w+)", it))}
    return [
        f"{migration.number:04}_{migration.name}.sql: {it[:60]!r}: {rule.mend}"
        for it in found
        if not own & {table_of(it)}
        for rule in RULES
        if re.search(rule.pattern, it)
    ]


def statements_of(text: str) -> list[str]:
    """Without comments and strings, in small letters, on one line each."""
    bare = re.sub(r"--[^\n]*|/\*.*?\*/", " ", re.sub(r"'(?:[^']|'')*'", "''", text), flags=re.DOTALL)
    return [" ".join(it.lower().split()) for it in bare.split(";") if it.strip()]


def table_of(statement: str) -> str:
    """The table that it changes."""
    named = re.search(
        r"^(?:alter\s+table|update|delete\s+from|truncate|lock)\s+(?:table\s+)?(?:if\s+exists\s+)?(?:only\s+)?(\w+)"
        r"|^create\s+(?:unique\s+)?index\b.*?\son\s+(?:only\s+)?(\w+)",
        statement,
    )
    return (named[1] or named[2]) if named else ""


def test_new_migrations_only_expand() -> None:
    assert [said for it in migrations() if it.number >= FROM for said in broken(it)] == []


def test_new_migrations_say_which_version_goes_on_after_them() -> None:
    before = {later.number: it.number for it, later in pairwise(migrations())}
    said = {it.number: it.needs for it in migrations() if it.number >= FROM}
    assert all(needs is not None and needs <= before[number] for number, needs in said.items()), said


BAD: Final = (
    "drop table tag",
    "alter table tag drop column path",
    "alter table tag drop path, add note text",
    "alter table balance_minute drop constraint balance_minute_pkey",
    "alter table tag rename column path to name",
    "alter table tag rename to tags",
    "alter table shard alter position type numeric",
    "alter table shard alter column position set data type numeric",
    "alter table tag alter column holds set not null",
    "alter table tag add column note text not null",
    "alter table tag add column a int default 1, add b text not null",
    "alter table tag add column id uuid default gen_random_uuid()",
    "alter table tag add column n bigserial",
    "alter table balance_minute add primary key (received_minute, stream)",
    "alter table tag add constraint short check (length(path) < 9)",
    "create index on segment (flush_hi)",
    "create unique index tag_path on tag (path)",
    "create table own (n int); create index on segment (flush_hi)",
    "UPDATE tag\n  SET version = 1",
)
GOOD: Final = (
    "alter table tag add column note text",
    "alter table tag add column note text not null default ''",
    "alter table tag add constraint short check (length(path) < 9) not valid",
    "alter table tag alter column holds drop not null, alter version drop default",
    "create table own (n int not null primary key); create index own_n on own (n); update own set n = 1",
    "-- drop table tag;\ncomment on table tag is 'rename; drop column'",
    "create or replace view v as select 1 as n",
)


@pytest.mark.parametrize("text", BAD)
def test_a_planted_contraction_is_found_and_mended(text: str) -> None:
    said = broken(Migration(11, "planted", text))  # type: ignore[arg-type]
    assert len(said) >= 1
    assert all(it.startswith("0011_planted.sql: ") and len(it.rpartition(": ")[2].split()) > 6 for it in said)


@pytest.mark.parametrize("text", GOOD)
def test_what_only_expands_passes(text: str) -> None:
    assert broken(Migration(11, "planted", text)) == []  # type: ignore[arg-type]


def test_the_rules_would_have_found_those_of_before() -> None:
    told = {it.number: broken(it) for it in migrations() if it.number in {9, 10}}
    assert any("balance_minute" in said for said in told[9])
    assert any("index" in said for said in told[10])
