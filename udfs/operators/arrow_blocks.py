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
    double                                       Float64: never money
    array of text                                Array(String)
    array of records                             Nested: one array column per field
    [null, T]                                    Nullable(T), so that "not there" and "empty" stay different
    [null, record]                               one Nullable column per field, all null when it is not there
A column is named like the field in snake_case; that of a field of an optional record begins with the record's name
(instrument_contract_strike). Each row also says where it came from: event_date, _topic, _partition, _offset,
_kafka_time. Invariants: every value that the codec can read has a place, whatever it is (both 64-bit types
hold any long), so hostile numbers never stop a block; the same message always gives the same row, event_date
included.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas import model
from schemas.catalogue import TOPICS

Kind = Literal[
    "money", "time_ns", "time_ms", "long", "int", "double", "boolean", "string", "strings", "bytes", "enum", "nested"
]

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
        "feedId",
        "currency",
        "primaryExchange",
        "sector",
        "desk",
        "underlying",
        "newSymbol",
        "owner",
        "counterparty",
        "chain",
        # Dates as text, of which there are few.
        "date",
        "exDate",
        "recordDate",
        "payDate",
        "tradeDate",
        "settlementDate",
        "businessDate",
    ]
)
"""Text fields with few different values."""
EVENT_TIMES: Final = {"trade-events": "execution_time", "raw-feed": "base_time_ns"}
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
    "double": "Float64",
    "boolean": "Bool",
    "string": "String",
    "strings": "Array(String)",
    "bytes": "String",
    "enum": "String",
}

_SAME_NAME: Final[dict[model.Type, Kind]] = {"int": "int", "double": "double", "boolean": "boolean", "bytes": "bytes"}


@dataclass(frozen=True, slots=True)
class Column:
    """One field as a column; a nested one has `fields`, each an array in ClickHouse.

    path: the attributes that lead to the value from the message, where the last is not `name` alone. doc: the field's.
    """

    name: str
    kind: Kind
    nullable: bool = False
    repeated: bool = False
    symbols: tuple[str, ...] = ()
    fields: tuple[Column, ...] = ()
    path: tuple[str, ...] = ()
    doc: str = ""

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
class Layout:
    """How what was read from one topic becomes rows of one table. event_time: the attribute that says when it happened."""

    topic: str
    table: str
    columns: tuple[Column, ...]
    event_time: str

    def clickhouse_types(self) -> dict[str, str]:
        """Name and type of every column of the table, the source columns included."""
        types = {name: kind for column in self.columns for name, kind in column.clickhouse_types().items()}
        return types | SOURCE_COLUMNS


@dataclass(frozen=True, slots=True)
class Plan(Layout):
    """The layout of a topic's own table, and its records. `decode(frame, schema_id)` raises DecodeError."""

    decode: Callable[[bytes, int], Any]


def table_of(topic: str) -> str:
    """The ClickHouse table that a topic is archived in."""
    return TABLES.get(topic, topic.replace("-", "_"))


def plan_of(topic: str) -> Plan:
    """The plan of a topic of the catalogue. Raises SchemaError for a field without a mapping, KeyError for no topic."""
    entry = TOPICS[topic]
    schema = model.load(entry.schema_file)
    columns = tuple(column for field in schema.root.fields for column in _columns(schema.root.name, field))
    names = [name for column in columns for name in column.clickhouse_types()]
    if len(set(names)) != len(names):
        raise model.SchemaError(f"{topic}: two fields would be the same column; extend arrow_blocks")
    return Plan(
        topic=topic,
        table=table_of(topic),
        columns=columns,
        event_time=EVENT_TIMES.get(topic, "timestamp"),
        decode=importlib.import_module(entry.module).decode,
    )


def _columns(record: str, field: model.Field, path: tuple[str, ...] = ()) -> Iterator[Column]:
    """The columns of a field: several when it is an optional record. `path`: the optional records around it."""
    path = (*path, field.attribute)
    kind = field.type
    if isinstance(kind, model.RecordType) and field.optional:
        for inner in kind.fields:
            yield from _columns(kind.name, inner, path)
        return
    column = _column(record, field)
    if len(path) > 1:
        # Not there when the record is not there. An array cannot be null: it is empty then.
        nullable = column.nullable or column.kind not in ("nested", "strings")
        column = replace(column, name="_".join(path), path=path, nullable=nullable)
    yield column


