"""Retention and erasure as sql/clickhouse/retention.md tells them, on a real engine: what goes by itself, what stays."""

from __future__ import annotations

import re
from typing import Any

import pytest
from archive_gateway import GatewayProcess, connect

from jobs import migrate
from jobs.migrations import FOLDER

PAGE = (FOLDER / "retention.md").read_text(encoding="utf-8")
FOR_EVER = ("order_events", "trade_events", "audit_records", "audit_roots", "orders", "controls", "tombstones")


@pytest.fixture(scope="module")
def client(gateway: GatewayProcess) -> Any:
    settings = gateway.config("retention")
    migrate.apply(settings, print)
    return connect(settings)


def limited() -> set[str]:
    """The tables of which the page says that something goes by itself."""
    lines = [line.split("|") for line in PAGE.splitlines() if line.startswith("|") and "after arrival" in line]
    return {name for line in lines for name in re.findall(r"\w+", line[2])}


def arrive(client: Any, table: str, *moments: str) -> None:
    """A row for each moment (SQL), at which it arrived and happened."""
    values = ", ".join(
        f"('t', 0, {number}, toDate({moment}), toDateTime64({moment}, 3, 'UTC'))"
        for number, moment in enumerate(moments)
    )
    client.command(f"INSERT INTO {table} (_topic, _partition, _offset, event_date, _kafka_time) VALUES {values}")


def offsets(client: Any, table: str) -> list[int]:
    client.command(f"OPTIMIZE TABLE {table} FINAL")
    rows = client.query(f"SELECT _offset FROM {table} WHERE _topic = 't' ORDER BY _offset").result_rows
    return [offset for (offset,) in rows]


def test_tables_with_a_limit_are_those_of_the_page(client: Any) -> None:
    found = client.query(
        "SELECT name FROM system.tables WHERE database = currentDatabase() AND create_table_query LIKE '% TTL %'"
    ).result_rows
    assert {name for (name,) in found} == limited() >= {"market_data", "nbbo", "raw_feed"}
    assert limited().isdisjoint(FOR_EVER)


def test_rows_go_three_years_after_arrival_where_the_page_says_so_and_nowhere_else(client: Any) -> None:
    moments = (
        "now() - INTERVAL 1100 DAY",
        "now() - INTERVAL 1090 DAY",
        "now()",
        "toDateTime64('2001-01-01', 3, 'UTC')",
    )
    for table in sorted(limited()):
        arrive(client, table, *moments)
        # The last one's producer made its timestamp up: it stays.
        assert offsets(client, table) == [1, 2, 3], table
    for table in FOR_EVER:
        arrive(client, table, *moments)
        assert offsets(client, table) == [0, 1, 2, 3], table


def test_commands_of_the_page_shorten_the_time_and_erase_a_day(client: Any) -> None:
    client.command("TRUNCATE TABLE market_data")
    arrive(client, "market_data", "now() - INTERVAL 500 DAY", "toDateTime64('2026-01-02', 3, 'UTC')", "now()")
    (erase,) = re.findall(r"`(ALTER TABLE market_data DROP PARTITION '[\d-]+')`", PAGE)
    client.command(erase)
    assert offsets(client, "market_data") == [0, 2]
    (change,) = re.findall(r"`(ALTER TABLE market_data MODIFY TTL)`", PAGE)
    written = (FOLDER / "0020_counts_and_retention.sql").read_text(encoding="utf-8")
    (expression,) = re.findall(rf"{change} (.*);", written)
    client.command(f"{change} {expression.replace('1095', '400')}")
    assert offsets(client, "market_data") == [2]
