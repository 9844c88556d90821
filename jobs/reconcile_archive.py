"""Compares the committed records of a Kafka partition with the rows of its ClickHouse table, offset by offset.

Both sides arrive ordered by offset and are merged, so that memory holds one page of each and no more. A row is what
`arrow_blocks.block` makes of the record, and every column of it is compared, the source columns included. Rows that claim a place
which Kafka does not have are strays, and extra.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal

import pyarrow as pa

from udfs.operators.arrow_blocks import Layout

NAMES: Final = ("order_id", "trade_id", "account_id", "event_id")
"""Columns that tell a person which order, trade or event a row is about, where a table has them."""
PAGE_ROWS: Final = 5_000
"""Rows of ClickHouse that are held at a time."""

LISTED_STRAYS: Final = 20
"""Strays of a table whose places are told; all are counted."""

Row = dict[str, Any]
Problem = Literal["missing", "extra", "different"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One position that differs; `columns`: column, Kafka's value, ClickHouse's value, where the two differ.

    names: what the record is about, by `NAMES`; which order, which trade.
    """

    problem: Problem
    offset: int
    columns: tuple[tuple[str, Any, Any], ...] = ()
    names: Mapping[str, str] = field(default_factory=dict, compare=False)


@dataclass(slots=True)
class Tally:
    """What was compared. `compared` counts the records of Kafka."""

    compared: int = 0
    missing: int = 0
    extra: int = 0
    different: int = 0

    def add(self, finding: Finding) -> None:
        """Count one finding."""
        setattr(self, finding.problem, getattr(self, finding.problem) + 1)


def merge(kafka: Iterator[Row], stored: Iterator[Row], tally: Tally) -> Iterator[Finding]:
    """The differences of two streams of rows ordered by `_offset`, counted in `tally`.

    A second row of one position is extra. Raises ValueError when a stream is out of order or Kafka repeats an offset.
    """
    left, right = _ordered(kafka, "Kafka", strictly=True), _ordered(stored, "ClickHouse", strictly=False)
    record, row = next(left, None), next(right, None)
    while record is not None or row is not None:
        finding: Finding | None = None
        if record is None or (row is not None and row["_offset"] < record["_offset"]):
            assert row is not None
            finding, row = Finding("extra", row["_offset"], names=_names(row)), next(right, None)
        elif row is None or record["_offset"] < row["_offset"]:
            tally.compared += 1
            finding, record = Finding("missing", record["_offset"], names=_names(record)), next(left, None)
        else:
            tally.compared += 1
            names = sorted(record.keys() | row.keys())
            changed = tuple((n, record.get(n), row.get(n)) for n in names if record.get(n) != row.get(n))
            if changed:
                finding = Finding("different", record["_offset"], changed, _names(record))
            record, row = next(left, None), next(right, None)
        if finding is not None:
            tally.add(finding)
            yield finding


def _names(row: Row) -> dict[str, str]:
    return {name: row[name].decode("utf-8", "backslashreplace") for name in NAMES if row.get(name)}


def _ordered(rows: Iterator[Row], side: str, *, strictly: bool) -> Iterator[Row]:
    last = -1
    for row in rows:
        offset = row["_offset"]
        if offset < last or (strictly and offset == last):
            raise ValueError(f"{side} gives offset {offset} after {last}")
        last = offset
        yield row


def stored_rows(
    client: Any, plan: Layout, partition: int, start: int, end: int, page: int = PAGE_ROWS
) -> Iterator[Row]:
    """The rows of offsets [start, end) of a partition, ordered by offset, repeated ones repeated. Raises ClickHouseError."""
    columns = ", ".join(f"`{name}`" for name in plan.clickhouse_types())
    # FINAL is left out on purpose: a row that was written twice is a finding.
    query = (
        f"SELECT {columns} FROM `{plan.table}` WHERE _topic = {{topic:String}} AND _partition = {{part:UInt16}} "
        "AND _offset >= {start:UInt64} AND _offset < {end:UInt64} ORDER BY _offset LIMIT {page:UInt64} OFFSET {skip:UInt64}"
    )
    skip = 0
    while True:
        values = {"topic": plan.topic, "part": partition, "start": start, "end": end, "page": page, "skip": skip}
        rows = plain_rows(client.query_arrow(query, parameters=values))
        yield from rows
        if len(rows) < page:
            return
        last = rows[-1]["_offset"]
        here = sum(row["_offset"] == last for row in rows)
        # The next page starts at the last offset and leaves out the rows of it that were read.
        skip = here + (skip if last == start else 0)
        start = last


