"""Reads the archive for the demo: rows for the reconciliation, latencies, and the queries that a user may try next.

Everything is asked over ClickHouse's HTTP interface, as any client would, and without FINAL.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from jobs.config import Config
from jobs.demo_market import BAR_NS, IndicatorRow
from jobs.migrate import endpoint
from jobs.reconcile import (
    SHOWN_PROBLEMS,
    AuctionRow,
    CashMove,
    CommandRow,
    ControlRow,
    DeadLetterRow,
    EventRow,
    TopicCount,
    TradeRow,
)
from jobs.reconcile_market import AlertRow, BarRow, WindowRow
from schemas.catalogue import ARCHIVED
from udfs.operators.clickhouse_client import Endpoint

TABLES: Final[Mapping[str, str]] = {
    topic: "dead_letters" if topic == "dead-letter" else topic.replace("-", "_") for topic in ARCHIVED
}
ELSEWHERE: Final = ("dead_letters", "tombstones")
"""Tables that have records of many topics: what could not be decoded, and what deletes a key."""

Offsets = npt.NDArray[np.int64]

_EVENTS: Final = """
SELECT event_id, event_type, order_id, account_id, symbol, side, order_type, time_in_force, quantity, status, reason,
    cum_quantity, leaves_quantity, last_quantity, toNullable(toInt64(last_price * 10000)), trade_id, sequence, cause_id,
    toUnixTimestamp64Nano(timestamp)
FROM order_events
ORDER BY order_id, sequence, _partition, _offset
"""
_TRADES: Final = """
SELECT event_id, trade_id, order_id, contra_order_id, account_id, symbol, side, quantity,
    toInt64(execution_price * 10000), toInt64(commission * 10000), venue, liquidity, order_sequence,
    toInt64(ifNull(fees, 0) * 10000)
FROM trade_events
ORDER BY trade_id, side, _partition, _offset
"""
_COMMANDS: Final = """
SELECT _partition, _offset, command, order_id, account_id, quantity FROM orders ORDER BY _partition, _offset
"""
_LETTERS: Final = """
SELECT _topic, job, source_topic, source_partition, source_offset, reason
FROM dead_letters ORDER BY source_topic, source_partition, source_offset
"""
_AUCTIONS: Final = """
SELECT event_id, symbol, state, cause, toInt64(auction_price * 10000), auction_quantity
FROM market_status WHERE auction_quantity > 0 ORDER BY symbol, timestamp, _partition, _offset
"""
_HALTS: Final = """
SELECT countIf(state = 'HALTED' AND cause = 'CONTROL'), countIf(state IN ('PAUSED', 'LIMIT_STATE')) FROM market_status
"""
_CONTROLS: Final = """
SELECT assumeNotNull(control_id), type, ifNull(detail, '')
FROM risk_events WHERE control_id IS NOT NULL ORDER BY control_id, _partition, _offset
"""
_CASH_MOVES: Final = """
SELECT assumeNotNull(control_id), account_id, toInt64(assumeNotNull(cash_change) * 10000)
FROM risk_events WHERE type = 'CONTROL_APPLIED' AND cash_change IS NOT NULL ORDER BY control_id, _partition, _offset
"""
_LENGTH: Final = "toUnixTimestamp64Nano(window_end) - toUnixTimestamp64Nano(window_start)"
_BARS: Final = f"""
SELECT symbol, {_LENGTH} AS length_ns, toUnixTimestamp64Nano(window_start) AS start_ns, volume, trade_count,
    toNullable(toInt64(high_price * 10000)), toNullable(toInt64(low_price * 10000)),
    toNullable(toInt64(close_price * 10000)), toNullable(toInt64(vwap_price * 10000))
FROM market_analytics WHERE kind = 'BAR'
ORDER BY symbol, length_ns, start_ns, revision DESC LIMIT 1 BY symbol, length_ns, start_ns
"""
_WINDOWS: Final = """
SELECT symbol, length_ns, start_ns, sum(shares), count(), max(price_e4), min(price_e4),
    sum(toInt128(price_e4) * shares), sumIf(shares, late)
FROM
(
    SELECT symbol, volume AS shares, toInt64(assumeNotNull(last_price) * 10000) AS price_e4,
        (_partition, _offset) IN
        (
            SELECT toUInt16(source_partition), toUInt64(source_offset) FROM dead_letters
            WHERE job = 'analytics' AND source_topic = 'market-data' AND reason = 'LATE'
        ) AS late,
        arrayJoin([1, 60, 300, 900, 3600]) * toInt64(1000000000) AS length_ns,
        toUnixTimestamp64Nano(timestamp) AS time_ns,
        time_ns - time_ns % length_ns AS start_ns
    FROM market_data WHERE kind = 'TRADE' AND eligible AND volume > 0 AND last_price IS NOT NULL
)
GROUP BY symbol, length_ns, start_ns ORDER BY symbol, length_ns, start_ns
"""
_NEWEST: Final = "SELECT symbol, toUnixTimestamp64Nano(max(timestamp)) FROM market_data GROUP BY symbol"
_INDICATORS: Final = f"""
SELECT symbol, toUnixTimestamp64Nano(window_start) AS start_ns, indicator, value
FROM market_analytics
WHERE kind = 'INDICATOR' AND (indicator, period) IN (('SMA', 20), ('RSI', 14), ('SESSION_VWAP', 0))
    AND {_LENGTH} = {BAR_NS} AND has({{symbols:Array(String)}}, toString(symbol))
