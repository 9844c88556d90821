"""The one mapping from Avro to ClickHouse: which column a field becomes, and how a batch becomes an Arrow block.

A field's unit decides its type, and the unit is read from its doc, which the contract makes every field state:
    long, "1/10,000 of the currency"             Decimal(18, 4)
    long, "UTC nanoseconds since the epoch"      DateTime64(9, 'UTC')
    long, "milliseconds since the epoch, UTC"    DateTime64(3, 'UTC')
    long whose unit depends on another field     Int64, the wire's number  (`MIXED_UNITS`)
    other long, int                              Int64, Int32
    enum, and text with few values (`REPEATED`)  LowCardinality(String)
    other string, bytes                          String
    boolean                                      Bool
    array of records                             Nested: one array column per field
    [null, T]                                    Nullable(T), so that "not there" and "empty" stay different
A column is named like the field in snake_case. Each row also says where it came from: event_date, _topic, _partition,
_offset, _kafka_time. Invariants: every value that the codec can read has a place, whatever it is (both 64-bit types
hold any long), so hostile numbers never stop a block; the same message always gives the same row, event_date
included.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas import model
from schemas.catalogue import TOPICS

Kind = Literal["money", "time_ns", "time_ms", "long", "int", "boolean", "string", "bytes", "enum", "nested"]

MIXED_UNITS: Final = frozenset({"RiskEvent.limitValue", "RiskEvent.observedValue", "Control.value"})
REPEATED: Final = frozenset(
    [
        "symbol",
        "exchange",
        "venue",
        "source",
        "bidExchange",
        "askExchange",
        "saleCondition",
        "job",
        "stage",
        "sourceTopic",
        "issuedBy",
    ]
)
"""Text fields with few different values."""
EVENT_TIMES: Final = {"trade-events": "execution_time"}
"""The field that says when it happened, where it is not `timestamp`."""
TABLES: Final = {"dead-letter": "dead_letters"}
"""Tables whose name is not the topic's with underscores."""

MILLISECONDS_A_DAY: Final = 86_400_000
NANOSECONDS_A_DAY: Final = 86_400_000_000_000
FIRST_DATE: Final = 10_957
"""2000-01-01 in days since the epoch. An event that claims to be older is filed under the day it arrived."""
FUTURE_DAYS: Final = 366
"""An event that claims to be later than this many days after its arrival is filed under the day it arrived."""
LAST_DATE: Final = 65_535 - FUTURE_DAYS
"""The last arrival day that leaves room in ClickHouse's Date."""

_CLICKHOUSE: Final[dict[str, str]] = {
    "money": "Decimal(18, 4)",
    "time_ns": "DateTime64(9, 'UTC')",
    "time_ms": "DateTime64(3, 'UTC')",
    "long": "Int64",
    "int": "Int32",
    "boolean": "Bool",
    "string": "String",
    "bytes": "String",
    "enum": "String",
}


@dataclass(frozen=True, slots=True)
class Column:
    """One field as a column; a nested one has `fields`, each an array in ClickHouse."""

    name: str
    kind: Kind
    nullable: bool = False
    repeated: bool = False
    symbols: tuple[str, ...] = ()
    fields: tuple[Column, ...] = ()

    def clickhouse_types(self) -> dict[str, str]:
        """ClickHouse's name and type of each column that this one is, as system.columns shows them."""
        if self.kind == "nested":
            inner = {name: kind for field in self.fields for name, kind in field.clickhouse_types().items()}
            return {f"{self.name}.{name}": f"Array({kind})" for name, kind in inner.items()}
        kind = _CLICKHOUSE[self.kind]
        kind = f"Nullable({kind})" if self.nullable else kind
        return {self.name: f"LowCardinality({kind})" if self.repeated else kind}


SOURCE_COLUMNS: Final[dict[str, str]] = {
    "event_date": "Date",
    "_topic": "LowCardinality(String)",
    "_partition": "UInt16",
    "_offset": "UInt64",
    "_kafka_time": "DateTime64(3, 'UTC')",
}
"""The columns that every archive table has besides those of its schema."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How the records of one topic become rows of one table. `decode(frame, schema_id)` raises DecodeError."""

    topic: str
    table: str
    columns: tuple[Column, ...]
    event_time: str
    decode: Callable[[bytes, int], Any]

    def clickhouse_types(self) -> dict[str, str]:
        """Name and type of every column of the table, the source columns included."""
        types = {name: kind for column in self.columns for name, kind in column.clickhouse_types().items()}
        return types | SOURCE_COLUMNS


def table_of(topic: str) -> str:
    """The ClickHouse table that a topic is archived in."""
    return TABLES.get(topic, topic.replace("-", "_"))


def plan_of(topic: str) -> Plan:
    """The plan of a topic of the catalogue. Raises SchemaError for a field without a mapping, KeyError for no topic."""
    entry = TOPICS[topic]
    schema = model.load(entry.schema_file)
    columns = tuple(_column(schema.root.name, field) for field in schema.root.fields)
    return Plan(
        topic=topic,
        table=table_of(topic),
        columns=columns,
        event_time=EVENT_TIMES.get(topic, "timestamp"),
        decode=importlib.import_module(entry.module).decode,
    )


def _column(record: str, field: model.Field) -> Column:
    name, kind = field.attribute, field.type
    if isinstance(kind, model.EnumType):
        return Column(name, "enum", field.optional, repeated=True, symbols=kind.symbols)
    if isinstance(kind, model.ArrayType) and isinstance(kind.items, model.RecordType) and not field.optional:
        inner = tuple(_column(kind.items.name, item) for item in kind.items.fields)
        if all(item.kind != "nested" for item in inner):
            return Column(name, "nested", fields=inner)
    if kind == "long":
        return Column(name, _unit(record, field), field.optional)
    if kind == "int":
        return Column(name, "int", field.optional)
    if kind == "boolean":
        return Column(name, "boolean", field.optional)
    if kind == "bytes":
        return Column(name, "bytes", field.optional)
    if kind == "string":
        return Column(name, "string", field.optional, repeated=field.name in REPEATED)
    raise model.SchemaError(f"{record}.{field.name}: no ClickHouse type is defined for {kind}; extend arrow_blocks")


