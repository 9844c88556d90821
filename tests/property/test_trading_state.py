"""State of earlier releases: their committed snapshots restore into today's engines, which go on with the orders in them."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trading_harness as h
from test_trading_reference import check_orders

from schemas.messages.enums import ORDER_TYPE_NAMES, SIDE_NAMES, TIME_IN_FORCE_NAMES
from udfs.domain.book import QUEUED, RESTING, WAITING, Order

GOLDEN = Path(__file__).resolve().parent.parent / "golden"


def first_release() -> h.Desk:
    """Both stages as the first release left them in the middle of a day: orders rest, money and shares are reserved."""
    desk = h.Desk(check_every_step=True)
    for name, engine in (("match", desk.match[0]), ("risk", desk.risk[0])):
        engine.restore(b64decode((GOLDEN / f"{name}_state_v1.txt").read_text(encoding="ascii")))
    desk.offsets = dict.fromkeys(range(10), 10000)
    desk.check()
    return desk


def resting(desk: h.Desk) -> list[Order]:
    """Orders in the books of the snapshot, oldest first."""
    return sorted(desk.match[0].matcher.live.values(), key=lambda order: order.rank)


def totals(desk: h.Desk) -> tuple[int, int, dict[str, int]]:
    """Cash, reserved money and shares of all accounts."""
    accounts = desk.risk[0].book.accounts.values()
    shares: dict[str, int] = {}
    for account in accounts:
        for symbol, position in account.positions.items():
            shares[symbol] = shares.get(symbol, 0) + position.quantity
    return sum(a.cash_e4 for a in accounts), sum(a.reserved_e4 for a in accounts), shares


def topic(records: list[h.Record], name: str) -> list[dict[str, Any]]:
    """The records of one topic."""
    return [record for found, record in records if found == name]


def command(order: Order, kind: str, timestamp: int, **fields: Any) -> h.Step:
    """A cancel or replacement that restates an order of the snapshot."""
    return h.order(
        order.order_id,
        order.account_id,
        order.symbol,
        SIDE_NAMES[order.side],
        order.quantity,
        order.limit_price,
        TIME_IN_FORCE_NAMES[order.time_in_force],
        timestamp,
        **{"orderType": ORDER_TYPE_NAMES[order.order_type], "command": kind, **fields},
    )


def test_first_release_snapshot_holds_orders_money_and_shares() -> None:
    desk = first_release()
    orders = resting(desk)
    assert len(orders) >= 10
    assert {order.is_buy for order in orders} == {True, False}
    cash, reserved, shares = totals(desk)
    assert cash > reserved > 0
    assert min(shares.values()) > 0
    # Both stages agree about what is open.
    book = desk.risk[0].book
    assert {order.key for order in orders} == set(book.open)
    assert all(book.open[o.key].remaining == o.quantity - o.cum_quantity for o in orders)


def test_first_release_snapshot_written_again_is_todays_and_the_same() -> None:
    desk = first_release()
    before = totals(desk)
    kept = [(o.key, o.rank, o.quantity, o.cum_quantity, o.worst_price) for o in resting(desk)]
    desk.restart()
    assert totals(desk) == before
    assert [(o.key, o.rank, o.quantity, o.cum_quantity, o.worst_price) for o in resting(desk)] == kept


def test_first_release_orders_can_be_cancelled_and_give_everything_back() -> None:
    desk = first_release()
    now = desk.match[0].clock_ns
    orders = resting(desk)
    records = desk.run([*(command(o, "CANCEL", now) for o in orders), ("settle", None)])
    events = topic(records, "order-events")
    assert [(e["orderId"], e["status"], e["reason"]) for e in events] == [
        (o.order_id, "CANCELLED", "CANCEL_REQUESTED") for o in orders
    ]
    assert totals(desk)[1] == 0
    assert not desk.risk[0].book.open
    check_orders(records)


def test_first_release_orders_are_filled_in_their_priority_and_settled() -> None:
    desk = first_release()
    now = desk.match[0].clock_ns
    symbol = max({o.symbol for o in resting(desk)}, key=lambda s: sum(o.symbol == s for o in resting(desk)))
    bids = [o for o in resting(desk) if o.symbol == symbol and o.is_buy]
    want = [o.order_id for o in sorted(bids, key=lambda o: (-o.worst_price, o.rank))]
    open_shares = sum(o.quantity - o.cum_quantity for o in bids)
    assert bids
    cash, _, shares = totals(desk)
    records = desk.run(
        [
            # Without exchanges in between the orders meet our book alone.
            h.quote(symbol, 10_000, [], now + 1),
            h.account("NEW", positions={symbol: open_shares}, commission=0),
            h.order("n1", "NEW", symbol, "SELL", open_shares, 1_0000 if symbol != "PENNY" else 100, "IOC", now + 1),
            ("settle", None),
        ]
    )
    trades = [t for t in topic(records, "trade-events") if t["side"] == "BUY"]
    assert list(dict.fromkeys(t["orderId"] for t in trades)) == want
    assert sum(t["quantity"] for t in trades) == open_shares
    fees = sum(t["commission"] for t in trades)
    after_cash, _, after_shares = totals(desk)
    assert after_cash == cash + 10_000_000_0000 - fees
    assert after_shares[symbol] == shares[symbol] + open_shares
    check_orders(records)


def test_first_release_orders_are_not_replaced_before_their_total_is_known() -> None:
    # That release did not keep an order's total in the risk stage: after a fill it is known again.
    desk = first_release()
    now = desk.match[0].clock_ns
    order = resting(desk)[0]
    (event,) = topic(desk.run([command(order, "REPLACE", now)]), "order-events")
    assert (event["eventType"], event["reason"]) == ("REPLACE_REJECTED", "REPLACE_NOT_ALLOWED")
    records = desk.run([command(order, "CANCEL", now), ("settle", None)])
    assert topic(records, "order-events")[0]["status"] == "CANCELLED"


def test_first_release_desk_goes_on_with_everything_that_is_new() -> None:
    desk = first_release()
    now = desk.match[0].clock_ns
    symbol = "IBM"
    records = desk.run(
        [
            h.instrument(symbol, priorClose=24_0000, luldTier=1),
            h.account("NEW", positions={symbol: 1_000}, stpGroup="G"),
            h.quote(symbol, 10_000, [("XNYS", 23_9900, 100, 24_0100, 100)], now + 1),
            h.order("n1", "NEW", symbol, "SELL", 100, None, "GTC", now + 1, orderType="STOP", stopPrice=23_5000),
            h.order("n2", "NEW", symbol, "SELL", 300, 25_0000, "GTC", now + 1),
            h.order("n2", "NEW", symbol, "SELL", 200, 25_0000, "GTC", now + 1, command="REPLACE"),
            h.quote(symbol, 10_001, [("XNYS", 23_4000, 100, 23_6000, 100)], now + 2, prints=[23_4500]),
            h.control("HALT", symbol, now + 2),
            h.control("KILL", "NEW", now + 2, scope="ACCOUNT", controlId="k"),
            ("settle", None),
        ]
    )
    events = topic(records, "order-events")
    assert [e["eventType"] for e in events if e["orderId"] == "n1"].count("TRIGGERED") == 1
    assert {e["status"] for e in events if e["orderId"] == "n2"} >= {"REPLACED", "CANCELLED"}
    assert [s["state"] for s in topic(records, "market-status")][-1] == "HALTED"
    desk.restart()
    desk.run([("clock", h.NEXT_CLOSE), ("settle", None)])
    assert totals(desk)[1] == 0


STATES = [
    ("match", 1),
    ("match", 2),
    ("match", 3),
    ("risk", 1),
    ("risk", 2),
    ("risk", 3),
    ("risk", 4),
    ("risk", 5),
    ("risk", 6),
]


@pytest.mark.parametrize(("name", "version"), STATES)
def test_committed_snapshots_are_of_their_version(name: str, version: int) -> None:
    assert b64decode((GOLDEN / f"{name}_state_v{version}.txt").read_text(encoding="ascii"))[0] == version


def second_release() -> h.Desk:
    """Both stages as the release before the instructions of orders left them: limits rest, stops wait, the close is due."""
    desk = h.Desk(check_every_step=True)
    for name, engine in (("match", desk.match[0]), ("risk", desk.risk[0])):
        engine.restore(b64decode((GOLDEN / f"{name}_state_v2.txt").read_text(encoding="ascii")))
    desk.offsets = dict.fromkeys(range(10), 1000)
    desk.check()
    return desk


def test_second_release_orders_have_no_instructions_and_go_on_to_their_end() -> None:
    desk = second_release()
    places = {o.order_id: o.place for o in resting(desk)}
    assert places == {
        **dict.fromkeys(("b1", "b2", "b3", "s1"), RESTING),
        **dict.fromkeys(("s2", "s3"), WAITING),
        **dict.fromkeys(("c1", "c2"), QUEUED),
    }
    assert not any(o.imbalance_only or o.do_not_reduce for o in resting(desk))
    assert not any(o.do_not_reduce for o in desk.risk[0].book.open.values())
    before = totals(desk)
    desk.restart()
    assert totals(desk) == before
    now = desk.match[0].clock_ns
    venues = [("XNYS", 19_4000, 500, 20_5000, 500)]
    records = desk.run(
        [
            h.order("b1", "A1", "IBM", "BUY", 240, 99_4000, "GTC", now + 1, command="REPLACE"),
            h.quote("GE", 2, venues, now + 2, prints=[19_5000]),
            ("settle", None),
            ("clock", h.CLOSE),
            ("settle", None),
        ]
    )
    ends = {e["orderId"]: e["status"] for e in topic(records, "order-events")}
    # The stops sell to the street; at the close 50 shares meet and the rest of the larger order is not filled.
    assert ends == {
        "b1": "REPLACED",
        "b2": "EXPIRED",
        "s2": "EXECUTED",
        "s3": "EXECUTED",
        "c1": "CANCELLED",
        "c2": "EXECUTED",
    }
    assert sorted(o.order_id for o in resting(desk)) == ["b1", "b3", "s1"]
    check_orders(records)


def test_orders_keep_their_instructions_over_a_restart() -> None:
    desk = second_release()
    now = desk.match[0].clock_ns
    desk.run(
        [
            h.order("n1", "A1", "IBM", "BUY", 10, 99_0000, "GTC", now + 1, doNotReduce=True),
            h.order("n2", "A1", "IBM", "BUY", 10, 99_0000, "GTC", now + 1, doNotReduce=False),
            ("settle", None),
        ]
    )
    desk.restart()
    assert [o.order_id for o in resting(desk) if o.do_not_reduce] == ["n1"]
    assert [o.order_id for o in desk.risk[0].book.open.values() if o.do_not_reduce] == ["n1"]


FEES_OPEN = 1_796_049_000 * h.SECOND
"""2026-11-30, 9:30 in New York: a million sold pays 20.60, and no share pays an activity fee."""


def release_without_fees() -> h.Desk:
    """Both stages as the release before regulatory fees left them that day: s1 rests, w1 waits as a stop, c1 for the close."""
    desk = h.Desk(check_every_step=True)
    for name, version, engine in (("match", 3, desk.match[0]), ("risk", 4, desk.risk[0])):
        engine.restore(b64decode((GOLDEN / f"{name}_state_v{version}.txt").read_text(encoding="ascii")))
    desk.offsets = dict.fromkeys(range(10), 1000)
    desk.check()
    return desk


def test_release_without_fees_its_orders_pay_none_and_new_ones_do() -> None:
    desk = release_without_fees()
    places = {o.order_id: o.place for o in resting(desk)}
    assert places == {"s1": RESTING, "b1": RESTING, "c1": QUEUED, "w1": WAITING}
    assert [o.order_id for o in resting(desk) if o.imbalance_only] == ["c1"]
    assert [o.order_id for o in resting(desk) if o.do_not_reduce] == ["b1"]
    now = FEES_OPEN + h.SECOND
    records = desk.run(
        [
            h.order("n1", "A1", "IBM", "SELL", 40, 100_0000, "GTC", now),
            h.order("n2", "A2", "IBM", "BUY", 120, 100_0000, "GTC", now + 1),
            ("settle", None),
        ]
    )
    assert [o.order_id for o in resting(desk) if o.pays_fees] == ["n1"]
    desk.restart()
    assert [o.order_id for o in resting(desk) if o.pays_fees] == ["n1"]
    records += desk.run([h.order("n3", "A2", "IBM", "BUY", 20, 100_0000, "GTC", now + 2), ("settle", None)])
    sold = [(t["orderId"], t["quantity"], t["commission"], t["fees"]) for t in topic(records, "trade-events")]
    # 2,000.00 sold pay 0.0412, which is five cents.
    assert sorted(row for row in sold if row[0] in ("s1", "n1")) == [
        ("n1", 20, 500, 500),
        ("n1", 20, 500, 500),
        ("s1", 100, 0, None),
    ]
    assert totals(desk)[0] == 100_000_0000 - 2 * 500
    check_orders(records)


def release_with_listings() -> h.Desk:
    """The risk stage as the release that began to keep listing exchanges left it at 15:54 of the first day."""
    desk = h.Desk(check_every_step=True)
    desk.risk[0].restore(b64decode((GOLDEN / "risk_state_v5.txt").read_text(encoding="ascii")))
    desk.offsets = dict.fromkeys(range(10), 1000)
    return desk


@pytest.mark.parametrize("restore", [release_with_listings, release_without_fees])
def test_listing_exchange_is_kept_from_version_5_on_and_unknown_before(restore: Callable[[], h.Desk]) -> None:
    desk = restore()
    kept = {name: state.listing for name, state in desk.risk[0].reference.instruments.items()}
    assert kept == ({"IBM": "XNYS", "AAPL": "XNAS"} if restore is release_with_listings else {"IBM": ""})
    desk.restart()
    assert {name: state.listing for name, state in desk.risk[0].reference.instruments.items()} == kept


def test_release_with_listings_takes_orders_for_the_close_as_the_listing_exchange_does() -> None:
    desk = release_with_listings()
    late = h.CLOSE - 4 * 60 * h.SECOND
    records = desk.run(
        [
            h.order("n1", "A1", "IBM", "SELL", 10, 100_0000, "CLS", late),
            h.order("n2", "A1", "AAPL", "SELL", 10, 100_0000, "CLS", late),
        ]
    )
    assert [(e["orderId"], e["reason"]) for e in topic(records, "order-events") if e["status"] == "REJECTED"] == [
        ("n1", "VALIDATION_AUCTION_CUTOFF")
    ]
    assert [order.order_id for order in desk.risk[0].book.open.values()] == ["n2"]


def test_release_without_reference_prices_prices_late_orders_once_it_knows_the_listing() -> None:
    # Both stages at 15:54 of the first day: s1 sells and b1 buys AAPL at the close, r1 rests.
    desk = h.Desk(check_every_step=True)
    for name, engine in (("match_state_v4", desk.match[0]), ("risk_state_v6_close", desk.risk[0])):
        engine.restore(b64decode((GOLDEN / f"{name}.txt").read_text(encoding="ascii")))
    desk.offsets = dict.fromkeys(range(10), 1000)
    desk.restart()
    guard = desk.match[0].protection.guards["AAPL"]
    assert (guard.listing, desk.match[0].protection.deadline_ns) == ("", h.CLOSE - 10 * 60 * h.SECOND)
    desk.run([h.instrument("AAPL", primaryExchange="XNAS"), ("clock", h.CLOSE - 5 * 60 * h.SECOND)])
    desk.restart()
    prices = desk.match[0].protection.guards["AAPL"].late_prices
    # 100 shares meet from 100.00 to 101.00, and nothing is asked: nearest to the prior close.
    assert (prices.low_e4, prices.high_e4) == (100_0000, 100_0000)
    late = h.CLOSE - 4 * 60 * h.SECOND
    desk.run([h.order("l1", "A2", "AAPL", "BUY", 10, 105_0000, "CLS", late)])
    assert {o.order_id: o.worst_price for o in resting(desk)}["l1"] == 100_0000


def test_release_with_fails_goes_on_to_their_deadline() -> None:
    # A1 owes 100 of IBM, of which 40 are bought, by the opening of the second day; a short sale rests.
    desk = h.Desk(check_every_step=True)
    desk.risk[0].restore(b64decode((GOLDEN / "risk_state_v6.txt").read_text(encoding="ascii")))
    desk.offsets = dict.fromkeys(range(10), 1000)
    desk.restart()
    records = desk.run(
        [("clock", h.NEXT_OPEN), h.order("n1", "A1", "IBM", "SELL_SHORT", 1, 101_0000, "DAY", h.NEXT_OPEN)]
    )
    (missed,) = [r for r in topic(records, "risk-events") if r["type"] == "CLOSE_OUT_MISSED"]
    assert (missed["accountId"], missed["observedValue"]) == ("A1", 60)
    assert [e["reason"] for e in topic(records, "order-events") if e["status"] == "REJECTED"] == ["RISK_CLOSE_OUT"]