ORDER BY symbol, indicator, start_ns, revision DESC LIMIT 1 BY symbol, indicator, start_ns
"""
_ALERTS: Final = """
SELECT event_id, rule_id, rule_version, owner, symbol, condition, severity, threshold_e4, observed_e4, previous_e4, detail
FROM alerts ORDER BY timestamp, event_id
"""
_LATENCY: Final = """
WITH answers AS
(
    SELECT cause_id, max(_kafka_time) AS answered
    FROM order_events WHERE startsWith(event_id, concat(cause_id, '-')) GROUP BY cause_id
),
delays AS
(
    SELECT toUnixTimestamp64Milli(o._kafka_time) AS sent_ms, dateDiff('millisecond', o._kafka_time, a.answered) AS delay_ms
    FROM orders AS o INNER JOIN answers AS a
        ON a.cause_id = concat('orders-', toString(o._partition), '-', toString(o._offset))
    WHERE o.command = 'NEW'
),
(SELECT min(sent_ms) + intDiv(max(sent_ms) - min(sent_ms), 3) FROM delays) AS warm_ms
SELECT quantilesExact(0.5, 0.95, 0.99)(delay_ms), quantilesExactIf(0.5, 0.95, 0.99)(delay_ms, sent_ms >= warm_ms),
    max(delay_ms), count()
FROM delays
"""


@dataclass(frozen=True, slots=True)
class Latency:
    """P50, P95, P99 in ms from an order's Kafka timestamp to that of the last event that it caused at once itself.

    warm_ms: without the first third of the time, in which just-in-time compilers and caches warm up.
    """

    orders: int
    all_ms: tuple[float, ...]
    warm_ms: tuple[float, ...]
    max_ms: float


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A query worth running, and its first rows as they came back."""

    title: str
    sql: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


_SUGGESTIONS: Final = (
    (
        "Most traded symbols, with VWAP",
        "SELECT symbol, uniqExact(trade_id) AS trades, sum(quantity) AS shares,\n"
        "    round(sum(toFloat64(execution_price) * quantity) / sum(quantity), 4) AS vwap\n"
        "FROM trade_events GROUP BY symbol ORDER BY shares DESC LIMIT 5",
    ),
    (
        "Why orders were refused or ended unfilled",
        "SELECT status, reason, count() AS orders\n"
        "FROM order_events WHERE event_type = 'STATUS' AND reason != 'NONE'\n"
        "GROUP BY status, reason ORDER BY orders DESC LIMIT 5",
    ),
    (
        "The largest auctions",
        "SELECT symbol, state, auction_price AS price, auction_quantity AS shares, imbalance\n"
        "FROM market_status WHERE auction_quantity > 0 ORDER BY shares DESC LIMIT 5",
    ),
    (
        "The life of the order with the most fills",
        "SELECT sequence, status, last_quantity AS filled, last_price AS price,\n"
        "    leaves_quantity AS leaves, venue\n"
        "FROM order_events WHERE sequence > 0 AND order_id = (\n"
        "    SELECT order_id FROM order_events WHERE last_quantity > 0\n"
        "    GROUP BY order_id ORDER BY count() DESC, order_id LIMIT 1)\n"
        "ORDER BY sequence LIMIT 8",
    ),
)


