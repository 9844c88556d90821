"""Margin requirements by hand: every expected number is worked out in the comment or the name beside it."""

from __future__ import annotations

import pytest

from schemas.messages.enums import (
    INTRADAY_RULE_BLOCK,
    INTRADAY_RULE_INTRADAY_MARGIN,
    INTRADAY_RULE_LEGACY_DAY_TRADER,
)
from udfs.domain.margin import (
    OptionLeg,
    futures_initial,
    futures_maintenance,
    options_requirement,
    stock_initial,
    stock_maintenance,
)
from udfs.domain.margin_rules import (
    CALL_TERMS,
    DAY_NS,
    DAY_TRADER_TERMS,
    FUTURES_MARGINS,
    INTRADAY_TERMS,
    OPTION_MARGINS,
    STOCK_MARGINS,
    StockMargin,
    day_trader_terms,
    futures_margin,
    intraday_rule,
    option_margin,
    stock_margin,
)
from udfs.domain.rules import instant_ns

NEW, BLOCK, LEGACY = INTRADAY_RULE_INTRADAY_MARGIN, INTRADAY_RULE_BLOCK, INTRADAY_RULE_LEGACY_DAY_TRADER
NOW = instant_ns("2026-11-20T10:00:00-05:00")
SOON, LATE = NOW + 30 * DAY_NS, NOW + 300 * DAY_NS
DOLLAR = 10_000


def leg(right: str, strike: int, quantity: int, mark: float, expiry: int = SOON, broad: bool = False) -> OptionLeg:
    """An option of 100 shares; strike and mark in dollars."""
    return OptionLeg(right == "CALL", strike * DOLLAR, expiry, 100, broad, quantity, round(mark * DOLLAR))


def need(legs: list[OptionLeg], shares: int = 0, price: int = 100) -> float:
    """Requirement in dollars."""
    return options_requirement(option_margin(NOW), legs, shares, price * DOLLAR, NOW) / DOLLAR


@pytest.mark.parametrize(
    ("quantity", "price", "initial", "maintenance"),
    [
        (100, 100, 5_000, 2_500),
        (-100, 100, 5_000, 3_000),
        # 30% of 10.00 is 3.00 a share, less than the 5.00 of the rule, which is the initial half as well.
        (-100, 10, 500, 500),
        (-100, 5, 500, 500),
        # Below 5.00: all of it, at least 2.50 a share.
        (-100, 4, 400, 400),
        (-100, 2, 250, 250),
        (0, 100, 0, 0),
    ],
)
def test_stock_requirement_of_regulation_t_and_4210(quantity: int, price: int, initial: int, maintenance: int) -> None:
    rules = stock_margin(NOW)
    assert stock_initial(rules, quantity, price * DOLLAR) == initial * DOLLAR
    assert stock_maintenance(rules, quantity, price * DOLLAR) == maintenance * DOLLAR


def test_stock_requirement_is_rounded_up() -> None:
    assert stock_maintenance(stock_margin(NOW), 1, 1) == 1
    assert stock_initial(stock_margin(NOW), 3, 1) == 2


def test_futures_requirement_is_maintenance_and_a_tenth() -> None:
    assert futures_maintenance(-2, 900_0000) == 1_800_0000
    assert futures_initial(futures_margin(NOW), -2, 900_0000) == 1_980_0000


