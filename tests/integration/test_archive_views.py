"""The views that answer the common questions, over rows that the archive wrote, against a real ClickHouse engine."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from archive_gateway import NOON_NS, GatewayProcess, connect, frame, writer

from jobs import migrate
from jobs.config import Config
from udfs.operators.arrow_blocks import Positions
from udfs.operators.decode_records import Batch

NOON = datetime.fromtimestamp(NOON_NS // 1_000_000_000, UTC).replace(tzinfo=None)


@pytest.fixture(scope="module")
def config(gateway: GatewayProcess) -> Config:
    settings = gateway.config("views")
    migrate.apply(settings, print)
    return settings


def write(config: Config, topic: str, records: list[dict[str, Any]]) -> None:
    """Archive records, a second apart from noon on; what a record does not name is empty."""
    frames = [frame(topic, **({"timestamp": NOON_NS + at * 10**9} | record)) for at, record in enumerate(records)]
    positions = Positions.of([0] * len(frames), range(len(frames)), [NOON_NS // 10**6] * len(frames))
    assert writer(config, topic).write(Batch(frames, positions)).rows == len(frames)


def rows(config: Config, query: str) -> list[dict[str, Any]]:
    result = connect(config).query(query)
    return [dict(zip(result.column_names, row, strict=True)) for row in result.result_rows]


def event(order: str, sequence: int, status: str, quantity: int, filled: int = 0, **fields: Any) -> dict[str, Any]:
    """An order event. `last` and `at` are quantity and price of a fill."""
    final = status in ("EXECUTED", "REJECTED", "CANCELLED", "EXPIRED")
    fill = {"lastQuantity": fields.pop("last", 0), "lastPrice": fields.pop("at", None)}
    return {
        "eventType": "STATUS",
        "orderId": order,
        "accountId": "A",
        "symbol": "IBM",
        "orderType": "LIMIT",
        "quantity": quantity,
        "price": 10_0000,
        "stopPrice": None,
        "status": status,
        "reason": "NONE",
        "reasonText": None,
        "cumQuantity": filled,
        "leavesQuantity": 0 if final else quantity - filled,
        "tradeId": "T" if fill["lastQuantity"] else None,
        "venue": "TRDS" if fill["lastQuantity"] else None,
        "sequence": sequence,
        **fill,
        **fields,
    }


def test_order_lifecycle_of_replaced_triggered_and_restated_orders(config: Config) -> None:
    write(
        config,
        "order-events",
        [
            event("replaced", 1, "RISK_APPROVED", 100, reasonText="reserved=1000.0000"),
            event("replaced", 2, "REPLACED", 80, price=11_0000, reason="REPLACE_REQUESTED"),
            event("filled", 1, "RISK_APPROVED", 100, reasonText="reserved=1000.0000"),
            event("filled", 2, "REPLACED", 50, reason="REPLACE_REQUESTED"),
            event("filled", 3, "PARTIALLY_FILLED", 50, 20, last=20, at=10_0000),
            event("filled", 4, "EXECUTED", 50, 50, last=30, at=9_0000),
            event("stop", 1, "ROUTED", 70, orderType="STOP", price=None, stopPrice=12_0000),
            event(
                "stop", 2, "ROUTED", 70, eventType="TRIGGERED", price=None, stopPrice=12_0000, reason="STOP_TRIGGERED"
            ),
            event("stop", 3, "ROUTED", 40, eventType="RESTATED", price=None, stopPrice=None, reason="MATCH_SELF_TRADE"),
            # Refused: of an order that is there, of another account's, and of none.
            event("stop", 0, "ROUTED", 999, eventType="REPLACE_REJECTED", price=1),
            event("stop", 0, "UNKNOWN", 1, eventType="CANCEL_REJECTED", accountId="B"),
            event("nothing", 0, "UNKNOWN", 1, eventType="CANCEL_REJECTED"),
            # The same id at another account is another order.
            event("filled", 1, "REJECTED", 7, accountId="B", reason="RISK_KILL_SWITCH"),
        ],
    )
    found = {
        (row.pop("account_id"), row.pop("order_id")): row
        for row in rows(
            config,
            "SELECT account_id, order_id, order_type, quantity, toString(limit_price) AS limit_price, stop_price, final_status, "
            "is_final, final_reason, final_reason_text, filled_quantity, open_quantity, fills, toString(filled_notional) AS "
            "notional, average_price, replaces, restatements, refused_cancels, refused_replaces, triggered_at, events, "
            "last_sequence FROM order_lifecycle",
        )
    }
    base = {
        "order_type": "LIMIT", "limit_price": "10", "stop_price": None, "is_final": False, "final_reason": "NONE",
        "final_reason_text": None, "filled_quantity": 0, "fills": 0, "notional": "0", "average_price": None, "replaces": 0,
        "restatements": 0, "refused_cancels": 0, "refused_replaces": 0, "triggered_at": None,
    }  # fmt: skip
    replaced = {
        "quantity": 80, "limit_price": "11", "final_status": "REPLACED", "final_reason": "REPLACE_REQUESTED",
        "open_quantity": 80, "replaces": 1, "events": 2, "last_sequence": 2,
    }  # fmt: skip
    filled = {
        "quantity": 50, "final_status": "EXECUTED", "is_final": True, "filled_quantity": 50, "open_quantity": 0, "fills": 2,
        "notional": "470", "average_price": 9.4, "replaces": 1, "events": 4, "last_sequence": 4,
    }  # fmt: skip
    stop = {
        "order_type": "STOP", "quantity": 40, "limit_price": None, "final_status": "ROUTED", "open_quantity": 40,
        "final_reason": "MATCH_SELF_TRADE", "restatements": 1, "refused_replaces": 1,
        "triggered_at": NOON + timedelta(seconds=7), "events": 3, "last_sequence": 3,
    }  # fmt: skip
    other = {
        "quantity": 7, "final_status": "REJECTED", "is_final": True, "final_reason": "RISK_KILL_SWITCH",
        "open_quantity": 0, "events": 1, "last_sequence": 1,
    }  # fmt: skip
    assert found == {
        ("A", "replaced"): base | replaced,
        ("A", "filled"): base | filled,
        ("A", "stop"): base | stop,
        ("B", "filled"): base | other,
    }


def test_market_states_end_where_the_next_begins(config: Config) -> None:
    write(
        config,
        "market-status",
        [
            {"symbol": "IBM", "state": "OPEN", "cause": "SESSION"},
            {"symbol": "AAPL", "state": "HALTED", "cause": "CONTROL"},
            {"symbol": "IBM", "state": "PAUSED", "cause": "PRICE_BAND"},
            # Two changes of one moment: the order of the topic decides.
            {"symbol": "IBM", "state": "OPEN", "cause": "AUCTION", "timestamp": NOON_NS + 5 * 10**9},
            {"symbol": "IBM", "state": "CLOSED", "cause": "SESSION", "timestamp": NOON_NS + 5 * 10**9},
        ],
    )
    second = timedelta(seconds=1)
    assert rows(
        config, "SELECT symbol, state, since, until FROM market_states ORDER BY symbol, since, until IS NULL"
    ) == [
        {"symbol": "AAPL", "state": "HALTED", "since": NOON + second, "until": None},
        {"symbol": "IBM", "state": "OPEN", "since": NOON, "until": NOON + 2 * second},
        {"symbol": "IBM", "state": "PAUSED", "since": NOON + 2 * second, "until": NOON + 5 * second},
        {"symbol": "IBM", "state": "OPEN", "since": NOON + 5 * second, "until": NOON + 5 * second},
        {"symbol": "IBM", "state": "CLOSED", "since": NOON + 5 * second, "until": None},
    ]


def test_controls_audit_shows_who_and_why(config: Config) -> None:
    applied = {
        "type": "CONTROL_APPLIED",
        "accountId": "*",
        "controlId": "c1",
        "issuedBy": "ops",
        "detail": "test of the switch",
    }
    refused = {
        "type": "CONTROL_REJECTED",
        "accountId": "A",
        "controlId": "c2",
        "issuedBy": "ops",
        "detail": "no such account",
    }
    write(config, "risk-events", [applied, {"type": "ORDER_REJECTED"}, refused])
    found = rows(
        config, "SELECT control_id, issued_by, applied, account_id, detail FROM controls_audit ORDER BY control_id"
    )
    assert [tuple(row.values()) for row in found] == [
        ("c1", "ops", True, "*", "test of the switch"),
        ("c2", "ops", False, "A", "no such account"),
    ]


def test_pipeline_counts_hold_every_archived_topic(config: Config) -> None:
    found = rows(config, "SELECT topic, archived_rows FROM pipeline_counts")
    assert {"topic": "market-status", "archived_rows": 5} in found
