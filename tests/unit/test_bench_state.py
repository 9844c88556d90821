"""`tradestream bench state` without a stack: its settings, how it judges answers, its figures and what it says."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner

from infra.feeds.many_orders import BenchFlow
from infra.feeds.sessions import DEFAULT_DAY, trading_day
from jobs.bench_run import BenchError
from jobs.bench_state import CHECKPOINT_MS, configured, heap_for, render, state, summary
from jobs.bench_state_answers import complain, one_each, require_shards, said, wrong_answers
from jobs.bench_state_run import Restored, Traffic
from jobs.config import Config
from jobs.flink_rest import Checkpoint
from schemas.messages import order_events, orders
from schemas.messages.enums import COMMAND_TYPE_CANCEL
from schemas.messages.order_events import OrderEvent
from schemas.messages.orders import OrderCommand
from tests.unit.feed_system import SCHEMA_IDS, FeedSystem
from udfs.domain.sharding import shard_of

DAY = trading_day(DEFAULT_DAY)
Found = dict[str, tuple[float, OrderEvent] | None]


def commands(count: int) -> list[OrderCommand]:
    flow = BenchFlow(DAY, SCHEMA_IDS, symbols=32, accounts=300, holdings=2)
    return [orders.decode(value) for _, _, value, _ in flow.orders(count, resting=True)]


@pytest.fixture(scope="module")
def answered() -> tuple[list[OrderCommand], Found, Found]:
    """Orders that rest, their first answers, and the answers to their cancels, from the real engines."""
    flow = BenchFlow(DAY, SCHEMA_IDS, symbols=32, accounts=300, holdings=2)
    system = FeedSystem()
    system.play(flow.setup())
    items = list(flow.orders(500, resting=True))
    system.play(items)
    before = len(system.written["order-events"])
    sent = [orders.decode(item[2]) for item in items]
    cancels = [orders.decode(item[2]) for item in items]
    for cancel in cancels:
        cancel.command = COMMAND_TYPE_CANCEL
    system.play(
        ("orders", cancel.account_id.encode(), orders.encode(cancel, SCHEMA_IDS["orders"]), cancel.timestamp)
        for cancel in cancels
    )
    events = [order_events.decode(value) for value in system.written["order-events"]]
    first: Found = {event.order_id: (1.0, event) for event in events[:before] if said(event) == "ROUTED"}
    last: Found = {event.order_id: (2.0, event) for event in events[before:]}
    return sent, first, last


def test_resting_orders_of_the_real_engines_are_right_answers(
    answered: tuple[list[OrderCommand], Found, Found],
) -> None:
    sent, first, last = answered
    assert wrong_answers(sent, first, "ROUTED") == []
    assert wrong_answers(sent, last, "CANCELLED") == []


def test_wrong_answers_name_what_is_missing_refused_or_changed(
    answered: tuple[list[OrderCommand], Found, Found],
) -> None:
    sent, first, last = answered
    one, two, three = sent[:3]
    wrong = wrong_answers(sent[:2], {one.order_id: None, two.order_id: last[two.order_id]}, "ROUTED")
    assert wrong == [f"{one.order_id} has no answer", f"{two.order_id} is CANCELLED, not ROUTED"]
    (line,) = wrong_answers([two], {two.order_id: first[three.order_id]}, "ROUTED")
    assert line.startswith(f"{two.order_id} was (")
    with pytest.raises(BenchError, match="2 orders have a wrong answer"):
        complain(wrong)
    complain([])


def test_one_each_has_one_order_of_every_pair_of_shards() -> None:
    found = one_each(commands(4_000), 4, 3)
    pairs = {(shard_of(command.account_id, 4), shard_of(command.symbol, 3)) for command in found}
    assert len(found) == len(pairs) == 12
    require_shards(found, 4, 3)


def test_require_shards_without_an_order_for_one_says_what_to_do() -> None:
    with pytest.raises(BenchError, match="take more accounts"):
        require_shards(commands(3), 16, 16)


def test_configured_suits_a_large_state_unless_it_is_set() -> None:
    base = Config.load(environment={})
    config = configured(base, 1_000_000, 10_000, 1_000_000)
    assert config.flink.checkpoint_interval_ms == CHECKPOINT_MS
    assert config.stack.taskmanager_heap_mb == heap_for(1_000_000, 10_000, 1_000_000, 2) > 2_000
    assert configured(base, 10, 10, 10).stack.taskmanager_heap_mb == base.stack.taskmanager_heap_mb
    set_by_hand = Config.load(
        environment={}, overrides={"stack.taskmanager_heap_mb": 1_000, "flink.checkpoint_interval_ms": 2_000}
    )
    config = configured(set_by_hand, 1_000_000, 10_000, 1_000_000)
    assert (config.stack.taskmanager_heap_mb, config.flink.checkpoint_interval_ms) == (1_000, 2_000)


def test_heap_for_halves_what_grows_with_the_state_on_twice_as_many_taskmanagers() -> None:
    fixed = heap_for(0, 0, 0, 1)
    assert heap_for(1_000_000, 0, 0, 4) - fixed == pytest.approx((heap_for(1_000_000, 0, 0, 1) - fixed) / 4, abs=1)


def result(traffic: Traffic | None = None) -> dict[str, Any]:
    seen = [Checkpoint(number, 0, ms, ms * 2**20, "") for number, ms in enumerate((200, 900, 300), 1)]
    restores = [
        Restored(source, 300 * 2**20, 0.9, 1.2, 9.0, 15.26, 18.0, 24.5, 300, 64)
        for source in ("checkpoint", "savepoint")
    ]
    found = summary(traffic or Traffic(seen, 1, 3_000, 0.05, 0.4), 100, restores, {"started": [300, 310]})
    return found | {
        "accounts": 1_000,
        "symbols": 10,
        "orders": 2_000,
        "taskmanagers": 2,
        "taskmanager_heap_mb": 896,
        "account_shards": 8,
        "symbol_shards": 8,
        "checkpoint_ms": 10_000,
        "start_s": 14.0,
        "setup_s": 30.0,
        "fill_s": 60.0,
        "fill_orders_per_s": 33,
        "fill_checkpoint_s_max": 1.5,
        "others_cores": 0.02,
        "load_before": 0.2,
        "disturbed": False,
    }


def test_summary_has_median_and_worst_of_the_checkpoints() -> None:
    found = result()
    assert (found["checkpoint_ms_median"], found["checkpoint_ms_max"]) == (300, 900)
    assert (found["checkpoint_bytes_median"], found["checkpoint_bytes_max"]) == (300 * 2**20, 900 * 2**20)
    assert found["checkpoints_failed"] == 1
    assert found["restores"][0] == {
        "source": "checkpoint",
        "bytes": 300 * 2**20,
        "taken_s": 0.9,
        "ended_s": 1.2,
        "client_s": 9.0,
        "running_s": 15.26,
        "uncommitted_s": 18.0,
        "committed_s": 24.5,
        "asked": 300,
        "cancelled": 64,
    }
    json.dumps(found)


def test_summary_without_a_checkpoint_is_an_error() -> None:
    with pytest.raises(BenchError, match="no checkpoint"):
        result(Traffic([], 0, 0, 0.0, 0.0))


def test_render_says_what_went_on_meanwhile_and_what_was_checked() -> None:
    text = render(result())
    assert "100 orders/s meanwhile, answered (uncommitted) after 50 ms in the median, 400 ms at worst" in text
    assert "300 ms      900 ms" in text
    assert "savepoint        300.0 MiB       0.9 s       1.2 s      15.3 s      18.0 s      24.5 s" in text
    assert "128 cancels of orders from before had the right answer" in text.replace("\n", " ")
    assert "300 + 310" in text
    assert "disturbed" not in text
    assert "the job at rest" in render(result() | {"rate": 0})
    assert "disturbed: load 3.0 before, others took 0.50 cores" in render(
        result() | {"load_before": 3.0, "others_cores": 0.5, "disturbed": True}
    )


@pytest.mark.parametrize("option", ["--accounts", "--symbols", "--orders", "--taskmanagers", "--checkpoints"])
def test_bench_state_refuses_numbers_below_one(option: str) -> None:
    outcome = CliRunner().invoke(state, [option, "0"])
    assert outcome.exit_code == 2
    assert "must be at least 1" in outcome.output