@pytest.mark.parametrize(
    ("legs", "shares", "price", "expected"),
    [
        # Long: the premium in full, three quarters of it beyond nine months.
        ([leg("CALL", 100, 2, 4)], 0, 100, 800),
        ([leg("CALL", 100, 2, 4, LATE)], 0, 100, 600),
        # Naked: 20% of 100 less what it is out of the money, at least 10% of the underlying or of the strike.
        ([leg("CALL", 100, -1, 4)], 0, 100, 2_000),
        ([leg("CALL", 105, -1, 2)], 0, 100, 1_500),
        ([leg("CALL", 120, -1, 1)], 0, 100, 1_000),
        ([leg("PUT", 95, -1, 2)], 0, 100, 1_500),
        ([leg("PUT", 80, -1, 1)], 0, 100, 800),
        ([leg("PUT", 110, -1, 12)], 0, 100, 2_000),
        # A broad index: 15%.
        ([leg("CALL", 100, -1, 4, SOON, True)], 0, 100, 1_500),
        # Covered by shares, a contract at a time; an index is not delivered.
        ([leg("CALL", 100, -2, 4)], 199, 100, 2_000),
        ([leg("CALL", 100, -2, 4)], 200, 100, 0),
        ([leg("CALL", 100, -1, 4, SOON, True)], 100, 100, 1_500),
        ([leg("PUT", 100, -1, 4)], 100, 100, 2_000),
        # Credit spread: it can lose 500, and to close it now costs 200 that the equity lacks already.
        ([leg("CALL", 100, -1, 4), leg("CALL", 105, 1, 2)], 0, 100, 300),
        ([leg("PUT", 100, -1, 4), leg("PUT", 95, 1, 2)], 0, 100, 300),
        # Debit spread: nothing can be lost but the 200 that it is worth.
        ([leg("CALL", 105, -1, 2), leg("CALL", 100, 1, 4)], 0, 100, 200),
        # The long option expires first: no spread, both on their own.
        ([leg("CALL", 100, -1, 4, LATE), leg("CALL", 105, 1, 2)], 0, 100, 2_200),
        # A call does not limit what a put loses.
        ([leg("PUT", 100, -1, 4), leg("CALL", 95, 1, 6)], 0, 100, 2_600),
        # Two written, one partner: the other is naked.
        ([leg("CALL", 100, -2, 4), leg("CALL", 105, 1, 2)], 0, 100, 2_300),
        # A spread so wide that naked is cheaper: 20% less nothing against 4,000 - 350.
        ([leg("CALL", 100, -1, 4), leg("CALL", 140, 1, 0.5)], 0, 100, 2_050),
    ],
)
def test_options_requirement(legs: list[OptionLeg], shares: int, price: int, expected: float) -> None:
    assert need(legs, shares, price) == expected


def test_written_calls_with_the_lowest_strike_are_covered_first() -> None:
    # The 100 strike is covered; the 110 strike is naked: 20% of 105 less 5 out of the money.
    assert need([leg("CALL", 110, -1, 1), leg("CALL", 100, -1, 6)], 100, 105) == 1_600


def test_table_row_of_a_later_time_replaces_the_one_before() -> None:
    later = StockMargin(NOW + 1, 6_000, 5_000, 3_000, 3_000, 1, 1, 1, 1, 1, "a later rule")
    STOCK_MARGINS.append(later)
    try:
        assert [stock_margin(time).initial_long for time in (0, NOW, NOW + 1)] == [5_000, 5_000, 6_000]
    finally:
        STOCK_MARGINS.pop()


def test_legacy_day_trader_rule_ends_when_its_phase_in_period_does() -> None:
    end = instant_ns("2027-10-20T00:00:00-04:00")
    assert day_trader_terms(end - 1) is DAY_TRADER_TERMS[0]
    assert day_trader_terms(end) is None


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ("2026-06-03T23:59:59-04:00", (LEGACY, LEGACY, LEGACY)),
        ("2026-06-04T00:00:00-04:00", (NEW, BLOCK, LEGACY)),
        ("2027-10-19T23:59:59-04:00", (NEW, BLOCK, LEGACY)),
        ("2027-10-20T00:00:00-04:00", (NEW, BLOCK, NEW)),
    ],
)
def test_intraday_rule_is_the_flag_only_between_the_dates(moment: str, expected: tuple[int, int, int]) -> None:
    time_ns = instant_ns(moment)
    assert tuple(intraday_rule(flag, time_ns) for flag in (NEW, BLOCK, LEGACY)) == expected


def test_every_row_names_its_source() -> None:
    rows = [*STOCK_MARGINS, *OPTION_MARGINS, *FUTURES_MARGINS, *CALL_TERMS, *INTRADAY_TERMS, *DAY_TRADER_TERMS]
    assert all(row.source for row in rows)
