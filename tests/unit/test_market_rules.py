"""Effective-dated numbers of the market and what is computed from them: each boundary from both sides."""

from __future__ import annotations

from random import Random

import pytest

from schemas.messages.enums import (
    ORDER_TYPE_LIMIT,
    ORDER_TYPE_MARKET,
    ORDER_TYPE_STOP,
    TIME_IN_FORCE_CLS,
    TIME_IN_FORCE_DAY,
    TIME_IN_FORCE_OPG,
)
from udfs.domain import circuit_breaker, close_out, fees, late_limits, luld_tables, rules, short_sale
from udfs.domain.fees import fee_allowance_e4, sale_fees_e4, section_31_fee_e4, taf_e4
from udfs.domain.rules import NEVER_NS, instant_ns
from udfs.domain.short_sale import ShortSaleTest
from udfs.domain.state_codec import StateReader, StateWriter

MINUTE = 60_000_000_000
TODAY = instant_ns("2026-11-20T12:00:00-05:00")
HALF_PENNY = instant_ns("2027-11-01T00:00:00-04:00")
ROUND_LOTS = instant_ns("2025-11-03T00:00:00-05:00")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:00+00:00", 0),
        ("2026-04-04T00:00:00-04:00", 1_775_275_200),
        ("2025-11-03T00:00:00-05:00", 1_762_146_000),
    ],
)
def test_instant_is_utc_nanoseconds(text: str, seconds: int) -> None:
    assert instant_ns(text) == seconds * 1_000_000_000


