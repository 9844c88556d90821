"""The reconciliation of the demo: a small day that adds up, and every way in which it could fail to."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from jobs.reconcile import (
    CashMove,
    Check,
    CommandRow,
    DeadLetterRow,
    EventRow,
    OpeningAccount,
    TopicCount,
    TradeRow,
    check_archived,
    check_expected,
    check_sent,
)
from jobs.reconcile_money import check_conservation, check_fills, check_pairs, money
from jobs.reconcile_orders import check_commands, check_lives, final_states, follow_orders

COMMISSION_E4 = 35
PRICE_E4 = 1_000_000
AT = 1_803_913_200_000_000_000
"""2027-03-01, 10:00 in New York."""
SALE_FEES_E4 = 4_664
"""Of 200 shares at 100.00 on that day: 20.60 a million up to the cent, 0.42, and 200 times 0.000232."""

COMMANDS = [
    CommandRow(0, 0, "NEW", "rest", "alice", 300),
    CommandRow(0, 1, "NEW", "take", "bob", 200),
    CommandRow(0, 2, "CANCEL", "rest", "alice", 300),
    CommandRow(0, 3, "CANCEL", "rest", "alice", 300),
    CommandRow(0, 4, "NEW", "street", "bob", 50),
    CommandRow(0, 5, "NEW", "bad", "bob", -1),
    CommandRow(0, 6, "NEW", "rest", "alice", 301),
]
LETTERS = [
    DeadLetterRow("dead-letter", "trading", "orders", 0, 6, "DUPLICATE_ORDER_ID"),
    DeadLetterRow("dead-letter", "trading", "orders", 0, 7, "UNDECODABLE"),
    DeadLetterRow("orders", "archive", "orders", 0, 7, "UNDECODABLE"),
    DeadLetterRow("dead-letter", "market_data", "raw-feed", 0, 9, "LATE"),
]


def event(
    origin: int,
    sequence: int,
    status: str,
    cum: int = 0,
    leaves: int | None = None,
    last: int = 0,
    trade: str | None = None,
    cause: int | None = None,
    price_e4: int | None = None,
    event_type: str = "STATUS",
    reason: str = "NONE",
) -> EventRow:
    """An event of the order that the command at offset `origin` placed."""
    command = COMMANDS[origin]
    return EventRow(
        event_id=f"orders-0-{origin}-{sequence}",
        event_type=event_type,
        order_id=command.order_id,
        account_id=command.account_id,
        symbol="ACME",
        side="SELL" if command.order_id == "rest" else "BUY",
        order_type="LIMIT",
        time_in_force="DAY",
        quantity=command.quantity,
        status=status,
        reason=reason,
        cum_quantity=cum,
        leaves_quantity=command.quantity - cum if leaves is None else leaves,
        last_quantity=last,
        price_e4=price_e4 if price_e4 is not None else (PRICE_E4 if last else None),
        trade_id=trade,
        sequence=sequence,
        cause_id=f"orders-0-{origin if cause is None else cause}",
        time_ns=AT,
    )


def accepted(origin: int) -> list[EventRow]:
    """The first three events of an order that reaches the book."""
    return [event(origin, 1, "VALIDATED"), event(origin, 2, "RISK_APPROVED"), event(origin, 3, "ROUTED")]


EVENTS = [
    *accepted(0),
    event(0, 4, "PARTIALLY_FILLED", 200, 100, 200, "T-0-1-4", cause=1),
    event(0, 5, "CANCELLED", 200, 0, cause=2, reason="CANCEL_REQUESTED"),
    *accepted(1),
    event(1, 4, "EXECUTED", 200, 0, 200, "T-0-1-4"),
    event(3, 0, "CANCELLED", event_type="CANCEL_REJECTED", reason="CANCEL_TOO_LATE")._replace(event_id="orders-0-3-R"),
    *accepted(4),
    event(4, 4, "EXECUTED", 50, 0, 50, "T-0-4-4", price_e4=PRICE_E4 + 100),
    event(5, 1, "REJECTED", 0, 0, reason="VALIDATION_QUANTITY_NOT_POSITIVE"),
]


def trade(row: EventRow, contra: str | None, venue: str, liquidity: str) -> TradeRow:
    """The trade event of a fill."""
    assert row.trade_id is not None and row.price_e4 is not None
    fees_e4 = SALE_FEES_E4 if row.side == "SELL" else 0
    return TradeRow(
        event_id=f"{row.trade_id}-{row.side[0]}",
        trade_id=row.trade_id,
        order_id=row.order_id,
        contra_order_id=contra,
        account_id=row.account_id,
        symbol=row.symbol,
        side=row.side,
        quantity=row.last_quantity,
        price_e4=row.price_e4,
        commission_e4=row.last_quantity * COMMISSION_E4 + fees_e4,
        venue=venue,
        liquidity=liquidity,
        order_sequence=row.sequence,
        fees_e4=fees_e4,
    )


TRADES = [
    trade(EVENTS[8], "rest", "TRDS", "REMOVED"),
    trade(EVENTS[3], "take", "TRDS", "ADDED"),
    trade(EVENTS[13], None, "Q", "ROUTED"),
]
OPENINGS = {
    "alice": OpeningAccount("alice", 0, COMMISSION_E4, 1_000, {"ACME": 300}),
    "bob": OpeningAccount("bob", 300 * PRICE_E4, COMMISSION_E4, 1_000, {}),
}


def run_checks(
    commands: list[CommandRow] | None = None,
    events: list[EventRow] | None = None,
    letters: list[DeadLetterRow] | None = None,
    trades: list[TradeRow] | None = None,
    openings: dict[str, OpeningAccount] | None = None,
    moves: list[CashMove] | None = None,
    session_over: bool = True,
) -> dict[str, Check]:
    """All checks over the rows, by name."""
    findings = follow_orders(EVENTS if events is None else events)
    rows = TRADES if trades is None else trades
    answered, _ = check_commands(
        COMMANDS if commands is None else commands, LETTERS if letters is None else letters, findings
    )
    paired, totals = check_pairs(rows)
    shares, cash = check_conservation(
        OPENINGS if openings is None else openings, list(findings.fills.values()), totals, moves=moves or []
    )
    checks = [
        answered,
        check_lives(findings, session_over=session_over),
        check_fills(findings.fills, rows),
        paired,
        shares,
        cash,
    ]
    return {check.name: check for check in checks}


def failed(checks: dict[str, Check]) -> set[str]:
    """Names of the checks that found something."""
    return {name for name, check in checks.items() if not check.ok}


def replaced(rows: list[EventRow], event_id: str, **changes: object) -> list[EventRow]:
    """The rows with one of them changed."""
    assert any(row.event_id == event_id for row in rows)
    return [row._replace(**changes) if row.event_id == event_id else row for row in rows]  # type: ignore[arg-type]


def test_day_that_adds_up_passes_every_check() -> None:
    checks = run_checks()
    assert {name: check.problems for name, check in checks.items() if not check.ok} == {}
    assert checks["One answer per command"].summary == (
        "8 commands = 4 orders + 1 cancellations + 0 replacements + 1 refused + 2 dead letters"
    )
    assert checks["Shares conserved"].summary == "300 at the open +50 from the street = 350"
    assert checks["Buyers = sellers"].summary == "1 trades inside in pairs, 1 with the street"


def test_final_states_count_each_order_once() -> None:
    assert final_states(follow_orders(EVENTS)) == {"CANCELLED": 1, "EXECUTED": 2, "REJECTED": 1}
    assert final_states(follow_orders(EVENTS[:4])) == {"LIVE": 1}


EVENT_FAULTS: dict[str, tuple[Callable[[], list[EventRow]], set[str], str]] = {
    "a missing event": (
        lambda: [row for row in EVENTS if row.event_id != "orders-0-0-3"],
        {"One life per order"},
        "sequence 4 comes after 2",
    ),
    "a repeated event": (
        lambda: [*EVENTS, EVENTS[-1]],
        {"One life per order"},
        "sequence 1 comes after 1",
    ),
    "a second final state": (
        lambda: [*EVENTS, event(1, 5, "CANCELLED", 200, 0)],
        {"One life per order"},
        "CANCELLED comes after the final state EXECUTED",
    ),
    "an impossible step": (
        lambda: replaced(EVENTS, "orders-0-1-2", status="ROUTED"),
        {"One life per order"},
        "ROUTED cannot come after VALIDATED",
    ),
    "a wrong cumulated quantity": (
        lambda: replaced(EVENTS, "orders-0-0-4", cum_quantity=201),
        {"One life per order"},
        "cum 201 leaves 100, but its fills add up to 200 of 300",
    ),
    "a wrong rest": (
        lambda: replaced(EVENTS, "orders-0-0-4", leaves_quantity=99),
        {"One life per order"},
        "leaves 99",
    ),
    "an execution that is not whole": (
        lambda: replaced(EVENTS, "orders-0-4-4", last_quantity=40, cum_quantity=40),
        {"One life per order", "Fills = trades", "Shares conserved", "Money conserved"},
        "EXECUTED with 40 of 50 shares filled",
    ),
    "an order that never ends": (
        lambda: [row for row in EVENTS if row.event_id != "orders-0-0-5"],
        {"One life per order", "One answer per command"},
        "is still PARTIALLY_FILLED after the close",
    ),
    "a command without an answer": (
        lambda: [row for row in EVENTS if row.event_id != "orders-0-3-R"],
        {"One answer per command"},
        "orders-0-3: CANCEL rest has 0 answers instead of one",
    ),
    "another quantity than was ordered": (
        lambda: replaced(EVENTS, "orders-0-5-1", quantity=7),
        {"One answer per command"},
        "bad of bob over -1 became order bad of bob over 7",
    ),
    "a fill without a trade": (
        lambda: replaced(EVENTS, "orders-0-4-4", trade_id="T-0-4-9"),
        {"Fills = trades"},
        "no order event reports this fill of order street",
    ),
    "a fill at another price": (
        lambda: replaced(EVENTS, "orders-0-4-4", price_e4=PRICE_E4),
        {"Fills = trades", "Money conserved"},
        "reported to the order as",
    ),
}


@pytest.mark.parametrize("name", EVENT_FAULTS)
def test_fault_in_order_events_is_found(name: str) -> None:
    make, expected, text = EVENT_FAULTS[name]
    checks = run_checks(events=make())
    assert failed(checks) == expected
    assert any(text in problem for check in checks.values() for problem in check.problems)


TRADE_FAULTS: dict[str, tuple[Callable[[], list[TradeRow]], set[str], str]] = {
    "a missing side": (
        lambda: [TRADES[0], TRADES[2]],
        {"Fills = trades", "Buyers = sellers", "Money conserved"},
        "BUY 200 ACME at 100.00 (take) has no other side",
    ),
    "a missing trade with the street": (
        lambda: TRADES[:2],
        {"Fills = trades", "Shares conserved", "Money conserved"},
        "ACME: 300 at the open +0 from the street is not 350 at the close",
    ),
    "a repeated side": (
        lambda: [*TRADES, TRADES[2]],
        {"Fills = trades", "Shares conserved", "Money conserved"},
        "trade T-0-4-4 has two sides BUY",
    ),
    "sides of different size": (
        lambda: [TRADES[0], TRADES[1]._replace(quantity=199), TRADES[2]],
        {"Fills = trades", "Buyers = sellers"},
        "its two sides do not match",
    ),
    "a wrong commission": (
        lambda: [*TRADES[:2], TRADES[2]._replace(commission_e4=1)],
        {"Money conserved"},
        "commissions: 1.8665 in trade events, 2.0414 by the accounts' rates and fees",
    ),
    "the fees of a sale forgotten": (
        lambda: [TRADES[0], TRADES[1]._replace(commission_e4=200 * COMMISSION_E4, fees_e4=0), TRADES[2]],
        {"Money conserved"},
        "regulatory fees: 0.00 in trade events, 0.4664 by the tables",
    ),
    "the fees of a sale rounded down": (
        lambda: [TRADES[0], TRADES[1]._replace(fees_e4=SALE_FEES_E4 - 100), TRADES[2]],
        {"Money conserved"},
        "regulatory fees: 0.4564 in trade events, 0.4664 by the tables",
    ),
    "a trade with the street that names a contra order": (
        lambda: [*TRADES[:2], TRADES[2]._replace(contra_order_id="rest")],
        {"Buyers = sellers"},
        "contra order rest",
    ),
}


@pytest.mark.parametrize("name", TRADE_FAULTS)
def test_fault_in_trade_events_is_found(name: str) -> None:
    make, expected, text = TRADE_FAULTS[name]
    checks = run_checks(trades=make())
    assert failed(checks) == expected
    assert any(text in problem for check in checks.values() for problem in check.problems)


def test_account_that_spends_more_than_it_has_is_found() -> None:
    checks = run_checks(openings=OPENINGS | {"bob": OpeningAccount("bob", PRICE_E4, COMMISSION_E4, 1_000, {})})
    assert failed(checks) == {"Money conserved"}
    assert "account bob ends with -24,901.3750 in cash" in checks["Money conserved"].problems[0]


def test_account_that_sells_more_than_it_has_is_found() -> None:
    checks = run_checks(openings=OPENINGS | {"alice": OpeningAccount("alice", 0, COMMISSION_E4, 1_000, {"ACME": 199})})
    assert failed(checks) == {"Shares conserved"}
    assert "account alice ends with -1 shares of ACME" in checks["Shares conserved"].problems[0]


def test_account_beyond_its_position_limit_is_found() -> None:
    checks = run_checks(openings=OPENINGS | {"bob": OpeningAccount("bob", 300 * PRICE_E4, COMMISSION_E4, 249, {})})
    assert failed(checks) == {"Shares conserved"}
    assert "its limit is 249" in checks["Shares conserved"].problems[0]


def test_fill_of_an_unknown_account_is_found() -> None:
    checks = run_checks(openings={"alice": OPENINGS["alice"]})
    assert "fill of account bob, which has no opening balance" in checks["Money conserved"].problems[0]


def test_dead_letter_that_is_missing_or_doubled_is_found() -> None:
    assert failed(run_checks(letters=LETTERS[1:])) == {"One answer per command"}
    assert failed(run_checks(letters=[*LETTERS, LETTERS[0]])) == {"One answer per command"}
    assert failed(run_checks(letters=[LETTERS[0], *LETTERS[2:]])) == {"One answer per command"}


def test_answer_to_a_command_that_is_not_archived_is_found() -> None:
    checks = run_checks(commands=COMMANDS[1:])
    assert checks["One answer per command"].problems == ("orders-0-0: answered, but no such command is archived",)


def test_orders_may_be_live_before_the_close() -> None:
    events = [row for row in EVENTS if row.event_id != "orders-0-0-5"]
    commands = [row for row in COMMANDS if row.offset != 2]
    assert failed(run_checks(commands=commands, events=events, session_over=False)) == set()


def test_archive_is_compared_by_position() -> None:
    good = TopicCount("orders", 3, 3)
    assert check_archived([good]).ok
    swapped = TopicCount("trade-events", 2, 2, ("0/1",), ("0/7",))
    assert "not archived: 0/1; archived but not in Kafka: 0/7" in check_archived([good, swapped]).problems[0]
    assert not check_archived([TopicCount("nbbo", 2, 3, repeated=1)]).ok
    assert not check_archived([TopicCount("nbbo", 3, 2)]).ok


def test_sent_records_must_all_be_in_kafka() -> None:
    assert check_sent({"orders": 2}, {"orders": 2, "nbbo": 5}).ok
    assert check_sent({"orders": 3}, {"orders": 2}).problems == ("orders: 3 sent and acknowledged, 2 in Kafka",)


def test_refusals_must_be_those_that_were_planted() -> None:
    assert check_expected({"A": 2}, {"A": 2}).ok
    assert check_expected({"A": 2}, {"A": 1}).problems == ("A: 2 expected, 1 found",)
    assert check_expected({}, {"B": 1}).problems == ("B: 0 expected, 1 found",)
    assert check_expected({"A": 1}, {"A": 3, "B": 1}, also=("A", "B")).ok
    assert check_expected({"A": 3}, {"A": 1}, also=("A",)).problems == ("A: at least 3 expected, 1 found",)


def test_only_the_first_problems_are_kept_and_all_are_counted() -> None:
    check = check_expected({str(number): 1 for number in range(100)}, {})
    assert (len(check.problems), check.problem_count, check.ok) == (8, 100, False)


@pytest.mark.parametrize(
    ("amount_e4", "text"),
    [(0, "0.00"), (12_345_678, "1,234.5678"), (12_345_600, "1,234.56"), (-5_000, "-0.50"), (1, "0.0001")],
)
def test_money_reads_like_money(amount_e4: int, text: str) -> None:
    assert money(amount_e4) == text


def test_cash_that_customers_move_is_conserved_and_lets_an_account_pay() -> None:
    poor = {**OPENINGS, "bob": OpeningAccount("bob", 5_000 * 10_000, COMMISSION_E4, 1_000, {})}
    short = run_checks(openings=poor)["Money conserved"]
    assert "account bob ends with" in short.problems[0]
    moves = [CashMove("d1", "bob", 30_000 * 10_000), CashMove("w1", "bob", -100 * 10_000), CashMove("w2", "alice", -1)]
    paid = run_checks(openings=poor, moves=moves)["Money conserved"]
    assert paid.ok
    assert paid.summary.startswith("5,000.00 + 29,899.9999 deposits = ")


@pytest.mark.parametrize(
    ("moves", "text"),
    [
        ([CashMove("d1", "bob", 1), CashMove("d1", "bob", 1)], "control d1 moved cash twice"),
        ([CashMove("d1", "eve", 1)], "control d1: cash of account eve, which has no opening balance"),
    ],
)
def test_cash_moved_twice_or_for_nobody_is_found(moves: list[CashMove], text: str) -> None:
    checks = run_checks(moves=moves)
    assert failed(checks) == {"Money conserved"}
    assert text in checks["Money conserved"].problems[0]
