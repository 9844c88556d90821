"""Views of prices, venues and accounts, over rows that the archive wrote, against a real ClickHouse engine."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
from archive_gateway import NOON_NS, GatewayProcess, connect, frame, writer

from jobs import migrate
from jobs.config import Config
from jobs.migrations import FOLDER
from udfs.operators.arrow_blocks import Positions
from udfs.operators.decode_records import Batch

NOON = datetime.fromtimestamp(NOON_NS // 1_000_000_000, UTC).replace(tzinfo=None)


@pytest.fixture(scope="module")
def config(gateway: GatewayProcess) -> Config:
    settings = gateway.config("market_views")
    migrate.apply(settings, print)
    return settings


def write(config: Config, topic: str, time_field: str, records: list[dict[str, Any]]) -> None:
    """Archive records, a second apart from noon on unless they say when."""
    frames = [frame(topic, **({time_field: NOON_NS + at * 10**9} | record)) for at, record in enumerate(records)]
    positions = Positions.of([0] * len(frames), range(len(frames)), [NOON_NS // 10**6] * len(frames))
    assert writer(config, topic).write(Batch(frames, positions)).rows == len(frames)


def rows(config: Config, query: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in connect(config).query(query).result_rows]


def test_latest_prices_highest_sequence_decides_and_empty_sides_stay_null(config: Config) -> None:
    def state(symbol: str, sequence: int, bid: int | None, ask: int | None, last: int | None) -> dict[str, Any]:
        return {"symbol": symbol, "sequence": sequence, "bidPrice": bid, "askPrice": ask, "lastPrice": last}

    write(
        config,
        "nbbo",
        "timestamp",
        [
            state("IBM", 1, 10_0000, 11_0000, None),
            state("IBM", 3, 10_5000, 11_0000, 10_7000),
            # Repeated after a failure: old news, though it comes last.
            state("IBM", 2, 1_0000, 2_0000, 3_0000),
            state("AAPL", 1, 20_0000, 21_0000, 20_0000),
            state("AAPL", 2, None, 21_0000, 20_0000),
        ],
    )
    found = rows(
        config,
        "SELECT symbol, toString(best_bid), toString(best_ask), mid_price, toString(last_trade_price), as_of, "
        "last_sequence FROM latest_prices ORDER BY symbol",
    )
    assert found == [
        ("AAPL", None, "21", None, "20", NOON + timedelta(seconds=4), 2),
        ("IBM", "10.5", "11", 10.75, "10.7", NOON + timedelta(seconds=1), 3),
    ]


LATEST = "SELECT * FROM latest_prices ORDER BY symbol"
FROM_ALL_OF_NBBO = """
    SELECT
        symbol,
        tupleElement(argMax(tuple(bid_price), (sequence, _offset)), 1) AS bid,
        tupleElement(argMax(tuple(ask_price), (sequence, _offset)), 1) AS ask,
        (toFloat64(bid) + toFloat64(ask)) / 2,
        tupleElement(argMax(tuple(last_price), (sequence, _offset)), 1),
        argMax(timestamp, (sequence, _offset)),
        max(sequence)
    FROM nbbo GROUP BY symbol ORDER BY symbol
