"""What an open order holds after a split: neither less than its shares may cost, nor the price of an order of before."""

from __future__ import annotations

import pytest
import trading_harness as h

from udfs.domain.fees import fee_allowance_e4


def test_shares_that_self_trade_prevention_takes_off_an_order_of_after_the_split_leave_its_price() -> None:
    # The replacement is of the next session's own time and comes before it: matching does not split it, risk cannot know.
    desk = h.Desk(check_every_step=True)
    later = h.NEXT_OPEN + h.SECOND
    desk.run(
        [
            h.instrument("IBM"),
            h.account("A", 1_000_000_0000, {"IBM": 100}, commission=50),
            h.session("2023-11-14", h.OPEN, h.CLOSE),
            h.session("2023-11-15", h.NEXT_OPEN, h.NEXT_CLOSE),
            h.action("S", "SPLIT", "IBM", "2023-11-15", ratioNumerator=2, ratioDenominator=1),
            h.snapshot_end(),
            ("clock", h.OPEN),
            h.order("b1", "A", "IBM", "BUY", 100, 20_0000, "GTC"),
            h.order("b1", "A", "IBM", "BUY", 90, 20_0000, "GTC", later, command="REPLACE"),
            ("settle", None),
            ("clock", h.NEXT_OPEN),
            h.order("s1", "A", "IBM", "SELL", 30, 20_0000, "IOC", later, stp="DECREMENT"),
            ("settle", None),
        ]
    )
    (order,) = desk.risk[0].book.open.values()
    assert (order.remaining, order.price_e4, order.unit_e4) == (60, 20_0000, 20_0050)
    assert order.account.reserved_e4 == 60 * 20_0050


@pytest.mark.parametrize(("price", "ends"), [(200, True), (300, False)])
def test_sale_that_a_split_leaves_below_its_costs_ends_whatever_is_reserved(price: int, ends: bool) -> None:
    # A new share sold on its own pays up to 0.0103 of fees and 0.0025 of commission: 0.01 does not bring that, 0.02 does.
    desk = h.Desk(check_every_step=True)
    records = desk.run(
        [
            h.instrument("IBM", tick=1),
            h.account("A", 0, {"IBM": 100}, commission=50),
            h.session("2023-11-14", h.OPEN, h.CLOSE),
            h.session("2023-11-15", h.NEXT_OPEN, h.NEXT_CLOSE),
            h.action("S", "SPLIT", "IBM", "2023-11-15", ratioNumerator=2, ratioDenominator=1),
            h.snapshot_end(),
            ("clock", h.OPEN),
            h.order("s1", "A", "IBM", "SELL", 100, price, "GTC"),
            ("settle", None),
            ("clock", h.NEXT_OPEN),
            ("settle", None),
        ]
    )
    last = [r for topic, r in records if topic == "order-events"][-1]
    assert (last["status"], last["reason"]) == (
        ("CANCELLED", "CANCEL_CORPORATE_ACTION") if ends else ("ROUTED", "CORPORATE_ACTION")
    )
    assert desk.risk[0].book.accounts["A"].reserved_e4 == 0


def test_margin_sale_reserves_a_cent_of_fees_for_each_share_that_a_split_makes() -> None:
    desk = h.Desk(check_every_step=True)
    desk.run(
        [
            h.instrument("IBM", priorClose=20_0000),
            h.account("M", 100_000_0000, {"IBM": 100}, commission=50, accountType="MARGIN"),
            h.session("2023-11-14", h.OPEN, h.CLOSE),
            h.session("2023-11-15", h.NEXT_OPEN, h.NEXT_CLOSE),
            h.action("S", "SPLIT", "IBM", "2023-11-15", ratioNumerator=2, ratioDenominator=1),
            h.snapshot_end(),
            ("clock", h.OPEN),
            h.order("s1", "M", "IBM", "SELL", 100, 25_0000, "GTC"),
            ("settle", None),
        ]
    )
    (order,) = desk.risk[0].book.open.values()
    before = order.unit_e4
    desk.run([("clock", h.NEXT_OPEN), ("settle", None)])
    # A cent and the activity fee of a share stay what they were, whatever the share is worth.
    assert order.unit_e4 == -(-before // 2) + fee_allowance_e4(0)
    assert order.unit_e4 >= 25 + fee_allowance_e4(12_5000)