def _unit(record: str, field: model.Field) -> Kind:
    if f"{record}.{field.name}" in MIXED_UNITS:
        return "long"
    if "1/10,000 of the currency" in field.doc:
        return "money"
    if "milliseconds since the epoch" in field.doc:
        return "time_ms"
    return "time_ns" if "nanoseconds since the epoch" in field.doc else "long"


def event_dates(times_ns: npt.NDArray[np.int64], kafka_ms: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
    """The partition of each row, in days since the epoch: the event's day, or that of its arrival if that is absurd.

    Anyone who may write a record chooses its timestamp; this bounds how many partitions such a writer can make.
    """
    arrived = np.clip(kafka_ms // MILLISECONDS_A_DAY, FIRST_DATE, LAST_DATE)
    happened = times_ns // NANOSECONDS_A_DAY
    believable = (happened >= FIRST_DATE) & (happened <= arrived + FUTURE_DAYS)
    return np.where(believable, happened, arrived).astype(np.int32)


@dataclass(frozen=True, slots=True)
class Positions:
    """Where the rows of a block come from: one entry per row."""

    partitions: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int64]
    kafka_ms: npt.NDArray[np.int64]

    @classmethod
    def of(cls, partitions: Sequence[int], offsets: Sequence[int], kafka_ms: Sequence[int]) -> Positions:
        """From three sequences of one length."""
        return cls(*(np.array(values, dtype=np.int64) for values in (partitions, offsets, kafka_ms)))

    def take(self, rows: npt.NDArray[Any]) -> Positions:
        """The positions of some rows, chosen by indices or by a mask."""
        return Positions(self.partitions[rows], self.offsets[rows], self.kafka_ms[rows])

    def __len__(self) -> int:
        return len(self.offsets)


def block(plan: Plan, messages: Sequence[Any], positions: Positions, topic: str = "") -> pa.Table:
    """The Arrow block of decoded messages, ordered by event_date, so that each ClickHouse partition is one slice.

    topic: where the rows were read from, when that is not the topic of the plan.
    """
    times = np.array([getattr(message, plan.event_time) for message in messages], dtype=np.int64)
    dates = event_dates(times, positions.kafka_ms)
    if len(dates) and dates.min() != dates.max():
        order = np.argsort(dates, kind="stable")
        messages, positions, dates = [messages[i] for i in order], positions.take(order), dates[order]
    arrays: dict[str, pa.Array] = {}
    for column in plan.columns:
        arrays |= _arrays(column, messages)
    return pa.table(arrays | source_arrays(topic or plan.topic, positions, dates))


def source_arrays(topic: str, positions: Positions, dates: npt.NDArray[np.int32]) -> dict[str, pa.Array]:
    """The columns of SOURCE_COLUMNS."""
    repeated = pa.DictionaryArray.from_arrays(pa.array(np.zeros(len(positions), dtype=np.int8)), pa.array([topic]))
    return {
        "event_date": pa.array(dates, pa.int32()).view(pa.date32()),
        "_topic": repeated,
        "_partition": pa.array(positions.partitions.astype(np.uint16)),
        "_offset": pa.array(positions.offsets.astype(np.uint64)),
        "_kafka_time": pa.array(positions.kafka_ms).view(pa.timestamp("ms", "UTC")),
    }


def _arrays(column: Column, messages: Sequence[Any]) -> dict[str, pa.Array]:
    """The Arrow arrays of one column: one, or one per field when it is nested."""
    name = column.name
    values = [getattr(message, name) for message in messages]
    if column.kind != "nested":
        return {name: _array(column, values)}
    lengths = np.array([len(items) for items in values], dtype=np.int64)
    ends = np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(lengths))).astype(np.int32)
    flat = [item for items in values for item in items]
    return {
        f"{name}.{field.name}": pa.ListArray.from_arrays(
            pa.array(ends), _array(field, [getattr(item, field.name) for item in flat])
        )
        for field in column.fields
    }


def _array(column: Column, values: list[Any]) -> pa.Array:
    kind = column.kind
    if kind == "string":
        return pa.array(values, pa.string())
    if kind == "bytes":
        return pa.array(values, pa.binary())
    if kind == "boolean":
        return pa.array(values, pa.bool_())
    if kind == "enum":
        return pa.DictionaryArray.from_arrays(pa.array(values, pa.int8()), pa.array(column.symbols, pa.string()))
    if kind == "int":
        return pa.array(values, pa.int32())
    longs = pa.array(values, pa.int64())
    if kind == "money":
        return _decimals(longs)
    if kind == "time_ns":
        return longs.view(pa.timestamp("ns", "UTC"))
    return longs.view(pa.timestamp("ms", "UTC")) if kind == "time_ms" else longs


def _decimals(longs: pa.Array) -> pa.Array:
    """Counts of 1/10,000 as decimals with four places: the same number in 16 bytes, so nothing is rounded or refused."""
    low = np.frombuffer(longs.buffers()[1] or b"", dtype=np.int64)[: len(longs)]
    wide = np.empty((len(longs), 2), dtype=np.int64)
    wide[:, 0] = low
    wide[:, 1] = low >> 63
    buffers = [longs.buffers()[0], pa.py_buffer(wide)]
    return pa.Array.from_buffers(pa.decimal128(18, 4), len(longs), buffers, null_count=longs.null_count)