"""


def test_latest_prices_equal_those_of_all_rows_whatever_comes_in_which_order_and_again(config: Config) -> None:
    seed = int.from_bytes(os.urandom(4), "big")
    print(f"seed {seed}")
    random = Random(seed)
    # Sequences repeat and go back; sides and last prices may be null.
    records = [
        {
            "symbol": f"R{random.randrange(7)}",
            "sequence": random.randrange(20),
            "bidPrice": random.choice((None, random.randrange(1, 10**7))),
            "askPrice": random.choice((None, random.randrange(1, 10**7))),
            "lastPrice": random.choice((None, random.randrange(1, 10**7))),
            "timestamp": NOON_NS + random.randrange(3 * 86_400) * 10**9,
        }
        for _ in range(400)
    ]
    frames = [frame("nbbo", **record) for record in records]
    offsets = random.sample(range(400), 400)
    for at in range(0, 400, 80):
        where = Positions.of([3] * 80, offsets[at : at + 80], [NOON_NS // 10**6] * 80)
        assert writer(config, "nbbo").write(Batch(frames[at : at + 80], where)).rows == 80
    wanted = rows(config, FROM_ALL_OF_NBBO)
    assert len(wanted) >= 7 and rows(config, LATEST) == wanted
    client = connect(config)
    # A block that a retry repeats, as the table itself would collapse it: it has the same rows, and more than one part.
    client.command("INSERT INTO nbbo SELECT * FROM nbbo WHERE _partition = 3")
    assert rows(config, LATEST) == wanted
    client.command("OPTIMIZE TABLE latest_nbbo FINAL")
    assert rows(config, LATEST) == wanted
    assert client.query("SELECT count(), uniqExact(symbol) FROM latest_nbbo").result_rows == [(len(wanted),) * 2]
    # What a crash left out is put right by filling the states again, as views.md says; the rest stays as it is.
    described = (FOLDER / "views.md").read_text(encoding="utf-8").split("## latest_prices\n")[1]
    repair = described.split("```sql\n")[1].split("```")[0]
    client.command("TRUNCATE TABLE latest_nbbo")
    for _ in range(2):
        client.command(repair)
        assert rows(config, LATEST) == wanted


def test_latest_prices_and_pnl_inputs_read_no_row_of_nbbo(config: Config) -> None:
    client = connect(config)
    for view in ("latest_prices", "pnl_inputs"):
        plan = "\n".join(row[0] for row in client.query(f"EXPLAIN SELECT * FROM {view}").result_rows)
        assert ".latest_nbbo" in plan and ".nbbo" not in plan, plan


def test_fills_by_venue_weights_the_spread_by_shares_that_have_an_nbbo(config: Config) -> None:
    def fill(venue: str, order: str, quantity: int, price: int, bid: int | None, ask: int | None) -> dict[str, Any]:
        return {
            "venue": venue, "orderId": order, "accountId": "A", "side": "BUY", "quantity": quantity,
            "executionPrice": price, "commission": 1_0000, "bidPrice": bid, "askPrice": ask,
        }  # fmt: skip

    write(
        config,
        "trade-events",
        "executionTime",
        [
            fill("TRDS", "o1", 100, 10_5000, 10_0000, 10_5000),  # spread 0.5
            fill("TRDS", "o1", 300, 10_2500, 10_0000, 10_5000),  # spread 0
            fill("TRDS", "o2", 1000, 10_0000, None, 10_5000),  # no NBBO: not in the average
            fill("XNAS", "o3", 10, 7_0000, None, None),
        ],
    )
    found = rows(
        config,
        "SELECT venue, executions, orders, shares, toString(total_notional), toString(total_commission), "
        "average_effective_spread FROM fills_by_venue ORDER BY venue",
    )
    assert found == [
        ("TRDS", 3, 2, 1400, "14125", "3", 0.125),
        ("XNAS", 1, 1, 10, "70", "1", None),
    ]


def test_account_activity_counts_orders_once_and_refused_commands_apart(config: Config) -> None:
    def event(order: str, status: str, last: int = 0, price: int | None = None, **more: Any) -> dict[str, Any]:
        fields = {"orderId": order, "accountId": "A", "eventType": "STATUS", "status": status}
        return fields | {"lastQuantity": last, "lastPrice": price} | more

    write(
        config,
        "order-events",
        "timestamp",
        [
            event("o1", "PARTIALLY_FILLED", 20, 10_0000),
            event("o1", "EXECUTED", 30, 11_0000),
            event("o2", "ROUTED"),
            event("o2", "CANCELLED"),
            event("o3", "REJECTED"),
            event("o9", "UNKNOWN", eventType="CANCEL_REJECTED"),
            event("o1", "REJECTED", accountId="B"),
            event("o2", "ROUTED", timestamp=NOON_NS + 86_400 * 10**9),
        ],
    )
    found = rows(
        config,
        "SELECT toString(event_date), account_id, orders, rejected_orders, cancelled_orders, filled_orders, fills, "
        "filled_shares, toString(filled_notional), refused_commands FROM account_activity ORDER BY event_date, account_id",
    )
    assert found == [
        ("2026-01-02", "A", 3, 1, 1, 1, 2, 50, "530", 1),
        ("2026-01-02", "B", 1, 1, 0, 0, 0, 0, "0", 0),
        ("2026-01-03", "A", 1, 0, 0, 0, 0, 0, "0", 0),
    ]