def _column(record: str, field: model.Field) -> Column:
    name, kind, doc = field.attribute, field.type, field.doc
    if isinstance(kind, model.EnumType):
        return Column(name, "enum", field.optional, repeated=True, symbols=kind.symbols, doc=doc)
    if isinstance(kind, model.ArrayType) and not field.optional:
        if isinstance(kind.items, model.RecordType):
            inner = tuple(_column(kind.items.name, item) for item in kind.items.fields)
            if all(item.kind not in ("nested", "strings") for item in inner):
                return Column(name, "nested", fields=inner, doc=doc)
        if kind.items == "string":
            return Column(name, "strings", doc=doc)
    if kind == "long":
        return Column(name, _unit(record, field), field.optional, doc=doc)
    if kind in _SAME_NAME:
        return Column(name, _SAME_NAME[kind], field.optional, doc=doc)
    if kind == "string":
        return Column(name, "string", field.optional, repeated=field.name in REPEATED, doc=doc)
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


def block(plan: Layout, messages: Sequence[Any], positions: Positions, topic: str = "") -> pa.Table:
    """The Arrow block of decoded messages, ordered by event_date, so that each ClickHouse partition is one slice.

    topic: where the rows were read from, when that is not the topic of the layout.
    """
    times = np.fromiter(map(attrgetter(plan.event_time), messages), np.int64, len(messages))
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
    zeros = _copied(np.zeros(len(positions), dtype=np.int8), pa.int8())
    return {
        "event_date": _copied(dates, pa.date32()),
        "_topic": pa.DictionaryArray.from_arrays(zeros, pa.array([topic])),
        "_partition": _copied(positions.partitions.astype(np.uint16), pa.uint16()),
        "_offset": _copied(positions.offsets.astype(np.uint64), pa.uint64()),
        "_kafka_time": _copied(positions.kafka_ms, pa.timestamp("ms", "UTC")),
    }


def _copied(values: npt.NDArray[Any], kind: pa.DataType) -> pa.Array:
    """An array in Arrow's own memory, of values that are as wide as `kind`."""
    return pa.Array.from_buffers(kind, len(values), [None, _buffer(values)])


def _buffer(values: npt.NDArray[Any]) -> pa.Buffer:
    """A copy in Arrow's own memory, because no block may hold memory of Python's, as `pa.array` of an array would.

    Arrow asks for the interpreter lock to let go of that (PyGILState_Ensure), and asks in the name of the first interpreter that
    PemJa made on the thread. Where Flink has chained two Python functions, the second one's holds the lock already, and
    the thread waits for itself for ever, and with it all Python of the TaskManager. It needs no Arrow in those functions: a
    block that an exception has kept, of a job that was stopped, is let go of by the garbage collection of the next one.
    """
    buffer = pa.allocate_buffer(values.nbytes)
    if values.size:
        np.frombuffer(buffer, dtype=values.dtype)[:] = values.ravel()
    return buffer


def _arrays(column: Column, messages: Sequence[Any]) -> dict[str, pa.Array]:
    """The Arrow arrays of one column: one, or one per field when it is nested."""
    name = column.name
    outer, *inner = column.path or (name,)
    # Most of a block's time goes here: map and attrgetter run it without a step of the interpreter for each value.
    values = list(map(attrgetter(outer), messages))
    for attribute in inner:
        values = [None if value is None else getattr(value, attribute) for value in values]
    if column.kind in ("nested", "strings"):
        values = [() if items is None else items for items in values]
    if column.kind != "nested":
        return {name: _array(column, values)}
    lengths = np.array([len(items) for items in values], dtype=np.int64)
    ends = np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(lengths))).astype(np.int32)
    flat = [item for items in values for item in items]
    return {
        f"{name}.{field.name}": pa.ListArray.from_arrays(
            _copied(ends, pa.int32()), _array(field, list(map(attrgetter(field.name), flat)))
        )
        for field in column.fields
    }


def _array(column: Column, values: list[Any]) -> pa.Array:
    kind = column.kind
    if kind == "string":
        return pa.array(values, pa.string())
    if kind == "strings":
        return pa.array(values, pa.list_(pa.string()))
    if kind == "bytes":
        return pa.array(values, pa.binary())
    if kind == "double":
        return pa.array(values, pa.float64())
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
    buffers = [longs.buffers()[0], _buffer(wide)]
    return pa.Array.from_buffers(pa.decimal128(18, 4), len(longs), buffers, null_count=longs.null_count)
