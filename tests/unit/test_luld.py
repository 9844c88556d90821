"""Limit up-limit down of one symbol: bands by tier and price, the reference, limit states, pauses."""

from __future__ import annotations

import pytest

from udfs.domain.luld import LIMIT_STATE, NORMAL, PAUSED, STRADDLE, PriceBands
from udfs.domain.rules import NEVER_NS, instant_ns
from udfs.domain.state_codec import StateReader, StateWriter

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
OPEN = instant_ns("2026-11-20T09:30:00-05:00")
CLOSE = instant_ns("2026-11-20T16:00:00-05:00")
LAST_25 = instant_ns("2026-11-20T15:35:00-05:00")
LAST_10 = instant_ns("2026-11-20T15:50:00-05:00")


def opened(
    reference: int = 100_0000,
    *,
    tier: int = 1,
    leverage: int = 1,
    prior_close: int = 100_0000,
    open_ns: int = OPEN,
    close_ns: int = CLOSE,
) -> PriceBands:
    """Bands after the opening auction."""
    bands = PriceBands(tier, leverage, prior_close)
    bands.begin_session(open_ns, close_ns)
    bands.open_price(reference, open_ns)
    bands.changed = False
    return bands


def limits(bands: PriceBands) -> tuple[int, int]:
    """Lower and upper band."""
    return bands.lower_e4, bands.upper_e4


#  tier, leverage, prior close, reference -> bands at noon, bands in the last 25 minutes
WIDTHS = [
    (1, 1, 3_0001, 100_0000, (95_0000, 105_0000), (90_0000, 110_0000)),
    (2, 1, 3_0001, 100_0000, (90_0000, 110_0000), (90_0000, 110_0000)),
    (1, 1, 3_0000, 3_0000, (2_4000, 3_6000), (1_8000, 4_2000)),
    (2, 1, 3_0000, 3_0000, (2_4000, 3_6000), (1_8000, 4_2000)),
    (1, 1, 7500, 1_0000, (8000, 1_2000), (6000, 1_4000)),
    (2, 1, 7500, 1_0000, (8000, 1_2000), (6000, 1_4000)),
    (1, 1, 7499, 7000, (5500, 8500), (4000, 1_0000)),
    (2, 1, 7499, 7000, (5500, 8500), (4000, 1_0000)),
    # 75% of $0.10 is less than $0.15: 0.025 and 0.175, half a cent up.
    (1, 1, 1000, 1000, (300, 1800), (0, 2500)),
    # The prior close decides, not the present price.
    (1, 1, 2_9900, 100_0000, (80_0000, 120_0000), (60_0000, 140_0000)),
    (1, 1, 100_0000, 2_0000, (1_9000, 2_1000), (1_8000, 2_2000)),
    # Leverage widens the bands of tier 2 only, for inverse products too.
    (2, 3, 50_0000, 100_0000, (70_0000, 130_0000), (70_0000, 130_0000)),
    (2, -2, 50_0000, 100_0000, (80_0000, 120_0000), (80_0000, 120_0000)),
    (2, 0, 50_0000, 100_0000, (90_0000, 110_0000), (90_0000, 110_0000)),
    (1, 3, 50_0000, 100_0000, (95_0000, 105_0000), (90_0000, 110_0000)),
    (2, 2, 5000, 5000, (2000, 8000), (0, 1_1000)),
    # Rounded to the cent, half a cent up: 9.5095 and 10.5105; 0.9500 x 10.0100 and so on.
    (1, 1, 10_0000, 10_0100, (9_5100, 10_5100), (9_0100, 11_0100)),
    (1, 1, 10_0000, 10_1000, (9_6000, 10_6100), (9_0900, 11_1100)),
    # No prior close: the reference decides.
    (1, 1, 0, 100_0000, (95_0000, 105_0000), (90_0000, 110_0000)),
    (1, 1, 0, 2_0000, (1_6000, 2_4000), (1_2000, 2_8000)),
    # Below a cent there is still an upper band.
    (2, 1, 10, 10, (0, 100), (0, 100)),
    # Not covered by the plan.
    (0, 1, 100_0000, 100_0000, (0, 0), (0, 0)),
]


