"""Migrations as files: how a script is split into statements, and which sets of files are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.migrations import MigrationError, find, split


@pytest.mark.parametrize(
    ("script", "statements"),
    [
        ("", []),
        (" ;; \n;", []),
        ("-- only a comment; with a semicolon", []),
        ("/* also; only */ ; # a; comment\n #! another; one\n", []),
        ("SELECT 1", ["SELECT 1"]),
        ("SELECT 1;", ["SELECT 1"]),
        ("SELECT 1; SELECT 2 ;\n", ["SELECT 1", "SELECT 2"]),
        ("SELECT ';'; SELECT 2", ["SELECT ';'", "SELECT 2"]),
        ("SELECT 'it''s; ' || 'a\\'; b'; SELECT 2", ["SELECT 'it''s; ' || 'a\\'; b'", "SELECT 2"]),
        ("SELECT 'a\\\\'; SELECT 2", ["SELECT 'a\\\\'", "SELECT 2"]),
        ('SELECT `a;b`, "c;d"; SELECT 2', ['SELECT `a;b`, "c;d"', "SELECT 2"]),
        ("SELECT 1 -- it's; one\n, 2; SELECT 3", ["SELECT 1 -- it's; one\n, 2", "SELECT 3"]),
        ("SELECT 1 /* ';' */; SELECT '/*'; SELECT '--'", ["SELECT 1 /* ';' */", "SELECT '/*'", "SELECT '--'"]),
        ("SELECT $tag$ ; ' $tag$; SELECT 2", ["SELECT $tag$ ; ' $tag$", "SELECT 2"]),
        ("SELECT 5 - -1; SELECT 6 / 2 * 3", ["SELECT 5 - -1", "SELECT 6 / 2 * 3"]),
        ("-- what it is\nSELECT 1;\n-- the end\n", ["-- what it is\nSELECT 1"]),
    ],
)
def test_split_script_gives_statements(script: str, statements: list[str]) -> None:
    assert split(script) == statements


@pytest.mark.parametrize(
    "script", ["SELECT 1;\nSELECT 'open", "SELECT `open", 'SELECT "open', "SELECT 1; /* open", "SELECT $a$ open"]
)
def test_split_unclosed_quote_names_the_line(script: str) -> None:
    line = script.count("\n") + 1
    with pytest.raises(MigrationError, match=rf"here\.sql, line {line}: .* is never closed"):
        split(script, "here.sql")


REPEATABLE = (
    "IF NOT EXISTS",
    "OR REPLACE",
    "MODIFY TTL",
    "MODIFY SETTING",
    "COMMENT COLUMN IF EXISTS",
    "INSERT INTO latest_nbbo\n",
)
"""What makes a statement of a migration safe to run twice; the last adds states of which one is as good as two."""


def test_find_shipped_migrations_are_complete_and_reversible() -> None:
    migrations = find()
    numbers = [migration.number for migration in migrations]
    assert numbers[0] == 1 and numbers == sorted(set(numbers))
    assert all(migration.down for migration in migrations)
    assert all(len(migration.sha256) == 64 for migration in migrations)
    for migration in migrations:
        for statement in migration.up:
            assert any(words in statement for words in REPEATABLE), f"{migration} cannot be run twice"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"1_short.sql": "SELECT 1"}, "1_short.sql: migrations are named"),
        ({"0001_a.sql": "SELECT 1", "0001_b.sql": "SELECT 1"}, "0001_b.sql and 0001_a.sql have the same number"),
        ({"0001_a.sql": "SELECT 1", "0002_b.down.sql": "SELECT 1"}, "0002_b.down.sql belongs to no migration"),
        ({"0001_a.sql": "SELECT 1", "0001_b.down.sql": "SELECT 1"}, "0001_b.down.sql belongs to no migration"),
        ({"0001_a.sql": "-- nothing"}, "0001_a.sql holds no statement"),
    ],
)
def test_find_wrong_files_are_refused(tmp_path: Path, files: dict[str, str], message: str) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(MigrationError, match=message):
        find(tmp_path)
