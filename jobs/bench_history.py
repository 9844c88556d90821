"""What `tradestream bench archive` measures with: the made-up history, the questions, and rows as records and as Parquet.

The statements are those of sql/clickhouse/bench; ClickHouse makes the rows itself, many times faster than they could be sent.
"""

from __future__ import annotations

import importlib
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from string import Template
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.reconcile_archive import plain_rows
from schemas import model
from schemas.catalogue import TOPICS
from udfs.operators.arrow_blocks import Column, plan_of, table_of

FOLDER: Final = Path(__file__).resolve().parent.parent / "sql" / "clickhouse" / "bench"
SYMBOLS: Final = 500


@dataclass(frozen=True, slots=True)
class Question:
    """A question in words, and the statement that answers it."""

    text: str
    sql: str

    def about(self, values: Mapping[str, str]) -> Question:
        """With its placeholders filled in."""
        return replace(self, sql=Template(self.sql).substitute(values))


def _parts(file: str, mark: str) -> list[tuple[str, str]]:
    """The statements of a file: what stands behind their mark, and themselves."""
    found = []
    for part in (FOLDER / file).read_text(encoding="utf-8").split(f"\n-- {mark}: ")[1:]:
        words, _, rest = part.partition("\n")
        # Behind the statement may stand the comment of the next one.
        found.append((words, rest[: rest.rindex(";")]))
    return found


QUESTIONS: Final = tuple(Question(*part) for part in _parts("questions.sql", "question"))


def fill(
    client: Any, days: Sequence[date], rows: int, progress: Callable[[date], None], symbols: int = SYMBOLS
) -> None:
    """Fill the tables with about so many rows. They must be empty. Raises ClickHouseError."""
    statements = [(heading.split(), sql) for heading, sql in _parts("history.sql", "table")]
    for number, day in enumerate(days):
        progress(day)
        for (_table, share), sql in statements:
            values = {
                "day": str(day),
                "number": str(number),
                "rows": str(round(float(share) * rows / len(days))),
                "symbols": str(symbols),
            }
            client.command(Template(sql).substitute(values))


def sample(client: Any, topic: str, count: int) -> pa.Table:
    """The first rows of a topic in the order in which they arrived."""
    names = ", ".join(f"`{name}`" for name in plan_of(topic).clickhouse_types())
    first = f"SELECT min(event_date) FROM {table_of(topic)}"
    sql = f"SELECT {names} FROM {table_of(topic)} WHERE event_date = ({first}) ORDER BY _offset LIMIT {count}"
    return client.query_arrow(sql, use_strings=True)


def parquet_bytes(rows: pa.Table) -> int:
    """Size of these rows as a Parquet file with zstd."""
    out = io.BytesIO()
    pq.write_table(rows, out, compression="zstd")
    return len(out.getvalue())


def frames_of(topic: str, rows: pa.Table, schema_id: int) -> list[bytes]:
    """The Kafka records that give these rows. Optional records inside a record must be null in all of them."""
    module = importlib.import_module(TOPICS[topic].module)
    columns = {column.name: column for column in plan_of(topic).columns if len(column.path) < 2}
    fields = [(field.name, columns.get(field.attribute)) for field in model.load(TOPICS[topic].schema_file).root.fields]
    return [
        module.encode(module.from_dict({name: _avro(column, row) for name, column in fields}), schema_id)
        for row in plain_rows(rows)
    ]


def _avro(column: Column | None, row: Mapping[str, Any]) -> Any:
    """The Avro value of a column of a row; None for an optional record."""
    if column is None:
        return None
    if column.kind != "nested":
        return _plain(column, row[column.name])
    fields = {
        field.name: [_plain(field, value) for value in row[f"{column.name}.{field.name}"]] for field in column.fields
    }
    return [
        {_camel(name): value for name, value in zip(fields, values, strict=True)}
        for values in zip(*fields.values(), strict=True)
    ]


def _plain(column: Column, value: Any) -> Any:
    if value is None:
        return None
    if column.kind == "money":
        return int(value.scaleb(4))
    return value.decode() if column.kind in ("string", "enum") else value


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(map(str.capitalize, rest))