@pytest.mark.parametrize(("tier", "leverage", "prior_close", "reference", "noon", "late"), WIDTHS)
def test_bands_by_tier_leverage_and_prior_close(
    tier: int, leverage: int, prior_close: int, reference: int, noon: tuple[int, int], late: tuple[int, int]
) -> None:
    bands = opened(reference, tier=tier, leverage=leverage, prior_close=prior_close)
    assert limits(bands) == noon
    bands.advance(LAST_25 - 1)
    assert limits(bands) == noon
    bands.changed = False
    bands.advance(LAST_25)
    assert limits(bands) == late
    assert bands.changed is (noon != late)


#  opening -> tier 1 in the first 15 minutes, after them; tier 2 above $3 in the last 25 minutes
ERAS = [
    ("2013-04-05T09:30:00-04:00", (0, 0), (0, 0), (0, 0)),
    ("2013-10-07T09:30:00-04:00", (90_0000, 110_0000), (95_0000, 105_0000), (80_0000, 120_0000)),
    ("2020-02-21T09:30:00-05:00", (90_0000, 110_0000), (95_0000, 105_0000), (80_0000, 120_0000)),
    ("2020-02-24T09:30:00-05:00", (95_0000, 105_0000), (95_0000, 105_0000), (90_0000, 110_0000)),
]


@pytest.mark.parametrize(("opening", "first", "after", "late"), ERAS)
def test_doubling_by_date(opening: str, first: tuple[int, int], after: tuple[int, int], late: tuple[int, int]) -> None:
    start = instant_ns(opening)
    end = start + 390 * MINUTE
    bands = opened(open_ns=start, close_ns=end)
    assert limits(bands) == first
    bands.advance(start + 15 * MINUTE - 1)
    assert limits(bands) == first
    bands.advance(start + 15 * MINUTE)
    assert limits(bands) == after
    second = opened(tier=2, open_ns=start, close_ns=end)
    second.advance(end - 25 * MINUTE)
    assert limits(second) == late


def test_doubling_on_a_half_day_is_in_its_last_25_minutes() -> None:
    close = instant_ns("2026-11-27T13:00:00-05:00")
    bands = opened(open_ns=instant_ns("2026-11-27T09:30:00-05:00"), close_ns=close)
    assert bands.next_deadline_ns() == close - 25 * MINUTE
    bands.advance(close - 25 * MINUTE)
    assert limits(bands) == (90_0000, 110_0000)


def test_no_bands_before_the_opening_price_and_after_the_close() -> None:
    bands = PriceBands(1, 1, 100_0000)
    bands.begin_session(OPEN, CLOSE)
    bands.on_quote(1_0000, 2_0000, OPEN + SECOND)
    assert (limits(bands), bands.state, bands.next_deadline_ns()) == ((0, 0), NORMAL, NEVER_NS)
    bands.open_price(100_0000, OPEN + MINUTE)
    assert limits(bands) == (95_0000, 105_0000)
    bands.advance(CLOSE)
    assert (limits(bands), bands.reference_e4, bands.next_deadline_ns()) == ((0, 0), 0, NEVER_NS)


def test_open_price_unknown_takes_the_prior_close() -> None:
    assert opened(0, prior_close=50_0000).reference_e4 == 50_0000
    assert opened(0, prior_close=0).reference_e4 == 0


def test_first_trades_make_the_reference_where_there_was_no_opening_price() -> None:
    bands = PriceBands(1, 1, 100_0000)
    bands.begin_session(OPEN, CLOSE)
    bands.on_trades(99_0000, 1, OPEN - 1)
    assert bands.reference_e4 == 0
    bands.on_trades(202_0000, 2, OPEN)
    assert bands.reference_e4 == 101_0000


#  mean of the trades, seconds after the opening -> reference
REFERENCES = [
    (100_9999, 60, 100_0000),
    (101_0000, 60, 101_0000),
    (99_0001, 60, 100_0000),
    (99_0000, 60, 99_0000),
    (104_0000, 29, 100_0000),
    (104_0000, 30, 104_0000),
]


