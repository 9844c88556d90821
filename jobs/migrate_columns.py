"""Columns that a release's schemas have and its tables do not: an optional field that a contract grew by needs no migration.

After the numbered migrations `tradestream migrate` gives every archive table the columns of new optional fields, with
type, codec and comment as the mapping (udfs.operators.arrow_blocks) and the field's own description say. Rows that
are there are null in them. A new field that is not optional is no compatible change, and no column is made for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from schemas.catalogue import TOPICS
from udfs.operators.arrow_blocks import Column, Kind, plan_of

CODECS: Final[dict[Kind, str]] = {
    "money": "Delta, ZSTD(1)",
    "time_ns": "Delta, ZSTD(1)",
    "time_ms": "Delta, ZSTD(1)",
    "long": "T64, ZSTD(1)",
    "int": "T64, ZSTD(1)",
    "double": "Gorilla, ZSTD(1)",
    # Whole messages and lines: they are read seldom and kept for long.
    "bytes": "ZSTD(3)",
}
"""How a column of a kind is compressed; ZSTD(1) for every other."""


def definitions(column: Column) -> dict[str, str]:
    """What ClickHouse's CREATE TABLE and ADD COLUMN say of each column that a field becomes, after its name."""
    types = column.clickhouse_types()
    if column.kind != "nested":
        return {name: _definition(kind, column.kind, column.doc) for name, kind in types.items()}
    inner = dict(zip(types, column.fields, strict=True))
    docs = {name: f"{column.doc.rstrip('.')}. {field.doc}" for name, field in inner.items()}
    return {name: _definition(kind, inner[name].kind, docs[name]) for name, kind in types.items()}


def _definition(clickhouse_type: str, kind: Kind, doc: str) -> str:
    comment = doc.replace("1/10,000 of the currency", "in the currency").replace(
        "UTC nanoseconds since the epoch", "UTC"
    )
    quoted = comment.replace("\\", "\\\\").replace("'", "''")
    return f"{clickhouse_type} CODEC({CODECS.get(kind, 'ZSTD(1)')}) COMMENT '{quoted}'"


def missing_columns(client: Any) -> list[str]:
    """The ALTER TABLE statements that the archive tables of the database lack, none where all is there.

    Tables that do not exist are left out. Raises ClickHouseError.
    """
    found: dict[str, set[str]] = {}
    for table, name in client.query(
        "SELECT table, name FROM system.columns WHERE database = currentDatabase()"
    ).result_rows:
        found.setdefault(table, set()).add(name)
    statements = []
    for topic in TOPICS:
        plan = plan_of(topic)
        if plan.table not in found:
            continue
        additions, before = [], ""
        for column in plan.columns:
            for name, definition in definitions(column).items():
                if name not in found[plan.table] and column.nullable:
                    place = f" AFTER `{before}`" if before else " FIRST"
                    additions.append(f"ADD COLUMN IF NOT EXISTS `{name}` {definition}{place}")
                before = name
        if additions:
            statements.append(f"ALTER TABLE {plan.table} {', '.join(additions)}")
    return statements


def add_missing(client: Any, progress: Callable[[str], None]) -> int:
    """Run them and return how many tables were changed. Raises ClickHouseError."""
    statements = missing_columns(client)
    for statement in statements:
        progress(statement.partition(" ADD COLUMN")[0].lower() + ": columns of new optional fields")
        client.command(statement)
    return len(statements)