def highest_offsets(client: Any, layouts: Sequence[Layout]) -> dict[int, int]:
    """The highest offset of each partition of a topic that any of its tables has. Raises ClickHouseError."""
    found: dict[int, int] = {}
    for layout in layouts:
        query = f"SELECT _partition, max(_offset) FROM `{layout.table}` WHERE _topic = {{topic:String}}"
        answer = client.query(f"{query} GROUP BY _topic, _partition", {"topic": layout.topic})
        for partition, offset in answer.result_rows:
            found[int(partition)] = max(int(offset), found.get(int(partition), -1))
    return found


@dataclass(frozen=True, slots=True)
class Strays:
    """Rows of a table that claim a place which Kafka does not have: how many, and the places of the first of them."""

    rows: int
    first: Sequence[tuple[str, int, int]]
    """Topic, partition, offset, as the rows say."""


def strays(
    client: Any,
    layout: Layout,
    ends: Mapping[int, int],
    highest: Mapping[int, int],
    since: datetime | None,
    until: datetime | None,
    topics: Sequence[str] = (),
) -> Strays:
    """The rows behind the ends of the partitions, or of a topic that is not among the table's. Raises ClickHouseError.

    ends: offset behind the last committed record of each partition, asked for after `highest`, what ClickHouse had before: so a
    row that is archived meanwhile is none of them. since, until: by the rows' Kafka timestamp, UTC. topics: whose rows the table
    may have; none to look at the layout's only.
    """
    values: dict[str, Any] = {"topic": layout.topic, "page": LISTED_STRAYS}
    behind = " AND ".join(
        f"_offset {sign} transform(toUInt64(_partition), {list(places)}, {list(places.values())}, toUInt64(0))"
        for sign, places in ((">=", ends), ("<=", highest))
    )
    condition = f"_topic = {{topic:String}} AND {behind}" if highest else "0"
    if topics:
        condition = f"(_topic NOT IN {{topics:Array(String)}} OR ({condition}))"
        values["topics"] = list(topics)
    for name, moment, sign in (("since", since, ">="), ("until", until, "<")):
        if moment is not None:
            condition += f" AND _kafka_time {sign} fromUnixTimestamp64Milli({{{name}:Int64}}, 'UTC')"
            values[name] = int(moment.replace(tzinfo=UTC).timestamp() * 1_000)
    (count,) = client.query(f"SELECT count() FROM `{layout.table}` WHERE {condition}", values).result_rows[0]
    query = (
        f"SELECT _topic, _partition, _offset FROM `{layout.table}` WHERE {condition} ORDER BY ALL LIMIT {{page:UInt64}}"
    )
    rows = client.query(query, values).result_rows if count else ()
    return Strays(int(count), [(str(topic), int(partition), int(offset)) for topic, partition, offset in rows])


def is_letter_of_old(client: Any, topic: str, partition: int, offset: int) -> bool:
    """Whether a tombstone is a dead letter without its key, as releases archived it that had no table tombstones."""
    query = (
        "SELECT count() FROM dead_letters WHERE _topic = {topic:String} AND _partition = {part:UInt16} "
        "AND _offset = {offset:UInt64} AND job = 'archive' AND empty(payload)"
    )
    return bool(client.query(query, {"topic": topic, "part": partition, "offset": offset}).result_rows[0][0])


def plain_rows(table: pa.Table) -> list[Row]:
    """Rows whose values compare equal when ClickHouse would hold the same: text as bytes, times and dates as integers."""
    columns = {name: _plain(table.column(name).combine_chunks()) for name in table.column_names}
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _plain(array: Any) -> list[Any]:
    if isinstance(array, pa.ChunkedArray):
        return [value for chunk in array.chunks for value in _plain(chunk)]
    kind = array.type
    if pa.types.is_dictionary(kind):
        return _plain(array.dictionary_decode())
    if pa.types.is_list(kind):
        flat, lists, at = _plain(array.flatten()), [], 0
        for length in array.value_lengths().to_pylist():
            lists.append(flat[at : at + length])
            at += length
        return lists
    if pa.types.is_timestamp(kind):
        return list(array.cast(pa.int64()).to_pylist())
    if pa.types.is_date32(kind):
        return list(array.cast(pa.int32()).to_pylist())
    if pa.types.is_string(kind):
        return list(array.cast(pa.binary()).to_pylist())
    return list(array.to_pylist())