@pytest.mark.parametrize(("mean", "seconds", "reference"), REFERENCES)
def test_reference_moves_by_one_percent_after_thirty_seconds(mean: int, seconds: int, reference: int) -> None:
    bands = opened()
    bands.on_trades(4 * mean, 4, OPEN + seconds * SECOND)
    assert bands.reference_e4 == reference
    assert bands.changed is (reference != 100_0000)


def test_reference_that_waits_for_its_thirty_seconds_is_a_deadline() -> None:
    bands = opened()
    bands.on_trades(104_0000, 1, OPEN + SECOND)
    assert bands.next_deadline_ns() == OPEN + 30 * SECOND
    bands.advance(OPEN + 30 * SECOND)
    assert (bands.reference_e4, limits(bands)) == (104_0000, (98_8000, 109_2000))
    assert bands.next_deadline_ns() == LAST_25


def test_reference_that_no_longer_differs_is_no_deadline() -> None:
    bands = opened()
    bands.on_trades(104_0000, 1, OPEN + SECOND)
    bands.on_trades(96_0000, 1, OPEN + 2 * SECOND)
    assert bands.next_deadline_ns() == LAST_25


def test_reference_is_the_mean_of_five_minutes_half_a_unit_up() -> None:
    bands = opened()
    bands.on_trades(100_0000, 1, OPEN + MINUTE)
    bands.on_trades(102_0000 + 102_0001, 2, OPEN + 2 * MINUTE)
    # (100 + 102 + 102.0001) / 3 = 101.33336...
    assert bands.reference_e4 == 101_3334
    # The trade at 100 is older than five minutes, and so are soon the others.
    bands.on_trades(105_0000, 1, OPEN + 6 * MINUTE + SECOND)
    assert bands.reference_e4 == 103_0000
    bands.on_trades(105_0000, 1, OPEN + 9 * MINUTE)
    assert bands.reference_e4 == 105_0000


def test_reference_stays_while_nothing_trades() -> None:
    bands = opened()
    bands.advance(OPEN + 60 * MINUTE)
    assert bands.reference_e4 == 100_0000


#  bid, ask (0: none) -> state; bands 95 and 105
STATES = [
    (99_0000, 101_0000, NORMAL),
    (94_0000, 95_0000, LIMIT_STATE),
    (95_0000, 95_0000, LIMIT_STATE),
    (95_0100, 95_0000, NORMAL),
    (94_0000, 94_9900, LIMIT_STATE),
    (94_9900, 95_0100, STRADDLE),
    (95_0000, 95_0100, NORMAL),
    (105_0000, 106_0000, LIMIT_STATE),
    (105_0100, 106_0000, LIMIT_STATE),
    (105_0000, 105_0000, LIMIT_STATE),
    (105_0000, 104_0000, NORMAL),
    (104_9900, 105_0100, STRADDLE),
    (104_9900, 105_0000, NORMAL),
    (105_0000, 0, LIMIT_STATE),
    (0, 95_0000, LIMIT_STATE),
    (0, 0, NORMAL),
    (0, 105_0100, STRADDLE),
    (94_9900, 0, STRADDLE),
]


@pytest.mark.parametrize(("bid", "ask", "state"), STATES)
def test_state_by_quote(bid: int, ask: int, state: int) -> None:
    bands = opened()
    bands.on_quote(bid, ask, OPEN + MINUTE)
    assert bands.state == state
    assert bands.changed is (state != NORMAL)
    assert bands.next_deadline_ns() == (OPEN + MINUTE + 15 * SECOND if state == LIMIT_STATE else LAST_25)


def test_limit_state_of_fifteen_seconds_becomes_a_pause_of_five_minutes() -> None:
    bands = opened()
    begin = OPEN + MINUTE
    bands.on_quote(94_0000, 95_0000, begin)
    bands.on_quote(94_5000, 95_0000, begin + 15 * SECOND - 1)
    assert bands.state == LIMIT_STATE
    bands.changed = False
    bands.on_quote(99_0000, 101_0000, begin + 15 * SECOND)
    assert bands.state == PAUSED
    assert bands.changed
    end = begin + 15 * SECOND + 5 * MINUTE
    assert (bands.pause_ends_ns, bands.next_deadline_ns()) == (end, end)
    assert not bands.reopening_due(end - 1)
    assert bands.reopening_due(end)
    assert not bands.pauses_to_close()


