"""The reconciliation of replaced, restated, triggered, auctioned and short orders: a day that adds up, and how it could not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from jobs.reconcile import AuctionRow, Check, CommandRow, ControlRow, EventRow, OpeningAccount, TradeRow, check_controls
from jobs.reconcile_money import check_auctions, check_conservation, check_fills, check_pairs
from jobs.reconcile_orders import check_commands, check_lives, final_states, follow_orders, orders_by_type

COMMISSION_E4 = 35
PRICE_E4 = 1_000_000
AT = 1_803_913_200_000_000_000
"""2027-03-01, 10:00 in New York."""
SALE_FEES_E4 = {"SELL": 2_332, "SELL_SHORT": 1_216}
"""Of 100 and of 50 shares at 100.00 on that day: 0.21 and 0.11 of Section 31, and 0.000232 a share."""

COMMANDS = [
    CommandRow(0, 0, "NEW", "sell", "alice", 300),
    CommandRow(0, 1, "REPLACE", "sell", "alice", 200),
    CommandRow(0, 2, "NEW", "stop", "bob", 100),
    CommandRow(0, 3, "REPLACE", "sell", "alice", 100),
    CommandRow(0, 4, "NEW", "short", "carol", 50),
    CommandRow(0, 5, "REPLACE", "sell", "alice", 500),
    CommandRow(0, 6, "NEW", "wait", "bob", 70),
    CommandRow(0, 7, "NEW", "kill", "bob", 80),
]
ORDERS = {
    0: ("sell", "alice", "SELL", "LIMIT", "DAY"),
    2: ("stop", "bob", "BUY", "STOP", "DAY"),
    4: ("short", "carol", "SELL_SHORT", "LIMIT", "FOK"),
    6: ("wait", "bob", "BUY", "LIMIT", "GTC"),
    7: ("kill", "bob", "BUY", "LIMIT", "FOK"),
}


def event(
    origin: int,
    sequence: int,
    status: str,
    quantity: int,
    cum: int = 0,
    last: int = 0,
    trade: str | None = None,
    cause: str | None = None,
    event_type: str = "STATUS",
    reason: str = "NONE",
) -> EventRow:
    """An event of the order that the command at offset `origin` placed; all trade at one price."""
    order_id, account_id, side, order_type, time_in_force = ORDERS[origin]
    over = status in ("EXECUTED", "CANCELLED", "EXPIRED")
    return EventRow(
        event_id=f"orders-0-{origin}-{sequence}",
        event_type=event_type,
        order_id=order_id,
        account_id=account_id,
        symbol="ACME",
        side=side,
        order_type=order_type,
        time_in_force=time_in_force,
        quantity=quantity,
        status=status,
        reason=reason,
        cum_quantity=cum,
        leaves_quantity=0 if over else quantity - cum,
        last_quantity=last,
        price_e4=PRICE_E4 if last else None,
        trade_id=trade,
        sequence=sequence,
        cause_id=cause or f"orders-0-{origin}",
        time_ns=AT,
    )


def accepted(origin: int, quantity: int, steps: int = 3) -> list[EventRow]:
    """The first events of an order that reaches the book."""
    return [
        event(origin, number, status, quantity)
        for number, status in enumerate(("VALIDATED", "RISK_APPROVED", "ROUTED")[:steps], 1)
    ]


EVENTS = [
    *accepted(0, 300),
    event(0, 4, "REPLACED", 200, cause="orders-0-1", reason="REPLACE_REQUESTED"),
    event(0, 5, "REPLACED", 150, event_type="RESTATED", reason="MATCH_SELF_TRADE", cause="orders-0-9"),
    event(0, 6, "PARTIALLY_FILLED", 150, 100, 100, "T-0-2-5", "controls-0-4"),
    event(0, 7, "CANCELLED", 150, 100, cause="orders-0-3", reason="REPLACE_FILLED"),
    *accepted(2, 100),
    event(2, 4, "ROUTED", 100, event_type="TRIGGERED", reason="STOP_TRIGGERED", cause="ACME-7"),
    event(2, 5, "EXECUTED", 100, 100, 100, "T-0-2-5", "controls-0-4"),
    *accepted(4, 50),
    event(4, 4, "EXECUTED", 50, 50, 50, "T-0-4-4"),
    event(
        0, 0, "CANCELLED", 500, event_type="REPLACE_REJECTED", reason="REPLACE_TOO_LATE", cause="orders-0-5"
    )._replace(event_id="orders-0-5-R"),
    *accepted(6, 70),
    *accepted(7, 80, 2),
    event(7, 3, "CANCELLED", 80, reason="MATCH_FOK_UNFILLED"),
]


def trade(row: EventRow, contra: str | None, venue: str, liquidity: str) -> TradeRow:
    """The trade event of a fill."""
    assert row.trade_id is not None
    return TradeRow(
        f"{row.trade_id}-{row.side[0]}",
        row.trade_id,
        row.order_id,
        contra,
        row.account_id,
        row.symbol,
        row.side,
        row.last_quantity,
        PRICE_E4,
        row.last_quantity * COMMISSION_E4 + SALE_FEES_E4.get(row.side, 0),
        venue,
        liquidity,
        row.sequence,
        SALE_FEES_E4.get(row.side, 0),
    )


FILLS = [row for row in EVENTS if row.last_quantity]
TRADES = [
    trade(FILLS[1], "sell", "TRDS", "AUCTION"),
    trade(FILLS[0], "stop", "TRDS", "AUCTION"),
    trade(FILLS[2], None, "XNYS", "ROUTED"),
]
FREE = [row._replace(commission_e4=row.commission_e4 - row.fees_e4, fees_e4=0) for row in TRADES]
"""The same trades as those of a contract, which pay no regulatory fees."""
AUCTIONS = [AuctionRow("ACME-2", "ACME", "OPEN", "SESSION", PRICE_E4, 100)]
OPENINGS = {
    "alice": OpeningAccount("alice", 0, COMMISSION_E4, 1_000, {"ACME": 300}),
    "bob": OpeningAccount("bob", 300 * PRICE_E4, COMMISSION_E4, 1_000, {}),
    "carol": OpeningAccount("carol", 0, COMMISSION_E4, 1_000, {}, margin=True),
}


def run_checks(
    commands: list[CommandRow] = COMMANDS,
    events: list[EventRow] = EVENTS,
    trades: list[TradeRow] = TRADES,
    auctions: list[AuctionRow] = AUCTIONS,
    openings: dict[str, OpeningAccount] = OPENINGS,
    multipliers: dict[str, int] | None = None,
) -> dict[str, Check]:
    """All checks over the rows, by name."""
    findings = follow_orders(events)
    answered, _ = check_commands(commands, [], findings)
    paired, totals = check_pairs(trades, multipliers)
    shares, cash = check_conservation(openings, list(findings.fills.values()), totals, multipliers)
    checks = [
        answered,
        check_lives(findings, session_over=True),
        check_fills(findings.fills, trades),
        paired,
        check_auctions(auctions, totals),
        shares,
        cash,
    ]
    return {check.name: check for check in checks}


def failed(checks: dict[str, Check]) -> set[str]:
    """Names of the checks that found something."""
    return {name for name, check in checks.items() if not check.ok}


def changed(event_id: str, **changes: object) -> list[EventRow]:
    """The events with one of them changed."""
    assert any(row.event_id == event_id for row in EVENTS)
    return [row._replace(**changes) if row.event_id == event_id else row for row in EVENTS]  # type: ignore[arg-type]


def without(event_id: str) -> list[EventRow]:
    """The events without one of them, with the sequences closed up behind it."""
    origin, _, number = event_id.rpartition("-")
    rows = []
    for row in EVENTS:
        own, _, _ = row.event_id.rpartition("-")
        if row.event_id == event_id:
            continue
        if own == origin and row.sequence > int(number):
            row = row._replace(event_id=f"{own}-{row.sequence - 1}", sequence=row.sequence - 1)
        rows.append(row)
    return rows


def test_day_of_every_rule_adds_up() -> None:
    checks = run_checks()
    assert {name: check.problems for name, check in checks.items() if not check.ok} == {}
    assert checks["One answer per command"].summary == (
        "8 commands = 5 orders + 0 cancellations + 2 replacements + 1 refused + 0 dead letters"
    )
    assert checks["One life per order"].summary == "5 orders: 4 ended, 1 live (good till cancelled: 1)"
    assert checks["Auctions add up"].summary == "1 auctions, 100 shares, as their trades say"
    assert checks["Shares conserved"].summary == "300 at the open -50 from the street = 250"


def test_counts_of_a_day() -> None:
    findings = follow_orders(EVENTS)
    assert final_states(findings) == {"CANCELLED": 2, "EXECUTED": 2, "LIVE": 1}
    assert findings.stages["TRIGGERED"] == findings.stages["RESTATED"] == findings.stages["REPLACED"] == 1
    assert findings.refused_reasons == {"REPLACE_TOO_LATE": 1}
    assert findings.endings == {"REPLACE_FILLED": 1, "MATCH_FOK_UNFILLED": 1}
    assert orders_by_type(findings) == {"LIMIT": {"DAY": 1, "FOK": 2, "GTC": 1}, "STOP": {"DAY": 1}}
    assert check_pairs(TRADES)[1].short_shares == 50


FAULTS: dict[str, tuple[Callable[[], list[EventRow]], set[str], str]] = {
    "a quantity that changes by itself": (
        lambda: changed("orders-0-2-3", quantity=90, leaves_quantity=90),
        {"One life per order"},
        "it is over 90 shares, but was over 100",
    ),
    "a restatement that adds shares": (
        lambda: changed("orders-0-0-5", quantity=250, leaves_quantity=250),
        {"One life per order"},
        "RESTATED from 200 to 250 shares",
    ),
    "a restatement that changes the state": (
        lambda: changed("orders-0-0-5", status="ROUTED"),
        {"One life per order"},
        "RESTATED says ROUTED, the order is REPLACED",
    ),
    "a stop that trades without a trigger": (
        lambda: without("orders-0-2-4"),
        {"One life per order", "Fills = trades"},
        "EXECUTED, but the stop was not triggered",
    ),
    "a trigger of an order that is no stop": (
        lambda: changed("orders-0-0-5", event_type="TRIGGERED", quantity=200, leaves_quantity=200),
        {"One life per order"},
        "TRIGGERED, but it is a LIMIT",
    ),
    "a replacement without an answer": (
        lambda: without("orders-0-0-4"),
        {"One answer per command", "One life per order", "Fills = trades"},
        "orders-0-1: REPLACE sell has 0 answers instead of one",
    ),
    "a replacement that is answered as a cancel": (
        lambda: changed("orders-0-0-7", reason="CANCEL_REQUESTED"),
        {"One answer per command"},
        "orders-0-3: REPLACE sell is answered as a CANCEL",
    ),
    "a fill or kill order that ends half filled": (
        lambda: [
            *(row for row in EVENTS if row.event_id != "orders-0-4-4"),
            event(4, 4, "PARTIALLY_FILLED", 50, 20, 20, "T-0-4-4"),
            event(4, 5, "CANCELLED", 50, 20, reason="MATCH_IOC_REMAINDER"),
        ],
        {"One life per order", "Fills = trades", "Shares conserved", "Money conserved"},
        "fill or kill, but CANCELLED with 20 shares filled",
    ),
    "an order for the day that lives on": (
        lambda: [row._replace(time_in_force="DAY") if row.order_id == "wait" else row for row in EVENTS],
        {"One life per order"},
        "order wait of bob (orders-0-6) is still ROUTED after the close",
    ),
    "a sale with another mark than was ordered": (
        lambda: changed("orders-0-4-4", side="SELL"),
        {"Fills = trades"},
        "'SELL_SHORT'",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_fault_in_order_events_is_found(name: str) -> None:
    make, expected, text = FAULTS[name]
    checks = run_checks(events=make())
    assert failed(checks) == expected, {check.name: check.problems for check in checks.values()}
    assert any(text in problem for check in checks.values() for problem in check.problems)


def test_auction_that_its_trades_do_not_make_is_found() -> None:
    assert "auctions over 0 shares, 100 traded in them" in run_checks(auctions=[])["Auctions add up"].problems[0]
    moved = [AUCTIONS[0]._replace(price_e4=PRICE_E4 + 100)]
    assert len(run_checks(auctions=moved)["Auctions add up"].problems) == 2


def test_sides_of_an_auction_must_both_say_so() -> None:
    trades = [TRADES[0], TRADES[1]._replace(liquidity="ADDED"), TRADES[2]]
    assert failed(run_checks(trades=trades)) == {"Buyers = sellers", "Auctions add up"}


def test_only_margin_accounts_may_owe_shares_and_money() -> None:
    cash = OPENINGS | {"carol": OpeningAccount("carol", 0, COMMISSION_E4, 1_000, {})}
    assert "carol ends with -50 shares" in run_checks(openings=cash)["Shares conserved"].problems[0]
    poor = OPENINGS | {"bob": OpeningAccount("bob", 0, COMMISSION_E4, 1_000, {}, margin=True)}
    assert failed(run_checks(openings=poor)) == set()


def test_short_position_beyond_the_limit_is_found() -> None:
    checks = run_checks(openings=OPENINGS | {"carol": OpeningAccount("carol", 0, COMMISSION_E4, 49, {}, margin=True)})
    assert "carol ends with -50 shares of ACME, its limit is 49" in checks["Shares conserved"].problems[0]


def test_money_of_a_contract_is_its_price_times_its_multiplier() -> None:
    assert failed(run_checks(trades=FREE, multipliers={"ACME": 2})) == set()
    assert check_pairs(TRADES, {"ACME": 100})[1].notional_e4 == 100 * check_pairs(TRADES)[1].notional_e4
    poor = OPENINGS | {"bob": OpeningAccount("bob", 150 * PRICE_E4, COMMISSION_E4, 1_000, {})}
    assert failed(run_checks(openings=poor)) == set()
    assert failed(run_checks(trades=FREE, openings=poor, multipliers={"ACME": 2})) == {"Money conserved"}


def test_regulatory_fees_of_a_contract_are_found() -> None:
    checks = run_checks(multipliers={"ACME": 2})
    assert failed(checks) == {"Money conserved"}
    assert "regulatory fees: 0.3548 in trade events, 0.00 by the tables" in checks["Money conserved"].problems


def test_controls_are_answered_once_and_applied() -> None:
    kill, halt = ControlRow("k", "CONTROL_APPLIED", "kind=KILL"), ControlRow("h", "CONTROL_APPLIED", "kind=HALT")
    assert check_controls(["k", "h"], [kill, halt]).ok
    assert check_controls(["k", "h"], [kill]).problems == ("control h has 0 answers instead of one",)
    assert check_controls(["k"], [kill, kill]).problems == ("control k has 2 answers instead of one",)
    assert check_controls(["k"], [kill, halt]).problems == ("control h is answered, but was not sent",)
    refused = kill._replace(type="CONTROL_REJECTED", detail="problem=no such account")
    assert "no such account" in check_controls(["k"], [refused]).problems[0]
