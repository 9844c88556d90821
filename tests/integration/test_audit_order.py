"""`tradestream audit order`: the life of an order out of a real ClickHouse engine, with its causes and the market."""

from __future__ import annotations

import json
import random
from typing import Any, Final

import click
import pytest
from archive_gateway import NOON_NS, GatewayProcess, connect, frame, writer
from click.testing import CliRunner, Result

from jobs import migrate
from jobs.audit_order import _Place, lives, told
from jobs.cli_audit import audit
from jobs.cli_common import META_OVERRIDES
from jobs.config import Config
from udfs.operators.arrow_blocks import Positions
from udfs.operators.decode_records import Batch

SECOND_NS: Final = 1_000_000_000


@pytest.fixture(scope="module")
def config(gateway: GatewayProcess) -> Config:
    settings = gateway.config("orders_told")
    migrate.apply(settings, print)
    for topic, records in story().items():
        frames = [frame(topic, **record) for record in records]
        positions = Positions.of([2] * len(frames), range(len(frames)), [NOON_NS // 10**6] * len(frames))
        assert writer(settings, topic).write(Batch(frames, positions)).rows == len(frames)
    return settings


def story() -> dict[str, list[dict[str, Any]]]:
    """An order that rests, is replaced, fills in part and is cancelled; another account's of the same id; one refused."""
    order = {"orderId": "O-1", "accountId": "A-1", "symbol": "IBM", "side": "BUY", "orderType": "LIMIT"}
    order |= {"timeInForce": "DAY", "stopPrice": None}

    def command(kind: str, at: int, quantity: int, price: int, **more: Any) -> dict[str, Any]:
        return order | {
            "command": kind, "quantity": quantity, "price": price, "timestamp": NOON_NS + at * SECOND_NS,
        } | more  # fmt: skip

    def event(sequence: int, status: str, at: int, cause: str, **more: Any) -> dict[str, Any]:
        return order | {
            "eventId": f"{cause}-{sequence}", "eventType": "STATUS", "status": status, "sequence": sequence, "quantity": 100,
            "price": 10_0000, "reason": "NONE", "reasonText": None, "cumQuantity": 0, "leavesQuantity": 100, "lastQuantity": 0,
            "lastPrice": None, "tradeId": None, "venue": None, "causeId": cause, "timestamp": NOON_NS + at * SECOND_NS,
        } | more  # fmt: skip

    def quote(sequence: int, at: int, bid: int | None, ask: int | None) -> dict[str, Any]:
        return {
            "eventId": f"nbbo-IBM-{sequence}", "symbol": "IBM", "sequence": sequence, "bidPrice": bid, "bidSize": 300,
            "askPrice": ask, "askSize": 200, "timestamp": NOON_NS + at * SECOND_NS,
        }  # fmt: skip

    other = {"accountId": "A-2"}
    refused = {"orderId": "O-2"}
    return {
        "nbbo": [quote(1, 1, 9_9000, 10_1000), quote(2, 5, 9_9500, None), quote(3, 20, 1, 2)],
        "orders": [
            command("NEW", 0, 100, 10_0000),
            command("REPLACE", 4, 80, 10_0500),
            command("CANCEL", 9, 80, 10_0500),
            command("NEW", 3, 7, 11_0000, **other),
            command("NEW", 2, 100, 10_0000, **refused),
        ],
        "order-events": [
            event(1, "PENDING", 0, "orders-2-0"),
            event(2, "RISK_APPROVED", 0, "orders-2-0"),
            event(3, "ROUTED", 0, "orders-2-0", venue="TRDS"),
            event(4, "REPLACED", 4, "orders-2-1", quantity=80, leavesQuantity=80, price=10_0500, reason="REPLACE_REQUESTED"),
            event(
                5, "PARTIALLY_FILLED", 6, "orders-2-7", quantity=80, cumQuantity=30, leavesQuantity=50, lastQuantity=30,
                lastPrice=10_0500, tradeId="T-1", venue="TRDS",
            ),
            event(6, "CANCELLED", 9, "orders-2-2", leavesQuantity=0, reason="CANCEL_REQUESTED"),
            event(
                1, "REJECTED", 2, "orders-2-4", reason="RISK_BUYING_POWER", reasonText="needs 1000.0000, has 1.0000", **refused
            ),
        ],
        "routing-decisions": [
            {
                "eventId": "orders-2-0-r", "orderId": "O-1", "accountId": "A-1", "symbol": "IBM", "side": "BUY", "quantity": 100,
                "limitPrice": 10_0000, "venue": "TRDS", "action": "POST", "timestamp": NOON_NS,
            }
        ],
        "risk-events": [
            {
                "eventId": "orders-2-4-k", "type": "ORDER_REJECTED", "accountId": "A-1", "orderId": "O-2", "symbol": "IBM",
                "reason": "RISK_BUYING_POWER", "detail": "needs 1000.0000, has 1.0000", "quantity": None,
                "timestamp": NOON_NS + 2 * SECOND_NS,
            }
        ],
        "trade-events": [
            {
                "eventId": "T-1-B", "tradeId": "T-1", "orderId": "O-1", "accountId": "A-1", "symbol": "IBM", "side": "BUY",
                "quantity": 30, "executionPrice": 10_0500, "commission": 1500, "liquidity": "ADDED", "venue": "TRDS",
                "orderSequence": 5, "causeId": "orders-2-7", "executionTime": NOON_NS + 6 * SECOND_NS,
            }
        ],
    }  # fmt: skip


def run(config: Config, *words: str) -> Result:
    parent = click.Context(click.Group())
    parent.meta[META_OVERRIDES] = {
        "clickhouse.url": config.clickhouse.url,
        "clickhouse.database": config.clickhouse.database,
    }
    return CliRunner().invoke(audit, ["order", *words], parent=parent)


def test_life_of_an_order_has_every_step_in_order_with_cause_and_market(config: Config) -> None:
    (life,) = lives(connect(config), "O-1", "A-1")
    told = [
        (step["source"], step["what"], step.get("cause"), (step["market"] or {}).get("eventId"))
        for step in life["steps"]
    ]
    assert told == [
        ("orders", "NEW", None, None),
        ("order_events", "PENDING", "orders-2-0", None),
        ("order_events", "RISK_APPROVED", "orders-2-0", None),
        ("routing_decisions", "POST", None, None),
        ("order_events", "ROUTED", "orders-2-0", None),
        ("orders", "REPLACE", None, "nbbo-IBM-1"),
        ("order_events", "REPLACED", "orders-2-1", "nbbo-IBM-1"),
        ("order_events", "PARTIALLY_FILLED", "orders-2-7", "nbbo-IBM-2"),
        ("trade_events", "TRADE", "orders-2-7", "nbbo-IBM-2"),
        ("orders", "CANCEL", None, "nbbo-IBM-2"),
        ("order_events", "CANCELLED", "orders-2-2", "nbbo-IBM-2"),
    ]
    assert [step["record"] for step in life["steps"]][:2] == ["orders-2-0", "order-events-2-0"]


def test_told_life_reads_well(config: Config) -> None:
    result = run(config, "O-1", "--account", "A-1")
    assert result.exit_code == 0, result.output
    expected = """\
Order O-1 of account A-1: BUY 100 IBM LIMIT DAY limit 10.0000

2026-01-02 (UTC)
  12:00:00.000000000  command NEW  BUY 100 IBM LIMIT DAY limit 10.0000
                      market  no quote yet
                      record  orders-2-0
"""
    assert result.stdout.startswith(expected), result.stdout
    for line in (
        "  12:00:04.000000000  command REPLACE  BUY 80 IBM LIMIT DAY limit 10.0500",
        "                      market  9.9000 x 300 / 10.1000 x 200  (nbbo-IBM-1)",
        "  12:00:06.000000000  order   PARTIALLY_FILLED  30 at 10.0500  on TRDS  trade T-1",
        "                      market  9.9500 x 300 / no offer  (nbbo-IBM-2)",
        "                      cause   orders-2-7",
        "  12:00:06.000000000  trade   TRADE  30 at 10.0500  on TRDS  trade T-1",
        "                      detail  commission 0.1500, liquidity ADDED",
        "30 filled in 1 trade at 10.0500 on average",
        "11 steps; the last state is CANCELLED",
    ):
        assert line in result.stdout.splitlines(), result.stdout


def test_refused_order_tells_why(config: Config) -> None:
    result = run(config, "O-2")
    lines = [line.strip() for line in result.stdout.splitlines()]
    refusal = next(number for number, line in enumerate(lines) if "order   REJECTED" in line)
    assert "because RISK_BUYING_POWER" in lines[refusal]
    assert "detail  needs 1000.0000, has 1.0000" in lines[refusal:]
    assert any("risk    ORDER_REJECTED" in line for line in lines[:refusal])


def test_order_id_of_two_accounts_tells_both_and_one_that_is_not_there_none(config: Config) -> None:
    answer = json.loads(run(config, "O-1", "--json").stdout)
    assert [life["accountId"] for life in answer] == ["A-1", "A-2"]
    assert [step["what"] for step in answer[1]["steps"]] == ["NEW"]
    result = run(config, "O-3", "--account", "A-1")
    assert result.exit_code == 1 and "ClickHouse has no order O-3 of account A-1" in result.output


def test_commands_of_one_time_stand_before_their_own_answers_and_a_refused_one_is_no_state() -> None:
    def step(source: str, what: str, record: str, **more: Any) -> dict[str, Any]:
        base = {
            "timeNs": NOON_NS,
            "time": "2026-01-02 12:00:00",
            "symbol": "",
            "market": None,
            "quantity": 10,
            "price": "1",
        }
        return base | {"source": source, "what": what, "record": record, **more}

    steps = [
        step("orders", "NEW", "orders-0-1"),
        step("order_events", "VALIDATED", "order-events-0-1", cause="orders-0-1", sequence=1),
        step("order_events", "ROUTED", "order-events-0-2", cause="orders-0-1", sequence=2),
        step("order_events", "EXECUTED", "order-events-0-3", cause="orders-0-1", sequence=3),
        step("trade_events", "TRADE", "trade-events-0-9", cause="orders-0-1", sequence=3),
        step("orders", "REPLACE", "orders-0-2"),
        step("orders", "CANCEL", "orders-0-3"),
        step("order_events", "REPLACE_REJECTED", "order-events-0-4", cause="orders-0-2"),
        step("order_events", "CANCEL_REJECTED", "order-events-0-5", cause="orders-0-3"),
    ]
    shuffled = random.Random(3).sample(steps, len(steps))
    assert sorted(shuffled, key=_Place(shuffled).of) == steps
    lines = list(told({"orderId": "O", "accountId": "A", "steps": steps}))
    assert lines[-2:] == ["10 filled in 1 trade at 1.0000 on average", "9 steps; the last state is EXECUTED"]