def test_limit_state_ends_when_the_quote_leaves_the_band() -> None:
    bands = opened()
    bands.on_quote(94_0000, 95_0000, OPEN + MINUTE)
    bands.on_quote(94_0000, 95_0100, OPEN + MINUTE + SECOND)
    assert bands.state == STRADDLE
    bands.on_quote(95_0000, 95_0100, OPEN + MINUTE + 2 * SECOND)
    assert bands.state == NORMAL
    bands.advance(OPEN + 2 * MINUTE)
    assert bands.state == NORMAL


def test_limit_state_at_the_other_band_lasts_fifteen_seconds_of_its_own() -> None:
    bands = opened()
    bands.on_quote(94_0000, 95_0000, OPEN + MINUTE)
    bands.on_quote(105_0000, 106_0000, OPEN + MINUTE + 10 * SECOND)
    assert bands.next_deadline_ns() == OPEN + MINUTE + 25 * SECOND
    bands.advance(OPEN + MINUTE + 24 * SECOND)
    assert bands.state == LIMIT_STATE


def test_bands_do_not_move_in_a_limit_state_and_follow_the_mean_after_it() -> None:
    bands = opened()
    bands.on_quote(94_0000, 95_0000, OPEN + MINUTE)
    bands.on_trades(10 * 95_0000, 10, OPEN + MINUTE + 10 * SECOND)
    assert (bands.reference_e4, limits(bands)) == (100_0000, (95_0000, 105_0000))
    bands.on_quote(95_0000, 95_5000, OPEN + MINUTE + 12 * SECOND)
    assert (bands.state, bands.reference_e4, limits(bands)) == (NORMAL, 95_0000, (90_2500, 99_7500))


def test_mean_after_a_limit_state_need_not_be_one_percent_away() -> None:
    bands = opened()
    bands.on_trades(100_5000, 1, OPEN + MINUTE)
    assert bands.reference_e4 == 100_0000
    bands.on_quote(94_0000, 95_0000, OPEN + MINUTE)
    bands.on_quote(99_0000, 100_0000, OPEN + MINUTE + SECOND)
    assert bands.reference_e4 == 100_5000


def test_doubling_waits_for_the_end_of_a_limit_state() -> None:
    bands = opened()
    bands.on_quote(94_0000, 95_0000, LAST_25 - SECOND)
    bands.advance(LAST_25)
    assert limits(bands) == (95_0000, 105_0000)
    bands.on_quote(95_0000, 95_0100, LAST_25 + SECOND)
    assert limits(bands) == (90_0000, 110_0000)


def test_bands_that_reach_the_quote_begin_a_limit_state() -> None:
    bands = opened()
    bands.on_quote(97_0000, 98_0000, OPEN + MINUTE)
    bands.on_trades(5 * 103_2000, 5, OPEN + 2 * MINUTE)
    assert limits(bands) == (98_0400, 108_3600)
    assert bands.state == LIMIT_STATE


def test_bands_that_widen_end_a_straddle_state() -> None:
    bands = opened()
    bands.on_quote(94_0000, 96_0000, OPEN + MINUTE)
    assert bands.state == STRADDLE
    bands.advance(LAST_25)
    assert bands.state == NORMAL


def paused() -> PriceBands:
    """A pause that began at 09:31:15 and ends at 09:36:15."""
    bands = opened()
    bands.on_quote(94_0000, 95_0000, OPEN + MINUTE)
    bands.advance(OPEN + MINUTE + 15 * SECOND)
    bands.changed = False
    return bands


def test_reopening_gives_a_new_reference_and_forgets_old_quotes_and_trades() -> None:
    bands = paused()
    bands.on_trades(95_0000, 1, OPEN + 6 * MINUTE)
    bands.reopened(94_0000, OPEN + 7 * MINUTE)
    assert (bands.state, bands.pause_ends_ns, bands.changed) == (NORMAL, 0, True)
    assert (bands.reference_e4, limits(bands)) == (94_0000, (89_3000, 98_7000))
    bands.on_trades(94_0000, 1, OPEN + 9 * MINUTE)
    assert bands.reference_e4 == 94_0000
    assert bands.next_deadline_ns() == LAST_25


