"""A simulated day through the real engines in one process, and through the demo's reconciliation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import date
from pathlib import Path

import pytest

from infra.feeds.items import Item, Tick
from infra.feeds.lean import find_lean_files, first_prices, read_lean
from infra.feeds.order_faults import FAULTS
from infra.feeds.order_flow import FROM_THE_MARKET, OrderFlow
from infra.feeds.partitions import kafka_partition
from infra.feeds.sessions import DEFAULT_DAY, TradingDay, trading_day
from infra.feeds.simulator import MarketSimulator
from jobs.demo_result import Market, _opening, describe_market
from jobs.reconcile import (
    OWN_VENUE,
    AuctionRow,
    CashMove,
    Check,
    CommandRow,
    ControlRow,
    DeadLetterRow,
    EventRow,
    TradeRow,
    check_controls,
)
from jobs.reconcile_money import check_auctions, check_conservation, check_fills, check_pairs
from jobs.reconcile_orders import OrderFindings, check_commands, check_lives, follow_orders, orders_by_type
from schemas.errors import DecodeError
from schemas.messages import (
    dead_letter,
    market_status,
    order_events,
    orders,
    reference_data,
    risk_events,
    trade_events,
)
from schemas.messages.enums import (
    COMMAND_TYPE_NAMES,
    DEAD_LETTER_REASON_NAMES,
    LIQUIDITY_NAMES,
    MARKET_CAUSE_NAMES,
    MARKET_STATE_NAMES,
    ORDER_EVENT_TYPE_NAMES,
    ORDER_STATUS_NAMES,
    ORDER_TYPE_NAMES,
    REASON_CODE_NAMES,
    RISK_EVENT_TYPE_NAMES,
    SIDE_NAMES,
    TIME_IN_FORCE_NAMES,
)
from tests.unit.feed_system import PARTITIONS, SCHEMA_IDS, FeedSystem

TICKS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "lean_tick"


class PlayedDay:
    """A flow that was played phase by phase, and what came of it, as the rows that the archive would have."""

    def __init__(self, flow: OrderFlow, ticks: Iterator[Tick]) -> None:
        self.flow = flow
        self.system = FeedSystem()
        self.commands: list[CommandRow] = []
        self.letters: list[DeadLetterRow] = []
        self.openings = {}
        self._offsets: Counter[int] = Counter()
        for phase in flow.phases(ticks):
            self.system.play(self._watched(phase.items))
        for engine in (*self.system.risk, *self.system.match):
            engine.check_invariants()
        for value in self.system.written["dead-letter"]:
            letter = dead_letter.decode(value)
            self.letters.append(
                DeadLetterRow(
                    "dead-letter",
                    letter.job,
                    letter.source_topic,
                    letter.source_partition,
                    letter.source_offset,
                    DEAD_LETTER_REASON_NAMES[letter.reason],
                )
            )
        self.events = [_event(order_events.decode(value)) for value in self.system.written["order-events"]]
        self.events.sort(key=lambda row: (row.order_id, row.sequence))
        self.trades = [_trade(trade_events.decode(value)) for value in self.system.written["trade-events"]]
        self.trades.sort(key=lambda row: (row.trade_id, row.side))
        statuses = map(market_status.decode, self.system.written["market-status"])
        self.auctions = [
            AuctionRow(
                status.event_id,
                status.symbol,
                MARKET_STATE_NAMES[status.state],
                MARKET_CAUSE_NAMES[status.cause],
                status.auction_price or 0,
                status.auction_quantity,
            )
            for status in statuses
            if status.auction_quantity
        ]
        reports = map(risk_events.decode, self.system.written["risk-events"])
        self.reports = Counter(RISK_EVENT_TYPE_NAMES[report.type] for report in reports)
        self.controls = [
            ControlRow(report.control_id, RISK_EVENT_TYPE_NAMES[report.type], report.detail or "")
            for report in map(risk_events.decode, self.system.written["risk-events"])
            if report.control_id is not None
        ]
        self.moves = [
            CashMove(report.control_id, report.account_id, report.cash_change)
            for report in map(risk_events.decode, self.system.written["risk-events"])
            if report.control_id is not None and report.cash_change is not None
        ]

    def _watched(self, items: Iterable[Item]) -> Iterator[Item]:
        """The items, while positions of commands and the accounts are noted."""
        for item in items:
            topic, key, value, _ = item
            if topic == "orders":
                partition = kafka_partition(key, PARTITIONS)
                self._note(partition, self._offsets[partition], value)
                self._offsets[partition] += 1
            elif topic == "reference-data":
                account = reference_data.decode(value).account
                if account is not None:
                    self.openings[account.account_id] = _opening(account)
            yield item

    def _note(self, partition: int, offset: int, value: bytes) -> None:
        try:
            command = orders.decode(value, SCHEMA_IDS["orders"])
        except DecodeError:
            self.letters.append(DeadLetterRow("orders", "archive", "orders", partition, offset, "UNDECODABLE"))
            return
        kind = COMMAND_TYPE_NAMES[command.command]
        self.commands.append(
            CommandRow(partition, offset, kind, command.order_id, command.account_id, command.quantity)
        )

    def reconcile(self) -> tuple[list[Check], OrderFindings, Market]:
        """Every check that needs no Kafka and no ClickHouse."""
        findings = follow_orders(self.events)
        answered, _ = check_commands(self.commands, self.letters, findings)
        paired, totals = check_pairs(self.trades)
        shares, cash = check_conservation(self.openings, findings.fills.values(), totals, moves=self.moves)
        checks = [
            answered,
            check_lives(findings, session_over=True),
            check_fills(findings.fills, self.trades),
            paired,
            check_auctions(self.auctions, totals),
            shares,
            cash,
            check_controls(self.flow.control_ids, self.controls),
        ]
        return checks, findings, describe_market(self.auctions, (0, 0), totals, findings)

    def surprises(self, findings: OrderFindings) -> dict[str, tuple[int, int]]:
        """Refusals and dead letters of commands that are not those that were provoked: expected and found."""
        found: Counter[tuple[str, str]] = Counter()
        for life in findings.lives.values():
            if life.status == "REJECTED":
                found["order-events", life.reason] += 1
        for reason, count in findings.refused_reasons.items():
            found["order-events", reason] += count
        for letter in self.letters:
            if letter.topic == "dead-letter" and letter.source_topic == "orders":
                found["dead-letter", letter.reason] += 1
        expected = self.flow.expected_outcomes
        return {
            reason: (expected.get((topic, reason), 0), found[topic, reason])
            for topic, reason in found.keys() | expected.keys()
            if found[topic, reason] != expected.get((topic, reason), 0) and reason not in FROM_THE_MARKET
        }


def _event(event: order_events.OrderEvent) -> EventRow:
    return EventRow(
        event.event_id,
        ORDER_EVENT_TYPE_NAMES[event.event_type],
        event.order_id,
        event.account_id,
        event.symbol,
        SIDE_NAMES[event.side],
        ORDER_TYPE_NAMES[event.order_type],
        TIME_IN_FORCE_NAMES[event.time_in_force],
        event.quantity,
        ORDER_STATUS_NAMES[event.status],
        REASON_CODE_NAMES[event.reason],
        event.cum_quantity,
        event.leaves_quantity,
        event.last_quantity,
        event.last_price,
        event.trade_id,
        event.sequence,
        event.cause_id,
        event.timestamp,
    )


def _trade(trade: trade_events.TradeExecutedEvent) -> TradeRow:
    return TradeRow(
        trade.event_id,
        trade.trade_id,
        trade.order_id,
        trade.contra_order_id,
        trade.account_id,
        trade.symbol,
        SIDE_NAMES[trade.side],
        trade.quantity,
        trade.execution_price,
        trade.commission,
        trade.venue,
        LIQUIDITY_NAMES[trade.liquidity],
        trade.order_sequence,
        trade.fees or 0,
    )


def simulated(seed: int, symbols: int, orders_made: int, accounts: int, bad_share: float) -> PlayedDay:
    """A simulated day, played."""
    day = trading_day(DEFAULT_DAY)
    simulator = MarketSimulator(day, seed=seed, symbols=symbols, events=800 * symbols, bad_share=0.02)
    flow = OrderFlow(
        [day],
        simulator.prior_closes(),
        SCHEMA_IDS,
        seed=seed,
        orders=orders_made,
        accounts=accounts,
        bad_share=bad_share,
    )
    return PlayedDay(flow, simulator.ticks())


def must_add_up(day: PlayedDay) -> tuple[OrderFindings, Market]:
    """Every check holds, and nothing was refused that was not meant to be."""
    checks, findings, market = day.reconcile()
    assert {check.name: check.problems for check in checks if not check.ok} == {}
    assert day.surprises(findings) == {}
    assert "CONTROL_REJECTED" not in day.reports
    return findings, market


def test_simulated_day_of_all_rules_adds_up() -> None:
    day = simulated(seed=1, symbols=8, orders_made=3_000, accounts=24, bad_share=0.2)
    assert all(day.flow.counts[name] > 0 for name in FAULTS), day.flow.counts
    findings, market = must_add_up(day)
    types = orders_by_type(findings)
    assert types.keys() == {"MARKET", "LIMIT", "STOP", "STOP_LIMIT"}
    assert types["LIMIT"].keys() == {"DAY", "GTC", "IOC", "FOK", "OPG", "CLS"}
    assert market.auctions["opening"] > 5 and market.auctions["closing"] > 5
    assert market.short_shares > 0
    for name in ("TRIGGERED", "REPLACED", "RESTATED", "REPLACE_REJECTED", "CANCEL_REJECTED"):
        assert findings.stages[name] > 0, name
    for name in ("MATCH_FOK_UNFILLED", "MATCH_SELF_TRADE", "MATCH_AUCTION_UNFILLED", "CANCEL_KILL_SWITCH"):
        assert market.endings[name] > 0, name
    assert findings.refused_reasons.keys() >= {"CANCEL_UNKNOWN_ORDER", "REPLACE_UNKNOWN_ORDER"}
    states = Counter(life.reason for life in findings.lives.values() if life.status == "REJECTED")
    assert states["RISK_KILL_SWITCH"] > 0
    assert sum(row.venue == OWN_VENUE for row in day.trades) > 500
    # What is refused for good is a small part of what is ordered, or the day would say little.
    assert findings.stages["EXECUTED"] > 800


@pytest.mark.parametrize("seed", [2, 3, 4])
def test_other_days_add_up(seed: int) -> None:
    must_add_up(simulated(seed, symbols=3 * seed, orders_made=1_500, accounts=10 * seed, bad_share=0.05))


def test_day_of_one_symbol_and_one_account_adds_up() -> None:
    findings, _ = must_add_up(simulated(5, symbols=1, orders_made=300, accounts=1, bad_share=0.1))
    assert len(findings.lives) > 150


def test_days_of_real_ticks_add_up() -> None:
    if not TICKS.is_dir():
        pytest.skip(f"no real ticks at {TICKS}")
    dates = [date(2013, 10, 7), date(2013, 10, 8)]
    files = [file for file in find_lean_files([TICKS]) if file.day in dates]
    days: list[TradingDay] = [trading_day(day) for day in dates]
    flow = OrderFlow(days, first_prices(files), SCHEMA_IDS, orders=1_600, accounts=20)
    ticks = (tick for number, tick in enumerate(read_lean(files)) if number % 40 == 0)
    findings, market = must_add_up(PlayedDay(flow, ticks))
    assert market.auctions["opening"] >= 2 and market.auctions["closing"] >= 2
    good_till_cancelled = [life.status for life in findings.lives.values() if life.time_in_force == "GTC"]
    assert len(good_till_cancelled) > 50 and "EXPIRED" not in good_till_cancelled
