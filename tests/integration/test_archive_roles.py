"""The roles of sql/clickhouse/roles on a real ClickHouse engine: who may read what, and who can alter the audit trail."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from jobs.config import project_root
from jobs.migrations import FOLDER, find, split

STATEMENTS = split((FOLDER / "roles" / "roles.sql").read_text(encoding="utf-8"))
ROLES = re.findall(r"tradestream_\w+", STATEMENTS[0])
DENIED = 497
ATTACKS = [
    "ALTER TABLE tradestream.{table} DELETE WHERE 1",
    "ALTER TABLE tradestream.{table} UPDATE {column} = 'x' WHERE 1",
    "DELETE FROM tradestream.{table} WHERE 1",
    "TRUNCATE TABLE tradestream.{table}",
    "DROP TABLE tradestream.{table}",
    "DETACH TABLE tradestream.{table}",
    "RENAME TABLE tradestream.{table} TO tradestream.stolen",
    "CREATE OR REPLACE TABLE tradestream.{table} (x Int8) ENGINE = MergeTree ORDER BY x",
    "CREATE TABLE tradestream.stolen (x Int8) ENGINE = MergeTree ORDER BY x",
    "ALTER TABLE tradestream.{table} DROP PARTITION '2026-01-02'",
    "ALTER TABLE tradestream.{table} MODIFY TTL event_date + INTERVAL 1 DAY",
    "ALTER TABLE tradestream.{table} DROP COLUMN {column}",
]


def grants_of(role: str) -> list[str]:
    """What roles.sql grants to a role, as a user's grants are written."""
    found = [re.fullmatch(rf"(?s)(?:--[^\n]*\n)*(GRANT .*) TO {role}", statement) for statement in STATEMENTS]
    return [match[1] for match in found if match]


def run(folder: Path, grants: Sequence[str], statements: Sequence[str], filters: Mapping[str, str]) -> list[str | int]:
    """The answer to each statement, given by an engine whose user has these grants and row policies."""
    asked = {"folder": str(folder), "grants": grants, "filters": filters, "statements": statements}
    command = [sys.executable, str(Path(__file__).with_name("role_engine.py"))]
    done = subprocess.run(command, input=json.dumps(asked), capture_output=True, text=True, cwd=project_root())
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data of an engine, migrated, with a row in each of the tables that the tests ask for."""
    folder = tmp_path_factory.mktemp("roles") / "data"
    tables = [statement for migration in find() for statement in migration.up]
    rows = [
        "INSERT INTO audit_records (event_id, source_topic, event_date) VALUES ('kept', 'orders', '2026-01-02')",
        "INSERT INTO order_events (order_id, account_id) VALUES ('1', 'ours'), ('2', 'theirs')",
        "INSERT INTO reference_data (key, account_account_id, account_desk) "
        "VALUES ('account:ours', 'ours', 'equities'), ('account:theirs', 'theirs', 'bonds')",
    ]
    answers = run(
        folder, ["GRANT ALL ON *.*"], ["CREATE DATABASE tradestream", "USE tradestream", *tables, *rows], filters={}
    )
    assert [answer for answer in answers if isinstance(answer, int)] == []
    return folder


def test_every_role_has_grants_and_none_of_a_reader_changes_anything() -> None:
    assert len(ROLES) == 5
    for role in ROLES:
        assert grants_of(role), role
    for role in ("tradestream_analyst", "tradestream_auditor", "tradestream_desk_equities"):
        words = {word for grant in grants_of(role) for word in re.findall(r"[A-Z]{3,}", grant.partition(" ON ")[0])}
        assert words == {"GRANT", "SELECT", "SHOW"}


@pytest.mark.parametrize("role", ["tradestream_writer", "tradestream_analyst", "tradestream_auditor"])
def test_audit_data_are_not_changed_by(folder: Path, role: str) -> None:
    attacks = [attack.format(table="audit_records", column="actor") for attack in ATTACKS]
    rows = "SELECT event_id FROM tradestream.audit_records WHERE event_id = 'kept'"
    *answers, kept = run(folder, grants_of(role), [*attacks, rows], filters={})
    assert dict(zip(attacks, answers, strict=True)) == dict.fromkeys(attacks, DENIED)
    assert kept == "kept\n"


def test_attacks_are_real_an_admin_could(folder: Path) -> None:
    statements = [
        "CREATE TABLE tradestream.victim AS tradestream.audit_records",
        "INSERT INTO tradestream.victim (event_id, event_date) VALUES ('x', '2026-01-02')",
        "ALTER TABLE tradestream.victim UPDATE actor = 'x' WHERE 1",
        "ALTER TABLE tradestream.victim DELETE WHERE 1",
        "SELECT count() FROM tradestream.victim",
        "DROP TABLE tradestream.victim SYNC",
    ]
    assert run(folder, grants_of("tradestream_admin"), statements, filters={}) == ["", "", "", "", "0\n", ""]


def test_writer_adds_rows_and_asks_for_running_inserts(folder: Path) -> None:
    statements = [
        "INSERT INTO tradestream.audit_records (event_id, event_date) VALUES ('added', '2026-01-03')",
        "SELECT count() FROM tradestream.audit_records WHERE event_id = 'added'",
        "SELECT count() FROM system.processes WHERE startsWith(query_id, 'archive-')",
    ]
    assert run(folder, grants_of("tradestream_writer"), statements, filters={}) == ["", "1\n", "0\n"]


def test_analyst_reads_and_does_not_write(folder: Path) -> None:
    statements = [
        "SELECT count() FROM tradestream.order_lifecycle",
        "INSERT INTO tradestream.orders (order_id) VALUES ('x')",
    ]
    assert run(folder, grants_of("tradestream_analyst"), statements, filters={}) == ["2\n", DENIED]


def test_auditor_reads_audit_tables_and_nothing_else(folder: Path) -> None:
    statements = [
        *(f"SELECT count() >= 0 FROM tradestream.{name}" for name in ("audit_records", "audit_roots", "controls")),
        *(f"SELECT count() FROM tradestream.{name}" for name in ("orders", "order_events", "trade_events", "bars")),
        "SELECT count() FROM merge('tradestream', '^order_events$')",
        "INSERT INTO tradestream.audit_records (event_id) VALUES ('x')",
    ]
    answers = run(folder, grants_of("tradestream_auditor"), statements, filters={})
    assert answers[:3] == ["1\n"] * 3
    assert all(isinstance(answer, int) for answer in answers[3:]), answers


def test_desk_sees_the_orders_of_its_accounts_only(folder: Path) -> None:
    (policy,) = (statement for statement in STATEMENTS if "ROW POLICY IF NOT EXISTS desk_equities" in statement)
    rule = policy.partition("USING ")[2].rpartition(" TO ")[0].strip()
    filters = {"order_events": rule, "trade_events": rule}
    statements = [
        "SELECT account_id FROM tradestream.order_events",
        "SELECT count() FROM tradestream.trade_events",
        "SELECT count() FROM tradestream.orders",
        "SELECT account_cash FROM tradestream.reference_data",
    ]
    answers = run(folder, grants_of("tradestream_desk_equities"), statements, filters)
    assert answers == ["ours\n", "0\n", DENIED, DENIED]
    # Without the policy it would see the others' orders, so it is the policy that hides them.
    (seen,) = run(folder, grants_of("tradestream_desk_equities"), statements[:1], {})
    assert sorted(str(seen).split()) == ["ours", "theirs"]