def test_reopening_without_a_price_keeps_the_reference() -> None:
    bands = paused()
    bands.reopened(0, OPEN + 7 * MINUTE)
    assert (bands.state, bands.reference_e4) == (NORMAL, 100_0000)


def test_reopening_that_is_late_stays_due() -> None:
    bands = paused()
    bands.advance(OPEN + 8 * MINUTE)
    assert bands.state == PAUSED
    assert bands.next_deadline_ns() == OPEN + 6 * MINUTE + 15 * SECOND
    assert bands.reopening_due(OPEN + 8 * MINUTE)


def test_extension_adds_five_minutes_to_the_end_or_to_now() -> None:
    bands = paused()
    bands.extend(OPEN + 6 * MINUTE)
    assert bands.pause_ends_ns == OPEN + 11 * MINUTE + 15 * SECOND
    assert bands.changed
    bands.extend(OPEN + 12 * MINUTE)
    assert bands.pause_ends_ns == OPEN + 17 * MINUTE
    opened().extend(OPEN + 12 * MINUTE)


#  when the limit state begins -> when the pause ends, and whether the closing auction ends it
LATE_PAUSES = [
    (LAST_10 - 5 * MINUTE - 16 * SECOND, LAST_10 - SECOND, False),
    (LAST_10 - 5 * MINUTE - 15 * SECOND, CLOSE, True),
    (LAST_10, CLOSE, True),
    (CLOSE - 16 * SECOND, CLOSE, True),
]


@pytest.mark.parametrize(("begin", "end", "to_close"), LATE_PAUSES)
def test_pause_in_the_last_ten_minutes_lasts_to_the_closing_auction(begin: int, end: int, to_close: bool) -> None:
    bands = opened(tier=2)
    bands.on_quote(89_0000, 90_0000, begin)
    bands.advance(begin + 15 * SECOND)
    assert (bands.state, bands.pause_ends_ns, bands.pauses_to_close()) == (PAUSED, end, to_close)
    assert bands.reopening_due(CLOSE - 1) is not to_close


def test_pause_that_is_not_reopened_by_ten_minutes_before_the_close_lasts_to_it() -> None:
    bands = opened(tier=2)
    bands.on_quote(89_0000, 90_0000, LAST_10 - 6 * MINUTE)
    bands.advance(LAST_10 - SECOND)
    assert bands.reopening_due(LAST_10 - SECOND)
    bands.advance(LAST_10)
    assert bands.pauses_to_close()
    assert bands.next_deadline_ns() == CLOSE
    bands.extend(LAST_10 + SECOND)
    assert bands.pause_ends_ns == CLOSE


def test_extension_into_the_last_ten_minutes_lasts_to_the_close() -> None:
    bands = opened(tier=2)
    bands.on_quote(89_0000, 90_0000, LAST_10 - 8 * MINUTE)
    bands.advance(LAST_10 - 7 * MINUTE)
    bands.extend(LAST_10 - 2 * MINUTE)
    assert bands.pauses_to_close()


def test_limit_state_at_the_close_does_not_pause() -> None:
    bands = opened(tier=2)
    bands.on_quote(89_0000, 90_0000, CLOSE - 15 * SECOND)
    bands.advance(CLOSE + MINUTE)
    assert (bands.state, bands.pause_ends_ns, limits(bands)) == (NORMAL, 0, (0, 0))


def test_one_long_step_meets_all_deadlines_on_the_way() -> None:
    bands = opened()
    bands.on_quote(94_0000, 95_0000, LAST_25 - 10 * SECOND)
    bands.advance(LAST_10)
    assert (bands.state, bands.pauses_to_close()) == (PAUSED, True)
    bands.advance(CLOSE)
    assert (bands.state, bands.next_deadline_ns()) == (NORMAL, NEVER_NS)