TABLES = {
    "collars": rules.COLLAR_BANDS,
    "ticks": rules.TICK_FLOORS,
    "round lots": rules.ROUND_LOT_TIERS,
    "limit protection": rules.LIMIT_PROTECTION,
    "auction clip": rules.AUCTION_CLIP,
    "auction cut-offs": rules.AUCTION_CUTOFFS,
    "reference prices before the close": late_limits.REFERENCE_TIMES,
    "access fees": rules.ACCESS_FEE_CAPS,
    "venue fees": rules.VENUE_FEES,
    "band terms": luld_tables.BAND_TERMS,
    "band widths": luld_tables.BAND_WIDTHS,
    "breaker levels": circuit_breaker.BREAKER_LEVELS,
    "price tests": short_sale.PRICE_TESTS,
    "close-out of fails": close_out.CLOSE_OUT_TERMS,
    "settlement": close_out.SETTLEMENT_CYCLES,
    "Section 31": fees.SECTION_31_RATES,
    "Trading Activity Fee": fees.TAF_RATES,
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_rise_by_effective_time_and_name_their_sources(name: str) -> None:
    rows = TABLES[name]
    times = [row.effective_from_ns for row in rows]
    assert rows
    assert times == sorted(times)
    assert all(row.source for row in rows)


#  price, the instrument's tick, increment until October 2027, from November 2027
INCREMENTS = [
    (9_999, 100, 1, 1),
    (1, 50, 1, 1),
    (10_000, 100, 100, 100),
    (10_000, 50, 100, 50),
    (10_000, 1, 100, 50),
    (500_0000, 500, 500, 500),
]


@pytest.mark.parametrize(("price", "tick", "before", "after"), INCREMENTS)
def test_minimum_increment_by_price_and_date(price: int, tick: int, before: int, after: int) -> None:
    assert rules.minimum_increment(price, tick, TODAY) == before
    assert rules.minimum_increment(price, tick, HALF_PENNY - 1) == before
    assert rules.minimum_increment(price, tick, HALF_PENNY) == after


#  price, round lot before 2025-11-03, since
ROUND_LOT = [
    (1, 100, 100),
    (250_0000, 100, 100),
    (250_0001, 100, 40),
    (1_000_0000, 100, 40),
    (1_000_0001, 100, 10),
    (10_000_0000, 100, 10),
    (10_000_0001, 100, 1),
    (700_000_0000, 100, 1),
]


@pytest.mark.parametrize(("price", "before", "since"), ROUND_LOT)
def test_round_lot_by_price_and_date(price: int, before: int, since: int) -> None:
    assert rules.round_lot(price, ROUND_LOTS - 1) == before
    assert rules.round_lot(price, ROUND_LOTS) == since
    assert rules.round_lot(price, TODAY) == since


#  buy, reference, worst limit price taken in: the collar's share, but $0.15 at least
PROTECTION = [
    (True, 1_0000, 1_1500),
    (True, 1_5000, 1_6500),
    (True, 1_6000, 1_7600),
    (True, 25_0000, 27_5000),
    (True, 25_0100, 26_2700),
    (True, 100_0000, 103_0000),
    (False, 1_0000, 8500),
    (False, 1_6000, 1_4400),
    (False, 1500, 1),
    (False, 1000, 1),
    (False, 100_0000, 97_0000),
]


@pytest.mark.parametrize(("is_buy", "reference", "worst"), PROTECTION)
def test_limit_protection_is_the_collar_or_fifteen_cents(is_buy: bool, reference: int, worst: int) -> None:
    assert rules.limit_protection_price(is_buy, reference, 100, TODAY) == worst


#  reference, tick, low, high: the greater of $0.50 and 10%, inwards to ticks
CLIPS = [
    (0, 100, 0, 0),
    (-5, 100, 0, 0),
    (5_0000, 100, 4_5000, 5_5000),
    (5_0100, 100, 4_5100, 5_5100),
    (5_1000, 100, 4_5900, 5_6100),
    (100_0000, 100, 90_0000, 110_0000),
    (100_0150, 100, 90_0200, 110_0100),
    (100_0150, 500, 90_0500, 110_0000),
    (4000, 100, 1, 9000),
    (1_2000, 100, 7000, 1_7000),
]


@pytest.mark.parametrize(("reference", "tick", "low", "high"), CLIPS)
def test_auction_clip_is_ten_percent_or_fifty_cents(reference: int, tick: int, low: int, high: int) -> None:
    assert rules.auction_clip(reference, tick, TODAY) == (low, high)


OPEN = instant_ns("2026-11-20T09:30:00-05:00")
CLOSE = instant_ns("2026-11-20T16:00:00-05:00")


@pytest.mark.parametrize(
    ("time_in_force", "order_type", "cutoff"),
    [
        (TIME_IN_FORCE_OPG, ORDER_TYPE_MARKET, instant_ns("2026-11-20T09:28:00-05:00")),
        (TIME_IN_FORCE_OPG, ORDER_TYPE_LIMIT, instant_ns("2026-11-20T09:28:00-05:00")),
        (TIME_IN_FORCE_CLS, ORDER_TYPE_MARKET, instant_ns("2026-11-20T15:50:00-05:00")),
        (TIME_IN_FORCE_CLS, ORDER_TYPE_LIMIT, instant_ns("2026-11-20T15:50:00-05:00")),
        (TIME_IN_FORCE_DAY, ORDER_TYPE_LIMIT, NEVER_NS),
        (TIME_IN_FORCE_CLS, ORDER_TYPE_STOP, NEVER_NS),
    ],
)
def test_auction_cutoff_by_kind_of_order(time_in_force: int, order_type: int, cutoff: int) -> None:
    assert rules.auction_cutoff_ns(time_in_force, order_type, OPEN, CLOSE) == cutoff


@pytest.mark.parametrize(
    ("time_in_force", "order_type", "before"),
    [
        (TIME_IN_FORCE_OPG, ORDER_TYPE_MARKET, 2),
        (TIME_IN_FORCE_OPG, ORDER_TYPE_LIMIT, 2),
        (TIME_IN_FORCE_CLS, ORDER_TYPE_MARKET, 5),
        (TIME_IN_FORCE_CLS, ORDER_TYPE_LIMIT, 2),
    ],
)
def test_auction_cutoff_at_nasdaq_is_later_at_the_close(time_in_force: int, order_type: int, before: int) -> None:
    auction = OPEN if time_in_force == TIME_IN_FORCE_OPG else CLOSE
    found = rules.auction_cutoff_ns(time_in_force, order_type, OPEN, CLOSE, False, rules.NASDAQ)
    assert found == auction - before * rules.MINUTE_NS


@pytest.mark.parametrize("order_type", [ORDER_TYPE_MARKET, ORDER_TYPE_LIMIT])
def test_auction_cutoff_at_nasdaq_is_that_of_all_before_october_2018(order_type: int) -> None:
    day_open = instant_ns("2018-10-18T09:30:00-04:00")
    day_close = instant_ns("2018-10-18T16:00:00-04:00")
    found = rules.auction_cutoff_ns(TIME_IN_FORCE_CLS, order_type, day_open, day_close, False, rules.NASDAQ)
    assert found == day_close - 10 * rules.MINUTE_NS


#  close, minutes before it at which reference prices for late limits are told
@pytest.mark.parametrize(
    ("close", "minutes"),
    [
        ("2018-10-18T16:00:00-04:00", []),
        ("2018-10-19T16:00:00-04:00", [5]),
        ("2019-10-01T16:00:00-04:00", [5]),
        ("2019-10-02T16:00:00-04:00", [10, 5]),
        ("2026-11-27T13:00:00-05:00", [10, 5]),
    ],
)
def test_reference_times_before_the_close_by_date(close: str, minutes: list[int]) -> None:
    close_ns = instant_ns(close)
    assert late_limits.reference_times(close_ns) == [close_ns - m * rules.MINUTE_NS for m in minutes]


@pytest.mark.parametrize(
    ("told", "buys_at", "sells_at"),
    [([], 0, 0), ([0], 0, 0), ([100], 100, 110), ([100, 0], 100, 110), ([120, 90], 115, 110), ([105, 112], 112, 110)],
)
def test_late_limit_gets_the_more_aggressive_reference_price(told: list[int], buys_at: int, sells_at: int) -> None:
    prices = late_limits.ReferencePrices()
    for price in told:
        prices.tell(price)
    assert (prices.priced(True, 115), prices.priced(False, 110)) == (buys_at, sells_at)


@pytest.mark.parametrize(("time_in_force", "auction"), [(TIME_IN_FORCE_OPG, OPEN), (TIME_IN_FORCE_CLS, CLOSE)])
def test_auction_cutoff_of_imbalance_only_orders_at_nasdaq_is_the_auction(time_in_force: int, auction: int) -> None:
    assert rules.auction_cutoff_ns(time_in_force, ORDER_TYPE_LIMIT, OPEN, CLOSE, True, rules.NASDAQ) == auction


@pytest.mark.parametrize(
    ("name", "listing"),
    [("XNAS", "XNAS"), ("XNGS", "XNAS"), ("XNCM", "XNAS"), ("Q", "XNAS"), ("XNYS", "XNYS"), ("N", "N"), ("", "")],
)
def test_listing_exchange_knows_nasdaq_by_all_its_names(name: str, listing: str) -> None:
    assert rules.listing_exchange(name) == listing


@pytest.mark.parametrize(("time_in_force", "cutoff"), [(TIME_IN_FORCE_OPG, OPEN), (TIME_IN_FORCE_CLS, CLOSE)])
def test_auction_cutoff_of_imbalance_only_orders_is_the_auction(time_in_force: int, cutoff: int) -> None:
    assert rules.auction_cutoff_ns(time_in_force, ORDER_TYPE_LIMIT, OPEN, CLOSE, True) == cutoff


def test_access_fee_cap_falls_to_a_third_in_november_2027() -> None:
    assert rules.access_fee_cap_e4(1_0000, HALF_PENNY - 1) == 30
    assert rules.access_fee_cap_e4(1_0000, HALF_PENNY) == 10
    # Below $1.00 a share of the price, in whole units: 0.3% of $0.50 is 15, 0.1% is 5.
    assert rules.access_fee_cap_e4(5000, HALF_PENNY - 1) == 15
    assert rules.access_fee_cap_e4(5000, HALF_PENNY) == 5
    assert rules.access_fee_cap_e4(9999, TODAY) == 29


def test_venue_fee_is_the_tables_and_never_above_the_cap() -> None:
    assert rules.venue_fee_e4("XNYS", 10_0000, TODAY) == 30
    assert rules.venue_fee_e4("IEXG", 10_0000, TODAY) == 10
    assert rules.venue_fee_e4("EDGA", 10_0000, TODAY) == 16
    assert rules.venue_fee_e4("EDGA", 10_0000, HALF_PENNY) == 10
    assert rules.venue_fee_e4(rules.OWN_VENUE, 10_0000, TODAY) == 0
    for row in rules.VENUE_FEES:
        assert 0 <= row.per_share_e4 <= 30


#  sold for, time -> fee
SECTION_31 = [
    (50_000_0000, "2026-04-04T00:00:00-04:00", 1_0300),
    (50_000_0000, "2026-04-03T23:59:59-04:00", 0),
    (50_000_0000, "2013-10-07T10:00:00-04:00", 0),
    (1_000_000_0000, "2026-11-20T10:00:00-05:00", 20_6000),
    # A cent for whatever is more than nothing; 485.43 dollars cost 0.99999 cents, 485.44 cost 1.0000064.
    (1, "2026-11-20T10:00:00-05:00", 100),
    (485_4300, "2026-11-20T10:00:00-05:00", 100),
    (485_4400, "2026-11-20T10:00:00-05:00", 200),
    (0, "2026-11-20T10:00:00-05:00", 0),
    (-5, "2026-11-20T10:00:00-05:00", 0),
    (10**16, "2026-11-20T10:00:00-05:00", 20_600_000_0000),
]


@pytest.mark.parametrize(("notional", "time", "fee"), SECTION_31)
def test_section_31_fee_is_rounded_up_to_the_cent(notional: int, time: str, fee: int) -> None:
    assert section_31_fee_e4(notional, instant_ns(time)) == fee


#  shares, time -> fee
ACTIVITY_FEES = [
    (1_000, "2025-12-31T23:59:59-05:00", 0),
    (1_000, "2026-01-01T00:00:00-05:00", 1950),
    (1, "2026-01-01T00:00:00-05:00", 1),
    (50_205, "2026-01-01T00:00:00-05:00", 9_7899),
    (50_206, "2026-01-01T00:00:00-05:00", 9_7900),
    (999_999, "2026-01-01T00:00:00-05:00", 9_7900),
    (1_000, "2026-09-30T23:59:59-04:00", 1950),
    (1_000, "2026-10-01T00:00:00-04:00", 0),
    (999_999, "2026-12-31T23:59:59-05:00", 0),
    (1_000, "2027-01-01T00:00:00-05:00", 2320),
    (50_043, "2027-06-01T10:00:00-04:00", 11_6099),
    (50_044, "2027-06-01T10:00:00-04:00", 11_6100),
    (1_000, "2027-12-31T23:59:59-05:00", 2320),
    (1_000, "2028-01-01T00:00:00-05:00", 2400),
    (50_208, "2028-01-01T00:00:00-05:00", 12_0499),
    (50_209, "2028-01-01T00:00:00-05:00", 12_0500),
    (0, "2026-01-01T00:00:00-05:00", 0),
    (-3, "2026-01-01T00:00:00-05:00", 0),
]


@pytest.mark.parametrize(("shares", "time", "fee"), ACTIVITY_FEES)
def test_trading_activity_fee_by_date_and_cap(shares: int, time: str, fee: int) -> None:
    assert taf_e4(shares, instant_ns(time)) == fee


#  shares, price, time -> both fees
SALES = [
    (1_000, 50_0000, "2026-04-02T10:00:00-04:00", 1950),
    (1_000, 50_0000, "2026-06-01T10:00:00-04:00", 1_0300 + 1950),
    (1_000, 50_0000, "2026-11-30T10:00:00-05:00", 1_0300),
    (1_000, 50_0000, "2027-03-01T10:00:00-05:00", 1_0300 + 2320),
    (1, 1, "2027-03-01T10:00:00-05:00", 100 + 2),
    (1_000, 50_0000, "2023-11-14T10:00:00-05:00", 0),
]


@pytest.mark.parametrize(("shares", "price", "time", "fees"), SALES)
def test_fees_of_a_sale_are_those_of_both_tables(shares: int, price: int, time: str, fees: int) -> None:
    assert sale_fees_e4(shares, price, instant_ns(time)) == fees


def test_fee_allowance_covers_every_sale_at_the_worst_price_or_better() -> None:
    rnd = Random(31)
    days = [row.effective_from_ns for row in fees.SECTION_31_RATES] + [row.effective_from_ns for row in fees.TAF_RATES]
    tightest = 10**9
    for _ in range(3_000):
        worst = rnd.choice((1, rnd.randint(1, 200), rnd.randint(1, 1_000_0000)))
        shares = rnd.choice((1, 1, rnd.randint(1, 10), rnd.randint(1, 100_000)))
        price = worst + rnd.choice((0, 0, 1, rnd.randint(0, 600_0000)))
        # What a better price brings more is there to pay with.
        spare = shares * (fee_allowance_e4(worst) + price - worst)
        for day in days:
            charged = sale_fees_e4(shares, price, day)
            assert charged <= spare, (worst, shares, price)
            if shares == 1:
                tightest = min(tightest, spare - charged)
    assert tightest <= 2
    assert fee_allowance_e4(100_0000) == 100 + 21 + 3


DAY = 24 * 60 * MINUTE


def begun(day: int) -> ShortSaleTest:
    """A test whose session of that day has begun."""
    test = ShortSaleTest()
    test.begin_session(OPEN + day * DAY, CLOSE + day * DAY)
    return test


@pytest.mark.parametrize(("price", "triggers"), [(90_0001, False), (90_0000, True), (50_0000, True), (0, False)])
def test_rule_201_triggers_at_ninety_percent_of_the_prior_close(price: int, triggers: bool) -> None:
    test = begun(0)
    assert test.on_trade(price, 100_0000, OPEN) is triggers
    assert test.restricted is triggers


def test_rule_201_unknown_prior_close_never_triggers() -> None:
    test = begun(0)
    assert not test.on_trade(1, 0, OPEN)
    assert not test.restricted


@pytest.mark.parametrize(("time", "triggers"), [(OPEN - 1, False), (OPEN, True), (CLOSE - 1, True), (CLOSE, False)])
def test_rule_201_looks_at_trades_in_regular_hours(time: int, triggers: bool) -> None:
    assert begun(0).on_trade(1_0000, 100_0000, time) is triggers


def test_rule_201_did_not_exist_before_its_compliance_date() -> None:
    for text, triggers in (("2011-02-28T00:00:00-05:00", True), ("2011-02-27T23:59:59-05:00", False)):
        test = ShortSaleTest()
        time = instant_ns(text)
        test.begin_session(time, time + MINUTE)
        assert test.on_trade(1_0000, 100_0000, time) is triggers


def test_rule_201_lasts_for_the_next_session_and_no_longer() -> None:
    test = begun(0)
    assert test.on_trade(90_0000, 100_0000, OPEN + MINUTE)
    assert not test.on_trade(80_0000, 100_0000, OPEN + 2 * MINUTE)
    assert not test.begin_session(OPEN, CLOSE)
    assert test.restricted
    assert not test.begin_session(OPEN + DAY, CLOSE + DAY)
    assert test.restricted
    assert test.begin_session(OPEN + 2 * DAY, CLOSE + 2 * DAY)
    assert not test.restricted


def test_rule_201_triggers_again_while_in_force_and_is_prolonged() -> None:
    test = begun(0)
    test.on_trade(90_0000, 100_0000, OPEN)
    test.begin_session(OPEN + DAY, CLOSE + DAY)
    assert test.on_trade(81_0000, 90_0000, OPEN + DAY)
    assert not test.begin_session(OPEN + 2 * DAY, CLOSE + 2 * DAY)
    assert test.restricted
    assert test.begin_session(OPEN + 3 * DAY, CLOSE + 3 * DAY)


def test_rule_201_snapshot_continues() -> None:
    test = begun(0)
    test.on_trade(90_0000, 100_0000, OPEN)
    out = StateWriter()
    test.write(out)
    other = ShortSaleTest()
    reader = StateReader(out.finish(1, 9), 9, 1)
    other.read(reader)
    reader.expect_end()
    for day, restricted in ((1, True), (2, False)):
        for each in (test, other):
            each.begin_session(OPEN + day * DAY, CLOSE + day * DAY)
            assert each.restricted is restricted
