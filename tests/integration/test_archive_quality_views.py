"""Views of bars, execution quality, movers, profit and pipeline, over rows that the archive wrote, on a real engine."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from archive_gateway import DAY_NS, NOON_NS, GatewayProcess, connect, frame, writer

from jobs import migrate
from jobs.config import Config
from jobs.migrations import FOLDER
from udfs.operators.arrow_blocks import Positions
from udfs.operators.decode_records import Batch

NOON = datetime.fromtimestamp(NOON_NS // 1_000_000_000, UTC).replace(tzinfo=None)
SECOND, MINUTE = 10**9, 60 * 10**9


@pytest.fixture(scope="module")
def config(gateway: GatewayProcess) -> Config:
    settings = gateway.config("quality_views")
    migrate.apply(settings, print)
    return settings


def write(config: Config, topic: str, partition: int, records: list[dict[str, Any]]) -> None:
    """Archive records in a partition of their own."""
    frames = [frame(topic, **record) for record in records]
    positions = Positions.of([partition] * len(frames), range(len(frames)), [NOON_NS // 10**6] * len(frames))
    assert writer(config, topic).write(Batch(frames, positions)).rows == len(frames)


def rows(config: Config, query: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in connect(config).query(query).result_rows]


def bar(symbol: str, minute: int, revision: int, prices: tuple[int, int, int, int, int], volume: int) -> dict[str, Any]:
    names = ("openPrice", "highPrice", "lowPrice", "closePrice", "vwapPrice")
    start = NOON_NS + minute * MINUTE
    return {
        **dict(zip(names, (price * 10_000 for price in prices), strict=True)),
        "kind": "BAR",
        "symbol": symbol,
        "windowStart": start,
        "windowEnd": start + MINUTE,
        "revision": revision,
        "volume": volume,
        "tradeCount": volume // 10,
        "timestamp": start + 59 * SECOND,
    }


def test_bars_highest_revision_wins_whatever_the_order_and_repeats_change_nothing(config: Config) -> None:
    write(
        config,
        "market-analytics",
        0,
        [
            bar("BAR", 0, 1, (10, 14, 9, 12, 11), 300),
            bar("BAR", 0, 0, (10, 12, 9, 11, 10), 100),
            bar("BAR", 1, 0, (12, 13, 8, 9, 10), 100),
            {"kind": "INDICATOR", "symbol": "BAR", "openPrice": None, "timestamp": NOON_NS},
        ],
    )
    query = (
        "SELECT window_start, seconds, open_price, high_price, low_price, close_price, volume, trades FROM bars "
        "WHERE symbol = 'BAR' ORDER BY 1"
    )
    wanted = [
        (NOON, 60, 10, 14, 9, 12, 300, 30),
        (NOON + timedelta(minutes=1), 60, 12, 13, 8, 9, 100, 10),
    ]
    assert rows(config, query) == wanted
    daily = (
        "SELECT trading_day, open_price, high_price, low_price, close_price, volume, trades, average_price "
        "FROM daily_bars WHERE symbol = 'BAR'"
    )
    assert rows(config, daily) == [(date(2026, 1, 2), 10, 14, 8, 9, 400, 40, (11 * 300 + 10 * 100) / 400)]
    # What a crash left out is put right by filling the states again, as views.md says; the rest stays as it is.
    described = (FOLDER / "views.md").read_text(encoding="utf-8").split("## bars\n")[1]
    repair = described.split("```sql\n")[1].split("```")[0]
    client = connect(config)
    client.command("TRUNCATE TABLE bar_states")
    for _ in range(2):
        client.command(repair)
        assert rows(config, query) == wanted
    client.command("OPTIMIZE TABLE bar_states FINAL")
    assert rows(config, query) == wanted


def state(symbol: str, second: int, sequence: int, bid: int | None, ask: int | None) -> dict[str, Any]:
    return {
        "symbol": symbol,
        "timestamp": NOON_NS + second * SECOND,
        "sequence": sequence,
        "bidPrice": bid,
        "askPrice": ask,
    }


def test_nbbo_as_of_gives_the_state_at_the_moment(config: Config) -> None:
    write(config, "nbbo", 0, [state("ASOF", 0, 1, 9_0000, 11_0000), state("ASOF", 10, 2, None, 12_0000)])
    query = "SELECT best_bid, best_ask, as_of FROM nbbo_as_of(moment = '2026-01-02 12:00:{}') WHERE symbol = 'ASOF'"
    assert rows(config, query.format("09.999999999")) == [(9, 11, NOON)]
    assert rows(config, query.format("10")) == [(None, 12, NOON + timedelta(seconds=10))]
    assert rows(config, "SELECT * FROM nbbo_as_of(moment = '2026-01-02 11:59:59') WHERE symbol = 'ASOF'") == []


def test_execution_has_the_nbbo_of_receipt_and_of_later(config: Config) -> None:
    write(
        config,
        "nbbo",
        1,
        [state("Q", 0, 1, 9_0000, 11_0000), state("Q", 8, 2, 10_0000, 12_0000), state("Q", 20, 3, 13_0000, 15_0000)],
    )
    order = {"orderId": "o-q", "accountId": "a-q", "symbol": "Q", "eventType": "STATUS"}
    write(
        config,
        "order-events",
        1,
        [order | {"sequence": at, "timestamp": NOON_NS + second * SECOND} for at, second in ((1, 5), (2, 9))],
    )
    trade = {
        "orderId": "o-q",
        "accountId": "a-q",
        "symbol": "Q",
        "quantity": 10,
        "executionPrice": 11_5000,
        "executionTime": NOON_NS + 9 * SECOND,
        "bidPrice": 10_0000,
        "askPrice": 12_0000,
    }
    write(
        config,
        "trade-events",
        1,
        [trade | {"eventId": "buy", "side": "BUY"}, trade | {"eventId": "sell", "side": "SELL"}],
    )
    found = rows(
        config,
        "SELECT event_id, receipt_bid, receipt_ask, execution_bid, effective_spread, received_at "
        "FROM executions_nbbo(day = '2026-01-02') WHERE symbol = 'Q' ORDER BY event_id",
    )
    received = NOON + timedelta(seconds=5)
    assert found == [("buy", 9, 11, 10, 3.0, received), ("sell", 9, 11, 10, -3.0, received)]
    query = (
        "SELECT side, later_mid, realised_spread FROM realised_spreads(day = '2026-01-02', seconds = {}) "
        "WHERE symbol = 'Q' ORDER BY 1"
    )
    assert rows(config, query.format(5)) == [("BUY", 11.0, 1.0), ("SELL", 11.0, -1.0)]
    assert rows(config, query.format(11)) == [("BUY", 14.0, -5.0), ("SELL", 14.0, 5.0)]
    # The market has not gone on for so long: nobody knows yet.
    assert rows(config, query.format(12)) == [("BUY", None, None), ("SELL", None, None)]
    # An order of the day before is found as well, and the NBBO of that day is not looked at; refused cancels have no number.
    old = {"orderId": "o-old", "accountId": "a-old", "symbol": "Q"}
    refused = old | {"eventType": "CANCEL_REJECTED", "sequence": 0, "timestamp": NOON_NS - 2 * DAY_NS}
    first = old | {"eventType": "STATUS", "sequence": 1, "timestamp": NOON_NS - DAY_NS}
    write(config, "order-events", 3, [refused, first, first | {"sequence": 2, "timestamp": NOON_NS + 9 * SECOND}])
    write(config, "trade-events", 3, [trade | old | {"eventId": "late"}])
    found = rows(
        config,
        "SELECT receipt_bid, execution_bid, received_at FROM executions_nbbo(day = '2026-01-02') WHERE event_id = 'late'",
    )
    assert found == [(None, 10, NOON - timedelta(days=1))]
    (valued,) = rows(
        config,
        "SELECT position_change, bought_notional - sold_notional, trading_result IS NOT NULL FROM pnl_inputs "
        "WHERE account_id = 'a-q' AND symbol = 'Q'",
    )
    assert valued == (0, 0, 1)


def test_pnl_inputs_value_what_executions_changed(config: Config) -> None:
    write(config, "nbbo", 2, [state("PNL", 0, 1, 9_0000, 11_0000) | {"lastPrice": 12_0000}])
    trade = {"accountId": "a-p", "symbol": "PNL", "side": "BUY", "quantity": 100, "commission": 1_0000}
    write(config, "trade-events", 2, [trade | {"executionPrice": 10_0000, "executionTime": NOON_NS}])
    query = (
        "SELECT position_change, cash_change, last_trade_price, trading_result FROM pnl_inputs WHERE account_id = 'a-p'"
    )
    assert rows(config, query) == [(100, Decimal(-1001), 12, Decimal(199))]


def test_top_movers_count_eligible_trades_only(config: Config) -> None:
    tick = {"kind": "TRADE", "symbol": "MOVE", "volume": 10, "eligible": True}
    prices = [(0, 50, True), (1, 40, True), (2, 999, False), (3, 55, True)]
    write(
        config,
        "market-data",
        0,
        [
            tick | {"lastPrice": price * 10_000, "eligible": fit, "sequence": at, "timestamp": NOON_NS + at * SECOND}
            for at, price, fit in prices
        ],
    )
    query = (
        "SELECT first_price, final_price, low_price, high_price, round(average_change_percent, 6), shares, trades "
        "FROM top_movers WHERE symbol = 'MOVE'"
    )
    assert rows(config, query) == [(50, 55, 40, 55, 10.0, 30, 3)]


def test_pipeline_health_sums_the_partitions_of_a_topic(config: Config) -> None:
    good = frame("controls")
    batch = Batch([good, good, b"\x01junk"], Positions.of([0] * 3, range(4, 7), [NOON_NS // 10**6] * 3))
    assert writer(config, "controls").write(batch).rows == 3
    query = "SELECT partitions, records, undecodable_records, undecodable_share, highest_offset FROM pipeline_health"
    assert rows(config, f"{query} WHERE topic = 'controls'") == [(1, 3, 1, 1 / 3, 6)]