def test_pause_by_the_listing_exchange() -> None:
    bands = opened()
    bands.on_quote(94_0000, 96_0000, OPEN + MINUTE)
    bands.pause(OPEN + 2 * MINUTE)
    assert (bands.state, bands.pause_ends_ns) == (PAUSED, OPEN + 7 * MINUTE)
    bands.pause(OPEN + 3 * MINUTE)
    assert bands.pause_ends_ns == OPEN + 7 * MINUTE


def test_another_halt_stops_the_limit_state_until_trading_resumes() -> None:
    bands = opened()
    bands.on_quote(94_0000, 95_0000, OPEN + MINUTE)
    bands.suspend(OPEN + MINUTE + SECOND)
    bands.on_quote(94_0000, 95_0000, OPEN + MINUTE + 2 * SECOND)
    bands.advance(OPEN + 5 * MINUTE)
    assert bands.state == NORMAL
    bands.reopened(95_0000, OPEN + 6 * MINUTE)
    bands.on_quote(90_0000, 90_2500, OPEN + 6 * MINUTE)
    assert bands.state == LIMIT_STATE


def test_configure_moves_the_bands_at_once_but_not_in_a_limit_state() -> None:
    bands = opened()
    bands.configure(1, 1, 100_0000)
    assert not bands.changed
    bands.configure(2, 1, 100_0000)
    assert (limits(bands), bands.changed) == ((90_0000, 110_0000), True)
    bands.on_quote(89_0000, 90_0000, OPEN + MINUTE)
    bands.configure(1, 1, 100_0000)
    assert limits(bands) == (90_0000, 110_0000)
    bands.configure(0, 1, 100_0000)
    assert (limits(bands), bands.state, bands.next_deadline_ns()) == ((0, 0), NORMAL, NEVER_NS)


def test_session_begun_again_only_moves_the_close() -> None:
    bands = opened()
    bands.begin_session(OPEN, CLOSE - 60 * MINUTE)
    assert limits(bands) == (95_0000, 105_0000)
    assert bands.next_deadline_ns() == LAST_25 - 60 * MINUTE
    bands.begin_session(OPEN + 24 * 60 * MINUTE, CLOSE + 24 * 60 * MINUTE)
    assert (limits(bands), bands.reference_e4) == ((0, 0), 0)


def test_session_whose_close_is_moved_to_the_past_is_over() -> None:
    bands = opened()
    bands.advance(OPEN + 60 * MINUTE)
    bands.begin_session(OPEN, OPEN + 30 * MINUTE)
    assert (limits(bands), bands.next_deadline_ns()) == ((0, 0), NEVER_NS)


def test_moved_close_moves_the_end_of_a_pause_to_it() -> None:
    bands = opened(tier=2)
    bands.on_quote(89_0000, 90_0000, LAST_10)
    bands.advance(LAST_10 + MINUTE)
    bands.begin_session(OPEN, CLOSE + MINUTE)
    assert bands.pause_ends_ns == CLOSE + MINUTE


def test_old_times_count_as_now() -> None:
    bands = opened()
    bands.advance(OPEN + 2 * MINUTE)
    bands.on_quote(94_0000, 95_0000, OPEN)
    assert bands.next_deadline_ns() == OPEN + 2 * MINUTE + 15 * SECOND


def test_memory_is_bounded_by_the_window() -> None:
    bands = opened()
    for second in range(3_600):
        bands.on_trades(100_0000, 1, OPEN + second * SECOND)
    out = StateWriter()
    bands.write(out)
    assert len(out.finish(1, 1)) < 8 * (21 + 3 * 303)


def test_snapshot_in_a_limit_state_continues() -> None:
    bands = opened()
    bands.on_trades(100_4000, 1, OPEN + MINUTE)
    bands.on_quote(94_0000, 95_0000, OPEN + MINUTE)
    out = StateWriter()
    bands.write(out)
    other = PriceBands(0, 1, 0)
    reader = StateReader(out.finish(1, 9), 9, 1)
    other.read(reader)
    reader.expect_end()
    for each in (bands, other):
        assert each.next_deadline_ns() == OPEN + MINUTE + 15 * SECOND
        each.on_quote(99_0000, 100_0000, OPEN + MINUTE + SECOND)
        assert each.reference_e4 == 100_4000