class Archive:
    """The archive of one demo. Methods raise ClickHouseError."""

    def __init__(self, config: Config) -> None:
        self._endpoint: Endpoint = endpoint(config)
        self._client: Any = None

    @property
    def client(self) -> Any:
        """The connection, made when it is first needed."""
        if self._client is None:
            self._client = self._endpoint.connect()
        return self._client

    def counts(self) -> dict[str, int]:
        """Rows by Kafka topic, records that the archive could not decode and tombstones among their own topic."""
        tables = dict.fromkeys((*TABLES.values(), *ELSEWHERE))
        parts = [f"SELECT _topic, count() FROM {table} GROUP BY _topic" for table in tables]
        counts = dict.fromkeys(TABLES, 0)
        for topic, rows in self.client.query("\nUNION ALL\n".join(parts)).result_rows:
            counts[topic] = counts.get(topic, 0) + int(rows)
        return counts

    def commands(self) -> Iterator[CommandRow]:
        """Rows of orders."""
        return (CommandRow(*row) for row in self._rows(_COMMANDS))

    def events(self) -> Iterator[EventRow]:
        """Rows of order_events, each order's in its sequence."""
        return (EventRow(*row) for row in self._rows(_EVENTS))

    def trades(self) -> Iterator[TradeRow]:
        """Rows of trade_events, the two sides of a trade together."""
        return (TradeRow(*row) for row in self._rows(_TRADES))

    def auctions(self) -> Iterator[AuctionRow]:
        """Auctions in which something traded."""
        return (AuctionRow(*row) for row in self._rows(_AUCTIONS))

    def halts(self) -> tuple[int, int]:
        """How often symbols were halted; and how often their price bands stopped or slowed them."""
        halted, limited = self.client.query(_HALTS).result_rows[0]
        return int(halted), int(limited)

    def controls(self) -> Iterator[ControlRow]:
        """Answers to controls."""
        return (ControlRow(*row) for row in self._rows(_CONTROLS))

    def cash_moves(self) -> Iterator[CashMove]:
        """Customers' cash that controls have moved."""
        return (CashMove(*row) for row in self._rows(_CASH_MOVES))

    def letters(self) -> Iterator[DeadLetterRow]:
        """Rows of dead_letters."""
        return (DeadLetterRow(*row) for row in self._rows(_LETTERS))

    def bars(self) -> Iterator[BarRow]:
        """The last revision of each bar, by symbol, length and start."""
        return (BarRow(*row) for row in self._rows(_BARS))

    def windows(self) -> list[WindowRow]:
        """What the archived trades say of the windows of bars, in the same order.

        A list, because one connection cannot stream this beside the bars.
        """
        return [WindowRow(*row) for row in self._rows(_WINDOWS)]

    def newest_ticks(self) -> dict[str, int]:
        """By symbol, the time of its last tick, UTC ns."""
        return {symbol: int(time_ns) for symbol, time_ns in self.client.query(_NEWEST).result_rows}

    def indicators(self, symbols: Sequence[str]) -> Iterator[IndicatorRow]:
        """What the report tells of the five-minute bars of some symbols."""
        rows = self.client.query(_INDICATORS, parameters={"symbols": list(symbols)}).result_rows
        return (IndicatorRow(*row) for row in rows)

    def alerts(self) -> Iterator[AlertRow]:
        """Rows of alerts, by time."""
        return (AlertRow(*row) for row in self._rows(_ALERTS))

    def compare(self, positions: Mapping[tuple[str, int], Sequence[int]]) -> list[TopicCount]:
        """Each topic's committed positions in Kafka against the rows of its table."""
        return [
            _compare(topic, {part: offsets for (name, part), offsets in positions.items() if name == topic}, rows)
            for topic, rows in ((topic, self._positions(topic)) for topic in TABLES)
        ]

    def latency(self) -> Latency | None:
        """Latency of new orders; None when none was answered."""
        every, warm, longest, orders = self.client.query(_LATENCY).result_rows[0]
        if not orders:
            return None
        return Latency(int(orders), tuple(map(float, every)), tuple(map(float, warm)), float(longest))

    def suggestions(self) -> list[Suggestion]:
        """The queries worth running, run."""
        found = []
        for title, sql in _SUGGESTIONS:
            result = self.client.query(sql)
            rows = tuple(tuple("" if cell is None else str(cell) for cell in row) for row in result.result_rows)
            found.append(Suggestion(title, sql, tuple(result.column_names), rows))
        return found

    def _rows(self, sql: str) -> Iterator[tuple[Any, ...]]:
        with self.client.query_rows_stream(sql) as stream:
            yield from stream

    def _positions(self, topic: str) -> dict[int, Offsets]:
        tables = dict.fromkeys((TABLES[topic], *ELSEWHERE))
        found: dict[int, Offsets] = {}
        sql = "\nUNION ALL\n".join(
            f"SELECT _partition, _offset FROM {table} WHERE _topic = {{topic:String}}" for table in tables
        )
        arrow = self.client.query_arrow(sql, {"topic": topic})
        partitions = arrow.column(0).to_numpy()
        offsets = arrow.column(1).to_numpy().astype(np.int64)
        for partition in np.unique(partitions):
            found[int(partition)] = np.sort(offsets[partitions == partition])
        return found


def _compare(topic: str, kafka: Mapping[int, Sequence[int]], rows: Mapping[int, Offsets]) -> TopicCount:
    """One topic, by partition and offset."""
    missing: list[str] = []
    surplus: list[str] = []
    repeated = 0
    for partition in sorted(kafka.keys() | rows.keys()):
        there = np.asarray(kafka.get(partition, ()), dtype=np.int64)
        archived = rows.get(partition, np.empty(0, dtype=np.int64))
        distinct = np.unique(archived)
        repeated += len(archived) - len(distinct)
        missing += [f"{partition}/{offset}" for offset in np.setdiff1d(there, distinct)[:SHOWN_PROBLEMS]]
        surplus += [f"{partition}/{offset}" for offset in np.setdiff1d(distinct, there)[:SHOWN_PROBLEMS]]
    return TopicCount(
        topic,
        sum(len(offsets) for offsets in kafka.values()),
        sum(len(offsets) for offsets in rows.values()),
        tuple(missing[:SHOWN_PROBLEMS]),
        tuple(surplus[:SHOWN_PROBLEMS]),
        repeated,
    )
