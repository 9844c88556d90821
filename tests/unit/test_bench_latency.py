"""`bench latency` without a stack: its settings, whose answer a record is, and what the passthrough writes for it."""

import json
import math
from pathlib import Path

import pytest
from examples import EXAMPLES

from jobs.bench_latency import (
    Cost,
    LatencyBench,
    Point,
    answered_by_event,
    answered_by_order,
    histogram_quantile,
    render,
    short_waits,
)
from jobs.config import Config
from jobs.passthrough import records_of
from schemas.messages import order_events, orders
from schemas.messages.enums import ORDER_STATUS_REJECTED, ORDER_STATUS_ROUTED, ORDER_STATUS_VALIDATED


def local(tmp_path: Path, **overrides: object) -> Config:
    given = {key.replace("__", "."): value for key, value in overrides.items()}
    return Config.load(overrides={"profile": "local", "state_dir": tmp_path, **given}, environment={})


def test_bench_latency_asks_for_short_windows_and_a_larger_heap(tmp_path: Path) -> None:
    usual = local(tmp_path)
    config = short_waits(usual, 2, 1, 500)
    assert (config.trading.window_ms, config.trading.account_shards, config.trading.symbol_shards) == (2, 1, 1)
    assert config.flink.checkpoint_interval_ms == 500
    assert (config.trading.inputs, config.trading.gather_frames) == ("joined", False)
    assert config.stack.taskmanager_heap_mb > usual.stack.taskmanager_heap_mb
    assert config.stack.kafka_heap_mb > usual.stack.kafka_heap_mb


def test_bench_latency_leaves_a_larger_heap_alone(tmp_path: Path) -> None:
    assert short_waits(local(tmp_path, stack__taskmanager_heap_mb=4_000), 2, 1, 500).stack.taskmanager_heap_mb == 4_000


@pytest.mark.parametrize(
    ("status", "answers"), [(ORDER_STATUS_VALIDATED, False), (ORDER_STATUS_ROUTED, True), (ORDER_STATUS_REJECTED, True)]
)
def test_an_event_answers_when_it_says_what_becomes_of_the_order(status: int, answers: bool) -> None:
    event = order_events.from_dict(_example("order-events"))
    event.status = status
    assert answered_by_event(order_events.encode(event, 7)) == (event.order_id if answers else "")


def test_an_order_answers_itself_and_other_records_beside_it_do_not() -> None:
    order = orders.from_dict(_example("orders"))
    event = order_events.from_dict(_example("order-events"))
    schema = b"\0\0\0\0\7"
    assert answered_by_order(schema, orders.encode(order, 7)) == order.order_id
    assert answered_by_order(schema, order_events.encode(event, 8)) == ""


def test_the_passthrough_writes_what_was_recorded_and_the_order_where_a_value_is_missing() -> None:
    sql = records_of([("trade-events", "0a", "0b0c"), ("order-events", "", None)])
    assert sql == (
        "ARRAY[ROW(CAST('trade-events' AS STRING), CAST(X'0a' AS BYTES), CAST(X'0b0c' AS BYTES)), "
        "ROW(CAST('order-events' AS STRING), CAST(record_key AS BYTES), payload)]"
    )


def test_render_shows_every_point_and_what_it_cost(tmp_path: Path) -> None:
    run = LatencyBench(local(tmp_path), 10, 1_000, 0, 1.0)
    run.points.append(Point(1_000, "uncommitted", 9.5, 20.1, 30.2, 40.3, 50.4, 7_000, 0.1, "passthrough"))
    run.costs.append(Cost("passthrough", 1_000, 0.75, {"broker": 100.4, "sources": 200.0}))
    text = render(run, 5_000, 2.0, 2, 1_000)
    assert [line.split() for line in text.splitlines() if line.startswith("passthrough")] == [
        ["passthrough", "1,000", "uncommitted", "9.5", "20.1", "30.2", "40.3", "50.4"],
        ["passthrough", "1,000", "0.75", "sources", "200,", "broker", "100"],
    ]
    assert "disturbed: the load was 2.0" in text


def test_quantile_of_a_histogram_lies_evenly_in_its_bucket() -> None:
    counts = {0.001: 0.0, 0.01: 50.0, 0.1: 90.0, math.inf: 100.0}
    assert histogram_quantile(counts, 0.25) == pytest.approx(0.0055)
    assert histogram_quantile(counts, 0.5) == pytest.approx(0.01)
    assert histogram_quantile(counts, 0.7) == pytest.approx(0.055)
    assert histogram_quantile(counts, 0.99) == math.inf


def _example(topic: str) -> dict[str, object]:
    example: dict[str, object] = json.loads((EXAMPLES / topic / "valid" / "every_field.json").read_text("utf-8"))
    return example
