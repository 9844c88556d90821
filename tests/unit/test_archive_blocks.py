"""The mapping from Avro to ClickHouse: types by unit, days of rows, exact numbers."""

from __future__ import annotations

import dataclasses
import gc
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from examples import EXAMPLES, module_of

from schemas import model
from schemas.catalogue import ARCHIVED
from schemas.json_form import from_json
from udfs.operators import arrow_blocks
from udfs.operators.arrow_blocks import Column, Positions, block, event_dates, plan_of

DAY_NS, DAY_MS = 86_400_000_000_000, 86_400_000
ARRIVAL_DAY = 20_000  # 2024-10-04


@pytest.mark.parametrize(
    ("topic", "column", "kind"),
    [
        ("trade-events", "execution_price", "Decimal(18, 4)"),
        ("trade-events", "bid_price", "Nullable(Decimal(18, 4))"),
        ("trade-events", "execution_time", "DateTime64(9, 'UTC')"),
        ("trade-events", "quantity", "Int64"),
        ("trade-events", "order_sequence", "Int32"),
        ("trade-events", "side", "LowCardinality(String)"),
        ("trade-events", "account_id", "String"),
        ("trade-events", "contra_order_id", "Nullable(String)"),
        ("market-data", "suspicious", "Bool"),
        ("market-data", "sale_condition", "LowCardinality(Nullable(String))"),
        ("nbbo", "quotes.bid_price", "Array(Nullable(Decimal(18, 4)))"),
        ("risk-events", "buying_power", "Decimal(18, 4)"),
        ("risk-events", "limit_value", "Nullable(Int64)"),
        ("dead-letter", "payload", "String"),
        ("dead-letter", "source_timestamp", "DateTime64(3, 'UTC')"),
        ("dead-letter", "_offset", "UInt64"),
        ("market-analytics", "value", "Nullable(Float64)"),
        ("surveillance-alerts", "evidence", "Array(String)"),
        ("reference-data", "instrument_tick_size", "Nullable(Decimal(18, 4))"),
        ("reference-data", "instrument_contract_expiry_time", "Nullable(DateTime64(9, 'UTC'))"),
        ("reference-data", "account_positions.quantity", "Array(Int64)"),
    ],
)
def test_plan_field_gets_the_type_of_its_unit(topic: str, column: str, kind: str) -> None:
    assert plan_of(topic).clickhouse_types()[column] == kind


@pytest.mark.parametrize(
    ("event_day", "filed_under"),
    [
        (ARRIVAL_DAY, ARRIVAL_DAY),
        (ARRIVAL_DAY - 4_000, ARRIVAL_DAY - 4_000),
        (10_957, 10_957),
        (10_956, ARRIVAL_DAY),
        (-1, ARRIVAL_DAY),
        (ARRIVAL_DAY + 366, ARRIVAL_DAY + 366),
        (ARRIVAL_DAY + 367, ARRIVAL_DAY),
        (106_000, ARRIVAL_DAY),
    ],
)
def test_event_dates_absurd_day_becomes_that_of_arrival(event_day: int, filed_under: int) -> None:
    for within in (0, DAY_NS - 1):
        times = np.array([event_day * DAY_NS + within], dtype=np.int64)
        assert event_dates(times, np.array([ARRIVAL_DAY * DAY_MS], dtype=np.int64)).tolist() == [filed_under]


@pytest.mark.parametrize("value", [-(2**63), 2**63 - 1, 0])
def test_event_dates_hostile_times_stay_within_the_range_of_date(value: int) -> None:
    times = np.array([value], dtype=np.int64)
    (day,) = event_dates(times, np.array([value], dtype=np.int64)).tolist()
    assert 10_957 <= day <= 65_535


def test_block_is_ordered_by_day_and_keeps_rows_together() -> None:
    plan = plan_of("orders")
    folder = Path(arrow_blocks.TOPICS["orders"].schema_file).parent.parent / "examples" / "orders" / "valid"
    example = json.loads((folder / "every_field.json").read_text(encoding="utf-8"))
    from schemas.messages.orders import from_dict

    days = [20_002, 20_001, 20_002, 20_000]
    messages = [from_dict(example | {"timestamp": day * DAY_NS, "quantity": day}) for day in days]
    rows = block(plan, messages, Positions.of([0, 1, 2, 3], [10, 11, 12, 13], [20_000 * DAY_MS] * 4))
    assert rows.column("event_date").cast("int32").to_pylist() == sorted(days)
    assert rows.column("quantity").to_pylist() == sorted(days)
    assert rows.column("_offset").to_pylist() == [13, 11, 10, 12]
    assert rows.column("_partition").to_pylist() == [3, 1, 0, 2]


@pytest.mark.parametrize("topic", ARCHIVED)
def test_block_holds_no_memory_of_python(topic: str) -> None:
    """See `arrow_blocks._buffer`. What Arrow has not allocated itself is missing in its account."""
    payload = json.loads((EXAMPLES / topic / "valid" / "every_field.json").read_text(encoding="utf-8"))
    messages = [module_of(topic).from_dict(from_json(topic, payload))] * 500
    positions = Positions.of([1] * 500, list(range(500)), [ARRIVAL_DAY * DAY_MS] * 500)
    gc.collect()
    before = pa.total_allocated_bytes()
    rows = block(plan_of(topic), messages, positions)
    buffers = {buffer.address: buffer.size for column in rows.columns for buffer in _buffers(column.chunk(0)) if buffer}
    held = sum(-(-size // 64) * 64 for size in buffers.values())  # Arrow's memory comes in 64 bytes

    assert pa.total_allocated_bytes() - before >= held > 0


def _buffers(array: pa.Array) -> list[pa.Buffer | None]:
    inner = array.dictionary.buffers() if isinstance(array, pa.DictionaryArray) else []
    return [*array.buffers(), *inner]


def test_block_of_no_rows_has_every_column() -> None:
    for topic in ("nbbo", "dead-letter"):
        plan = plan_of(topic)
        rows = block(plan, [], Positions.of([], [], []))
        assert rows.num_rows == 0
        assert set(rows.column_names) == set(plan.clickhouse_types())


def test_plan_field_without_mapping_is_an_error_that_names_it() -> None:
    field = model.Field("weird", model.ArrayType("long", 8), False, 0, "Numbers.")
    with pytest.raises(model.SchemaError, match=r"Record\.weird: no ClickHouse type"):
        arrow_blocks._column("Record", field)


def test_plan_two_fields_with_one_column_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def field(name: str, kind: object) -> dict[str, object]:
        return {"name": name, "type": ["null", kind], "doc": "A field.", "default": None}

    inner = {
        "type": "record",
        "name": "Inner",
        "namespace": model.NAMESPACE,
        "doc": "One.",
        "fields": [field("x", "int")],
    }
    outer = inner | {"name": "Outer", "fields": [field("a", inner), field("aX", "int")]}
    file = tmp_path / "orders.avsc"
    file.write_text(json.dumps(outer), encoding="utf-8")
    entry = dataclasses.replace(arrow_blocks.TOPICS["orders"])
    monkeypatch.setattr(type(entry), "schema_file", property(lambda _: file))
    with pytest.raises(model.SchemaError, match="two fields would be the same column"):
        plan_of("orders")


def test_columns_that_are_not_nullable_stay_so() -> None:
    assert Column("x", "money").clickhouse_types() == {"x": "Decimal(18, 4)"}
