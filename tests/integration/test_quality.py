"""Data quality on a real ClickHouse engine: a small day that is in order, and then every kind of defect put into it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from archive_gateway import NOON_NS, SCHEMA_ID, GatewayProcess, connect, frame, writer

from jobs import migrate, quality
from jobs.config import Config
from jobs.quality_rules import KINDS, KafkaPartition, Rule, kafka_rules, rules_of
from jobs.quality_suites import Verdict, connection, validate
from schemas.messages import enums, report_events
from udfs.operators.arrow_blocks import Positions, table_of
from udfs.operators.clickhouse_client import Endpoint
from udfs.operators.decode_records import Batch

TEN_NS = NOON_NS + 3 * 3_600 * 10**9
"""10:00 in New York on Friday, 2 January 2026."""
KAFKA_MS = TEN_NS // 10**6
DAY = date(2026, 1, 2)
TOPICS = (
    "market-data",
    "nbbo",
    "orders",
    "order-events",
    "trade-events",
    "risk-events",
    "routing-decisions",
    "market-status",
    "dead-letter",
)
UNTRIED = Rule("columns", "of a column that is not there", "no_rows", sql="SELECT no_such_column FROM {batch}")


def order(name: str, account: str, side: str) -> dict[str, Any]:
    return {"command": "NEW", "orderId": name, "accountId": account, "side": side, "symbol": "IBM", "timestamp": TEN_NS}


def event(name: str, account: str, sequence: int, status: str, filled: int = 0, **fields: Any) -> dict[str, Any]:
    final = status in ("EXECUTED", "REJECTED", "CANCELLED", "EXPIRED")
    return {
        "eventId": f"{name}-{sequence}",
        "eventType": "STATUS",
        "orderId": name,
        "accountId": account,
        "symbol": "IBM",
        "quantity": 100,
        "price": 10_0000,
        "stopPrice": None,
        "status": status,
        "reason": "NONE",
        "cumQuantity": filled,
        "leavesQuantity": 0 if final else 100 - filled,
        "lastQuantity": 0,
        "lastPrice": None,
        "tradeId": None,
        "sequence": sequence,
        "timestamp": TEN_NS,
        **fields,
    }


def fill(trade: str) -> dict[str, Any]:
    return {"lastQuantity": 100, "lastPrice": 10_0000, "tradeId": trade}


def trade(name: str, side: str, own: str, contra: str | None, **fields: Any) -> dict[str, Any]:
    return {
        "eventId": f"{name}-{side}",
        "tradeId": name,
        "orderId": own,
        "contraOrderId": contra,
        "accountId": "A",
        "symbol": "IBM",
        "side": side,
        "quantity": 100,
        "executionPrice": 10_0000,
        "executionTime": TEN_NS,
        "venue": "TRDS",
        "liquidity": "ADDED",
        "orderSequence": 4,
        "commission": 5_000,
        "fees": None if side == "BUY" else 300,
        **fields,
    }


def life(name: str, trade_id: str) -> list[dict[str, Any]]:
    states = ("VALIDATED", "RISK_APPROVED", "ROUTED")
    steps = [event(name, "A", number, state) for number, state in enumerate(states, 1)]
    return [*steps, event(name, "A", 4, "EXECUTED", 100, **fill(trade_id))]


CLEAN: dict[str, list[dict[str, Any]]] = {
    "market-data": [{"eventId": "M-1", "kind": "QUOTE", "lastPrice": None, "volume": 0, "timestamp": TEN_NS}],
    "nbbo": [{"eventId": "N-1", "timestamp": TEN_NS}],
    "orders": [order("B1", "A", "BUY"), order("S1", "A", "SELL")],
    "order-events": [*life("B1", "T1"), *life("S1", "T1")],
    "trade-events": [trade("T1", "BUY", "B1", "S1"), trade("T1", "SELL", "S1", "B1")],
    "risk-events": [{"eventId": "R-1", "orderId": "B1", "timestamp": TEN_NS}],
    "routing-decisions": [
        {"eventId": "D-1", "orderId": "B1", "accountId": "A", "nbboEventId": "N-1", "timestamp": TEN_NS}
    ],
    "market-status": [{"eventId": "S-1", "timestamp": TEN_NS}],
    "dead-letter": [{"eventId": "orders-0-9", "timestamp": TEN_NS}],
}
BROKEN: dict[str, list[dict[str, Any]]] = {
    "nbbo": [
        {"eventId": "N-no-price", "bidPrice": 0, "sequence": 50, "timestamp": TEN_NS},
        {"eventId": "N-late", "symbol": "LATE", "sequence": 1, "timestamp": TEN_NS},
        {"eventId": "N-later", "symbol": "LATE", "sequence": 2, "timestamp": TEN_NS - 120 * 10**9},
        {"eventId": "N-no-size", "bidSize": -5, "sequence": 51, "timestamp": TEN_NS},
    ],
    "orders": [order(name, "A", "BUY") for name in ("hole", "jump", "swapped", "free", "unpaired", "grown")],
    "order-events": [
        event("hole", "A", 1, "VALIDATED"),
        event("hole", "A", 3, "ROUTED"),
        event("jump", "A", 1, "VALIDATED"),
        event("jump", "A", 2, "EXECUTED", 0),
        # Written in the wrong order: the second event has the lower offset.
        event("swapped", "A", 2, "RISK_APPROVED"),
        event("swapped", "A", 1, "VALIDATED"),
        event("ghost", "A", 1, "VALIDATED"),
        event("free", "A", 1, "VALIDATED", price=0),
        event("unpaired", "A", 1, "VALIDATED", 100, **fill("no-trade")),
        event("grown", "A", 1, "VALIDATED", 70),
    ],
    "trade-events": [
        trade("alone", "BUY", "B1", "S1"),
        trade("dear", "BUY", "B1", "S1"),
        trade("dear", "SELL", "S1", "B1", executionPrice=10_0001),
        trade("night", "BUY", "B1", None, venue="XNAS", executionTime=TEN_NS - 8 * 3_600 * 10**9),
        trade("buyer-pays", "BUY", "B1", None, venue="XNAS", fees=300),
    ],
    "routing-decisions": [
        {"eventId": "D-2", "orderId": "B1", "accountId": "A", "nbboEventId": "N-gone", "timestamp": TEN_NS}
    ],
    "risk-events": [{"eventId": "R-2", "orderId": "nobody", "timestamp": TEN_NS}],
    "market-status": [
        {"eventId": "S-1", "timestamp": TEN_NS},
        {"eventId": "S-bands", "lowerBand": 5000_0000, "timestamp": TEN_NS},
    ],
    "dead-letter": [{"eventId": "elsewhere", "sourceTopic": "elsewhere", "timestamp": TEN_NS}],
}
# A row that no engine writes, a record that was archived twice, a row under a wrong day. In WHERE, a column that REPLACE names
# is the new value.
TAMPER = (
    "INSERT INTO order_events SELECT * REPLACE ('BOGUS' AS status, 'tampered' AS event_id, 900 AS _offset) FROM order_events "
    "WHERE order_id = 'B1' AND sequence = 4",
    "INSERT INTO orders SELECT * REPLACE (timestamp + INTERVAL 1 SECOND AS timestamp) FROM orders WHERE order_id = 'S1'",
    "INSERT INTO market_data SELECT * REPLACE (toDate('2025-06-02') AS event_date, 'misfiled' AS event_id, 901 AS _offset) "
    "FROM market_data WHERE symbol = 'AAPL'",
    # Of the day of the scenario: the row before this one has the same symbol, and LIMIT takes either.
    "INSERT INTO market_data SELECT * REPLACE ('nowhere' AS _topic, 'forged' AS event_id, 902 AS _offset) FROM market_data "
    f"WHERE symbol = 'AAPL' AND event_date = '{DAY}' LIMIT 1",
    "ALTER TABLE risk_events ADD COLUMN stray String",
    # A crash between nbbo and the states of latest_prices: one symbol is older there, another is not there.
    "TRUNCATE TABLE latest_nbbo",
    "INSERT INTO latest_nbbo SELECT symbol, "
    "argMaxState((bid_price, ask_price, last_price, timestamp, sequence), (sequence, _offset)) "
    "FROM nbbo WHERE sequence < 50 AND symbol != 'LATE' GROUP BY symbol",
    # A deletion that is a row of its topic too, one that is a dead letter too, one twice (in two partitions: in one a merge
    # might take the second away before it is looked for).
    "INSERT INTO tombstones SELECT NULL, event_date, _topic, _partition, 0, _kafka_time FROM nbbo LIMIT 1",
    "INSERT INTO tombstones SELECT 'twice', event_date, 'nbbo', 0, 77, _kafka_time FROM nbbo LIMIT 1",
    "INSERT INTO tombstones SELECT 'twice', event_date + 1, 'nbbo', 0, 77, _kafka_time FROM nbbo LIMIT 1",
    "INSERT INTO tombstones SELECT 'letter', event_date, 'nbbo', 0, 78, _kafka_time FROM nbbo LIMIT 1",
    "INSERT INTO dead_letters SELECT * REPLACE ('nbbo' AS _topic, toUInt64(78) AS _offset) FROM dead_letters LIMIT 1",
)
FOUND = (
    ("columns", "risk_events", "stray"),
    ("keys", "orders", "_offset=1"),
    ("keys", "market_status", "S-1"),
    ("keys", "order_events", "order_id=hole"),
    ("keys", "market_data", "_topic=nowhere"),
    ("keys", "nbbo", "_offset=0"),
    ("keys", "nbbo", "_offset=77"),
    ("keys", "nbbo", "_offset=78"),
    ("references", "order_events", "order_id=ghost"),
    ("references", "trade_events", "trade_id=alone"),
    ("references", "routing_decisions", "N-gone"),
    ("references", "risk_events", "nobody"),
    ("references", "dead_letters", "elsewhere"),
    ("prices", "nbbo", "0"),
    ("prices", "order_events", "free-1"),
    ("prices", "market_status", "S-bands"),
    ("quantities", "nbbo", "-5"),
    ("quantities", "order_events", "grown-1"),
    ("times", "order_events", "swapped-2"),
    ("times", "nbbo", "LATE"),
    ("times", "market_data", "2025-06-02"),
    ("session", "trade_events", "night-BUY"),
    ("statuses", "order_events", "BOGUS"),
    ("statuses", "order_events", "jump-2"),
    ("counts", "routing_decisions", "records=3"),
    ("counts", "order_events", "_offset=900"),
    ("freshness", "market_data", "behind_ms=3600000"),
    ("freshness", "nbbo", "newest=51"),
    ("freshness", "nbbo", "symbol=LATE"),
    ("pairs", "trade_events", "trade_id=alone"),
    ("pairs", "order_events", "no-trade"),
    ("money", "trade_events", "symbol=IBM"),
    ("money", "trade_events", "order_id=S1"),
    ("money", "trade_events", "buyer-pays-BUY"),
)


def write(config: Config, records: dict[str, list[dict[str, Any]]], first: int) -> None:
    for topic, items in records.items():
        frames = [frame(topic, **item) for item in items]
        positions = Positions.of([0] * len(frames), range(first, first + len(frames)), [KAFKA_MS] * len(frames))
        assert writer(config, topic).write(Batch(frames, positions)).rows == len(frames)


def suites(extra: int = 0, newer_ms: int = 0) -> dict[str, Sequence[Rule]]:
    """All rules; Kafka is said to have `extra` records more, and to be so much newer."""
    found = {}
    for topic in TOPICS:
        # A deletion is a record of Kafka too, whose row is in tombstones.
        count = len(CLEAN[topic]) + (topic == "nbbo")
        kafka = KafkaPartition(0, 0, 100, count + extra, sum(range(count)), KAFKA_MS + newer_ms, 100)
        found[table_of(topic)] = [*rules_of(topic, [DAY]), *kafka_rules(topic, [kafka], 60, {0: 950})]
    return found


@pytest.fixture(scope="module")
def config(gateway: GatewayProcess) -> Config:
    settings = gateway.config("quality")
    migrate.apply(settings, print)
    write(settings, CLEAN, 0)
    assert writer(settings, "nbbo").write(Batch([None], Positions.of([0], [5], [KAFKA_MS]), [b"GONE"])).tombstones == 1
    return settings


@pytest.fixture(scope="module")
def clean(config: Config, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Verdict], Path]:
    docs = tmp_path_factory.mktemp("clean")
    return validate(migrate.endpoint(config), suites(), docs), docs


@pytest.fixture(scope="module")
def broken(config: Config, clean: object, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Verdict], Path]:
    write(config, BROKEN, 10)
    client = connect(config)
    for statement in TAMPER:
        client.command(statement)
    docs = tmp_path_factory.mktemp("broken")
    rules = suites(extra=2, newer_ms=3_600_000)
    return validate(migrate.endpoint(config), rules | {"orders": [*rules["orders"], UNTRIED]}, docs), docs


def test_validate_day_in_order_holds_every_rule(clean: tuple[list[Verdict], Path]) -> None:
    verdicts, docs = clean
    assert [(item.table, item.rule.text, item.problem, item.examples) for item in verdicts if not item.holds] == []
    assert len(verdicts) == sum(map(len, suites().values()))
    assert {item.rule.kind for item in verdicts} == set(KINDS)
    index = (docs / "index.html").read_text(encoding="utf-8")
    assert all(table_of(topic) in index for topic in TOPICS)


@pytest.mark.parametrize(("kind", "table", "needle"), FOUND)
def test_validate_defect_is_caught(broken: tuple[list[Verdict], Path], kind: str, table: str, needle: str) -> None:
    failed = [item for item in broken[0] if item.rule.kind == kind and item.table == table and not item.holds]
    assert any(needle in example for item in failed for example in item.examples), [item.examples for item in failed]
    assert all(item.broken for item in failed), "it was tried, and rows break it"


def test_defects_are_of_every_kind() -> None:
    assert {kind for kind, _, _ in FOUND} == set(KINDS)


def test_validate_rule_that_cannot_be_tried_does_not_hold(broken: tuple[list[Verdict], Path]) -> None:
    (untried,) = [item for item in broken[0] if item.rule == UNTRIED]
    assert untried.broken is None
    assert not untried.holds
    assert "no_such_column" in untried.problem


def test_data_docs_of_broken_tables_say_the_rule(broken: tuple[list[Verdict], Path]) -> None:
    pages = [page.read_text(encoding="utf-8") for page in (broken[1] / "validations").rglob("*.html")]
    assert len(pages) == len(TOPICS)
    assert any("a trade in our book has a buyer and a seller" in page for page in pages)


def test_event_of_a_run_is_the_same_for_the_same_rows(broken: tuple[list[Verdict], Path]) -> None:
    verdicts, docs = broken
    outcome = quality.Outcome("quality-all-1", docs, verdicts, 7, DAY, DAY, TEN_NS)
    event = quality.event_of(outcome)
    assert event == quality.event_of(outcome)
    assert event.status == enums.REPORT_STATUS_FAILED
    assert "trade_events.pairs=" in (event.detail or "")
    assert "orders.columns=untried" in (event.detail or "")
    assert event.period_end - event.period_start == 86_400 * 10**9
    assert report_events.decode(report_events.encode(event, SCHEMA_ID), SCHEMA_ID) == event
    held = [item for item in verdicts if item.holds]
    assert quality.event_of(quality.Outcome("r", docs, held, 7, DAY, DAY, 1)).status == enums.REPORT_STATUS_GENERATED


def test_run_of_one_day_looks_at_that_day_only(config: Config, broken: object, tmp_path: Path) -> None:
    outcome = quality.run(config, ["market-data"], tmp_path, day=date(2025, 6, 2))
    assert (outcome.rows, outcome.first, outcome.last) == (1, date(2025, 6, 2), date(2025, 6, 2))
    assert {item.rule.kind for item in outcome.failed} == {"times", "session"}
    assert outcome.newest_ns == KAFKA_MS * 10**6
    assert (tmp_path / "index.html").is_file()


def test_connection_quotes_what_is_special_in_an_address() -> None:
    url = connection(Endpoint("https://host.example:9440/path", "desk/1", "p@ss:w/rd", "default"))
    assert url.startswith("clickhousedb://desk%2F1:p%40ss%3Aw%2Frd@host.example:9440/default?")
    assert "secure=true" in url
    assert "proxy_path=path" in url


def test_day_of_the_scenario_is_a_trading_day() -> None:
    assert datetime.fromtimestamp(TEN_NS // 10**9, UTC).date() == DAY
